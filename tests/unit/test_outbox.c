/* outbox: chain, prune, acks of strangers, clock segments, over a real file. */
#include "branch_fixture.h"

static void put(struct fixture *f, const char *id) {
  sqlf(f, "INSERT INTO customer(id, kind, name) VALUES('%s', 'person', '张')", id);
  seal_all(f);
}

static void outbox_acked_prunes_only_up_to_safe(void **state) {
  struct fixture *f = *state;
  TRB_BUF_AUTO sealed = {0};
  struct trb_error error;
  put(f, "a");
  put(f, "b");
  put(f, "c");
  ack_to(f, 0, 2, 0);
  assert_int_equal(number(f->outbox->db, "SELECT count(*) FROM batch"), 3);
  ack_to(f, 2, 3, 2);
  assert_int_equal(number(f->outbox->db, "SELECT min(sequence) FROM batch"), 3);
  assert_int_equal(outbox_load(f->outbox, 1, &sealed, NULL, &error), TRB_ABSENT);
  ack_to(f, 3, 3, 99); /* safe is never above what is acknowledged */
  assert_int_equal(f->outbox->state.safe, 3);
  fixture_reopen(f);
  assert_int_equal(f->outbox->state.acked, 3);
}

static void outbox_acked_ignores_acks_that_are_not_the_hubs(void **state) {
  struct fixture *f = *state;
  TRB_BUF_AUTO acks = {0}, ack_bytes = {0};
  TRB_ARENA_AUTO arena = {0};
  uint32_t bad = 0;
  put(f, "a");
  struct trb_ack ack = {.site = trb_slice_str("north"), .sequence = 1};
  memcpy(ack.incarnation, f->outbox->state.incarnation, TRB_INCARNATION_BYTES);
  memcpy(ack.hash, f->outbox->state.hash, TRB_HASH_BYTES);
  ack.acceptance = (struct trb_acceptance){.commit = 9, .limit = 9, .segment_count = 1};
  ack_seal(&ack, f->signer, &ack_bytes); /* signed, but by the branch itself */
  mp_put_array(&acks, 1);
  mp_put_bin(&acks, trb_buf_slice(&ack_bytes));
  OK(outbox_acked(f->outbox, 1, 0, trb_buf_slice(&acks), crypto_signer_public(f->hub), &bad, err));
  assert_int_equal(bad, 1);
  assert_int_equal(shadow_of(f, &arena, TRB_T_customer, "a").stamp, 0);
  static const uint8_t junk[] = {0x91, 0xc4};
  OK(outbox_acked(f->outbox, 1, 0, trb_slice_of(junk, sizeof junk), crypto_signer_public(f->hub), &bad, err));
  assert_int_equal(bad, 1);
}

static void outbox_load_notices_a_flipped_bit(void **state) {
  struct fixture *f = *state;
  TRB_BUF_AUTO sealed = {0};
  struct trb_error error;
  put(f, "a");
  OK(db_exec(f->outbox->db,
             "UPDATE batch SET sealed = CAST(substr(sealed, 1, 100) || x'00' || substr(sealed, 102) AS BLOB)", err));
  assert_int_equal(outbox_load(f->outbox, 1, &sealed, NULL, &error), TRB_STORE);
  assert_int_equal(sealed.len, 0);
}

static void outbox_create_keeps_only_its_own_stream(void **state) {
  struct fixture *f = *state;
  struct outbox *again = NULL;
  struct trb_error error;
  static const uint8_t same[TRB_INCARNATION_BYTES] = {7}, other[TRB_INCARNATION_BYTES] = {8};
  fixture_close(f);
  OK(outbox_create(f->dir, same, &again, err));
  outbox_close(&again);
  assert_int_equal(outbox_create(f->dir, other, &again, &error), TRB_DENIED);
  fixture_open(f);
}

static void outbox_clock_opens_a_segment_only_when_the_clock_broke(void **state) {
  struct fixture *f = *state;
  TRB_ARENA_AUTO arena = {0};
  const struct trb_segment *segments;
  size_t count;
  bool opened;
  struct trb_clock_reading now = f->now;
  now.wall_ms += 60000;
  now.boot_ms += 60100; /* slewed */
  OK(outbox_clock(f->outbox, &now, 50, &opened, err));
  assert_false(opened);
  OK(outbox_measured(f->outbox, now.boot_id, 1234567, err));
  now.wall_ms -= 86400000; /* set back by a day */
  OK(outbox_clock(f->outbox, &now, 50, &opened, err));
  assert_true(opened);
  now.boot_id[0]++; /* another boot */
  OK(outbox_clock(f->outbox, &now, 60, &opened, err));
  assert_true(opened);
  OK(outbox_segments(f->outbox, 0, &arena, &segments, &count, err));
  assert_int_equal(count, 3);
  assert_true(segments[0].measured && segments[1].measured); /* the boot clock did not jump */
  assert_false(segments[2].measured);
  OK(outbox_segments(f->outbox, 55, &arena, &segments, &count, err));
  assert_int_equal(count, 2);
  assert_int_equal(segments[0].first_mark, 50);
}

static void outbox_rollback_forgets_what_was_not_committed(void **state) {
  struct fixture *f = *state;
  put(f, "a");
  OK(outbox_begin(f->outbox, err));
  f->outbox->state.mark = 77;
  f->outbox->state.sequence = 9;
  outbox_rollback(f->outbox);
  assert_int_equal(f->outbox->state.mark, 1);
  assert_int_equal(f->outbox->state.sequence, 1);
}

int main(void) {
#define T(name) cmocka_unit_test_setup_teardown(name, fixture_up, fixture_down)
  const struct CMUnitTest tests[] = {
      T(outbox_acked_prunes_only_up_to_safe),
      T(outbox_acked_ignores_acks_that_are_not_the_hubs),
      T(outbox_load_notices_a_flipped_bit),
      T(outbox_create_keeps_only_its_own_stream),
      T(outbox_clock_opens_a_segment_only_when_the_clock_broke),
      T(outbox_rollback_forgets_what_was_not_committed),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
