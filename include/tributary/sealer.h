/* sealer: marks in, changes and batches out; and the shadow, what is remembered of a sealed row.
 *
 * Pure: no I/O, no clock, no randomness; the shell is node/branch/sealer_store.c. One owner.
 * Use: sealer_group(marks), then for each row sealer_change(values, shadow), then packer_take until it does not fit,
 * then packer_batch.
 *
 * Invariant: applying the changes of the batches in order to an empty model gives the rows as they were read, and the
 * digests of each batch are the digests of that model. */
#ifndef TRIBUTARY_SEALER_H
#define TRIBUTARY_SEALER_H

#include "tributary/change.h"
#include "tributary/schema.h"

/* One mark as a trigger wrote it (schema.h: operations, and which bit of which part a column is). */
struct sealer_mark {
  uint64_t number;
  uint16_t table;
  uint16_t part;
  int op;    /* TRB_MARK_.. */
  bool undo; /* in a range of _trb_undo: a delete by the undo of an import */
  int64_t mask;
  int64_t wall_ms;
  struct trb_slice id; /* borrowed */
};

struct sealer_row {
  uint16_t table;
  struct trb_slice id;
  uint32_t first, last; /* indices into marks */
};
struct sealer_rows { /* in arena */
  const struct sealer_mark *marks;
  uint32_t *next; /* next mark of the same row, UINT32_MAX at the end */
  size_t row_count;
  struct sealer_row *rows; /* ascending by last mark */
};
/* Groups marks (ascending by number) by row. TRB_NOMEM only. */
enum trb_status sealer_group(const struct sealer_mark *marks, size_t count, struct trb_arena *arena,
                             struct sealer_rows *ret);

struct shadow_cell {
  uint16_t column;
  uint64_t hash;     /* digest_cell; 0: NULL */
  trb_hlc time;      /* effective once acknowledged, before that raw wall time */
  uint64_t sequence; /* batch that holds the value */
};
struct shadow {
  bool known; /* false: never sealed; the rest is zero */
  bool deleted;
  uint64_t mark;     /* last mark that is in here */
  trb_hlc time;      /* of the row and of all columns not listed */
  uint64_t sequence; /* the same */
  trb_hlc stamp;     /* acceptance: commit HLC of the first batch with this row; 0 until acknowledged */
  uint32_t position;
  size_t cell_count;
  struct shadow_cell *cells; /* ascending by column; in arena */
};
static inline bool shadow_live(const struct shadow *s) { return s->known && !s->deleted; }
/* Layout: u64 time, u64 sequence, then per cell u16 column | 0x8000 when own time and sequence follow, u64 hash, [u64,
 * u64]. */
void shadow_encode(const struct shadow *shadow, struct trb_buf *out);
enum trb_status shadow_decode(struct trb_slice bytes, struct trb_arena *arena, struct shadow *ret,
                              struct trb_error *err);
const struct shadow_cell *shadow_cell_of(const struct shadow *shadow, uint16_t column); /* NULL: not listed */
/* Effective times of the acknowledged batch `sequence` into the columns that are still that batch's. times[i] belongs
 * to marks[i]. */
void shadow_acked(struct shadow *shadow, const struct trb_change *change, uint32_t position, uint64_t sequence,
                  const trb_hlc *times, trb_hlc commit);

/* What became of the row since its shadow. values: column_count values in catalogue order, NULL when the row is absent.
 * *ret_any false: nothing to send. In *ret marks are indices into rows->marks. TRB_NOMEM, or TRB_FULL: larger than a
 * batch. */
enum trb_status sealer_change(const struct trb_table *table, const struct sealer_rows *rows,
                              const struct sealer_row *row, const struct trb_value *values, const struct shadow *shadow,
                              struct trb_arena *arena, bool *ret_any, struct trb_change *ret);

/* One batch being filled. Zero-initialised but for `segments`, which are the known ones, ascending; digests run on from
 * batch to batch. */
#define SEALER_TABLES_MAX 512
struct sealer_digests {
  size_t count;
  struct trb_digest table[SEALER_TABLES_MAX]; /* ascending */
  bool touched[SEALER_TABLES_MAX];
};
struct trb_digest *sealer_digest(struct sealer_digests *digests, uint16_t table); /* made when absent; NULL: too many */

struct packer {
  struct trb_arena *arena;
  const struct sealer_mark *marks; /* of the pass */
  size_t segment_count;
  const struct trb_segment *segments;
  struct sealer_digests *digests;
  size_t change_count;
  struct trb_change changes[TRB_BATCH_CHANGES_MAX];
  size_t bytes; /* upper bound of the raw body */
  size_t cell_count;
};
/* Room for one more in this batch? An empty one has room for any change that sealer_change gave. */
bool packer_fits(const struct packer *packer, const struct trb_change *change);
/* Adds it; counts it into the digests; *ret_shadow is the row's shadow after batch `sequence` (in arena). */
enum trb_status packer_take(struct packer *packer, const struct trb_change *change, const struct shadow *shadow,
                            uint64_t sequence, struct shadow *ret_shadow);
/* The batch's marks, changes (marks re-indexed), segments and digests of touched tables; then the packer is empty. The
 * caller fills the rest of the header. */
enum trb_status packer_batch(struct packer *packer, struct trb_batch *ret);

#endif
