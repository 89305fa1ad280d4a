/* sealer: see include/tributary/sealer.h. */
#include "tributary/sealer.h"

#include <stdlib.h>
#include <string.h>

#include "tributary/digest.h"

#define NONE UINT32_MAX

/* ---- grouping ---- */

static uint64_t row_hash(const struct sealer_mark *mark) { /* FNV-1a; one branch's own ids */
  uint64_t h = 14695981039346656037u ^ mark->table;
  for (size_t i = 0; i < mark->id.len; i++) h = (h ^ mark->id.data[i]) * 1099511628211u;
  return h ^ h >> 29;
}

static int by_last(const void *a, const void *b) {
  uint32_t x = ((const struct sealer_row *)a)->last, y = ((const struct sealer_row *)b)->last;
  return (x > y) - (x < y);
}

static struct sealer_row *row_of(struct sealer_rows *rows, uint32_t *slots, size_t slot_count, uint32_t at) {
  const struct sealer_mark *mark = &rows->marks[at];
  for (size_t i = row_hash(mark);; i++) {
    uint32_t *slot = &slots[i % slot_count];
    if (*slot == 0) { /* row number + 1 */
      struct sealer_row *row = &rows->rows[rows->row_count++];
      *row = (struct sealer_row){.table = mark->table, .id = mark->id, .first = at, .last = NONE};
      *slot = (uint32_t)rows->row_count;
      return row;
    }
    struct sealer_row *row = &rows->rows[*slot - 1];
    if (row->table == mark->table && trb_slice_equal(row->id, mark->id)) return row;
  }
}

enum trb_status sealer_group(const struct sealer_mark *marks, size_t count, struct trb_arena *arena,
                             struct sealer_rows *ret) {
  TRB_ASSERT(count < NONE / 4);
  struct sealer_rows rows = {.marks = marks};
  size_t slot_count = count * 2 + 1;
  rows.next = trb_arena_alloc(arena, (count + 1) * sizeof *rows.next);
  rows.rows = trb_arena_alloc(arena, (count + 1) * sizeof *rows.rows);
  uint32_t *slots = calloc(slot_count, sizeof *slots);
  if (!rows.next || !rows.rows || !slots) {
    free(slots);
    return TRB_NOMEM;
  }
  for (uint32_t i = 0; i < count; i++) {
    struct sealer_row *row = row_of(&rows, slots, slot_count, i);
    if (row->last != NONE) rows.next[row->last] = i;
    row->last = i;
    rows.next[i] = NONE;
  }
  free(slots);
  qsort(rows.rows, rows.row_count, sizeof *rows.rows, by_last);
  *ret = rows;
  return TRB_OK;
}

/* ---- shadows ---- */

#define OWN_TIME 0x8000u
enum { SHADOW_HEAD = 16, SHADOW_CELL = 10, SHADOW_OWN = 16 };

static void append_u64(struct trb_buf *out, uint64_t v) {
  uint8_t bytes[8];
  trb_put_u64(bytes, v);
  trb_buf_append(out, bytes, sizeof bytes);
}

void shadow_encode(const struct shadow *shadow, struct trb_buf *out) {
  append_u64(out, shadow->time);
  append_u64(out, shadow->sequence);
  for (size_t i = 0; i < shadow->cell_count; i++) {
    const struct shadow_cell *cell = &shadow->cells[i];
    bool own = cell->time != shadow->time || cell->sequence != shadow->sequence;
    uint8_t number[2];
    trb_put_u16(number, (uint16_t)(cell->column | (own ? OWN_TIME : 0)));
    trb_buf_append(out, number, sizeof number);
    append_u64(out, cell->hash);
    if (own) append_u64(out, cell->time);
    if (own) append_u64(out, cell->sequence);
  }
}

