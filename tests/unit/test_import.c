/* import: the command against a real branch folder: what is written, what is reported, what an undo takes back and what
 * it spares. */
#include <pthread.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
/* after the others */
#include <cmocka.h>

#include "../../node/cli/commands.h"
#include "../../node/cli/import.h"
#include "tributary/capture.h"
#include "tributary/conf.h"

struct fixture {
  char dir[64];
  struct trb_db *db;
  char *out, *err; /* of the last command */
};

static void put(struct fixture *f, const char *name, const char *bytes, size_t len) {
  char path[128];
  snprintf(path, sizeof path, "%s/%s", f->dir, name);
  FILE *file = fopen(path, "wb");
  assert_non_null(file);
  assert_int_equal(fwrite(bytes, 1, len, file), len);
  fclose(file);
}
static void put_text(struct fixture *f, const char *name, const char *text) { put(f, name, text, strlen(text)); }

static int set_up(void **state) {
  struct fixture *f = calloc(1, sizeof *f);
  struct trb_catalogue *catalogue = catalogue_builtin();
  struct trb_conf conf = {.role = TRB_ROLE_BRANCH,
                          .site = "north",
                          .name = "North",
                          .endpoints = "tcp://127.0.0.1:7600",
                          .region = "CN",
                          .area_code = "021"};
  struct trb_error err = {0};
  char path[128];
  strcpy(f->dir, "/tmp/trb-import-XXXXXX");
  assert_non_null(mkdtemp(f->dir));
  snprintf(path, sizeof path, "%s/replica.db", f->dir);
  assert_int_equal(db_open(path, TRB_DB_CREATE, 1000, &f->db, &err), TRB_OK);
  assert_int_equal(capture_install(f->db, catalogue, &err), TRB_OK);
  assert_int_equal(conf_save(f->dir, &conf, &err), TRB_OK);
  catalogue_unref(&catalogue);
  *state = f;
  return 0;
}

static int tear_down(void **state) {
  struct fixture *f = *state;
  char command[128];
  db_close(&f->db);
  snprintf(command, sizeof command, "rm -r %s", f->dir);
  assert_int_equal(system(command), 0);
  free(f->out);
  free(f->err);
  free(f);
  return 0;
}

/* `tributary import DIR WORDS..`; words that name a file stand in DIR. Ended by NULL. */
static int import_words(struct fixture *f, bool json, const char *const *words) {
  char text[16][160], *argv[18] = {text[0]};
  struct cli cli = {.argc = 1, .argv = argv, .json = json};
  size_t out_len, err_len;
  snprintf(text[0], sizeof text[0], "%s", f->dir);
  for (; *words; words++, cli.argc++) {
    bool file = strstr(*words, ".csv") && !strchr(*words, '=') ? true : strstr(*words, ".map") != NULL;
    snprintf(text[cli.argc], sizeof text[0], "%s%s%s", file ? f->dir : "", file ? "/" : "", *words);
    argv[cli.argc] = text[cli.argc];
  }
  free(f->out);
  free(f->err);
  cli.out = open_memstream(&f->out, &out_len);
  cli.err = open_memstream(&f->err, &err_len);
  int code = cmd_import(&cli);
  fclose(cli.out);
  fclose(cli.err);
  return code;
}
#define IMPORT(f, ...) import_words(f, false, (const char *const[]){__VA_ARGS__, NULL})

static int64_t number(struct fixture *f, const char *sql) {
  int64_t value = -1;
  struct trb_error err = {0};
  if (db_get_int(f->db, &err, &value, sql, "")) fail_msg("%s: %s", sql, err.text);
  return value;
}
static void check_text(struct fixture *f, const char *sql, const char *want) {
  TRB_BUF_AUTO text = {0};
  struct trb_error err = {0};
  if (db_get_bytes(f->db, &err, &text, sql, "")) fail_msg("%s: %s", sql, err.text);
  assert_string_equal(trb_buf_cstr(&text), want);
}
static void sql(struct fixture *f, const char *text) {
  struct trb_error err = {0};
  if (db_exec(f->db, text, &err)) fail_msg("%s: %s", text, err.text);
}
static void check_says(const char *text, const char *part) {
  if (!strstr(text, part)) fail_msg("'%s' is not in:\n%s", part, text);
}

