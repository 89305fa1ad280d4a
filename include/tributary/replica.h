/* replica: the daemon's own connection to DIR/replica.db, and what comes down into it.
 *
 * Impure (SQLite); the daemon's thread. Clients come first: every statement of ours gives way at once (no busy timeout;
 * TRB_AGAIN and the caller tries again), writes are slices of at most TRB_REPLICA_SLICE_MS. Invariant: the version of
 * _trb_meta ('down_version', of 'down_epoch') moves in the transaction that holds the last rows of its frame; applying
 * a frame again changes nothing. Capture is off only inside the applying transactions. */
#ifndef TRIBUTARY_REPLICA_H
#define TRIBUTARY_REPLICA_H

#include "tributary/capture.h"
#include "tributary/wire.h"

#define TRB_REPLICA_SLICE_MS 20
#define TRB_REPLICA_SLICE_ROWS 200 /* looked at between two readings of the clock: few */

enum { DOWN_MORE = 1, DOWN_FIRST = 2, DOWN_LAST = 4 }; /* flags of messages.def, down */

struct replica {
  struct trb_db *db;               /* owned */
  struct trb_catalogue *catalogue; /* a reference */
  uint64_t inode, device;          /* of the open file: another one under the same name means it was replaced */
  int64_t schema_version;          /* capture_check's */
  uint8_t held_epoch[16];          /* what the file holds of what came down */
  uint64_t held_version;
  /* the frame being applied */
  struct trb_buf rows;      /* owned copy */
  size_t row_at, row_count; /* next row, in all */
  size_t byte_at;
  uint8_t epoch[16];
  uint64_t version;
  uint32_t flags;
  bool applying, sweeping;
  uint16_t sweep_table; /* of the end of a snapshot: rows not seen since its first frame go, table by table */
  bool definitions;     /* custom_table or custom_column rows were among them */
  uint32_t skipped;     /* rows the file refused */
  bool unknown;         /* rows or columns this program does not know were left out */
};

/* The file must exist. Opens, brings triggers and catalogue up to this program. */
enum trb_status replica_open(const char *dir, struct replica *ret, struct trb_error *err);
void replica_close(struct replica *replica);
/* Makes replica.db with its schema (branch_join). */
enum trb_status replica_make(const char *dir, struct trb_error *err);
/* True when the file under DIR's name is not the open one any more. */
bool replica_replaced(const struct replica *replica);

/* What the replica holds of what came down; zeros and 0 when it holds nothing, or must be given everything anew. */
void replica_position(const struct replica *replica, uint8_t ret_epoch[16], uint64_t *ret_version);
/* Forgets the position, so that a snapshot comes. */
enum trb_status replica_forget(struct replica *replica, struct trb_error *err);

/* Copies a frame to be applied by replica_apply_step. TRB_PEER: not well formed. TRB_AGAIN: does not follow what the
 * replica holds. */
enum trb_status replica_apply(struct replica *replica, const struct wire_down *down, struct trb_error *err);
/* One slice. *ret_done: the whole frame is in. TRB_AGAIN: locked. *ret_extended: custom definitions came, the catalogue
 * was replaced. */
enum trb_status replica_apply_step(struct replica *replica, bool *ret_done, bool *ret_extended, struct trb_error *err);

/* A client is in a write transaction now. Cheap: one system call. */
bool replica_writer_active(const struct replica *replica);
/* Pid of a process that holds a lock on replica.db that keeps us out; 0: none. */
int replica_lock_holder(const struct replica *replica);

#endif
