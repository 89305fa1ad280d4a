/* session: the hub's core, fed by hand. */
// clang-format off
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>
// clang-format on
#include "line_kit.h"
#include "tributary/session.h"

#define SITE "shanghai"
enum { N = 40, HUB_MS = 1000000 };

static struct line_kit kit;
static struct {
  struct trb_buf bytes;
  uint8_t hash[TRB_HASH_BYTES];
} chain[N + 1], big[N + 1];

struct fixture {
  struct session *s;
  struct session_action action;
  struct trb_buf copy; /* the frame of the latest SEND */
  struct wire_message sent;
  int64_t now;
};

static int setup(void **state) {
  struct fixture *f = calloc(1, sizeof *f);
  struct session_config config = {.site = SITE, .keyset = trb_buf_slice(&kit.keyset)};
  memset(config.epoch, 7, sizeof config.epoch);
  memcpy(config.sign_public, crypto_signer_public(kit.site), TRB_KEY_BYTES);
  assert_int_equal(session_new(&config, &f->s), TRB_OK);
  f->now = HUB_MS;
  *state = f;
  return 0;
}

static int teardown(void **state) {
  struct fixture *f = *state;
  session_free(&f->s);
  trb_buf_free(&f->copy);
  free(f);
  return 0;
}

static void receive(struct fixture *f, const struct wire_message *message) {
  TRB_BUF_AUTO frame = {0};
  wire_encode(message, &frame);
  assert_false(frame.failed);
  session_receive(f->s, trb_buf_slice(&frame), f->now);
}

/* The next action must be this one. */
static void expect(struct fixture *f, enum session_do what) { assert_int_equal(session_next(f->s, &f->action), what); }
static void expect_send(struct fixture *f, enum wire_type type) {
  expect(f, SESSION_SEND);
  trb_buf_clear(&f->copy);
  trb_buf_append_slice(&f->copy, f->action.bytes);
  assert_int_equal(wire_decode(trb_buf_slice(&f->copy), &f->sent, NULL), TRB_OK);
  assert_string_equal(wire_name(f->sent.type), wire_name(type));
  assert_int_equal(wire_sender(f->sent.type), 'H');
}
static void expect_hold(struct fixture *f, enum trb_hold code, uint64_t sequence) {
  expect_send(f, WIRE_hold);
  assert_int_equal(f->sent.hold.code, code);
  assert_int_equal(f->sent.hold.sequence, sequence);
}
static void expect_ack(struct fixture *f, uint64_t sequence, size_t count) {
  expect_send(f, WIRE_ack);
  assert_int_equal(f->sent.ack.sequence, sequence);
  struct mp_reader r = mp_reader(f->sent.ack.acks);
  assert_int_equal(mp_get_array(&r), count);
  for (uint64_t n = sequence - count + 1; n <= sequence; n++) {
    char want[64];
    kit_ack(1, n, chain[n].hash, want);
    assert_true(trb_slice_equal(mp_get_bin(&r), trb_slice_str(want)));
  }
  assert_true(!r.failed && mp_at_end(&r));
}
static void expect_verify(struct fixture *f, uint64_t sequence) {
  expect(f, SESSION_VERIFY);
  assert_int_equal(f->action.sequence, sequence);
}

static struct wire_message hello(uint8_t incarnation, uint64_t down_version) {
  struct wire_message m = {.type = WIRE_hello,
                           .hello = {.proto_min = 1,
                                     .proto_max = 1,
                                     .software = trb_slice_str("tributary 测试"),
                                     .wall_ms = 1700000000000,
                                     .boot_ms = 5000,
                                     .down_version = down_version}};
  memset(m.hello.incarnation, incarnation, TRB_INCARNATION_BYTES);
  memset(m.hello.down_epoch, 7, 16);
  return m;
}

static struct session_stream stream_at(uint64_t acked) {
  struct session_stream stream = {.acked_sequence = acked, .safe_sequence = acked / 2};
  memset(stream.incarnation, 1, TRB_INCARNATION_BYTES);
  memcpy(stream.acked_hash, chain[acked].hash, TRB_HASH_BYTES);
  return stream;
}

