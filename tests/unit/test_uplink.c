/* uplink: the branch's core, fed by hand. */
// clang-format off
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>
// clang-format on
#include "line_kit.h"
#include "tributary/uplink.h"

#define SITE "shanghai"
enum { N = 300 };

static struct line_kit kit;
static struct {
  struct trb_buf bytes;
  uint8_t hash[TRB_HASH_BYTES];
} chain[N + 1], big[9];

struct fixture {
  struct uplink *u;
  struct uplink_action action;
  struct trb_buf copy; /* the frame of the latest SEND */
  struct wire_message sent;
  struct trb_clock_reading now;
};

static void start(struct fixture *f, uint64_t sealed, uint64_t acked) {
  uplink_free(&f->u);
  struct uplink_position position = {.last_sequence = sealed, .acked_sequence = acked, .down_version = 100};
  memset(position.incarnation, 1, TRB_INCARNATION_BYTES);
  memset(position.down_epoch, 7, 16);
  memcpy(position.last_hash, chain[sealed].hash, TRB_HASH_BYTES);
  assert_int_equal(uplink_new(crypto_signer_public(kit.root), 1, 2, &position, 42, &f->u), TRB_OK);
}

static int setup(void **state) {
  struct fixture *f = calloc(1, sizeof *f);
  f->now = (struct trb_clock_reading){.wall_ms = 1700000000000, .boot_ms = 50000};
  start(f, 0, 0);
  *state = f;
  return 0;
}
static int teardown(void **state) {
  struct fixture *f = *state;
  uplink_free(&f->u);
  trb_buf_free(&f->copy);
  free(f);
  return 0;
}

static void expect(struct fixture *f, enum uplink_do what) {
  assert_int_equal(uplink_next(f->u, &f->action), what);
  assert_int_equal(f->action.what, what);
}
static void expect_send(struct fixture *f, enum wire_type type) {
  expect(f, UPLINK_SEND);
  trb_buf_clear(&f->copy);
  trb_buf_append_slice(&f->copy, f->action.bytes);
  assert_int_equal(wire_decode(trb_buf_slice(&f->copy), &f->sent, NULL), TRB_OK);
  assert_string_equal(wire_name(f->sent.type), wire_name(type));
  assert_int_equal(wire_sender(f->sent.type), 'B');
}
static void receive(struct fixture *f, const struct wire_message *message) {
  TRB_BUF_AUTO frame = {0};
  wire_encode(message, &frame);
  assert_false(frame.failed);
  uplink_receive(f->u, trb_buf_slice(&frame), &f->now);
}
static void later(struct fixture *f, int64_t ms) {
  f->now.boot_ms += ms;
  f->now.wall_ms += ms;
  uplink_tick(f->u, &f->now);
}
static struct uplink_status status_of(struct fixture *f) {
  struct uplink_status status;
  uplink_status(f->u, &status);
  return status;
}
static void expect_state(struct fixture *f, enum uplink_state state) { assert_int_equal(status_of(f).state, state); }

static void connect_and_hello(struct fixture *f) {
  uplink_tick(f->u, &f->now);
  expect(f, UPLINK_CONNECT);
  expect(f, UPLINK_IDLE);
  uplink_connected(f->u, &f->now);
  expect_send(f, WIRE_hello);
  expect(f, UPLINK_IDLE);
  expect_state(f, UPLINK_EXPECT_WELCOME);
}

static struct wire_message welcome(uint64_t acked) {
  struct wire_message m = {.type = WIRE_welcome,
                           .welcome = {.proto = 1,
                                       .hub_ms = 9000000,
                                       .site = trb_slice_str(SITE),
                                       .acked_sequence = acked,
                                       .credit = TRB_CREDIT_BYTES,
                                       .keys = trb_buf_slice(&kit.keyset)}};
  memset(m.welcome.epoch, 7, 16);
  memcpy(m.welcome.acked_hash, chain[acked].hash, TRB_HASH_BYTES);
  return m;
}

static void online(struct fixture *f, uint64_t sealed, uint64_t acked, uint64_t hub_acked) {
  start(f, sealed, acked);
  connect_and_hello(f);
  struct wire_message m = welcome(hub_acked);
  receive(f, &m);
  expect_state(f, UPLINK_ONLINE);
  expect_send(f, WIRE_ping);
}

static void expect_batch(struct fixture *f, uint64_t n) {
  expect(f, UPLINK_LOAD);
  assert_int_equal(f->action.sequence, n);
  uplink_loaded(f->u, n, trb_buf_slice(&chain[n].bytes), trb_slice_of(NULL, 0));
  expect_send(f, WIRE_batch);
  assert_true(trb_slice_equal(f->sent.batch.sealed, trb_buf_slice(&chain[n].bytes)));
}

