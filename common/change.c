/* change: one change checked, encoded and decoded; see include/tributary/change.h.
 *
 * The form is one flat msgpack array [table, op, mark, id, column, mark, value, column, mark, value ...]. */
#include "tributary/change.h"

#include "change_read.h"
#include "tributary/mp.h"

enum { HEAD_ITEMS = 4, CELL_ITEMS = 3 };

void change_encode(const struct trb_change *change, struct trb_buf *out) {
  mp_put_array(out, HEAD_ITEMS + CELL_ITEMS * change->cell_count);
  mp_put_uint(out, change->table);
  mp_put_uint(out, change->op);
  mp_put_uint(out, change->mark);
  mp_put_str(out, change->id);
  for (size_t i = 0; i < change->cell_count; i++) {
    mp_put_uint(out, change->cells[i].column);
    mp_put_uint(out, change->cells[i].mark);
    mp_put_value(out, change->cells[i].value);
  }
}

static size_t uint_size(uint64_t v) {
  return v < 0x80 ? 1 : v <= UINT8_MAX ? 2 : v <= UINT16_MAX ? 3 : v <= UINT32_MAX ? 5 : 9;
}

static size_t value_size(struct trb_value value) {
  uint8_t head[TRB_MP_HEAD_MAX];
  size_t content = value.type == TRB_TEXT || value.type == TRB_BLOB ? value.s.len : 0;
  return mp_value_head(value, head) + content;
}

size_t change_size(const struct trb_change *change) {
  size_t items = HEAD_ITEMS + CELL_ITEMS * change->cell_count;
  size_t size = items < 16 ? 1 : items <= UINT16_MAX ? 3 : 5;
  size += uint_size(change->table) + uint_size(change->op) + uint_size(change->mark);
  size += value_size(trb_text_slice(change->id));
  for (size_t i = 0; i < change->cell_count; i++) {
    const struct trb_cell *cell = &change->cells[i];
    size += uint_size(cell->column) + uint_size(cell->mark) + value_size(cell->value);
  }
  return size;
}

const char change_read_nomem[] = "there is no memory for it";

static const char *read_cells(struct mp_reader *r, struct trb_change *change) {
  uint64_t last = 0;
  for (size_t i = 0; i < change->cell_count; i++) {
    struct trb_cell *cell = &change->cells[i];
    uint64_t column = mp_get_uint(r), mark = mp_get_uint(r);
    cell->value = mp_get_value(r);
    if (r->failed) return "a cell is not column, mark and value";
    if (column <= last || column > UINT16_MAX) return "its columns are not in ascending order";
    if (mark > UINT32_MAX) return "a mark's index is too large";
    cell->column = (uint16_t)column;
    cell->mark = (uint32_t)mark;
    last = column;
  }
  return NULL;
}

const char *change_read(struct mp_reader *r, struct trb_arena *arena, struct trb_change *ret) {
  size_t items = mp_get_array(r);
  uint64_t table = mp_get_uint(r), op = mp_get_uint(r), mark = mp_get_uint(r);
  ret->id = mp_get_str(r);
  if (r->failed || items < HEAD_ITEMS || (items - HEAD_ITEMS) % CELL_ITEMS)
    return "it does not have the shape of a change";
  if (table > UINT16_MAX || mark > UINT32_MAX) return "a number is too large";
  if (op < TRB_OP_PUT || op > TRB_OP_UNDO) return "its operation is unknown";
  ret->table = (uint16_t)table;
  ret->op = (enum trb_op)op;
  ret->mark = (uint32_t)mark;
  ret->cell_count = (items - HEAD_ITEMS) / CELL_ITEMS;
  ret->cells = NULL;
  if (!ret->cell_count) return NULL;
  if (op == TRB_OP_DELETE || op == TRB_OP_UNDO) return "a delete has columns";
  ret->cells = trb_arena_alloc(arena, ret->cell_count * sizeof *ret->cells); /* the count fits in the bytes left */
  return ret->cells ? read_cells(r, ret) : change_read_nomem;
}

enum trb_status change_decode(struct trb_slice bytes, struct trb_arena *arena, struct trb_change *ret,
                              struct trb_error *err) {
  enum trb_status status = mp_check(bytes, err);
  if (status) return status;
  struct mp_reader r = mp_reader(bytes);
  struct trb_change change = {0};
  const char *why = change_read(&r, arena, &change);
  if (!why && !mp_at_end(&r)) why = "there are bytes behind its end";
  if (why) return trb_fail(err, why == change_read_nomem ? TRB_NOMEM : TRB_PEER, "A change cannot be read: %s.", why);
  *ret = change;
  return TRB_OK;
}

