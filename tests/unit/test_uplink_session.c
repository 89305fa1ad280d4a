/* Both cores of the line, connected in memory: a network that loses, doubles, delays, reorders and cuts, a branch and a
 * hub that crash, a hub that is full or restored from a backup, a branch restored from a copy. Time is virtual. A seed
 * replays exactly: TRB_SEED=n runs that one, TRB_SEEDS=n so many. */
// clang-format off
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>
// clang-format on
#include "line_kit.h"
#include "tributary/session.h"
#include "tributary/uplink.h"

enum {
  INCARNATIONS_MAX = 24,
  BATCHES = 24,  /* that the branch seals in each incarnation */
  VERSIONS = 40, /* down */
  FRAMES_MAX = 4096,
  FAULTS_MS = 400000,
  HEALED_MS = 40000000, /* eleven hours: stall timers double */
};

static struct line_kit kit;

/* Batches of all incarnations, sealed once for all seeds. Variant 1: what a restored copy seals instead. */
struct sealed {
  struct trb_buf bytes;
  uint8_t hash[TRB_HASH_BYTES];
  uint32_t flags;
};
static struct sealed library[INCARNATIONS_MAX + 1][2][BATCHES + 1];

static void fill_library(void) {
  for (int i = 1; i <= INCARNATIONS_MAX; i++)
    for (int v = 0; v < 2; v++)
      for (uint64_t n = 1; n <= BATCHES; n++) {
        struct sealed *b = &library[i][v][n];
        b->flags = (n + (uint64_t)i) % 5 < 2 ? TRB_BATCH_CONTINUES : 0;
        if (n == BATCHES) b->flags = 0;
        /* variant 1 leaves the chain in the middle */
        const uint8_t *previous = n == 1 ? (const uint8_t[TRB_HASH_BYTES]){0} : library[i][v][n - 1].hash;
        kit_batch(&kit, "shanghai", (uint8_t)i, n, previous, b->flags, v && n > BATCHES / 2 ? 11 : 10, &b->bytes,
                  b->hash);
      }
}

enum frame_kind { TO_HUB, TO_BRANCH };
struct frame {
  int64_t at;
  uint64_t order;
  enum frame_kind kind;
  unsigned line;
  uint8_t *data;
  size_t len;
};
struct queued { /* at the hub's writer */
  int64_t at;
  uint64_t sequence;
  struct trb_buf bytes;
  uint64_t render;
  enum session_do what;
  uint64_t parent_sequence;
};

struct world {
  uint64_t seed, random, order;
  int64_t now;
  bool faults, trace;
  unsigned line;      /* number of the connection that lives; 0: none */
  unsigned lines;     /* ever */
  bool session_lives; /* on this line */
  struct frame frames[FRAMES_MAX];
  size_t frame_count;
  struct queued queue[256];
  size_t queue_count;

  /* the branch's files */
  struct uplink *uplink;
  int incarnation, variant;
  uint64_t sealed, acked, safe;
  char acks[INCARNATIONS_MAX + 1][BATCHES + 1][64];
  uint8_t down_epoch;
  uint64_t down_version;
  bool down_have[VERSIONS + 1];
  int64_t connect_at;
  bool connecting;

  /* the hub's files */
  struct session *session;
  uint8_t epoch;
  int hub_incarnation, incarnations;
  uint64_t committed[INCARNATIONS_MAX + 1];
  uint8_t hashes[INCARNATIONS_MAX + 1][BATCHES + 1][TRB_HASH_BYTES];
  uint64_t group_end; /* last of the group that is not whole */
  uint8_t group_hashes[BATCHES + 1][TRB_HASH_BYTES];
  uint64_t hub_version, hub_safe, down_cleared;
  uint64_t commits, acks_stored, restores, snapshot_from;
};

static uint64_t roll(struct world *w, uint64_t below) {
  uint64_t z = w->random += 0x9e3779b97f4a7c15u;
  z = (z ^ z >> 30) * 0xbf58476d1ce4e5b9u;
  z = (z ^ z >> 27) * 0x94d049bb133111ebu;
  return (z ^ z >> 31) % below;
}
static bool chance(struct world *w, uint64_t percent) { return w->faults && roll(w, 100) < percent; }