static void send_ack(struct fixture *f, uint64_t sequence, size_t count, uint64_t credit) {
  TRB_BUF_AUTO acks = {0};
  mp_put_array(&acks, count);
  for (uint64_t n = sequence - count + 1; n <= sequence; n++) {
    char text[64];
    kit_ack(1, n, chain[n].hash, text);
    mp_put_bin(&acks, trb_slice_str(text));
  }
  receive(f, &(struct wire_message){.type = WIRE_ack,
                                    .ack = {.sequence = sequence, .credit = credit, .acks = trb_buf_slice(&acks)}});
}

static void expect_stored(struct fixture *f, uint64_t sequence, size_t count) {
  expect(f, UPLINK_STORE_ACKS);
  assert_int_equal(f->action.sequence, sequence);
  struct mp_reader r = mp_reader(f->action.bytes);
  assert_int_equal(mp_get_array(&r), count);
  for (uint64_t n = sequence - count + 1; n <= sequence; n++) {
    char want[64];
    kit_ack(1, n, chain[n].hash, want);
    assert_true(trb_slice_equal(mp_get_bin(&r), trb_slice_str(want)));
  }
  assert_true(!r.failed && mp_at_end(&r));
  uplink_acks_stored(f->u, sequence);
}

static void send_hold(struct fixture *f, enum trb_hold code, uint64_t sequence) {
  receive(f, &(struct wire_message){.type = WIRE_hold,
                                    .hold = {.code = code, .sequence = sequence, .text = trb_slice_str("请等一等")}});
}

/* --- the line --- */

static void tick_connects_at_once_and_tries_the_endpoints_in_turn(void **state) {
  struct fixture *f = *state;
  uint64_t last = 1;
  int64_t delay_max = TRB_RETRY_MIN_MS;
  assert_true(uplink_deadline_ms(f->u) <= f->now.boot_ms);
  uplink_tick(f->u, &f->now);
  for (int i = 0; i < 12; i++) {
    expect(f, UPLINK_CONNECT);
    assert_int_equal(f->action.sequence, 1 - last);
    last = f->action.sequence;
    uplink_disconnected(f->u, false, &f->now);
    expect(f, UPLINK_IDLE);
    int64_t wait = uplink_deadline_ms(f->u) - f->now.boot_ms;
    assert_in_range(wait, delay_max / 2, delay_max);
    later(f, wait - 1);
    expect(f, UPLINK_IDLE);
    later(f, 1);
    delay_max = delay_max * 2 < TRB_RETRY_MAX_MS ? delay_max * 2 : TRB_RETRY_MAX_MS;
  }
}

static void two_branches_back_off_differently(void **state) {
  struct fixture *f = *state;
  struct uplink_position position = {.last_sequence = 0};
  struct uplink *other;
  assert_int_equal(uplink_new(crypto_signer_public(kit.root), 1, 1, &position, 43, &other), TRB_OK);
  uplink_tick(f->u, &f->now);
  uplink_tick(other, &f->now);
  uplink_disconnected(f->u, false, &f->now);
  uplink_disconnected(other, false, &f->now);
  assert_true(uplink_deadline_ms(f->u) != uplink_deadline_ms(other));
  uplink_free(&other);
}

static void connected_says_hello_at_once(void **state) {
  struct fixture *f = *state;
  start(f, 5, 3);
  connect_and_hello(f);
  assert_int_equal(f->sent.hello.last_sequence, 5);
  assert_memory_equal(f->sent.hello.last_hash, chain[5].hash, TRB_HASH_BYTES);
  assert_int_equal(f->sent.hello.boot_ms, f->now.boot_ms);
  assert_int_equal(f->sent.hello.down_version, 100);
}

static void tick_gives_up_without_a_welcome(void **state) {
  struct fixture *f = *state;
  connect_and_hello(f);
  assert_int_equal(uplink_deadline_ms(f->u), f->now.boot_ms + TRB_WELCOME_MS);
  later(f, TRB_WELCOME_MS);
  expect(f, UPLINK_DISCONNECT);
  expect(f, UPLINK_IDLE);
  expect_state(f, UPLINK_OFFLINE);
}

static void tick_gives_up_a_connection_that_never_comes(void **state) {
  struct fixture *f = *state;
  uplink_tick(f->u, &f->now);
  expect(f, UPLINK_CONNECT);
  later(f, TRB_WELCOME_MS);
  expect(f, UPLINK_DISCONNECT);
}

static void tick_pings_and_reconnects_after_silence(void **state) {
  struct fixture *f = *state;
  online(f, 0, 0, 0);
  for (int i = 0; i < 2; i++) {
    later(f, TRB_PING_IVL_MS);
    expect_send(f, WIRE_ping);
    expect(f, UPLINK_IDLE);
  }
  later(f, TRB_PING_IVL_MS);
  expect(f, UPLINK_DISCONNECT);
  expect_state(f, UPLINK_OFFLINE);
}

