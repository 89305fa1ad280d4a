/* mp: canonical writing, checked reading. */
#include "tributary/mp.h"

#include <float.h>
#include <setjmp.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

static void expect_hex(struct trb_buf *buf, const char *hex) {
  char text[256];
  trb_hex(buf->data, buf->len, text);
  assert_string_equal(text, hex);
  trb_buf_clear(buf);
}

static enum trb_status check_hex(const char *hex) {
  uint8_t bytes[256];
  size_t len = strlen(hex) / 2;
  assert_true(trb_unhex(hex, bytes, len));
  uint8_t *exact = malloc(len ? len : 1); /* so that the address sanitizer sees a read past the end */
  memcpy(exact, bytes, len);
  enum trb_status status = mp_check(trb_slice_of(exact, len), NULL);
  free(exact);
  return status;
}

static void put_int_takes_the_shortest_form(void **state) {
  (void)state;
  static const struct {
    int64_t v;
    const char *hex;
  } cases[] = {{0, "00"},
               {127, "7f"},
               {128, "cc80"},
               {255, "ccff"},
               {256, "cd0100"},
               {65535, "cdffff"},
               {65536, "ce00010000"},
               {4294967295, "ceffffffff"},
               {4294967296, "cf0000000100000000"},
               {INT64_MAX, "cf7fffffffffffffff"},
               {-1, "ff"},
               {-32, "e0"},
               {-33, "d0df"},
               {-128, "d080"},
               {-129, "d1ff7f"},
               {-32768, "d18000"},
               {-32769, "d2ffff7fff"},
               {INT32_MIN, "d280000000"},
               {(int64_t)INT32_MIN - 1, "d3ffffffff7fffffff"},
               {INT64_MIN, "d38000000000000000"}};
  TRB_BUF_AUTO buf = {0};
  for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
    mp_put_int(&buf, cases[i].v);
    struct mp_reader r = mp_reader(trb_buf_slice(&buf));
    assert_true(mp_get_int(&r) == cases[i].v);
    assert_true(mp_at_end(&r) && !r.failed);
    expect_hex(&buf, cases[i].hex);
  }
  mp_put_uint(&buf, UINT64_MAX);
  expect_hex(&buf, "cfffffffffffffffff");
}

static void put_value_is_canonical(void **state) {
  (void)state;
  TRB_BUF_AUTO buf = {0};
  mp_put_value(&buf, trb_null());
  expect_hex(&buf, "c0");
  mp_put_value(&buf, trb_real(1.5));
  expect_hex(&buf, "cb3ff8000000000000");
  mp_put_value(&buf, trb_real(-0.0));
  expect_hex(&buf, "cb8000000000000000");
  mp_put_value(&buf, trb_text("张三"));
  expect_hex(&buf, "a6e5bca0e4b889");
  mp_put_value(&buf, trb_blob(trb_slice_str("x")));
  expect_hex(&buf, "c40178");
  mp_put_bool(&buf, true);
  mp_put_bool(&buf, false);
  expect_hex(&buf, "c3c2");
  mp_put_map(&buf, 3);
  mp_put_array(&buf, 16);
  expect_hex(&buf, "83dc0010");
}

static void put_str_changes_its_head_with_its_length(void **state) {
  (void)state;
  static const struct {
    size_t len, head_len;
    uint8_t head;
  } cases[] = {{31, 1, 0xbf}, {32, 2, 0xd9}, {255, 2, 0xd9}, {256, 3, 0xda}, {65535, 3, 0xda}, {65536, 5, 0xdb}};
  char *bytes = calloc(1, 65536);
  for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
    TRB_BUF_AUTO buf = {0};
    struct trb_slice s = trb_slice_of(bytes, cases[i].len);
    uint8_t head[TRB_MP_HEAD_MAX];
    mp_put_str(&buf, s);
    assert_int_equal(buf.len, cases[i].head_len + cases[i].len);
    assert_int_equal(buf.data[0], cases[i].head);
    assert_int_equal(mp_value_head(trb_text_slice(s), head), cases[i].head_len);
    assert_memory_equal(head, buf.data, cases[i].head_len);
    assert_int_equal(mp_check(trb_buf_slice(&buf), NULL), TRB_OK);
    struct mp_reader r = mp_reader(trb_buf_slice(&buf));
    assert_int_equal(mp_get_str(&r).len, cases[i].len);
  }
  free(bytes);
}

