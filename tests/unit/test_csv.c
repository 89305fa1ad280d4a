/* csv: records, their lines, what is refused and where reading goes on; pieces of every size; bounds. */
#include "tributary/csv.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
/* after the others */
#include <cmocka.h>

/* Every event as text: `2[a][b c]` is a record on line 2, `3!reason` a bad one. */
static void drain(struct trb_csv *csv, struct trb_buf *trace) {
  struct trb_csv_record record;
  for (enum trb_csv_event event; (event = csv_next(csv, &record)) != CSV_MORE;) {
    assert_int_not_equal(event, CSV_NOMEM);
    trb_buf_printf(trace, "%llu", (unsigned long long)record.line);
    if (event == CSV_BAD) trb_buf_printf(trace, "!%s", record.reason);
    for (size_t i = 0; event == CSV_RECORD && i < record.count; i++)
      trb_buf_printf(trace, "[%.*s]", (int)record.cells[i].len, (const char *)record.cells[i].data);
    trb_buf_append_str(trace, " ");
  }
}

static void read_pieces(struct trb_slice bytes, size_t piece, enum trb_csv_encoding encoding, struct trb_buf *trace) {
  TRB_CSV_AUTO csv;
  csv_init(&csv, encoding, 0);
  for (size_t at = 0; at < bytes.len; at += piece) {
    size_t len = bytes.len - at < piece ? bytes.len - at : piece;
    assert_int_equal(csv_feed(&csv, trb_slice_of(bytes.data + at, len), NULL), TRB_OK);
    drain(&csv, trace);
  }
  csv_end(&csv);
  drain(&csv, trace);
}

static void check_bytes(struct trb_slice bytes, enum trb_csv_encoding encoding, const char *want) {
  static const size_t pieces[] = {CSV_PIECE_BYTES_MAX, 1, 2, 3, 7};
  for (size_t i = 0; i < sizeof pieces / sizeof *pieces; i++) {
    TRB_BUF_AUTO trace = {0};
    read_pieces(bytes, pieces[i], encoding, &trace);
    assert_string_equal(trb_buf_cstr(&trace), want);
  }
}
static void check(const char *text, const char *want) { check_bytes(trb_slice_str(text), CSV_UTF8, want); }

static void records_and_lines(void **state) {
  (void)state;
  check("", "");
  check("a", "1[a] ");
  check("a,b\nc,d\n", "1[a][b] 2[c][d] ");
  check("a,b\r\nc,d\r\n", "1[a][b] 2[c][d] ");
  check("a,b\rc,d\r", "1[a][b] 2[c][d] ");
  check("a,b\n\n\nc,d", "1[a][b] 4[c][d] ");
  check("a,b\n,\n", "1[a][b] 2[][] ");
  check("a,\n", "1[a][] ");
  check("姓名,手机\n张三,１３９\n", "1[姓名][手机] 2[张三][１３９] ");
  check("a,b\n\"\",x\n\"\"\n", "1[a][b] 2[][x] 3[] ");
}

static void quoted_cells(void **state) {
  (void)state;
  check("a,\"b,c\"\n", "1[a][b,c] ");
  check("\"a \"\"q\"\" b\",c\n", "1[a \"q\" b][c] ");
  check("\"two\nlines\",x\ny,z\n", "1[two\nlines][x] 3[y][z] ");
  check("\"two\r\nlines\",x\r\ny,z\r\n", "1[two\r\nlines][x] 3[y][z] ");
  check("\"a\" ,b\n", "1[a][b] ");
  check("\"a\"", "1[a] ");
}

static void byte_order_mark(void **state) {
  (void)state;
  check(
      "\xEF\xBB\xBF"
      "a,b\n1,2\n",
      "1[a][b] 2[1][2] ");
  check("\xEF\xBB\xBF\"a\",b\n", "1[a][b] ");
  check("\xEF\xBB\xBF", "");
}

static void delimiters_are_found(void **state) {
  (void)state;
  check("a;b;c\n1;2,5;3\n", "1[a][b][c] 2[1][2,5][3] ");
  check("a\tb\n1\t2\n", "1[a][b] 2[1][2] ");
  check("a|b\n1|2\n", "1[a][b] 2[1][2] ");
  check("\"x;y;z\",b\n", "1[x;y;z][b] ");
  check("\n\na;b\n", "3[a][b] ");
  TRB_CSV_AUTO csv;
  TRB_BUF_AUTO trace = {0};
  csv_init(&csv, CSV_UTF8, ',');
  assert_int_equal(csv_feed(&csv, trb_slice_str("a;b,c\n"), NULL), TRB_OK);
  drain(&csv, &trace);
  assert_string_equal(trb_buf_cstr(&trace), "1[a;b][c] ");
}

