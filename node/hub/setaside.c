/* setaside: see setaside.h. Everything here is off the common path: clarity over speed. */
#include "setaside.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static enum trb_status nomem(struct trb_error *err) { return trb_fail(err, TRB_NOMEM, "out of memory"); }

/* ---- what a branch believes of a row ---- */

struct believed {
  bool live;
  size_t count, cap;
  uint16_t *columns; /* not sorted; NULL values stay, hashing to 0 */
  struct trb_value *values;
};

static bool believed_put(struct believed *b, struct trb_arena *arena, uint16_t column, struct trb_value value) {
  for (size_t i = 0; i < b->count; i++)
    if (b->columns[i] == column) {
      b->values[i] = value;
      return true;
    }
  if (b->count == b->cap) {
    size_t cap = b->cap ? 2 * b->cap : 64;
    uint16_t *columns = trb_arena_alloc(arena, cap * sizeof *columns);
    struct trb_value *values = trb_arena_alloc(arena, cap * sizeof *values);
    if (!columns || !values) return false;
    if (b->count) {
      memcpy(columns, b->columns, b->count * sizeof *columns);
      memcpy(values, b->values, b->count * sizeof *values);
    }
    b->columns = columns;
    b->values = values;
    b->cap = cap;
  }
  b->columns[b->count] = column;
  b->values[b->count++] = value;
  return true;
}

static bool believed_overlay(struct believed *b, struct trb_arena *arena, const struct trb_change *change) {
  bool ok = true;
  if (change->op == TRB_OP_PUT || change->op == TRB_OP_DELETE || change->op == TRB_OP_UNDO) b->count = 0;
  b->live = change->op == TRB_OP_PUT || change->op == TRB_OP_SET;
  for (size_t i = 0; ok && i < change->cell_count; i++)
    ok = believed_put(b, arena, change->cells[i].column, change->cells[i].value);
  return ok;
}

static uint64_t believed_sum(const struct believed *b, uint16_t table, struct trb_slice id) {
  if (!b->live) return 0;
  uint64_t sum = digest_cell(table, id, 0, trb_null());
  for (size_t i = 0; i < b->count; i++)
    if (b->values[i].type != TRB_NULL) sum += digest_cell(table, id, b->columns[i], b->values[i]);
  return sum;
}

static enum trb_status believed_row(struct rows *rows, const struct trb_table *table, const struct row *row,
                                    struct trb_arena *arena, struct believed *b, struct trb_error *err) {
  (void)rows;
  struct extra extra;
  enum trb_status status = extra_read(row->extra, arena, &extra, err);
  if (status != TRB_OK) return status;
  bool ok = true;
  b->live = true;
  for (size_t i = 0; ok && i < table->column_count; i++)
    ok = believed_put(b, arena, table->columns[i].number, row->values[i]);
  for (size_t i = 0; ok && i < extra.count; i++) ok = believed_put(b, arena, extra.columns[i], extra.values[i]);
  return ok ? TRB_OK : nomem(err);
}

static enum trb_status overlay_set_aside(struct trb_db *db, int64_t site, uint16_t table, struct trb_slice id,
                                         struct trb_arena *arena, struct believed *b, struct trb_error *err) {
  TRB_STMT_AUTO *stmt = NULL;
  enum trb_status status =
      db_queryf(db, err, &stmt, "SELECT change FROM set_aside WHERE site=?1 AND tbl=?2 AND row_id=?3 ORDER BY no",
                "iis", site, (int64_t)table, id);
  bool row = status == TRB_OK;
  while (status == TRB_OK && (status = stmt_step(stmt, &row, err)) == TRB_OK && row) {
    bool ok = true;
    struct trb_change change;
    struct trb_slice bytes = trb_arena_copy(arena, stmt_slice(stmt, 0), &ok);
    status = ok ? change_decode(bytes, arena, &change, err) : nomem(err);
    if (status == TRB_PEER) status = TRB_STORE; /* our own bytes */
    if (status == TRB_OK && !believed_overlay(b, arena, &change)) status = nomem(err);
  }
  return status;
}

static enum trb_status believe(struct store *s, int64_t site, uint16_t number, struct trb_slice id,
                               struct trb_arena *arena, struct believed *ret, struct trb_error *err) {
  *ret = (struct believed){0};
  const struct trb_table *table = catalogue_table(s->catalogue, number);
  enum trb_status status = TRB_OK;
  if (table && table->owner != TRB_OWNER_COMPUTED && trb_id_valid(id)) {
    struct row row;
    bool found = false;
    status = rows_find(s->rows, table, site, 0, id, arena, &row, &found, err);
    if (status == TRB_OK && found) status = believed_row(s->rows, table, &row, arena, ret, err);
  }
  return status == TRB_OK ? overlay_set_aside(s->db, site, number, id, arena, ret, err) : status;
}

