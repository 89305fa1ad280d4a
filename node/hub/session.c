/* session: see include/tributary/session.h. Here: life, the answers of the shell, and outputs; frames are in
 * session_receive.c. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "session_core.h"
#include "tributary/mp.h"

/* --- outputs --- */

static void output_free(struct output *output) {
  if (!output) return;
  trb_buf_free(&output->bytes);
  trb_buf_free(&output->ack);
  free(output);
}

struct output *session_output(struct session *s, enum session_do what) {
  struct output *output = s->output_count < OUTPUTS_MAX ? calloc(1, sizeof *output) : NULL;
  if (!output) {
    s->lost_outputs++;
    return NULL;
  }
  output->action.what = what;
  if (s->last)
    s->last->next = output;
  else
    s->first = output;
  s->last = output;
  s->output_count++;
  return output;
}

static void drop_outputs(struct session *s) {
  while (s->first) {
    struct output *output = s->first;
    s->first = output->next;
    output_free(output);
  }
  s->last = NULL;
  s->output_count = 0;
}

void session_send(struct session *s, const struct wire_message *message) {
  if (s->state == SESSION_ABSENT) return;
  struct output *output = session_output(s, SESSION_SEND);
  if (output) wire_encode(message, &output->bytes);
}

void session_say_hold(struct session *s, enum trb_hold code, uint64_t sequence, const char *text) {
  s->hold_code = code;
  s->hold_sequence = sequence;
  size_t len = text ? strlen(text) : 0, max = sizeof s->hold_text - 1;
  if (len > max)
    for (len = max; len && ((uint8_t)text[len] & 0xc0) == 0x80;) len--; /* at a character */
  if (len) memcpy(s->hold_text, text, len);
  s->hold_text[len] = 0;
  session_repeat_hold(s);
}

void session_repeat_hold(struct session *s) {
  s->hold_at_ms = s->now_ms;
  session_send(s,
               &(struct wire_message){
                   .type = WIRE_hold,
                   .hold = {.code = s->hold_code, .sequence = s->hold_sequence, .text = trb_slice_str(s->hold_text)}});
}

void session_say_fault(struct session *s, enum trb_fault code, uint64_t retry_ms, const char *text) {
  session_send(s, &(struct wire_message){.type = WIRE_fault,
                                         .fault = {.code = code, .retry_ms = retry_ms, .text = trb_slice_str(text)}});
}

/* --- life --- */

enum trb_status session_new(const struct session_config *config, struct session **ret) {
  struct session *s = calloc(1, sizeof *s);
  if (!s) return TRB_NOMEM;
  memcpy(s->site, config->site, sizeof s->site);
  s->site[sizeof s->site - 1] = 0;
  memcpy(s->epoch, config->epoch, sizeof s->epoch);
  memcpy(s->sign_public, config->sign_public, TRB_KEY_BYTES);
  s->keyset = config->keyset;
  *ret = s;
  return TRB_OK;
}

static void drop_acks(struct session *s) {
  while (s->acks) {
    struct waiting_ack *ack = s->acks;
    s->acks = ack->next;
    free(ack);
  }
}

void session_free(struct session **session_p) {
  struct session *s = *session_p;
  *session_p = NULL;
  if (!s) return;
  drop_outputs(s);
  output_free(s->current);
  drop_acks(s);
  free(s->costs);
  trb_buf_free(&s->out);
  trb_buf_free(&s->acks_out);
  trb_arena_free(&s->arena);
  free(s);
}

/* What belongs to one line, or to one HELLO on it. */
static void reset_line(struct session *s) {
  drop_acks(s);
  s->told_known = s->ack_due = false;
  s->told = s->seen = s->gap_told = 0;
  s->old_count = 0;
  s->old_cost = 0;
  s->hold_code = 0;
  s->down_due = s->down_rendering = s->snapshot_asked = s->stream_asked = false;
  s->window_count = 0;
  s->down_sent = s->down_acked = 0;
  s->down_stalls = 0;
}

