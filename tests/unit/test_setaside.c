/* What cannot be applied: reasons, joining, mass deletes, retries, digests over what is held. */
#include "hub_fixture.h"

static struct setaside_outcome retry(struct fx *fx, int64_t no, bool release) {
  struct setaside_outcome outcome;
  struct unify_sites dirty;
  fx_ok(fx, store_begin(&fx->w.store, &fx->err));
  fx_ok(fx, setaside_retry(&fx->w.store, no, release, 5000, &outcome, &fx->err));
  fx_ok(fx, store_commit(&fx->w.store, &dirty, &fx->err));
  return outcome;
}

static void setaside_takes_only_the_bad_change_and_later_ones_of_its_row(void **state) {
  struct fx *fx = *state;
  struct fx_batch a = {0}, b = {0};
  fx_cell(fx_customer(&a, "bad", "张三"), TRB_C_customer_birthday, trb_text("昨天"));
  fx_customer(&a, "good", "李四");
  fx_send(fx, &fx->site[0], &a);
  fx_cell(fx_change(&b, TRB_T_customer, TRB_OP_SET, "bad"), TRB_C_customer_name, trb_text("张三丰"));
  fx_send(fx, &fx->site[0], &b);
  fx_text(fx, "SELECT group_concat(id) FROM customer", "good");
  assert_int_equal(fx_int(fx, "SELECT reason FROM set_aside WHERE no=1"), TRB_REFUSED_VALUE);
  assert_int_equal(fx_int(fx, "SELECT reason FROM set_aside WHERE no=2"), TRB_REFUSED_EARLIER);
  /* The reason names the column and never the value. */
  assert_int_equal(fx_int(fx, "SELECT instr(reason_text,'birthday')>0 AND instr(reason_text,'昨天')=0 FROM set_aside"),
                   1);
  fx_verify(fx);
}

static void setaside_counts_what_is_held_so_that_digests_stay_equal(void **state) {
  struct fx *fx = *state;
  struct fx_batch a = {0};
  fx_cell(fx_customer(&a, "bad", "张三"), TRB_C_customer_birthday, trb_text("昨天"));
  a.batch.header.digest_count = 1;
  struct trb_slice id = trb_slice_str("bad");
  a.digests[0] = (struct trb_digest){TRB_T_customer, 1,
                                     digest_cell(TRB_T_customer, id, 0, trb_null()) +
                                         digest_cell(TRB_T_customer, id, TRB_C_customer_kind, trb_text("person")) +
                                         digest_cell(TRB_T_customer, id, TRB_C_customer_name, trb_text("张三")) +
                                         digest_cell(TRB_T_customer, id, TRB_C_customer_birthday, trb_text("昨天"))};
  fx_send(fx, &fx->site[0], &a);
  assert_int_equal(fx_int(fx, "SELECT count(*) FROM set_aside WHERE reason=100"), 0);
  assert_int_equal(fx_int(fx, "SELECT rows FROM digest WHERE site=2 AND tbl=1"), 1);
}

static void setaside_heals_a_row_when_the_branch_deletes_and_retry_succeeds(void **state) {
  struct fx *fx = *state;
  struct fx_batch a = {0}, b = {0};
  fx_cell(fx_customer(&a, "bad", "张三"), TRB_C_customer_birthday, trb_text("昨天"));
  fx_send(fx, &fx->site[0], &a);
  assert_int_equal(retry(fx, 1, true).refused, 1); /* the reason is still there */
  fx_cell(fx_customer(&b, "bad", "张三"), TRB_C_customer_birthday, trb_text("1990-02-03"));
  fx_send(fx, &fx->site[0], &b);
  fx_verify(fx);
}

static void setaside_keeps_an_unknown_table_until_the_catalogue_learns_it(void **state) {
  struct fx *fx = *state;
  struct fx_batch a = {0};
  TRB_BUF_AUTO out = {0};
  struct trb_change *c = fx_change(&a, 1000, TRB_OP_PUT, "V1");
  fx_cell(c, 62, trb_text("日本"));
  fx_send(fx, &fx->site[0], &a);
  assert_int_equal(fx_int(fx, "SELECT reason FROM set_aside"), TRB_REFUSED_TABLE);
  fx_verify(fx);
  static const char policy[] =
      "{\"custom_table\":[{\"id\":\"v\",\"number\":1000,\"name\":\"visa_case\",\"branch_writes\":true}],"
      "\"custom_column\":[{\"id\":\"c\",\"table_number\":1000,\"number\":62,\"name\":\"country\",\"type\":\"text\","
      "\"max_bytes\":64}]}";
  fx_ok(fx, policy_load(&fx->w.hq, trb_slice_str(policy), false, writer_now_ms(), &out, &fx->err));
  assert_int_equal(fx_int(fx, "SELECT count(*) FROM set_aside"), 0);
  fx_text(fx, "SELECT country FROM visa_case", "日本");
  fx_verify(fx);
}

static void add_many(struct fx *fx, int count) {
  struct fx_batch b = {0};
  static char ids[FX_CHANGES_MAX][8];
  for (int i = 0; i < count; i++) {
    snprintf(ids[i], sizeof ids[i], "C%02d", i);
    fx_customer(&b, ids[i], "张三");
  }
  fx_send(fx, &fx->site[0], &b);
}
static void delete_many(struct fx *fx, int count, enum trb_op op) {
  struct fx_batch b = {0};
  static char ids[FX_CHANGES_MAX][8];
  for (int i = 0; i < count; i++) {
    snprintf(ids[i], sizeof ids[i], "C%02d", i);
    fx_change(&b, TRB_T_customer, op, ids[i]);
  }
  fx_send(fx, &fx->site[0], &b);
}