static const char people[] =
    "客户编号,姓名,性别,出生日期,手机,电话,邮箱,微信,身份证\n"
    "K1,张三,男,1980年3月5日,138 1234 5678/13911112222,64281234,San@Example.com,13812345678,11010519491231002X\n"
    "K2,李四,女,1990/1/2,139****2222,,无,,\n"
    "K3,王五,,,,,,,\n";

static void import_writes_customers_with_contacts(void **state) {
  struct fixture *f = *state;
  put_text(f, "people.csv", people);
  assert_int_equal(IMPORT(f, "people.csv"), CLI_DONE);
  check_says(f->out, "3 rows read: 3 customers, 6 contacts, 1 further rows, 0 rejected");
  check_says(f->out, "2 contacts identify nobody: 1 masked; 1 placeholder");
  check_says(f->err, "contact.mobile = 手机");
  check_says(f->err, "--undo");
  check_text(f, "SELECT kind||gender||birthday FROM customer WHERE name='张三'", "personM1980-03-05");
  check_text(
      f,
      "SELECT group_concat(kind||'='||value) FROM(SELECT * FROM contact WHERE customer_id=(SELECT id FROM customer"
      " WHERE external_ref='K1')ORDER BY id)",
      "mobile=138 1234 5678/13911112222,landline=64281234,email=San@Example.com,wechat=13812345678");
  check_text(f, "SELECT kind||number FROM identity_document", "national_id11010519491231002X");
  assert_int_equal(number(f, "SELECT count(*) FROM _trb_mark"), 10);
  assert_int_equal(number(f, "SELECT count(*) FROM _trb_import_row"), 10);
  assert_int_equal(number(f, "SELECT rows FROM _trb_import"), 10);
  assert_int_equal(number(f, "SELECT count(*) FROM customer WHERE length(id)=36 AND substr(id,15,1)='7'"), 3);
}

static void import_again_passes_over_what_is_here(void **state) {
  struct fixture *f = *state;
  put_text(f, "people.csv", people);
  assert_int_equal(IMPORT(f, "people.csv"), CLI_DONE);
  assert_int_equal(IMPORT(f, "people.csv"), CLI_DONE);
  check_says(f->out, "0 customers, 0 contacts, 3 already present, 0 rejected");
  assert_int_equal(number(f, "SELECT count(*) FROM customer"), 3);
  assert_int_equal(number(f, "SELECT count(*) FROM _trb_import"), 1); /* an import of nothing leaves no trace */
  put_text(f, "more.csv", "客户编号,姓名,手机\nK3,王伍,13700001111\nK3,王陆,\nK4,赵六,\nK4,赵七,\n");
  assert_int_equal(IMPORT(f, "more.csv"), CLI_DONE);
  check_says(f->out, "1 customers, 0 contacts, 3 already present");
  check_text(f, "SELECT name FROM customer WHERE external_ref='K3'", "王五");
  assert_int_equal(IMPORT(f, "more.csv", "--update"), CLI_DONE);
  check_says(f->out, "already present (3 updated)");
  check_text(f, "SELECT name FROM customer WHERE external_ref='K3'", "王陆");
  assert_int_equal(number(f, "SELECT count(*) FROM contact WHERE value='13700001111'"), 1);
  assert_int_equal(IMPORT(f, "more.csv", "--update"), CLI_DONE);
  assert_int_equal(number(f, "SELECT count(*) FROM contact WHERE value='13700001111'"), 1);
}

static void import_dry_run_writes_nothing(void **state) {
  struct fixture *f = *state;
  put_text(f, "people.csv", people);
  assert_int_equal(IMPORT(f, "people.csv", "--dry-run"), CLI_DONE);
  check_says(f->err, "3 customers, 6 contacts");
  assert_int_equal(number(f, "SELECT count(*) FROM customer"), 0);
  assert_int_equal(number(f, "SELECT count(*) FROM _trb_import"), 0);
  put_text(f, "kept.map", f->out); /* what it prints is a mapping */
  assert_int_equal(IMPORT(f, "people.csv", "--map", "kept.map"), CLI_DONE);
  check_says(f->out, "3 customers, 6 contacts");
}

