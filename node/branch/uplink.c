/* uplink: see include/tributary/uplink.h. Here: life, timers and outputs; frames are in uplink_receive.c. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "tributary/mp.h"
#include "uplink_core.h"

enum { ROTATE_AGAIN_MS = 30000, STALLS_MAX = 6 };

static uint64_t splitmix64(uint64_t *state) {
  uint64_t z = *state += 0x9e3779b97f4a7c15u;
  z = (z ^ z >> 30) * 0xbf58476d1ce4e5b9u;
  z = (z ^ z >> 27) * 0x94d049bb133111ebu;
  return z ^ z >> 31;
}

int64_t uplink_backoff_ms(struct uplink *u, unsigned failures) {
  int64_t full = failures < 8 ? (int64_t)TRB_RETRY_MIN_MS << failures : TRB_RETRY_MAX_MS;
  if (full > TRB_RETRY_MAX_MS) full = TRB_RETRY_MAX_MS;
  return full / 2 + (int64_t)(splitmix64(&u->random) % (uint64_t)(full / 2 + 1));
}

int64_t uplink_allowance_ms(const struct uplink *u) { return (int64_t)(u->unacked / TRB_LINE_BYTES_PER_MS); }

/* --- life --- */

enum trb_status uplink_new(const uint8_t root_public[TRB_KEY_BYTES], uint64_t keyset_version, size_t endpoint_count,
                           const struct uplink_position *position, uint64_t jitter_seed, struct uplink **ret) {
  TRB_ASSERT(endpoint_count > 0);
  struct uplink *u = calloc(1, sizeof *u);
  if (!u) return TRB_NOMEM;
  memcpy(u->root_public, root_public, TRB_KEY_BYTES);
  u->keyset_version = keyset_version;
  u->endpoint_count = endpoint_count;
  u->random = jitter_seed;
  u->at = *position;
  u->safe = position->safe_sequence;
  u->base = position->acked_sequence;
  u->next = u->base + 1;
  u->acks.limit = ACKS_BYTES_MAX;
  u->retry_at = INT64_MIN; /* at the first tick */
  u->hello_boot_ms = -1;
  *ret = u;
  return TRB_OK;
}

void uplink_free(struct uplink **uplink_p) {
  struct uplink *u = *uplink_p;
  *uplink_p = NULL;
  if (!u) return;
  free(u->costs);
  struct trb_buf *bufs[] = {&u->batch, &u->acks, &u->acks_out, &u->keyset, &u->out};
  for (size_t i = 0; i < sizeof bufs / sizeof *bufs; i++) trb_buf_free(bufs[i]);
  for (size_t i = 0; i < DOWN_QUEUE_MAX; i++) trb_buf_free(&u->down[i]);
  trb_arena_free(&u->arena);
  free(u);
}

/* --- the line --- */

void uplink_note(struct uplink *u, uint32_t code, struct trb_slice text) {
  u->hold_code = code;
  snprintf(u->text, sizeof u->text, "%.*s", (int)(text.len < 400 ? text.len : 400),
           text.len ? (const char *)text.data : "");
}

void uplink_drop_line(struct uplink *u, bool tell, int64_t delay_ms) {
  if (u->line == LINE_UP && u->state == UPLINK_ONLINE && u->now.boot_ms - u->online_at >= TRB_SILENCE_MS)
    u->failures = 0;
  if (delay_ms < 0) delay_ms = uplink_backoff_ms(u, u->failures++);
  u->disconnect = tell && u->line != LINE_DOWN && !u->connect;
  if (u->state != UPLINK_ONLINE || u->failures > 1) u->endpoint = (u->endpoint + 1) % u->endpoint_count;
  u->line = LINE_DOWN;
  u->state = UPLINK_OFFLINE;
  u->retry_at = u->now.boot_ms + delay_ms;
  u->connect = u->send_hello = u->send_ping = u->send_down_ack = u->send_rotate = false;
  u->hello_boot_ms = -1;
  u->loading = u->batch_sequence = 0;
  if (!u->down_busy) u->down_count = 0; /* the hub sends again what was not acknowledged */
  if (u->down_count > 1) u->down_count = 1;
}

void uplink_hold(struct uplink *u, int64_t retry_ms) {
  u->state = UPLINK_HELD;
  u->retry_at = u->now.boot_ms + retry_ms;
}

static void say_hello(struct uplink *u) {
  u->state = UPLINK_EXPECT_WELCOME;
  u->send_hello = true;
  u->welcome_by = u->now.boot_ms + TRB_WELCOME_MS;
}

