/* What each branch is told: for its parties only, masked until it has a booking, withdrawn when it leaves, coalesced,
 * resumable. */
#include "unify_fixture.h"

static void two(struct fx *fx) {
  fx_open(fx);
  fx_customer(fx, 2, "A", "张三", "13911112222");
  fx_put(fx, 2, "contact", "A-e", "customer_id", "A", "kind", "email", "value", "zhang@example.com", FX_END);
  fx_put(fx, 2, "booking", "b1", "customer_id", "A", "title", "Sanya", "amount", "%100", FX_END);
  fx_pull(fx, 2);
  fx_pull(fx, 3);
}

static void a_branch_without_a_record_is_told_nothing(void **state) {
  (void)state;
  struct fx fx;
  two(&fx);
  assert_int_equal(fx_int(&fx, "SELECT count(*) FROM test_replica WHERE site = 3"), 0);
  assert_string_equal(fx_cell_of(&fx, 2, "unified_contact", "sh/A-e", "value"), "zhang@example.com");
  assert_string_equal(fx_cell_of(&fx, 2, "unified_event", "booking/sh/b1", "title"), "Sanya");
  fx_close(&fx);
}

static void others_contacts_and_history_are_masked_until_a_booking(void **state) {
  (void)state;
  struct fx fx;
  two(&fx);
  fx_customer(&fx, 3, "B", "张三", "13911112222"); /* a card with a stranger's phone */
  fx_pull(&fx, 3);
  assert_string_equal(fx_cell_of(&fx, 3, "party_of", "B", "party_id"), "sh/A");
  assert_string_equal(fx_cell_of(&fx, 3, "unified_contact", "sh/A-m", "value"), "13911112222"); /* its own too */
  assert_string_equal(fx_cell_of(&fx, 3, "unified_contact", "sh/A-e", "value"), "z***@example.com");
  assert_string_equal(fx_cell_of(&fx, 3, "unified_contact", "sh/A-e", "masked"), "1");
  assert_string_equal(fx_cell_of(&fx, 3, "unified_customer", "sh/A", "main_email"), "z***@example.com");
  assert_string_equal(fx_cell_of(&fx, 3, "unified_event", "booking/sh/b1", "site"), "sh");
  assert_string_equal(fx_cell_of(&fx, 3, "unified_event", "booking/sh/b1", "title"), "(null)");
  assert_string_equal(fx_cell_of(&fx, 3, "unified_event", "booking/sh/b1", "amount"), "(null)");
  assert_int_equal(fx_int(&fx, "SELECT count(*) FROM access_log WHERE site = 'bj'"), 0);
  fx_put(&fx, 3, "booking", "b2", "customer_id", "B", "title", "桂林", FX_END);
  fx_pull(&fx, 3);
  assert_string_equal(fx_cell_of(&fx, 3, "unified_contact", "sh/A-e", "value"), "zhang@example.com");
  assert_string_equal(fx_cell_of(&fx, 3, "unified_event", "booking/sh/b1", "title"), "Sanya");
  assert_int_equal(
      fx_int(&fx, "SELECT count(*) FROM access_log WHERE site = 'bj' AND why = 'booking' AND party = 'sh/A'"), 1);
  fx_set(&fx, 3, "booking", "b2", FX_END); /* the booking was a mistake */
  fx_pull(&fx, 3);
  assert_string_equal(fx_cell_of(&fx, 3, "unified_contact", "sh/A-e", "value"), "z***@example.com");
  fx_check_replica(&fx, 3);
  fx_close(&fx);
}

static void a_verified_contact_of_its_own_unmasks(void **state) {
  (void)state;
  struct fx fx;
  two(&fx);
  fx_customer(&fx, 3, "B", "张三", "13911112222");
  fx_set(&fx, 3, "contact", "B-m", "verified_at", "#1700000000000", FX_END);
  fx_pull(&fx, 3);
  assert_string_equal(fx_cell_of(&fx, 3, "unified_contact", "sh/A-e", "value"), "zhang@example.com");
  assert_int_equal(fx_int(&fx, "SELECT count(*) FROM access_log WHERE why = 'verified_contact'"), 1);
  fx_close(&fx);
}

static void sensitive_columns_never_go_down(void **state) {
  (void)state;
  struct fx fx;
  two(&fx);
  fx_set(&fx, 2, "customer", "A", "bank", "ICBC", "account", "622200", "city", "上海", FX_END);
  fx_pull(&fx, 2);
  assert_string_equal(fx_text(&fx, "SELECT bank FROM unified_customer"), "ICBC");
  assert_string_equal(fx_cell_of(&fx, 2, "unified_customer", "sh/A", "bank"), "(null)");
  assert_string_equal(fx_cell_of(&fx, 2, "unified_customer", "sh/A", "account"), "(null)");
  assert_string_equal(fx_cell_of(&fx, 2, "unified_customer", "sh/A", "city"), "上海");
  fx_close(&fx);
}