void session_routed(struct session *s, int64_t hub_ms) {
  s->now_ms = s->heard_ms = hub_ms;
  s->silent = false;
  drop_outputs(s);
  reset_line(s);
  s->state = SESSION_EXPECT_HELLO;
  s->greeted = false;
  s->line_bad_frames = 0;
}

void session_forget(struct session *s) {
  s->cost_count = 0;
  s->in_flight = s->group_cost = s->group_bytes = s->credit_told_group = 0;
  s->limit = TRB_CREDIT_BYTES;
  s->expected = s->stream.acked_sequence + 1;
  s->gap_told = 0;
}

static void welcome(struct session *s) {
  struct wire_message message = {.type = WIRE_welcome,
                                 .welcome = {.proto = TRB_PROTO_MAX,
                                             .hub_ms = s->now_ms,
                                             .site = trb_slice_str(s->site),
                                             .acked_sequence = s->stream.acked_sequence,
                                             .safe_sequence = s->stream.safe_sequence,
                                             .credit = TRB_CREDIT_BYTES,
                                             .keys = s->keyset}};
  memcpy(message.welcome.epoch, s->epoch, sizeof s->epoch);
  memcpy(message.welcome.acked_hash, s->stream.acked_hash, TRB_HASH_BYTES);
  s->safe_told = s->stream.safe_sequence;
  session_send(s, &message);
}

static void ask_snapshot(struct session *s) {
  s->snapshot_asked = true;
  s->down_asked_ms = s->now_ms;
  session_output(s, SESSION_SNAPSHOT);
}

static void start_down(struct session *s) {
  s->down_at_ms = s->now_ms;
  if (memcmp(s->down_epoch, s->epoch, sizeof s->epoch) != 0 || s->down_version == 0) {
    ask_snapshot(s);
    return;
  }
  s->down_sent = s->down_acked = s->down_version;
  if (s->down_max < s->down_sent) s->down_max = s->down_sent;
  s->down_due = true;
}

void session_attached(struct session *s, const struct session_stream *stream) {
  if (s->state != SESSION_ATTACHING) return; /* asked for on a line before */
  bool same = s->attached && memcmp(s->stream.incarnation, stream->incarnation, TRB_INCARNATION_BYTES) == 0;
  if (!same) s->seen_max = 0;
  s->stream = *stream;
  s->attached = true;
  if (s->seen_max < stream->acked_sequence) s->seen_max = stream->acked_sequence;
  session_forget(s);
  if (s->suspended) {
    s->state = SESSION_HELD;
    session_say_hold(s, TRB_HOLD_SUSPENDED, 0,
                     "headquarters has suspended this site: nothing is lost, it goes on when the suspension ends");
    return;
  }
  static const uint8_t none[TRB_INCARNATION_BYTES]; /* a branch that has no stream yet */
  if (memcmp(s->incarnation, stream->incarnation, sizeof none) != 0 || memcmp(s->incarnation, none, sizeof none) == 0) {
    s->state = SESSION_HELD;
    session_say_hold(s, TRB_HOLD_INCARNATION, 0, "this stream is not the site's current one: a new one is needed");
    return;
  }
  s->state = SESSION_STREAMING;
  s->hold_code = 0;
  welcome(s);
  start_down(s);
}

void session_suspend(struct session *s, bool suspended) {
  if (s->suspended == suspended) return;
  s->suspended = suspended;
  if (suspended && s->state > SESSION_ATTACHING) {
    s->state = SESSION_HELD;
    session_forget(s);
    drop_outputs(s);
    session_say_hold(s, TRB_HOLD_SUSPENDED, 0,
                     "headquarters has suspended this site: nothing is lost, it goes on when the suspension ends");
  } else if (!suspended && s->greeted && s->state == SESSION_HELD) {
    reset_line(s);
    s->state = SESSION_ATTACHING;
    session_output(s, SESSION_ATTACH);
  }
}

void session_keys(struct session *s, struct trb_slice keyset) {
  s->keyset = keyset;
  if (s->state >= SESSION_STREAMING && !s->suspended)
    session_send(s, &(struct wire_message){.type = WIRE_keys, .keys = {.keys = keyset}});
}