enum trb_status shadow_decode(struct trb_slice bytes, struct trb_arena *arena, struct shadow *ret,
                              struct trb_error *err) {
  static const char damaged[] = "outbox.db: a shadow is damaged";
  if (bytes.len < SHADOW_HEAD) return trb_fail(err, TRB_STORE, damaged);
  struct shadow shadow = *ret;
  shadow.time = trb_get_u64(bytes.data);
  shadow.sequence = trb_get_u64(bytes.data + 8);
  shadow.cell_count = 0;
  shadow.cells = trb_arena_alloc(arena, (bytes.len / SHADOW_CELL + 1) * sizeof *shadow.cells);
  if (!shadow.cells) return trb_fail(err, TRB_NOMEM, "out of memory");
  const uint8_t *p = bytes.data + SHADOW_HEAD, *end = bytes.data + bytes.len;
  while (p < end) {
    if (end - p < SHADOW_CELL) return trb_fail(err, TRB_STORE, damaged);
    unsigned number = trb_get_u16(p);
    struct shadow_cell cell = {.column = (uint16_t)(number & ~OWN_TIME),
                               .hash = trb_get_u64(p + 2),
                               .time = shadow.time,
                               .sequence = shadow.sequence};
    p += SHADOW_CELL;
    if (number & OWN_TIME) {
      if (end - p < SHADOW_OWN) return trb_fail(err, TRB_STORE, damaged);
      cell.time = trb_get_u64(p);
      cell.sequence = trb_get_u64(p + 8);
      p += SHADOW_OWN;
    }
    shadow.cells[shadow.cell_count++] = cell;
  }
  *ret = shadow;
  return TRB_OK;
}

const struct shadow_cell *shadow_cell_of(const struct shadow *shadow, uint16_t column) {
  size_t low = 0, high = shadow->cell_count;
  while (low < high) {
    size_t mid = (low + high) / 2;
    if (shadow->cells[mid].column < column)
      low = mid + 1;
    else
      high = mid;
  }
  return low < shadow->cell_count && shadow->cells[low].column == column ? &shadow->cells[low] : NULL;
}

void shadow_acked(struct shadow *shadow, const struct trb_change *change, uint32_t position, uint64_t sequence,
                  const trb_hlc *times, trb_hlc commit) {
  if (shadow->stamp == 0) {
    shadow->stamp = commit;
    shadow->position = position;
  }
  if (shadow->sequence == sequence) shadow->time = times[change->mark];
  size_t at = 0;
  for (size_t i = 0; i < shadow->cell_count; i++) {
    struct shadow_cell *cell = &shadow->cells[i];
    if (cell->sequence != sequence) continue;
    while (at < change->cell_count && change->cells[at].column < cell->column) at++;
    bool named = at < change->cell_count && change->cells[at].column == cell->column;
    cell->time = times[named ? change->cells[at].mark : change->mark];
  }
}

/* ---- one row ---- */

static bool mask_has(const struct sealer_mark *mark, uint16_t column) {
  if (mark->op == TRB_MARK_INSERT) return true; /* a new row sets every column */
  if (mark->op == TRB_MARK_DELETE) return false;
  return mark->part == schema_mask_part(column) && (mark->mask & schema_mask_bit(column)) != 0;
}

/* The row's first mark that is not in the shadow yet: after a pass that ended early its marks are read again. */
static uint32_t first_new(const struct sealer_rows *rows, const struct sealer_row *row, const struct shadow *shadow) {
  uint32_t at = row->first;
  while (at != NONE && shadow->known && rows->marks[at].number <= shadow->mark) at = rows->next[at];
  return at;
}

static bool any_insert(const struct sealer_rows *rows, uint32_t at) {
  for (; at != NONE; at = rows->next[at])
    if (rows->marks[at].op == TRB_MARK_INSERT) return true;
  return false;
}

/* Last mark whose mask holds the column; NONE when no mark does. */
static uint32_t column_mark(const struct sealer_rows *rows, uint32_t at, uint16_t column) {
  uint32_t found = NONE;
  for (; at != NONE; at = rows->next[at])
    if (mask_has(&rows->marks[at], column)) found = at;
  return found;
}

static bool cell_wanted(const struct trb_table *table, const struct shadow *shadow, struct trb_slice id, bool whole,
                        uint32_t mark, const struct trb_column *column, struct trb_value value) {
  if (whole) return value.type != TRB_NULL;
  if (mark == NONE) return false;
  const struct shadow_cell *old = shadow_cell_of(shadow, column->number);
  return digest_cell(table->number, id, column->number, value) != (old ? old->hash : 0);
}

