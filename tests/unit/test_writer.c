/* Streams, passes, failures and recovery of the hub's writer, with real files. */
#include "hub_fixture.h"

static void writer_commits_a_batch_and_acknowledges_it(void **state) {
  struct fx *fx = *state;
  struct fx_batch b = {0};
  uint8_t hash[TRB_HASH_BYTES];
  fx_customer(&b, "C1", "张三");
  fx_contact(&b, "K1", "C1", "１３９ 1111 2222");
  struct fx_answer answer = fx_give(fx, fx_seal(fx, &fx->site[0], &b, hash));
  assert_int_equal(answer.hold, 0);
  assert_int_equal(answer.sequence, 1);
  TRB_ARENA_AUTO arena = {0};
  struct trb_ack ack;
  fx_ok(fx, ack_open(trb_buf_slice(&answer.ack), fx->w.keys.accepted.sign_public[0], &arena, &ack, &fx->err));
  assert_memory_equal(ack.hash, hash, TRB_HASH_BYTES);
  assert_true(ack.acceptance.limit >= ack.acceptance.commit);
  trb_buf_free(&answer.ack);
  fx_text(fx, "SELECT name FROM customer", "张三");
  fx_text(fx, "SELECT main_mobile FROM unified_customer", "１３９ 1111 2222");
  fx_verify(fx);
}

static void writer_answers_a_repeated_batch_with_the_same_ack(void **state) {
  struct fx *fx = *state;
  struct fx_batch b = {0};
  uint8_t hash[TRB_HASH_BYTES];
  fx_customer(&b, "C1", "张三");
  struct fx_answer first = fx_give(fx, fx_seal(fx, &fx->site[0], &b, hash));
  fx_reopen(fx);
  struct fx_answer again = fx_give(fx, fx_seal(fx, &fx->site[0], &b, hash));
  assert_int_equal(again.hold, 0);
  assert_true(trb_slice_equal(trb_buf_slice(&first.ack), trb_buf_slice(&again.ack)));
  assert_int_equal(fx_int(fx, "SELECT count(*) FROM batch_hash WHERE stream=(SELECT no FROM stream WHERE site=2)"), 1);
  assert_int_equal(fx_int(fx, "SELECT count(*) FROM customer"), 1);
  trb_buf_free(&first.ack);
  trb_buf_free(&again.ack);
}

static void writer_holds_a_gap_and_says_what_it_expects(void **state) {
  struct fx *fx = *state;
  struct fx_batch b = {0};
  uint8_t hash[TRB_HASH_BYTES];
  struct fx_site ahead = fx->site[0];
  ahead.sequence = 4;
  memset(ahead.previous, 1, TRB_HASH_BYTES);
  fx_customer(&b, "C1", "张三");
  struct fx_answer answer = fx_give(fx, fx_seal(fx, &ahead, &b, hash));
  assert_int_equal(answer.hold, TRB_HOLD_GAP);
  assert_int_equal(answer.sequence, 1);
  assert_int_equal(fx_int(fx, "SELECT count(*) FROM customer"), 0);
}

static void writer_sets_aside_a_fork_and_goes_on_with_the_stream(void **state) {
  struct fx *fx = *state;
  struct fx_batch b = {0}, other = {0}, next = {0};
  uint8_t hash[TRB_HASH_BYTES];
  fx_customer(&b, "C1", "张三");
  fx_customer(&other, "C1", "李四");
  struct hub_job *fork = fx_seal(fx, &fx->site[0], &other, hash);
  fx_send(fx, &fx->site[0], &b);
  struct fx_answer answer = fx_give(fx, fork);
  assert_int_equal(answer.hold, TRB_HOLD_FORK);
  assert_int_equal(answer.ack.len, 0);
  assert_int_equal(fx_int(fx, "SELECT count(*) FROM fork WHERE length(bytes) > 100"), 1);
  fx_text(fx, "SELECT name FROM customer", "张三");
  fx_customer(&next, "C2", "王五");
  fx_send(fx, &fx->site[0], &next);
  assert_int_equal(fx_int(fx, "SELECT count(*) FROM customer"), 2);
}

static void writer_takes_a_wrong_predecessor_for_a_fork(void **state) {
  struct fx *fx = *state;
  struct fx_batch a = {0}, b = {0};
  uint8_t hash[TRB_HASH_BYTES];
  fx_customer(&a, "C1", "张三");
  fx_send(fx, &fx->site[0], &a);
  memset(fx->site[0].previous, 7, TRB_HASH_BYTES);
  fx_customer(&b, "C2", "李四");
  struct fx_answer answer = fx_give(fx, fx_seal(fx, &fx->site[0], &b, hash));
  assert_int_equal(answer.hold, TRB_HOLD_FORK);
}