/* Connected, with the hub's end at `acked`; a branch that holds down version 100. */
static void stream(struct fixture *f, uint64_t acked) {
  session_routed(f->s, f->now);
  struct wire_message m = hello(1, 100);
  receive(f, &m);
  expect(f, SESSION_ATTACH);
  expect(f, SESSION_IDLE);
  struct session_stream at = stream_at(acked);
  session_attached(f->s, &at);
  expect_send(f, WIRE_welcome);
  assert_int_equal(f->sent.welcome.acked_sequence, acked);
  assert_memory_equal(f->sent.welcome.acked_hash, chain[acked].hash, TRB_HASH_BYTES);
  assert_int_equal(f->sent.welcome.credit, TRB_CREDIT_BYTES);
  assert_true(trb_slice_equal(f->sent.welcome.keys, trb_buf_slice(&kit.keyset)));
  expect(f, SESSION_RENDER_DOWN);
  assert_int_equal(f->action.version, 100);
  session_down(f->s, 100, 100, false, 0, trb_slice_of(NULL, 0));
  expect(f, SESSION_IDLE);
}

static void send_bytes(struct fixture *f, struct trb_slice sealed) {
  receive(f, &(struct wire_message){.type = WIRE_batch, .batch = {.sealed = sealed, .ack = trb_slice_str("earlier")}});
}
static void send_batch(struct fixture *f, uint64_t n) { send_bytes(f, trb_buf_slice(&chain[n].bytes)); }

static void commit(struct fixture *f, uint64_t n) {
  char ack[64];
  kit_ack(1, n, chain[n].hash, ack);
  session_committed(f->s, n, chain[n].hash, trb_slice_str(ack));
}

static uint64_t bad_frames(struct fixture *f) {
  struct session_status status;
  session_status(f->s, &status);
  return status.bad_frames;
}

/* --- beginnings --- */

static void receive_ignores_everything_before_a_route(void **state) {
  struct fixture *f = *state;
  struct wire_message m = hello(1, 0);
  receive(f, &m);
  expect(f, SESSION_IDLE);
}

static void receive_answers_only_ping_before_hello(void **state) {
  struct fixture *f = *state;
  session_routed(f->s, f->now);
  receive(f, &(struct wire_message){.type = WIRE_ping, .ping = {.wall_ms = 1, .boot_ms = 2}});
  expect_send(f, WIRE_pong);
  send_batch(f, 1);
  expect_send(f, WIRE_fault);
  assert_int_equal(f->sent.fault.code, TRB_FAULT_MESSAGE);
  receive(f, &(struct wire_message){.type = WIRE_down_ack});
  expect_send(f, WIRE_fault);
  expect(f, SESSION_IDLE);
}

static void receive_refuses_a_branch_without_a_common_version(void **state) {
  struct fixture *f = *state;
  session_routed(f->s, f->now);
  struct wire_message m = hello(1, 0);
  m.hello.proto_min = m.hello.proto_max = TRB_PROTO_MAX + 1;
  receive(f, &m);
  expect_send(f, WIRE_fault);
  assert_int_equal(f->sent.fault.code, TRB_FAULT_PROTOCOL);
  expect(f, SESSION_IDLE);
}

static void attached_holds_a_branch_without_a_stream_or_with_an_old_one(void **state) {
  struct fixture *f = *state;
  for (uint8_t incarnation = 0; incarnation <= 2; incarnation += 2) {
    session_routed(f->s, f->now);
    struct wire_message m = hello(incarnation, 100);
    receive(f, &m);
    expect(f, SESSION_ATTACH);
    struct session_stream at = stream_at(3);
    if (incarnation == 0) memset(at.incarnation, 0, sizeof at.incarnation); /* nor has the site: still none */
    session_attached(f->s, &at);
    expect_hold(f, TRB_HOLD_INCARNATION, 0);
    send_batch(f, 1);
    expect(f, SESSION_IDLE);
  }
}

static void attached_asks_for_a_snapshot_when_the_replica_is_new_or_of_another_epoch(void **state) {
  struct fixture *f = *state;
  for (int i = 0; i < 2; i++) {
    session_routed(f->s, f->now);
    struct wire_message m = hello(1, i ? 50 : 0);
    if (i) memset(m.hello.down_epoch, 6, 16);
    receive(f, &m);
    expect(f, SESSION_ATTACH);
    struct session_stream at = stream_at(0);
    session_attached(f->s, &at);
    expect_send(f, WIRE_welcome);
    expect(f, SESSION_SNAPSHOT);
    session_down_ready(f->s); /* another row changed */
    expect(f, SESSION_IDLE);  /* nothing is rendered before the snapshot stands */
    session_snapshot_ready(f->s);
    expect(f, SESSION_RENDER_DOWN);
    assert_int_equal(f->action.version, 0);
  }
}

