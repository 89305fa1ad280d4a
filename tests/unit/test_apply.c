/* Rows at headquarters: per column the later effective time wins, deletes, unknown columns, digests, history. */
#include "hub_fixture.h"

#include "tributary/times.h"

/* A change with times of one's own, past the stream: as an older stream's or a retried change has them. */
static enum trb_refusal apply_at(struct fx *fx, const struct trb_change *change, trb_hlc time) {
  struct trb_change copy = *change;
  struct unify_sites dirty;
  enum trb_refusal refusal = TRB_REFUSED_NONE;
  struct apply_context context = {
      .site = fx->site[0].no, .sequence = 1, .accepted = time, .now_ms = 1000, .times = &time};
  struct apply_input input = {.change = &copy};
  copy.mark = 0;
  for (size_t i = 0; i < copy.cell_count; i++) copy.cells[i].mark = 0;
  fx_ok(fx, store_begin(&fx->w.store, &fx->err));
  fx_ok(fx, apply_change(&fx->w.store, &context, &input, &refusal, &fx->err));
  fx_ok(fx, store_commit(&fx->w.store, &dirty, &fx->err));
  return refusal;
}

static void apply_put_writes_the_whole_row_and_set_only_its_columns(void **state) {
  struct fx *fx = *state;
  struct fx_batch a = {0}, b = {0};
  fx_cell(fx_customer(&a, "C1", "张三"), TRB_C_customer_city, trb_text("上海"));
  fx_send(fx, &fx->site[0], &a);
  fx_cell(fx_change(&b, TRB_T_customer, TRB_OP_SET, "C1"), TRB_C_customer_city, trb_text("北京"));
  fx_send(fx, &fx->site[0], &b);
  fx_text(fx, "SELECT name || city FROM customer", "张三北京");
  struct fx_batch c = {0};
  fx_customer(&c, "C1", "张三丰");
  fx_send(fx, &fx->site[0], &c);
  fx_text(fx, "SELECT name || coalesce(city,'-') FROM customer", "张三丰-");
  fx_verify(fx);
}

static void apply_lets_the_later_time_win_column_by_column(void **state) {
  struct fx *fx = *state;
  struct fx_batch b = {0};
  struct trb_change *c = fx_customer(&b, "C1", "张三");
  fx_cell(c, TRB_C_customer_city, trb_text("上海"));
  assert_int_equal(apply_at(fx, c, 1000), 0);
  struct fx_batch late = {0};
  struct trb_change *name = fx_change(&late, TRB_T_customer, TRB_OP_SET, "C1");
  fx_cell(name, TRB_C_customer_name, trb_text("李四"));
  apply_at(fx, name, 3000);
  struct trb_change *old = fx_change(&late, TRB_T_customer, TRB_OP_SET, "C1");
  fx_cell(old, TRB_C_customer_name, trb_text("王五"));
  fx_cell(old, TRB_C_customer_city, trb_text("广州"));
  apply_at(fx, old, 2000);
  fx_text(fx, "SELECT name || city FROM customer", "李四广州");
  struct trb_change *tie = fx_change(&late, TRB_T_customer, TRB_OP_SET, "C1");
  fx_cell(tie, TRB_C_customer_name, trb_text("赵六"));
  apply_at(fx, tie, 3000);
  fx_text(fx, "SELECT name FROM customer", "赵六");
  /* The loser is in the history as one: op 0. */
  assert_int_equal(fx_int(fx, "SELECT count(*) FROM history WHERE op=0"), 1);
  fx_verify(fx);
}

static void apply_keeps_a_deleted_row_deleted_against_older_changes(void **state) {
  struct fx *fx = *state;
  struct fx_batch b = {0};
  apply_at(fx, fx_customer(&b, "C1", "张三"), 1000);
  apply_at(fx, fx_change(&b, TRB_T_customer, TRB_OP_DELETE, "C1"), 3000);
  assert_int_equal(fx_int(fx, "SELECT count(*) FROM customer"), 0);
  apply_at(fx, fx_customer(&b, "C1", "张三旧"), 2000);
  assert_int_equal(fx_int(fx, "SELECT count(*) FROM customer"), 0);
  apply_at(fx, fx_customer(&b, "C1", "张三新"), 4000);
  fx_text(fx, "SELECT name FROM customer", "张三新");
  /* Its stamp is still that of its first change. */
  assert_int_equal(fx_int(fx, "SELECT _accepted FROM customer"), 1000);
  fx_verify(fx);
}

static void apply_ignores_a_delete_older_than_the_row(void **state) {
  struct fx *fx = *state;
  struct fx_batch b = {0};
  apply_at(fx, fx_customer(&b, "C1", "张三"), 3000);
  apply_at(fx, fx_change(&b, TRB_T_customer, TRB_OP_DELETE, "C1"), 2000);
  assert_int_equal(fx_int(fx, "SELECT count(*) FROM customer"), 1);
}

static void apply_writes_no_history_for_a_first_insert_and_old_values_for_the_rest(void **state) {
  struct fx *fx = *state;
  struct fx_batch a = {0}, b = {0}, c = {0};
  fx_customer(&a, "C1", "张三");
  fx_send(fx, &fx->site[0], &a);
  assert_int_equal(fx_int(fx, "SELECT count(*) FROM history WHERE site=2"), 0);
  fx_cell(fx_change(&b, TRB_T_customer, TRB_OP_SET, "C1"), TRB_C_customer_name, trb_text("李四"));
  fx_send(fx, &fx->site[0], &b);
  assert_int_equal(fx_int(fx, "SELECT count(*) FROM history WHERE site=2 AND instr(old, CAST('张三' AS BLOB))"), 1);
  fx_change(&c, TRB_T_customer, TRB_OP_DELETE, "C1");
  fx_send(fx, &fx->site[0], &c);
  assert_int_equal(fx_int(fx, "SELECT count(*) FROM history WHERE site=2 AND op=3"), 1);
  fx_verify(fx);
}