/* Questions without an answer are asked again; so is a window that is never acknowledged: a frame was lost (a peer that
 * did not read). */
static void check_down(struct session *s) {
  bool late = s->now_ms - s->down_asked_ms >= ASK_AGAIN_MS;
  if (s->snapshot_asked && late) ask_snapshot(s);
  if (s->down_rendering && late) {
    s->down_rendering = false;
    s->down_due = true;
  }
  if (!s->window_count || s->now_ms - s->down_at_ms < (int64_t)TRB_DOWN_STALL_MS << s->down_stalls) return;
  if (s->down_stalls < 6) s->down_stalls++;
  s->down_at_ms = s->now_ms;
  s->window_count = 0;
  s->down_sent = s->down_acked;
  s->down_rendering = false;
  s->down_due = true;
}

void session_tick(struct session *s, int64_t hub_ms) {
  s->now_ms = hub_ms;
  s->silent = s->state == SESSION_ABSENT || hub_ms - s->heard_ms >= TRB_SESSION_SILENCE_MS;
  if (s->state == SESSION_STREAMING && !s->silent) check_down(s);
}

/* --- the stream: answers of the writer --- */

void session_raise_limit(struct session *s) {
  uint64_t limit = TRB_CREDIT_BYTES + s->group_cost;
  if (limit > s->limit) s->limit = limit;
  if (s->group_cost >= s->credit_told_group + CREDIT_STEP) s->ack_due = true;
}

bool session_reserve(struct session *s) {
  if (s->cost_count < s->cost_cap) return true;
  size_t cap = s->cost_cap ? 2 * s->cost_cap : 64;
  uint64_t *costs = realloc(s->costs, cap * sizeof *costs);
  if (!costs) return false;
  s->costs = costs;
  s->cost_cap = cap;
  return true;
}

static void commit_in_order(struct session *s, uint64_t sequence, const uint8_t hash[TRB_HASH_BYTES]) {
  uint64_t count = sequence - s->stream.acked_sequence;
  size_t drop = count < s->cost_count ? (size_t)count : s->cost_count;
  uint64_t freed = 0;
  for (size_t i = 0; i < drop; i++) freed += s->costs[i];
  if (drop) memmove(s->costs, s->costs + drop, (s->cost_count - drop) * sizeof *s->costs);
  s->cost_count -= drop;
  s->in_flight -= freed;
  s->limit = s->limit > freed + TRB_CREDIT_BYTES ? s->limit - freed : TRB_CREDIT_BYTES;
  s->stream.acked_sequence = sequence;
  memcpy(s->stream.acked_hash, hash, TRB_HASH_BYTES);
  if (s->expected <= sequence) s->expected = sequence + 1;
  if (!s->cost_count) s->group_cost = s->group_bytes = s->credit_told_group = 0;
  session_raise_limit(s);
}

static void finish_old(struct session *s, uint64_t sequence) {
  for (size_t i = 0; i < s->old_count; i++) {
    if (s->olds[i].sequence != sequence) continue;
    s->old_cost -= s->olds[i].cost;
    s->olds[i] = s->olds[--s->old_count];
    return;
  }
}

/* In order of numbers, one each. */
static void keep_ack(struct session *s, uint64_t sequence, struct trb_slice ack) {
  struct waiting_ack **at = &s->acks;
  while (*at && (*at)->sequence < sequence) at = &(*at)->next;
  if (*at && (*at)->sequence == sequence) return;
  struct waiting_ack *waiting = malloc(sizeof *waiting + ack.len);
  if (!waiting) return; /* the branch sends the batch again */
  waiting->sequence = sequence;
  waiting->len = ack.len;
  if (ack.len) memcpy(waiting->data, ack.data, ack.len);
  waiting->next = *at;
  *at = waiting;
}