static void receive_takes_a_second_hello_as_a_new_beginning(void **state) {
  struct fixture *f = *state;
  stream(f, 0);
  send_batch(f, 1);
  expect_verify(f, 1);
  struct wire_message m = hello(1, 100);
  receive(f, &m);
  expect(f, SESSION_ATTACH);
  struct session_stream at = stream_at(0);
  session_attached(f->s, &at);
  session_attached(f->s, &at); /* the answer to an earlier question changes nothing */
  expect_send(f, WIRE_welcome);
  expect(f, SESSION_RENDER_DOWN);
  send_batch(f, 1); /* it may have been lost with the line */
  expect_verify(f, 1);
}

/* --- batches and acks --- */

static void receive_hands_on_batches_in_order_with_what_the_branch_said(void **state) {
  struct fixture *f = *state;
  stream(f, 3);
  for (uint64_t n = 4; n <= 6; n++) {
    send_batch(f, n);
    expect_verify(f, n);
    assert_true(trb_slice_equal(f->action.bytes, trb_buf_slice(&chain[n].bytes)));
    assert_true(trb_slice_equal(f->action.ack, trb_slice_str("earlier")));
    assert_int_equal(f->action.clock.boot_ms, 5000);
    assert_int_equal(f->action.clock_hub_ms, HUB_MS);
  }
  expect(f, SESSION_IDLE); /* no ack before the commit */
}

static void committed_acks_what_it_covers_in_one_frame(void **state) {
  struct fixture *f = *state;
  stream(f, 0);
  for (uint64_t n = 1; n <= 5; n++) {
    send_batch(f, n);
    expect_verify(f, n);
  }
  for (uint64_t n = 1; n <= 3; n++) commit(f, n);
  expect_ack(f, 3, 3);
  commit(f, 4);
  expect_ack(f, 4, 1);
  expect(f, SESSION_IDLE);
}

static void committed_ignores_numbers_never_received(void **state) {
  struct fixture *f = *state;
  stream(f, 0);
  commit(f, 1); /* of a stream before */
  expect(f, SESSION_IDLE);
  struct session_status status;
  session_status(f->s, &status);
  assert_int_equal(status.acked_sequence, 0);
}

static void receive_tells_a_gap_once_and_goes_on_from_the_expected_number(void **state) {
  struct fixture *f = *state;
  stream(f, 0);
  send_batch(f, 1);
  expect_verify(f, 1);
  send_batch(f, 3);
  expect_hold(f, TRB_HOLD_GAP, 2);
  send_batch(f, 4);
  expect(f, SESSION_IDLE);
  send_batch(f, 2);
  expect_verify(f, 2);
  send_batch(f, 4);
  expect_hold(f, TRB_HOLD_GAP, 3);
}

static void receive_ignores_a_number_that_is_at_the_workers(void **state) {
  struct fixture *f = *state;
  stream(f, 0);
  send_batch(f, 1);
  expect_verify(f, 1);
  send_batch(f, 1);
  expect(f, SESSION_IDLE);
}

static void receive_has_an_old_number_compared_and_acked_again(void **state) {
  struct fixture *f = *state;
  stream(f, 5);
  send_batch(f, 4);
  expect_verify(f, 4);
  send_batch(f, 4);
  expect(f, SESSION_IDLE); /* it is being compared */
  send_batch(f, 5);
  expect_verify(f, 5);
  send_batch(f, 6);
  expect_verify(f, 6);
  commit(f, 6); /* acks leave in order all the same */
  expect(f, SESSION_IDLE);
  commit(f, 4);
  expect_ack(f, 4, 1);
  commit(f, 5);
  expect_ack(f, 6, 2);
}

static void held_fork_of_an_old_number_stops_the_stream(void **state) {
  struct fixture *f = *state;
  stream(f, 5);
  send_batch(f, 4);
  expect_verify(f, 4);
  session_held(f->s, TRB_HOLD_FORK, 4, "两台机器");
  expect_hold(f, TRB_HOLD_FORK, 4);
  send_batch(f, 6);
  expect(f, SESSION_IDLE);
  f->now += 10000;
  send_batch(f, 6); /* it seems not to know */
  expect_hold(f, TRB_HOLD_FORK, 4);
}