static void everything_is_withdrawn_after_the_last_record(void **state) {
  (void)state;
  struct fx fx;
  two(&fx);
  fx_customer(&fx, 3, "B", "张三", "13911112222");
  fx_pull(&fx, 3);
  assert_true(fx_int(&fx, "SELECT count(*) FROM test_replica WHERE site = 3") > 3);
  fx_set(&fx, 3, "customer", "B", FX_END);
  fx_set(&fx, 3, "contact", "B-m", FX_END); /* before the branch asks again */
  fx_pull(&fx, 3);
  if (fx_int(&fx, "SELECT count(*) FROM test_replica WHERE site = 3")) fail_msg("left: %s", fx_held(&fx, 3));
  fx_pull(&fx, 2);
  fx_check_replica(&fx, 2);
  fx_close(&fx);
}

static void an_own_scope_hides_a_site_from_the_others(void **state) {
  (void)state;
  struct fx fx;
  two(&fx);
  fx_customer(&fx, 3, "B", "李四", "13911112222");
  fx_put(&fx, 3, "booking", "b2", "customer_id", "B", "title", "x", FX_END);
  fx_pull(&fx, 3);
  assert_string_equal(fx_cell_of(&fx, 3, "unified_contact", "sh/A-e", "value"), "zhang@example.com");
  fx_put(&fx, 1, "site", "sh", "scope", "own", FX_END);
  fx_pull(&fx, 3);
  assert_string_equal(fx_cell_of(&fx, 3, "unified_contact", "sh/A-e", "value"), "(none)");
  assert_string_equal(fx_cell_of(&fx, 3, "unified_event", "booking/sh/b1", "site"), "(none)");
  fx_check_replica(&fx, 3);
  fx_close(&fx);
}

static void a_visibility_rule_hides_a_kind_of_contact(void **state) {
  (void)state;
  struct fx fx;
  two(&fx);
  fx_customer(&fx, 3, "B", "张三", "13911112222");
  fx_put(&fx, 1, "visibility_policy", "v", "table_name", "unified_contact", "field", "email", "rule", "hide",
         "unmask_by", "never", "position", "#1", FX_END);
  fx_pull(&fx, 3);
  assert_string_equal(fx_cell_of(&fx, 3, "unified_contact", "sh/A-e", "value"), "(none)");
  fx_check_replica(&fx, 3);
  fx_close(&fx);
}

static void many_changes_of_one_row_are_one_entry(void **state) {
  (void)state;
  struct fx fx;
  two(&fx);
  for (int i = 0; i < 20; i++) fx_set(&fx, 2, "customer", "A", "city", i % 2 ? "上海" : "北京", FX_END);
  int64_t pending = 0;
  FX_OK(&fx, down_pending(fx.db, 2, &pending, &fx.err));
  assert_int_equal(pending, 1);
  assert_int_equal(fx_pull(&fx, 2), 2); /* golden row and party_of */
  FX_OK(&fx, down_pending(fx.db, 2, &pending, &fx.err));
  assert_int_equal(pending, 0);
  fx_close(&fx);
}

static void an_ack_clears_only_what_it_covers(void **state) {
  (void)state;
  struct fx fx;
  two(&fx);
  uint64_t version = fx.held[2];
  uint32_t flags;
  fx_customer(&fx, 2, "C", "王五", "13933334444");
  fx_pull_from(&fx, 2, 2, &version, 1u << 18, &flags); /* sent, not yet acknowledged */
  fx_set(&fx, 2, "customer", "C", "name", "王六", FX_END);
  FX_OK(&fx, down_clear(fx.db, 2, version, &fx.err));
  fx.held[2] = version;
  assert_true(fx_pull(&fx, 2) > 0);
  assert_string_equal(fx_cell_of(&fx, 2, "unified_customer", "sh/C", "name"), "王六");
  fx_close(&fx);
}

static void small_frames_carry_the_same_in_version_order(void **state) {
  (void)state;
  struct fx fx;
  fx_open(&fx);
  for (int i = 0; i < 30; i++) {
    char id[8], mobile[16];
    snprintf(id, sizeof id, "C%d", i);
    snprintf(mobile, sizeof mobile, "139%08d", i * 7);
    fx_customer(&fx, 2, id, "张三", mobile);
  }
  uint64_t version = 0;
  uint32_t flags;
  size_t small = fx_pull_from(&fx, 2, 2, &version, 600, &flags);
  version = 0;
  assert_int_equal(fx_pull_from(&fx, 2, 102, &version, 1u << 20, &flags), small);
  assert_int_equal(fx_int(&fx, "SELECT count(*) FROM test_replica WHERE site = 2"), 90);
  fx_close(&fx);
}