void session_committed(struct session *s, uint64_t sequence, const uint8_t hash[TRB_HASH_BYTES], struct trb_slice ack) {
  if (!s->attached || sequence > s->seen_max) return; /* of a stream before */
  if (sequence > s->stream.acked_sequence) {
    commit_in_order(s, sequence, hash);
    if (s->backlog) s->backlog--; /* the branch counts anew at its next PING */
  } else {
    finish_old(s, sequence);
  }
  if (s->state == SESSION_STREAMING && s->told_known && sequence > s->told && sequence <= s->seen)
    keep_ack(s, sequence, ack);
}

void session_held(struct session *s, enum trb_hold code, uint64_t sequence, const char *text) {
  if (s->state != SESSION_STREAMING) return;
  bool again = s->hold_code == (uint32_t)code && s->cost_count == 0; /* each batch behind the held one is refused too */
  finish_old(s, sequence);
  session_forget(s);
  if (again) return;
  if (code == TRB_HOLD_GAP) sequence = s->gap_told = s->expected;
  if (code != TRB_HOLD_GAP && code != TRB_HOLD_BUSY) s->state = SESSION_HELD;
  session_say_hold(s, code, sequence, text);
}

void session_safe(struct session *s, uint64_t safe_sequence) {
  s->stream.safe_sequence = safe_sequence;
  if (safe_sequence != s->safe_told) s->ack_due = true;
}

void session_stream(struct session *s, const struct session_stream *stream, bool granted, const char *text) {
  s->stream_asked = false;
  if (s->state < SESSION_STREAMING) return; /* the branch asks again after its next HELLO */
  if (!granted) {
    s->state = SESSION_HELD;
    session_say_hold(s, TRB_HOLD_CLONED, 0, text);
    return;
  }
  struct wire_message message = {.type = WIRE_stream_granted};
  memcpy(message.stream_granted.incarnation, stream->incarnation, TRB_INCARNATION_BYTES);
  memcpy(message.stream_granted.parent, s->incarnation, TRB_INCARNATION_BYTES);
  s->stream = *stream;
  s->seen_max = stream->acked_sequence;
  session_forget(s);
  reset_line(s);
  s->state = SESSION_HELD; /* until the HELLO of the new stream */
  session_send(s, &message);
}

void session_rotated(struct session *s, bool ok, const struct wire_rotate *rotate) {
  if (!ok) {
    session_say_fault(s, TRB_FAULT_MESSAGE, 0, "the new keys were not taken: they are in use, or were revoked");
    return;
  }
  memcpy(s->sign_public, rotate->sign_public, TRB_KEY_BYTES);
  struct wire_message message = {.type = WIRE_rotated};
  memcpy(message.rotated.curve_public, rotate->curve_public, TRB_KEY_BYTES);
  memcpy(message.rotated.sign_public, rotate->sign_public, TRB_KEY_BYTES);
  session_send(s, &message);
}

/* --- down --- */

void session_down_ready(struct session *s) { s->down_due = true; }

void session_snapshot_ready(struct session *s) {
  s->snapshot_asked = false;
  s->down_due = true;
}

void session_down(struct session *s, uint64_t after, uint64_t version, bool more, uint32_t flags,
                  struct trb_slice rows) {
  if (!s->down_rendering || after != s->down_sent) return; /* asked for on a line before */
  s->down_rendering = false;
  if ((!rows.len && !flags) || s->state != SESSION_STREAMING) return;
  struct wire_message message = {
      .type = WIRE_down, .down = {.after = after, .version = version, .flags = flags | (more ? 1u : 0u), .rows = rows}};
  memcpy(message.down.epoch, s->epoch, sizeof s->epoch);
  if (!s->window_count) s->down_at_ms = s->now_ms;
  s->down_sent = version;
  if (s->down_max < version) s->down_max = version;
  s->window[s->window_count++] = version;
  s->down_due |= more;
  session_send(s, &message);
}

static enum session_do next_down(struct session *s, struct session_action *ret) {
  if (s->state != SESSION_STREAMING || !s->down_due || s->down_rendering || s->snapshot_asked || s->silent ||
      s->window_count == TRB_DOWN_WINDOW)
    return SESSION_IDLE;
  s->down_due = false;
  s->down_rendering = true;
  s->down_asked_ms = s->now_ms;
  ret->version = s->down_sent;
  return SESSION_RENDER_DOWN;
}