static void held_busy_takes_the_same_batches_again(void **state) {
  struct fixture *f = *state;
  stream(f, 0);
  for (uint64_t n = 1; n <= 3; n++) {
    send_batch(f, n);
    expect_verify(f, n);
  }
  commit(f, 1);
  expect_ack(f, 1, 1);
  session_held(f->s, TRB_HOLD_BUSY, 2, "磁盘已满");
  session_held(f->s, TRB_HOLD_BUSY, 3, "磁盘已满");
  expect_hold(f, TRB_HOLD_BUSY, 2);
  send_batch(f, 4); /* was on its way */
  expect(f, SESSION_IDLE);
  for (uint64_t n = 2; n <= 4; n++) {
    send_batch(f, n);
    expect_verify(f, n);
  }
}

static void held_gap_names_the_first_uncommitted_number(void **state) {
  struct fixture *f = *state;
  stream(f, 0);
  for (uint64_t n = 1; n <= 3; n++) {
    send_batch(f, n);
    expect_verify(f, n);
  }
  session_held(f->s, TRB_HOLD_GAP, 99, NULL);
  expect_hold(f, TRB_HOLD_GAP, 1);
  expect(f, SESSION_IDLE);
}

static void held_cuts_a_long_text_at_a_character(void **state) {
  struct fixture *f = *state;
  stream(f, 0);
  char text[601] = "";
  for (int i = 0; i < 200; i++) memcpy(text + 3 * i, "客", 3);
  session_held(f->s, TRB_HOLD_FORK, 1, text);
  expect_send(f, WIRE_hold); /* decodes, so it is UTF-8 */
  assert_int_equal(f->sent.hold.text.len, 399);
}

static void receive_counts_batches_that_are_not_of_this_stream(void **state) {
  struct fixture *f = *state;
  TRB_BUF_AUTO other = {0};
  uint8_t hash[TRB_HASH_BYTES];
  stream(f, 0);
  kit_batch(&kit, "beijing", 1, 1, chain[0].hash, 0, 10, &other, hash);
  send_bytes(f, trb_buf_slice(&other));
  expect_send(f, WIRE_fault);
  trb_buf_clear(&other);
  kit_batch(&kit, SITE, 2, 1, chain[0].hash, 0, 10, &other, hash);
  send_bytes(f, trb_buf_slice(&other));
  expect_send(f, WIRE_fault);
  send_bytes(f, trb_slice_str("no batch at all"));
  expect_send(f, WIRE_fault);
  expect(f, SESSION_IDLE);
  assert_int_equal(bad_frames(f), 3);
}

static void receive_stops_listening_after_too_much_nonsense(void **state) {
  struct fixture *f = *state;
  stream(f, 0);
  int told = 0;
  for (int i = 0; i < TRB_SESSION_BAD_FRAMES_MAX + 50; i++) {
    session_receive(f->s, trb_slice_str("\xc1\xff nonsense"), f->now);
    while (session_next(f->s, &f->action) == SESSION_SEND) told++;
  }
  assert_int_equal(told, TRB_SESSION_BAD_FRAMES_MAX);
  assert_int_equal(bad_frames(f), TRB_SESSION_BAD_FRAMES_MAX);
  send_batch(f, 1);
  expect(f, SESSION_IDLE);
  stream(f, 0); /* a new line is heard again */
}

/* --- credit --- */

static void receive_drops_batches_over_the_credit(void **state) {
  struct fixture *f = *state;
  stream(f, 0);
  uint64_t taken = 0;
  for (uint64_t n = 1; n <= N; n++) {
    send_bytes(f, trb_buf_slice(&big[n].bytes));
    enum session_do what = session_next(f->s, &f->action);
    if (what != SESSION_VERIFY) break;
    taken = n;
  }
  struct session_status status;
  session_status(f->s, &status);
  assert_true(status.in_flight_bytes <= TRB_CREDIT_BYTES);
  assert_true(status.in_flight_bytes + TRB_BATCH_BYTES_MAX > TRB_CREDIT_BYTES);
  assert_true(taken >= 3 && taken < N);
  session_committed(f->s, 1, big[1].hash, trb_slice_str("a"));
  expect_send(f, WIRE_ack);
  assert_int_equal(f->sent.ack.credit, TRB_CREDIT_BYTES);
  send_bytes(f, trb_buf_slice(&big[taken + 1].bytes));
  expect_verify(f, taken + 1);
}