static void setaside_holds_a_mass_delete_until_it_is_released(void **state) {
  struct fx *fx = *state;
  add_many(fx, 40);
  delete_many(fx, 21, TRB_OP_DELETE);
  assert_int_equal(fx_int(fx, "SELECT count(*) FROM customer"), 40);
  assert_int_equal(fx_int(fx, "SELECT count(*) FROM set_aside WHERE reason=6"), 21);
  assert_int_equal(fx_int(fx, "SELECT rows FROM digest WHERE site=2 AND tbl=1"), 19); /* as the branch has it */
  fx_verify(fx);
  assert_int_equal(retry(fx, 1, true).applied, 1);
  assert_int_equal(retry(fx, 0, true).applied, 20);
  assert_int_equal(fx_int(fx, "SELECT count(*) FROM customer"), 19);
  fx_verify(fx);
}

static void setaside_lets_few_deletes_and_the_undo_of_an_import_pass(void **state) {
  struct fx *fx = *state;
  add_many(fx, 40);
  delete_many(fx, 20, TRB_OP_DELETE);
  assert_int_equal(fx_int(fx, "SELECT count(*) FROM customer"), 20);
  struct fx_batch b = {0};
  (void)b;
  delete_many(fx, 40, TRB_OP_UNDO);
  assert_int_equal(fx_int(fx, "SELECT count(*) FROM customer"), 0);
  assert_int_equal(fx_int(fx, "SELECT count(*) FROM set_aside"), 0);
  fx_verify(fx);
}

static void setaside_counts_deletes_over_the_whole_pass(void **state) {
  struct fx *fx = *state;
  add_many(fx, 40);
  static char ids[40][8];
  for (int part = 0; part < 2; part++) {
    struct fx_batch b = {0};
    if (part == 0) b.batch.header.flags = TRB_BATCH_CONTINUES;
    for (int i = 0; i < 15; i++) {
      snprintf(ids[part * 15 + i], 8, "C%02d", part * 15 + i);
      fx_change(&b, TRB_T_customer, TRB_OP_DELETE, ids[part * 15 + i]);
    }
    fx_send(fx, &fx->site[0], &b);
  }
  assert_int_equal(fx_int(fx, "SELECT count(*) FROM customer"), 40);
}

static void setaside_retry_never_overwrites_a_later_time(void **state) {
  struct fx *fx = *state;
  add_many(fx, 40);
  delete_many(fx, 21, TRB_OP_DELETE);
  /* Meanwhile another stream of the site wrote the row, later. */
  struct trb_cell cells[] = {{TRB_C_customer_kind, 0, trb_text("person")}, {TRB_C_customer_name, 0, trb_text("李四")}};
  struct trb_change put = {TRB_T_customer, TRB_OP_PUT, 0, trb_slice_str("C00"), 2, cells};
  trb_hlc later = (trb_hlc)INT64_MAX;
  struct apply_context context = {fx->site[0].no, 9, fx->w.store.last_commit, 5000, &later};
  struct apply_input input = {.change = &put, .retry = true};
  struct unify_sites dirty;
  fx_ok(fx, store_begin(&fx->w.store, &fx->err));
  fx_ok(fx, apply_change(&fx->w.store, &context, &input, NULL, &fx->err));
  fx_ok(fx, store_commit(&fx->w.store, &dirty, &fx->err));
  retry(fx, 0, true);
  fx_text(fx, "SELECT name FROM customer WHERE id='C00'", "李四");
  assert_int_equal(fx_int(fx, "SELECT count(*) FROM set_aside"), 0);
}

static void setaside_refuses_tables_of_headquarters_from_a_branch(void **state) {
  struct fx *fx = *state;
  struct fx_batch a = {0};
  fx_cell(fx_change(&a, TRB_T_tag, TRB_OP_PUT, "vip"), TRB_C_tag_name, trb_text("VIP"));
  fx_cell(fx_change(&a, TRB_T_site_key, TRB_OP_PUT, "x"), TRB_C_site_key_site_id, trb_text("north"));
  fx_cell(fx_change(&a, TRB_T_unified_customer, TRB_OP_PUT, "x"), TRB_C_unified_customer_name, trb_text("x"));
  fx_send(fx, &fx->site[0], &a);
  assert_int_equal(fx_int(fx, "SELECT count(*) FROM set_aside WHERE reason=2"), 3);
  assert_int_equal(fx_int(fx, "SELECT count(*) FROM tag"), 0);
  fx_verify(fx);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, fx_setup, fx_teardown)
int main(void) {
  const struct CMUnitTest tests[] = {
      TEST(setaside_takes_only_the_bad_change_and_later_ones_of_its_row),
      TEST(setaside_counts_what_is_held_so_that_digests_stay_equal),
      TEST(setaside_heals_a_row_when_the_branch_deletes_and_retry_succeeds),
      TEST(setaside_keeps_an_unknown_table_until_the_catalogue_learns_it),
      TEST(setaside_holds_a_mass_delete_until_it_is_released),
      TEST(setaside_lets_few_deletes_and_the_undo_of_an_import_pass),
      TEST(setaside_counts_deletes_over_the_whole_pass),
      TEST(setaside_retry_never_overwrites_a_later_time),
      TEST(setaside_refuses_tables_of_headquarters_from_a_branch),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