static void tick_allows_for_a_slow_line(void **state) {
  struct fixture *f = *state;
  online(f, 3, 0, 0);
  for (uint64_t n = 1; n <= 3; n++) { /* big[0] has hash zeros: its own chain */
    expect(f, UPLINK_LOAD);
    uplink_loaded(f->u, n, trb_buf_slice(&big[n].bytes), trb_slice_of(NULL, 0));
    expect_send(f, WIRE_batch);
  }
  later(f, TRB_SILENCE_MS + 10000);
  expect_state(f, UPLINK_ONLINE);
  later(f, (int64_t)status_of(f).unacked_bytes / TRB_LINE_BYTES_PER_MS);
  expect_state(f, UPLINK_OFFLINE);
}

static void receive_measures_the_offset_by_the_shortest_round_trip(void **state) {
  struct fixture *f = *state;
  online(f, 0, 0, 0);
  int64_t sent = f->sent.ping.boot_ms;
  f->now.boot_ms += 400;
  receive(f, &(struct wire_message){.type = WIRE_pong, .pong = {.boot_ms = sent, .hub_ms = 9000000}});
  for (int i = 0; i < 3; i++) {
    later(f, TRB_PING_IVL_MS);
    expect_send(f, WIRE_ping);
    sent = f->sent.ping.boot_ms;
    f->now.boot_ms += i == 1 ? 20 : 500;
    receive(f, &(struct wire_message){.type = WIRE_pong, .pong = {.boot_ms = sent, .hub_ms = sent + 1000000 + i}});
  }
  receive(f, &(struct wire_message){.type = WIRE_pong, .pong = {.boot_ms = 1, .hub_ms = 5}}); /* never asked */
  receive(f, &(struct wire_message){.type = WIRE_pong, .pong = {.boot_ms = INT64_MAX, .hub_ms = 5}});
  struct uplink_status status = status_of(f);
  assert_true(status.offset_measured);
  /* WELCOME came in no time at all: round trip 0 */
  assert_int_equal(status.hub_minus_boot_ms, 9000000 - 50000);
}

static void receive_counts_what_it_cannot_read_or_a_hub_would_not_send(void **state) {
  struct fixture *f = *state;
  online(f, 0, 0, 0);
  uplink_receive(f->u, trb_slice_str("\xc1 nonsense"), &f->now);
  receive(f, &(struct wire_message){.type = WIRE_ping});
  receive(f, &(struct wire_message){.type = WIRE_joined});
  assert_int_equal(status_of(f).bad_frames, 3);
  expect(f, UPLINK_IDLE);
}

static void welcome_with_foreign_keys_is_not_our_hub(void **state) {
  struct fixture *f = *state;
  connect_and_hello(f);
  struct line_kit stranger = {.root = kit_signer(8), .hub = kit.hub};
  TRB_BUF_AUTO keyset = {0};
  kit_keyset(&stranger, 5, &keyset);
  struct wire_message m = welcome(0);
  m.welcome.keys = trb_buf_slice(&keyset);
  receive(f, &m);
  expect(f, UPLINK_DISCONNECT);
  expect_state(f, UPLINK_OFFLINE);
  assert_non_null(strstr(status_of(f).text, "not the one"));
  crypto_signer_free(&stranger.root);
}

static void welcome_and_keys_bring_a_newer_keyset_once(void **state) {
  struct fixture *f = *state;
  online(f, 0, 0, 0);
  TRB_BUF_AUTO keyset = {0};
  kit_keyset(&kit, 3, &keyset);
  for (int i = 0; i < 2; i++) {
    receive(f, &(struct wire_message){.type = WIRE_keys, .keys = {.keys = trb_buf_slice(&keyset)}});
    expect(f, i ? UPLINK_IDLE : UPLINK_STORE_KEYS);
    if (!i) assert_true(trb_slice_equal(f->action.bytes, trb_buf_slice(&keyset)));
  }
  receive(f, &(struct wire_message){.type = WIRE_keys, .keys = {.keys = trb_slice_str("forged")}});
  expect(f, UPLINK_IDLE);
  assert_int_equal(status_of(f).bad_frames, 1);
}

/* --- batches --- */

static void sends_what_is_sealed_and_nothing_else(void **state) {
  struct fixture *f = *state;
  online(f, 2, 0, 0);
  expect_batch(f, 1);
  expect_batch(f, 2);
  expect(f, UPLINK_IDLE);
  uplink_sealed(f->u, 3, chain[3].hash);
  expect_batch(f, 3);
  expect(f, UPLINK_IDLE);
}

