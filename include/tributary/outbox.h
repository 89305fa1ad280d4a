/* outbox: DIR/outbox.db, what the branch has sealed: batches, chain, cursor, shadows, digests, clock segments.
 *
 * Impure (SQLite); one thread; the only connection to the file, under flock(DIR/lock).
 * Invariant: what a transaction of this file says is sealed was synced in replica.db before (sealer_store.c). Batches
 * are pruned only at or below `safe`. */
#ifndef TRIBUTARY_OUTBOX_H
#define TRIBUTARY_OUTBOX_H

#include "tributary/db.h"
#include "tributary/sealer.h"

enum outbox_baseline { OUTBOX_BASELINE_NONE, OUTBOX_BASELINE_ROWS, OUTBOX_BASELINE_DELETIONS };

struct outbox_state {
  uint8_t incarnation[TRB_INCARNATION_BYTES];
  int64_t generation;
  uint64_t sequence;
  uint8_t hash[TRB_HASH_BYTES];
  uint64_t mark;
  int64_t nonce;
  uint64_t late_mark;
  uint64_t acked, safe;
  uint32_t want; /* enum trb_stream_why; 0: none */
  enum outbox_baseline baseline;
  uint16_t base_table;
  char base_id[TRB_ID_BYTES_MAX + 1];
  bool scrub;
  uint16_t scrub_table;
  char scrub_id[TRB_ID_BYTES_MAX + 1];
};

struct outbox {
  struct trb_db *db;         /* owned */
  struct outbox_state state; /* as committed, or as it will be by outbox_commit */
  struct outbox_state saved; /* as committed */
};

/* A new file for a granted incarnation (branch_join). An existing one is kept when it has the same incarnation, else
 * TRB_DENIED. */
enum trb_status outbox_create(const char *dir, const uint8_t incarnation[TRB_INCARNATION_BYTES], struct outbox **ret,
                              struct trb_error *err);
/* Missing: a new one is made. Damaged (quick_check): set aside as outbox.db.damaged-<now_ms>, a new one is made.
 * *ret_lost then is true and state.want is TRB_STREAM_OUTBOX_LOST. */
enum trb_status outbox_open(const char *dir, int64_t now_ms, struct outbox **ret, bool *ret_lost,
                            struct trb_error *err);
void outbox_close(struct outbox **outbox_p);

/* For a reader with a connection of its own (verify): `state` anew, as it stands in the read snapshot. */
enum trb_status outbox_reload(struct outbox *outbox, struct trb_error *err);

/* Changes of `state` are written by commit and undone by rollback. */
enum trb_status outbox_begin(struct outbox *outbox, struct trb_error *err);
enum trb_status outbox_commit(struct outbox *outbox, struct trb_error *err);
void outbox_rollback(struct outbox *outbox);

/* Shadow of a row; ret->known is false when there is none. A shadow of an older generation is given with *ret_old true:
 * it is history, the present stream does not hold the row. */
enum trb_status outbox_shadow(struct outbox *outbox, uint16_t table, struct trb_slice id, struct trb_arena *arena,
                              struct shadow *ret, bool *ret_old, struct trb_error *err);
enum trb_status outbox_put_shadow(struct outbox *outbox, uint16_t table, struct trb_slice id,
                                  const struct shadow *shadow, struct trb_error *err);

enum trb_status outbox_digests(struct outbox *outbox, struct sealer_digests *ret, struct trb_error *err);
enum trb_status outbox_put_digests(struct outbox *outbox, const struct sealer_digests *digests, struct trb_error *err);

/* Appends batch state.sequence + 1 and moves state.sequence and state.hash. header: the one that was sealed. last_mark:
 * all marks up to it are sealed once this batch is. */
enum trb_status outbox_append(struct outbox *outbox, struct trb_slice sealed, const struct trb_batch_header *header,
                              uint64_t last_mark, const uint8_t hash[TRB_HASH_BYTES],
                              const uint8_t signer[TRB_KEY_BYTES], struct trb_error *err);
/* Appends to sealed and ack (empty when not acknowledged). TRB_ABSENT: pruned. TRB_STORE: the bytes do not have their
 * hash any more. */
enum trb_status outbox_load(struct outbox *outbox, uint64_t sequence, struct trb_buf *sealed, struct trb_buf *ack,
                            struct trb_error *err);

/* The same, opened: *ret borrows from bytes and arena. */
enum trb_status outbox_open_batch(struct outbox *outbox, uint64_t sequence, struct trb_buf *bytes,
                                  struct trb_arena *arena, struct trb_batch *ret, struct trb_error *err);

/* One transaction: everything up to `acked` is on the hub's disk; acks: msgpack array of signed acks (may be empty);
 * one that is not the hub's, or not of a batch held here, is ignored and counted in *ret_bad. Times go into the
 * shadows; batches up to safe are pruned. */
enum trb_status outbox_acked(struct outbox *outbox, uint64_t acked, uint64_t safe, struct trb_slice acks,
                             const uint8_t hub_public[TRB_KEY_BYTES], uint32_t *ret_bad, struct trb_error *err);

/* One transaction: a new incarnation, empty; a baseline is to be sealed. Old batches are gone, old shadows are history.
 * `mark` and `nonce`: the replica's last mark now, from which ordinary sealing goes on after the baseline. */
enum trb_status outbox_start_stream(struct outbox *outbox, const uint8_t incarnation[TRB_INCARNATION_BYTES],
                                    uint64_t mark, int64_t nonce, struct trb_error *err);

/* Clock segments, ascending, that marks above `mark` can need. In arena. */
enum trb_status outbox_segments(struct outbox *outbox, uint64_t mark, struct trb_arena *arena,
                                const struct trb_segment **ret, size_t *ret_count, struct trb_error *err);
/* Opens a segment at first_mark when the clock broke since the last one (its own transaction). A segment at the same
 * mark is replaced. */
enum trb_status outbox_clock(struct outbox *outbox, const struct trb_clock_reading *now, uint64_t first_mark,
                             bool *ret_opened, struct trb_error *err);
/* The offset measured in this boot, into this boot's segments that have none or moved by more than a little (its own
 * transaction). */
enum trb_status outbox_measured(struct outbox *outbox, const uint8_t boot_id[TRB_BOOT_ID_BYTES],
                                int64_t hub_minus_boot_ms, struct trb_error *err);

/* Alarms: set with a text for people, or cleared with NULL. No-op when nothing changes. */
enum trb_status outbox_alarm(struct outbox *outbox, const char *kind, const char *text, int64_t now_ms,
                             struct trb_error *err);

/* All marks up to *ret are in batches the hub acknowledged, or gave nothing to send; 0 when that is not known. */
enum trb_status outbox_acked_mark(struct outbox *outbox, uint64_t *ret, struct trb_error *err);
enum trb_status outbox_counts(struct outbox *outbox, int64_t *ret_batches, int64_t *ret_bytes,
                              int64_t *ret_unacked_bytes, struct trb_error *err);

#define OUTBOX_FILE "outbox.db"
#endif