static enum trb_status fill_cells(const struct trb_table *table, const struct sealer_rows *rows, uint32_t first,
                                  const struct trb_value *values, const struct shadow *shadow, struct trb_arena *arena,
                                  struct trb_change *change) {
  change->cells = trb_arena_alloc(arena, (table->column_count + 1) * sizeof *change->cells);
  if (!change->cells) return TRB_NOMEM;
  bool whole = change->op == TRB_OP_PUT;
  for (size_t i = 0; i < table->column_count; i++) {
    uint32_t mark = column_mark(rows, first, table->columns[i].number);
    if (!cell_wanted(table, shadow, change->id, whole, mark, &table->columns[i], values[i])) continue;
    change->cells[change->cell_count++] = (struct trb_cell){
        .column = table->columns[i].number, .mark = mark == NONE ? change->mark : mark, .value = values[i]};
  }
  return TRB_OK;
}

/* A mark in the body takes at most two 64-bit integers with their heads. */
enum { MARK_BYTES_MAX = 18, BODY_HEAD_BYTES_MAX = 64 };

static size_t change_cost(const struct trb_change *change) {
  return change_size(change) + (change->cell_count + 1) * MARK_BYTES_MAX;
}

enum trb_status sealer_change(const struct trb_table *table, const struct sealer_rows *rows,
                              const struct sealer_row *row, const struct trb_value *values, const struct shadow *shadow,
                              struct trb_arena *arena, bool *ret_any, struct trb_change *ret) {
  uint32_t first = first_new(rows, row, shadow);
  bool live = shadow_live(shadow);
  *ret_any = false;
  if (first == NONE || (!values && !live)) return TRB_OK;
  /* Gone without a delete mark: a dropped table, or triggers that were off. The scrub decides, not one stray mark. */
  if (!values && rows->marks[row->last].op != TRB_MARK_DELETE) return TRB_OK;
  struct trb_change change = {.table = row->table, .id = row->id, .mark = row->last, .op = TRB_OP_SET};
  if (!values)
    change.op = rows->marks[row->last].undo ? TRB_OP_UNDO : TRB_OP_DELETE;
  else if (!live || any_insert(rows, first))
    change.op = TRB_OP_PUT;
  if (values) {
    enum trb_status status = fill_cells(table, rows, first, values, shadow, arena, &change);
    if (status != TRB_OK) return status;
  }
  if (change.op == TRB_OP_SET && change.cell_count == 0) return TRB_OK;
  if (change_cost(&change) + BODY_HEAD_BYTES_MAX > TRB_BATCH_RAW_MAX) return TRB_FULL;
  *ret = change;
  *ret_any = true;
  return TRB_OK;
}

/* ---- digests ---- */

struct trb_digest *sealer_digest(struct sealer_digests *digests, uint16_t table) {
  size_t at = 0;
  while (at < digests->count && digests->table[at].table < table) at++;
  if (at < digests->count && digests->table[at].table == table) return &digests->table[at];
  if (digests->count == SEALER_TABLES_MAX) return NULL;
  size_t rest = digests->count - at;
  memmove(&digests->table[at + 1], &digests->table[at], rest * sizeof digests->table[0]);
  memmove(&digests->touched[at + 1], &digests->touched[at], rest * sizeof digests->touched[0]);
  digests->table[at] = (struct trb_digest){.table = table};
  digests->touched[at] = false;
  digests->count++;
  return &digests->table[at];
}

static uint64_t shadow_sum(const struct shadow *shadow, uint16_t table, struct trb_slice id) {
  if (!shadow_live(shadow)) return 0;
  uint64_t sum = digest_cell(table, id, 0, trb_null());
  for (size_t i = 0; i < shadow->cell_count; i++) sum += shadow->cells[i].hash;
  return sum;
}

/* ---- batches ---- */