/* --- acks --- */

static bool acks_waiting(struct session *s) {
  while (s->acks && s->acks->sequence <= s->told) {
    struct waiting_ack *ack = s->acks;
    s->acks = ack->next;
    free(ack);
  }
  return s->acks && s->acks->sequence == s->told + 1;
}

/* As many as fit, in order, into acks_out. */
static void gather_acks(struct session *s) {
  size_t count = 0, bytes = 0;
  struct waiting_ack *end = s->acks;
  for (uint64_t n = s->told + 1; end && end->sequence == n && count < TRB_ACKS_MAX; n++, end = end->next, count++) {
    if ((bytes += end->len + 5) > (128u << 10) && count) break; /* the field holds 256 KiB */
  }
  trb_buf_clear(&s->acks_out);
  mp_put_array(&s->acks_out, count);
  while (count--) {
    struct waiting_ack *ack = s->acks;
    s->acks = ack->next;
    mp_put_bin(&s->acks_out, trb_slice_of(ack->data, ack->len));
    s->told = ack->sequence;
    free(ack);
  }
}

static enum session_do next_ack(struct session *s, struct session_action *ret) {
  if (s->state != SESSION_STREAMING || !s->told_known || !(acks_waiting(s) || s->ack_due)) return SESSION_IDLE;
  gather_acks(s);
  s->ack_due = false;
  s->credit_told_group = s->group_cost;
  s->safe_told = s->stream.safe_sequence;
  struct wire_message message = {.type = WIRE_ack,
                                 .ack = {.sequence = s->told,
                                         .safe_sequence = s->stream.safe_sequence,
                                         .credit = TRB_CREDIT_BYTES + s->group_cost,
                                         .acks = trb_buf_slice(&s->acks_out)}};
  trb_buf_clear(&s->out);
  wire_encode(&message, &s->out);
  ret->bytes = trb_buf_slice(&s->out);
  return s->out.failed || s->acks_out.failed ? SESSION_IDLE : SESSION_SEND;
}

static enum session_do next_output(struct session *s, struct session_action *ret) {
  for (;;) {
    output_free(s->current);
    s->current = s->first;
    if (!s->current) return SESSION_IDLE;
    s->first = s->current->next;
    if (!s->first) s->last = NULL;
    s->output_count--;
    struct output *output = s->current;
    if (output->action.what == SESSION_IDLE || output->bytes.failed) continue; /* no memory: as if lost on the line */
    *ret = output->action;
    ret->bytes = trb_buf_slice(&output->bytes);
    ret->ack = trb_buf_slice(&output->ack);
    if (ret->what == SESSION_NEW_STREAM) ret->new_stream = &output->new_stream;
    if (ret->what == SESSION_ROTATE) ret->rotate = &output->rotate;
    return ret->what;
  }
}

enum session_do session_next(struct session *s, struct session_action *ret) {
  *ret = (struct session_action){.what = SESSION_IDLE};
  if (next_output(s, ret) != SESSION_IDLE) return ret->what;
  ret->what = next_ack(s, ret);
  if (ret->what == SESSION_IDLE) ret->what = next_down(s, ret);
  return ret->what;
}

/* --- status --- */

void session_status(const struct session *s, struct session_status *ret) {
  *ret = (struct session_status){.online = s->state > SESSION_EXPECT_HELLO && !s->silent,
                                 .heard_hub_ms = s->heard_ms,
                                 .acked_sequence = s->stream.acked_sequence,
                                 .in_flight_bytes = s->in_flight,
                                 .backlog = s->backlog,
                                 .down_sent_version = s->down_sent,
                                 .down_acked_version = s->down_acked,
                                 .bad_frames = s->bad_frames,
                                 .hold_code = s->hold_code,
                                 .clock_known = s->clock_known,
                                 .clock_skew_ms = s->clock_known ? s->clock.wall_ms - s->clock_hub_ms : 0};
  memcpy(ret->software, s->software, sizeof ret->software);
}
