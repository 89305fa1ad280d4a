/* Invitations, joins, orders, streams and keys of sites. */
#include "hub_fixture.h"

static struct hub_job *join_job(const struct trb_token *token, const struct fx_site *keys) {
  struct hub_job *job = job_new(JOB_JOIN, 0, NULL);
  memcpy(job->join.invitation, token->invitation, sizeof token->invitation);
  memcpy(job->join.secret, token->secret, sizeof token->secret);
  memcpy(job->join.curve_public, keys->curve_public, TRB_KEY_BYTES);
  memcpy(job->join.sign_public, keys->sign_public, TRB_KEY_BYTES);
  return job;
}
static void invite(struct fx *fx, const char *site, int64_t expires_ms, struct trb_token *ret) {
  TRB_BUF_AUTO text = {0};
  struct roster_invite how = {site, NULL, NULL, expires_ms};
  fx_ok(fx, roster_invite(&fx->w.hq, &fx->w.keys, &how, 1000, &text, &fx->err));
  fx_ok(fx, token_decode(trb_buf_slice(&text), ret, &fx->err));
}
static void expect_refused(struct fx *fx, struct hub_job *job, int64_t now_ms, enum trb_fault fault) {
  assert_int_equal(roster_join(&fx->w.hq, job, now_ms, &fx->err), TRB_DENIED);
  assert_int_equal(job->fault, fault);
  job_free(&job);
}

static void roster_join_succeeds_again_with_the_same_keys_only(void **state) {
  struct fx *fx = *state;
  struct trb_token token;
  struct fx_site east = {0}, other = {0};
  memset(east.curve_public, 1, TRB_KEY_BYTES);
  memset(east.sign_public, 2, TRB_KEY_BYTES);
  memset(other.curve_public, 3, TRB_KEY_BYTES);
  memset(other.sign_public, 4, TRB_KEY_BYTES);
  invite(fx, "east", 9000, &token);
  struct hub_job *first = join_job(&token, &east), *again = join_job(&token, &east);
  fx_ok(fx, roster_join(&fx->w.hq, first, 2000, &fx->err));
  fx_reopen(fx); /* a crash between use and reply */
  fx_ok(fx, roster_join(&fx->w.hq, again, 99000, &fx->err));
  assert_string_equal(again->site_name, "east");
  assert_memory_equal(first->stream.incarnation, again->stream.incarnation, TRB_INCARNATION_BYTES);
  expect_refused(fx, join_job(&token, &other), 2000, TRB_FAULT_TOKEN_USED);
  job_free(&first);
  job_free(&again);
}

static void roster_join_refuses_unknown_expired_and_wrong_secrets(void **state) {
  struct fx *fx = *state;
  struct trb_token token;
  struct fx_site east = {0};
  invite(fx, "east", 5000, &token);
  expect_refused(fx, join_job(&token, &east), 5001, TRB_FAULT_TOKEN_EXPIRED);
  token.secret[31] ^= 1;
  expect_refused(fx, join_job(&token, &east), 2000, TRB_FAULT_TOKEN_UNKNOWN);
  token.invitation[0] ^= 1;
  expect_refused(fx, join_job(&token, &east), 2000, TRB_FAULT_TOKEN_UNKNOWN);
}

static void roster_join_refuses_keys_of_another_site(void **state) {
  struct fx *fx = *state;
  struct trb_token token;
  invite(fx, "east", 9000, &token);
  expect_refused(fx, join_job(&token, &fx->site[0]), 2000, TRB_FAULT_SITE_TAKEN);
}

static void roster_invite_refuses_bad_names_and_a_site_that_is_open(void **state) {
  struct fx *fx = *state;
  TRB_BUF_AUTO text = {0};
  static const char *const names[] = {"hq", "guest", "East", "a b", "", "9a", "a'b", "东"};
  for (size_t i = 0; i < sizeof names / sizeof *names; i++) {
    struct roster_invite how = {names[i], NULL, NULL, 9000};
    assert_int_equal(roster_invite(&fx->w.hq, &fx->w.keys, &how, 1000, &text, &fx->err), TRB_PEER);
  }
  struct roster_invite open = {"north", NULL, NULL, 9000};
  assert_int_equal(roster_invite(&fx->w.hq, &fx->w.keys, &open, 1000, &text, &fx->err), TRB_DENIED);
}

