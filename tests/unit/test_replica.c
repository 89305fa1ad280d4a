/* replica: what comes down, over real files, with a client that locks and looks. */
#include "branch_fixture.h"

struct rows {
  struct trb_buf buf;
  size_t count;
};
static void row(struct rows *r, uint16_t table, int op, const char *id, uint64_t version, uint16_t column,
                const char *text) {
  r->count++;
  mp_put_array(&r->buf, 5);
  mp_put_uint(&r->buf, table);
  mp_put_uint(&r->buf, (uint64_t)op);
  mp_put_str(&r->buf, trb_slice_str(id));
  mp_put_uint(&r->buf, version);
  mp_put_array(&r->buf, column ? 2 : 0);
  if (column) mp_put_uint(&r->buf, column);
  if (column) mp_put_str(&r->buf, trb_slice_str(text));
}

static enum trb_status begin(struct fixture *f, struct rows *r, uint64_t after, uint64_t version, uint64_t flags,
                             struct trb_error *err) {
  TRB_BUF_AUTO all = {0};
  mp_put_array(&all, r->count);
  trb_buf_append_slice(&all, trb_buf_slice(&r->buf));
  struct wire_down down = {.after = after, .version = version, .flags = flags, .rows = trb_buf_slice(&all)};
  memset(down.epoch, 5, 16);
  return replica_apply(&f->replica, &down, err);
}

static int steps(struct fixture *f) {
  bool done = false, extended = false;
  int count = 0;
  for (; !done; count++) OK(replica_apply_step(&f->replica, &done, &extended, err));
  return count;
}

static void apply(struct fixture *f, struct rows *r, uint64_t after, uint64_t version, uint64_t flags) {
  OK(begin(f, r, after, version, flags, err));
  steps(f);
  trb_buf_free(&r->buf);
  *r = (struct rows){0};
}

static uint64_t held(struct fixture *f) {
  uint8_t epoch[16];
  uint64_t version;
  replica_position(&f->replica, epoch, &version);
  return version;
}

static void replica_apply_writes_guarded_tables_and_makes_no_marks(void **state) {
  struct fixture *f = *state;
  struct rows r = {0};
  struct trb_error error;
  row(&r, TRB_T_notice, 1, "n1", 1, TRB_C_notice_title, "通知");
  apply(f, &r, 0, 1, DOWN_FIRST | DOWN_LAST);
  assert_int_equal(number(f->client, "SELECT count(*) FROM notice WHERE title = '通知'"), 1);
  assert_int_equal(number(f->client, "SELECT count(*) FROM _trb_mark"), 0);
  assert_int_equal(number(f->client, "SELECT count(*) FROM _trb_guard"), 0);
  assert_int_equal(db_exec(f->client, "DELETE FROM notice", &error), TRB_PEER); /* the guard is up again */
  row(&r, TRB_T_notice, 3, "n1", 2, 0, NULL);
  apply(f, &r, 1, 2, 0);
  assert_int_equal(number(f->client, "SELECT count(*) FROM notice"), 0);
  assert_int_equal(held(f), 2);
}

static void replica_apply_takes_a_frame_twice_and_refuses_a_gap(void **state) {
  struct fixture *f = *state;
  struct rows r = {0};
  struct trb_error error;
  row(&r, TRB_T_notice, 1, "n1", 5, TRB_C_notice_title, "a");
  apply(f, &r, 0, 5, DOWN_FIRST | DOWN_LAST);
  assert_int_equal(begin(f, &r, 7, 9, 0, &error), TRB_AGAIN); /* one between was lost */
  row(&r, TRB_T_notice, 1, "n1", 6, TRB_C_notice_title, "b");
  apply(f, &r, 4, 6, 0); /* begins earlier than we are: well */
  fixture_reopen(f);
  assert_int_equal(held(f), 6);
  assert_int_equal(begin(f, &r, 4, 6, 0, &error), TRB_AGAIN); /* known already */
}

