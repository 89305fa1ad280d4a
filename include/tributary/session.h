/* session: the hub's side of one site's session, a pure core (same rules as uplink.h). Owned by the net thread; the
 * shell is node/hub/net.c. One object a site, kept across reconnects while the site is enrolled.
 *
 * States: ABSENT (no live route) -> EXPECT_HELLO -> ATTACHING (waits for the stream's position from the writer) ->
 * STREAMING; SUSPENDED. Credit: a branch may have TRB_CREDIT_BYTES unacknowledged (wire_batch_cost), plus all of a
 * group of 'continues' batches that is not yet whole, since that can be committed only as a whole: the session raises
 * the credit as the group comes in. So at most TRB_CREDIT_BYTES + TRB_GROUP_BYTES_MAX of one site wait in workers and
 * writer.
 *
 * An old number (<= acked) is given to VERIFY as well: the writer compares its hash and answers session_committed with
 * the stored ack, or session_held(FORK). Acks leave in the order of their numbers, and only for numbers received on
 * this connection.
 *
 * The writer's answers must arrive in the order of its decisions (one queue), so that nothing of an old incarnation
 * follows a grant.
 *
 * Invariant: ACK is emitted only from session_committed, which the shell calls only after the writer's commit
 * (synchronous=FULL). A batch out of order, over credit, of another site or incarnation never reaches the workers. */
#ifndef TRIBUTARY_SESSION_H
#define TRIBUTARY_SESSION_H

#include "tributary/token.h"
#include "tributary/wire.h"

enum session_do {
  SESSION_IDLE = 0,
  SESSION_SEND,   /* `bytes` one frame for the site's latest route */
  SESSION_ATTACH, /* ask the writer for the stream's position; answer with session_attached */
  SESSION_VERIFY, /* `bytes` is a sealed batch in order (`sequence`), `ack` what the branch sent along: to a worker */
  SESSION_RENDER_DOWN, /* render down rows above `version`; answer with session_down */
  SESSION_CLEAR_DOWN,  /* the site holds everything up to `version` */
  SESSION_SNAPSHOT,    /* epoch unknown or replica lost: enqueue everything for the site, then session_snapshot_ready */
  SESSION_NEW_STREAM,  /* `new_stream`: ask the writer; answer with session_stream */
  SESSION_ROTATE, /* `rotate`, signatures already checked by the core: ask the writer; answer with session_rotated */
};
struct session_action {
  enum session_do what;
  uint64_t sequence, version;
  struct trb_slice bytes, ack;    /* borrowed until the next call */
  struct trb_clock_reading clock; /* VERIFY: the branch's reading and the hub time it belongs to, for clock_correct */
  int64_t clock_hub_ms;
  const struct wire_new_stream *new_stream;
  const struct wire_rotate *rotate;
};

struct session_stream { /* the hub's end of the site's current stream */
  uint8_t incarnation[TRB_INCARNATION_BYTES];
  uint64_t acked_sequence;
  uint8_t acked_hash[TRB_HASH_BYTES];
  uint64_t safe_sequence;
};
struct session_config {
  char site[TRB_SITE_BYTES_MAX + 1];
  uint8_t epoch[16];
  uint8_t sign_public[TRB_KEY_BYTES]; /* the site's */
  struct trb_slice keyset;            /* sealed, borrowed for the session's life (replace with session_keys) */
};

struct session; /* opaque */
enum trb_status session_new(const struct session_config *config, struct session **ret);
void session_free(struct session **session_p);

/* A new route means a new connection: the session starts over at EXPECT_HELLO. */
void session_routed(struct session *s, int64_t hub_ms);
void session_receive(struct session *s, struct trb_slice frame, int64_t hub_ms);
void session_attached(struct session *s, const struct session_stream *stream);
/* After the commit that covers `sequence`; once a batch, also of a group. ack: sealed ack bytes of that batch. */
void session_committed(struct session *s, uint64_t sequence, const uint8_t hash[TRB_HASH_BYTES], struct trb_slice ack);
/* The batch was not taken and none after it will be: everything uncommitted is forgotten and the stream stands still
 * with this hold. The branch sends again from acked+1 after GAP (at once) or BUSY; the other codes need a HELLO or a
 * new stream. */
void session_held(struct session *s, enum trb_hold code, uint64_t sequence, const char *text);
void session_safe(struct session *s, uint64_t safe_sequence);
void session_down_ready(struct session *s);     /* there are entries for the site */
void session_snapshot_ready(struct session *s); /* SNAPSHOT is done: only now something is rendered */
/* after: the `version` of the RENDER_DOWN that this answers; rows: what follows it. Rows and flags both empty: nothing
 * above (then session_down_ready when there is). */
void session_down(struct session *s, uint64_t after, uint64_t version, bool more, uint32_t flags,
                  struct trb_slice rows);
/* Not granted: the branch is told `text` and asks again in a minute. Granted: it starts over with HELLO. */
void session_stream(struct session *s, const struct session_stream *stream, bool granted, const char *text);
void session_rotated(struct session *s, bool ok, const struct wire_rotate *rotate);
void session_suspend(struct session *s, bool suspended);
void session_keys(struct session *s, struct trb_slice keyset); /* pushes KEYS */
void session_tick(struct session *s, int64_t hub_ms);

enum session_do session_next(struct session *s, struct session_action *ret);

struct session_status {
  bool online;
  int64_t heard_hub_ms;
  uint64_t acked_sequence, in_flight_bytes, backlog, down_sent_version, down_acked_version, bad_frames;
  uint32_t hold_code;
  bool clock_known;
  int64_t clock_skew_ms; /* branch wall minus hub */
  char software[65];
};
void session_status(const struct session *s, struct session_status *ret);

#define TRB_GROUP_BYTES_MAX (2u * TRB_CONTINUES_BYTES_MAX) /* a 'continues' group, as it travels or raw */
#define TRB_DOWN_STALL_MS 60000                            /* DOWN not acknowledged for so long is rendered again */
#define TRB_DOWN_WINDOW 2                                  /* DOWN frames sent and not acknowledged */
#define TRB_SESSION_SILENCE_MS 30000
#define TRB_SESSION_BAD_FRAMES_MAX 100 /* then the session is ignored until it reconnects */

#endif
