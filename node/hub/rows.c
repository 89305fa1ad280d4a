/* rows: see rows.h. */
#include "rows.h"

#include <stdlib.h>
#include <string.h>

#include "tributary/mp.h"
#include "tributary/schema.h"

struct row_table {
  const struct trb_table *table;
  struct trb_stmt *insert, *by_rid, *by_id, *upsert, *erase; /* owned, made at first use */
};
struct rows {
  struct trb_db *db;
  struct trb_catalogue *catalogue;
  size_t count;
  struct row_table *tables; /* ascending by number, as the catalogue */
};

enum trb_status rows_new(struct trb_db *db, struct trb_catalogue *catalogue, struct rows **ret, struct trb_error *err) {
  struct rows *rows = calloc(1, sizeof *rows);
  size_t count = catalogue_count(catalogue);
  if (!rows || !(rows->tables = calloc(count, sizeof *rows->tables))) {
    free(rows);
    return trb_fail(err, TRB_NOMEM, "out of memory");
  }
  rows->db = db;
  rows->catalogue = catalogue_ref(catalogue);
  rows->count = count;
  for (size_t i = 0; i < count; i++) rows->tables[i].table = catalogue_at(catalogue, i);
  *ret = rows;
  return TRB_OK;
}

void rows_free(struct rows **rows_p) {
  struct rows *rows = *rows_p;
  if (!rows) return;
  *rows_p = NULL;
  for (size_t i = 0; i < rows->count; i++) {
    struct row_table *t = &rows->tables[i];
    stmt_free(&t->insert);
    stmt_free(&t->by_rid);
    stmt_free(&t->by_id);
    stmt_free(&t->upsert);
    stmt_free(&t->erase);
  }
  catalogue_unref(&rows->catalogue);
  free(rows->tables);
  free(rows);
}

static struct row_table *find_table(struct rows *rows, const struct trb_table *table) {
  size_t low = 0, high = rows->count;
  while (low < high) {
    size_t middle = (low + high) / 2;
    if (rows->tables[middle].table->number < table->number)
      low = middle + 1;
    else
      high = middle;
  }
  TRB_ASSERT(low < rows->count && rows->tables[low].table->number == table->number);
  return &rows->tables[low];
}

typedef void sql_fn(const struct trb_table *table, struct trb_buf *out);

static void insert_sql(const struct trb_table *table, struct trb_buf *out) {
  trb_buf_printf(out, "INSERT INTO \"%s\"(_rid,_site,id,_times,_extra,_accepted,_pos,", table->name);
  schema_columns(table, "", out);
  trb_buf_append_str(out, ")VALUES(?1,?2,?3,?4,?5,?6,?7");
  for (size_t i = 0; i < table->column_count; i++) trb_buf_printf(out, ",?%zu", i + TRB_HUB_UPSERT_COLUMNS);
  trb_buf_append_str(out, ")ON CONFLICT DO NOTHING");
}

static void erase_sql(const struct trb_table *table, struct trb_buf *out) {
  trb_buf_printf(out, "DELETE FROM \"%s\" WHERE _rid=?1", table->name);
}

static enum trb_status statement(struct rows *rows, struct trb_stmt **slot, const struct trb_table *table, sql_fn *make,
                                 struct trb_error *err) {
  if (*slot) return TRB_OK;
  TRB_BUF_AUTO sql = {0};
  make(table, &sql);
  const char *text = trb_buf_cstr(&sql);
  if (sql.failed) return trb_fail(err, TRB_NOMEM, "out of memory");
  return db_prepare(rows->db, text, slot, err);
}

static struct trb_value copy_value(struct trb_arena *arena, struct trb_value value, bool *ok) {
  if (value.type == TRB_TEXT || value.type == TRB_BLOB) value.s = trb_arena_copy(arena, value.s, ok);
  return value;
}

static enum trb_status read_row(struct trb_stmt *stmt, const struct trb_table *table, struct trb_arena *arena,
                                struct row *ret, struct trb_error *err) {
  bool ok = true;
  struct row row = {.rid = stmt_int(stmt, 0),
                    .times = trb_arena_copy(arena, stmt_slice(stmt, 1), &ok),
                    .extra = trb_arena_copy(arena, stmt_slice(stmt, 2), &ok),
                    .accepted = (trb_hlc)stmt_int(stmt, 3),
                    .position = (uint32_t)stmt_int(stmt, 4)};
  row.values = trb_arena_alloc(arena, table->column_count * sizeof *row.values);
  for (size_t i = 0; row.values && i < table->column_count; i++)
    row.values[i] = copy_value(arena, stmt_value(stmt, TRB_HUB_ROW_COLUMNS + (int)i), &ok);
  if (!ok || !row.values) return trb_fail(err, TRB_NOMEM, "out of memory");
  *ret = row;
  return TRB_OK;
}