static void writer_refuses_damaged_and_foreign_batches(void **state) {
  struct fx *fx = *state;
  struct fx_batch b = {0};
  uint8_t hash[TRB_HASH_BYTES];
  fx_customer(&b, "C1", "张三");
  struct hub_job *damaged = fx_seal(fx, &fx->site[0], &b, hash);
  ((uint8_t *)(uintptr_t)damaged->sealed.data)[damaged->sealed.len / 2] ^= 1;
  assert_int_equal(fx_give(fx, damaged).hold, TRB_HOLD_BAD_BATCH);
  /* Signed by south, said to be north's; and north's own signature over south's name. */
  struct hub_job *foreign = fx_seal(fx, &fx->site[1], &b, hash);
  foreign->site = fx->site[0].no;
  snprintf(foreign->site_name, sizeof foreign->site_name, "north");
  assert_int_equal(fx_give(fx, foreign).hold, TRB_HOLD_BAD_BATCH);
  struct fx_site liar = fx->site[0];
  snprintf(liar.name, sizeof liar.name, "south");
  struct hub_job *named = fx_seal(fx, &liar, &b, hash);
  snprintf(named->site_name, sizeof named->site_name, "north");
  assert_int_equal(fx_give(fx, named).hold, TRB_HOLD_BAD_BATCH);
  assert_int_equal(fx_int(fx, "SELECT count FROM bad_batch"), 3);
  assert_int_equal(fx_int(fx, "SELECT count(*) FROM customer"), 0);
}

static void writer_holds_another_incarnation(void **state) {
  struct fx *fx = *state;
  struct fx_batch b = {0};
  uint8_t hash[TRB_HASH_BYTES];
  fx->site[0].incarnation[3] ^= 1;
  fx_customer(&b, "C1", "张三");
  assert_int_equal(fx_give(fx, fx_seal(fx, &fx->site[0], &b, hash)).hold, TRB_HOLD_INCARNATION);
}

static void writer_commits_a_pass_only_when_it_is_whole(void **state) {
  struct fx *fx = *state;
  struct fx_batch a = {0}, b = {0};
  size_t count = 0;
  a.batch.header.flags = TRB_BATCH_CONTINUES;
  fx_customer(&a, "C1", "张三");
  fx_send(fx, &fx->site[0], &a);
  assert_int_equal(fx_int(fx, "SELECT count(*) FROM customer"), 0);
  uint8_t hash[TRB_HASH_BYTES];
  fx_customer(&b, "C2", "李四");
  struct hub_job *job = fx_seal(fx, &fx->site[0], &b, hash);
  worker_verify(job, &fx->w.keys.accepted);
  writer_group(&fx->w, &job, 1);
  struct fx_answer answer = fx_answers(fx, &count);
  assert_int_equal(answer.hold, 0);
  assert_int_equal(count, 2); /* both are acknowledged */
  trb_buf_free(&answer.ack);
  assert_int_equal(fx_int(fx, "SELECT count(*) FROM customer"), 2);
}

static void writer_forgets_half_a_pass_at_the_next_attach(void **state) {
  struct fx *fx = *state;
  struct fx_batch a = {0}, whole = {0};
  a.batch.header.flags = TRB_BATCH_CONTINUES;
  fx_customer(&a, "C1", "张三");
  struct fx_site before = fx->site[0];
  fx_send(fx, &fx->site[0], &a);
  struct hub_job *attach = job_new(JOB_ATTACH, fx->site[0].no, "north");
  writer_group(&fx->w, &attach, 1);
  attach = queue_pop(fx->out, 0);
  assert_int_equal(attach->status, TRB_OK);
  assert_int_equal(attach->stream.acked_sequence, 0);
  job_free(&attach);
  fx->site[0] = before;
  fx_customer(&whole, "C1", "张三");
  fx_send(fx, &fx->site[0], &whole);
  assert_int_equal(fx_int(fx, "SELECT count(*) FROM customer"), 1);
}