/* A group of 30 batches of 1 MiB cannot be committed before its end: the credit must grow with it, and no further. */
static void receive_raises_the_credit_while_a_group_comes_in(void **state) {
  struct fixture *f = *state;
  stream(f, 0);
  uint64_t credit = TRB_CREDIT_BYTES, sent = 0, previous_credit = credit;
  TRB_BUF_AUTO out = {0};
  uint8_t hash[TRB_HASH_BYTES] = {0};
  for (uint64_t n = 1; n <= 30; n++) {
    uint8_t next[TRB_HASH_BYTES];
    trb_buf_clear(&out);
    kit_batch(&kit, SITE, 1, n, hash, n < 30 ? TRB_BATCH_CONTINUES : 0, 1000000, &out, next);
    memcpy(hash, next, sizeof hash);
    assert_true(sent + TRB_BATCH_BYTES_MAX <= credit); /* never stands still */
    sent += wire_batch_cost(out.len);
    send_bytes(f, trb_buf_slice(&out));
    expect_verify(f, n);
    while (session_next(f->s, &f->action) == SESSION_SEND) {
      struct wire_message m;
      assert_int_equal(wire_decode(f->action.bytes, &m, NULL), TRB_OK);
      assert_int_equal(m.type, WIRE_ack);
      assert_int_equal(m.ack.sequence, 0);
      assert_true(m.ack.credit > previous_credit && m.ack.credit <= sent + TRB_CREDIT_BYTES);
      previous_credit = credit = m.ack.credit;
    }
  }
  for (uint64_t n = 1; n <= 30; n++) session_committed(f->s, n, hash, trb_slice_str("a"));
  expect_send(f, WIRE_ack);
  assert_int_equal(f->sent.ack.sequence, 30);
  assert_int_equal(f->sent.ack.credit, TRB_CREDIT_BYTES);
}

static void receive_holds_a_group_that_never_ends(void **state) {
  struct fixture *f = *state;
  stream(f, 0);
  TRB_BUF_AUTO out = {0};
  uint8_t hash[TRB_HASH_BYTES] = {0}, next[TRB_HASH_BYTES];
  uint64_t n = 1;
  for (; n < 100; n++) {
    trb_buf_clear(&out);
    kit_batch(&kit, SITE, 1, n, hash, TRB_BATCH_CONTINUES, 1000000, &out, next);
    memcpy(hash, next, sizeof hash);
    send_bytes(f, trb_buf_slice(&out));
    bool held = false;
    while (session_next(f->s, &f->action) != SESSION_IDLE) {
      struct wire_message m;
      if (f->action.what == SESSION_SEND && wire_decode(f->action.bytes, &m, NULL) == TRB_OK)
        held |= m.type == WIRE_hold;
    }
    if (held) break;
  }
  assert_in_range(n, 16, 40);
  struct session_status status;
  session_status(f->s, &status);
  assert_int_equal(status.hold_code, TRB_HOLD_BAD_BATCH);
  assert_int_equal(status.in_flight_bytes, 0);
}

/* --- suspension, streams, keys --- */

static void suspend_takes_effect_at_once_and_ends_with_a_welcome(void **state) {
  struct fixture *f = *state;
  stream(f, 0);
  send_batch(f, 1);
  session_suspend(f->s, true);
  expect_hold(f, TRB_HOLD_SUSPENDED, 0);
  send_batch(f, 2);
  session_down_ready(f->s);
  expect(f, SESSION_IDLE);
  receive(f, &(struct wire_message){.type = WIRE_new_stream});
  expect(f, SESSION_IDLE);
  struct wire_message m = hello(1, 100);
  receive(f, &m);
  expect(f, SESSION_ATTACH);
  struct session_stream at = stream_at(0);
  session_attached(f->s, &at);
  expect_hold(f, TRB_HOLD_SUSPENDED, 0);
  session_suspend(f->s, false);
  expect(f, SESSION_ATTACH);
  session_attached(f->s, &at);
  expect_send(f, WIRE_welcome);
}

