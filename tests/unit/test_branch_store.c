/* sealer_store, baseline and scrub over real files, with another connection writing. */
#include <sys/resource.h>

#include "branch_fixture.h"

#define PUT(id, name) "INSERT INTO customer(id, kind, name) VALUES('" id "', 'person', '" name "');"

static void seal_pass_sends_a_new_row_whole_and_a_change_as_its_columns(void **state) {
  struct fixture *f = *state;
  sql(f, PUT("C001", "张伟"));
  seal_all(f);
  model_catch_up(f);
  assert_int_equal(f->model->puts, 1);
  sql(f, "UPDATE customer SET name = '張偉', city = '上海' WHERE id = 'C001'");
  seal_all(f);
  model_catch_up(f);
  assert_int_equal(f->model->puts, 1);
  assert_int_equal(f->model->sets, 1);
  sql(f, "DELETE FROM customer WHERE id = 'C001'");
  seal_all(f);
  model_catch_up(f);
  assert_int_equal(f->model->deletes, 1);
  model_equals_replica(f);
}

static void seal_pass_only_the_final_state_counts(void **state) {
  struct fixture *f = *state;
  sql(f, PUT("a", "一") "UPDATE customer SET name = '二' WHERE id = 'a';"
                        "UPDATE customer SET name = '三' WHERE id = 'a';" PUT("b", "x") "DELETE FROM customer WHERE id = 'b';");
  seal_all(f);
  model_catch_up(f);
  assert_int_equal(f->model->puts, 1); /* b was never sealed: nothing is said of it */
  assert_int_equal(f->model->deletes, 0);
  sql(f, "UPDATE customer SET name = '四' WHERE id = 'a'; UPDATE customer SET name = '三' WHERE id = 'a';");
  uint64_t before = f->outbox->state.sequence;
  seal_all(f);
  assert_int_equal(f->outbox->state.sequence, before); /* back to what was sent */
  model_equals_replica(f);
}

static void seal_pass_delete_and_reinsert_and_or_replace_send_the_row_whole(void **state) {
  struct fixture *f = *state;
  sql(f, "INSERT INTO customer(id, kind, name, city) VALUES('a', 'person', '一', '北京');");
  seal_all(f);
  sql(f, "DELETE FROM customer WHERE id = 'a';" PUT("a", "二"));
  seal_all(f);
  model_catch_up(f);
  assert_int_equal(f->model->puts, 2);
  model_equals_replica(f); /* city is NULL again */
  sql(f, "INSERT OR REPLACE INTO customer(id, kind, name, province) VALUES('a', 'person', '三', '四川')");
  seal_all(f);
  model_catch_up(f);
  assert_int_equal(f->model->puts, 3);
  model_equals_replica(f);
}

static void seal_pass_gives_the_time_of_the_last_mark_that_holds_the_column(void **state) {
  struct fixture *f = *state;
  TRB_ARENA_AUTO arena = {0};
  sql(f, PUT("a", "一"));
  sql(f, "UPDATE _trb_mark SET wall = 1000");
  sql(f, "UPDATE customer SET city = '北京' WHERE id = 'a'");
  sql(f, "UPDATE _trb_mark SET wall = 2000 WHERE wall > 1000");
  sql(f, "UPDATE customer SET remark = 'x' WHERE id = 'a'");
  sql(f, "UPDATE _trb_mark SET wall = 3000 WHERE wall > 2000");
  seal_all(f);
  ack_to(f, 0, f->outbox->state.sequence, 0);
  struct shadow s = shadow_of(f, &arena, TRB_T_customer, "a");
  assert_int_equal(trb_hlc_ms(shadow_cell_of(&s, TRB_C_customer_name)->time), 1000);
  assert_int_equal(trb_hlc_ms(shadow_cell_of(&s, TRB_C_customer_city)->time), 2000);
  assert_int_equal(trb_hlc_ms(shadow_cell_of(&s, TRB_C_customer_remark)->time), 3000);
  assert_true(s.stamp != 0);
}

