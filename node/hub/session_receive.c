/* session_receive: what the frames of a branch do to its session. Whatever a frame says, memory stays bounded and only
 * the next batch of the site's own stream reaches a worker. */
#include <stdlib.h>
#include <string.h>

#include "session_core.h"

static void bad_frame(struct session *s, const char *text) {
  s->bad_frames++;
  if (s->line_bad_frames++ < FAULTS_TOLD_MAX) session_say_fault(s, TRB_FAULT_MESSAGE, 0, text);
}

/* Two crystals drift apart by seconds a day, and our own clock may be set: a reading counts for so long. Not shorter,
 * since behind a backlog on a slow line every PING is late. */
#define CLOCK_WINDOW_MS (60 * 60 * 1000)

static int64_t hub_minus_boot(const struct trb_clock_reading *reading, int64_t hub_ms) {
  return hub_ms - reading->boot_ms;
}

static void take_clock(struct session *s, const struct trb_clock_reading *reading, int64_t hub_ms) {
  s->clock = *reading;
  s->clock_hub_ms = hub_ms;
  s->clock_known = true;
  s->fresh_known = false;
  s->fresh_since_ms = s->now_ms;
}

/* The branch's clock beside ours. The reading with the least delay on the way counts, until the branch's clock was set
 * or a window is over: then the best of that window. */
static void hear_clock(struct session *s, const struct trb_clock_reading *reading) {
  int64_t wall_minus_boot = reading->wall_ms - reading->boot_ms;
  int64_t before = s->clock.wall_ms - s->clock.boot_ms;
  int64_t jump = wall_minus_boot > before ? wall_minus_boot - before : before - wall_minus_boot;
  bool same = s->clock_known && memcmp(s->clock.boot_id, reading->boot_id, TRB_BOOT_ID_BYTES) == 0;
  int64_t offset = hub_minus_boot(reading, s->now_ms);
  if (!same || jump >= TRB_CLOCK_JUMP_MS || offset <= hub_minus_boot(&s->clock, s->clock_hub_ms)) {
    take_clock(s, reading, s->now_ms);
    return;
  }
  if (!s->fresh_known || offset <= hub_minus_boot(&s->fresh, s->fresh_hub_ms)) {
    s->fresh = *reading;
    s->fresh_hub_ms = s->now_ms;
    s->fresh_known = true;
  }
  if (s->now_ms - s->fresh_since_ms >= CLOCK_WINDOW_MS) take_clock(s, &s->fresh, s->fresh_hub_ms);
}

/* Readings of a hostile branch must not overflow what is computed from them. */
static bool plausible(int64_t wall_ms, int64_t boot_ms) {
  const int64_t limit = (int64_t)1 << 52;
  return wall_ms > -limit && wall_ms < limit && boot_ms >= 0 && boot_ms < limit;
}

/* It is shown on operators' terminals: without C0, DEL and C1, of which UTF-8 makes C2 80 to C2 9F. */
static void take_software(struct session *s, struct trb_slice text) {
  for (size_t i = 0; i < text.len; i++) {
    const uint8_t *p = &text.data[i];
    bool c1 = (*p == 0xc2 && p[1] < 0xa0) || (*p >= 0x80 && *p < 0xa0 && p[-1] == 0xc2); /* checked to be UTF-8 */
    s->software[i] = (char)(*p < ' ' || *p == 0x7f || c1 ? '?' : *p);
  }
  s->software[text.len] = 0;
}

static void on_hello(struct session *s, const struct wire_hello *hello) {
  if (hello->proto_min > TRB_PROTO_MAX || hello->proto_max < TRB_PROTO_MIN) {
    session_say_fault(s, TRB_FAULT_PROTOCOL, 0,
                      hello->proto_min > TRB_PROTO_MAX ? "this hub is older than the branch: update the hub first"
                                                       : "this branch is too old for the hub: update the branch");
    return;
  }
  if (!plausible(hello->wall_ms, hello->boot_ms)) {
    bad_frame(s, "hello: impossible clock");
    return;
  }
  take_software(s, hello->software);
  struct trb_clock_reading reading = {.wall_ms = hello->wall_ms, .boot_ms = hello->boot_ms};
  memcpy(reading.boot_id, hello->boot_id, TRB_BOOT_ID_BYTES);
  hear_clock(s, &reading);
  memcpy(s->incarnation, hello->incarnation, TRB_INCARNATION_BYTES);
  memcpy(s->down_epoch, hello->down_epoch, sizeof s->down_epoch);
  s->down_version = hello->down_version;
  int64_t heard = s->heard_ms;
  uint64_t bad = s->line_bad_frames;
  session_routed(s, s->now_ms); /* a HELLO starts over, on the same line too */
  s->heard_ms = heard;
  s->line_bad_frames = bad;
  s->greeted = true;
  s->state = SESSION_ATTACHING;
  session_output(s, SESSION_ATTACH);
}

/* --- batches --- */