static void import_reports_bad_rows_and_goes_on(void **state) {
  struct fixture *f = *state;
  static const char text[] =
      "姓名,手机,生日\n"
      "张三,13811112222,1980-02-30\n"
      "\"李四\"x,13811112223,\n"
      "王五,138111\0"
      "12224,\n"
      "赵六,13811112225\n"
      ",,\n"
      "孙七,13811112226,1980\n"
      "\xff,13811112227,\n"
      "周八,,,\n";
  put(f, "bad.csv", text, sizeof text - 1);
  assert_int_equal(IMPORT(f, "bad.csv"), CLI_DONE);
  check_says(f->out, "8 rows read: 2 customers, 2 contacts, 1 values left out, 6 rejected");
  check_says(f->err, "line 2: customer.birthday is not a date");
  check_says(f->err, "line 3: text after a closing quote");
  check_says(f->err, "line 4: a NUL byte");
  check_says(f->err, "line 5: has 2 cells, the header has 3");
  check_says(f->err, "line 6: neither a name nor a contact");
  check_says(f->err, "line 8: not valid UTF-8");
  check_says(f->err, "line 9: has 4 cells");
  assert_null(strstr(f->err, "13811112")); /* no personal data in reasons */
  assert_int_equal(number(f, "SELECT bad_rows FROM _trb_import"), 6);
}

static void import_reads_gb18030(void **state) {
  struct fixture *f = *state;
  put_text(f, "gb.csv", "\xd0\xd5\xc3\xfb,\xca\xd6\xbb\xfa\r\n\xd5\xc5\xce\xb0,13811112222\r\n");
  assert_int_equal(IMPORT(f, "gb.csv"), CLI_DONE);
  check_says(f->out, "GB18030");
  check_text(f, "SELECT name FROM customer", "张伟");
  put(f, "utf16.csv",
      "\xff\xfe"
      "a\0,\0b\0",
      8);
  assert_int_equal(IMPORT(f, "utf16.csv"), CLI_FAILED);
  check_says(f->err, "UTF-16: save it as");
}

static void import_takes_only_the_lines_asked_for(void **state) {
  struct fixture *f = *state;
  put_text(f, "all.csv", "Name,Source\nA,one\nB,two\nC,three\n");
  assert_int_equal(IMPORT(f, "all.csv", "--where", "Source=two"), CLI_DONE);
  check_says(f->out, "1 customers, 0 contacts, 2 not asked for");
  put_text(f, "some.map", "customer.name = Name\nwhere Source = \"one\", \"three\"\n");
  assert_int_equal(IMPORT(f, "all.csv", "--map", "some.map"), CLI_DONE);
  assert_int_equal(number(f, "SELECT count(*) FROM customer"), 3);
}

static void import_joins_and_constants(void **state) {
  struct fixture *f = *state;
  put_text(f, "names.csv", "Given,Surname,Phone\nAnn,Lee,3865286\n伟,张,\nBob,,\n");
  put_text(f, "names.map",
           "customer.name = Surname + Given\ncustomer.kind = \"person\"\ncontact.landline = \"+1 312\" + Phone\n");
  assert_int_equal(IMPORT(f, "names.csv", "--map", "names.map"), CLI_DONE);
  check_text(f, "SELECT group_concat(name)FROM(SELECT name FROM customer ORDER BY id)", "Lee Ann,张伟,Bob");
  check_text(f, "SELECT group_concat(value)FROM contact", "+1 3123865286"); /* no contact of a constant alone */
}