static void outbox_acked_sets_only_the_times_of_its_own_sequence(void **state) {
  struct fixture *f = *state;
  TRB_ARENA_AUTO arena = {0};
  sql(f, PUT("a", "一"));
  sql(f, "UPDATE _trb_mark SET wall = 1000");
  seal_all(f);
  sql(f, "UPDATE customer SET name = '二' WHERE id = 'a'");
  sql(f, "UPDATE _trb_mark SET wall = 2000 WHERE wall > 1000");
  seal_all(f);
  assert_int_equal(f->outbox->state.sequence, 2);
  ack_to(f, 0, 1, 0); /* must not touch the name, which batch 2 holds */
  struct shadow s = shadow_of(f, &arena, TRB_T_customer, "a");
  const struct shadow_cell *name = shadow_cell_of(&s, TRB_C_customer_name);
  assert_int_equal(name->sequence, 2);
  assert_int_equal(trb_hlc_ms(name->time), 2000);
  trb_hlc stamp = s.stamp;
  ack_to(f, 1, 2, 0);
  s = shadow_of(f, &arena, TRB_T_customer, "a");
  assert_int_equal(s.stamp, stamp); /* the first acceptance anchors the row */
}

static void seal_pass_splits_batches_and_flags_them_as_one_group(void **state) {
  struct fixture *f = *state;
  sql(f,
      "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i+1 FROM n WHERE i < 2500) "
      "INSERT INTO customer(id, kind, name) SELECT printf('C%05d', i), 'person', '客户' || i FROM n");
  struct seal_result result = seal_once(f);
  assert_false(result.more);
  assert_int_equal(result.batches, 3);
  struct trb_batch_header header;
  model_batch(f, 1, &header);
  assert_true(header.flags & TRB_BATCH_CONTINUES);
  assert_int_equal(number(f->outbox->db, "SELECT last_mark FROM batch WHERE sequence = 1"),
                   0); /* not whole before its end */
  model_batch(f, 2, &header);
  assert_true(header.flags & TRB_BATCH_CONTINUES);
  model_batch(f, 3, &header);
  assert_false(header.flags & TRB_BATCH_CONTINUES);
  assert_int_equal(header.last_mark, 2500);
  model_equals_replica(f);
}

static void seal_pass_takes_100000_marks_in_passes(void **state) {
  struct fixture *f = *state;
  sql(f,
      "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i+1 FROM n WHERE i < 1000) "
      "INSERT INTO customer(id, kind, name) SELECT printf('C%05d', i), 'person', '客户' || i FROM n");
  sql(f, "BEGIN");
  for (int i = 0; i < 99; i++) sqlf(f, "UPDATE customer SET remark = 'r%d'", i);
  sql(f, "COMMIT");
  assert_int_equal(number(f->client, "SELECT count(*) FROM _trb_mark"), 100000);
  seal_all(f);
  model_catch_up(f);
  model_equals_replica(f);
  assert_int_equal(f->outbox->state.mark, 100000);
  assert_int_equal(f->outbox->state.late_mark, 100000);
}

static void seal_pass_seals_late_tables_last(void **state) {
  struct fixture *f = *state;
  sql(f, "INSERT INTO document(id, title) VALUES('d', '合同');");
  for (int i = 0; i < 20; i++)
    sqlf(f, "INSERT INTO document_chunk(id, document_id, position, data) VALUES('k%d', 'd', %d, zeroblob(60000))", i,
         i);
  sql(f, PUT("z", "后来的"));
  seal_all(f);
  bool chunk_seen = false;
  for (uint64_t s = 1; s <= f->outbox->state.sequence; s++) {
    TRB_ARENA_AUTO arena = {0};
    TRB_BUF_AUTO sealed = {0}, ack = {0};
    struct trb_batch batch;
    uint8_t hash[TRB_HASH_BYTES];
    OK(outbox_load(f->outbox, s, &sealed, &ack, err));
    OK(batch_open(trb_buf_slice(&sealed), crypto_signer_public(f->signer), &arena, &batch, hash, err));
    for (size_t i = 0; i < batch.change_count; i++) {
      bool chunk = batch.changes[i].table == TRB_T_document_chunk;
      if (chunk_seen) assert_true(chunk);
      chunk_seen |= chunk;
    }
  }
  assert_true(chunk_seen);
  model_catch_up(f);
  model_equals_replica(f);
  assert_int_equal(f->outbox->state.late_mark, f->outbox->state.mark);
}