static void receive_asks_for_a_new_stream_once_and_grants_it(void **state) {
  struct fixture *f = *state;
  stream(f, 3);
  struct wire_message m = {.type = WIRE_new_stream, .new_stream = {.sequence = 3, .why = TRB_STREAM_ROLLED_BACK}};
  receive(f, &m); /* parent zeros: not the stream of the hello */
  expect_send(f, WIRE_fault);
  memset(m.new_stream.parent, 1, TRB_INCARNATION_BYTES);
  receive(f, &m);
  receive(f, &m);
  expect(f, SESSION_NEW_STREAM);
  assert_int_equal(f->action.new_stream->why, TRB_STREAM_ROLLED_BACK);
  expect(f, SESSION_IDLE);
  send_batch(f, 4);
  expect(f, SESSION_IDLE); /* the old stream stands still */
  struct session_stream granted = {.acked_sequence = 0};
  memset(granted.incarnation, 2, TRB_INCARNATION_BYTES);
  session_stream(f->s, &granted, true, NULL);
  expect_send(f, WIRE_stream_granted);
  assert_memory_equal(f->sent.stream_granted.incarnation, granted.incarnation, TRB_INCARNATION_BYTES);
  assert_memory_equal(f->sent.stream_granted.parent, m.new_stream.parent, TRB_INCARNATION_BYTES);
  commit(f, 4); /* of the old stream: never acked */
  expect(f, SESSION_IDLE);
}

static void stream_not_granted_is_a_clone(void **state) {
  struct fixture *f = *state;
  stream(f, 3);
  struct wire_message m = {.type = WIRE_new_stream};
  memset(m.new_stream.parent, 1, TRB_INCARNATION_BYTES);
  receive(f, &m);
  expect(f, SESSION_NEW_STREAM);
  session_stream(f->s, NULL, false, "another machine speaks for this site");
  expect_hold(f, TRB_HOLD_CLONED, 0);
}

static struct wire_message rotation(struct crypto_signer *old, struct crypto_signer *new) {
  struct wire_message m = {.type = WIRE_rotate};
  memset(m.rotate.curve_public, 5, TRB_KEY_BYTES);
  memcpy(m.rotate.sign_public, crypto_signer_public(new), TRB_KEY_BYTES);
  TRB_BUF_AUTO covered = {0};
  wire_rotate_signed(&m.rotate, &covered);
  crypto_sign(old, TRB_DOMAIN_ROTATE, trb_buf_slice(&covered), m.rotate.signature_old);
  crypto_sign(new, TRB_DOMAIN_ROTATE, trb_buf_slice(&covered), m.rotate.signature_new);
  return m;
}

static void receive_takes_new_keys_only_signed_by_both(void **state) {
  struct fixture *f = *state;
  stream(f, 0);
  struct crypto_signer *next = kit_signer(9);
  struct wire_message good = rotation(kit.site, next), forged = rotation(next, next),
                      unproven = rotation(kit.site, next);
  unproven.rotate.signature_new[0] ^= 1;
  receive(f, &forged);
  expect_send(f, WIRE_fault);
  receive(f, &unproven);
  expect_send(f, WIRE_fault);
  receive(f, &good);
  expect(f, SESSION_ROTATE);
  assert_memory_equal(f->action.rotate->sign_public, good.rotate.sign_public, TRB_KEY_BYTES);
  session_rotated(f->s, true, &good.rotate);
  expect_send(f, WIRE_rotated);
  receive(f, &good); /* ROTATED was lost */
  expect(f, SESSION_ROTATE);
  crypto_signer_free(&next);
}

static void keys_are_pushed_to_a_branch_that_is_there(void **state) {
  struct fixture *f = *state;
  TRB_BUF_AUTO keyset = {0};
  kit_keyset(&kit, 2, &keyset);
  session_keys(f->s, trb_buf_slice(&keyset));
  expect(f, SESSION_IDLE);
  session_keys(f->s, trb_buf_slice(&kit.keyset));
  stream(f, 0);
  session_keys(f->s, trb_buf_slice(&keyset));
  expect_send(f, WIRE_keys);
  assert_true(trb_slice_equal(f->sent.keys.keys, trb_buf_slice(&keyset)));
}

/* --- down --- */

static void down_keeps_two_frames_on_the_way(void **state) {
  struct fixture *f = *state;
  stream(f, 0);
  session_down_ready(f->s);
  for (uint64_t v = 100; v < 102; v++) {
    expect(f, SESSION_RENDER_DOWN);
    assert_int_equal(f->action.version, v);
    expect(f, SESSION_IDLE);
    session_down(f->s, v, v + 1, true, 0, trb_slice_str("rows"));
    expect_send(f, WIRE_down);
    assert_int_equal(f->sent.down.after, v);
    assert_int_equal(f->sent.down.version, v + 1);
    assert_int_equal(f->sent.down.flags, 1);
  }
  expect(f, SESSION_IDLE);
  struct wire_message ack = {.type = WIRE_down_ack, .down_ack = {.version = 101}};
  receive(f, &ack); /* of another epoch */
  expect(f, SESSION_IDLE);
  memset(ack.down_ack.epoch, 7, 16);
  receive(f, &ack);
  expect(f, SESSION_CLEAR_DOWN);
  assert_int_equal(f->action.version, 101);
  expect(f, SESSION_RENDER_DOWN);
  session_down(f->s, 102, 102, false, 0, trb_slice_of(NULL, 0));
  expect(f, SESSION_IDLE);
  session_down_ready(f->s);
  expect(f, SESSION_RENDER_DOWN);
}