static void roster_revoke_takes_the_keys_and_a_new_machine_may_join(void **state) {
  struct fx *fx = *state;
  struct roster roster;
  fx_ok(fx, roster_load(fx->w.store.db, &roster, &fx->err));
  assert_non_null(roster_by_curve(&roster, fx->site[0].curve_public));
  roster_free(&roster);
  fx_ok(fx, roster_order(&fx->w.hq, "north", ROSTER_REVOKED, "stolen", 2000, &fx->err));
  fx_ok(fx, roster_load(fx->w.store.db, &roster, &fx->err));
  assert_null(roster_by_curve(&roster, fx->site[0].curve_public));
  assert_int_equal(roster_named(&roster, "north")->state, ROSTER_REVOKED);
  roster_free(&roster);
  struct fx_site machine = {0};
  struct hub_job *job = NULL;
  fx_ok(fx, fx_join(fx, &machine, "north", &job));
  assert_int_equal(machine.no, fx->site[0].no); /* the same site */
  fx_ok(fx, roster_load(fx->w.store.db, &roster, &fx->err));
  assert_non_null(roster_by_curve(&roster, machine.curve_public));
  assert_null(roster_by_curve(&roster, fx->site[0].curve_public));
  roster_free(&roster);
  job_free(&job);
  crypto_signer_free(&machine.signer);
}

static void roster_orders_follow_the_state(void **state) {
  struct fx *fx = *state;
  assert_int_equal(roster_order(&fx->w.hq, "north", ROSTER_OPEN, "", 2000, &fx->err), TRB_ABSENT);
  fx_ok(fx, roster_order(&fx->w.hq, "north", ROSTER_SUSPENDED, "", 2000, &fx->err));
  assert_int_equal(roster_order(&fx->w.hq, "north", ROSTER_SUSPENDED, "", 2000, &fx->err), TRB_ABSENT);
  fx_ok(fx, roster_order(&fx->w.hq, "north", ROSTER_OPEN, "", 2001, &fx->err));
  fx_ok(fx, roster_order(&fx->w.hq, "north", ROSTER_REVOKED, "", 2002, &fx->err));
  assert_int_equal(roster_order(&fx->w.hq, "north", ROSTER_OPEN, "", 2003, &fx->err), TRB_DENIED);
  assert_int_equal(roster_order(&fx->w.hq, "nowhere", ROSTER_OPEN, "", 2003, &fx->err), TRB_ABSENT);
  assert_int_equal(fx_int(fx, "SELECT count(*) FROM site_state WHERE site_id='north'"), 4);
}

static void roster_new_stream_replaces_the_old_one_and_is_bounded(void **state) {
  struct fx *fx = *state;
  struct fx_batch b = {0}, c = {0};
  uint8_t hash[TRB_HASH_BYTES];
  int granted = 0;
  enum trb_status status = TRB_OK;
  fx_customer(&b, "C1", "张三");
  fx_send(fx, &fx->site[0], &b);
  struct fx_site old = fx->site[0];
  for (; granted <= ROSTER_STREAMS_PER_HOUR; granted++) {
    struct hub_job *job = job_new(JOB_NEW_STREAM, fx->site[0].no, "north");
    memcpy(job->new_stream.parent, fx->site[0].incarnation, TRB_INCARNATION_BYTES);
    job->new_stream.sequence = 1;
    status = roster_new_stream(&fx->w.hq, job, writer_now_ms(), &fx->err);
    if (status == TRB_OK) memcpy(fx->site[0].incarnation, job->stream.incarnation, TRB_INCARNATION_BYTES);
    job_free(&job);
    if (status != TRB_OK) break;
  }
  assert_int_equal(status, TRB_DENIED);
  assert_true(granted > 10);
  fx_customer(&c, "C2", "李四");
  assert_int_equal(fx_give(fx, fx_seal(fx, &old, &c, hash)).hold, TRB_HOLD_INCARNATION);
  fx->site[0].sequence = 0;
  memset(fx->site[0].previous, 0, TRB_HASH_BYTES);
  struct fx_batch d = {0};
  fx_customer(&d, "C2", "李四");
  fx_send(fx, &fx->site[0], &d);
  assert_int_equal(fx_int(fx, "SELECT count(*) FROM stream WHERE site=2 AND current=1"), 1);
}