static void seal_pass_stops_at_16_mib_between_rows_and_goes_on(void **state) {
  struct fixture *f = *state;
  sql(f, "INSERT INTO document(id, title) VALUES('d', '录像')");
  for (int i = 0; i < 150; i++)
    sqlf(f, "INSERT INTO document_chunk(id, document_id, position, data) VALUES('k%d', 'd', %d, randomblob(131072))", i,
         i);
  int passes = 0;
  for (bool more = true; more; passes++) {
    uint64_t before = f->outbox->state.sequence;
    more = seal_once(f).more;
    size_t raw = 0;
    for (uint64_t s = before + 1; s <= f->outbox->state.sequence; s++) {
      struct trb_batch_header header;
      model_batch(f, s, &header);
      raw += header.raw_bytes;
      bool last = s == f->outbox->state.sequence;
      assert_int_equal((header.flags & TRB_BATCH_CONTINUES) != 0, !last);
    }
    assert_true(raw <= TRB_CONTINUES_BYTES_MAX);
    assert_true(passes < 20);
  }
  assert_true(passes >= 2);
  model_equals_replica(f);
}

static void seal_pass_flags_the_deletes_of_an_undo(void **state) {
  struct fixture *f = *state;
  sql(f, PUT("a", "一") PUT("b", "二"));
  seal_all(f);
  sql(f,
      "BEGIN; DELETE FROM customer WHERE id = 'a'; INSERT INTO _trb_undo SELECT max(n), max(n), 'i1' FROM _trb_mark; "
      "COMMIT;"
      "DELETE FROM customer WHERE id = 'b'");
  seal_all(f);
  model_catch_up(f);
  assert_int_equal(f->model->undos, 1);
  assert_int_equal(f->model->deletes, 1);
}

static void seal_pass_survives_a_crash_before_its_commit(void **state) {
  struct fixture *f = *state;
  sql(f, PUT("a", "一"));
  seal_all(f);
  sql(f, PUT("b", "二"));
  OK(outbox_begin(f->outbox, err)); /* as far as a pass had come when the machine died */
  f->outbox->state.mark = 99;
  fixture_reopen(f);
  assert_int_equal(f->outbox->state.mark, 1);
  seal_all(f);
  model_catch_up(f);
  model_equals_replica(f);
}

static void seal_pass_never_writes_while_a_client_reads_or_writes(void **state) {
  struct fixture *f = *state;
  struct seal_result result;
  struct trb_error error;
  sql(f, PUT("a", "一"));
  sql(f, "BEGIN IMMEDIATE;" PUT("b", "二")); /* an open write transaction of a client */
  seal_all(f);
  assert_int_equal(f->outbox->state.mark, 1);
  sql(f, "COMMIT; BEGIN EXCLUSIVE");
  assert_int_equal(seal_pass(&f->sealing, (struct seal_limits){10000, SEAL_MARKS_MAX}, &f->now, &result, &error),
                   TRB_AGAIN);
  sql(f, "COMMIT");
  seal_all(f);
  model_catch_up(f);
  model_equals_replica(f);
}