static void check_refuses_what_is_not_one_value(void **state) {
  (void)state;
  assert_int_equal(check_hex(""), TRB_PEER);
  assert_int_equal(check_hex("00"), TRB_OK);
  assert_int_equal(check_hex("0000"), TRB_PEER);   /* bytes behind the end */
  assert_int_equal(check_hex("c1"), TRB_PEER);     /* never used */
  assert_int_equal(check_hex("d40000"), TRB_PEER); /* extension */
  assert_int_equal(check_hex("c70100ff"), TRB_PEER);
  assert_int_equal(check_hex("92"), TRB_PEER);
  assert_int_equal(check_hex("9200"), TRB_PEER);
  assert_int_equal(check_hex("920000"), TRB_OK);
  assert_int_equal(check_hex("8100"), TRB_PEER);
  assert_int_equal(check_hex("81a161c0"), TRB_OK);
  assert_int_equal(check_hex("90"), TRB_OK);
  assert_int_equal(check_hex("929090"), TRB_OK);
  assert_int_equal(check_hex("a3e5bc"), TRB_PEER);
}

static void check_refuses_container_bombs(void **state) {
  (void)state;
  assert_int_equal(check_hex("ddffffffff"), TRB_PEER);
  assert_int_equal(check_hex("dfffffffff"), TRB_PEER);
  assert_int_equal(check_hex("df7fffffff00000000"), TRB_PEER);
  assert_int_equal(check_hex("dcffff00"), TRB_PEER);
  assert_int_equal(check_hex("dbffffffff61"), TRB_PEER);
  assert_int_equal(check_hex("c6ffffffff61"), TRB_PEER);
  assert_int_equal(check_hex("de000200000000"), TRB_OK); /* two pairs, four bytes */
  assert_int_equal(check_hex("de0003000000"), TRB_PEER);
}

static void check_bounds_depth(void **state) {
  (void)state;
  char hex[200];
  for (int depth = 1; depth <= 40; depth++) {
    for (int i = 0; i < depth; i++) memcpy(hex + 2 * i, "91", 2);
    strcpy(hex + 2 * depth, "c0");
    assert_int_equal(check_hex(hex), depth <= TRB_MP_DEPTH_MAX ? TRB_OK : TRB_PEER);
    for (int i = 0; i < depth; i++) memcpy(hex + 2 * i, "81", 2); /* as keys of maps: the value is missing */
    assert_int_equal(check_hex(hex), TRB_PEER);
  }
}

static void check_is_linear_in_a_million_empty_arrays(void **state) {
  (void)state;
  TRB_BUF_AUTO buf = {0};
  mp_put_array(&buf, 1000000);
  for (int i = 0; i < 1000000; i++) mp_put_array(&buf, 0);
  assert_int_equal(mp_check(trb_buf_slice(&buf), NULL), TRB_OK);
  buf.len--;
  assert_int_equal(mp_check(trb_buf_slice(&buf), NULL), TRB_PEER);
}

static void put_sample(struct trb_buf *buf) {
  mp_put_array(buf, 8);
  mp_put_uint(buf, 70000);
  mp_put_int(buf, -70000);
  mp_put_str(buf, trb_slice_str("全角１２３"));
  mp_put_bin(buf, trb_slice_str("0123456789abcdef"));
  mp_put_nil(buf);
  mp_put_real(buf, 2.25);
  mp_put_map(buf, 1);
  mp_put_str(buf, trb_slice_str("k"));
  mp_put_array(buf, 0);
  mp_put_bool(buf, true);
}

static void read_sample(struct mp_reader *r) {
  uint8_t fixed[16];
  mp_get_array(r);
  mp_get_uint(r);
  mp_get_int(r);
  mp_get_str(r);
  mp_get_fixed(r, fixed, sizeof fixed);
  mp_try_nil(r);
  mp_get_value(r);
  mp_get_raw(r);
  mp_get_bool(r);
}

static void reader_gives_back_what_was_put(void **state) {
  (void)state;
  TRB_BUF_AUTO buf = {0};
  put_sample(&buf);
  assert_int_equal(mp_check(trb_buf_slice(&buf), NULL), TRB_OK);
  struct mp_reader r = mp_reader(trb_buf_slice(&buf));
  uint8_t fixed[16];
  assert_int_equal(mp_get_array(&r), 8);
  assert_int_equal(mp_get_uint(&r), 70000);
  assert_int_equal(mp_get_int(&r), -70000);
  assert_true(trb_slice_equal(mp_get_str(&r), trb_slice_str("全角１２３")));
  mp_get_fixed(&r, fixed, sizeof fixed);
  assert_memory_equal(fixed, "0123456789abcdef", 16);
  assert_true(mp_try_nil(&r));
  assert_false(mp_try_nil(&r));
  assert_true(trb_value_equal(mp_get_value(&r), trb_real(2.25)));
  assert_int_equal(mp_get_raw(&r).len, 4);
  assert_true(mp_get_bool(&r));
  assert_true(mp_at_end(&r) && !r.failed);
  mp_get_uint(&r);
  assert_true(r.failed);
}