#define CHECK(w, x) check((w), (x), #x, __LINE__)
static void check(struct world *w, bool ok, const char *what, int line) {
  if (ok) return;
  fail_msg("seed %llu at %lld ms: %s (line %d)", (unsigned long long)w->seed, (long long)w->now, what, line);
}
#define TRACE(w, ...)                        \
  do {                                       \
    if ((w)->trace) {                        \
      printf("%8lld ", (long long)(w)->now); \
      printf(__VA_ARGS__);                   \
      printf("\n");                          \
    }                                        \
  } while (0)

static struct trb_clock_reading reading(const struct world *w) {
  struct trb_clock_reading r = {.wall_ms = 1700000000000 + w->now, .boot_ms = w->now + 1000};
  r.boot_id[0] = 1;
  return r;
}

/* --- network --- */

static void send_frame(struct world *w, enum frame_kind kind, struct trb_slice bytes) {
  if (!w->line || chance(w, 4)) return;
  for (int copies = chance(w, 4) ? 2 : 1; copies > 0 && w->frame_count < FRAMES_MAX; copies--) {
    int64_t delay = w->faults ? (int64_t)roll(w, roll(w, 10) ? 100 : 5000) : 20;
    struct frame *f = &w->frames[w->frame_count++];
    *f = (struct frame){.at = w->now + delay, .order = w->order++, .kind = kind, .line = w->line, .len = bytes.len};
    f->data = malloc(bytes.len + 1);
    memcpy(f->data, bytes.data, bytes.len);
  }
}

static void cut(struct world *w) {
  if (!w->line) return;
  TRACE(w, "cut");
  w->line = 0;
  w->session_lives = false;
}

/* --- the hub's shell --- */

static struct session_stream hub_stream(const struct world *w) {
  struct session_stream stream = {.acked_sequence = w->committed[w->hub_incarnation], .safe_sequence = w->hub_safe};
  memset(stream.incarnation, w->hub_incarnation, TRB_INCARNATION_BYTES);
  if (stream.acked_sequence)
    memcpy(stream.acked_hash, w->hashes[w->hub_incarnation][stream.acked_sequence], TRB_HASH_BYTES);
  return stream;
}

static void hub_start(struct world *w) {
  struct session_config config = {.site = "shanghai", .keyset = trb_buf_slice(&kit.keyset)};
  memset(config.epoch, w->epoch, sizeof config.epoch);
  memcpy(config.sign_public, crypto_signer_public(kit.site), TRB_KEY_BYTES);
  assert_int_equal(session_new(&config, &w->session), TRB_OK);
}

static void queue_drop(struct world *w) {
  for (size_t i = 0; i < w->queue_count; i++) trb_buf_free(&w->queue[i].bytes);
  w->queue_count = 0;
  w->group_end = 0;
}

static void queue_add(struct world *w, const struct session_action *action) {
  if (w->queue_count == sizeof w->queue / sizeof *w->queue) return;
  int64_t last = w->queue_count ? w->queue[w->queue_count - 1].at : w->now;
  struct queued *q = &w->queue[w->queue_count++];
  int64_t delay = w->faults ? (int64_t)roll(w, roll(w, 20) ? 50 : 20000) : 5;
  *q = (struct queued){.at = (last > w->now ? last : w->now) + delay,
                       .what = action->what,
                       .sequence = action->sequence,
                       .render = action->version};
  trb_buf_append_slice(&q->bytes, action->bytes);
  if (action->new_stream) q->parent_sequence = action->new_stream->sequence;
}

static void hub_drain(struct world *w) {
  struct session_action action;
  while (session_next(w->session, &action) != SESSION_IDLE) {
    if (action.what == SESSION_SEND) {
      if (w->session_lives) send_frame(w, TO_BRANCH, action.bytes);
    } else if (action.what == SESSION_CLEAR_DOWN) {
      CHECK(w, action.version <= w->hub_version);
      w->down_cleared = action.version;
    } else {
      queue_add(w, &action);
    }
  }
}

static void hub_commit_one(struct world *w, uint64_t n, const uint8_t hash[TRB_HASH_BYTES]) {
  CHECK(w, n == w->committed[w->hub_incarnation] + 1);
  w->committed[w->hub_incarnation] = n;
  memcpy(w->hashes[w->hub_incarnation][n], hash, TRB_HASH_BYTES);
  w->commits++;
}