static void seal_trim_keeps_the_last_mark_and_what_is_not_acknowledged(void **state) {
  struct fixture *f = *state;
  bool more;
  sql(f, PUT("a", "一") PUT("b", "二"));
  seal_all(f);
  sql(f, PUT("c", "三"));
  seal_all(f);
  OK(seal_trim(&f->sealing, &more, err));
  assert_int_equal(number(f->client, "SELECT count(*) FROM _trb_mark"), 3);
  ack_to(f, 0, 1, 0);
  OK(seal_trim(&f->sealing, &more, err));
  assert_int_equal(number(f->client, "SELECT count(*) FROM _trb_mark"), 1);
  assert_int_equal(number(f->client, "SELECT value FROM _trb_meta WHERE name = 'acked_mark'"), 2);
  assert_int_equal(number(f->client, "SELECT count(*) FROM row_state WHERE state = 'saved here'"), 1);
  ack_to(f, 1, 2, 0);
  OK(seal_trim(&f->sealing, &more, err));
  assert_int_equal(number(f->client, "SELECT max(n) FROM _trb_mark"), 3);
  assert_int_equal(number(f->client, "SELECT count(*) FROM row_state WHERE state = 'at headquarters'"), 3);
  fixture_reopen(f);
  assert_false(seal_once(f).rolled_back);
}

static void copy_file(struct fixture *f, const char *from, const char *to) {
  char command[256];
  snprintf(command, sizeof command, "cp %s/%s %s/%s", f->dir, from, f->dir, to);
  assert_int_equal(system(command), 0);
}

static void start_stream(struct fixture *f, uint8_t first_byte) {
  uint8_t incarnation[TRB_INCARNATION_BYTES] = {first_byte};
  uint64_t mark;
  int64_t nonce;
  OK(seal_last_mark(f->replica.db, &mark, &nonce, err));
  OK(outbox_start_stream(f->outbox, incarnation, mark, nonce, err));
  f->model->applied = 0;
  memset(f->model->hash, 0, sizeof f->model->hash);
}

static void a_replica_copied_back_is_noticed_and_sealed_anew_as_a_baseline(void **state) {
  struct fixture *f = *state;
  sql(f, PUT("a", "一") PUT("b", "二"));
  seal_all(f);
  copy_file(f, "replica.db", "old.db");
  sql(f, "UPDATE customer SET name = '后' WHERE id = 'a'; DELETE FROM customer WHERE id = 'b';" PUT("c", "三"));
  seal_all(f);
  ack_to(f, 0, f->outbox->state.sequence, 0);
  db_close(&f->client);
  fixture_close(f);
  copy_file(f, "old.db", "replica.db");
  fixture_open(f);
  fixture_client(f);
  /* Writing goes on in the old copy; numbers of marks come again with other nonces. */
  sql(f, PUT("n1", "新") PUT("n2", "新") PUT("n3", "新") PUT("n4", "新"));
  assert_true(seal_once(f).rolled_back);
  assert_int_equal(f->outbox->state.want, TRB_STREAM_ROLLED_BACK);
  fixture_reopen(f);
  assert_int_equal(f->outbox->state.want, TRB_STREAM_ROLLED_BACK); /* it is remembered */
  start_stream(f, 9);
  f->model->count = 0;
  memset(f->model->rows, 0, sizeof f->model->rows);
  f->model->deletes = 0;
  seal_baselines(f);
  model_catch_up(f);
  assert_int_equal(f->model->deletes, 1); /* b was deleted, and is only back because the copy is old */
  assert_int_equal(number(f->client, "SELECT count(*) FROM customer WHERE id = 'b'"), 0);
  seal_all(f);
  model_catch_up(f);
  model_equals_replica(f);
  struct trb_batch_header header;
  f->model->applied = 0;
  memset(f->model->hash, 0, sizeof f->model->hash);
  model_batch(f, 1, &header);
  assert_true(header.flags & TRB_BATCH_BASELINE);
}

