/* baseline: all rows of the replica, and the deletions the shadows remember, sealed into a new incarnation.
 *
 * Times: a column whose value is still the shadow's has the shadow's effective time; else the raw time of the last mark
 * that holds it (corrected by its clock segment where one was measured); else 0, so that it never wins over what the
 * hub knows. They travel as marks of a synthetic segment whose correction is 0. A baseline batch is accepted with base
 * 0 (PROTOCOL.md): its rows are not in time order. */
#include <stdlib.h>
#include <string.h>

#include "tributary/digest.h"
#include "tributary/sealer_store.h"

/* Rows in one slice: some ten milliseconds of reading and a batch or two. */
#define SLICE_ROWS_MAX 1000
#define MARKS_PAGE 2000

struct item {
  const struct trb_table *table;
  struct trb_slice id;
  struct trb_value *values; /* NULL: a deletion */
  struct shadow shadow;
  bool resurrected; /* deleted before, and back only because replica.db is an old copy: goes again */
};
struct slice {
  struct sealing *sealing;
  struct trb_arena *arena;
  size_t count;
  struct item *items;
  bool table_done;
  uint64_t top_mark; /* all marks up to here are in the rows that were read */
  /* every mark still there, grouped: rows[] sorted by table and id */
  struct sealer_rows rows;
  const struct trb_segment *segments;
  size_t segment_count;
  /* times of this slice, one an entry of cells; sorted ones become marks */
  size_t time_count, time_cap;
  int64_t *times;
};

/* ---- the marks that are left ---- */

static int by_row(const void *a, const void *b) {
  const struct sealer_row *x = a, *y = b;
  if (x->table != y->table) return (x->table > y->table) - (x->table < y->table);
  return trb_slice_compare(x->id, y->id);
}

static const char PAGE[] = "SELECT n, tbl, row, op, part, mask, wall FROM _trb_mark WHERE n > ?1 ORDER BY n LIMIT ?2";

static enum trb_status mark_page(struct slice *s, uint64_t after, struct sealer_mark *marks, size_t *count,
                                 struct trb_error *err) {
  TRB_STMT_AUTO *stmt = NULL;
  bool row = false, ok = true;
  enum trb_status status = db_queryf(s->sealing->replica, err, &stmt, PAGE, "ii", (int64_t)after, (int64_t)MARKS_PAGE);
  if (status == TRB_OK) status = stmt_step(stmt, &row, err);
  while (status == TRB_OK && row) {
    marks[(*count)++] = (struct sealer_mark){.number = (uint64_t)stmt_int(stmt, 0),
                                             .table = (uint16_t)stmt_int(stmt, 1),
                                             .id = trb_arena_copy(s->arena, stmt_slice(stmt, 2), &ok),
                                             .op = (int)stmt_int(stmt, 3),
                                             .part = (uint16_t)stmt_int(stmt, 4),
                                             .mask = stmt_int(stmt, 5),
                                             .wall_ms = stmt_int(stmt, 6)};
    if (!ok) return trb_fail(err, TRB_NOMEM, "out of memory");
    status = stmt_step(stmt, &row, err);
  }
  return status;
}

/* Page by page, each its own short read: marks are only ever appended. */
static enum trb_status load_marks(struct slice *s, struct trb_error *err) {
  int64_t all = 0;
  enum trb_status status = seal_unsealed(s->sealing->replica, 0, &all, err);
  size_t cap = (size_t)all, count = 0, before = 1;
  struct sealer_mark *marks = trb_arena_alloc(s->arena, (cap + MARKS_PAGE + 1) * sizeof *marks);
  if (status == TRB_OK && !marks) return trb_fail(err, TRB_NOMEM, "out of memory");
  while (status == TRB_OK && count != before && count < cap) {
    before = count;
    status = mark_page(s, count ? marks[count - 1].number : 0, marks, &count, err);
  }
  if (status != TRB_OK) return status;
  if (sealer_group(marks, count, s->arena, &s->rows) != TRB_OK) return trb_fail(err, TRB_NOMEM, "out of memory");
  qsort(s->rows.rows, s->rows.row_count, sizeof *s->rows.rows, by_row);
  return outbox_segments(s->sealing->outbox, 0, s->arena, &s->segments, &s->segment_count, err);
}