static void hub_tell(struct world *w, uint64_t n) {
  char ack[64];
  const uint8_t *hash = w->hashes[w->hub_incarnation][n];
  kit_ack((uint8_t)w->hub_incarnation, n, hash, ack);
  session_committed(w->session, n, hash, trb_slice_str(ack));
}

/* What apply does with a batch in its queue. */
static void hub_write(struct world *w, struct trb_slice sealed) {
  TRB_ARENA_AUTO arena = {0};
  struct trb_batch_header header;
  uint8_t hash[TRB_HASH_BYTES];
  CHECK(w, batch_peek(sealed, &arena, &header, hash, NULL) == TRB_OK);
  uint64_t *committed = &w->committed[w->hub_incarnation], n = header.sequence;
  if (header.incarnation[0] != w->hub_incarnation) return; /* of before a grant: nothing to say */
  if (chance(w, 3)) {
    w->group_end = 0;
    session_held(w->session, TRB_HOLD_BUSY, n, "磁盘已满");
    return;
  }
  if (n <= *committed) {
    if (memcmp(w->hashes[w->hub_incarnation][n], hash, TRB_HASH_BYTES) == 0)
      hub_tell(w, n);
    else
      session_held(w->session, TRB_HOLD_FORK, n, "fork");
    return;
  }
  uint64_t expected = (w->group_end > *committed ? w->group_end : *committed) + 1;
  if (n < expected) expected = n; /* sent again after a hold */
  if (n > expected) {
    session_held(w->session, TRB_HOLD_GAP, *committed + 1, "");
    return;
  }
  const uint8_t *before = n == 1                ? (const uint8_t[TRB_HASH_BYTES]){0}
                          : n - 1 == *committed ? w->hashes[w->hub_incarnation][n - 1]
                                                : w->group_hashes[n - 1];
  if (memcmp(header.previous, before, TRB_HASH_BYTES) != 0) {
    w->group_end = 0;
    session_held(w->session, TRB_HOLD_BAD_BATCH, n, "does not follow");
    return;
  }
  memcpy(w->group_hashes[n], hash, TRB_HASH_BYTES);
  w->group_end = n;
  if (header.flags & TRB_BATCH_CONTINUES) return;
  uint64_t first = *committed + 1;
  for (uint64_t i = first; i <= n; i++) hub_commit_one(w, i, w->group_hashes[i]);
  TRACE(w, "hub commits %llu..%llu of %d", (unsigned long long)first, (unsigned long long)n, w->hub_incarnation);
  w->group_end = 0;
  if (w->hub_safe < n && roll(w, 3) == 0) w->hub_safe = n / 2;
  for (uint64_t i = first; i <= n; i++) hub_tell(w, i);
}

static void hub_down(struct world *w, uint64_t after) {
  if (after >= w->hub_version) {
    session_down(w->session, after, after, false, 0, trb_slice_of(NULL, 0));
    return;
  }
  uint64_t to = after + 1 + roll(w, 4);
  if (to > w->hub_version) to = w->hub_version;
  uint8_t rows[2] = {(uint8_t)after, (uint8_t)to};
  uint32_t flags = (after == 0 ? 2 : 0) | (to == w->hub_version ? 4 : 0);
  session_down(w->session, after, to, to < w->hub_version, flags, trb_slice_of(rows, sizeof rows));
}

static void hub_answer(struct world *w) {
  struct queued q = w->queue[0];
  memmove(w->queue, w->queue + 1, --w->queue_count * sizeof *w->queue);
  struct session_stream stream;
  switch (q.what) {
    case SESSION_ATTACH:
      stream = hub_stream(w);
      session_attached(w->session, &stream);
      break;
    case SESSION_VERIFY: hub_write(w, trb_buf_slice(&q.bytes)); break;
    case SESSION_RENDER_DOWN: hub_down(w, q.render); break;
    case SESSION_SNAPSHOT: session_snapshot_ready(w->session); break;
    case SESSION_NEW_STREAM:
      CHECK(w, w->incarnations < INCARNATIONS_MAX);
      w->hub_incarnation = ++w->incarnations;
      w->group_end = 0;
      w->hub_safe = 0;
      TRACE(w, "hub grants %d", w->hub_incarnation);
      stream = hub_stream(w);
      session_stream(w->session, &stream, true, NULL);
      break;
    default: break;
  }
  trb_buf_free(&q.bytes);
}

/* --- the branch's shell --- */