enum trb_status rows_find(struct rows *rows, const struct trb_table *table, int64_t site, int64_t rid,
                          struct trb_slice id, struct trb_arena *arena, struct row *ret, bool *ret_found,
                          struct trb_error *err) {
  struct row_table *t = find_table(rows, table);
  if (rid == 0 && table->number == TRB_T_customer) { /* no index by id of its own: see schema_hub */
    enum trb_status known =
        db_get_int(rows->db, err, &rid, "SELECT rec FROM record WHERE site=?1 AND id=?2", "is", site, id);
    if (known == TRB_ABSENT) *ret_found = false;
    if (known != TRB_OK) return known == TRB_ABSENT ? TRB_OK : known;
  }
  struct trb_stmt **slot = rid ? &t->by_rid : &t->by_id;
  enum trb_status status = statement(rows, slot, table, rid ? schema_hub_select_rid : schema_hub_select_id, err);
  if (status != TRB_OK) return status;
  TRB_STMT_AUTO *stmt = *slot;
  stmt_bind_int(stmt, 1, rid ? rid : site);
  if (!rid) stmt_bind_slice(stmt, 2, id);
  bool found = false;
  status = stmt_step(stmt, &found, err);
  if (status == TRB_OK && found) status = read_row(stmt, table, arena, ret, err);
  if (status == TRB_OK) *ret_found = found;
  return status;
}

static void bind_row(struct trb_stmt *stmt, const struct trb_table *table, int64_t site, struct trb_slice id,
                     const struct row *row) {
  if (row->rid) stmt_bind_int(stmt, 1, row->rid); /* unbound is NULL */
  stmt_bind_int(stmt, 2, site);
  stmt_bind_slice(stmt, 3, id);
  stmt_bind_blob(stmt, 4, row->times);
  if (row->extra.len) stmt_bind_blob(stmt, 5, row->extra);
  stmt_bind_int(stmt, 6, (int64_t)row->accepted);
  stmt_bind_int(stmt, 7, row->position);
  for (size_t i = 0; i < table->column_count; i++)
    if (row->values[i].type != TRB_NULL) stmt_bind_value(stmt, TRB_HUB_UPSERT_COLUMNS + (int)i, row->values[i]);
}

enum trb_status rows_insert(struct rows *rows, const struct trb_table *table, int64_t site, struct trb_slice id,
                            struct row *row, bool *ret_new, struct trb_error *err) {
  struct row_table *t = find_table(rows, table);
  enum trb_status status = statement(rows, &t->insert, table, insert_sql, err);
  if (status != TRB_OK) return status;
  bind_row(t->insert, table, site, id, row);
  bool more;
  status = stmt_step(t->insert, &more, err);
  if (status != TRB_OK) return status;
  bool fresh = db_changes(rows->db) == 1;
  if (fresh && !row->rid) row->rid = db_last_rowid(rows->db);
  *ret_new = fresh;
  return TRB_OK;
}

enum trb_status rows_replace(struct rows *rows, const struct trb_table *table, int64_t site, struct trb_slice id,
                             const struct row *row, struct trb_error *err) {
  struct row_table *t = find_table(rows, table);
  enum trb_status status = statement(rows, &t->upsert, table, schema_hub_upsert, err);
  if (status != TRB_OK) return status;
  bind_row(t->upsert, table, site, id, row);
  bool more;
  return stmt_step(t->upsert, &more, err);
}

enum trb_status rows_delete(struct rows *rows, const struct trb_table *table, int64_t rid, struct trb_error *err) {
  struct row_table *t = find_table(rows, table);
  enum trb_status status = statement(rows, &t->erase, table, erase_sql, err);
  if (status != TRB_OK) return status;
  stmt_bind_int(t->erase, 1, rid);
  bool more;
  return stmt_step(t->erase, &more, err);
}

enum trb_status extra_read(struct trb_slice bytes, struct trb_arena *arena, struct extra *ret, struct trb_error *err) {
  *ret = (struct extra){0};
  if (!bytes.len) return TRB_OK;
  if (mp_check(bytes, NULL) != TRB_OK) return trb_fail(err, TRB_STORE, "hub.db: a row's unknown columns are damaged");
  struct mp_reader r = mp_reader(bytes);
  size_t count = mp_get_map(&r);
  uint16_t *columns = trb_arena_alloc(arena, count * sizeof *columns);
  struct trb_value *values = trb_arena_alloc(arena, count * sizeof *values);
  if (!columns || !values) return trb_fail(err, TRB_NOMEM, "out of memory");
  for (size_t i = 0; i < count; i++) {
    columns[i] = (uint16_t)mp_get_uint(&r);
    values[i] = mp_get_value(&r);
  }
  if (r.failed) return trb_fail(err, TRB_STORE, "hub.db: a row's unknown columns are damaged");
  *ret = (struct extra){count, columns, values};
  return TRB_OK;
}

void extra_write(const struct extra *extra, struct trb_buf *out) {
  size_t count = 0;
  for (size_t i = 0; i < extra->count; i++) count += extra->values[i].type != TRB_NULL;
  if (!count) return;
  mp_put_map(out, count);
  for (size_t i = 0; i < extra->count; i++) {
    if (extra->values[i].type == TRB_NULL) continue;
    mp_put_uint(out, extra->columns[i]);
    mp_put_value(out, extra->values[i]);
  }
}