static void seal_recover_writes_back_what_the_old_copy_lost(void **state) {
  struct fixture *f = *state;
  sql(f, PUT("a", "一") PUT("b", "二") PUT("d", "四"));
  seal_all(f);
  copy_file(f, "replica.db", "old.db");
  sql(f, "UPDATE customer SET name = '后', city = '上海' WHERE id = 'a'; DELETE FROM customer WHERE id = 'b';" PUT(
             "c", "三"));
  seal_all(f);
  sql(f, "UPDATE customer SET remark = '常客' WHERE id = 'c'; UPDATE customer SET name = '晚' WHERE id = 'd'");
  seal_all(f);
  ack_to(f, 0, f->outbox->state.sequence, 0);
  db_close(&f->client);
  fixture_close(f);
  copy_file(f, "old.db", "replica.db");
  fixture_open(f);
  fixture_client(f);
  sql(f, "UPDATE customer SET name = '新' WHERE id = 'd'"); /* after the restore: newer than what was lost */
  sql(f, "UPDATE _trb_mark SET wall = 4000000000000 WHERE n = (SELECT max(n) FROM _trb_mark)");
  assert_true(seal_once(f).rolled_back);
  uint64_t after = 0;
  uint32_t written = 0;
  for (bool done = false; !done;) OK(seal_recover(&f->sealing, &after, &written, &done, err));
  assert_int_equal(written, 4); /* name and city of a, the row c, its remark */
  start_stream(f, 9);
  f->model->count = 0;
  seal_baselines(f);
  seal_all(f);
  model_catch_up(f);
  model_equals_replica(f);
  assert_int_equal(number(f->client,
                          "SELECT count(*) FROM customer WHERE (id = 'a' AND name = '后' AND city = '上海') OR "
                          "(id = 'c' AND name = '三' AND remark = '常客') OR (id = 'd' AND name = '新')"),
                   3);
  assert_int_equal(number(f->client, "SELECT count(*) FROM customer"), 3);
}

static void a_baseline_gives_unchanged_columns_their_acknowledged_time(void **state) {
  struct fixture *f = *state;
  TRB_ARENA_AUTO arena = {0};
  bool more;
  sql(f, PUT("a", "一") PUT("b", "二"));
  sql(f, "UPDATE _trb_mark SET wall = 1000 * n");
  seal_all(f);
  ack_to(f, 0, 1, 1);
  sql(f, PUT("c", "三"));
  sql(f, "UPDATE _trb_mark SET wall = 9000 WHERE n > 2");
  seal_all(f);
  OK(seal_trim(&f->sealing, &more, err));
  start_stream(f, 9);
  f->model->count = 0;
  seal_baselines(f);
  TRB_BUF_AUTO sealed = {0}, ack = {0};
  struct trb_batch batch;
  uint8_t hash[TRB_HASH_BYTES];
  OK(outbox_load(f->outbox, 1, &sealed, &ack, err));
  OK(batch_open(trb_buf_slice(&sealed), crypto_signer_public(f->signer), &arena, &batch, hash, err));
  assert_int_equal(batch.change_count, 3);
  const int64_t expected[] = {1000, 2000, 9000};
  struct trb_acceptance acceptance = {.limit = UINT64_MAX};
  trb_hlc times[16];
  clock_correct(batch.header.segments, batch.header.segment_count, NULL, 0, &acceptance);
  clock_effective(batch.marks, batch.mark_count, batch.header.segments, &acceptance, times);
  for (size_t i = 0; i < 3; i++)
    for (size_t k = 0; k < batch.changes[i].cell_count; k++)
      assert_int_equal(times[batch.changes[i].cells[k].mark], trb_hlc_of_ms(expected[i]));
}

static void a_baseline_goes_in_slices_and_misses_no_row(void **state) {
  struct fixture *f = *state;
  sql(f,
      "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i+1 FROM n WHERE i < 3000) "
      "INSERT INTO customer(id, kind, name) SELECT printf('C%05d', i), 'person', '客户' || i FROM n");
  seal_all(f);
  sql(f, "DELETE FROM customer WHERE id <= 'C01000'"); /* exactly a slice of deletions to be told */
  seal_all(f);
  start_stream(f, 9);
  for (int i = 0; f->outbox->state.baseline; i++) {
    struct seal_result result;
    assert_true(i < 1000);
    OK(seal_baseline(&f->sealing, 1000, &f->now, &result, err));
    if (i == 1) fixture_reopen(f);
  }
  f->model->count = 0;
  f->model->deletes = 0;
  model_catch_up(f);
  assert_int_equal(f->model->deletes, 1000);
  model_equals_replica(f);
  assert_int_equal(scrub_all(f).missed, 0);
}