static void down_ack_beyond_what_was_sent_is_refused(void **state) {
  struct fixture *f = *state;
  stream(f, 0);
  struct wire_message ack = {.type = WIRE_down_ack, .down_ack = {.version = 101}};
  memset(ack.down_ack.epoch, 7, 16);
  receive(f, &ack);
  expect(f, SESSION_IDLE);
  assert_int_equal(bad_frames(f), 1);
}

static void down_is_rendered_again_when_nothing_is_acknowledged(void **state) {
  struct fixture *f = *state;
  stream(f, 0);
  session_down_ready(f->s);
  expect(f, SESSION_RENDER_DOWN);
  session_down(f->s, 100, 105, false, 0, trb_slice_str("rows"));
  expect_send(f, WIRE_down);
  for (int i = 0; i < 7; i++) { /* pings keep the line alive */
    f->now += 10000;
    receive(f, &(struct wire_message){.type = WIRE_ping, .ping = {.boot_ms = f->now}});
    expect_send(f, WIRE_pong);
    session_tick(f->s, f->now);
  }
  expect(f, SESSION_RENDER_DOWN);
  assert_int_equal(f->action.version, 100);
  session_down(f->s, 105, 110, false, 0, trb_slice_str("rows")); /* an answer to another question */
  expect(f, SESSION_IDLE);
}

static void tick_finds_a_silent_branch_and_a_frame_brings_it_back(void **state) {
  struct fixture *f = *state;
  struct session_status status;
  stream(f, 0);
  session_status(f->s, &status);
  assert_true(status.online && status.clock_known);
  assert_string_equal(status.software, "tributary 测试");
  f->now += TRB_SESSION_SILENCE_MS;
  session_tick(f->s, f->now);
  session_status(f->s, &status);
  assert_false(status.online);
  send_batch(f, 1);
  expect_verify(f, 1);
  session_status(f->s, &status);
  assert_true(status.online);
}

static void ping_keeps_the_clock_reading_with_the_least_delay(void **state) {
  struct fixture *f = *state;
  stream(f, 0);
  struct session_status status;
  struct wire_message ping = {.type = WIRE_ping, .ping = {.wall_ms = 1700000010000, .boot_ms = 15000, .backlog = 12}};
  f->now += 12000; /* two seconds on its way */
  receive(f, &ping);
  session_status(f->s, &status);
  assert_int_equal(status.clock_skew_ms, 1700000000000 - HUB_MS);
  assert_int_equal(status.backlog, 12);
  ping.ping.wall_ms += 3600000; /* the clock was set: the new one counts */
  receive(f, &ping);
  session_status(f->s, &status);
  assert_int_equal(status.clock_skew_ms, 1700003610000 - HUB_MS - 12000);
}

/* A crystal that is a second slow each day beside ours, and then our own clock is set forward by an hour. */
static void ping_follows_clocks_that_drift_apart(void **state) {
  struct fixture *f = *state;
  stream(f, 0);
  struct wire_message ping = {.type = WIRE_ping, .ping = {.wall_ms = 1700000000000 + 1000, .boot_ms = 6000}};
  for (int day = 0; day < 30; day++) {
    f->now += 1000;
    for (int i = 0; i < 24 * 60; i++) {
      f->now += 60000;
      ping.ping.boot_ms += 60000;
      ping.ping.wall_ms += 60000;
      receive(f, &ping);
      while (session_next(f->s, &f->action) != SESSION_IDLE) {
      }
    }
  }
  send_batch(f, 1);
  expect_verify(f, 1);
  int64_t offset = f->action.clock_hub_ms - f->action.clock.boot_ms, right = f->now - ping.ping.boot_ms;
  assert_in_range(right - offset, 0, 1000);
  f->now += 3600000;
  for (int i = 0; i < 120; i++) {
    f->now += 60000;
    ping.ping.boot_ms += 60000;
    ping.ping.wall_ms += 60000;
    receive(f, &ping);
    while (session_next(f->s, &f->action) != SESSION_IDLE) {
    }
  }
  send_batch(f, 2);
  expect_verify(f, 2);
  assert_in_range(f->action.clock_hub_ms - f->action.clock.boot_ms, f->now - ping.ping.boot_ms - 1000, f->now);
}

