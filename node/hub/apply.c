/* apply: see apply.h. The common case, a row nobody has seen, is one INSERT; the old row is read only when that finds
 * one, or for SET and DELETE. */
#include "apply.h"

#include <stdio.h>
#include <string.h>

#include "history.h"
#include "setaside.h"
#include "tributary/times.h"

struct work { /* one change on its way */
  struct store *s;
  const struct apply_context *context;
  const struct apply_input *input;
  const struct trb_change *change;
  const struct trb_table *table;
  trb_hlc op_time;
  enum trb_refusal refusal;
  char reason[200];
};

static enum trb_status nomem(struct trb_error *err) { return trb_fail(err, TRB_NOMEM, "out of memory"); }

static trb_hlc cell_time(const struct work *w, const struct trb_cell *cell) { return w->context->times[cell->mark]; }

static struct history_change history_of(const struct work *w, int op) {
  return (struct history_change){w->context->site, w->change->table,     w->change->id,     op,
                                 w->op_time,       w->context->accepted, w->input->position};
}

/* SQLite refused the row itself (too big, a constraint): the change is set aside, the transaction goes on. */
static enum trb_status row_refused(struct work *w, enum trb_status status, struct trb_error *err) {
  if (status != TRB_PEER) return status;
  w->refusal = TRB_REFUSED_VALUE;
  snprintf(w->reason, sizeof w->reason, "headquarters' database refuses the row: %.120s", err ? err->text : "");
  return TRB_OK;
}

static enum trb_status digest_entry(struct work *w, struct digest_entry **ret, struct trb_error *err) {
  enum trb_status status = digests_get(w->s->digests, w->context->site, w->change->table, ret, err);
  if (status == TRB_OK) (*ret)->dirty = true;
  return status;
}

static enum trb_status digest_row(struct work *w, const struct row *row, int sign, struct trb_error *err) {
  if (w->input->retry) return TRB_OK; /* counted when it was set aside */
  struct digest_entry *entry;
  struct extra extra;
  enum trb_status status = digest_entry(w, &entry, err);
  if (status == TRB_OK) status = extra_read(row->extra, &w->s->scratch, &extra, err);
  if (status != TRB_OK) return status;
  const uint16_t table = w->change->table;
  uint64_t sum = digest_cell(table, w->change->id, 0, trb_null());
  for (size_t i = 0; i < w->table->column_count; i++)
    if (row->values[i].type != TRB_NULL)
      sum += digest_cell(table, w->change->id, w->table->columns[i].number, row->values[i]);
  for (size_t i = 0; i < extra.count; i++) sum += digest_cell(table, w->change->id, extra.columns[i], extra.values[i]);
  entry->sum += sign > 0 ? sum : 0 - sum;
  entry->rows += sign;
  return TRB_OK;
}

static enum trb_status tell_unify(struct work *w, const struct row *row, const struct trb_value *before,
                                  const struct trb_value *after, bool first, struct trb_error *err) {
  w->s->notes = true;
  if (!w->s->unify) return TRB_OK;
  struct unify_row note = {.table = w->table,
                           .site = w->context->site,
                           .rid = row->rid,
                           .id = w->change->id,
                           .before = before,
                           .after = after,
                           .accepted = w->context->accepted,
                           .position = w->input->position,
                           .first = first,
                           .keys = after ? w->input->made.keys : NULL,
                           .grams = after && !before ? w->input->made.grams : NULL};
  return unify_row(w->s->unify, &note, err);
}

static enum trb_status digest_new_row(struct work *w, const struct row *row, struct trb_error *err) {
  struct digest_entry *entry;
  if (w->input->made.digest == 0) return digest_row(w, row, 1, err);
  enum trb_status status = digest_entry(w, &entry, err);
  if (status != TRB_OK) return status;
  entry->sum += w->input->made.digest;
  entry->rows++;
  return TRB_OK;
}

/* ---- a row that is not there ---- */