static void a_lost_outbox_is_made_anew_and_a_damaged_one_set_aside(void **state) {
  struct fixture *f = *state;
  char path[128];
  bool lost = false;
  sql(f, PUT("a", "一"));
  seal_all(f);
  fixture_close(f);
  snprintf(path, sizeof path, "%s/outbox.db", f->dir);
  FILE *file = fopen(path, "r+b");
  assert_non_null(file);
  for (int i = 0; i < 40; i++) fputs("this is no page of a database at all, whoever wrote it ", file);
  fclose(file);
  OK(outbox_open(f->dir, 12345, &f->outbox, &lost, err));
  assert_true(lost);
  assert_int_equal(f->outbox->state.want, TRB_STREAM_OUTBOX_LOST);
  snprintf(path, sizeof path, "%s/outbox.db.damaged-12345", f->dir);
  assert_int_equal(access(path, F_OK), 0);
  outbox_close(&f->outbox);
  fixture_open(f);
  assert_int_equal(f->outbox->state.want, TRB_STREAM_OUTBOX_LOST);
  fixture_clock(f);
  start_stream(f, 3);
  f->model->count = 0;
  seal_baselines(f);
  sql(f, PUT("b", "二"));
  seal_all(f);
  model_catch_up(f);
  model_equals_replica(f);
}

/* No descriptor left, or an older program: the outbox is as good as it was, and must stay. */
static void an_outbox_that_cannot_be_opened_now_is_not_set_aside(void **state) {
  struct fixture *f = *state;
  char path[128], aside[128];
  bool lost = false;
  struct rlimit before, none = {0};
  sql(f, PUT("a", "一"));
  seal_all(f);
  fixture_close(f);
  snprintf(path, sizeof path, "%s/outbox.db", f->dir);
  snprintf(aside, sizeof aside, "%s/outbox.db.damaged-12345", f->dir);
  getrlimit(RLIMIT_NOFILE, &before);
  none.rlim_max = before.rlim_max;
  setrlimit(RLIMIT_NOFILE, &none);
  enum trb_status status = outbox_open(f->dir, 12345, &f->outbox, &lost, NULL);
  setrlimit(RLIMIT_NOFILE, &before);
  assert_int_equal(status, TRB_STORE);
  struct trb_db *db;
  OK(db_open(path, TRB_DB_WRITE, 0, &db, err));
  OK(db_exec(db, "UPDATE state SET format = format + 1", err));
  assert_int_equal(outbox_open(f->dir, 12345, &f->outbox, &lost, NULL), TRB_DENIED);
  OK(db_exec(db, "UPDATE state SET format = format - 1", err));
  db_close(&db);
  assert_int_not_equal(access(aside, F_OK), 0);
  fixture_open(f);
  assert_int_equal(f->outbox->state.sequence, 1);
  assert_int_equal(f->outbox->state.want, 0);
}

static void scrub_finds_what_made_no_mark(void **state) {
  struct fixture *f = *state;
  sql(f, PUT("a", "一") PUT("b", "二") PUT("c", "三") PUT("d", "四"));
  seal_all(f);
  sql(f, "DROP TRIGGER _trb_customer_update");
  sql(f,
      "INSERT INTO _trb_guard VALUES('x'); UPDATE customer SET name = '改', city = '南京' WHERE id = 'a';"
      "DELETE FROM customer WHERE id = 'b';" PUT("e", "五") "DELETE FROM _trb_guard");
  struct seal_result result;
  OK(seal_pass(&f->sealing, (struct seal_limits){100000, SEAL_MARKS_MAX}, &f->now, &result, err));
  assert_true(result.schema_changed);
  fixture_sealing(f); /* restores the trigger */
  struct scrub_result scrub = scrub_all(f);
  assert_int_equal(scrub.missed, 3);
  seal_all(f);
  model_catch_up(f);
  model_equals_replica(f);
  assert_int_equal(scrub_all(f).missed, 0);
}