static void roster_rotate_takes_new_keys_and_still_believes_old_batches(void **state) {
  struct fx *fx = *state;
  struct roster roster;
  struct hub_job *job = job_new(JOB_ROTATE, fx->site[0].no, "north");
  memset(job->rotate.curve_public, 8, TRB_KEY_BYTES);
  memset(job->rotate.sign_public, 9, TRB_KEY_BYTES);
  fx_ok(fx, roster_rotate(&fx->w.hq, job, writer_now_ms(), &fx->err));
  fx_ok(fx, roster_rotate(&fx->w.hq, job, writer_now_ms(), &fx->err)); /* asked again */
  fx_ok(fx, roster_load(fx->w.store.db, &roster, &fx->err));
  struct roster_site *north = roster_named(&roster, "north");
  assert_memory_equal(north->sign[0], job->rotate.sign_public, TRB_KEY_BYTES);
  assert_int_equal(north->sign_count, 2);
  assert_memory_equal(north->sign[1], fx->site[0].sign_public, TRB_KEY_BYTES);
  assert_ptr_equal(roster_by_curve(&roster, job->rotate.curve_public), north);
  assert_int_equal(fx_int(fx, "SELECT count(*) FROM stream WHERE site=2"), 1); /* the stream goes on */
  roster_free(&roster);
  job_free(&job);
}

static void hubkeys_rotate_announces_and_then_switches(void **state) {
  struct fx *fx = *state;
  struct hub_keys keys;
  bool switched = true;
  uint8_t before[TRB_KEY_BYTES], sign[TRB_KEY_BYTES];
  memcpy(before, fx->w.keys.set.curve_public, TRB_KEY_BYTES);
  memcpy(sign, fx->w.keys.set.sign_public, TRB_KEY_BYTES);
  fx_ok(fx, hubkeys_rotate(fx->dir, &fx->conf, &switched, &fx->err));
  assert_false(switched);
  fx_ok(fx, hubkeys_load(fx->dir, &fx->conf, &keys, &fx->err));
  assert_true(keys.set.has_next);
  assert_memory_equal(keys.set.curve_public, before, TRB_KEY_BYTES);
  assert_memory_not_equal(keys.set.sign_public, sign, TRB_KEY_BYTES);
  assert_memory_equal(keys.accepted.sign_public[1], sign, TRB_KEY_BYTES); /* its acks stay good */
  hubkeys_free(&keys);
  fx_ok(fx, hubkeys_rotate(fx->dir, &fx->conf, &switched, &fx->err));
  assert_true(switched);
  fx_ok(fx, hubkeys_load(fx->dir, &fx->conf, &keys, &fx->err));
  assert_false(keys.set.has_next);
  assert_memory_not_equal(keys.set.curve_public, before, TRB_KEY_BYTES);
  hubkeys_free(&keys);
}

static void hubkeys_load_names_a_damaged_file(void **state) {
  struct fx *fx = *state;
  struct hub_keys keys;
  char path[96];
  snprintf(path, sizeof path, "%s/keys/sign", fx->dir);
  assert_int_equal(truncate(path, 31), 0);
  assert_int_equal(hubkeys_load(fx->dir, &fx->conf, &keys, &fx->err), TRB_STORE);
  assert_non_null(strstr(fx->err.text, "keys/sign"));
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, fx_setup, fx_teardown)
int main(void) {
  const struct CMUnitTest tests[] = {
      TEST(roster_join_succeeds_again_with_the_same_keys_only),
      TEST(roster_join_refuses_unknown_expired_and_wrong_secrets),
      TEST(roster_join_refuses_keys_of_another_site),
      TEST(roster_invite_refuses_bad_names_and_a_site_that_is_open),
      TEST(roster_revoke_takes_the_keys_and_a_new_machine_may_join),
      TEST(roster_orders_follow_the_state),
      TEST(roster_new_stream_replaces_the_old_one_and_is_bounded),
      TEST(roster_rotate_takes_new_keys_and_still_believes_old_batches),
      TEST(hubkeys_rotate_announces_and_then_switches),
      TEST(hubkeys_load_names_a_damaged_file),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
