/* uplink_receive: what the frames of the hub do to the uplink. A frame that is wrong, or not awaited, changes nothing.
 */
#include <string.h>

#include "tributary/mp.h"
#include "uplink_core.h"

static bool all_zero(const uint8_t *p, size_t len) {
  uint8_t any = 0;
  for (size_t i = 0; i < len; i++) any |= p[i];
  return any == 0;
}

/* The shortest round trip of the last 16 wins: the error of an offset is at most half of its round trip. */
static void measure(struct uplink *u, int64_t sent_boot_ms, int64_t hub_ms) {
  const int64_t limit = (int64_t)1 << 52;
  int64_t trip = u->now.boot_ms - sent_boot_ms;
  if (trip < 0 || hub_ms < 0 || hub_ms > limit) return;
  struct offset_sample *sample = &u->samples[u->sample_next];
  u->sample_next = (u->sample_next + 1) % OFFSET_SAMPLES;
  if (u->sample_count < OFFSET_SAMPLES) u->sample_count++;
  *sample = (struct offset_sample){.round_trip_ms = trip, .hub_minus_boot_ms = hub_ms - (sent_boot_ms + trip / 2)};
}

/* False when it is not signed by the root that this node was enrolled under: that is not our hub. */
static bool take_keys(struct uplink *u, struct trb_slice sealed) {
  struct trb_keyset keyset;
  if (keyset_open(sealed, u->root_public, &keyset, NULL) != TRB_OK || !keyset.endpoint_count) return false;
  if (keyset.version <= u->keyset_version) return true;
  trb_buf_clear(&u->keyset);
  trb_buf_append_slice(&u->keyset, sealed);
  if (u->keyset.failed) return true; /* comes again with the next WELCOME */
  u->keyset_version = keyset.version;
  u->keyset_due = true;
  u->endpoint_count = keyset.endpoint_count;
  u->endpoint %= u->endpoint_count;
  return true;
}

static void take_safe(struct uplink *u, uint64_t safe) {
  if (safe == u->safe || safe > u->at.last_sequence) return;
  u->safe = safe;
  u->acks_due = true;
  if (!u->acks_count) u->acks_sequence = u->at.acked_sequence;
}

/* The hub's end must be an end that we had: else our files are older than what we sent. */
static bool stream_was_rolled_back(const struct uplink *u, const struct wire_welcome *welcome) {
  if (welcome->acked_sequence > u->at.last_sequence) return true;
  return welcome->acked_sequence == u->at.last_sequence &&
         memcmp(welcome->acked_hash, u->at.last_hash, TRB_HASH_BYTES) != 0;
}

static void on_welcome(struct uplink *u, const struct wire_welcome *welcome) {
  if (u->granted || u->starting) return; /* it speaks of the stream before */
  if (!take_keys(u, welcome->keys)) {
    uplink_note(
        u, 0,
        trb_slice_str("the hub that answers is not the one this node was enrolled with (its keys are not signed "
                      "by the root in the invitation)"));
    uplink_drop_line(u, true, -1);
    return;
  }
  if (u->hello_boot_ms >= 0) measure(u, u->hello_boot_ms, welcome->hub_ms);
  u->hello_boot_ms = -1;
  if (u->state != UPLINK_ONLINE) u->online_at = u->now.boot_ms;
  u->state = UPLINK_ONLINE;
  u->refused_code = 0;
  uplink_note(u, 0, trb_slice_str(""));
  u->send_ping = true;
  u->send_rotate = u->rotating;
  u->credit = welcome->credit;
  u->welcome_acked = welcome->acked_sequence;
  memcpy(u->welcome_hash, welcome->acked_hash, TRB_HASH_BYTES);
  u->base = u->acks_count || u->acks_busy ? u->acks_sequence : u->at.acked_sequence;
  if (u->base > welcome->acked_sequence) u->base = welcome->acked_sequence; /* the hub was restored from a backup */
  u->cost_count = 0;
  u->unacked = 0;
  uplink_rewind(u, u->base + 1);
  take_safe(u, welcome->safe_sequence);
  if (stream_was_rolled_back(u, welcome)) uplink_want_stream(u, TRB_STREAM_ROLLED_BACK);
}

/* Elements of the acks array are put behind those that wait; `count` of them. False: not an array of bin. */
static bool append_acks(struct uplink *u, struct trb_slice acks, size_t *ret_count) {
  *ret_count = 0;
  if (!acks.len) return true;
  if (mp_check(acks, NULL) != TRB_OK) return false;
  struct mp_reader reader = mp_reader(acks);
  size_t count = mp_get_array(&reader), kept = u->acks.len;
  if (count > TRB_ACKS_MAX) return false;
  for (size_t i = 0; i < count && !reader.failed; i++) {
    struct mp_reader before = reader;
    mp_get_bin(&reader);
    trb_buf_append(&u->acks, before.at, (size_t)(reader.at - before.at));
  }
  if (reader.failed || !mp_at_end(&reader) || u->acks.failed) {
    u->acks.failed = false; /* as before */
    u->acks.len = kept;
    return false;
  }
  *ret_count = count;
  return true;
}