/* False: no memory, the batch counts as lost on the line. */
static bool verify(struct session *s, uint64_t sequence, const struct wire_batch *batch) {
  struct output *output = session_output(s, SESSION_VERIFY);
  if (!output) return false;
  output->action.sequence = sequence;
  output->action.clock = s->clock;
  output->action.clock_hub_ms = s->clock_hub_ms;
  trb_buf_append_slice(&output->bytes, batch->sealed);
  trb_buf_append_slice(&output->ack, batch->ack);
  if (output->bytes.failed || output->ack.failed) output->action.what = SESSION_IDLE;
  return output->action.what == SESSION_VERIFY;
}

/* Committed before: its hash is compared by the writer, which acks it again or finds a fork. */
static void take_old(struct session *s, uint64_t sequence, const struct wire_batch *batch) {
  uint64_t cost = wire_batch_cost(batch->sealed.len);
  if (s->old_count == OLDS_MAX || s->old_cost + cost > TRB_CREDIT_BYTES) return;
  for (size_t i = 0; i < s->old_count; i++)
    if (s->olds[i].sequence == sequence) return;
  if (!verify(s, sequence, batch)) return;
  s->olds[s->old_count++] = (struct old){.sequence = sequence, .cost = cost};
  s->old_cost += cost;
}

/* An ack of this committed number waits to be sent, or the writer has still to answer. */
static bool ack_comes(const struct session *s, uint64_t sequence) {
  for (size_t i = 0; i < s->old_count; i++)
    if (s->olds[i].sequence == sequence) return true;
  for (const struct waiting_ack *ack = s->acks; ack; ack = ack->next)
    if (ack->sequence == sequence) return true;
  return false;
}

/* Acks leave in order. They start behind the first batch that came on this line, or that came again; a number in
 * between that nobody will acknowledge is not waited for: the branch asks for it by sending it, when it needs it. */
static void note_number(struct session *s, uint64_t sequence) {
  if (!s->told_known || sequence <= s->told) s->told = sequence - 1;
  if (!s->told_known || sequence > s->seen) s->seen = sequence;
  s->told_known = true;
  uint64_t n = s->stream.acked_sequence < sequence ? s->stream.acked_sequence : sequence - 1;
  while (n > s->told && ack_comes(s, n)) n--;
  if (n > s->told) s->told = n;
}

/* The next one. False: over the credit. */
static bool take_next(struct session *s, const struct trb_batch_header *header, const struct wire_batch *batch) {
  uint64_t cost = wire_batch_cost(batch->sealed.len);
  uint64_t bytes = header->raw_bytes > batch->sealed.len ? header->raw_bytes : batch->sealed.len;
  if (bytes < GROUP_COST_MIN) bytes = GROUP_COST_MIN;
  if (s->in_flight + cost > s->limit) return false;
  if (s->group_bytes && s->group_bytes + bytes > TRB_GROUP_BYTES_MAX) {
    session_held(s, TRB_HOLD_BAD_BATCH, header->sequence, "too many batches that continue");
    return true;
  }
  if (!session_reserve(s) || !verify(s, header->sequence, batch)) return true;
  s->costs[s->cost_count++] = cost;
  s->in_flight += cost;
  bool continues = header->flags & TRB_BATCH_CONTINUES;
  s->group_cost = continues ? s->group_cost + cost : 0;
  s->group_bytes = continues ? s->group_bytes + bytes : 0;
  if (!continues) s->credit_told_group = 0;
  session_raise_limit(s);
  s->expected++;
  s->gap_told = 0;
  s->hold_code = 0;
  if (header->sequence > s->seen_max) s->seen_max = header->sequence;
  note_number(s, header->sequence);
  return true;
}

static void on_batch(struct session *s, const struct wire_batch *batch) {
  if (s->state != SESSION_STREAMING) { /* sent before the hold was heard, or it was lost */
    if (s->state == SESSION_HELD && s->hold_code && s->now_ms - s->hold_at_ms >= HOLD_AGAIN_MS) session_repeat_hold(s);
    return;
  }
  struct trb_batch_header header;
  uint8_t hash[TRB_HASH_BYTES];
  trb_arena_reset(&s->arena);
  struct trb_error err;
  if (batch_peek(batch->sealed, &s->arena, &header, hash, &err) != TRB_OK) {
    bad_frame(s, "batch: its header cannot be read");
    return;
  }
  if (!trb_slice_equal(header.site, trb_slice_str(s->site))) {
    bad_frame(s, "batch: of another site");
    return;
  }
  if (memcmp(header.incarnation, s->stream.incarnation, TRB_INCARNATION_BYTES) != 0 || !header.sequence) {
    bad_frame(s, "batch: of another incarnation");
    return;
  }
  uint64_t sequence = header.sequence;
  if (sequence > s->expected) {
    if (s->gap_told == s->expected || s->hold_code == TRB_HOLD_BUSY) return; /* once a gap */
    s->gap_told = s->expected;
    session_say_hold(s, TRB_HOLD_GAP, s->expected, "");
    return;
  }
  if (sequence == s->expected) {
    if (!take_next(s, &header, batch)) bad_frame(s, "batch: over the credit");
    return;
  }
  note_number(s, sequence);
  if (sequence <= s->stream.acked_sequence) take_old(s, sequence, batch); /* else at the workers already */
}