static enum trb_status count_in_digest(struct store *s, int64_t site, const struct trb_change *change,
                                       struct trb_error *err) {
  TRB_ARENA_AUTO arena = {0};
  struct believed b;
  struct digest_entry *entry = NULL;
  enum trb_status status = believe(s, site, change->table, change->id, &arena, &b, err);
  if (status == TRB_OK) status = digests_get(s->digests, site, change->table, &entry, err);
  if (status != TRB_OK) return status;
  entry->sum -= believed_sum(&b, change->table, change->id);
  entry->rows -= b.live;
  if (!believed_overlay(&b, &arena, change)) return nomem(err);
  entry->sum += believed_sum(&b, change->table, change->id);
  entry->rows += b.live;
  entry->dirty = true;
  return TRB_OK;
}

/* ---- adding ---- */

static enum trb_status tell_branch(struct store *s, int64_t site, int64_t no, struct trb_error *err) {
  s->notes = true;
  if (!s->unify || site == TRB_HQ_SITE_NO) return TRB_OK;
  return down_note(s->unify, site, TRB_T_rejected_change, no, err);
}

static void table_name(const struct store *s, uint16_t number, char ret[64]) {
  const struct trb_table *table = catalogue_table(s->catalogue, number);
  if (table)
    snprintf(ret, 64, "%s", table->name);
  else
    snprintf(ret, 64, "%u", number);
}

static void encode_times(const struct apply_context *context, const struct trb_change *change, struct trb_buf *out) {
  uint8_t bytes[8];
  trb_put_u64(bytes, context->times[change->mark]);
  trb_buf_append(out, bytes, sizeof bytes);
  for (size_t i = 0; i < change->cell_count; i++) {
    trb_put_u64(bytes, context->times[change->cells[i].mark]);
    trb_buf_append(out, bytes, sizeof bytes);
  }
}

enum trb_status setaside_add(struct store *s, const struct apply_context *context, const struct apply_input *input,
                             enum trb_refusal reason, const char *text, struct trb_error *err) {
  const struct trb_change *change = input->change;
  struct site_facts *facts;
  enum trb_status status = count_in_digest(s, context->site, change, err);
  if (status == TRB_OK) status = store_facts(s, context->site, &facts, err);
  if (status != TRB_OK) return status;
  facts->set_aside = true;
  TRB_BUF_AUTO bytes = {0};
  TRB_BUF_AUTO times = {0};
  char name[64];
  table_name(s, change->table, name);
  change_encode(change, &bytes);
  encode_times(context, change, &times);
  if (bytes.failed || times.failed) return nomem(err);
  status = db_run(s->db, err,
                  "INSERT INTO set_aside(site,tbl,table_name,row_id,op,change,times,accepted,pos,reason,reason_text,"
                  "sequence,at) VALUES(?1,?2,?3,?4,?5,?6,?7,?8,?9,?10,?11,?12,?13)",
                  "iitsibbiiitii", context->site, (int64_t)change->table, name, change->id, (int64_t)change->op,
                  trb_buf_slice(&bytes), trb_buf_slice(&times), (int64_t)context->accepted, (int64_t)input->position,
                  (int64_t)reason, text, (int64_t)context->sequence, context->now_ms);
  if (status == TRB_OK) s->set_aside_count++;
  return status == TRB_OK ? tell_branch(s, context->site, db_last_rowid(s->db), err) : status;
}

enum trb_status setaside_has(struct store *s, int64_t site, uint16_t table, struct trb_slice id, bool *ret,
                             struct trb_error *err) {
  int64_t has = 0;
  enum trb_status status =
      db_get_int(s->db, err, &has, "SELECT EXISTS(SELECT 1 FROM set_aside WHERE site=?1 AND tbl=?2 AND row_id=?3)",
                 "iis", site, (int64_t)table, id);
  if (status == TRB_OK) *ret = has != 0;
  return status;
}