void uplink_connected(struct uplink *u, const struct trb_clock_reading *now) {
  u->now = *now;
  if (u->line != LINE_CONNECTING) return;
  u->line = LINE_UP;
  u->up_at = u->heard_at = now->boot_ms;
  u->ping_at = now->boot_ms + TRB_PING_IVL_MS;
  u->sent_max = 0;
  u->state = UPLINK_HELD;
  u->retry_at = INT64_MAX;
  if (!u->starting && !u->granted) say_hello(u); /* else when the new stream stands */
}

void uplink_disconnected(struct uplink *u, bool refused, const struct trb_clock_reading *now) {
  u->now = *now;
  if (u->line == LINE_DOWN) return;
  if (refused)
    uplink_note(u, 0,
                trb_slice_str("the hub does not let this node in: is it still enrolled, and are its keys right?"));
  uplink_drop_line(u, false, -1);
}

static void retry(struct uplink *u) {
  u->retry_at = INT64_MAX;
  if (u->hold_code == TRB_HOLD_BUSY) {
    u->state = UPLINK_ONLINE;
    uplink_rewind(u, u->base + 1);
  } else if (!u->want && !u->starting && !u->granted) {
    say_hello(u);
  }
}

/* Nothing acked for long although batches are on their way: some were lost. */
static void check_stall(struct uplink *u) {
  if (u->state != UPLINK_ONLINE || !u->cost_count || u->now.boot_ms < u->stall_at + uplink_allowance_ms(u)) return;
  if (u->stalls < STALLS_MAX) u->stalls++;
  uplink_rewind(u, u->base + 1);
}

void uplink_tick(struct uplink *u, const struct trb_clock_reading *now) {
  u->now = *now;
  int64_t t = now->boot_ms;
  if (u->line == LINE_DOWN) {
    if (t < u->retry_at) return;
    u->line = LINE_CONNECTING;
    u->connect = true;
    u->state = UPLINK_OFFLINE;
    u->welcome_by = t + TRB_WELCOME_MS;
    return;
  }
  bool waiting = u->line == LINE_CONNECTING || u->state == UPLINK_EXPECT_WELCOME;
  if (waiting && t >= u->welcome_by) {
    uplink_note(u, 0, trb_slice_str("the hub does not answer"));
    uplink_drop_line(u, true, -1);
    return;
  }
  if (u->line != LINE_UP) return;
  if (t >= u->heard_at + TRB_SILENCE_MS + uplink_allowance_ms(u)) {
    uplink_note(u, 0, trb_slice_str("the line went silent"));
    uplink_drop_line(u, true, -1);
    return;
  }
  if (u->state == UPLINK_HELD && t >= u->retry_at) retry(u);
  if (t >= u->ping_at && u->state != UPLINK_EXPECT_WELCOME) u->send_ping = true;
  if (u->rotating && t >= u->rotate_at) u->send_rotate = true;
  check_stall(u);
}

static void sooner(int64_t *deadline, int64_t t) {
  if (t < *deadline) *deadline = t;
}

int64_t uplink_deadline_ms(const struct uplink *u) {
  if (u->line == LINE_DOWN) return u->retry_at;
  int64_t deadline = INT64_MAX;
  if (u->line == LINE_CONNECTING || u->state == UPLINK_EXPECT_WELCOME) sooner(&deadline, u->welcome_by);
  if (u->line == LINE_CONNECTING) return deadline;
  sooner(&deadline, u->heard_at + TRB_SILENCE_MS + uplink_allowance_ms(u));
  if (u->state == UPLINK_HELD) sooner(&deadline, u->retry_at);
  if (u->state != UPLINK_EXPECT_WELCOME) sooner(&deadline, u->ping_at);
  if (u->rotating && u->state == UPLINK_ONLINE) sooner(&deadline, u->rotate_at);
  if (u->state == UPLINK_ONLINE && u->cost_count) sooner(&deadline, u->stall_at + uplink_allowance_ms(u));
  if (u->want && !u->starting && (u->state == UPLINK_ONLINE || u->state == UPLINK_HELD)) sooner(&deadline, u->ask_at);
  return deadline;
}

/* --- the stream up --- */

void uplink_restart_stall(struct uplink *u) { u->stall_at = u->now.boot_ms + ((int64_t)TRB_STALL_MS << u->stalls); }

void uplink_rewind(struct uplink *u, uint64_t sequence) {
  TRB_ASSERT(sequence > u->base);
  while (u->cost_count && u->base + u->cost_count >= sequence) u->unacked -= u->costs[--u->cost_count];
  u->next = u->base + u->cost_count + 1;
  u->loading = u->batch_sequence = 0;
  uplink_restart_stall(u);
}