/* Values from cells; unknown columns to extra; times of the columns whose mark is not the operation's. */
static enum trb_status new_row(struct work *w, struct row *row, struct trb_error *err) {
  const struct trb_change *c = w->change;
  struct trb_arena *arena = &w->s->scratch;
  row->values = trb_arena_alloc(arena, w->table->column_count * sizeof *row->values);
  uint16_t *columns = trb_arena_alloc(arena, c->cell_count * sizeof *columns);
  trb_hlc *times = trb_arena_alloc(arena, c->cell_count * sizeof *times);
  struct extra extra = {.columns = trb_arena_alloc(arena, c->cell_count * sizeof *extra.columns),
                        .values = trb_arena_alloc(arena, c->cell_count * sizeof *extra.values)};
  if (!row->values || !columns || !times || !extra.columns || !extra.values) return nomem(err);
  for (size_t i = 0; i < c->cell_count; i++) {
    const struct trb_cell *cell = &c->cells[i];
    columns[i] = cell->column;
    times[i] = cell_time(w, cell);
    size_t index = table_column_index(w->table, cell->column);
    if (index != SIZE_MAX) {
      row->values[index] = cell->value;
    } else {
      extra.columns[extra.count] = cell->column;
      extra.values[extra.count++] = cell->value;
    }
  }
  times_set(trb_slice_of(NULL, 0), w->op_time, c->cell_count, columns, times, &w->s->times);
  if (extra.count) extra_write(&extra, &w->s->extra);
  if (w->s->times.failed || w->s->extra.failed) return nomem(err);
  row->times = trb_buf_slice(&w->s->times);
  row->extra = trb_buf_slice(&w->s->extra);
  return TRB_OK;
}

struct grave { /* what a tombstone says */
  bool found;
  trb_hlc time, accepted;
  uint32_t position;
};

static enum trb_status find_grave(struct work *w, struct grave *ret, struct trb_error *err) {
  struct site_facts *facts;
  enum trb_status status = store_facts(w->s, w->context->site, &facts, err);
  *ret = (struct grave){0};
  if (status != TRB_OK || !facts->tombstones) return status;
  TRB_STMT_AUTO *stmt = NULL;
  status = db_queryf(w->s->db, err, &stmt,
                     "SELECT time, accepted, pos FROM tombstone WHERE site=?1 AND tbl=?2 AND row_id=?3", "iis",
                     w->context->site, (int64_t)w->change->table, w->change->id);
  bool row = false;
  if (status == TRB_OK) status = stmt_step(stmt, &row, err);
  if (status == TRB_OK && row)
    *ret = (struct grave){true, (trb_hlc)stmt_int(stmt, 0), (trb_hlc)stmt_int(stmt, 1), (uint32_t)stmt_int(stmt, 2)};
  return status;
}

static enum trb_status drop_grave(struct work *w, struct trb_error *err) {
  return db_run(w->s->db, err, "DELETE FROM tombstone WHERE site=?1 AND tbl=?2 AND row_id=?3", "iis", w->context->site,
                (int64_t)w->change->table, w->change->id);
}

static const struct trb_column *missing_required(const struct work *w, const struct row *row) {
  for (size_t i = 0; i < w->table->column_count; i++)
    if ((w->table->columns[i].flags & TRB_COLUMN_REQUIRED) && row->values[i].type == TRB_NULL)
      return &w->table->columns[i];
  return NULL;
}

static enum trb_status lost_whole(struct work *w, struct trb_error *err) {
  struct history_list list = {0};
  for (size_t i = 0; i < w->change->cell_count; i++)
    history_note(&list, w->change->cells[i].column, w->change->cells[i].value, cell_time(w, &w->change->cells[i]));
  struct history_change what = history_of(w, 0);
  enum trb_status status = history_add(w->s, &what, &list, err);
  trb_buf_free(&list.body);
  return status;
}

/* *ret_new false: the row stands already, and has to be merged. */
static enum trb_status try_insert(struct work *w, bool *ret_new, struct trb_error *err) {
  struct grave grave;
  struct row row = {.accepted = w->context->accepted, .position = w->input->position};
  enum trb_status status = find_grave(w, &grave, err);
  if (status == TRB_OK && grave.found && grave.time > w->op_time) {
    *ret_new = true; /* deleted later than this was written */
    return lost_whole(w, err);
  }
  if (grave.found) {
    row.accepted = grave.accepted;
    row.position = grave.position;
  }
  if (status == TRB_OK) status = new_row(w, &row, err);
  if (status != TRB_OK) return status;
  const struct trb_column *missing = missing_required(w, &row);
  if (missing) {
    *ret_new = true;
    w->refusal = TRB_REFUSED_REQUIRED;
    snprintf(w->reason, sizeof w->reason, "%s.%s is missing", w->table->name, missing->name);
    return TRB_OK;
  }
  if (w->change->table == TRB_T_customer) status = record_add(w->s->db, w->context->site, w->change->id, &row.rid, err);
  if (status == TRB_OK) status = rows_insert(w->s->rows, w->table, w->context->site, w->change->id, &row, ret_new, err);
  if (status != TRB_OK) {
    *ret_new = true;
    return row_refused(w, status, err);
  }
  if (!*ret_new) return TRB_OK;
  if (grave.found) status = drop_grave(w, err);
  if (status == TRB_OK) status = digest_new_row(w, &row, err);
  return status == TRB_OK ? tell_unify(w, &row, NULL, row.values, !grave.found, err) : status;
}

