/* Headquarters' tables as JSON. */
#include "hub_fixture.h"

#include "../node/hub/policy_check.h"

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

static void policy_load_keeps_what_was_defined_as_it_is(void **state) {
  struct fx *fx = *state;
  static const char json[] =
      "{\"custom_table\":[{\"id\":\"t\",\"number\":1001,\"name\":\"office\",\"branch_writes\":1}],"
      "\"custom_column\":[{\"id\":\"c\",\"table_number\":1001,\"number\":62,\"name\":\"rent\",\"type\":\"real\"},"
      "{\"id\":\"d\",\"table_number\":1,\"number\":62,\"name\":\"shoe_size\",\"type\":\"real\",\"doc\":\"boots\"}]}";
  fx_ok(fx, load(fx, json, false, NULL, 0));
  struct fx_batch b = {0};
  fx_cell(fx_customer(&b, "C1", "张三"), 62, trb_real(42.5));
  fx_send(fx, &fx->site[0], &b);
  static const char *const bad[] = {
      "{\"custom_column\":[{\"id\":\"d\",\"table_number\":1,\"number\":62,\"name\":\"shoe_size\",\"type\":\"int\"}]}",
      "{\"custom_column\":[{\"id\":\"d\",\"table_number\":1,\"number\":62,\"name\":\"boot_size\",\"type\":\"real\"}]}",
      "{\"custom_column\":[{\"id\":\"d\",\"table_number\":1,\"number\":63,\"name\":\"shoe_size\",\"type\":\"real\"}]}",
      "{\"custom_column\":[{\"id\":\"d\",\"table_number\":2,\"number\":62,\"name\":\"shoe_size\",\"type\":\"real\"}]}",
      "{\"custom_column\":[{\"id\":\"e\",\"table_number\":1,\"number\":62,\"name\":\"other\",\"type\":\"int\"}]}",
      "{\"custom_column\":[{\"id\":\"d\",\"_delete\":true}]}",
      "{\"custom_table\":[{\"id\":\"t\",\"_delete\":true}]}",
      "{\"custom_table\":[{\"id\":\"t\",\"number\":1001,\"name\":\"office\",\"branch_writes\":0}]}",
      "{\"custom_table\":[{\"id\":\"t\",\"number\":1002,\"name\":\"office\",\"branch_writes\":1}]}",
      "{\"custom_table\":[{\"id\":\"u\",\"number\":1001,\"name\":\"bureau\",\"branch_writes\":1}]}",
      /* twice in one file */
      "{\"custom_column\":[{\"id\":\"x\",\"table_number\":1,\"number\":70,\"name\":\"hat\",\"type\":\"real\"},"
      "{\"id\":\"y\",\"table_number\":1,\"number\":70,\"name\":\"hat\",\"type\":\"int\"}]}",
      "{\"custom_column\":[{\"id\":\"x\",\"table_number\":1,\"number\":70,\"name\":\"hat\",\"type\":\"real\"},"
      "{\"id\":\"x\",\"table_number\":1,\"number\":71,\"name\":\"cap\",\"type\":\"int\"}]}",
  };
  for (size_t i = 0; i < sizeof bad / sizeof *bad; i++)
    for (int dry = 1; dry >= 0; dry--) {
      if (load(fx, bad[i], dry, NULL, 0) != TRB_PEER) fail_msg("taken: %s", bad[i]);
      assert_true(fx->err.text[0]);
    }
  assert_int_equal(fx_int(fx, "SELECT count(*) FROM custom_column"), 2);
  static const char doc[] =
      "{\"custom_column\":[{\"id\":\"d\",\"table_number\":1,\"number\":62,\"name\":\"shoe_size\",\"type\":\"real\","
      "\"doc\":"
      "\"for rented boots\",\"sensitive\":true}]}";
  fx_ok(fx, load(fx, doc, false, NULL, 0)); /* what it is for may be said better */
  fx_text(fx, "SELECT doc FROM custom_column WHERE id='d'", "for rented boots");
  fx_verify(fx);
}