enum trb_status setaside_digest(struct store *s, int64_t site, uint16_t table, uint64_t sequence, bool differs,
                                int64_t now_ms, struct trb_error *err) {
  int64_t no = 0;
  struct site_facts *facts;
  enum trb_status status = store_facts(s, site, &facts, err);
  if (status != TRB_OK || (!differs && !facts->set_aside)) return status;
  status = db_get_int(s->db, err, &no, "SELECT no FROM set_aside WHERE site=?1 AND tbl=?2 AND row_id=''", "ii", site,
                      (int64_t)table);
  if (status != TRB_OK && status != TRB_ABSENT) return status;
  bool stands = status == TRB_OK;
  if (stands == differs) return TRB_OK;
  if (!differs) {
    status = db_run(s->db, err, "DELETE FROM set_aside WHERE no=?1", "i", no);
    return status == TRB_OK ? tell_branch(s, site, no, err) : status;
  }
  facts->set_aside = true;
  char name[64];
  table_name(s, table, name);
  status = db_run(s->db, err,
                  "INSERT INTO set_aside(site,tbl,table_name,row_id,op,change,times,accepted,pos,reason,reason_text,"
                  "sequence,at) VALUES(?1,?2,?3,'',0,x'',x'',?4,0,?5,?6,?7,?8)",
                  "iitiitii", site, (int64_t)table, name, (int64_t)s->last_commit, (int64_t)SETASIDE_DIGEST,
                  "what headquarters holds of this table differs from what the branch says it sent", (int64_t)sequence,
                  now_ms);
  return status == TRB_OK ? tell_branch(s, site, db_last_rowid(s->db), err) : status;
}

/* ---- retrying ---- */

struct held { /* one row of set_aside, in an arena */
  int64_t no, site, now_ms;
  enum trb_refusal reason;
  uint64_t sequence;
  trb_hlc accepted;
  uint32_t position;
  struct trb_change change;
  trb_hlc *times; /* of the operation, then of each cell */
};

static enum trb_status read_held(struct store *s, int64_t no, struct trb_arena *arena, struct held *ret,
                                 struct trb_error *err) {
  TRB_STMT_AUTO *stmt = NULL;
  enum trb_status status =
      db_queryf(s->db, err, &stmt,
                "SELECT site, reason, sequence, accepted, pos, change, times FROM set_aside WHERE no=?1", "i", no);
  bool row = false, ok = true;
  if (status == TRB_OK) status = stmt_step(stmt, &row, err);
  if (status != TRB_OK) return status;
  if (!row) return trb_fail(err, TRB_ABSENT, "no change %lld is set aside", (long long)no);
  *ret = (struct held){.no = no,
                       .site = stmt_int(stmt, 0),
                       .reason = (enum trb_refusal)stmt_int(stmt, 1),
                       .sequence = (uint64_t)stmt_int(stmt, 2),
                       .accepted = (trb_hlc)stmt_int(stmt, 3),
                       .position = (uint32_t)stmt_int(stmt, 4)};
  struct trb_slice bytes = trb_arena_copy(arena, stmt_slice(stmt, 5), &ok);
  struct trb_slice times = stmt_slice(stmt, 6);
  if (!ok) return nomem(err);
  status = change_decode(bytes, arena, &ret->change, err);
  if (status == TRB_OK && times.len != 8 * (ret->change.cell_count + 1)) status = TRB_PEER;
  if (status != TRB_OK) return trb_fail(err, TRB_STORE, "hub.db: set-aside change %lld is damaged", (long long)no);
  ret->times = trb_arena_alloc(arena, times.len);
  if (!ret->times) return nomem(err);
  for (size_t i = 0; i < times.len / 8; i++) ret->times[i] = trb_get_u64(times.data + 8 * i);
  ret->change.mark = 0; /* indexes into its own times now */
  for (size_t i = 0; i < ret->change.cell_count; i++) ret->change.cells[i].mark = (uint32_t)i + 1;
  return TRB_OK;
}

static enum trb_status keep_held(struct store *s, const struct held *h, enum trb_refusal reason, const char *text,
                                 struct trb_error *err) {
  enum trb_status status = db_run(s->db, err, "UPDATE set_aside SET reason=?2, reason_text=?3 WHERE no=?1", "iit",
                                  h->no, (int64_t)reason, text);
  return status == TRB_OK ? tell_branch(s, h->site, h->no, err) : status;
}

/* *ret_refusal: NONE when it was applied and is gone from here. */
static enum trb_status retry_one(struct store *s, const struct held *h, bool release, enum trb_refusal *ret_refusal,
                                 struct trb_error *err) {
  struct trb_error why = {0};
  enum trb_refusal refusal = change_check(s->catalogue, &h->change, h->site == TRB_HQ_SITE_NO, &why);
  if (refusal == TRB_REFUSED_NONE && h->reason == TRB_REFUSED_MASS_DELETE && !release) refusal = h->reason;
  enum trb_status status = TRB_OK;
  if (refusal == TRB_REFUSED_NONE) {
    struct apply_context context = {h->site, h->sequence, h->accepted, h->now_ms, h->times};
    struct apply_input input = {.change = &h->change, .position = h->position, .retry = true};
    status = apply_change(s, &context, &input, &refusal, err);
  }
  *ret_refusal = refusal;
  if (status != TRB_OK) return status;
  if (refusal != TRB_REFUSED_NONE) return keep_held(s, h, refusal, why.text[0] ? why.text : refusal_text(refusal), err);
  status = db_run(s->db, err, "DELETE FROM set_aside WHERE no=?1", "i", h->no);
  return status == TRB_OK ? tell_branch(s, h->site, h->no, err) : status;
}