static void a_dropped_table_is_no_mass_delete(void **state) {
  struct fixture *f = *state;
  sql(f,
      "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i+1 FROM n WHERE i < 60) "
      "INSERT INTO customer(id, kind, name) SELECT printf('C%05d', i), 'person', '客户' || i FROM n");
  seal_all(f);
  sql(f, "UPDATE customer SET name = 'x' WHERE id = 'C00001'; DROP TABLE customer");
  seal_all(f); /* the table is made again, empty */
  struct scrub_result scrub = scrub_all(f);
  assert_int_equal(scrub.emptied_table, TRB_T_customer);
  assert_int_equal(scrub.emptied_rows, 60);
  seal_all(f);
  model_catch_up(f);
  assert_int_equal(f->model->deletes, 0);
}

static void scrub_sends_no_delete_for_a_table_made_anew_however_few_its_rows(void **state) {
  struct fixture *f = *state;
  bool anew = true;
  const struct trb_table *table = catalogue_named(f->sealing.catalogue, "customer");
  sql(f, PUT("a", "一"));
  seal_all(f);
  OK(capture_made_anew(f->replica.db, table, &anew, err));
  assert_false(anew);
  sql(f, "DROP TABLE customer");
  seal_all(f);
  struct scrub_result scrub = scrub_all(f);
  assert_int_equal(scrub.emptied_table, TRB_T_customer);
  assert_int_equal(scrub.emptied_rows, 1);
  assert_int_equal(scrub.missed, 0);
  sql(f, PUT("b", "二")); /* work goes on, and the note stands */
  seal_all(f);
  scrub = scrub_all(f);
  assert_int_equal(scrub.emptied_rows, 1);
  model_catch_up(f);
  assert_int_equal(f->model->deletes, 0);
  sql(f, PUT("a", "一"));
  seal_all(f);
  assert_int_equal(scrub_all(f).emptied_table, 0);
  OK(capture_settled(f->replica.db, table, err));
  OK(capture_made_anew(f->replica.db, table, &anew, err));
  assert_false(anew);
}

static void seal_pass_says_that_the_disk_is_full_and_changes_nothing(void **state) {
  struct fixture *f = *state;
  struct seal_result result;
  struct trb_error error = {0};
  sql(f, PUT("a", "一"));
  seal_all(f);
  sql(f,
      "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i+1 FROM n WHERE i < 2000) "
      "INSERT INTO customer(id, kind, name, remark) SELECT printf('C%05d', i), 'person', '客户', hex(randomblob(200)) "
      "FROM n");
  OK(db_exec(f->outbox->db, "PRAGMA max_page_count = 60", err));
  assert_int_equal(seal_pass(&f->sealing, (struct seal_limits){1000000, SEAL_MARKS_MAX}, &f->now, &result, &error),
                   TRB_FULL);
  assert_int_equal(f->outbox->state.sequence, 1);
  assert_int_equal(f->outbox->state.mark, 1);
  OK(db_exec(f->outbox->db, "PRAGMA max_page_count = 1000000", err));
  seal_all(f);
  model_catch_up(f);
  model_equals_replica(f);
}

/* ---- property: whatever clients do, the sealed batches give exactly the replica's rows ---- */

static uint64_t rng;
static uint32_t roll(uint32_t n) {
  rng = rng * 6364136223846793005u + 1442695040888963407u;
  return (uint32_t)(rng >> 33) % n;
}