static void replica_apply_drops_after_a_snapshot_what_it_did_not_name(void **state) {
  struct fixture *f = *state;
  struct rows r = {0};
  row(&r, TRB_T_notice, 1, "old", 1, TRB_C_notice_title, "a");
  row(&r, TRB_T_notice, 1, "kept", 2, TRB_C_notice_title, "a");
  apply(f, &r, 0, 2, DOWN_FIRST | DOWN_LAST);
  row(&r, TRB_T_notice, 1, "kept", 11, TRB_C_notice_title, "b");
  apply(f, &r, 0, 11, DOWN_FIRST | DOWN_MORE);
  assert_int_equal(number(f->client, "SELECT count(*) FROM notice"), 2); /* nothing goes before the end */
  fixture_reopen(f);
  row(&r, TRB_T_notice, 1, "new", 12, TRB_C_notice_title, "c");
  apply(f, &r, 11, 12, DOWN_LAST);
  assert_int_equal(number(f->client, "SELECT count(*) FROM notice WHERE id IN('kept', 'new')"), 2);
  assert_int_equal(number(f->client, "SELECT count(*) FROM notice"), 2);
}

static void replica_apply_works_in_slices_and_gives_way_to_clients(void **state) {
  struct fixture *f = *state;
  struct rows r = {0};
  struct trb_error error;
  bool done = false, extended = false;
  char id[16];
  for (int i = 0; i < 5000; i++) {
    snprintf(id, sizeof id, "n%05d", i);
    row(&r, TRB_T_notice, 1, id, (uint64_t)i + 1, TRB_C_notice_title, "很长的一条通知");
  }
  OK(begin(f, &r, 0, 5000, DOWN_FIRST | DOWN_LAST, err));
  OK(replica_apply_step(&f->replica, &done, &extended, err));
  assert_false(done);
  assert_int_equal(number(f->client, "SELECT count(*) FROM _trb_meta WHERE name = 'down_version'"), 0);
  sql(f, "BEGIN IMMEDIATE");
  assert_int_equal(replica_apply_step(&f->replica, &done, &extended, &error), TRB_AGAIN);
  sql(f, "COMMIT");
  assert_true(steps(f) > 1);
  assert_int_equal(number(f->client, "SELECT count(*) FROM notice"), 5000);
  trb_buf_free(&r.buf);
}

static void replica_apply_begins_again_after_a_crash_in_the_middle(void **state) {
  struct fixture *f = *state;
  struct rows r = {0};
  bool done = false, extended = false;
  char id[16];
  for (int i = 0; i < 4000; i++) {
    snprintf(id, sizeof id, "n%05d", i);
    row(&r, TRB_T_notice, 1, id, (uint64_t)i + 1, TRB_C_notice_title, "通知");
  }
  OK(begin(f, &r, 0, 4000, DOWN_FIRST | DOWN_LAST, err));
  OK(replica_apply_step(&f->replica, &done, &extended, err));
  fixture_reopen(f);
  assert_int_equal(held(f), 0);
  apply(f, &r, 0, 4000, DOWN_FIRST | DOWN_LAST);
  assert_int_equal(number(f->client, "SELECT count(*) FROM notice"), 4000);
  assert_int_equal(held(f), 4000);
}

static void replica_apply_extends_the_catalogue_by_custom_definitions(void **state) {
  struct fixture *f = *state;
  struct rows r = {0};
  bool done = false, extended = false;
  mp_put_array(&r.buf, 5);
  mp_put_uint(&r.buf, TRB_T_custom_column);
  mp_put_uint(&r.buf, 1);
  mp_put_str(&r.buf, trb_slice_str("cc1"));
  mp_put_uint(&r.buf, 1);
  mp_put_array(&r.buf, 8);
  mp_put_uint(&r.buf, TRB_C_custom_column_table_number);
  mp_put_uint(&r.buf, TRB_T_customer);
  mp_put_uint(&r.buf, TRB_C_custom_column_number);
  mp_put_uint(&r.buf, 62);
  mp_put_uint(&r.buf, TRB_C_custom_column_name);
  mp_put_str(&r.buf, trb_slice_str("shoe_size"));
  mp_put_uint(&r.buf, TRB_C_custom_column_type);
  mp_put_str(&r.buf, trb_slice_str("int"));
  r.count = 1;
  OK(begin(f, &r, 0, 1, DOWN_FIRST | DOWN_LAST, err));
  OK(replica_apply_step(&f->replica, &done, &extended, err));
  assert_false(done || extended); /* the schema is changed in a transaction of its own, after a gap */
  assert_int_equal(number(f->client, "SELECT count(*) FROM custom_column"), 1);
  assert_int_equal(number(f->client, "SELECT count(*) FROM pragma_table_info('customer') WHERE name = 'shoe_size'"), 0);
  while (!done) OK(replica_apply_step(&f->replica, &done, &extended, err));
  assert_true(extended);
  trb_buf_free(&r.buf);
  fixture_sealing(f);
  sql(f, "INSERT INTO customer(id, kind, name, shoe_size) VALUES('a', 'person', '张', 42)");
  seal_all(f);
  model_catch_up(f);
  sql(f, "UPDATE customer SET shoe_size = 43 WHERE id = 'a'");
  seal_all(f);
  model_catch_up(f);
  assert_int_equal(f->model->sets, 1);
  model_equals_replica(f);
}

