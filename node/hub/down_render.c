/* down_render: the entries above a version as one frame's rows (see unify.h). Read only; any snapshot. */
#include "down_row.h"
#include "tributary/unify.h"

enum { FLAG_MORE = 1, FLAG_FIRST = 2, FLAG_LAST = 4 };
#define ENTRIES_MAX 4000 /* looked at for one frame, so that rendering takes bounded time even if they say little */

static const char *const ENTRIES_SQL =
    "SELECT kind, num, gone, version FROM down WHERE site = ?1 AND version > ?2 UNION ALL "
    "SELECT kind, num, gone, version FROM down WHERE site = 0 AND version > ?3 ORDER BY version LIMIT ?4";

struct snapshot_range {
  int64_t first, last; /* 0, 0: none */
};

static enum trb_status snapshot_of(struct trb_db *db, int64_t site, struct snapshot_range *ret, struct trb_error *err) {
  TRB_STMT_AUTO *stmt = NULL;
  bool row = false;
  enum trb_status status =
      db_queryf(db, err, &stmt, "SELECT first_version, last_version FROM down_snapshot WHERE site = ?1", "i", site);
  if (status == TRB_OK) status = stmt_step(stmt, &row, err);
  *ret = row ? (struct snapshot_range){stmt_int(stmt, 0), stmt_int(stmt, 1)} : (struct snapshot_range){0, 0};
  return status;
}

struct frame {
  struct trb_buf body;
  size_t rows, entries, max_bytes;
  int64_t version;
  bool full;
};

static enum trb_status fill(struct down_renderer *r, struct trb_stmt *stmt, struct frame *frame,
                            struct trb_error *err) {
  bool row = true;
  enum trb_status status = TRB_OK;
  while (status == TRB_OK && (status = stmt_step(stmt, &row, err)) == TRB_OK && row) {
    int64_t version = stmt_int(stmt, 3);
    status =
        down_renderer_entry(r, (enum down_kind)stmt_int(stmt, 0), stmt_int(stmt, 1), stmt_slice(stmt, 2), version, err);
    if (status != TRB_OK) break;
    /* Nine bytes for the array's head in front. */
    frame->full = frame->rows && frame->body.len + r->rows.len + 9 > frame->max_bytes;
    if (frame->full) break;
    trb_buf_append_slice(&frame->body, trb_buf_slice(&r->rows));
    frame->rows += r->row_count;
    frame->version = version;
    if (++frame->entries == ENTRIES_MAX) frame->full = true; /* there may be more: the next call says */
  }
  return status == TRB_OK && frame->body.failed ? trb_fail(err, TRB_NOMEM, "out of memory") : status;
}

static uint32_t flags_of(const struct snapshot_range *snapshot, int64_t after, const struct frame *frame) {
  uint32_t flags = frame->full ? FLAG_MORE : 0;
  if (!snapshot->first || after >= snapshot->last) return flags;
  if (after < snapshot->first) flags |= FLAG_FIRST;
  if (!frame->full || frame->version >= snapshot->last) flags |= FLAG_LAST;
  return flags;
}

enum trb_status down_render(struct trb_db *reader, const struct trb_catalogue *catalogue, int64_t site,
                            uint64_t after_version, size_t max_bytes, struct trb_buf *ret_rows, uint64_t *ret_version,
                            bool *ret_more, uint32_t *ret_flags, struct trb_error *err) {
  struct down_renderer r;
  struct snapshot_range snapshot = {0, 0};
  int64_t after = (int64_t)after_version;
  struct frame frame = {.max_bytes = max_bytes, .version = after};
  enum trb_status status = down_renderer_init(&r, reader, catalogue, site, err);
  if (status == TRB_OK) status = snapshot_of(reader, site, &snapshot, err);
  TRB_STMT_AUTO *stmt = NULL;
  int64_t shared =
      after < snapshot.first ? snapshot.first : after; /* the snapshot holds what all were told before it */
  if (status == TRB_OK)
    status = db_queryf(reader, err, &stmt, ENTRIES_SQL, "iiii", site, after, shared, (int64_t)ENTRIES_MAX);
  if (status == TRB_OK) status = fill(&r, stmt, &frame, err);
  if (status == TRB_OK) {
    bool pending = frame.entries > 0;
    if (!frame.full && snapshot.first && after < snapshot.last) { /* also an empty snapshot is told */
      pending = true;
      if (frame.version < snapshot.last) frame.version = snapshot.last;
    }
    *ret_flags = flags_of(&snapshot, after, &frame);
    *ret_more = frame.full;
    *ret_version = (uint64_t)frame.version;
    if (pending) {
      mp_put_array(ret_rows, frame.rows);
      trb_buf_append_slice(ret_rows, trb_buf_slice(&frame.body));
    }
    if (ret_rows->failed) status = trb_fail(err, TRB_NOMEM, "out of memory");
  }
  trb_buf_free(&frame.body);
  down_renderer_done(&r);
  return status;
}