static void import_resolves_references(void **state) {
  struct fixture *f = *state;
  put_text(f, "people.csv", people);
  assert_int_equal(IMPORT(f, "people.csv"), CLI_DONE);
  put_text(f, "sales.csv",
           "订单编号,客户编号,下单日期,产品,产品明细,金额,已付金额,支付方式,付款时间,状态\n"
           "D1,K1,2024-03-05,大理游,五日跟团,\"3,980.50\",¥3980.5,微信,2024-03-05 10:30,已付款\n"
           "D2,K9,2024-03-05,大理游,,,,,,\n"
           "D3,K2,2024-03-06,三亚游,,,,,,\n");
  assert_int_equal(IMPORT(f, "sales.csv"), CLI_DONE);
  check_says(f->out, "3 rows read: 2 rows of booking, 3 further rows, 1 values left out, 1 rejected");
  check_says(f->err, "line 4: no booking_event is made: its kind is empty");
  check_says(f->err, "line 3: booking.customer_id: this branch has no customer with that external_ref");
  check_text(f,
             "SELECT c.name||b.amount FROM booking b JOIN customer c ON c.id=b.customer_id WHERE b.external_ref='D1'",
             "张三3980.5");
  check_text(
      f,
      "SELECT p.kind||p.method||p.amount FROM payment p JOIN booking b ON b.id=p.booking_id WHERE b.external_ref='D1'",
      "receivedwechat3980.5");
  check_text(f, "SELECT kind FROM booking_event", "paid");
  check_text(f, "SELECT name FROM booking_item", "五日跟团");
  put_text(f, "notes.csv", "客户编号,时间,方式,内容,订单编号\nK1,2024-03-07 09:00,电话,确认人数,D1\n");
  assert_int_equal(IMPORT(f, "notes.csv"), CLI_DONE);
  assert_int_equal(number(f,
                          "SELECT count(*) FROM activity a JOIN booking b ON b.id=a.booking_id JOIN customer c ON"
                          " c.id=a.customer_id WHERE a.channel='phone'"),
                   1);
}

static void undo_takes_back_what_was_not_touched(void **state) {
  struct fixture *f = *state;
  put_text(f, "people.csv", people);
  put_text(f, "other.csv", "姓名\n不相干\n");
  assert_int_equal(IMPORT(f, "other.csv"), CLI_DONE);
  assert_int_equal(IMPORT(f, "people.csv"), CLI_DONE);
  int64_t before = number(f, "SELECT max(n) FROM _trb_mark");
  sql(f, "UPDATE customer SET updated_at=updated_at+1 WHERE external_ref='K3'"); /* nothing that staff would miss */
  int64_t touched = number(f, "SELECT max(n) FROM _trb_mark");
  assert_true(touched > before);
  assert_int_equal(IMPORT(f, "--undo", "last", "--dry-run"), CLI_DONE);
  check_says(f->out, "10 rows deleted, 0 kept because they were changed since, 0 kept because others hang");
  assert_int_equal(number(f, "SELECT count(*) FROM customer"), 4);
  assert_int_equal(IMPORT(f, "--undo", "last"), CLI_DONE);
  check_text(f, "SELECT group_concat(name) FROM customer", "不相干");
  assert_int_equal(number(f, "SELECT count(*) FROM contact"), 0);
  assert_int_equal(number(f, "SELECT count(*) FROM _trb_undo"), 1);
  assert_int_equal(number(f, "SELECT first_mark FROM _trb_undo"), touched + 1);
  assert_int_equal(number(f, "SELECT last_mark=(SELECT max(n) FROM _trb_mark) FROM _trb_undo"), 1);
  assert_int_equal(
      number(f,
             "SELECT count(*) FROM _trb_mark m JOIN _trb_undo u ON m.n BETWEEN u.first_mark AND u.last_mark"
             " WHERE m.op<>3"),
      0);
  assert_int_equal(IMPORT(f, "--undo", "01a20383-0000-7000-8000-000000000000"), CLI_FAILED);
  check_says(f->err, "no such import");
}