static void check_and_reader_refuse_every_truncation(void **state) {
  (void)state;
  TRB_BUF_AUTO buf = {0};
  put_sample(&buf);
  for (size_t len = 0; len < buf.len; len++) {
    uint8_t *exact = malloc(len ? len : 1);
    memcpy(exact, buf.data, len);
    assert_int_equal(mp_check(trb_slice_of(exact, len), NULL), TRB_PEER);
    struct mp_reader r = mp_reader(trb_slice_of(exact, len)); /* unchecked: still never past the end */
    read_sample(&r);
    assert_true(r.failed);
    free(exact);
  }
}

static void reader_failure_is_sticky_and_gives_zeros(void **state) {
  (void)state;
  TRB_BUF_AUTO buf = {0};
  mp_put_int(&buf, -5);
  mp_put_uint(&buf, 7);
  struct mp_reader r = mp_reader(trb_buf_slice(&buf));
  uint8_t fixed[4] = {1, 2, 3, 4};
  assert_int_equal(mp_get_uint(&r), 0); /* negative */
  assert_true(r.failed);
  assert_int_equal(mp_get_uint(&r), 0); /* a 7 stands there */
  assert_int_equal(mp_get_array(&r), 0);
  assert_null(mp_get_raw(&r).data);
  mp_get_fixed(&r, fixed, sizeof fixed);
  assert_memory_equal(fixed, "\0\0\0\0", 4);
}

static void reader_takes_wide_forms_but_no_other_type(void **state) {
  (void)state;
  uint8_t bytes[32];
  assert_true(trb_unhex("cf0000000000000005d30000000000000005ca3fc00000cfffffffffffffffff", bytes, 32));
  struct mp_reader r = mp_reader(trb_slice_of(bytes, sizeof bytes));
  assert_int_equal(mp_get_int(&r), 5);
  assert_int_equal(mp_get_uint(&r), 5);
  assert_true(trb_value_equal(mp_get_value(&r), trb_real(1.5)));
  struct mp_reader big = r;
  assert_true(mp_get_uint(&big) == UINT64_MAX);
  assert_int_equal(mp_get_value(&r).type, TRB_NULL);
  assert_true(r.failed); /* does not fit an SQL integer */
}

static void get_container_refuses_a_count_beyond_the_bytes_left(void **state) {
  (void)state;
  static const uint8_t map[] = {0x82, 0, 0, 0}, array[] = {0x94, 0, 0, 0};
  struct mp_reader r = mp_reader(trb_slice_of(map, sizeof map));
  assert_int_equal(mp_get_map(&r), 0);
  assert_true(r.failed);
  r = mp_reader(trb_slice_of(array, sizeof array));
  assert_int_equal(mp_get_array(&r), 0);
  assert_true(r.failed);
}

static void get_value_refuses_bool_and_containers(void **state) {
  (void)state;
  static const char *const cases[] = {"c3", "90", "80"};
  for (size_t i = 0; i < 3; i++) {
    uint8_t byte;
    assert_true(trb_unhex(cases[i], &byte, 1));
    struct mp_reader r = mp_reader(trb_slice_of(&byte, 1));
    mp_get_value(&r);
    assert_true(r.failed);
  }
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(put_int_takes_the_shortest_form),
      cmocka_unit_test(put_value_is_canonical),
      cmocka_unit_test(put_str_changes_its_head_with_its_length),
      cmocka_unit_test(check_refuses_what_is_not_one_value),
      cmocka_unit_test(check_refuses_container_bombs),
      cmocka_unit_test(check_bounds_depth),
      cmocka_unit_test(check_is_linear_in_a_million_empty_arrays),
      cmocka_unit_test(reader_gives_back_what_was_put),
      cmocka_unit_test(check_and_reader_refuse_every_truncation),
      cmocka_unit_test(reader_failure_is_sticky_and_gives_zeros),
      cmocka_unit_test(reader_takes_wide_forms_but_no_other_type),
      cmocka_unit_test(get_container_refuses_a_count_beyond_the_bytes_left),
      cmocka_unit_test(get_value_refuses_bool_and_containers),
  };
  return cmocka_run_group_tests_name("mp", tests, NULL, NULL);
}