void uplink_advance(struct uplink *u, uint64_t sequence) {
  uint64_t count = sequence - u->base;
  size_t drop = count < u->cost_count ? (size_t)count : u->cost_count;
  for (size_t i = 0; i < drop; i++) u->unacked -= u->costs[i];
  if (drop) memmove(u->costs, u->costs + drop, (u->cost_count - drop) * sizeof *u->costs);
  u->cost_count -= drop;
  u->base = sequence;
  if (u->next <= sequence) {
    u->next = sequence + 1;
    u->loading = u->batch_sequence = 0;
  }
  u->stalls = 0;
  uplink_restart_stall(u);
}

void uplink_sealed(struct uplink *u, uint64_t last_sequence, const uint8_t last_hash[TRB_HASH_BYTES]) {
  u->at.last_sequence = last_sequence;
  memcpy(u->at.last_hash, last_hash, TRB_HASH_BYTES);
}

/* The batch must be the one that the stream's position says, and follow what the hub holds. */
static bool batch_fits(struct uplink *u, uint64_t sequence, struct trb_slice sealed) {
  struct trb_batch_header header;
  uint8_t hash[TRB_HASH_BYTES];
  trb_arena_reset(&u->arena);
  if (!sealed.len || sealed.len > TRB_BATCH_BYTES_MAX || batch_peek(sealed, &u->arena, &header, hash, NULL) != TRB_OK ||
      header.sequence != sequence || memcmp(header.incarnation, u->at.incarnation, TRB_INCARNATION_BYTES) != 0) {
    uplink_want_stream(u, TRB_STREAM_OUTBOX_LOST);
    return false;
  }
  if (sequence == u->welcome_acked + 1 && memcmp(header.previous, u->welcome_hash, TRB_HASH_BYTES) != 0) {
    uplink_want_stream(u, TRB_STREAM_ROLLED_BACK);
    return false;
  }
  return true;
}

void uplink_loaded(struct uplink *u, uint64_t sequence, struct trb_slice sealed, struct trb_slice ack) {
  if (!u->loading || sequence != u->loading) return;
  u->loading = 0;
  if (!batch_fits(u, sequence, sealed)) return;
  struct wire_message message = {.type = WIRE_batch, .batch = {.sealed = sealed, .ack = ack}};
  trb_buf_clear(&u->batch);
  wire_encode(&message, &u->batch);
  if (u->batch.failed) { /* no memory: after a pause */
    uplink_drop_line(u, true, -1);
    return;
  }
  u->batch_sequence = sequence;
  u->batch_cost = wire_batch_cost(sealed.len);
}

static bool batch_due(const struct uplink *u) {
  return u->state == UPLINK_ONLINE && !u->want && u->next <= u->at.last_sequence;
}

static enum uplink_do next_batch(struct uplink *u, struct uplink_action *ret) {
  if (!batch_due(u) || u->loading) return UPLINK_IDLE;
  if (u->batch_sequence != u->next) {
    if (u->unacked + TRB_BATCH_BYTES_MAX > u->credit) return UPLINK_IDLE;
    u->loading = ret->sequence = u->next;
    return UPLINK_LOAD;
  }
  if (u->cost_count == u->cost_cap) {
    size_t cap = u->cost_cap ? 2 * u->cost_cap : 64;
    uint64_t *costs = realloc(u->costs, cap * sizeof *costs);
    if (!costs) return UPLINK_IDLE;
    u->costs = costs;
    u->cost_cap = cap;
  }
  u->costs[u->cost_count++] = u->batch_cost;
  u->unacked += u->batch_cost;
  if (u->cost_count == 1) uplink_restart_stall(u);
  if (u->next > u->sent_max) u->sent_max = u->next;
  ret->sequence = u->next++;
  u->batch_sequence = 0;
  ret->bytes = trb_buf_slice(&u->batch);
  return UPLINK_SEND;
}

void uplink_acks_stored(struct uplink *u, uint64_t sequence) {
  u->acks_busy = false;
  if (sequence > u->at.acked_sequence) u->at.acked_sequence = sequence;
}

static enum uplink_do next_acks(struct uplink *u, struct uplink_action *ret) {
  u->acks_due = false;
  u->acks_busy = true;
  u->at.safe_sequence = u->safe;
  ret->sequence = u->acks_sequence > u->at.acked_sequence || u->acks_count ? u->acks_sequence : u->at.acked_sequence;
  ret->safe = u->safe;
  trb_buf_clear(&u->acks_out);
  mp_put_array(&u->acks_out, u->acks_count);
  trb_buf_append_slice(&u->acks_out, trb_buf_slice(&u->acks));
  trb_buf_clear(&u->acks);
  u->acks_count = 0;
  ret->bytes = trb_buf_slice(&u->acks_out);
  return UPLINK_STORE_ACKS;
}