static struct uplink_position branch_position(const struct world *w) {
  struct uplink_position position = {.last_sequence = w->sealed,
                                     .acked_sequence = w->acked,
                                     .safe_sequence = w->safe,
                                     .down_version = w->down_version};
  memset(position.incarnation, w->incarnation, TRB_INCARNATION_BYTES);
  memset(position.down_epoch, w->down_epoch, sizeof position.down_epoch);
  if (w->sealed) memcpy(position.last_hash, library[w->incarnation][w->variant][w->sealed].hash, TRB_HASH_BYTES);
  return position;
}

static void branch_start(struct world *w) {
  struct uplink_position position = branch_position(w);
  assert_int_equal(uplink_new(crypto_signer_public(kit.root), 1, 2, &position, w->seed, &w->uplink), TRB_OK);
  struct trb_clock_reading now = reading(w);
  uplink_tick(w->uplink, &now);
}

static void branch_store_acks(struct world *w, const struct uplink_action *action) {
  struct mp_reader r = mp_reader(action->bytes);
  size_t count = mp_get_array(&r);
  CHECK(w, action->sequence <= w->sealed && action->sequence >= count);
  for (size_t i = 0; i < count; i++) {
    uint64_t n = action->sequence - count + 1 + i;
    struct trb_slice ack = mp_get_bin(&r);
    char want[64];
    kit_ack((uint8_t)w->incarnation, n, library[w->incarnation][w->variant][n].hash, want);
    CHECK(w, trb_slice_equal(ack, trb_slice_str(want)));
    CHECK(w, n <= w->committed[w->incarnation] || w->restores); /* never before the commit */
    memcpy(w->acks[w->incarnation][n], want, sizeof want);
    w->acks_stored++;
  }
  CHECK(w, !r.failed && mp_at_end(&r));
  if (action->sequence > w->acked) w->acked = action->sequence;
  w->safe = action->safe;
  uplink_acks_stored(w->uplink, action->sequence);
}

static void branch_apply(struct world *w, const struct wire_down *down) {
  CHECK(w, down->rows.len == 2);
  uint64_t from = down->rows.data[0], to = down->rows.data[1];
  bool first = down->flags & 2;
  if (first) memset(w->down_have, 0, sizeof w->down_have);
  CHECK(w, first || (down->epoch[0] == w->down_epoch && from <= w->down_version));
  for (uint64_t v = from + 1; v <= to; v++) w->down_have[v] = true;
  w->down_epoch = down->epoch[0];
  w->down_version = down->version;
  CHECK(w, to == down->version);
  for (uint64_t v = 1; v <= to; v++) CHECK(w, w->down_have[v]); /* no holes */
  uplink_down_applied(w->uplink, down->epoch, down->version);
}

static void branch_new_stream(struct world *w, const struct uplink_action *action) {
  w->incarnation = action->incarnation[0];
  w->variant = 0;
  w->sealed = 1 + roll(w, 5);
  while (library[w->incarnation][0][w->sealed].flags) w->sealed++;
  w->acked = w->safe = 0;
  TRACE(w, "branch takes %d", w->incarnation);
  struct uplink_position position = branch_position(w);
  uplink_stream_started(w->uplink, &position);
}

static void branch_drain(struct world *w) {
  struct uplink_action action;
  static const struct trb_slice none;
  while (uplink_next(w->uplink, &action) != UPLINK_IDLE) switch (action.what) {
      case UPLINK_CONNECT:
        CHECK(w, action.sequence < 2);
        w->connecting = true;
        w->connect_at = w->now + (w->faults ? (int64_t)roll(w, 300) : 10);
        break;
      case UPLINK_DISCONNECT:
        w->connecting = false;
        cut(w);
        break;
      case UPLINK_SEND: send_frame(w, TO_HUB, action.bytes); break;
      case UPLINK_LOAD: {
        CHECK(w, action.sequence >= 1 && action.sequence <= w->sealed);
        const struct sealed *b = &library[w->incarnation][w->variant][action.sequence];
        const char *ack = w->acks[w->incarnation][action.sequence];
        uplink_loaded(w->uplink, action.sequence, trb_buf_slice(&b->bytes), *ack ? trb_slice_str(ack) : none);
        break;
      }
      case UPLINK_STORE_ACKS: branch_store_acks(w, &action); break;
      case UPLINK_APPLY_DOWN: branch_apply(w, action.down); break;
      case UPLINK_NEW_STREAM: branch_new_stream(w, &action); break;
      default: CHECK(w, false);
    }
}