static void broken_quotes_cost_one_record(void **state) {
  (void)state;
  check("a,b\n\"x\"y,2\n3,4\n", "1[a][b] 2!text after a closing quote 3[3][4] ");
  check("a,b\nx\"y,2\n3,4\n", "1[a][b] 2!a quote inside a cell that does not begin with one 3[3][4] ");
  check("a,b\n\"open,2\n3,4\n5,6\n", "1[a][b] 2!an open quote at the end of the file 3[3][4] 4[5][6] ");
  check("a,b\n\"open,2\n3,\"4\"\n5,6\n", "1[a][b] 2!text after a closing quote 3[3][4] 4[5][6] ");
  check("a,b\n\"", "1[a][b] 2!an open quote at the end of the file ");
}

static void nul_bytes_and_bad_text_cost_one_record(void **state) {
  (void)state;
  static const char nul[] = "a,b\nx\0y,2\n3,4\n";
  check_bytes(trb_slice_of(nul, sizeof nul - 1), CSV_UTF8, "1[a][b] 2!a NUL byte 3[3][4] ");
  static const char quoted[] = "a,b\n\"x\n\0y\",2\n3,4\n";
  check_bytes(trb_slice_of(quoted, sizeof quoted - 1), CSV_UTF8, "1[a][b] 2!a NUL byte 3!a NUL byte 4[3][4] ");
  check("a,b\n\xff,2\n3,4\n", "1[a][b] 2!not valid UTF-8 3[3][4] ");
  check("a,b\n\xe4,\xbd\xa0\n3,4\n", "1[a][b] 2!not valid UTF-8 3[3][4] "); /* a character is not made of two cells */
}

static void gb18030_files(void **state) {
  (void)state;
  check_bytes(trb_slice_str("\xd0\xd5\xc3\xfb,b\n\xd5\xc5\xce\xb0,2\n"), CSV_GB18030, "1[姓名][b] 2[张伟][2] ");
  check_bytes(trb_slice_str("\xd0\xd5,b\n\xff\xd5\xc5,2\n3,4\n"), CSV_GB18030, "1[姓][b] 2!not valid GB18030 3[3][4] ");
  check_bytes(trb_slice_str("a\nb\xd5"), CSV_GB18030, "1[a] 2!not valid GB18030 ");
}

static void encodings_are_told_apart(void **state) {
  (void)state;
  static const struct {
    const char *bytes;
    enum trb_csv_encoding encoding;
  } cases[] = {{"plain", CSV_UTF8},
               {"", CSV_UTF8},
               {"姓名,手机", CSV_UTF8},
               {"\xd0\xd5\xc3\xfb,\xca\xd6\xbb\xfa", CSV_GB18030},
               {"姓名手机电话邮箱微信身份证地址姓名手机电话\xff", CSV_UTF8}, /* one broken byte does not change all */
               {"\xff\xfe"
                "a",
                CSV_UTF16},
               {"\xfe\xff", CSV_UTF16}};
  for (size_t i = 0; i < sizeof cases / sizeof *cases; i++)
    for (size_t piece = 1; piece < 4; piece++) {
      struct trb_csv_sniff sniff = {0};
      size_t len = strlen(cases[i].bytes);
      for (size_t at = 0; at < len; at += piece)
        csv_sniff(&sniff, trb_slice_of(cases[i].bytes + at, len - at < piece ? len - at : piece));
      struct trb_csv_place bad;
      assert_int_equal(csv_sniffed(&sniff, &bad), cases[i].encoding);
    }
}

/* `count` times `unit` between head and tail. */
static void check_long(const char *head, const char *unit, size_t count, const char *tail, const char *want) {
  TRB_BUF_AUTO text = {0};
  TRB_BUF_AUTO trace = {0};
  trb_buf_append_str(&text, head);
  for (size_t i = 0; i < count; i++) trb_buf_append_str(&text, unit);
  trb_buf_append_str(&text, tail);
  read_pieces(trb_buf_slice(&text), 4096, CSV_UTF8, &trace);
  const char *got = trb_buf_cstr(&trace);
  size_t len = strlen(got), want_len = strlen(want);
  assert_true(len >= want_len);
  assert_string_equal(got + len - want_len, want); /* the end says where reading went on */
}