/* --- new streams, keys, down --- */

void uplink_want_stream(struct uplink *u, enum trb_stream_why why) {
  if (u->want || u->granted || u->starting) return;
  u->want = true;
  u->why = why;
  u->loading = u->batch_sequence = 0;
}

void uplink_stream_started(struct uplink *u, const struct uplink_position *position) {
  u->starting = false;
  u->at = *position;
  u->safe = position->safe_sequence;
  u->unacked = 0;
  u->cost_count = 0;
  u->base = position->acked_sequence;
  u->next = u->base + 1;
  u->sent_max = u->stalls = 0;
  u->loading = u->batch_sequence = 0;
  trb_buf_clear(&u->acks);
  u->acks_count = 0;
  u->acks_due = u->acks_busy = false;
  if (u->line == LINE_UP) say_hello(u);
}

void uplink_rotate(struct uplink *u, const struct wire_rotate *rotate) {
  u->rotate = *rotate;
  u->rotating = true;
  u->rotate_at = u->now.boot_ms;
  u->send_rotate = true;
}

void uplink_down_applied(struct uplink *u, const uint8_t epoch[16], uint64_t version) {
  memcpy(u->at.down_epoch, epoch, 16);
  u->at.down_version = version;
  u->send_down_ack = u->line == LINE_UP;
  if (!u->down_busy) return;
  u->down_busy = false;
  u->down_head = (u->down_head + 1) % DOWN_QUEUE_MAX;
  u->down_count -= u->down_count > 0;
}

/* A frame behind a gap is dropped: one before it was lost, the hub sends again. One that begins earlier than we are is
 * well. */
static bool down_fits(const struct uplink *u, const struct wire_down *down) {
  bool first_of_snapshot = down->flags & 2;
  if (memcmp(down->epoch, u->at.down_epoch, sizeof down->epoch) != 0) return first_of_snapshot;
  if (down->version <= u->at.down_version) return false; /* came before */
  return first_of_snapshot || down->after <= u->at.down_version;
}

static enum uplink_do next_down(struct uplink *u, struct uplink_action *ret) {
  while (u->down_count) {
    struct trb_slice frame = trb_buf_slice(&u->down[u->down_head]);
    if (wire_decode(frame, &u->down_message, NULL) == TRB_OK && down_fits(u, &u->down_message.down)) {
      u->down_busy = true;
      ret->down = &u->down_message.down;
      return UPLINK_APPLY_DOWN;
    }
    u->down_head = (u->down_head + 1) % DOWN_QUEUE_MAX;
    u->down_count--;
    u->send_down_ack = true; /* tells the hub where the replica is */
  }
  return UPLINK_IDLE;
}

/* --- outputs --- */

static void fill_hello(struct uplink *u, struct wire_message *message) {
  struct wire_hello *hello = &message->hello;
  message->type = WIRE_hello;
  *hello = (struct wire_hello){.proto_min = TRB_PROTO_MIN,
                               .proto_max = TRB_PROTO_MAX,
                               .software = trb_slice_str("tributary " TRB_VERSION),
                               .last_sequence = u->at.last_sequence,
                               .wall_ms = u->now.wall_ms,
                               .boot_ms = u->now.boot_ms,
                               .down_version = u->at.down_version};
  memcpy(hello->incarnation, u->at.incarnation, TRB_INCARNATION_BYTES);
  memcpy(hello->last_hash, u->at.last_hash, TRB_HASH_BYTES);
  memcpy(hello->boot_id, u->now.boot_id, TRB_BOOT_ID_BYTES);
  memcpy(hello->down_epoch, u->at.down_epoch, 16);
  u->hello_boot_ms = u->now.boot_ms;
}

static void fill_ping(struct uplink *u, struct wire_message *message) {
  message->type = WIRE_ping;
  message->ping = (struct wire_ping){.wall_ms = u->now.wall_ms,
                                     .boot_ms = u->now.boot_ms,
                                     .backlog = u->at.last_sequence > u->base ? u->at.last_sequence - u->base : 0};
  memcpy(message->ping.boot_id, u->now.boot_id, TRB_BOOT_ID_BYTES);
  u->ping_at = u->now.boot_ms + TRB_PING_IVL_MS;
}