static void ack_is_stored_before_anything_else(void **state) {
  struct fixture *f = *state;
  online(f, 4, 0, 0);
  for (uint64_t n = 1; n <= 4; n++) expect_batch(f, n);
  send_ack(f, 3, 3, TRB_CREDIT_BYTES);
  send_ack(f, 4, 1, TRB_CREDIT_BYTES);
  assert_int_equal(status_of(f).acked_sequence, 0);
  expect_stored(f, 4, 4);
  assert_int_equal(status_of(f).acked_sequence, 4);
  assert_int_equal(status_of(f).unacked_bytes, 0);
  expect(f, UPLINK_IDLE);
}

static void ack_beyond_what_was_sent_is_refused(void **state) {
  struct fixture *f = *state;
  online(f, 4, 0, 0);
  expect_batch(f, 1);
  send_ack(f, 2, 2, TRB_CREDIT_BYTES);
  assert_int_equal(status_of(f).bad_frames, 1);
  expect(f, UPLINK_LOAD);
  assert_int_equal(f->action.sequence, 2);
}

static void ack_that_cannot_be_read_changes_nothing(void **state) {
  struct fixture *f = *state;
  online(f, 1, 0, 0);
  expect_batch(f, 1);
  static const char *const bad[] = {"\xdd\xff\xff\xff\xff", "\x91\xa1x", "\x91\xc4\x05x", "\x92\xc4\x01x", "\xc4\x01x"};
  for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
    receive(f, &(struct wire_message){.type = WIRE_ack, .ack = {.sequence = 1, .acks = trb_slice_str(bad[i])}});
    assert_int_equal(status_of(f).bad_frames, i + 1);
    expect(f, UPLINK_IDLE);
  }
}

static void ack_with_a_hole_makes_it_send_again(void **state) {
  struct fixture *f = *state;
  online(f, 3, 0, 0);
  for (uint64_t n = 1; n <= 3; n++) expect_batch(f, n);
  send_ack(f, 3, 2, TRB_CREDIT_BYTES); /* that of 1 was lost */
  expect_batch(f, 1);
  send_ack(f, 1, 1, TRB_CREDIT_BYTES);
  expect_stored(f, 1, 1);
}

static void welcome_ahead_of_our_acks_makes_it_send_those_batches_again(void **state) {
  struct fixture *f = *state;
  online(f, 5, 2, 4);
  expect_batch(f, 3); /* their acks were lost with the line */
  expect_batch(f, 4);
  expect_batch(f, 5);
  expect(f, UPLINK_IDLE);
}

static void welcome_behind_our_acks_sends_again_with_the_acks(void **state) {
  struct fixture *f = *state;
  online(f, 5, 5, 3); /* the hub comes from a backup */
  expect(f, UPLINK_LOAD);
  assert_int_equal(f->action.sequence, 4);
  uplink_loaded(f->u, 4, trb_buf_slice(&chain[4].bytes), trb_slice_str("the ack of then"));
  expect_send(f, WIRE_batch);
  assert_true(trb_slice_equal(f->sent.batch.ack, trb_slice_str("the ack of then")));
  expect_batch(f, 5);
  send_ack(f, 5, 2, TRB_CREDIT_BYTES);
  expect_stored(f, 5, 2);
}

static void reconnect_sends_again_what_was_not_acked(void **state) {
  struct fixture *f = *state;
  online(f, 3, 0, 0);
  for (uint64_t n = 1; n <= 3; n++) expect_batch(f, n);
  send_ack(f, 1, 1, TRB_CREDIT_BYTES);
  expect_stored(f, 1, 1);
  uplink_disconnected(f->u, false, &f->now);
  expect(f, UPLINK_IDLE);
  later(f, TRB_RETRY_MIN_MS);
  expect(f, UPLINK_CONNECT);
  uplink_connected(f->u, &f->now);
  expect_send(f, WIRE_hello);
  struct wire_message m = welcome(1);
  receive(f, &m);
  expect_send(f, WIRE_ping);
  expect_batch(f, 2);
  expect_batch(f, 3);
}

static void credit_bounds_bytes_and_frames(void **state) {
  struct fixture *f = *state;
  online(f, N, 0, 0);
  uint64_t n = 0;
  while (uplink_next(f->u, &f->action) != UPLINK_IDLE) {
    assert_int_equal(f->action.what, UPLINK_LOAD);
    n++;
    uplink_loaded(f->u, n, trb_buf_slice(&chain[n].bytes), trb_slice_of(NULL, 0));
    expect_send(f, WIRE_batch);
  }
  assert_true(status_of(f).unacked_bytes <= TRB_CREDIT_BYTES);
  assert_in_range(n, 180, 256);
  send_ack(f, 0, 0, TRB_CREDIT_BYTES + (1u << 20)); /* a group comes in */
  expect(f, UPLINK_LOAD);
  assert_int_equal(f->action.sequence, n + 1);
}