static int64_t mark_ms(const struct slice *s, const struct sealer_mark *mark) {
  const struct trb_segment *segment = NULL;
  for (size_t i = 0; i < s->segment_count && s->segments[i].first_mark <= mark->number; i++) segment = &s->segments[i];
  int64_t correction =
      segment && segment->measured ? segment->hub_minus_boot_ms + segment->at.boot_ms - segment->at.wall_ms : 0;
  int64_t ms = mark->wall_ms + correction;
  return ms > 0 ? ms : 0;
}

/* Time of the last mark of the row that holds the column (0: any mark of the row); 0 when there is none. */
static int64_t column_ms(const struct slice *s, const struct item *item, uint16_t column) {
  struct sealer_row key = {.table = item->table->number, .id = item->id};
  const struct sealer_row *row = bsearch(&key, s->rows.rows, s->rows.row_count, sizeof key, by_row);
  int64_t ms = 0;
  for (uint32_t at = row ? row->first : UINT32_MAX; at != UINT32_MAX; at = s->rows.next[at]) {
    const struct sealer_mark *mark = &s->rows.marks[at];
    bool held = column == 0 || mark->op == TRB_MARK_INSERT ||
                (mark->op == TRB_MARK_UPDATE && mark->part == schema_mask_part(column) &&
                 (mark->mask & schema_mask_bit(column)) != 0);
    if (held) ms = mark_ms(s, mark);
  }
  return ms;
}

/* ---- times ---- */

static enum trb_status add_time(struct slice *s, int64_t ms, uint32_t *ret) {
  if (s->time_count == s->time_cap) {
    size_t cap = s->time_cap ? s->time_cap * 2 : 4096;
    int64_t *grown = realloc(s->times, cap * sizeof *grown);
    if (!grown) return TRB_NOMEM;
    s->times = grown;
    s->time_cap = cap;
  }
  s->times[s->time_count] = ms;
  *ret = (uint32_t)s->time_count++;
  return TRB_OK;
}

static int by_value(const void *a, const void *b) {
  int64_t x = *(const int64_t *)a, y = *(const int64_t *)b;
  return (x > y) - (x < y);
}

/* Ascending times become ascending marks, equal ones the same mark; the changes' indices into times become indices into
 * marks. */
static enum trb_status times_to_marks(struct slice *s, struct trb_change *changes, size_t count,
                                      struct sealer_mark **ret) {
  int64_t *sorted = trb_arena_alloc(s->arena, (s->time_count + 1) * sizeof *sorted);
  struct sealer_mark *marks = trb_arena_alloc(s->arena, (s->time_count + 1) * sizeof *marks);
  if (!sorted || !marks) return TRB_NOMEM;
  if (s->time_count) memcpy(sorted, s->times, s->time_count * sizeof *sorted);
  qsort(sorted, s->time_count, sizeof *sorted, by_value);
  size_t unique = 0;
  for (size_t i = 0; i < s->time_count; i++)
    if (i == 0 || sorted[i] != sorted[unique - 1]) sorted[unique++] = sorted[i];
  for (size_t i = 0; i < unique; i++) marks[i] = (struct sealer_mark){.number = i + 1, .wall_ms = sorted[i]};
  for (size_t i = 0; i < count; i++) {
    const int64_t *at = bsearch(&s->times[changes[i].mark], sorted, unique, sizeof *sorted, by_value);
    changes[i].mark = (uint32_t)(at - sorted);
    for (size_t k = 0; k < changes[i].cell_count; k++) {
      at = bsearch(&s->times[changes[i].cells[k].mark], sorted, unique, sizeof *sorted, by_value);
      changes[i].cells[k].mark = (uint32_t)(at - sorted);
    }
  }
  *ret = marks;
  return TRB_OK;
}