static void fill_new_stream(struct uplink *u, struct wire_message *message) {
  message->type = WIRE_new_stream;
  message->new_stream = (struct wire_new_stream){.sequence = u->at.last_sequence, .why = u->why};
  memcpy(message->new_stream.parent, u->at.incarnation, TRB_INCARNATION_BYTES);
  memcpy(message->new_stream.hash, u->at.last_hash, TRB_HASH_BYTES);
  u->ask_at = u->now.boot_ms + TRB_HELD_MS;
  if (u->state == UPLINK_ONLINE) uplink_hold(u, TRB_HELD_MS);
}

static bool take(bool *flag) {
  bool was = *flag;
  *flag = false;
  return was;
}

/* The small frames, most urgent first. */
static bool fill_frame(struct uplink *u, struct wire_message *message) {
  bool settled = u->state == UPLINK_ONLINE || u->state == UPLINK_HELD;
  if (take(&u->send_hello)) {
    fill_hello(u, message);
  } else if (take(&u->send_ping)) {
    fill_ping(u, message);
  } else if (take(&u->send_down_ack)) {
    message->type = WIRE_down_ack;
    message->down_ack.version = u->at.down_version;
    memcpy(message->down_ack.epoch, u->at.down_epoch, 16);
  } else if (u->want && settled && u->now.boot_ms >= u->ask_at) {
    fill_new_stream(u, message);
  } else if (u->rotating && u->send_rotate && u->state == UPLINK_ONLINE) {
    u->send_rotate = false;
    u->rotate_at = u->now.boot_ms + ROTATE_AGAIN_MS;
    message->type = WIRE_rotate;
    message->rotate = u->rotate;
  } else {
    return false;
  }
  return true;
}

static enum uplink_do next_stored(struct uplink *u, struct uplink_action *ret) {
  if (take(&u->keyset_due)) {
    ret->bytes = trb_buf_slice(&u->keyset);
    return UPLINK_STORE_KEYS;
  }
  if (u->acks_due && !u->acks_busy) return next_acks(u, ret);
  if (u->granted && !u->acks_busy) {
    u->granted = false;
    u->starting = true;
    memcpy(ret->incarnation, u->granted_incarnation, TRB_INCARNATION_BYTES);
    return UPLINK_NEW_STREAM;
  }
  return take(&u->rotated_due) ? UPLINK_ROTATED : UPLINK_IDLE;
}

static enum uplink_do choose(struct uplink *u, struct uplink_action *ret) {
  if (take(&u->disconnect)) return UPLINK_DISCONNECT;
  enum uplink_do what = next_stored(u, ret);
  if (what != UPLINK_IDLE) return what;
  if (take(&u->connect)) {
    ret->sequence = u->endpoint;
    return UPLINK_CONNECT;
  }
  if (u->line == LINE_UP) {
    struct wire_message message = {.type = WIRE_NONE};
    if (fill_frame(u, &message)) {
      trb_buf_clear(&u->out);
      wire_encode(&message, &u->out);
      ret->bytes = trb_buf_slice(&u->out);
      return u->out.failed ? UPLINK_IDLE : UPLINK_SEND;
    }
  }
  if (!u->down_busy && (what = next_down(u, ret)) != UPLINK_IDLE) return what;
  if (u->line == LINE_UP && u->send_down_ack) return choose(u, ret); /* set by next_down just now: once */
  return u->line == LINE_UP ? next_batch(u, ret) : UPLINK_IDLE;
}

enum uplink_do uplink_next(struct uplink *u, struct uplink_action *ret) {
  *ret = (struct uplink_action){.what = UPLINK_IDLE};
  ret->what = choose(u, ret);
  return ret->what;
}

/* --- status --- */

void uplink_status(const struct uplink *u, struct uplink_status *ret) {
  bool away = u->refused_code && u->state != UPLINK_ONLINE && u->state != UPLINK_HELD; /* while it asks again too */
  *ret = (struct uplink_status){.state = away ? UPLINK_REFUSED : u->state,
                                .acked_sequence = u->at.acked_sequence,
                                .sent_sequence = u->next - 1,
                                .safe_sequence = u->safe,
                                .credit = u->credit,
                                .unacked_bytes = u->unacked,
                                .offset_measured = u->sample_count > 0,
                                .hold_code = u->hold_code,
                                .refused_code = u->refused_code,
                                .retry_at_boot_ms = u->retry_at,
                                .bad_frames = u->bad_frames};
  memcpy(ret->text, u->text, sizeof ret->text);
  int64_t best = INT64_MAX;
  for (size_t i = 0; i < u->sample_count; i++) {
    if (u->samples[i].round_trip_ms >= best) continue;
    best = u->samples[i].round_trip_ms;
    ret->hub_minus_boot_ms = u->samples[i].hub_minus_boot_ms;
  }
}