struct number_list {
  size_t count, cap;
  int64_t *numbers; /* owned */
};

static enum trb_status read_numbers(struct trb_stmt *stmt, struct number_list *list, struct trb_error *err) {
  bool row = true;
  enum trb_status status = TRB_OK;
  while (status == TRB_OK && (status = stmt_step(stmt, &row, err)) == TRB_OK && row) {
    if (list->count == list->cap) {
      size_t cap = list->cap ? 2 * list->cap : 256;
      int64_t *numbers = realloc(list->numbers, cap * sizeof *numbers);
      if (!numbers) return nomem(err);
      list->numbers = numbers;
      list->cap = cap;
    }
    list->numbers[list->count++] = stmt_int(stmt, 0);
  }
  return status;
}

/* Changes come ordered by row: after a refusal the rest of that row stays. */
static enum trb_status retry_list(struct store *s, const struct number_list *list, bool release, int64_t now_ms,
                                  struct setaside_outcome *ret, struct trb_error *err) {
  TRB_ARENA_AUTO last_row = {0};
  TRB_ARENA_AUTO arena = {0};
  struct held previous = {0};
  bool refused = false;
  enum trb_status status = TRB_OK;
  for (size_t i = 0; status == TRB_OK && i < list->count; i++) {
    struct held h;
    trb_arena_reset(&arena);
    status = read_held(s, list->numbers[i], &arena, &h, err);
    if (status != TRB_OK) break;
    h.now_ms = now_ms;
    bool same_row = previous.no && previous.site == h.site && previous.change.table == h.change.table &&
                    trb_slice_equal(previous.change.id, h.change.id);
    if (!same_row) refused = false;
    enum trb_refusal refusal = TRB_REFUSED_EARLIER;
    if (!refused) status = retry_one(s, &h, release, &refusal, err);
    refused = refusal != TRB_REFUSED_NONE;
    ret->applied += !refused;
    ret->refused += refused;
    bool ok = true;
    trb_arena_reset(&last_row);
    previous = h;
    previous.change.id = trb_arena_copy(&last_row, h.change.id, &ok);
    if (!ok) status = nomem(err);
  }
  if (s->site_cap) /* looked up again: the last one may have gone */
    for (size_t i = 0; i < s->site_cap; i++) s->facts[i].known = false;
  return status;
}

enum trb_status setaside_retry(struct store *s, int64_t no, bool release, int64_t now_ms, struct setaside_outcome *ret,
                               struct trb_error *err) {
  TRB_STMT_AUTO *stmt = NULL;
  struct number_list list = {0};
  enum trb_status status;
  *ret = (struct setaside_outcome){0};
  if (no)
    status = db_queryf(s->db, err, &stmt,
                       "SELECT b.no FROM set_aside a JOIN set_aside b ON a.site=b.site AND a.tbl=b.tbl AND "
                       "a.row_id=b.row_id WHERE a.no=?1 AND a.row_id<>'' ORDER BY b.no",
                       "i", no);
  else
    status =
        db_queryf(s->db, err, &stmt, "SELECT no FROM set_aside WHERE row_id<>'' ORDER BY site, tbl, row_id, no", "");
  if (status == TRB_OK) status = read_numbers(stmt, &list, err);
  if (status == TRB_OK && no && list.count == 0)
    status = trb_fail(err, TRB_ABSENT, "no change %lld is set aside (tributary rejected lists them)", (long long)no);
  if (status == TRB_OK) status = retry_list(s, &list, release, now_ms, ret, err);
  free(list.numbers);
  return status;
}