static void writer_drops_without_a_word_what_was_behind_a_held_batch(void **state) {
  struct fx *fx = *state;
  struct fx_batch a = {0}, b = {0};
  uint8_t hash[TRB_HASH_BYTES];
  struct fx_site behind = fx->site[0];
  fx_customer(&a, "C1", "张三");
  fx_customer(&b, "C2", "李四");
  struct hub_job *bad = fx_seal(fx, &fx->site[0], &a, hash);
  ((uint8_t *)(uintptr_t)bad->sealed.data)[bad->sealed.len - 1] ^= 1;
  behind.sequence = 1;
  memset(behind.previous, 1, TRB_HASH_BYTES);
  struct hub_job *jobs[] = {bad, fx_seal(fx, &behind, &b, hash)};
  for (int i = 0; i < 2; i++) worker_verify(jobs[i], &fx->w.keys.accepted);
  writer_group(&fx->w, jobs, 2);
  size_t count = 0;
  assert_int_equal(fx_answers(fx, &count).hold, TRB_HOLD_BAD_BATCH);
  assert_int_equal(count, 1);
}

static void writer_tells_busy_when_the_disk_is_full_and_loses_nothing(void **state) {
  struct fx *fx = *state;
  struct fx_batch b = {0};
  char sql[64];
  uint8_t hash[TRB_HASH_BYTES];
  snprintf(sql, sizeof sql, "PRAGMA max_page_count=%lld", (long long)fx_int(fx, "PRAGMA page_count"));
  fx_ok(fx, db_exec(fx->w.store.db, sql, &fx->err));
  static char remark[8000];
  memset(remark, 'x', sizeof remark - 1);
  for (int i = 0; i < 20; i++) {
    static char ids[20][8];
    snprintf(ids[i], sizeof ids[i], "C%d", i);
    fx_cell(fx_customer(&b, ids[i], "张三"), TRB_C_customer_remark, trb_text(remark));
  }
  struct fx_answer answer = fx_give(fx, fx_seal(fx, &fx->site[0], &b, hash));
  assert_int_equal(answer.hold, TRB_HOLD_BUSY);
  assert_int_equal(answer.ack.len, 0);
  assert_int_equal(fx_int(fx, "SELECT count(*) FROM customer"), 0);
  fx_ok(fx, db_exec(fx->w.store.db, "PRAGMA max_page_count=1000000", &fx->err));
  fx_send(fx, &fx->site[0], &b);
  assert_int_equal(fx_int(fx, "SELECT count(*) FROM customer"), 20);
  fx_verify(fx);
}

static void writer_isolates_a_failing_site_from_the_others(void **state) {
  struct fx *fx = *state;
  struct fx_batch a = {0}, b = {0};
  uint8_t hash[TRB_HASH_BYTES];
  fx_customer(&a, "C1", "张三");
  fx_customer(&b, "C1", "李四");
  /* north's stream is damaged: its batch fails as STORE each time it is tried. */
  fx_send(fx, &fx->site[0], &a);
  fx_ok(fx, db_exec(fx->w.store.db, "UPDATE stream SET hash=x'00' WHERE site=2", &fx->err));
  fx_reopen(fx);
  struct fx_batch c = {0};
  fx_customer(&c, "C2", "王五");
  assert_int_equal(fx_give(fx, fx_seal(fx, &fx->site[0], &c, hash)).hold, TRB_HOLD_BUSY);
  fx_send(fx, &fx->site[1], &b);
  fx_text(fx, "SELECT name FROM customer WHERE _site=3", "李四");
}

static void writer_keeps_effective_times_when_a_restored_hub_gets_the_batch_again(void **state) {
  struct fx *fx = *state;
  struct fx_batch b = {0};
  char command[256];
  uint8_t hash[TRB_HASH_BYTES];
  fx_close(fx);
  snprintf(command, sizeof command, "cp %s/hub.db %s/old.db", fx->dir, fx->dir);
  assert_int_equal(system(command), 0);
  fx_open(fx);
  fx_customer(&b, "C1", "张三");
  struct fx_answer first = fx_give(fx, fx_seal(fx, &fx->site[0], &b, hash));
  int64_t accepted = fx_int(fx, "SELECT _accepted FROM customer");
  uint8_t epoch[16];
  memcpy(epoch, fx->w.store.epoch, sizeof epoch);
  fx_close(fx);
  snprintf(command, sizeof command, "rm -f %s/hub.db-*; cp %s/old.db %s/hub.db", fx->dir, fx->dir, fx->dir);
  assert_int_equal(system(command), 0);
  fx_open(fx);
  assert_true(fx->w.hq.restored);
  assert_false(fx->w.hq.held); /* the journal covers what headquarters wrote */
  assert_memory_not_equal(epoch, fx->w.store.epoch, sizeof epoch);
  assert_int_equal(fx_int(fx, "SELECT count(*) FROM customer"), 0);
  struct hub_job *job = fx_seal(fx, &fx->site[0], &b, hash);
  bool ok = true;
  job->sent_ack = trb_arena_copy(&job->arena, trb_buf_slice(&first.ack), &ok);
  struct fx_answer again = fx_give(fx, job);
  assert_int_equal(again.hold, 0);
  assert_true(trb_slice_equal(trb_buf_slice(&first.ack), trb_buf_slice(&again.ack)));
  assert_int_equal(fx_int(fx, "SELECT _accepted FROM customer"), accepted);
  trb_buf_free(&first.ack);
  trb_buf_free(&again.ack);
  fx_verify(fx);
}