static void on_ack(struct uplink *u, const struct wire_ack *ack) {
  if (u->state != UPLINK_ONLINE && u->state != UPLINK_HELD) return;
  if (u->granted || u->starting) return;
  if (ack->sequence > u->sent_max && ack->sequence > u->base) {
    u->bad_frames++; /* acknowledges what was never sent */
    return;
  }
  if (ack->sequence < u->base) return; /* late */
  if (ack->sequence == u->base) {
    if (ack->credit > u->credit) { /* a group comes in: it is acknowledged only at its end */
      u->credit = ack->credit;
      uplink_restart_stall(u);
    }
    take_safe(u, ack->safe_sequence);
    return;
  }
  size_t count, kept = u->acks.len;
  if (!append_acks(u, ack->acks, &count)) {
    u->bad_frames++;
    return;
  }
  uint64_t covered = count ? count : 1;
  if (ack->sequence - u->base > covered) { /* acks before these were lost: they come with the batches sent again */
    u->acks.len = kept;
    uplink_rewind(u, u->base + 1);
    return;
  }
  u->acks_count += count;
  u->acks_sequence = ack->sequence;
  u->acks_due = true;
  u->credit = ack->credit;
  uplink_advance(u, ack->sequence);
  u->failures = 0;
  take_safe(u, ack->safe_sequence);
}

static void on_hold(struct uplink *u, const struct wire_hold *hold) {
  if (u->granted || u->starting) return;
  if (u->state != UPLINK_ONLINE && u->state != UPLINK_HELD && u->state != UPLINK_EXPECT_WELCOME) return;
  switch (hold->code) {
    case TRB_HOLD_GAP:
      if (u->state != UPLINK_ONLINE || hold->sequence > u->next) return;
      uplink_rewind(u, hold->sequence > u->base ? hold->sequence : u->base + 1);
      return;
    case TRB_HOLD_BUSY:
      if (u->state == UPLINK_EXPECT_WELCOME) return;
      if (u->state == UPLINK_HELD && u->hold_code != TRB_HOLD_BUSY) return;
      uplink_hold(u, uplink_backoff_ms(u, ++u->failures));
      break;
    case TRB_HOLD_BAD_BATCH:
    case TRB_HOLD_INCARNATION:
      uplink_hold(u, TRB_HELD_MS);
      uplink_want_stream(u, all_zero(u->at.incarnation, TRB_INCARNATION_BYTES) ? TRB_STREAM_FIRST : TRB_STREAM_REFUSED);
      break;
    default: /* FORK, SUSPENDED, CLONED, or of a newer hub: its operator decides first */
      uplink_hold(u, TRB_HELD_MS);
      u->ask_at = u->now.boot_ms + TRB_HELD_MS;
      break;
  }
  uplink_note(u, (uint32_t)hold->code, hold->text);
}

static void on_down(struct uplink *u, struct trb_slice frame) {
  if (u->state != UPLINK_ONLINE && u->state != UPLINK_HELD) return;
  if (u->down_count == DOWN_QUEUE_MAX) return; /* over the window; sent again later */
  struct trb_buf *slot = &u->down[(u->down_head + u->down_count) % DOWN_QUEUE_MAX];
  trb_buf_clear(slot);
  trb_buf_append_slice(slot, frame);
  if (!slot->failed) u->down_count++;
}

static void on_granted(struct uplink *u, const struct wire_stream_granted *granted) {
  if (!u->want || u->granted || u->starting) return;
  if (memcmp(granted->parent, u->at.incarnation, TRB_INCARNATION_BYTES) != 0) return;
  memcpy(u->granted_incarnation, granted->incarnation, TRB_INCARNATION_BYTES);
  u->want = false;
  u->granted = true;
  u->state = UPLINK_HELD;
  u->retry_at = INT64_MAX;
}

static void on_pong(struct uplink *u, const struct wire_pong *pong) {
  if (pong->boot_ms < u->up_at) return; /* of an earlier line; a late one only has a long round trip */
  measure(u, pong->boot_ms, pong->hub_ms);
  if (u->state == UPLINK_ONLINE) take_safe(u, pong->safe_sequence);
}

static void on_rotated(struct uplink *u, const struct wire_rotated *rotated) {
  if (!u->rotating || memcmp(rotated->curve_public, u->rotate.curve_public, TRB_KEY_BYTES) != 0 ||
      memcmp(rotated->sign_public, u->rotate.sign_public, TRB_KEY_BYTES) != 0)
    return;
  u->rotating = u->send_rotate = false;
  u->rotated_due = true;
}

static void on_fault(struct uplink *u, const struct wire_fault *fault) {
  uplink_note(u, 0, fault->text);
  if (fault->code == TRB_FAULT_MESSAGE) return; /* for the log; the session goes on */
  bool later = fault->retry_ms > 0;
  int64_t delay = later && fault->retry_ms < TRB_REFUSED_MS ? (int64_t)fault->retry_ms : TRB_REFUSED_MS;
  uplink_drop_line(u, true, delay);
  if (later) return;
  u->state = UPLINK_REFUSED;
  u->refused_code = (uint32_t)fault->code;
}

void uplink_receive(struct uplink *u, struct trb_slice frame, const struct trb_clock_reading *now) {
  u->now = *now;
  if (u->line != LINE_UP) return;
  struct wire_message message;
  if (wire_decode(frame, &message, NULL) != TRB_OK || wire_sender(message.type) != 'H') {
    u->bad_frames++;
    return;
  }
  u->heard_at = now->boot_ms;
  switch (message.type) {
    case WIRE_welcome: on_welcome(u, &message.welcome); break;
    case WIRE_ack: on_ack(u, &message.ack); break;
    case WIRE_hold: on_hold(u, &message.hold); break;
    case WIRE_down: on_down(u, frame); break;
    case WIRE_pong: on_pong(u, &message.pong); break;
    case WIRE_stream_granted: on_granted(u, &message.stream_granted); break;
    case WIRE_rotated: on_rotated(u, &message.rotated); break;
    case WIRE_keys:
      if (!take_keys(u, message.keys.keys)) u->bad_frames++;
      break;
    case WIRE_fault: on_fault(u, &message.fault); break;
    default: u->bad_frames++; break; /* JOINED is for guests */
  }
}