/* ---- one row ---- */

static int64_t cell_ms(const struct slice *s, const struct item *item, uint16_t column, struct trb_value value) {
  const struct shadow_cell *cell = shadow_cell_of(&item->shadow, column);
  uint64_t hash = digest_cell(item->table->number, item->id, column, value);
  if (shadow_live(&item->shadow) && hash == (cell ? cell->hash : 0))
    return trb_hlc_ms(cell ? cell->time : item->shadow.time);
  return column_ms(s, item, column);
}

static enum trb_status put_change(struct slice *s, const struct item *item, struct trb_change *change) {
  const struct trb_table *table = item->table;
  int64_t row_ms = column_ms(s, item, 0);
  if (row_ms == 0 && shadow_live(&item->shadow)) row_ms = trb_hlc_ms(item->shadow.time);
  change->op = TRB_OP_PUT;
  change->cells = trb_arena_alloc(s->arena, (table->column_count + 1) * sizeof *change->cells);
  if (!change->cells || add_time(s, row_ms, &change->mark) != TRB_OK) return TRB_NOMEM;
  for (size_t i = 0; i < table->column_count; i++) {
    if (item->values[i].type == TRB_NULL) continue;
    struct trb_cell *cell = &change->cells[change->cell_count++];
    cell->column = table->columns[i].number;
    cell->value = item->values[i];
    if (add_time(s, cell_ms(s, item, cell->column, cell->value), &cell->mark) != TRB_OK) return TRB_NOMEM;
  }
  return TRB_OK;
}

static enum trb_status item_change(struct slice *s, struct item *item, struct trb_change *ret) {
  struct trb_change change = {.table = item->table->number, .id = item->id, .op = TRB_OP_DELETE};
  enum trb_status status = TRB_OK;
  bool deleted = item->shadow.known && item->shadow.deleted;
  int64_t deleted_ms = deleted ? trb_hlc_ms(item->shadow.time) : 0;
  if (item->values && deleted && column_ms(s, item, 0) <= deleted_ms) item->resurrected = true;
  if (item->values && !item->resurrected)
    status = put_change(s, item, &change);
  else
    status = add_time(s, deleted_ms, &change.mark);
  *ret = change;
  return status;
}

/* ---- reading a slice ---- */

static enum trb_status add_item(struct slice *s, const struct trb_table *table, struct trb_slice id, struct item **ret,
                                struct trb_error *err) {
  bool ok = true, old = false;
  struct item *item = &s->items[s->count];
  *item = (struct item){.table = table, .id = trb_arena_copy(s->arena, id, &ok)};
  if (!ok) return trb_fail(err, TRB_NOMEM, "out of memory");
  enum trb_status status =
      outbox_shadow(s->sealing->outbox, table->number, item->id, s->arena, &item->shadow, &old, err);
  if (status == TRB_OK) s->count++;
  *ret = item;
  return status;
}

static enum trb_status read_rows(struct slice *s, const struct trb_table *table, int64_t until_us,
                                 struct trb_error *err) {
  TRB_STMT_AUTO *stmt = NULL;
  bool row = false;
  size_t bytes = 0;
  const char *sql = seal_page_sql(s->sealing, table);
  if (!sql) return trb_fail(err, TRB_NOMEM, "out of memory");
  enum trb_status status = db_queryf(s->sealing->replica, err, &stmt, sql, "ti", s->sealing->outbox->state.base_id,
                                     (int64_t)SLICE_ROWS_MAX + 1);
  if (status == TRB_OK) status = stmt_step(stmt, &row, err);
  while (status == TRB_OK && row && s->count < SLICE_ROWS_MAX) {
    struct item *item = NULL;
    status = add_item(s, table, stmt_slice(stmt, 0), &item, err);
    if (status == TRB_OK) status = seal_values(stmt, table, s->arena, &item->values, &bytes, err);
    if (status == TRB_OK) status = stmt_step(stmt, &row, err);
    if (bytes > TRB_CONTINUES_BYTES_MAX / 4 || (s->count % 16 == 0 && seal_now_us() > until_us)) break;
  }
  s->table_done = !row;
  return status;
}