static void limits(void **state) {
  (void)state;
  check_long("a,b\n", "x", CSV_CELL_BYTES_MAX + 1, ",2\n3,4\n", "1[a][b] 2!a cell of more than 64 KiB 3[3][4] ");
  check_long("a,b\n\"", "x", (size_t)1 << 20, "\",2\n3,4\n", "1[a][b] 2!a cell of more than 64 KiB 3[3][4] ");
  check_long("a,b\n", ",", 512, "\n3,4\n", "1[a][b] 2!more than 512 columns 3[3][4] ");
  check_long("a,b\n\"", "y\n", 40000, "\n3,4\n", "[3][4] "); /* an open quote: its lines are read again, as lines */
  TRB_BUF_AUTO wide = {0};
  TRB_BUF_AUTO trace = {0};
  for (int i = 0; i < 511; i++) trb_buf_append_str(&wide, ",");
  read_pieces(trb_buf_slice(&wide), 100, CSV_UTF8, &trace);
  assert_int_equal(strlen(trb_buf_cstr(&trace)), 1 + 512 * 2 + 1);
}

static void memory_is_bounded(void **state) {
  (void)state;
  TRB_CSV_AUTO csv;
  char piece[4096];
  memset(piece, 'x', sizeof piece);
  csv_init(&csv, CSV_UTF8, ',');
  TRB_BUF_AUTO trace = {0};
  for (int i = 0; i < 4096; i++) { /* 16 MiB without a line end */
    assert_int_equal(csv_feed(&csv, trb_slice_of(piece, sizeof piece), NULL), TRB_OK);
    drain(&csv, &trace);
  }
  assert_true(csv.raw.cap < 4 * CSV_RECORD_BYTES_MAX && csv.text.cap < 4 * CSV_RECORD_BYTES_MAX);
  assert_string_equal(trb_buf_cstr(&trace), "1!a cell of more than 64 KiB ");
}

static void csv_sniffed_names_the_first_byte_when_neither_encoding_fits(void **state) {
  (void)state;
  static const struct {
    const char *text;
    enum trb_csv_encoding encoding;
    struct trb_csv_place bad;
  } cases[] = {
      {"姓名,手机\n张三,1\n", CSV_UTF8, {0}},
      {"\xd0\xd5\xc3\xfb,\xca\xd6\xbb\xfa\n\xd5\xc5\xc8\xfd,1\n", CSV_GB18030, {0}},
      {"姓名,手机\n张三\xff,1\n", CSV_UTF8, {2, 7, 0xff}},
      {"\xd0\xd5\xc3\xfb,\xca\xd6\xbb\xfa\n\xd5\xc5\xff\xc8\xfd,1\n", CSV_GB18030, {2, 3, 0xff}},
      {"name\nJos\xe9,1\n", CSV_GB18030, {2, 4, 0xe9}},
      {"name\n1\n\xe5\xbc", CSV_GB18030, {0}},         /* a cut UTF-8 character may be a whole GB18030 one */
      {"姓名,手机\n张三\xe5", CSV_UTF8, {2, 7, 0xe5}}, /* the file ends inside a character */
  };
  for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
    struct trb_csv_sniff sniff = {0};
    struct trb_csv_place bad;
    size_t len = strlen(cases[i].text);
    for (size_t at = 0; at < len; at++) csv_sniff(&sniff, trb_slice_of(cases[i].text + at, 1));
    assert_int_equal(csv_sniffed(&sniff, &bad), cases[i].encoding);
    assert_int_equal(bad.line, cases[i].bad.line);
    assert_int_equal(bad.byte, cases[i].bad.byte);
    assert_int_equal(bad.value, cases[i].bad.value);
  }
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(records_and_lines),
      cmocka_unit_test(csv_sniffed_names_the_first_byte_when_neither_encoding_fits),
      cmocka_unit_test(quoted_cells),
      cmocka_unit_test(byte_order_mark),
      cmocka_unit_test(delimiters_are_found),
      cmocka_unit_test(broken_quotes_cost_one_record),
      cmocka_unit_test(nul_bytes_and_bad_text_cost_one_record),
      cmocka_unit_test(gb18030_files),
      cmocka_unit_test(encodings_are_told_apart),
      cmocka_unit_test(limits),
      cmocka_unit_test(memory_is_bounded),
  };
  return cmocka_run_group_tests_name("csv", tests, NULL, NULL);
}