const char *refusal_text(enum trb_refusal reason) {
  switch (reason) {
    case TRB_REFUSED_NONE: return "accepted";
    case TRB_REFUSED_TABLE: return "unknown table: headquarters must be upgraded or the custom table defined";
    case TRB_REFUSED_OWNER: return "a branch may not write this table";
    case TRB_REFUSED_ID: return "the row's id is not 1 to 64 characters of valid text";
    case TRB_REFUSED_VALUE: return "a value does not fit its column";
    case TRB_REFUSED_REQUIRED: return "a required column is empty";
    case TRB_REFUSED_MASS_DELETE: return "too many rows deleted at once: waits for approval";
    case TRB_REFUSED_EARLIER: return "an earlier change of the same row is set aside";
    case TRB_REFUSED_SIZE: return "the row is larger than the limit";
  }
  return "unknown reason";
}

static enum trb_refusal refuse(enum trb_refusal reason, struct trb_error *err, const char *table, const char *column) {
  trb_fail(err, TRB_PEER, "%s%s%s: %s.", table, column ? "." : "", column ? column : "", refusal_text(reason));
  return reason;
}

static enum trb_refusal check_table(const struct trb_table *table, const struct trb_change *change, bool from_hq,
                                    struct trb_error *err) {
  if (!table) {
    trb_fail(err, TRB_PEER, "table number %u: %s.", change->table, refusal_text(TRB_REFUSED_TABLE));
    return TRB_REFUSED_TABLE;
  }
  bool allowed = table->owner == TRB_OWNER_BRANCH || (table->owner == TRB_OWNER_HQ && from_hq);
  if (!allowed) return refuse(TRB_REFUSED_OWNER, err, table->name, NULL);
  if (!trb_id_valid(change->id)) return refuse(TRB_REFUSED_ID, err, table->name, NULL);
  return TRB_REFUSED_NONE;
}

static enum trb_refusal check_size(const struct trb_table *table, const struct trb_change *change,
                                   struct trb_error *err) {
  size_t bytes = 0;
  for (size_t i = 0; i < change->cell_count; i++) {
    const struct trb_value *value = &change->cells[i].value;
    bytes += value->type == TRB_TEXT || value->type == TRB_BLOB ? value->s.len : sizeof value->i;
  }
  return bytes > TRB_ROW_BYTES_MAX ? refuse(TRB_REFUSED_SIZE, err, table->name, NULL) : TRB_REFUSED_NONE;
}

static enum trb_refusal check_cell(const struct trb_table *table, const struct trb_column *column,
                                   struct trb_value value, struct trb_error *err) {
  if (value.type == TRB_NULL)
    return column->flags & TRB_COLUMN_REQUIRED ? refuse(TRB_REFUSED_REQUIRED, err, table->name, column->name)
                                               : TRB_REFUSED_NONE;
  return column_check(table, column, value, err) ? TRB_REFUSED_VALUE : TRB_REFUSED_NONE;
}

/* Cells and columns are both ascending by number: one walk finds each cell's column and the required ones left out. */
static enum trb_refusal check_cells(const struct trb_table *table, const struct trb_change *change,
                                    struct trb_error *err) {
  size_t cell = 0;
  for (size_t i = 0; i < table->column_count; i++) {
    const struct trb_column *column = &table->columns[i];
    while (cell < change->cell_count && change->cells[cell].column < column->number) cell++; /* unknown: kept raw */
    bool named = cell < change->cell_count && change->cells[cell].column == column->number;
    if (!named && change->op == TRB_OP_SET) continue;
    enum trb_refusal reason = check_cell(table, column, named ? change->cells[cell].value : trb_null(), err);
    if (reason) return reason;
  }
  return TRB_REFUSED_NONE;
}

enum trb_refusal change_check(const struct trb_catalogue *catalogue, const struct trb_change *change, bool from_hq,
                              struct trb_error *err) {
  const struct trb_table *table = catalogue_table(catalogue, change->table);
  enum trb_refusal reason = check_table(table, change, from_hq, err);
  if (reason || change->op == TRB_OP_DELETE || change->op == TRB_OP_UNDO) return reason;
  reason = check_size(table, change, err);
  return reason ? reason : check_cells(table, change, err);
}