static void writer_takes_back_headquarters_writes_from_the_journal(void **state) {
  struct fx *fx = *state;
  char command[256];
  fx_close(fx);
  snprintf(command, sizeof command, "cp %s/hub.db %s/old.db", fx->dir, fx->dir);
  assert_int_equal(system(command), 0);
  fx_open(fx);
  fx_ok(fx, roster_order(&fx->w.hq, "north", ROSTER_REVOKED, "stolen", writer_now_ms(), &fx->err));
  fx_ok(fx, hq_set(&fx->w.hq, "branch_silent_hours", "7", writer_now_ms(), &fx->err));
  fx_close(fx);
  snprintf(command, sizeof command, "rm -f %s/hub.db-*; cp %s/old.db %s/hub.db", fx->dir, fx->dir, fx->dir);
  assert_int_equal(system(command), 0);
  fx_open(fx);
  assert_int_equal(fx->w.hq.replayed, 2);
  fx_text(fx, "SELECT state FROM site WHERE id='north'", "revoked");
  assert_int_equal(store_setting_int(fx->w.store.db, "branch_silent_hours", 0), 7);
  fx_verify(fx);
}

static void writer_holds_all_sites_when_a_restored_hub_has_lost_its_journal(void **state) {
  struct fx *fx = *state;
  char command[256];
  struct fx_batch b = {0};
  uint8_t hash[TRB_HASH_BYTES];
  fx_ok(fx, db_run(fx->w.store.db, &fx->err, "INSERT INTO hub_state VALUES('copy_of', 1)", ""));
  fx_close(fx);
  snprintf(command, sizeof command, "rm %s/journal", fx->dir);
  assert_int_equal(system(command), 0);
  fx_open(fx);
  assert_true(fx->w.hq.held);
  fx_customer(&b, "C1", "张三");
  assert_int_equal(fx_give(fx, fx_seal(fx, &fx->site[0], &b, hash)).hold, TRB_HOLD_BUSY);
  fx_reopen(fx);
  assert_true(fx->w.hq.held); /* until an operator says go */
  fx_ok(fx, hq_go(&fx->w.hq, &fx->err));
  fx_send(fx, &fx->site[0], &b);
}

/* One backup through the writer, up to the copy; the answer's status. */
static enum trb_status copy_hub(struct fx *fx, const char *path) {
  const char *words[] = {"backup", path};
  struct hub_job *job = job_new(JOB_COMMAND, 0, NULL);
  job->words = words;
  job->word_count = 2;
  writer_group(&fx->w, &job, 1);
  while (backup_step(&fx->w)) continue;
  while ((job = queue_pop(fx->out, 0)) != NULL && job->kind != JOB_COMMAND) job_free(&job);
  assert_non_null(job);
  enum trb_status status = job->status;
  fx->err = job->error;
  job_free(&job);
  return status;
}