static size_t segment_at(const struct packer *packer, uint64_t mark) { /* last one that begins at or before the mark */
  size_t at = 0;
  while (at + 1 < packer->segment_count && packer->segments[at + 1].first_mark <= mark) at++;
  return at;
}

/* How many segments the marks from the batch's first to its last could need: an upper bound. */
static size_t segments_spanned(const struct packer *packer, const struct trb_change *more) {
  uint64_t low = UINT64_MAX, high = 0;
  for (size_t i = 0; i <= packer->change_count; i++) {
    const struct trb_change *change = i < packer->change_count ? &packer->changes[i] : more;
    uint64_t number = packer->marks[change->mark].number;
    if (number > high) high = number;
    if (number < low) low = number;
    for (size_t k = 0; k < change->cell_count; k++) {
      number = packer->marks[change->cells[k].mark].number;
      if (number < low) low = number;
    }
  }
  return segment_at(packer, high) - segment_at(packer, low) + 1;
}

bool packer_fits(const struct packer *packer, const struct trb_change *change) {
  if (packer->change_count == 0) return true;
  if (packer->change_count == TRB_BATCH_CHANGES_MAX) return false;
  if (packer->bytes + change_cost(change) + BODY_HEAD_BYTES_MAX > TRB_BATCH_RAW_MAX) return false;
  return packer->segment_count < TRB_SEGMENTS_MAX || segments_spanned(packer, change) < TRB_SEGMENTS_MAX;
}

static trb_hlc raw_time(const struct packer *packer, uint32_t mark) {
  return trb_hlc_of_ms(packer->marks[mark].wall_ms);
}

static enum trb_status merge_cells(const struct packer *packer, const struct trb_change *change,
                                   const struct shadow *old, uint64_t sequence, struct shadow *shadow) {
  bool whole = change->op == TRB_OP_PUT;
  size_t kept = whole ? 0 : old->cell_count;
  shadow->cells = trb_arena_alloc(packer->arena, (kept + change->cell_count + 1) * sizeof *shadow->cells);
  if (!shadow->cells) return TRB_NOMEM;
  size_t a = 0, b = 0;
  while (a < kept || b < change->cell_count) {
    bool take_old = b == change->cell_count || (a < kept && old->cells[a].column < change->cells[b].column);
    if (take_old) {
      shadow->cells[shadow->cell_count++] = old->cells[a++];
      continue;
    }
    const struct trb_cell *cell = &change->cells[b++];
    if (a < kept && old->cells[a].column == cell->column) a++;
    shadow->cells[shadow->cell_count++] =
        (struct shadow_cell){.column = cell->column,
                             .hash = digest_cell(change->table, change->id, cell->column, cell->value),
                             .time = raw_time(packer, cell->mark),
                             .sequence = sequence};
  }
  return TRB_OK;
}

enum trb_status packer_take(struct packer *packer, const struct trb_change *change, const struct shadow *old,
                            uint64_t sequence, struct shadow *ret_shadow) {
  struct shadow shadow = {.known = true,
                          .deleted = change->op == TRB_OP_DELETE || change->op == TRB_OP_UNDO,
                          .mark = packer->marks[change->mark].number,
                          .time = raw_time(packer, change->mark),
                          .sequence = sequence,
                          .stamp = old->stamp,
                          .position = old->position};
  if (change->op == TRB_OP_SET) {
    shadow.time = old->time;
    shadow.sequence = old->sequence;
  }
  enum trb_status status = shadow.deleted ? TRB_OK : merge_cells(packer, change, old, sequence, &shadow);
  struct trb_digest *digest = sealer_digest(packer->digests, change->table);
  if (status != TRB_OK || !digest) return status == TRB_OK ? TRB_FULL : status;
  packer->digests->touched[digest - packer->digests->table] = true;
  digest->rows += (uint64_t)shadow_live(&shadow) - (uint64_t)shadow_live(old);
  digest->sum += shadow_sum(&shadow, change->table, change->id) - shadow_sum(old, change->table, change->id);
  packer->changes[packer->change_count++] = *change;
  packer->bytes += change_cost(change);
  packer->cell_count += change->cell_count;
  *ret_shadow = shadow;
  return TRB_OK;
}