/* ---- a row that is there ---- */

static size_t value_bytes(struct trb_value value) {
  if (value.type == TRB_NULL) return 0;
  return value.type == TRB_TEXT || value.type == TRB_BLOB ? value.s.len : sizeof value.i;
}

static size_t row_bytes(const struct work *w, const struct trb_value *values, const struct extra *extra) {
  size_t bytes = 0;
  for (size_t i = 0; i < w->table->column_count; i++) bytes += value_bytes(values[i]);
  for (size_t i = 0; i < extra->count; i++) bytes += value_bytes(extra->values[i]);
  return bytes;
}

struct merge {
  struct row old, now;
  struct extra old_extra, now_extra;
  size_t won; /* columns whose time moves */
  uint16_t *columns;
  trb_hlc *times;
  bool changed; /* some value differs */
  bool lost;    /* some value came too late */
  struct history_list superseded, late;
  uint64_t digest_delta;
};

static struct trb_value extra_value(const struct extra *extra, uint16_t column) {
  for (size_t i = 0; i < extra->count; i++)
    if (extra->columns[i] == column) return extra->values[i];
  return trb_null();
}

/* Inserts or replaces, keeping the columns ascending; there is room for one more. */
static void extra_put(struct extra *extra, uint16_t column, struct trb_value value) {
  size_t at = 0;
  while (at < extra->count && extra->columns[at] < column) at++;
  if (at == extra->count || extra->columns[at] != column) {
    memmove(extra->columns + at + 1, extra->columns + at, (extra->count - at) * sizeof *extra->columns);
    memmove(extra->values + at + 1, extra->values + at, (extra->count - at) * sizeof *extra->values);
    extra->count++;
  }
  extra->columns[at] = column;
  extra->values[at] = value;
}

static void merge_column(struct work *w, struct merge *m, uint16_t column, struct trb_value value, trb_hlc time) {
  size_t index = table_column_index(w->table, column);
  struct trb_value old = index != SIZE_MAX ? m->old.values[index] : extra_value(&m->old_extra, column);
  trb_hlc old_time = times_get(m->old.times, column);
  bool differs = !trb_value_equal(old, value);
  if (time < old_time) {
    m->lost = true;
    if (differs) history_note(&m->late, column, value, time);
    return;
  }
  m->columns[m->won] = column;
  m->times[m->won++] = time;
  if (!differs) return;
  m->changed = true;
  history_note(&m->superseded, column, old, old_time);
  if (old.type != TRB_NULL) m->digest_delta -= digest_cell(w->change->table, w->change->id, column, old);
  if (value.type != TRB_NULL) m->digest_delta += digest_cell(w->change->table, w->change->id, column, value);
  if (index != SIZE_MAX)
    m->now.values[index] = value;
  else
    extra_put(&m->now_extra, column, value);
}

/* A SET speaks about its cells; a PUT about every column: those it does not name are NULL since the operation. */
static void merge_columns(struct work *w, struct merge *m) {
  const struct trb_change *c = w->change;
  size_t known = 0, unknown = 0, cell = 0;
  bool whole = c->op == TRB_OP_PUT;
  for (;;) {
    uint16_t next = UINT16_MAX;
    if (cell < c->cell_count) next = c->cells[cell].column;
    if (whole && known < w->table->column_count && w->table->columns[known].number < next)
      next = w->table->columns[known].number;
    if (whole && unknown < m->old_extra.count && m->old_extra.columns[unknown] < next)
      next = m->old_extra.columns[unknown];
    if (next == UINT16_MAX) return;
    if (known < w->table->column_count && w->table->columns[known].number == next) known++;
    if (unknown < m->old_extra.count && m->old_extra.columns[unknown] == next) unknown++;
    if (cell < c->cell_count && c->cells[cell].column == next) {
      merge_column(w, m, next, c->cells[cell].value, cell_time(w, &c->cells[cell]));
      cell++;
    } else {
      merge_column(w, m, next, trb_null(), w->op_time);
    }
  }
}