static enum trb_status read_deleted(struct slice *s, struct trb_error *err) {
  const struct outbox_state *state = &s->sealing->outbox->state;
  TRB_STMT_AUTO *stmt = NULL;
  bool row = false;
  enum trb_status status = db_queryf(
      s->sealing->outbox->db, err, &stmt,
      "SELECT tbl, id FROM shadow WHERE deleted = 1 AND generation < ?1 AND (tbl > ?2 OR (tbl = ?2 AND id > ?3)) "
      "ORDER BY tbl, id LIMIT ?4",
      "iiti", state->generation, (int64_t)state->base_table, state->base_id, (int64_t)SLICE_ROWS_MAX);
  if (status == TRB_OK) status = stmt_step(stmt, &row, err);
  while (status == TRB_OK && row) {
    const struct trb_table *table = catalogue_table(s->sealing->catalogue, (uint16_t)stmt_int(stmt, 0));
    struct item *item = NULL;
    if (table) status = add_item(s, table, stmt_slice(stmt, 1), &item, err);
    if (status == TRB_OK) status = stmt_step(stmt, &row, err);
  }
  s->table_done = s->count < SLICE_ROWS_MAX;
  return status;
}

static enum trb_status read_slice(struct slice *s, const struct trb_table *table, int64_t read_ms_max,
                                  struct trb_error *err) {
  struct trb_db *replica = s->sealing->replica;
  int64_t nonce = 0, begin_us = seal_now_us();
  if (!table) return read_deleted(s, err);
  enum trb_status status = db_begin_read(replica, err);
  if (status == TRB_OK) status = seal_last_mark(replica, &s->top_mark, &nonce, err);
  if (status == TRB_OK) status = read_rows(s, table, begin_us + read_ms_max * 1000, err);
  db_rollback(replica);
  return status;
}

/* ---- sealing a slice ---- */

static void move_on(struct slice *s, const struct trb_table *table) {
  struct outbox_state *state = &s->sealing->outbox->state;
  if (!s->table_done) {
    const struct item *last = &s->items[s->count - 1];
    state->base_table = last->table->number;
    memcpy(state->base_id, last->id.data, last->id.len);
    state->base_id[last->id.len] = '\0';
    return;
  }
  state->base_id[0] = '\0';
  const struct trb_table *next = table ? seal_table_after(s->sealing->catalogue, table->number) : NULL;
  state->base_table = next ? next->number : 0;
  if (!table)
    state->baseline = OUTBOX_BASELINE_NONE;
  else if (!next)
    state->baseline = OUTBOX_BASELINE_DELETIONS;
}