static void apply_keeps_columns_it_does_not_know_and_counts_them(void **state) {
  struct fx *fx = *state;
  struct fx_batch a = {0}, b = {0};
  fx_cell(fx_customer(&a, "C1", "张三"), 900, trb_text("四十二"));
  a.batch.header.digest_count = 1;
  a.digests[0] = (struct trb_digest){TRB_T_customer, 1, 0};
  a.digests[0].sum = digest_cell(TRB_T_customer, trb_slice_str("C1"), 0, trb_null()) +
                     digest_cell(TRB_T_customer, trb_slice_str("C1"), TRB_C_customer_kind, trb_text("person")) +
                     digest_cell(TRB_T_customer, trb_slice_str("C1"), TRB_C_customer_name, trb_text("张三")) +
                     digest_cell(TRB_T_customer, trb_slice_str("C1"), 900, trb_text("四十二"));
  fx_send(fx, &fx->site[0], &a);
  assert_int_equal(fx_int(fx, "SELECT count(*) FROM set_aside"), 0);
  assert_int_equal(fx_int(fx, "SELECT length(_extra) > 9 FROM customer"), 1);
  fx_cell(fx_change(&b, TRB_T_customer, TRB_OP_SET, "C1"), 900, trb_null());
  fx_send(fx, &fx->site[0], &b);
  assert_int_equal(fx_int(fx, "SELECT _extra IS NULL FROM customer"), 1);
  fx_verify(fx);
}

static void apply_records_a_difference_of_digests_until_it_is_gone(void **state) {
  struct fx *fx = *state;
  struct fx_batch a = {0}, b = {0};
  fx_customer(&a, "C1", "张三");
  a.batch.header.digest_count = 1;
  a.digests[0] = (struct trb_digest){TRB_T_customer, 1, 12345};
  fx_send(fx, &fx->site[0], &a);
  assert_int_equal(fx_int(fx, "SELECT count(*) FROM set_aside WHERE reason=100"), 1);
  assert_int_equal(fx_int(fx, "SELECT count(*) FROM rejected_change_of WHERE reason_code='digest'"), 1);
  fx_change(&b, TRB_T_customer, TRB_OP_DELETE, "C1");
  b.batch.header.digest_count = 1;
  b.digests[0] = (struct trb_digest){TRB_T_customer, 0, 0};
  fx_send(fx, &fx->site[0], &b);
  assert_int_equal(fx_int(fx, "SELECT count(*) FROM set_aside"), 0);
}

static void apply_takes_an_integer_in_a_real_column_as_sqlite_does(void **state) {
  struct fx *fx = *state;
  struct fx_batch a = {0};
  fx_cell(fx_customer(&a, "C1", "张三"), TRB_C_customer_credit_limit, trb_int(5000));
  fx_send(fx, &fx->site[0], &a);
  fx_text(fx, "SELECT typeof(credit_limit) FROM customer", "real");
  fx_verify(fx);
}

static void apply_keeps_rows_of_two_sites_with_one_id_apart(void **state) {
  struct fx *fx = *state;
  for (int i = 0; i < 2; i++) {
    struct fx_batch b = {0};
    fx_customer(&b, "C001", i ? "李四" : "张三");
    fx_contact(&b, "K", "C001", "13911112222");
    fx_send(fx, &fx->site[i], &b);
  }
  assert_int_equal(fx_int(fx, "SELECT count(*) FROM customer"), 2);
  assert_int_equal(fx_int(fx, "SELECT count(*) FROM unified_customer"), 1);
  fx_verify(fx);
}

static void apply_refuses_what_makes_a_row_larger_than_the_limit(void **state) {
  struct fx *fx = *state;
  struct fx_batch a = {0};
  fx_customer(&a, "C1", "张三");
  fx_send(fx, &fx->site[0], &a);
  char *text = malloc(TRB_ROW_BYTES_MAX / 4 + 1);
  memset(text, 'x', TRB_ROW_BYTES_MAX / 4);
  text[TRB_ROW_BYTES_MAX / 4] = 0;
  for (uint16_t column = 300; column < 306; column++) { /* columns nobody knows */
    struct fx_batch b = {0};
    fx_cell(fx_change(&b, TRB_T_customer, TRB_OP_SET, "C1"), column, trb_text(text));
    fx_send(fx, &fx->site[0], &b);
  }
  assert_in_range(fx_int(fx, "SELECT length(_extra) FROM customer"), 1, TRB_ROW_BYTES_MAX);
  assert_int_equal(fx_int(fx, "SELECT reason FROM set_aside ORDER BY no LIMIT 1"), TRB_REFUSED_SIZE);
  free(text);
  fx_verify(fx);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, fx_setup, fx_teardown)
int main(void) {
  const struct CMUnitTest tests[] = {
      TEST(apply_put_writes_the_whole_row_and_set_only_its_columns),
      TEST(apply_refuses_what_makes_a_row_larger_than_the_limit),
      TEST(apply_lets_the_later_time_win_column_by_column),
      TEST(apply_keeps_a_deleted_row_deleted_against_older_changes),
      TEST(apply_ignores_a_delete_older_than_the_row),
      TEST(apply_writes_no_history_for_a_first_insert_and_old_values_for_the_rest),
      TEST(apply_keeps_columns_it_does_not_know_and_counts_them),
      TEST(apply_records_a_difference_of_digests_until_it_is_gone),
      TEST(apply_takes_an_integer_in_a_real_column_as_sqlite_does),
      TEST(apply_keeps_rows_of_two_sites_with_one_id_apart),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