static void undo_spares_what_was_changed_or_is_in_use(void **state) {
  struct fixture *f = *state;
  put_text(f, "people.csv", people);
  assert_int_equal(IMPORT(f, "people.csv"), CLI_DONE);
  sql(f, "UPDATE customer SET remark='seen' WHERE external_ref='K1'");
  sql(f, "INSERT INTO booking(customer_id,title)SELECT id,'later' FROM customer WHERE external_ref='K3'");
  assert_int_equal(IMPORT(f, "--undo", "last"), CLI_DONE);
  /* K1 was changed: it stays with its four contacts and its document; K3 has a booking; K2 and its contacts go. */
  check_says(f->out, "3 rows deleted, 1 kept because they were changed since, 6 kept because others hang on them");
  check_text(f, "SELECT group_concat(external_ref)FROM(SELECT external_ref FROM customer ORDER BY 1)", "K1,K3");
  assert_int_equal(number(f, "SELECT count(*) FROM contact"), 4);
  assert_int_equal(number(f, "SELECT count(*) FROM identity_document"), 1);
  char id[64] = "";
  TRB_BUF_AUTO text = {0};
  assert_int_equal(db_get_bytes(f->db, NULL, &text, "SELECT id FROM _trb_import", ""), TRB_OK);
  snprintf(id, sizeof id, "%s", trb_buf_cstr(&text));
  assert_int_equal(IMPORT(f, "--undo", id), CLI_NOT_YET);
  check_says(f->err, "taken back already");
}

static void undo_of_many_rows_marks_every_delete(void **state) {
  struct fixture *f = *state;
  TRB_BUF_AUTO text = {0};
  trb_buf_append_str(&text, "姓名,手机\n");
  for (int i = 0; i < 1700; i++) trb_buf_printf(&text, "客户%d,1381111%04d\n", i, i);
  put(f, "many.csv", (const char *)text.data, text.len);
  assert_int_equal(IMPORT(f, "many.csv"), CLI_DONE);
  int64_t last = number(f, "SELECT max(n) FROM _trb_mark");
  assert_int_equal(IMPORT(f, "--undo", "last"), CLI_DONE);
  check_says(f->out, "3400 rows deleted");
  assert_int_equal(number(f, "SELECT count(*) FROM customer"), 0);
  assert_int_equal(number(f, "SELECT sum(last_mark-first_mark+1) FROM _trb_undo"), 3400);
  assert_int_equal(number(f, "SELECT min(first_mark) FROM _trb_undo"), last + 1);
  assert_int_equal(number(f, "SELECT count(*) FROM _trb_import_row"), 0);
}

static void import_says_it_in_json(void **state) {
  struct fixture *f = *state;
  put_text(f, "people.csv", people);
  assert_int_equal(import_words(f, true, (const char *const[]){"people.csv", NULL}), CLI_DONE);
  check_says(f->out, "\"rows_written\":3");
  check_says(f->out, "\"without_key\":{\"masked\":1,");
  check_says(f->out, "\"encoding\":\"UTF-8\"");
  assert_int_equal(import_words(f, true, (const char *const[]){NULL}), CLI_DONE);
  check_says(f->out, "\"file\":\"people.csv\"");
  check_says(f->out, "\"undone\":false");
}

static void import_refuses_with_what_to_do(void **state) {
  struct fixture *f = *state;
  put_text(f, "people.csv", people);
  put_text(f, "empty.csv", "");
  put_text(f, "odd.csv", "x,y\n1,2\n");
  put_text(f, "bad.map", "# fine\ncustomer.name = \n");
  assert_int_equal(IMPORT(f, "missing.csv"), CLI_FAILED);
  check_says(f->err, "cannot be opened");
  assert_int_equal(IMPORT(f, "empty.csv"), CLI_FAILED);
  check_says(f->err, "is empty");
  assert_int_equal(IMPORT(f, "people.csv", "--map", "bad.map"), CLI_FAILED);
  check_says(f->err, "bad.map line 2: a column's name is missing");
  assert_int_equal(IMPORT(f, "people.csv", "--table", "nonsense"), CLI_FAILED);
  check_says(f->err, "no table nonsense");
  assert_int_equal(IMPORT(f, "people.csv", "--table", "product"), CLI_FAILED);
  check_says(f->err, "do not write");
  assert_int_equal(IMPORT(f, "people.csv", "--where", "nonsense"), CLI_FAILED);
  assert_int_equal(IMPORT(f, "people.csv", "--nonsense"), CLI_USAGE);
  assert_int_equal(IMPORT(f, "odd.csv", "--table", "activity"), CLI_FAILED);
  check_says(f->err, "no column of odd.csv is recognised");
  assert_int_equal(IMPORT(f, "odd.csv"), CLI_FAILED);
  check_says(f->err, "no column of odd.csv is recognised");
  assert_int_equal(number(f, "SELECT count(*) FROM customer"), 0);
  assert_int_equal(number(f, "SELECT count(*) FROM _trb_import"), 0);
}