static enum trb_status write_slice(struct slice *s, const struct trb_table *table, struct seal_writer *w,
                                   struct trb_error *err) {
  static const struct trb_segment exact = {.first_mark = 1, .measured = true};
  struct trb_change *changes = trb_arena_alloc(s->arena, (s->count + 1) * sizeof *changes);
  struct sealer_mark *marks = NULL;
  enum trb_status status = changes ? TRB_OK : TRB_NOMEM;
  for (size_t i = 0; i < s->count && status == TRB_OK; i++) status = item_change(s, &s->items[i], &changes[i]);
  if (status == TRB_OK) status = times_to_marks(s, changes, s->count, &marks);
  if (status != TRB_OK) return trb_fail(err, TRB_NOMEM, "out of memory");
  status = seal_writer_begin(w, s->sealing, marks, s->arena, w->now, err);
  w->flags = TRB_BATCH_BASELINE;
  w->packer->segments = &exact;
  w->packer->segment_count = 1;
  for (size_t i = 0; i < s->count && status == TRB_OK; i++) {
    bool full = false; /* never: a slice reads a quarter of a pass */
    struct shadow before = {.stamp = s->items[i].shadow.stamp, .position = s->items[i].shadow.position};
    status = seal_writer_take(w, &changes[i], &before, s->top_mark ? s->top_mark : 1, &full, err);
    TRB_ASSERT(!full);
  }
  uint64_t last_mark = w->last_mark;
  move_on(s, table);
  if (status == TRB_OK) status = seal_writer_end(w, last_mark, err);
  if (status == TRB_OK && s->sealing->outbox->state.baseline == OUTBOX_BASELINE_NONE) /* rows the old copy never had */
    status = db_run(s->sealing->outbox->db, err, "DELETE FROM shadow WHERE generation < ?", "i",
                    s->sealing->outbox->state.generation);
  return status;
}

/* Deleted long ago and back in an old copy: deleted again, captured like any change (and found to be nothing new). */
static enum trb_status delete_again(struct slice *s, struct trb_error *err) {
  struct trb_db *replica = s->sealing->replica;
  enum trb_status status = TRB_OK;
  for (size_t i = 0; i < s->count && status == TRB_OK; i++) {
    if (!s->items[i].resurrected) continue;
    TRB_BUF_AUTO sql = {0};
    schema_delete_row(s->items[i].table, &sql);
    if (!db_in_transaction(replica)) status = db_begin(replica, err);
    if (status == TRB_OK) status = db_run(replica, err, trb_buf_cstr(&sql), "s", s->items[i].id);
  }
  if (status == TRB_OK && db_in_transaction(replica)) status = db_commit(replica, err);
  if (status != TRB_OK) db_rollback(replica);
  return status;
}

static enum trb_status slice_run(struct slice *s, int64_t read_ms_max, struct seal_writer *w, struct trb_error *err) {
  struct outbox *outbox = s->sealing->outbox;
  const struct outbox_state *state = &outbox->state;
  const struct trb_table *table = NULL;
  if (state->baseline == OUTBOX_BASELINE_ROWS)
    table = state->base_table ? catalogue_table(s->sealing->catalogue, state->base_table)
                              : seal_table_after(s->sealing->catalogue, 0);
  s->items = trb_arena_alloc(s->arena, SLICE_ROWS_MAX * sizeof *s->items);
  if (!s->items) return trb_fail(err, TRB_NOMEM, "out of memory");
  enum trb_status status = load_marks(s, err);
  if (status == TRB_OK) status = read_slice(s, table, read_ms_max, err);
  if (status == TRB_OK) status = outbox_begin(outbox, err);
  if (status != TRB_OK) return status;
  status = write_slice(s, table, w, err);
  if (status == TRB_OK) status = db_sync(s->sealing->replica, err);
  if (status == TRB_OK) status = outbox_commit(outbox, err);
  if (status != TRB_OK) outbox_rollback(outbox);
  return status == TRB_OK ? delete_again(s, err) : status;
}

enum trb_status seal_baseline(struct sealing *sealing, int64_t read_ms_max, const struct trb_clock_reading *now,
                              struct seal_result *ret, struct trb_error *err) {
  TRB_ARENA_AUTO arena = {0};
  struct slice s = {.sealing = sealing, .arena = &arena};
  struct seal_writer w = {.now = now};
  TRB_ASSERT(sealing->outbox->state.baseline != OUTBOX_BASELINE_NONE);
  enum trb_status status = slice_run(&s, read_ms_max, &w, err);
  free(s.times);
  if (status != TRB_OK) return status;
  *ret = (struct seal_result){.batches = w.batches, .changes = w.changes, .more = true};
  return TRB_OK;
}