static void receive_keeps_control_characters_out_of_the_name_of_the_software(void **state) {
  struct fixture *f = *state;
  session_routed(f->s, f->now);
  struct wire_message m = hello(1, 100);
  m.hello.software = trb_slice_of("a\n\033[2J\0\xc2\x9b!", 10);
  receive(f, &m);
  struct session_status status;
  session_status(f->s, &status);
  assert_string_equal(status.software,
                      "a?"
                      "?[2J"
                      "???"
                      "!");
}

static void safe_is_told_with_an_ack_frame(void **state) {
  struct fixture *f = *state;
  stream(f, 4);
  send_batch(f, 5);
  expect_verify(f, 5);
  session_safe(f->s, 3);
  expect_ack(f, 4, 0);
  assert_int_equal(f->sent.ack.safe_sequence, 3);
  expect(f, SESSION_IDLE);
}

static int group_setup(void **state) {
  (void)state;
  kit_init(&kit);
  for (uint64_t n = 1; n <= N; n++) {
    kit_batch(&kit, SITE, 1, n, chain[n - 1].hash, 0, 20, &chain[n].bytes, chain[n].hash);
    kit_batch(&kit, SITE, 1, n, big[n - 1].hash, 0, 1000000, &big[n].bytes, big[n].hash);
  }
  return 0;
}
static int group_teardown(void **state) {
  (void)state;
  for (int n = 1; n <= N; n++) {
    trb_buf_free(&chain[n].bytes);
    trb_buf_free(&big[n].bytes);
  }
  kit_done(&kit);
  return 0;
}

#define T(name) cmocka_unit_test_setup_teardown(name, setup, teardown)
int main(void) {
  const struct CMUnitTest tests[] = {
      T(receive_ignores_everything_before_a_route),
      T(receive_answers_only_ping_before_hello),
      T(receive_refuses_a_branch_without_a_common_version),
      T(attached_holds_a_branch_without_a_stream_or_with_an_old_one),
      T(attached_asks_for_a_snapshot_when_the_replica_is_new_or_of_another_epoch),
      T(receive_takes_a_second_hello_as_a_new_beginning),
      T(receive_hands_on_batches_in_order_with_what_the_branch_said),
      T(committed_acks_what_it_covers_in_one_frame),
      T(committed_ignores_numbers_never_received),
      T(receive_tells_a_gap_once_and_goes_on_from_the_expected_number),
      T(receive_ignores_a_number_that_is_at_the_workers),
      T(receive_has_an_old_number_compared_and_acked_again),
      T(held_fork_of_an_old_number_stops_the_stream),
      T(held_busy_takes_the_same_batches_again),
      T(held_gap_names_the_first_uncommitted_number),
      T(held_cuts_a_long_text_at_a_character),
      T(receive_counts_batches_that_are_not_of_this_stream),
      T(receive_stops_listening_after_too_much_nonsense),
      T(receive_drops_batches_over_the_credit),
      T(receive_raises_the_credit_while_a_group_comes_in),
      T(receive_holds_a_group_that_never_ends),
      T(suspend_takes_effect_at_once_and_ends_with_a_welcome),
      T(receive_asks_for_a_new_stream_once_and_grants_it),
      T(stream_not_granted_is_a_clone),
      T(receive_takes_new_keys_only_signed_by_both),
      T(keys_are_pushed_to_a_branch_that_is_there),
      T(down_keeps_two_frames_on_the_way),
      T(down_ack_beyond_what_was_sent_is_refused),
      T(down_is_rendered_again_when_nothing_is_acknowledged),
      T(tick_finds_a_silent_branch_and_a_frame_brings_it_back),
      T(ping_keeps_the_clock_reading_with_the_least_delay),
      T(ping_follows_clocks_that_drift_apart),
      T(receive_keeps_control_characters_out_of_the_name_of_the_software),
      T(safe_is_told_with_an_ack_frame),
  };
  return cmocka_run_group_tests(tests, group_setup, group_teardown);
}