static enum trb_status merge_begin(struct work *w, struct merge *m, struct trb_error *err) {
  struct trb_arena *arena = &w->s->scratch;
  enum trb_status status = extra_read(m->old.extra, arena, &m->old_extra, err);
  if (status != TRB_OK) return status;
  size_t columns = w->table->column_count, cells = w->change->cell_count, extra = m->old_extra.count;
  size_t most = columns + cells + extra;
  m->now = m->old;
  m->now.values = trb_arena_alloc(arena, columns * sizeof *m->now.values);
  m->columns = trb_arena_alloc(arena, most * sizeof *m->columns);
  m->times = trb_arena_alloc(arena, most * sizeof *m->times);
  m->now_extra.columns = trb_arena_alloc(arena, (extra + cells) * sizeof *m->now_extra.columns);
  m->now_extra.values = trb_arena_alloc(arena, (extra + cells) * sizeof *m->now_extra.values);
  if (!m->now.values || !m->columns || !m->times || !m->now_extra.columns || !m->now_extra.values) return nomem(err);
  memcpy(m->now.values, m->old.values, columns * sizeof *m->now.values);
  if (extra) {
    memcpy(m->now_extra.columns, m->old_extra.columns, extra * sizeof *m->now_extra.columns);
    memcpy(m->now_extra.values, m->old_extra.values, extra * sizeof *m->now_extra.values);
  }
  m->now_extra.count = extra;
  return TRB_OK;
}

static enum trb_status merge_store(struct work *w, struct merge *m, struct trb_error *err) {
  trb_hlc all = w->change->op == TRB_OP_PUT && !m->lost ? w->op_time : 0;
  times_set(m->old.times, all, m->won, m->columns, m->times, &w->s->times);
  extra_write(&m->now_extra, &w->s->extra);
  if (w->s->times.failed || w->s->extra.failed) return nomem(err);
  m->now.times = trb_buf_slice(&w->s->times);
  m->now.extra = trb_buf_slice(&w->s->extra);
  enum trb_status status = rows_replace(w->s->rows, w->table, w->context->site, w->change->id, &m->now, err);
  if (status != TRB_OK) return row_refused(w, status, err);
  if (!m->changed) return TRB_OK;
  struct history_change what = history_of(w, (int)w->change->op);
  status = history_add(w->s, &what, &m->superseded, err);
  if (status == TRB_OK && !w->input->retry) {
    struct digest_entry *entry;
    status = digest_entry(w, &entry, err);
    if (status == TRB_OK) entry->sum += m->digest_delta;
  }
  return status == TRB_OK ? tell_unify(w, &m->now, m->old.values, m->now.values, false, err) : status;
}

/* Each change is within the limit by itself (change_check); many SETs of different columns must not go past it. */
static bool grows_too_large(const struct work *w, const struct merge *m) {
  size_t now = m->changed ? row_bytes(w, m->now.values, &m->now_extra) : 0;
  return now > TRB_ROW_BYTES_MAX && now > row_bytes(w, m->old.values, &m->old_extra);
}

static enum trb_status merge_row(struct work *w, const struct row *old, struct trb_error *err) {
  struct merge m = {.old = *old};
  enum trb_status status = merge_begin(w, &m, err);
  if (status == TRB_OK) {
    merge_columns(w, &m);
    const struct trb_column *missing = missing_required(w, &m.now);
    if (missing) {
      w->refusal = TRB_REFUSED_REQUIRED;
      snprintf(w->reason, sizeof w->reason, "%s.%s is missing", w->table->name, missing->name);
    } else if (grows_too_large(w, &m)) {
      w->refusal = TRB_REFUSED_SIZE;
    } else if (m.won) {
      status = merge_store(w, &m, err);
    }
  }
  if (status == TRB_OK && w->refusal == TRB_REFUSED_NONE) {
    struct history_change what = history_of(w, 0);
    status = history_add(w->s, &what, &m.late, err);
  }
  trb_buf_free(&m.superseded.body);
  trb_buf_free(&m.late.body);
  return status;
}

/* ---- deletes ---- */

static enum trb_status dig_grave(struct work *w, const struct row *old, struct trb_error *err) {
  struct site_facts *facts;
  enum trb_status status = store_facts(w->s, w->context->site, &facts, err);
  if (status != TRB_OK) return status;
  facts->tombstones = true;
  trb_hlc accepted = old ? old->accepted : w->context->accepted;
  uint32_t position = old ? old->position : w->input->position;
  return db_run(w->s->db, err,
                "INSERT INTO tombstone(site,tbl,row_id,time,accepted,pos) VALUES(?1,?2,?3,?4,?5,?6) "
                "ON CONFLICT DO UPDATE SET time=max(time, excluded.time)",
                "iisiii", w->context->site, (int64_t)w->change->table, w->change->id, (int64_t)w->op_time,
                (int64_t)accepted, (int64_t)position);
}

