/* Headquarters' tables as JSON. */
#include "hub_fixture.h"

static enum trb_status load(struct fx *fx, const char *json, bool dry, char *ret_report, size_t size) {
  TRB_BUF_AUTO out = {0};
  enum trb_status status = policy_load(&fx->w.hq, trb_slice_str(json), dry, writer_now_ms(), &out, &fx->err);
  if (ret_report) snprintf(ret_report, size, "%s", trb_buf_cstr(&out));
  return status;
}

static void policy_load_writes_rows_and_leaves_the_same_ones(void **state) {
  struct fx *fx = *state;
  char report[400];
  static const char json[] = "{\"tag\":[{\"id\":\"vip\",\"name\":\"贵宾\"},{\"id\":\"vegan\",\"name\":\"素食\"}]}";
  fx_ok(fx, load(fx, json, true, report, sizeof report));
  assert_int_equal(fx_int(fx, "SELECT count(*) FROM tag"), 0);
  assert_non_null(strstr(report, "\"tag\":2"));
  fx_ok(fx, load(fx, json, false, report, sizeof report));
  fx_text(fx, "SELECT name FROM tag WHERE id='vip'", "贵宾");
  uint64_t sequence = (uint64_t)fx_int(fx, "SELECT sequence FROM stream WHERE site=1");
  fx_ok(fx, load(fx, json, false, report, sizeof report));
  assert_non_null(strstr(report, "\"unchanged\":2"));
  assert_int_equal(fx_int(fx, "SELECT sequence FROM stream WHERE site=1"), sequence);
  fx_ok(fx, load(fx, "{\"tag\":[{\"id\":\"vip\",\"_delete\":true}]}", false, NULL, 0));
  assert_int_equal(fx_int(fx, "SELECT count(*) FROM tag"), 1);
  fx_verify(fx);
}

static void policy_load_takes_a_dump_of_itself(void **state) {
  struct fx *fx = *state;
  TRB_BUF_AUTO dump = {0};
  char report[400];
  fx_ok(fx, policy_dump(fx->w.store.db, fx->w.store.catalogue, &dump, &fx->err));
  assert_non_null(strstr(trb_buf_cstr(&dump), "national_id"));
  fx_ok(fx, load(fx, trb_buf_cstr(&dump), false, report, sizeof report));
  assert_non_null(strstr(report, "\"changed\":{}"));
}

static void policy_load_refuses_the_whole_file_for_one_bad_row(void **state) {
  struct fx *fx = *state;
  static const char *const bad[] = {
      "{",
      "[]",
      "{\"tag\":{}}",
      "{\"tag\":[{\"id\":\"a\",\"name\":\"a\"}],\"tag\":[]}",
      "{\"tag\":[{\"id\":\"a\",\"name\":\"a\"},{\"id\":\"b\",\"name\":12}]}",
      "{\"tag\":[{\"id\":\"a\",\"name\":\"a\"},{\"name\":\"b\"}]}",
      "{\"tag\":[{\"id\":\"a\",\"colours\":\"a\"}]}",
      "{\"no_such\":[]}",
      "{\"customer\":[{\"id\":\"a\",\"kind\":\"person\"}]}",
      "{\"site_key\":[{\"id\":\"a\",\"site_id\":\"north\"}]}",
      "{\"setting\":[{\"id\":\"epoch\",\"name\":\"epoch\",\"value\":\"00\"}]}",
      "{\"tag\":[{\"id\":\"ok\",\"name\":\"x\"}],\"custom_table\":[{\"id\":\"x\",\"number\":1000,\"name\":\"Bad "
      "Name\"}]}",
      "{\"custom_table\":[{\"id\":\"a\",\"number\":1000,\"name\":\"fine\"},{\"id\":\"b\",\"number\":1001,\"name\":"
      "\"customer\"}]}",
      "\xff\xfe",
  };
  int64_t sequence = fx_int(fx, "SELECT sequence FROM stream WHERE site=1");
  for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
    if (load(fx, bad[i], false, NULL, 0) != TRB_PEER) fail_msg("taken: %s", bad[i]);
    assert_true(fx->err.text[0]);
  }
  assert_int_equal(fx_int(fx, "SELECT count(*) FROM tag"), 0);
  assert_int_equal(fx_int(fx, "SELECT sequence FROM stream WHERE site=1"), sequence);
}

static void policy_load_makes_custom_tables_and_takes_their_rows_in_one_file(void **state) {
  struct fx *fx = *state;
  static const char json[] =
      "{\"office\":[{\"id\":\"o1\",\"floor\":3}],"
      "\"custom_table\":[{\"id\":\"t\",\"number\":1001,\"name\":\"office\",\"branch_writes\":false}],"
      "\"custom_column\":[{\"id\":\"c\",\"table_number\":1001,\"number\":62,\"name\":\"floor\",\"type\":\"int\"},"
      "{\"id\":\"d\",\"table_number\":1,\"number\":62,\"name\":\"shoe_size\",\"type\":\"int\"}]}";
  fx_ok(fx, load(fx, json, false, NULL, 0));
  assert_int_equal(fx_int(fx, "SELECT floor FROM office"), 3);
  struct fx_batch b = {0};
  fx_cell(fx_customer(&b, "C1", "张三"), 62, trb_int(42));
  fx_send(fx, &fx->site[0], &b);
  assert_int_equal(fx_int(fx, "SELECT shoe_size FROM customer"), 42);
  fx_reopen(fx);
  assert_non_null(catalogue_named(fx->w.store.catalogue, "office"));
  fx_verify(fx);
}

static void policy_load_promotes_columns_that_were_kept_raw(void **state) {
  struct fx *fx = *state;
  struct fx_batch b = {0};
  fx_cell(fx_customer(&b, "C1", "张三"), 62, trb_int(42));
  fx_send(fx, &fx->site[0], &b);
  static const char json[] =
      "{\"custom_column\":[{\"id\":\"d\",\"table_number\":1,\"number\":62,\"name\":\"shoe_size\",\"type\":\"int\"}]}";
  fx_ok(fx, load(fx, json, false, NULL, 0));
  assert_int_equal(fx_int(fx, "SELECT shoe_size FROM customer"), 42);
  assert_int_equal(fx_int(fx, "SELECT _extra IS NULL FROM customer"), 1);
  fx_verify(fx);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, fx_setup, fx_teardown)
int main(void) {
  const struct CMUnitTest tests[] = {
      TEST(policy_load_writes_rows_and_leaves_the_same_ones),
      TEST(policy_load_takes_a_dump_of_itself),
      TEST(policy_load_refuses_the_whole_file_for_one_bad_row),
      TEST(policy_load_makes_custom_tables_and_takes_their_rows_in_one_file),
      TEST(policy_load_promotes_columns_that_were_kept_raw),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
