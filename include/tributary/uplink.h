/* uplink: the branch's side of a session, a pure core. Bytes and times in, actions out; no I/O, no clock, no randomness
 * of its own (a seed comes in). One owner. The shell is node/branch/branch.c; the simulator connects the same core to a
 * simulated network.
 *
 * Credit: the next batch is sent when the largest batch would still fit: unacked + TRB_BATCH_BYTES_MAX <= credit, each
 * batch counted by wire_batch_cost. The hub raises the credit while a 'continues' group comes in (ACK with an unchanged
 * sequence). Every batch gets its signed ack: when the hub's WELCOME is ahead of our acks (they were lost with the
 * line) the batches are sent again from our own last ack, and the hub answers with the same acks.
 *
 * States: OFFLINE -> EXPECT_WELCOME -> ONLINE; HELD while the hub refuses the stream (still pinging); REFUSED when told
 * not to try again. Invariant: a batch is sent only after the shell said it is sealed (durable); an ack leaves the core
 * as STORE_ACKS before anything depends on it; DOWN is acknowledged only after uplink_down_applied. */
#ifndef TRIBUTARY_UPLINK_H
#define TRIBUTARY_UPLINK_H

#include "tributary/token.h"
#include "tributary/wire.h"

enum uplink_state { UPLINK_OFFLINE, UPLINK_EXPECT_WELCOME, UPLINK_ONLINE, UPLINK_HELD, UPLINK_REFUSED };

enum uplink_do {
  UPLINK_IDLE = 0,   /* nothing: wait until uplink_deadline */
  UPLINK_CONNECT,    /* open a connection (endpoint number in `sequence`, of the newest keyset) */
  UPLINK_DISCONNECT, /* close it (no uplink_disconnected is expected) */
  UPLINK_SEND,       /* `bytes` is one frame */
  UPLINK_LOAD,       /* read batch `sequence` from the outbox, answer with uplink_loaded */
  UPLINK_STORE_ACKS, /* store: everything up to `sequence` is acked, `safe`, `bytes` = msgpack array of the signed acks
                      * of the newest numbers up to `sequence` (empty array: only `safe` is new); then
                      * uplink_acks_stored. The shell checks the signatures. Numbers may come again after a hub was
                      * restored: the ack that is kept stays. */
  UPLINK_APPLY_DOWN, /* apply `down` to the replica; then uplink_down_applied */
  UPLINK_NEW_STREAM, /* `incarnation` granted: store it, re-seal; then uplink_stream_started */
  UPLINK_STORE_KEYS, /* `bytes` is a keyset that replaces the known one (checked by the core against the root) */
  UPLINK_ROTATED,    /* the hub took the new keys: switch to them */
};
struct uplink_action {
  enum uplink_do what;
  uint64_t sequence, safe;
  struct trb_slice bytes; /* borrowed until the next call */
  const struct wire_down *down;
  uint8_t incarnation[TRB_INCARNATION_BYTES];
};

/* What the shell knows at start (from its files). */
struct uplink_position {
  uint8_t incarnation[TRB_INCARNATION_BYTES];
  uint64_t last_sequence; /* sealed */
  uint8_t last_hash[TRB_HASH_BYTES];
  uint64_t acked_sequence, safe_sequence;
  uint8_t down_epoch[16];
  uint64_t down_version;
};

struct uplink; /* opaque */
enum trb_status uplink_new(const uint8_t root_public[TRB_KEY_BYTES], uint64_t keyset_version, size_t endpoint_count,
                           const struct uplink_position *position, uint64_t jitter_seed, struct uplink **ret);
void uplink_free(struct uplink **uplink_p);

/* Deadlines: call uplink_tick at once after uplink_new. LOAD, STORE_ACKS, APPLY_DOWN and NEW_STREAM may be answered at
 * once or later; one of each is under way at most. Inputs. `now` is a reading whose boot_ms drives all timers. */
void uplink_connected(struct uplink *u, const struct trb_clock_reading *now);
void uplink_disconnected(struct uplink *u, bool refused, const struct trb_clock_reading *now);
void uplink_receive(struct uplink *u, struct trb_slice frame,
                    const struct trb_clock_reading *now); /* bad frames are counted and dropped */
void uplink_tick(struct uplink *u, const struct trb_clock_reading *now);
void uplink_sealed(struct uplink *u, uint64_t last_sequence, const uint8_t last_hash[TRB_HASH_BYTES]);
/* `sealed` empty: the outbox has no such batch, or a damaged one (a new stream is asked for). ack: the stored one, or
 * empty. */
void uplink_loaded(struct uplink *u, uint64_t sequence, struct trb_slice sealed, struct trb_slice ack);
void uplink_acks_stored(struct uplink *u, uint64_t sequence);
void uplink_down_applied(struct uplink *u, const uint8_t epoch[16], uint64_t version);
void uplink_stream_started(struct uplink *u, const struct uplink_position *position);
/* The shell found that a new incarnation is needed (rollback, lost outbox): asked for at once when online. */
void uplink_want_stream(struct uplink *u, enum trb_stream_why why);
void uplink_rotate(struct uplink *u, const struct wire_rotate *rotate); /* sent when online until ROTATED comes */

/* Outputs: call until UPLINK_IDLE. */
enum uplink_do uplink_next(struct uplink *u, struct uplink_action *ret);
int64_t uplink_deadline_ms(const struct uplink *u); /* boot_ms at which uplink_tick is wanted */

struct uplink_status {
  enum uplink_state state;
  uint64_t acked_sequence, sent_sequence, safe_sequence, credit, unacked_bytes;
  bool offset_measured; /* hub_minus_boot_ms is of this boot (HELLO/PONG round trips; shortest round trip wins) */
  int64_t hub_minus_boot_ms;
  uint32_t hold_code;
  uint32_t refused_code; /* the fault (TRB_FAULT_...) that told this node to stay away, until a WELCOME; 0: none */
  char text[401];        /* last hold or fault, for people */
  int64_t retry_at_boot_ms;
  uint64_t bad_frames;
};
void uplink_status(const struct uplink *u, struct uplink_status *ret);

/* Back-off: doubles from MIN to MAX, each time by a factor drawn from [0.5, 1] (full jitter is too eager after an
 * outage of a thousand branches). */
#define TRB_RETRY_MIN_MS 500
#define TRB_RETRY_MAX_MS 60000
#define TRB_HELD_MS 60000     /* a held stream asks again */
#define TRB_REFUSED_MS 900000 /* so does a node that was told to stay away */
#define TRB_STALL_MS 60000    /* no ack for so long: send again (doubles) */
/* Waiting allows for what is on its way at this speed (64 kbit/s), so that a slow line is not taken for a dead one. */
#define TRB_LINE_BYTES_PER_MS 8
#define TRB_PING_IVL_MS 10000
#define TRB_SILENCE_MS 30000 /* no frame for so long: reconnect */
#define TRB_WELCOME_MS 10000

#endif