static void branch_seal(struct world *w) {
  if (!w->incarnation || w->sealed == BATCHES) return;
  do w->sealed++;
  while (library[w->incarnation][w->variant][w->sealed].flags);
  uplink_sealed(w->uplink, w->sealed, library[w->incarnation][w->variant][w->sealed].hash);
}

/* --- faults --- */

static void branch_crash(struct world *w) {
  TRACE(w, "branch crashes");
  uplink_free(&w->uplink);
  cut(w);
  w->connecting = false;
  branch_start(w);
}

static void hub_crash(struct world *w) {
  TRACE(w, "hub crashes");
  session_free(&w->session);
  queue_drop(w);
  cut(w);
  hub_start(w);
}

/* The hub comes back from a backup; the branch has kept everything above `safe`. */
static void hub_restore(struct world *w) {
  uint64_t kept = w->hub_safe + roll(w, w->committed[w->hub_incarnation] - w->hub_safe + 1);
  while (kept && library[w->hub_incarnation][0][kept].flags) kept--; /* groups are one commit */
  if (kept < w->hub_safe) return;
  TRACE(w, "hub restored to %llu", (unsigned long long)kept);
  w->committed[w->hub_incarnation] = kept;
  w->epoch++;
  w->hub_version = 1 + roll(w, w->hub_version);
  w->restores++;
  hub_crash(w);
}

/* The branch comes back from a copy of its files and goes on with other rows. */
static void branch_restore(struct world *w) {
  if (!w->incarnation || w->sealed <= BATCHES / 2) return;
  TRACE(w, "branch restored from a copy");
  w->sealed = BATCHES / 2;
  while (w->sealed && library[w->incarnation][0][w->sealed].flags) w->sealed--;
  if (w->acked > w->sealed) w->acked = w->sealed;
  if (w->safe > w->sealed) w->safe = w->sealed;
  for (uint64_t n = w->sealed + 1; n <= BATCHES; n++) w->acks[w->incarnation][n][0] = 0;
  w->variant = 1;
  branch_crash(w);
}

static void some_fault(struct world *w) {
  uint64_t what = roll(w, 1000);
  if (what < 30) {
    cut(w); /* the hub notices by its silence, the branch is told or not */
    struct trb_clock_reading now = reading(w);
    if (roll(w, 2)) uplink_disconnected(w->uplink, roll(w, 4) == 0, &now);
  } else if (what < 40) {
    branch_crash(w);
  } else if (what < 50) {
    hub_crash(w);
  } else if (what < 53 && w->hub_incarnation) {
    hub_restore(w);
  } else if (what < 55) {
    branch_restore(w);
  } else if (what < 60) {
    session_suspend(w->session, true);
  } else if (what < 100) {
    session_suspend(w->session, false);
  } else if (what < 300) {
    branch_seal(w);
  } else if (what < 400 && w->hub_version < VERSIONS) {
    w->hub_version++;
    session_down_ready(w->session);
  }
}

/* --- the run --- */

static void connect_now(struct world *w) {
  struct trb_clock_reading now = reading(w);
  w->connecting = false;
  if (chance(w, 20)) {
    uplink_disconnected(w->uplink, false, &now);
    return;
  }
  w->line = ++w->lines;
  w->session_lives = false; /* until its first frame comes */
  uplink_connected(w->uplink, &now);
}

static void deliver(struct world *w, size_t index) {
  struct frame f = w->frames[index];
  w->frames[index] = w->frames[--w->frame_count];
  struct trb_clock_reading now = reading(w);
  if (f.line == w->line) {
    struct trb_slice bytes = trb_slice_of(f.data, f.len);
    if (w->trace) {
      struct wire_message message;
      wire_decode(bytes, &message, NULL);
      TRACE(w, "%s %s", f.kind == TO_HUB ? "-->" : "<--", wire_name(message.type));
    }
    if (f.kind == TO_HUB) {
      if (!w->session_lives) session_routed(w->session, w->now);
      w->session_lives = true;
      session_receive(w->session, bytes, w->now);
    } else {
      uplink_receive(w->uplink, bytes, &now);
    }
  }
  free(f.data);
}

static void sooner(int64_t *next, int64_t at) {
  if (at < *next) *next = at;
}

