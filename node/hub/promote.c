/* promote: values of columns this hub did not know when they came, kept raw in _extra, move to their columns once the
 * catalogue (a newer program, or headquarters' definition) knows them. Digests stay: they count cells wherever they
 * are. */
#include <stdlib.h>
#include <string.h>

#include "store.h"

struct rid_list {
  size_t count, cap;
  int64_t *rids; /* owned */
};

static enum trb_status list_raw(struct store *s, const struct trb_table *table, struct rid_list *list,
                                struct trb_error *err) {
  TRB_BUF_AUTO sql = {0};
  TRB_STMT_AUTO *stmt = NULL;
  trb_buf_printf(&sql, "SELECT _rid FROM \"%s\" WHERE _extra IS NOT NULL", table->name);
  const char *text = trb_buf_cstr(&sql);
  if (sql.failed) return trb_fail(err, TRB_NOMEM, "out of memory");
  enum trb_status status = db_queryf(s->db, err, &stmt, text, "");
  bool row = status == TRB_OK;
  while (status == TRB_OK && (status = stmt_step(stmt, &row, err)) == TRB_OK && row) {
    if (list->count == list->cap) {
      size_t cap = list->cap ? 2 * list->cap : 1024;
      int64_t *rids = realloc(list->rids, cap * sizeof *rids);
      if (!rids) return trb_fail(err, TRB_NOMEM, "out of memory");
      list->rids = rids;
      list->cap = cap;
    }
    list->rids[list->count++] = stmt_int(stmt, 0);
  }
  return status;
}

static enum trb_status owner_of(struct store *s, const struct trb_table *table, int64_t rid, int64_t *ret_site,
                                struct trb_slice *ret_id, struct trb_error *err) {
  TRB_BUF_AUTO sql = {0};
  TRB_STMT_AUTO *stmt = NULL;
  bool row = false, ok = true;
  trb_buf_printf(&sql, "SELECT _site, id FROM \"%s\" WHERE _rid=?1", table->name);
  const char *text = trb_buf_cstr(&sql);
  if (sql.failed) return trb_fail(err, TRB_NOMEM, "out of memory");
  enum trb_status status = db_queryf(s->db, err, &stmt, text, "i", rid);
  if (status == TRB_OK) status = stmt_step(stmt, &row, err);
  if (status != TRB_OK) return status;
  if (!row) return trb_fail(err, TRB_STORE, "hub.db: a row of %s is gone", table->name);
  *ret_site = stmt_int(stmt, 0);
  *ret_id = trb_arena_copy(&s->scratch, stmt_slice(stmt, 1), &ok);
  return ok ? TRB_OK : trb_fail(err, TRB_NOMEM, "out of memory");
}

/* Known columns whose value fits move over; the rest stays raw. True when any moved. */
static bool move_values(const struct trb_table *table, struct extra *extra, struct trb_value *values) {
  size_t kept = 0;
  for (size_t i = 0; i < extra->count; i++) {
    size_t index = table_column_index(table, extra->columns[i]);
    if (index != SIZE_MAX && column_check(table, &table->columns[index], extra->values[i], NULL) == TRB_OK) {
      values[index] = extra->values[i];
      continue;
    }
    extra->columns[kept] = extra->columns[i];
    extra->values[kept++] = extra->values[i];
  }
  bool moved = kept != extra->count;
  extra->count = kept;
  return moved;
}

static enum trb_status promote_row(struct store *s, const struct trb_table *table, int64_t rid, struct trb_error *err) {
  struct row old, now;
  struct extra extra;
  struct trb_slice id;
  int64_t site = 0;
  bool found = false;
  trb_arena_reset(&s->scratch);
  trb_buf_clear(&s->extra);
  enum trb_status status = owner_of(s, table, rid, &site, &id, err);
  if (status == TRB_OK) status = rows_find(s->rows, table, site, rid, id, &s->scratch, &old, &found, err);
  if (status == TRB_OK) status = extra_read(old.extra, &s->scratch, &extra, err);
  if (status != TRB_OK) return status;
  now = old;
  now.values = trb_arena_alloc(&s->scratch, table->column_count * sizeof *now.values);
  if (!now.values) return trb_fail(err, TRB_NOMEM, "out of memory");
  memcpy(now.values, old.values, table->column_count * sizeof *now.values);
  if (!move_values(table, &extra, now.values)) return TRB_OK;
  extra_write(&extra, &s->extra);
  now.extra = trb_buf_slice(&s->extra);
  status = rows_replace(s->rows, table, site, id, &now, err);
  if (status != TRB_OK || !s->unify) return status;
  struct unify_row note = {.table = table,
                           .site = site,
                           .rid = rid,
                           .id = id,
                           .before = old.values,
                           .after = now.values,
                           .accepted = old.accepted,
                           .position = old.position};
  return unify_row(s->unify, &note, err);
}

enum trb_status promote_grown(struct store *s, struct trb_error *err) {
  enum trb_status status = TRB_OK;
  for (size_t i = 0; status == TRB_OK && i < s->grown_count; i++) {
    const struct trb_table *table = catalogue_table(s->catalogue, s->grown[i]);
    struct rid_list list = {0};
    if (table) status = list_raw(s, table, &list, err);
    for (size_t r = 0; status == TRB_OK && r < list.count; r++) status = promote_row(s, table, list.rids[r], err);
    free(list.rids);
  }
  s->grown_count = 0;
  return status;
}