/* One row in each table that means nothing; each beside a good row, which must not be taken either. */
static void policy_load_refuses_rows_that_mean_nothing(void **state) {
  struct fx *fx = *state;
  static const char *const bad[][3] = {
      {"identity_policy", "\"kind\":\"mobile\",\"strength\":\"weird\"", "strength"},
      {"identity_policy", "\"kind\":\"mobile\",\"normaliser\":\"nope\"", "normaliser"},
      {"identity_policy", "\"kind\":\"mobile\",\"people_limit\":-4", "people_limit"},
      {"identity_policy", "\"kind\":\"mobile\",\"people_limit\":0", "people_limit"},
      {"identity_policy", "\"kind\":\"mobile\",\"enabled\":2", "enabled"},
      {"identity_policy", "\"strength\":\"weak\"", "kind"},
      {"identity_policy", "\"kind\":\"mobile\",\"parameter\":\"{broken\"", "parameter"},
      {"survivorship_policy", "\"field\":\"nofield\",\"rule\":\"recent\"", "field"},
      {"survivorship_policy", "\"field\":\"created_at\",\"rule\":\"recent\"", "field"},
      {"survivorship_policy", "\"field\":\"name\",\"rule\":\"guess\"", "rule"},
      {"survivorship_policy", "\"field\":\"name\"", "rule"},
      {"survivorship_policy", "\"field\":\"name\",\"rule\":\"trusted_site\",\"sites\":\"North!\"", "sites"},
      {"visibility_policy", "\"scope\":\"galaxy\",\"rule\":\"show\"", "scope"},
      {"visibility_policy", "\"rule\":\"shown\"", "rule"},
      {"visibility_policy", "\"rule\":\"mask\",\"unmask_by\":\"luck\"", "unmask_by"},
      {"visibility_policy", "\"rule\":\"hide\",\"table_name\":\"unified_contacts\"", "table_name"},
      {"visibility_policy", "\"rule\":\"hide\",\"sites\":\", ,\"", "sites"},
      {"grade_rule", "\"grade\":\"gold\",\"period_days\":0", "period_days"},
      {"grade_rule", "\"grade\":\"gold\",\"kind\":\"people\"", "kind"},
      {"grade_rule", "\"grade\":\"gold\",\"spent_min\":-1.5", "spent_min"},
      {"points_rule", "\"points_per_unit\":-1", "points_per_unit"},
      {"points_allowance", "\"points\":-1", "points"},
      {"staff", "\"state\":\"gone\"", "state"},
      {"product", "\"price\":-5", "price"},
      {"departure", "\"state\":\"soon\"", "state"},
      {"tag", "\"name\":\"x\",\"state\":\"off\"", "state"},
      {"campaign", "\"segment\":\"city = x\"", "segment"},
      {"knowledge_article", "\"state\":\"final\"", "state"},
      {"notice", "\"priority\":\"whenever\"", "priority"},
      {"custom_table", "\"number\":1005,\"name\":\"fine\",\"branch_writes\":7", "branch_writes"},
      {"custom_column", "\"table_number\":1,\"number\":90,\"name\":\"fine\",\"type\":\"text\",\"max_bytes\":-1",
       "max_bytes"},
  };
  int64_t sequence = fx_int(fx, "SELECT sequence FROM stream WHERE site=1");
  for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
    char json[400];
    snprintf(json, sizeof json, "{\"target\":[{\"id\":\"good\",\"amount\":1}],\"%s\":[{\"id\":\"bad\",%s}]}", bad[i][0],
             bad[i][1]);
    fx->err.text[0] = 0;
    if (load(fx, json, false, NULL, 0) != TRB_PEER) fail_msg("taken: %s", json);
    if (!strstr(fx->err.text, bad[i][0]) || !strstr(fx->err.text, bad[i][2])) fail_msg("%s: %s", json, fx->err.text);
  }
  assert_int_equal(fx_int(fx, "SELECT count(*) FROM target"), 0);
  assert_int_equal(fx_int(fx, "SELECT sequence FROM stream WHERE site=1"), sequence);
  fx_ok(fx,
        load(fx,
             "{\"visibility_policy\":[{\"id\":\"v\",\"scope\":\"own\",\"rule\":\"hide\",\"field\":\"email\",\"sites\":"
             "\"north, south\",\"table_name\":\"unified_contact\",\"unmask_by\":\"booking\",\"position\":3}],"
             "\"identity_policy\":[{\"id\":\"fax\",\"kind\":\"fax\",\"strength\":\"none\",\"enabled\":false,"
             "\"parameter\":\"{\\\"x\\\":1}\"}]}",
             false, NULL, 0));
}