static void stalled_batches_are_sent_again_ever_more_rarely(void **state) {
  struct fixture *f = *state;
  online(f, 1, 0, 0);
  expect_batch(f, 1);
  int64_t gap = 0;
  for (int i = 0; i < 3; i++) {
    int64_t since = f->now.boot_ms;
    enum uplink_do what = UPLINK_IDLE;
    while (f->now.boot_ms - since < 500000 && what != UPLINK_LOAD) {
      later(f, 5000);
      receive(f, &(struct wire_message){.type = WIRE_pong}); /* the hub lives */
      while ((what = uplink_next(f->u, &f->action)) == UPLINK_SEND) {
      }
    }
    assert_int_equal(what, UPLINK_LOAD);
    assert_true(f->now.boot_ms - since > gap + 50000);
    gap = f->now.boot_ms - since;
    uplink_loaded(f->u, 1, trb_buf_slice(&chain[1].bytes), trb_slice_of(NULL, 0));
    expect_send(f, WIRE_batch);
  }
}

/* 64 kbit/s: two minutes a batch, and the hub acknowledges a group only as a whole. */
static void a_group_on_a_slow_line_is_not_sent_twice(void **state) {
  struct fixture *f = *state;
  online(f, 4, 0, 0);
  for (uint64_t n = 1; n <= 3; n++, later(f, 1000)) {
    expect(f, UPLINK_LOAD);
    uplink_loaded(f->u, n, trb_buf_slice(&big[n].bytes), trb_slice_of(NULL, 0));
    expect_send(f, WIRE_batch);
  }
  uint64_t credit = TRB_CREDIT_BYTES;
  for (int64_t ms = 0; ms < 480000; ms += 10000) {
    later(f, 10000);
    receive(f, &(struct wire_message){.type = WIRE_pong, .pong = {.boot_ms = f->now.boot_ms, .hub_ms = 9000000}});
    if (ms && ms % 240000 == 0) send_ack(f, 0, 0, credit += 1u << 20);
    for (enum uplink_do what; (what = uplink_next(f->u, &f->action)) != UPLINK_IDLE;) {
      if (what != UPLINK_LOAD) continue;
      assert_int_equal(f->action.sequence, 4); /* on the greater credit */
      uplink_loaded(f->u, 4, trb_buf_slice(&big[4].bytes), trb_slice_of(NULL, 0));
    }
    expect_state(f, UPLINK_ONLINE);
  }
}

/* --- holds --- */

static void gap_goes_back_to_the_expected_number(void **state) {
  struct fixture *f = *state;
  online(f, 4, 0, 0);
  for (uint64_t n = 1; n <= 4; n++) expect_batch(f, n);
  send_hold(f, TRB_HOLD_GAP, 3);
  expect_batch(f, 3);
  expect_batch(f, 4);
  send_hold(f, TRB_HOLD_GAP, 99); /* never sent */
  send_hold(f, TRB_HOLD_GAP, 0);
  expect_batch(f, 1);
}

static void busy_backs_off_and_goes_on(void **state) {
  struct fixture *f = *state;
  online(f, 2, 0, 0);
  expect_batch(f, 1);
  send_hold(f, TRB_HOLD_BUSY, 1);
  expect_state(f, UPLINK_HELD);
  send_hold(f, TRB_HOLD_GAP, 1);
  expect(f, UPLINK_IDLE);
  later(f, 2 * TRB_RETRY_MIN_MS);
  expect_state(f, UPLINK_ONLINE);
  expect_batch(f, 1);
}

static void a_held_stream_pings_and_asks_again_each_minute(void **state) {
  struct fixture *f = *state;
  static const enum trb_hold codes[] = {TRB_HOLD_FORK, TRB_HOLD_SUSPENDED, TRB_HOLD_CLONED, (enum trb_hold)77};
  for (size_t i = 0; i < 4; i++) {
    online(f, 2, 0, 0);
    send_hold(f, codes[i], 1);
    expect_state(f, UPLINK_HELD);
    assert_int_equal(status_of(f).hold_code, codes[i]);
    assert_string_equal(status_of(f).text, "请等一等");
    for (int t = 0; t < 5; t++) {
      later(f, TRB_PING_IVL_MS);
      expect_send(f, WIRE_ping);
      receive(f, &(struct wire_message){.type = WIRE_pong});
      expect(f, UPLINK_IDLE);
    }
    later(f, TRB_PING_IVL_MS);
    expect_send(f, WIRE_hello);
    struct wire_message m = welcome(0);
    receive(f, &m);
    expect_state(f, UPLINK_ONLINE);
  }
}

static void a_welcome_unasked_ends_a_suspension(void **state) {
  struct fixture *f = *state;
  online(f, 1, 0, 0);
  send_hold(f, TRB_HOLD_SUSPENDED, 0);
  struct wire_message m = welcome(0);
  receive(f, &m);
  expect_send(f, WIRE_ping);
  expect_batch(f, 1);
}