/* Moves to the next moment at which something happens, and does it. */
static void step(struct world *w) {
  int64_t next = w->now + (w->faults ? 500 : 10000), deadline = uplink_deadline_ms(w->uplink);
  if (deadline < next + 1000) sooner(&next, deadline < 0 ? w->now : deadline - 1000);
  if (w->connecting) sooner(&next, w->connect_at);
  if (w->queue_count) sooner(&next, w->queue[0].at);
  size_t first = FRAMES_MAX;
  for (size_t i = 0; i < w->frame_count; i++) {
    const struct frame *f = &w->frames[i], *best = first < FRAMES_MAX ? &w->frames[first] : NULL;
    if (!best || f->at < best->at || (f->at == best->at && f->order < best->order)) first = i;
  }
  if (first < FRAMES_MAX) sooner(&next, w->frames[first].at);
  if (next > w->now) w->now = next;
  struct trb_clock_reading now = reading(w);
  if (w->connecting && w->connect_at <= w->now) connect_now(w);
  if (first < FRAMES_MAX && w->frames[first].at <= w->now) deliver(w, first);
  if (w->queue_count && w->queue[0].at <= w->now) hub_answer(w);
  uplink_tick(w->uplink, &now);
  session_tick(w->session, w->now);
  if (w->faults && roll(w, 4) == 0) some_fault(w);
  branch_drain(w);
  hub_drain(w);
}

static bool settled(const struct world *w) {
  if (w->incarnation == 0 || w->incarnation != w->hub_incarnation) return false;
  if (w->acked != w->sealed || w->committed[w->incarnation] != w->sealed) return false;
  for (uint64_t n = 1; n <= w->sealed; n++)
    if (!w->acks[w->incarnation][n][0]) return false;
  return w->down_epoch == w->epoch && w->down_version == w->hub_version;
}

static void run(uint64_t seed, bool trace) {
  static struct world w;
  w = (struct world){.seed = seed, .random = seed, .faults = true, .trace = trace, .epoch = 1, .hub_version = 5};
  hub_start(&w);
  branch_start(&w);
  while (w.now < FAULTS_MS && w.incarnations < INCARNATIONS_MAX - 6) step(&w);
  w.faults = false;
  TRACE(&w, "healed");
  session_suspend(w.session, false);
  /* what a copy lost is known by its hashes: the same rows sealed anew are the same bytes here */
  for (int64_t end = w.now + HEALED_MS; w.now < end && !settled(&w);) step(&w);
  if (!settled(&w)) {
    struct uplink_status u;
    uplink_status(w.uplink, &u);
    fail_msg(
        "seed %llu never settles: incarnation %d/%d sealed %llu acked %llu committed %llu down %u:%llu/%u:%llu state "
        "%d hold %u %s",
        (unsigned long long)seed, w.incarnation, w.hub_incarnation, (unsigned long long)w.sealed,
        (unsigned long long)w.acked, (unsigned long long)w.committed[w.incarnation], w.down_epoch,
        (unsigned long long)w.down_version, w.epoch, (unsigned long long)w.hub_version, u.state, u.hold_code, u.text);
  }
  for (size_t i = 0; i < w.frame_count; i++) free(w.frames[i].data);
  queue_drop(&w);
  uplink_free(&w.uplink);
  session_free(&w.session);
}

static void cores_commit_once_in_order_and_converge_whatever_the_network_does(void **state) {
  (void)state;
  const char *one = getenv("TRB_SEED"), *many = getenv("TRB_SEEDS");
  if (one) {
    run(strtoull(one, NULL, 10), true);
    return;
  }
  uint64_t count = many ? strtoull(many, NULL, 10) : 3000;
  for (uint64_t seed = 1; seed <= count; seed++) run(seed, false);
}

static int setup(void **state) {
  (void)state;
  kit_init(&kit);
  fill_library();
  return 0;
}
static int teardown(void **state) {
  (void)state;
  for (int i = 1; i <= INCARNATIONS_MAX; i++)
    for (int v = 0; v < 2; v++)
      for (int n = 1; n <= BATCHES; n++) trb_buf_free(&library[i][v][n].bytes);
  kit_done(&kit);
  return 0;
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(cores_commit_once_in_order_and_converge_whatever_the_network_does),
  };
  return cmocka_run_group_tests(tests, setup, teardown);
}