static void policy_check_setting_knows_names_and_ranges(void **state) {
  (void)state;
  struct trb_error err = {0};
  assert_int_equal(policy_check_setting("branch_silent_hours", "0", &err), TRB_OK);
  assert_int_equal(policy_check_setting("history_rows_max", "20000000", &err), TRB_OK);
  assert_int_equal(policy_check_setting("mass_delete_min", "1000000", &err), TRB_OK);
  assert_int_equal(policy_check_setting("name", "总部", &err), TRB_OK);
  static const char *const bad[][2] = {{"branch_silent_hour", "7"},
                                       {"", "7"},
                                       {"epoch", "00"},
                                       {"branch_silent_hours", "-1"},
                                       {"branch_silent_hours", "7h"},
                                       {"branch_silent_hours", ""},
                                       {"branch_silent_hours", "1e3"},
                                       {"branch_silent_hours", " 7"},
                                       {"history_rows_max", "99999999999999999999999"},
                                       {"mass_delete_min", "９"},
                                       {"name", ""}};
  for (size_t i = 0; i < sizeof bad / sizeof *bad; i++)
    if (policy_check_setting(bad[i][0], bad[i][1], &err) != TRB_PEER) fail_msg("taken: %s %s", bad[i][0], bad[i][1]);
  policy_check_setting("nonsense", "1", &err);
  assert_non_null(strstr(err.text, "mass_delete_min")); /* says what there is */
}

static void verify_says_what_differs(void **state) {
  struct fx *fx = *state;
  struct hub_report report;
  struct fx_batch b = {0};
  char path[96];
  fx_customer(&b, "C1", "张三");
  fx_send(fx, &fx->site[0], &b);
  fx_ok(fx, db_exec(fx->w.store.db, "UPDATE digest SET sum=sum+1 WHERE site=2 AND tbl=1", &fx->err));
  snprintf(path, sizeof path, "%s/hub.db", fx->dir);
  fx_ok(fx, hub_verify(path, &report, &fx->err));
  assert_string_equal(report.first,
                      "site 2, table 1 (customer): the digest's hash differs from that of the 1 rows there");
  fx_ok(fx, db_exec(fx->w.store.db, "UPDATE digest SET rows=rows+1 WHERE site=2 AND tbl=1", &fx->err));
  fx_ok(fx, hub_verify(path, &report, &fx->err));
  assert_string_equal(report.first, "site 2, table 1 (customer): the digest says 2 rows, there are 1");
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, fx_setup, fx_teardown)
int main(void) {
  const struct CMUnitTest tests[] = {
      TEST(policy_load_writes_rows_and_leaves_the_same_ones),
      TEST(policy_load_takes_a_dump_of_itself),
      TEST(policy_load_keeps_what_was_defined_as_it_is),
      TEST(policy_load_refuses_rows_that_mean_nothing),
      TEST(policy_check_setting_knows_names_and_ranges),
      TEST(verify_says_what_differs),
      TEST(policy_load_refuses_the_whole_file_for_one_bad_row),
      TEST(policy_load_makes_custom_tables_and_takes_their_rows_in_one_file),
      TEST(policy_load_promotes_columns_that_were_kept_raw),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