static void expect_new_stream(struct fixture *f, enum trb_stream_why why) {
  expect_send(f, WIRE_new_stream);
  assert_int_equal(f->sent.new_stream.why, why);
}

static void refused_streams_ask_for_a_new_one_once_a_minute(void **state) {
  struct fixture *f = *state;
  online(f, 4, 2, 2);
  send_hold(f, TRB_HOLD_BAD_BATCH, 3);
  expect_new_stream(f, TRB_STREAM_REFUSED);
  assert_int_equal(f->sent.new_stream.sequence, 4);
  assert_memory_equal(f->sent.new_stream.hash, chain[4].hash, TRB_HASH_BYTES);
  send_hold(f, TRB_HOLD_INCARNATION, 0);
  expect(f, UPLINK_IDLE);
  struct wire_message granted = {.type = WIRE_stream_granted};
  memset(granted.stream_granted.incarnation, 2, TRB_INCARNATION_BYTES);
  receive(f, &granted); /* of another parent */
  expect(f, UPLINK_IDLE);
  memset(granted.stream_granted.parent, 1, TRB_INCARNATION_BYTES);
  receive(f, &granted);
  expect(f, UPLINK_NEW_STREAM);
  assert_memory_equal(f->action.incarnation, granted.stream_granted.incarnation, TRB_INCARNATION_BYTES);
  expect(f, UPLINK_IDLE);
  struct uplink_position position = {.last_sequence = 1};
  memset(position.incarnation, 2, TRB_INCARNATION_BYTES);
  uplink_stream_started(f->u, &position);
  expect_send(f, WIRE_hello);
  assert_memory_equal(f->sent.hello.incarnation, position.incarnation, TRB_INCARNATION_BYTES);
  send_hold(f, TRB_HOLD_INCARNATION, 0); /* again: not at once */
  expect(f, UPLINK_IDLE);
  assert_true(uplink_deadline_ms(f->u) > f->now.boot_ms);
}

static void a_branch_without_a_stream_asks_for_its_first(void **state) {
  struct fixture *f = *state;
  uplink_free(&f->u);
  struct uplink_position position = {.last_sequence = 0};
  assert_int_equal(uplink_new(crypto_signer_public(kit.root), 1, 1, &position, 1, &f->u), TRB_OK);
  connect_and_hello(f);
  send_hold(f, TRB_HOLD_INCARNATION, 0);
  expect_new_stream(f, TRB_STREAM_FIRST);
}

static void want_stream_is_asked_when_online(void **state) {
  struct fixture *f = *state;
  start(f, 4, 4);
  uplink_want_stream(f->u, TRB_STREAM_OUTBOX_LOST);
  connect_and_hello(f);
  struct wire_message m = welcome(4);
  receive(f, &m);
  expect_send(f, WIRE_ping);
  expect_new_stream(f, TRB_STREAM_OUTBOX_LOST);
  expect(f, UPLINK_IDLE);
}

static void a_hub_that_holds_more_or_other_batches_means_a_rollback(void **state) {
  struct fixture *f = *state;
  for (int i = 0; i < 3; i++) {
    start(f, 4, 2);
    connect_and_hello(f);
    struct wire_message m = welcome(i == 0 ? 5 : i == 1 ? 4 : 2);
    if (i) m.welcome.acked_hash[0] ^= 1;
    receive(f, &m);
    expect_send(f, WIRE_ping);
    if (i == 2) { /* only the next batch shows it */
      expect(f, UPLINK_LOAD);
      uplink_loaded(f->u, 3, trb_buf_slice(&chain[3].bytes), trb_slice_of(NULL, 0));
    }
    expect_new_stream(f, TRB_STREAM_ROLLED_BACK);
    expect(f, UPLINK_IDLE);
  }
}

static void loaded_notices_a_lost_or_damaged_outbox(void **state) {
  struct fixture *f = *state;
  for (int i = 0; i < 3; i++) {
    online(f, 4, 2, 2);
    expect(f, UPLINK_LOAD);
    uplink_loaded(f->u, 9, trb_slice_str("not asked for"), trb_slice_of(NULL, 0));
    struct trb_slice wrong = i == 0   ? trb_slice_of(NULL, 0)
                             : i == 1 ? trb_slice_str("damaged")
                                      : trb_buf_slice(&chain[4].bytes);
    uplink_loaded(f->u, 3, wrong, trb_slice_of(NULL, 0));
    expect_new_stream(f, TRB_STREAM_OUTBOX_LOST);
  }
}