enum trb_status setaside_retry_tables(struct store *s, int64_t now_ms, struct setaside_outcome *ret,
                                      struct trb_error *err) {
  *ret = (struct setaside_outcome){0};
  for (size_t i = 0; i < catalogue_count(s->catalogue); i++) {
    const struct trb_table *table = catalogue_at(s->catalogue, i);
    TRB_STMT_AUTO *stmt = NULL;
    struct number_list list = {0};
    enum trb_status status = db_queryf(
        s->db, err, &stmt,
        "SELECT b.no FROM set_aside b WHERE b.tbl=?1 AND row_id<>'' AND EXISTS(SELECT 1 FROM set_aside a WHERE "
        "a.site=b.site AND a.tbl=b.tbl AND a.row_id=b.row_id AND a.reason=1) ORDER BY site, row_id, no",
        "i", (int64_t)table->number);
    if (status == TRB_OK) status = read_numbers(stmt, &list, err);
    if (status == TRB_OK) status = retry_list(s, &list, false, now_ms, ret, err);
    free(list.numbers);
    if (status != TRB_OK) return status;
  }
  return TRB_OK;
}

/* ---- from nothing ---- */

static enum trb_status sum_set_aside_rows(struct trb_db *db, struct rows *rows, const struct trb_table *table,
                                          int64_t site, uint16_t number, struct setaside_sum *sum,
                                          struct trb_error *err) {
  TRB_ARENA_AUTO arena = {0};
  TRB_STMT_AUTO *stmt = NULL;
  enum trb_status status =
      db_queryf(db, err, &stmt, "SELECT DISTINCT row_id FROM set_aside WHERE site=?1 AND tbl=?2 AND row_id<>''", "ii",
                site, (int64_t)number);
  bool more = status == TRB_OK;
  while (status == TRB_OK && (status = stmt_step(stmt, &more, err)) == TRB_OK && more) {
    trb_arena_reset(&arena);
    bool ok = true, found = false;
    struct trb_slice id = trb_arena_copy(&arena, stmt_slice(stmt, 0), &ok);
    struct believed b = {0};
    struct row row;
    if (!ok) return nomem(err);
    if (table && trb_id_valid(id)) status = rows_find(rows, table, site, 0, id, &arena, &row, &found, err);
    if (status == TRB_OK && found) {
      status = believed_row(rows, table, &row, &arena, &b, err);
      sum->sum -= believed_sum(&b, number, id);
      sum->rows -= 1;
    }
    if (status == TRB_OK) status = overlay_set_aside(db, site, number, id, &arena, &b, err);
    sum->sum += believed_sum(&b, number, id);
    sum->rows += b.live;
  }
  return status;
}

static enum trb_status sum_rows(struct trb_db *db, const struct trb_table *table, int64_t site,
                                struct setaside_sum *sum, struct trb_error *err) {
  TRB_ARENA_AUTO arena = {0};
  TRB_BUF_AUTO sql = {0};
  trb_buf_append_str(&sql, "SELECT id,_extra");
  for (size_t i = 0; i < table->column_count; i++) trb_buf_printf(&sql, ",\"%s\"", table->columns[i].name);
  trb_buf_printf(&sql, " FROM \"%s\" WHERE _site=?1", table->name);
  TRB_STMT_AUTO *stmt = NULL;
  const char *text = trb_buf_cstr(&sql);
  if (sql.failed) return nomem(err);
  enum trb_status status = db_queryf(db, err, &stmt, text, "i", site);
  bool more = status == TRB_OK;
  while (status == TRB_OK && (status = stmt_step(stmt, &more, err)) == TRB_OK && more) {
    trb_arena_reset(&arena);
    struct extra extra;
    status = extra_read(stmt_slice(stmt, 1), &arena, &extra, err);
    if (status != TRB_OK) break;
    struct trb_slice id = stmt_slice(stmt, 0);
    sum->rows++;
    sum->sum += digest_cell(table->number, id, 0, trb_null());
    for (size_t i = 0; i < table->column_count; i++) {
      struct trb_value value = stmt_value(stmt, 2 + (int)i);
      if (value.type != TRB_NULL) sum->sum += digest_cell(table->number, id, table->columns[i].number, value);
    }
    for (size_t i = 0; i < extra.count; i++)
      sum->sum += digest_cell(table->number, id, extra.columns[i], extra.values[i]);
  }
  return status;
}

enum trb_status setaside_table_digest(struct trb_db *db, struct rows *rows, const struct trb_catalogue *catalogue,
                                      int64_t site, uint16_t number, struct setaside_sum *ret, struct trb_error *err) {
  struct setaside_sum sum = {0};
  const struct trb_table *table = catalogue_table(catalogue, number);
  if (table && table->owner == TRB_OWNER_COMPUTED) table = NULL;
  enum trb_status status = table ? sum_rows(db, table, site, &sum, err) : TRB_OK;
  if (status == TRB_OK) status = sum_set_aside_rows(db, rows, table, site, number, &sum, err);
  if (status == TRB_OK) *ret = sum;
  return status;
}