static enum trb_status remember_row(struct work *w, const struct row *old, struct trb_error *err) {
  struct history_list list = {0};
  for (size_t i = 0; i < w->table->column_count; i++)
    if (old->values[i].type != TRB_NULL) {
      uint16_t column = w->table->columns[i].number;
      history_note(&list, column, old->values[i], times_get(old->times, column));
    }
  struct history_change what = history_of(w, (int)w->change->op);
  enum trb_status status = history_add(w->s, &what, &list, err);
  trb_buf_free(&list.body);
  return status;
}

static enum trb_status delete_row(struct work *w, const struct row *old, struct trb_error *err) {
  if (w->op_time < times_latest(old->times)) { /* an older stream's delete: the row was written again since */
    struct history_list list = {0};
    history_note(&list, 0, trb_null(), w->op_time);
    struct history_change what = history_of(w, 0);
    enum trb_status status = history_add(w->s, &what, &list, err);
    trb_buf_free(&list.body);
    return status;
  }
  enum trb_status status = remember_row(w, old, err);
  if (status == TRB_OK) status = digest_row(w, old, -1, err);
  if (status == TRB_OK) status = rows_delete(w->s->rows, w->table, old->rid, err);
  if (status == TRB_OK) status = dig_grave(w, old, err);
  return status == TRB_OK ? tell_unify(w, old, old->values, NULL, false, err) : status;
}

/* ---- the change ---- */

static enum trb_status apply_one(struct work *w, struct trb_error *err) {
  bool fresh = false, found = false;
  enum trb_status status = TRB_OK;
  if (w->change->op == TRB_OP_PUT) {
    status = try_insert(w, &fresh, err);
    if (status != TRB_OK || fresh) return status;
    trb_buf_clear(&w->s->times);
    trb_buf_clear(&w->s->extra);
  }
  struct row old;
  status = rows_find(w->s->rows, w->table, w->context->site, 0, w->change->id, &w->s->scratch, &old, &found, err);
  if (status != TRB_OK) return status;
  if (w->change->op == TRB_OP_DELETE || w->change->op == TRB_OP_UNDO)
    return found ? delete_row(w, &old, err) : dig_grave(w, NULL, err);
  return found ? merge_row(w, &old, err) : try_insert(w, &fresh, err);
}

static enum trb_status joins_set_aside(struct work *w, struct trb_error *err) {
  struct site_facts *facts;
  enum trb_status status = store_facts(w->s, w->context->site, &facts, err);
  if (status != TRB_OK || !facts->set_aside || w->input->retry) return status;
  bool has = false;
  status = setaside_has(w->s, w->context->site, w->change->table, w->change->id, &has, err);
  if (has) w->refusal = TRB_REFUSED_EARLIER;
  return status;
}

static void note_hq_table(struct work *w) {
  switch (w->change->table) {
    case TRB_T_site:
    case TRB_T_site_key:
    case TRB_T_site_state:
    case TRB_T_invitation:
    case TRB_T_setting: w->s->roster_changed = true; break;
    case TRB_T_custom_table:
    case TRB_T_custom_column: w->s->definitions = true; break;
    default: break;
  }
}

enum trb_status apply_change(struct store *s, const struct apply_context *context, const struct apply_input *input,
                             enum trb_refusal *ret_refusal, struct trb_error *err) {
  struct trb_error local;
  if (!err) err = &local;
  trb_arena_reset(&s->scratch);
  trb_buf_clear(&s->times);
  trb_buf_clear(&s->extra);
  struct work w = {.s = s,
                   .context = context,
                   .input = input,
                   .change = input->change,
                   .table = catalogue_table(s->catalogue, input->change->table),
                   .op_time = context->times[input->change->mark],
                   .refusal = input->refusal};
  if (input->reason) snprintf(w.reason, sizeof w.reason, "%s", input->reason);
  if (!w.table && w.refusal == TRB_REFUSED_NONE) w.refusal = TRB_REFUSED_TABLE;
  enum trb_status status = w.refusal == TRB_REFUSED_NONE ? joins_set_aside(&w, err) : TRB_OK;
  if (status == TRB_OK && w.refusal == TRB_REFUSED_NONE) status = apply_one(&w, err);
  if (status == TRB_OK && w.refusal != TRB_REFUSED_NONE && !input->retry)
    status = setaside_add(s, context, input, w.refusal, w.reason[0] ? w.reason : refusal_text(w.refusal), err);
  if (status == TRB_OK && context->site == TRB_HQ_SITE_NO) note_hq_table(&w);
  if (status == TRB_OK && ret_refusal) *ret_refusal = w.refusal;
  return status;
}