static int by_number(const void *a, const void *b) {
  uint32_t x = *(const uint32_t *)a, y = *(const uint32_t *)b;
  return (x > y) - (x < y);
}

static uint32_t index_in(const uint32_t *sorted, size_t count, uint32_t value) {
  const uint32_t *found = bsearch(&value, sorted, count, sizeof *sorted, by_number);
  TRB_ASSERT(found);
  return (uint32_t)(found - sorted);
}

/* Indices (into the pass's marks) of the marks this batch names, ascending and once each. */
static uint32_t *used_marks(const struct packer *packer, size_t *ret_count) {
  uint32_t *used = trb_arena_alloc(packer->arena, (packer->change_count + packer->cell_count + 1) * sizeof *used);
  if (!used) return NULL;
  size_t count = 0, unique = 0;
  for (size_t i = 0; i < packer->change_count; i++) {
    used[count++] = packer->changes[i].mark;
    for (size_t k = 0; k < packer->changes[i].cell_count; k++) used[count++] = packer->changes[i].cells[k].mark;
  }
  qsort(used, count, sizeof *used, by_number);
  for (size_t i = 0; i < count; i++)
    if (i == 0 || used[i] != used[unique - 1]) used[unique++] = used[i];
  *ret_count = unique;
  return used;
}

/* Only the segments that hold one of the batch's marks. Marks older than the first known segment count to it. */
static void fill_segments(const struct packer *packer, struct trb_batch *batch) {
  if (packer->segment_count == 0) return;
  size_t last = SIZE_MAX;
  for (size_t i = 0; i < batch->mark_count; i++) {
    size_t at = segment_at(packer, batch->marks[i].number);
    if (at == last || batch->header.segment_count == TRB_SEGMENTS_MAX) continue;
    struct trb_segment *segment = &batch->header.segments[batch->header.segment_count++];
    *segment = packer->segments[at];
    if (i == 0 && segment->first_mark > batch->marks[0].number) segment->first_mark = batch->marks[0].number;
    last = at;
  }
}

static enum trb_status fill_digests(const struct packer *packer, struct trb_batch_header *header) {
  struct sealer_digests *digests = packer->digests;
  header->digests = trb_arena_alloc(packer->arena, (digests->count + 1) * sizeof *header->digests);
  if (!header->digests) return TRB_NOMEM;
  for (size_t i = 0; i < digests->count; i++) {
    if (digests->touched[i]) header->digests[header->digest_count++] = digests->table[i];
    digests->touched[i] = false;
  }
  return TRB_OK;
}

enum trb_status packer_batch(struct packer *packer, struct trb_batch *ret) {
  struct trb_batch batch = {.change_count = packer->change_count};
  batch.header.change_count = (uint32_t)packer->change_count;
  uint32_t *used = used_marks(packer, &batch.mark_count);
  batch.marks = trb_arena_alloc(packer->arena, (batch.mark_count + 1) * sizeof *batch.marks);
  batch.changes = trb_arena_alloc(packer->arena, (batch.change_count + 1) * sizeof *batch.changes);
  if (!used || !batch.marks || !batch.changes) return TRB_NOMEM;
  for (size_t i = 0; i < batch.mark_count; i++) {
    const struct sealer_mark *mark = &packer->marks[used[i]];
    batch.marks[i] = (struct trb_mark_time){.number = mark->number, .wall_ms = mark->wall_ms};
  }
  for (size_t i = 0; i < batch.change_count; i++) {
    struct trb_change *change = &batch.changes[i];
    *change = packer->changes[i];
    change->mark = index_in(used, batch.mark_count, change->mark);
    for (size_t k = 0; k < change->cell_count; k++)
      change->cells[k].mark = index_in(used, batch.mark_count, change->cells[k].mark);
  }
  fill_segments(packer, &batch);
  enum trb_status status = fill_digests(packer, &batch.header);
  if (status != TRB_OK) return status;
  packer->change_count = packer->bytes = packer->cell_count = 0;
  *ret = batch;
  return TRB_OK;
}