static void writer_moves_safe_to_the_older_of_the_last_two_verified_backups(void **state) {
  struct fx *fx = *state;
  char path[96], part[112];
  for (int i = 1; i <= 3; i++) {
    struct fx_batch b = {0};
    char id[8];
    snprintf(id, sizeof id, "C%d", i);
    fx_customer(&b, id, "张三");
    fx_send(fx, &fx->site[0], &b);
    snprintf(path, sizeof path, "%s/backup%d.db", fx->dir, i);
    snprintf(part, sizeof part, "%s.part", path);
    fx_ok(fx, copy_hub(fx, path));
    assert_int_equal(access(path, F_OK), -1); /* nothing has that name before it is verified */
    struct hub_report report;
    fx_ok(fx, hub_verify(part, &report, &fx->err));
    assert_true(hub_report_good(&report));
    TRB_BUF_AUTO out = {0};
    fx_ok(fx, backup_verified(&fx->w, path, i, writer_now_ms(), &out, &fx->err));
    assert_int_equal(access(path, F_OK), 0);
    assert_int_equal(access(part, F_OK), -1);
    struct stream *stream;
    fx_ok(fx, store_stream(&fx->w.store, fx->site[0].no, &stream, &fx->err));
    assert_int_equal(stream->safe, i - 1);
  }
  assert_int_equal(
      fx_int(fx, "SELECT count(*) FROM batch_hash b JOIN stream s ON s.no=b.stream WHERE s.site=2 AND ack IS NULL"), 2);
}

static void writer_leaves_nothing_of_a_backup_that_does_not_verify(void **state) {
  struct fx *fx = *state;
  char path[96], part[112], command[256];
  TRB_BUF_AUTO out = {0};
  snprintf(path, sizeof path, "%s/backup.db", fx->dir);
  snprintf(part, sizeof part, "%s.part", path);
  fx_ok(fx, copy_hub(fx, path));
  fx_ok(fx, backup_refused(&fx->w, path, 1, &out, &fx->err));
  assert_int_equal(access(part, F_OK), -1);
  assert_int_equal(backup_verified(&fx->w, path, 1, 1, &out, &fx->err), TRB_ABSENT);
  /* Whoever asked was killed: the next run under the same name takes the place, and the old number counts no more. */
  fx_ok(fx, copy_hub(fx, path));
  int64_t old = fx_int(fx, "SELECT max(no) FROM backup");
  snprintf(command, sizeof command, "echo rubbish > %s-journal", part);
  assert_int_equal(system(command), 0);
  fx_ok(fx, copy_hub(fx, path));
  int64_t number = fx_int(fx, "SELECT max(no) FROM backup");
  assert_true(number > old);
  assert_int_equal(backup_verified(&fx->w, path, old, 1, &out, &fx->err), TRB_ABSENT);
  struct hub_report report;
  fx_ok(fx, hub_verify(part, &report, &fx->err));
  fx_ok(fx, backup_verified(&fx->w, path, number, 1, &out, &fx->err));
  assert_int_equal(copy_hub(fx, path), TRB_DENIED); /* never over one that is good */
  /* A file that came to be there meanwhile is not overwritten either. */
  snprintf(path, sizeof path, "%s/other.db", fx->dir);
  fx_ok(fx, copy_hub(fx, path));
  snprintf(command, sizeof command, "echo mine > %s", path);
  assert_int_equal(system(command), 0);
  number = fx_int(fx, "SELECT max(no) FROM backup");
  assert_int_equal(backup_verified(&fx->w, path, number, 1, &out, &fx->err), TRB_DENIED);
  assert_int_equal(fx_int(fx, "SELECT count(*) FROM backup WHERE verified_at IS NOT NULL"), 1);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, fx_setup, fx_teardown)
int main(void) {
  const struct CMUnitTest tests[] = {
      TEST(writer_commits_a_batch_and_acknowledges_it),
      TEST(writer_answers_a_repeated_batch_with_the_same_ack),
      TEST(writer_holds_a_gap_and_says_what_it_expects),
      TEST(writer_sets_aside_a_fork_and_goes_on_with_the_stream),
      TEST(writer_takes_a_wrong_predecessor_for_a_fork),
      TEST(writer_refuses_damaged_and_foreign_batches),
      TEST(writer_holds_another_incarnation),
      TEST(writer_commits_a_pass_only_when_it_is_whole),
      TEST(writer_forgets_half_a_pass_at_the_next_attach),
      TEST(writer_drops_without_a_word_what_was_behind_a_held_batch),
      TEST(writer_tells_busy_when_the_disk_is_full_and_loses_nothing),
      TEST(writer_isolates_a_failing_site_from_the_others),
      TEST(writer_keeps_effective_times_when_a_restored_hub_gets_the_batch_again),
      TEST(writer_takes_back_headquarters_writes_from_the_journal),
      TEST(writer_holds_all_sites_when_a_restored_hub_has_lost_its_journal),
      TEST(writer_moves_safe_to_the_older_of_the_last_two_verified_backups),
      TEST(writer_leaves_nothing_of_a_backup_that_does_not_verify),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