static void faults_say_how_long_to_stay_away(void **state) {
  struct fixture *f = *state;
  online(f, 0, 0, 0);
  receive(f,
          &(struct wire_message){.type = WIRE_fault, .fault = {.code = TRB_FAULT_MESSAGE, .text = trb_slice_str("?")}});
  expect_state(f, UPLINK_ONLINE);
  receive(f, &(struct wire_message){.type = WIRE_fault,
                                    .fault = {.code = TRB_FAULT_REVOKED, .text = trb_slice_str("revoked")}});
  expect(f, UPLINK_DISCONNECT);
  expect_state(f, UPLINK_REFUSED);
  assert_string_equal(status_of(f).text, "revoked");
  later(f, TRB_REFUSED_MS - 1);
  expect(f, UPLINK_IDLE);
  later(f, 1);
  expect(f, UPLINK_CONNECT);
  expect_state(f, UPLINK_REFUSED); /* until it is let in */
  assert_int_equal(status_of(f).refused_code, TRB_FAULT_REVOKED);
  uplink_connected(f->u, &f->now);
  expect_send(f, WIRE_hello);
  receive(f, &(struct wire_message){.type = WIRE_fault, .fault = {.code = TRB_FAULT_RATE, .retry_ms = 7000}});
  expect(f, UPLINK_DISCONNECT);
  assert_int_equal(uplink_deadline_ms(f->u), f->now.boot_ms + 7000);
}

/* --- down --- */

static void send_down(struct fixture *f, uint8_t epoch, uint64_t after, uint64_t version, uint64_t flags) {
  struct wire_message m = {.type = WIRE_down,
                           .down = {.after = after, .version = version, .flags = flags, .rows = trb_slice_str("rows")}};
  memset(m.down.epoch, epoch, 16);
  receive(f, &m);
}
static void expect_apply(struct fixture *f, uint64_t version) {
  expect(f, UPLINK_APPLY_DOWN);
  assert_int_equal(f->action.down->version, version);
  assert_true(trb_slice_equal(f->action.down->rows, trb_slice_str("rows")));
  uint8_t epoch[16];
  memcpy(epoch, f->action.down->epoch, 16);
  uplink_down_applied(f->u, epoch, version);
  expect_send(f, WIRE_down_ack);
  assert_int_equal(f->sent.down_ack.version, version);
}

static void down_is_applied_one_at_a_time_and_acked_after(void **state) {
  struct fixture *f = *state;
  online(f, 0, 0, 0);
  send_down(f, 7, 100, 105, 0);
  send_down(f, 7, 105, 110, 0);
  send_down(f, 7, 110, 115, 0); /* over the window */
  expect(f, UPLINK_APPLY_DOWN);
  assert_int_equal(f->action.down->version, 105);
  expect(f, UPLINK_IDLE); /* no second one, no ack before it is applied */
  uint8_t epoch[16];
  memset(epoch, 7, 16);
  uplink_down_applied(f->u, epoch, 105);
  expect_send(f, WIRE_down_ack);
  expect_apply(f, 110);
  expect(f, UPLINK_IDLE);
}

static void down_behind_a_hole_or_of_another_epoch_is_answered_with_where_we_are(void **state) {
  struct fixture *f = *state;
  online(f, 0, 0, 0);
  send_down(f, 7, 105, 110, 0);
  expect_send(f, WIRE_down_ack);
  assert_int_equal(f->sent.down_ack.version, 100);
  send_down(f, 6, 100, 110, 0);
  expect_send(f, WIRE_down_ack);
  send_down(f, 7, 90, 100, 0); /* once more */
  expect_send(f, WIRE_down_ack);
  expect(f, UPLINK_IDLE);
  send_down(f, 6, 0, 3, 2); /* a snapshot of a new epoch */
  expect_apply(f, 3);
  send_down(f, 6, 0, 2, 2); /* late: would undo it */
  expect_send(f, WIRE_down_ack);
  assert_int_equal(f->sent.down_ack.version, 3);
}

static void down_that_was_being_applied_when_the_line_broke_is_acked_on_the_next(void **state) {
  struct fixture *f = *state;
  online(f, 0, 0, 0);
  send_down(f, 7, 100, 105, 0);
  send_down(f, 7, 105, 110, 0);
  expect(f, UPLINK_APPLY_DOWN);
  uplink_disconnected(f->u, false, &f->now);
  assert_int_equal(f->action.down->version, 105); /* still borrowed */
  uint8_t epoch[16];
  memset(epoch, 7, 16);
  uplink_down_applied(f->u, epoch, 105);
  expect(f, UPLINK_IDLE);
  later(f, TRB_RETRY_MIN_MS);
  expect(f, UPLINK_CONNECT);
  uplink_connected(f->u, &f->now);
  expect_send(f, WIRE_hello);
  assert_int_equal(f->sent.hello.down_version, 105);
}

/* --- safe, rotation --- */