static void replica_apply_captures_own_rows_that_come_back(void **state) {
  struct fixture *f = *state;
  struct rows r = {0};
  sql(f, "INSERT INTO customer(id, kind, name) VALUES('here', 'person', '一')");
  seal_all(f);
  mp_put_array(&r.buf, 5);
  mp_put_uint(&r.buf, TRB_T_customer);
  mp_put_uint(&r.buf, 1);
  mp_put_str(&r.buf, trb_slice_str("back"));
  mp_put_uint(&r.buf, 1);
  mp_put_array(&r.buf, 4);
  mp_put_uint(&r.buf, TRB_C_customer_kind);
  mp_put_str(&r.buf, trb_slice_str("person"));
  mp_put_uint(&r.buf, TRB_C_customer_name);
  mp_put_str(&r.buf, trb_slice_str("二"));
  r.count = 1;
  apply(f, &r, 0, 1, DOWN_FIRST | DOWN_LAST);
  seal_all(f);
  model_catch_up(f);
  assert_int_equal(f->model->puts, 2);
  model_equals_replica(f);
  assert_int_equal(number(f->client, "SELECT count(*) FROM customer"), 2);
}

static void replica_apply_refuses_what_is_not_rows(void **state) {
  struct fixture *f = *state;
  struct trb_error error;
  bool done = false, extended = false;
  static const uint8_t junk[] = {0xdd, 0xff, 0xff, 0xff, 0xff}, one[] = {0x91, 0x93, 1, 2, 3};
  struct wire_down down = {.version = 1, .flags = DOWN_FIRST, .rows = trb_slice_of(junk, sizeof junk)};
  assert_int_equal(replica_apply(&f->replica, &down, &error), TRB_PEER);
  down.rows = trb_slice_of(one, sizeof one);
  OK(replica_apply(&f->replica, &down, err));
  assert_int_equal(replica_apply_step(&f->replica, &done, &extended, &error), TRB_PEER);
  assert_false(f->replica.applying);
  assert_int_equal(number(f->client, "SELECT count(*) FROM _trb_guard"), 0);
}

static void replica_replaced_notices_another_file(void **state) {
  struct fixture *f = *state;
  char command[512];
  assert_false(replica_replaced(&f->replica));
  snprintf(command, sizeof command, "cp %s/replica.db %s/x && mv %s/x %s/replica.db", f->dir, f->dir, f->dir, f->dir);
  assert_int_equal(system(command), 0);
  assert_true(replica_replaced(&f->replica));
}

int main(void) {
#define T(name) cmocka_unit_test_setup_teardown(name, fixture_up, fixture_down)
  const struct CMUnitTest tests[] = {
      T(replica_apply_writes_guarded_tables_and_makes_no_marks),
      T(replica_apply_takes_a_frame_twice_and_refuses_a_gap),
      T(replica_apply_drops_after_a_snapshot_what_it_did_not_name),
      T(replica_apply_works_in_slices_and_gives_way_to_clients),
      T(replica_apply_begins_again_after_a_crash_in_the_middle),
      T(replica_apply_extends_the_catalogue_by_custom_definitions),
      T(replica_apply_captures_own_rows_that_come_back),
      T(replica_apply_refuses_what_is_not_rows),
      T(replica_replaced_notices_another_file),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