static void headquarters_rows_go_to_all_and_are_withdrawn(void **state) {
  (void)state;
  struct fx fx;
  fx_open(&fx);
  fx_put(&fx, 1, "product", "p1", "name", "Sanya 5 days", "cost", "%10", "price", "%20", FX_END);
  fx_pull(&fx, 2);
  fx_pull(&fx, 3);
  assert_string_equal(fx_cell_of(&fx, 3, "product", "p1", "name"), "Sanya 5 days");
  assert_string_equal(fx_cell_of(&fx, 3, "product", "p1", "cost"), "(null)");
  fx_set(&fx, 1, "product", "p1", FX_END);
  fx_pull(&fx, 2);
  assert_string_equal(fx_cell_of(&fx, 2, "product", "p1", "name"), "(none)");
  fx_put(&fx, 1, "product", "p1", "name", "again", FX_END);
  fx_pull(&fx, 2);
  fx_pull(&fx, 3);
  assert_string_equal(fx_cell_of(&fx, 2, "product", "p1", "name"), "again");
  assert_string_equal(fx_cell_of(&fx, 3, "product", "p1", "name"), "again");
  fx_check_replica(&fx, 2);
  fx_close(&fx);
}

static void rejected_changes_go_to_their_site_alone(void **state) {
  (void)state;
  struct fx fx;
  fx_open(&fx);
  fx_begin(&fx);
  FX_OK(&fx, db_exec(fx.db,
                     "INSERT INTO set_aside(site, tbl, table_name, row_id, op, change, times, accepted, pos, reason, "
                     "reason_text, sequence, at) "
                     "VALUES(2, 1, 'customer', 'C1', 1, x'', x'', 1, 0, 4, 'no such date', 7, 5)",
                     &fx.err));
  FX_OK(&fx, down_note(fx.u, 2, TRB_T_rejected_change, 1, &fx.err));
  struct unify_sites dirty = fx_commit(&fx);
  assert_int_equal(dirty.count, 1);
  assert_int_equal(dirty.site[0], 2);
  fx_pull(&fx, 2);
  fx_pull(&fx, 3);
  assert_string_equal(fx_cell_of(&fx, 2, "rejected_change", "1", "reason"), "no such date");
  assert_int_equal(fx_int(&fx, "SELECT count(*) FROM test_replica WHERE site = 3"), 0);
  fx_begin(&fx);
  FX_OK(&fx, db_exec(fx.db, "DELETE FROM set_aside", &fx.err));
  FX_OK(&fx, down_note(fx.u, 2, TRB_T_rejected_change, 1, &fx.err));
  fx_commit(&fx);
  fx_pull(&fx, 2);
  assert_string_equal(fx_cell_of(&fx, 2, "rejected_change", "1", "reason"), "(none)");
  fx_close(&fx);
}

static void an_empty_snapshot_is_told_with_both_flags(void **state) {
  (void)state;
  struct fx fx;
  fx_open(&fx);
  fx_begin(&fx);
  FX_OK(&fx, down_snapshot(fx.db, 4, &fx.err));
  FX_OK(&fx, db_commit(fx.db, &fx.err));
  uint64_t version = 0;
  uint32_t flags;
  fx_pull_from(&fx, 4, 4, &version, 1000, &flags);
  assert_int_equal(flags & 6, 6);
  assert_true(version > 0);
  fx_pull_from(&fx, 4, 4, &version, 1000, &flags);
  assert_int_equal(flags, 0);
  fx_close(&fx);
}

static void unify_forget_leaves_nothing_of_a_rolled_back_transaction(void **state) {
  (void)state;
  struct fx fx;
  two(&fx);
  fx_begin(&fx);
  fx_customer(&fx, 3, "B", "张三", "13911112222");
  db_rollback(fx.db);
  unify_forget(fx.u);
  fx_customer(&fx, 3, "Z", "李四", "13955556666");
  assert_string_equal(fx_party(&fx, "bj", "Z"), "bj/Z");
  assert_int_equal(fx_int(&fx, "SELECT count(*) FROM unified_customer"), 2);
  fx_pull(&fx, 3);
  fx_check_replica(&fx, 3);
  fx_close(&fx);
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(a_branch_without_a_record_is_told_nothing),
      cmocka_unit_test(others_contacts_and_history_are_masked_until_a_booking),
      cmocka_unit_test(a_verified_contact_of_its_own_unmasks),
      cmocka_unit_test(sensitive_columns_never_go_down),
      cmocka_unit_test(everything_is_withdrawn_after_the_last_record),
      cmocka_unit_test(an_own_scope_hides_a_site_from_the_others),
      cmocka_unit_test(a_visibility_rule_hides_a_kind_of_contact),
      cmocka_unit_test(many_changes_of_one_row_are_one_entry),
      cmocka_unit_test(an_ack_clears_only_what_it_covers),
      cmocka_unit_test(small_frames_carry_the_same_in_version_order),
      cmocka_unit_test(headquarters_rows_go_to_all_and_are_withdrawn),
      cmocka_unit_test(rejected_changes_go_to_their_site_alone),
      cmocka_unit_test(an_empty_snapshot_is_told_with_both_flags),
      cmocka_unit_test(unify_forget_leaves_nothing_of_a_rolled_back_transaction),
  };
  return cmocka_run_group_tests_name("down", tests, NULL, NULL);
}