static void safe_is_stored_even_without_acks(void **state) {
  struct fixture *f = *state;
  online(f, 4, 4, 4);
  receive(f, &(struct wire_message){.type = WIRE_pong, .pong = {.boot_ms = f->now.boot_ms, .safe_sequence = 3}});
  expect_stored(f, 4, 0);
  assert_int_equal(f->action.safe, 3);
  receive(f, &(struct wire_message){.type = WIRE_pong, .pong = {.boot_ms = f->now.boot_ms, .safe_sequence = 99}});
  expect(f, UPLINK_IDLE); /* beyond what is sealed */
}

static void rotate_is_sent_until_the_hub_took_it(void **state) {
  struct fixture *f = *state;
  online(f, 0, 0, 0);
  struct wire_rotate rotate = {.curve_public = {5}, .sign_public = {6}};
  uplink_rotate(f->u, &rotate);
  expect_send(f, WIRE_rotate);
  expect(f, UPLINK_IDLE);
  for (int i = 0; i < 3; i++) {
    later(f, 10000);
    receive(f, &(struct wire_message){.type = WIRE_pong});
    expect_send(f, WIRE_ping);
  }
  expect_send(f, WIRE_rotate);
  receive(f, &(struct wire_message){.type = WIRE_rotated, .rotated = {.curve_public = {1}, .sign_public = {6}}});
  expect(f, UPLINK_IDLE);
  receive(f, &(struct wire_message){.type = WIRE_rotated, .rotated = {.curve_public = {5}, .sign_public = {6}}});
  expect(f, UPLINK_ROTATED);
  expect(f, UPLINK_IDLE);
}

static int group_setup(void **state) {
  (void)state;
  kit_init(&kit);
  for (uint64_t n = 1; n <= N; n++)
    kit_batch(&kit, SITE, 1, n, chain[n - 1].hash, 0, 20, &chain[n].bytes, chain[n].hash);
  for (uint64_t n = 1; n < 9; n++) kit_batch(&kit, SITE, 1, n, big[n - 1].hash, 0, 900000, &big[n].bytes, big[n].hash);
  return 0;
}
static int group_teardown(void **state) {
  (void)state;
  for (int n = 1; n <= N; n++) trb_buf_free(&chain[n].bytes);
  for (int n = 1; n < 9; n++) trb_buf_free(&big[n].bytes);
  kit_done(&kit);
  return 0;
}

#define T(name) cmocka_unit_test_setup_teardown(name, setup, teardown)
int main(void) {
  const struct CMUnitTest tests[] = {
      T(tick_connects_at_once_and_tries_the_endpoints_in_turn),
      T(two_branches_back_off_differently),
      T(connected_says_hello_at_once),
      T(tick_gives_up_without_a_welcome),
      T(tick_gives_up_a_connection_that_never_comes),
      T(tick_pings_and_reconnects_after_silence),
      T(tick_allows_for_a_slow_line),
      T(receive_measures_the_offset_by_the_shortest_round_trip),
      T(receive_counts_what_it_cannot_read_or_a_hub_would_not_send),
      T(welcome_with_foreign_keys_is_not_our_hub),
      T(welcome_and_keys_bring_a_newer_keyset_once),
      T(sends_what_is_sealed_and_nothing_else),
      T(ack_is_stored_before_anything_else),
      T(ack_beyond_what_was_sent_is_refused),
      T(ack_that_cannot_be_read_changes_nothing),
      T(ack_with_a_hole_makes_it_send_again),
      T(welcome_ahead_of_our_acks_makes_it_send_those_batches_again),
      T(welcome_behind_our_acks_sends_again_with_the_acks),
      T(reconnect_sends_again_what_was_not_acked),
      T(credit_bounds_bytes_and_frames),
      T(stalled_batches_are_sent_again_ever_more_rarely),
      T(a_group_on_a_slow_line_is_not_sent_twice),
      T(gap_goes_back_to_the_expected_number),
      T(busy_backs_off_and_goes_on),
      T(a_held_stream_pings_and_asks_again_each_minute),
      T(a_welcome_unasked_ends_a_suspension),
      T(refused_streams_ask_for_a_new_one_once_a_minute),
      T(a_branch_without_a_stream_asks_for_its_first),
      T(want_stream_is_asked_when_online),
      T(a_hub_that_holds_more_or_other_batches_means_a_rollback),
      T(loaded_notices_a_lost_or_damaged_outbox),
      T(faults_say_how_long_to_stay_away),
      T(down_is_applied_one_at_a_time_and_acked_after),
      T(down_behind_a_hole_or_of_another_epoch_is_answered_with_where_we_are),
      T(down_that_was_being_applied_when_the_line_broke_is_acked_on_the_next),
      T(safe_is_stored_even_without_acks),
      T(rotate_is_sent_until_the_hub_took_it),
  };
  return cmocka_run_group_tests(tests, group_setup, group_teardown);
}