static void import_refused_by_a_trigger_loses_one_record(void **state) {
  struct fixture *f = *state;
  sql(f,
      "CREATE TRIGGER house BEFORE INSERT ON contact WHEN NEW.value='13900000001' BEGIN SELECT RAISE(ABORT,'house "
      "rule'); END");
  put_text(f, "some.csv", "姓名,手机\n张三,13900000001\n李四,13900000002\n");
  assert_int_equal(IMPORT(f, "some.csv"), CLI_DONE);
  check_says(f->out, "1 customers, 1 contacts, 1 rejected");
  check_says(f->err, "line 2: ");
  check_text(f, "SELECT group_concat(name) FROM customer", "李四"); /* nothing of the refused record stays */
}

struct writer {
  char path[128];
  int locked, written;
};
static void *writer_run(void *p) {
  struct writer *w = p;
  struct trb_db *db = NULL;
  if (db_open(w->path, TRB_DB_WRITE, 20000, &db, NULL)) return NULL; /* sanitizers are slow */
  for (int i = 0; i < 50; i++) {
    if (db_exec(db, "INSERT INTO customer(kind,name)VALUES('person','同时')", NULL))
      w->locked++;
    else
      w->written++;
    usleep(1000);
  }
  db_close(&db);
  return NULL;
}

static void import_lets_other_clients_write(void **state) {
  struct fixture *f = *state;
  struct writer w = {0};
  pthread_t thread;
  TRB_BUF_AUTO text = {0};
  trb_buf_append_str(&text, "姓名,手机\n");
  for (int i = 0; i < 5000; i++) trb_buf_printf(&text, "客户%d,1381111%04d\n", i, i);
  put(f, "many.csv", (const char *)text.data, text.len);
  snprintf(w.path, sizeof w.path, "%s/replica.db", f->dir);
  assert_int_equal(pthread_create(&thread, NULL, writer_run, &w), 0);
  assert_int_equal(IMPORT(f, "many.csv"), CLI_DONE);
  pthread_join(thread, NULL);
  assert_int_equal(w.locked, 0);
  assert_int_equal(w.written, 50);
  assert_int_equal(number(f, "SELECT count(*) FROM customer"), 5050);
}

int main(void) {
#define IMPORT_TEST(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)
  const struct CMUnitTest tests[] = {
      IMPORT_TEST(import_writes_customers_with_contacts),
      IMPORT_TEST(import_again_passes_over_what_is_here),
      IMPORT_TEST(import_dry_run_writes_nothing),
      IMPORT_TEST(import_reports_bad_rows_and_goes_on),
      IMPORT_TEST(import_reads_gb18030),
      IMPORT_TEST(import_takes_only_the_lines_asked_for),
      IMPORT_TEST(import_joins_and_constants),
      IMPORT_TEST(import_resolves_references),
      IMPORT_TEST(undo_takes_back_what_was_not_touched),
      IMPORT_TEST(undo_spares_what_was_changed_or_is_in_use),
      IMPORT_TEST(undo_of_many_rows_marks_every_delete),
      IMPORT_TEST(import_says_it_in_json),
      IMPORT_TEST(import_refuses_with_what_to_do),
      IMPORT_TEST(import_refused_by_a_trigger_loses_one_record),
      IMPORT_TEST(import_lets_other_clients_write),
  };
  return cmocka_run_group_tests_name("import", tests, NULL, NULL);
}