/* --- the rest --- */

static void on_down_ack(struct session *s, const struct wire_down_ack *ack) {
  if (s->state != SESSION_STREAMING || memcmp(ack->epoch, s->epoch, sizeof s->epoch) != 0) return;
  if (ack->version > s->down_max) {
    s->bad_frames++; /* or applied while the line came back: it is sent again, and acknowledged again */
    return;
  }
  if (ack->version > s->down_sent) { /* sent on a line before this one */
    s->down_sent = ack->version;
    s->down_rendering = false;
    s->down_due = true;
  }
  size_t left = 0;
  for (size_t i = 0; i < s->window_count; i++)
    if (s->window[i] > ack->version) s->window[left++] = s->window[i];
  if (left != s->window_count) {
    s->down_at_ms = s->now_ms;
    s->down_stalls = 0;
  }
  s->window_count = left;
  if (ack->version <= s->down_acked) return;
  s->down_acked = ack->version;
  struct output *output = session_output(s, SESSION_CLEAR_DOWN);
  if (output) output->action.version = ack->version;
}

static void on_ping(struct session *s, const struct wire_ping *ping) {
  if (!plausible(ping->wall_ms, ping->boot_ms)) {
    bad_frame(s, "ping: impossible clock");
    return;
  }
  struct trb_clock_reading reading = {.wall_ms = ping->wall_ms, .boot_ms = ping->boot_ms};
  memcpy(reading.boot_id, ping->boot_id, TRB_BOOT_ID_BYTES);
  hear_clock(s, &reading);
  s->backlog = ping->backlog;
  uint64_t safe = s->attached ? s->stream.safe_sequence : 0;
  session_send(s,
               &(struct wire_message){.type = WIRE_pong,
                                      .pong = {.boot_ms = ping->boot_ms, .hub_ms = s->now_ms, .safe_sequence = safe}});
}

static void on_new_stream(struct session *s, const struct wire_new_stream *wanted) {
  if (s->state < SESSION_STREAMING || s->suspended) return;
  if (s->stream_asked && s->now_ms - s->stream_asked_ms < ASK_AGAIN_MS) return;
  if (memcmp(wanted->parent, s->incarnation, TRB_INCARNATION_BYTES) != 0) {
    bad_frame(s, "new_stream: the parent is not the stream of the hello");
    return;
  }
  s->state = SESSION_HELD;
  struct output *output = session_output(s, SESSION_NEW_STREAM);
  if (!output) return;
  output->new_stream = *wanted;
  s->stream_asked = true;
  s->stream_asked_ms = s->now_ms;
}

/* Signed by the old key over both new keys (it is the same node) and by the new one (it has it). */
static void on_rotate(struct session *s, const struct wire_rotate *rotate) {
  if (s->state != SESSION_STREAMING) return;
  TRB_BUF_AUTO covered = {0};
  wire_rotate_signed(rotate, &covered);
  struct trb_slice data = trb_buf_slice(&covered);
  bool again = memcmp(rotate->sign_public, s->sign_public, TRB_KEY_BYTES) == 0; /* ROTATED was lost */
  if ((!again && !crypto_verify(s->sign_public, TRB_DOMAIN_ROTATE, data, rotate->signature_old)) ||
      !crypto_verify(rotate->sign_public, TRB_DOMAIN_ROTATE, data, rotate->signature_new)) {
    bad_frame(s, "rotate: not signed by the node's keys");
    return;
  }
  struct output *output = session_output(s, SESSION_ROTATE);
  if (output) output->rotate = *rotate;
}

void session_receive(struct session *s, struct trb_slice frame, int64_t hub_ms) {
  s->now_ms = hub_ms;
  if (s->state == SESSION_ABSENT || s->line_bad_frames >= TRB_SESSION_BAD_FRAMES_MAX) return;
  s->heard_ms = hub_ms;
  s->silent = false;
  struct wire_message message;
  struct trb_error err;
  if (wire_decode(frame, &message, &err) != TRB_OK) {
    bad_frame(s, err.text);
    return;
  }
  if (s->state == SESSION_EXPECT_HELLO && message.type != WIRE_hello && message.type != WIRE_ping) {
    bad_frame(s, "a session begins with hello");
    return;
  }
  switch (message.type) {
    case WIRE_hello: on_hello(s, &message.hello); break;
    case WIRE_batch: on_batch(s, &message.batch); break;
    case WIRE_down_ack: on_down_ack(s, &message.down_ack); break;
    case WIRE_ping: on_ping(s, &message.ping); break;
    case WIRE_new_stream: on_new_stream(s, &message.new_stream); break;
    case WIRE_rotate: on_rotate(s, &message.rotate); break;
    default: bad_frame(s, "not a message of a branch"); break;
  }
}