static void random_step(struct fixture *f) {
  static const char *const values[] = {"'张伟'",  "'Ａ１２'", "NULL", "''", "'x''; DROP TABLE customer; --'",
                                       "'王晓明'"};
  static const char *const columns[] = {"name", "city", "remark", "name_english"};
  const char *value = values[roll(6)];
  unsigned id = roll(12), column = roll(4);
  if (column == 0 && strcmp(value, "NULL") == 0) value = "'无'";
  switch (roll(9)) {
    case 0:
      sqlf(f, "INSERT OR IGNORE INTO customer(id, kind, name) VALUES('客%u', 'person', %s)", id,
           column ? "'n'" : value);
      break;
    case 1:
      sqlf(f, "INSERT OR REPLACE INTO customer(id, kind, name, city) VALUES('客%u', 'person', 'r', %s)", id, value);
      break;
    case 2: sqlf(f, "DELETE FROM customer WHERE id = '客%u'", id); break;
    case 3: sqlf(f, "UPDATE customer SET %s = %s", columns[column], value); break;
    case 4:
      sqlf(f, "INSERT OR REPLACE INTO contact(id, customer_id, kind, value) VALUES('k%u', '客%u', 'mobile', '138%08u')",
           id, id, roll(99));
      break;
    case 5: sqlf(f, "DELETE FROM contact WHERE id = 'k%u'", id); break;
    case 6:
      sqlf(f,
           "DELETE FROM customer WHERE id = '客%u'; INSERT INTO customer(id, kind, name) VALUES('客%u', 'person', 'w')",
           id, id);
      break;
    default: sqlf(f, "UPDATE customer SET %s = %s WHERE id = '客%u'", columns[column], value, id); break;
  }
}

static void upkeep(struct fixture *f) {
  bool more;
  switch (roll(8)) {
    case 0: fixture_reopen(f); break;
    case 1:
      if (f->model->applied > f->outbox->state.acked)
        ack_to(f, f->outbox->state.acked, f->model->applied, roll(2) ? f->outbox->state.acked : 0);
      break;
    case 2: OK(seal_trim(&f->sealing, &more, err)); break;
    case 3: scrub_all(f); break;
    default: break;
  }
}

static void property_sealed_batches_give_the_replicas_rows(void **state) {
  struct fixture *f = *state;
  const char *seed = getenv("TRB_SEED");
  rng = seed ? strtoull(seed, NULL, 0) : 20261122;
  print_message("seed %llu\n", (unsigned long long)rng);
  for (int round = 0; round < 150; round++) {
    bool transaction = roll(2);
    if (transaction) sql(f, "BEGIN");
    for (unsigned i = 0, n = 1 + roll(12); i < n; i++) random_step(f);
    if (transaction) sql(f, roll(5) ? "COMMIT" : "ROLLBACK");
    if (roll(3) == 0) continue;
    seal_all(f);
    model_catch_up(f);
    model_equals_replica(f);
    upkeep(f);
  }
}

int main(void) {
#define T(name) cmocka_unit_test_setup_teardown(name, fixture_up, fixture_down)
  const struct CMUnitTest tests[] = {
      T(seal_pass_sends_a_new_row_whole_and_a_change_as_its_columns),
      T(seal_pass_only_the_final_state_counts),
      T(seal_pass_delete_and_reinsert_and_or_replace_send_the_row_whole),
      T(seal_pass_gives_the_time_of_the_last_mark_that_holds_the_column),
      T(outbox_acked_sets_only_the_times_of_its_own_sequence),
      T(seal_pass_splits_batches_and_flags_them_as_one_group),
      T(seal_pass_takes_100000_marks_in_passes),
      T(seal_pass_seals_late_tables_last),
      T(seal_pass_stops_at_16_mib_between_rows_and_goes_on),
      T(seal_pass_flags_the_deletes_of_an_undo),
      T(seal_pass_survives_a_crash_before_its_commit),
      T(seal_pass_never_writes_while_a_client_reads_or_writes),
      T(seal_trim_keeps_the_last_mark_and_what_is_not_acknowledged),
      T(a_replica_copied_back_is_noticed_and_sealed_anew_as_a_baseline),
      T(seal_recover_writes_back_what_the_old_copy_lost),
      T(a_baseline_gives_unchanged_columns_their_acknowledged_time),
      T(a_baseline_goes_in_slices_and_misses_no_row),
      T(a_lost_outbox_is_made_anew_and_a_damaged_one_set_aside),
      T(an_outbox_that_cannot_be_opened_now_is_not_set_aside),
      T(scrub_finds_what_made_no_mark),
      T(a_dropped_table_is_no_mass_delete),
      T(scrub_sends_no_delete_for_a_table_made_anew_however_few_its_rows),
      T(seal_pass_says_that_the_disk_is_full_and_changes_nothing),
      T(property_sealed_batches_give_the_replicas_rows),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
