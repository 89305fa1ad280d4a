/* policy: see policy.h. */
#include "policy.h"

#include <jansson.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "policy_check.h"

struct loading {
  struct hq *hq;
  struct trb_catalogue *catalogue; /* owned: what rows are checked against */
  struct hq_changes definitions, rows;
  json_t *changed; /* owned: table -> count */
  int64_t unchanged, count;
  int64_t now_ms;
};

/* Which tables may be loaded: headquarters' own that flow to branches. Sites, keys and orders have commands of their
 * own; `decision` is written by the stewards' commands. */
static const struct trb_table *loadable(const struct trb_catalogue *catalogue, const char *name,
                                        struct trb_error *err) {
  const struct trb_table *table = catalogue_named(catalogue, name);
  if (!table) {
    trb_fail(err, TRB_PEER, "there is no table '%.60s'", name);
    return NULL;
  }
  if (table->owner != TRB_OWNER_HQ || table->flow != TRB_FLOW_DOWN || table->number == TRB_T_site) {
    trb_fail(err, TRB_PEER, "'%s' is no table of headquarters' policy", name);
    return NULL;
  }
  return table;
}

bool policy_is_json(struct trb_slice text) {
  json_t *root = json_loadb((const char *)text.data, text.len, JSON_REJECT_DUPLICATES, NULL);
  json_decref(root);
  return root != NULL;
}

static enum trb_status json_value(const struct trb_table *table, const char *column, const json_t *json,
                                  struct trb_value *ret, struct trb_error *err) {
  switch (json_typeof(json)) {
    case JSON_NULL: *ret = trb_null(); return TRB_OK;
    case JSON_TRUE: *ret = trb_int(1); return TRB_OK;
    case JSON_FALSE: *ret = trb_int(0); return TRB_OK;
    case JSON_INTEGER: *ret = trb_int(json_integer_value(json)); return TRB_OK;
    case JSON_REAL: *ret = trb_real(json_real_value(json)); return TRB_OK;
    case JSON_STRING:
      *ret = trb_text_slice(trb_slice_of(json_string_value(json), json_string_length(json)));
      return TRB_OK;
    default:
      return trb_fail(err, TRB_PEER, "%s.%.40s must be a text, a number, true, false or null", table->name, column);
  }
}

/* Does the row stand exactly so? Columns not named count as NULL, but for the standard ones. */
static enum trb_status row_stands(struct loading *l, const struct trb_table *table, const struct trb_change *change,
                                  bool *ret, struct trb_error *err) {
  TRB_ARENA_AUTO arena = {0};
  struct row row;
  bool found = false;
  *ret = false;
  enum trb_status status = TRB_OK;
  if (catalogue_table(l->hq->store->catalogue, table->number) == NULL) return TRB_OK; /* new with this file */
  status = rows_find(l->hq->store->rows, catalogue_table(l->hq->store->catalogue, table->number), TRB_HQ_SITE_NO, 0,
                     change->id, &arena, &row, &found, err);
  if (status != TRB_OK) return status;
  if (change->op == TRB_OP_DELETE) {
    *ret = !found;
    return TRB_OK;
  }
  const struct trb_table *known = catalogue_table(l->hq->store->catalogue, table->number);
  bool same = found;
  size_t cell = 0;
  for (size_t i = 0; same && i < known->column_count; i++) {
    uint16_t number = known->columns[i].number;
    while (cell < change->cell_count && change->cells[cell].column < number) cell++;
    bool named = cell < change->cell_count && change->cells[cell].column == number;
    if (number <= TRB_C_customer_created_by) continue; /* when it was written does not make it another row */
    struct trb_value value = named ? change->cells[cell].value : trb_null();
    if (known->columns[i].type == TRB_COL_REAL && value.type == TRB_INT) value = trb_real((double)value.i);
    same = trb_value_equal(value, row.values[i]);
  }
  *ret = same;
  return TRB_OK;
}

static enum trb_status check_row(struct loading *l, const struct trb_table *table, const struct trb_change *change,
                                 struct trb_error *err) {
  struct trb_error why = {0};
  enum trb_refusal refusal = change_check(l->catalogue, change, true, &why);
  if (refusal == TRB_REFUSED_NONE && change->op == TRB_OP_DELETE) return TRB_OK;
  if (refusal == TRB_REFUSED_NONE && policy_check_row(l->catalogue, table, change, &why) == TRB_OK) return TRB_OK;
  return trb_fail(err, TRB_PEER, "%s, row %lld: %s", table->name, (long long)l->count,
                  why.text[0] ? why.text : refusal_text(refusal));
}

/* ---- definitions that are known ---- */

static struct trb_value cell_of(const struct trb_change *change, uint16_t column) {
  for (size_t i = 0; i < change->cell_count; i++)
    if (change->cells[i].column == column) return change->cells[i].value;
  return trb_null();
}

static int64_t cell_int(const struct trb_change *change, uint16_t column) {
  struct trb_value value = cell_of(change, column);
  return value.type == TRB_INT ? value.i : 0;
}

/* What of a definition stays as it was, forever: branches hold rows by it. */
static bool same_definition(uint16_t table, const struct trb_change *a, const struct trb_change *b) {
  static const uint16_t tables[] = {TRB_C_custom_table_number, TRB_C_custom_table_name};
  static const uint16_t columns[] = {TRB_C_custom_column_table_number, TRB_C_custom_column_number,
                                     TRB_C_custom_column_name, TRB_C_custom_column_type};
  bool is_table = table == TRB_T_custom_table;
  const uint16_t *fixed = is_table ? tables : columns;
  size_t count = is_table ? sizeof tables / sizeof *tables : sizeof columns / sizeof *columns;
  for (size_t i = 0; i < count; i++)
    if (!trb_value_equal(cell_of(a, fixed[i]), cell_of(b, fixed[i]))) return false;
  return !is_table ||
         (cell_int(a, TRB_C_custom_table_branch_writes) != 0) == (cell_int(b, TRB_C_custom_table_branch_writes) != 0);
}

static bool same_number(uint16_t table, const struct trb_change *a, const struct trb_change *b) {
  if (table == TRB_T_custom_table)
    return cell_int(a, TRB_C_custom_table_number) == cell_int(b, TRB_C_custom_table_number);
  return cell_int(a, TRB_C_custom_column_table_number) == cell_int(b, TRB_C_custom_column_table_number) &&
         cell_int(a, TRB_C_custom_column_number) == cell_int(b, TRB_C_custom_column_number);
}

static enum trb_status definition_differs(const struct loading *l, const struct trb_table *table,
                                          const struct trb_change *change, struct trb_slice known_id,
                                          struct trb_error *err) {
  bool same_id = trb_slice_equal(change->id, known_id);
  return trb_fail(err, TRB_PEER, "%s, row %lld: %s", table->name, (long long)l->count,
                  !same_id ? "its number is given to another one already: a number is never used twice"
                  : table->number == TRB_T_custom_table
                      ? "number, name and branch_writes of a table that is known never change: make a new one"
                      : "table, number, name and type of a column that is known never change: make a new one");
}

static enum trb_status check_known(struct loading *l, const struct trb_table *table, const struct trb_change *change,
                                   const struct trb_change *known, struct trb_error *err) {
  bool same_id = trb_slice_equal(change->id, known->id);
  bool clash = same_id ? change->op == TRB_OP_PUT && !same_definition(table->number, change, known)
                       : change->op == TRB_OP_PUT && same_number(table->number, change, known);
  if (clash) return definition_differs(l, table, change, known->id, err);
  if (same_id && change->op == TRB_OP_DELETE)
    return trb_fail(err, TRB_PEER, "%s, row %lld: what was defined is never deleted, rows may hang on it", table->name,
                    (long long)l->count);
  return TRB_OK;
}

/* Against what stands in hub.db, and what stood before it in the file. */
static enum trb_status check_definition(struct loading *l, const struct trb_table *table,
                                        const struct trb_change *change, struct trb_error *err) {
  TRB_STMT_AUTO *stmt = NULL;
  bool is_table = table->number == TRB_T_custom_table, row = true;
  if (l->definitions.count > POLICY_DEFINITIONS_MAX)
    return trb_fail(err, TRB_PEER, "more than %d definitions in one file", POLICY_DEFINITIONS_MAX);
  enum trb_status status = TRB_OK;
  for (size_t i = 0; status == TRB_OK && i + 1 < l->definitions.count; i++)
    if (l->definitions.changes[i].table == table->number)
      status = check_known(l, table, change, &l->definitions.changes[i], err);
  if (status == TRB_OK)
    status = db_queryf(l->hq->store->db, err, &stmt,
                       is_table ? "SELECT id, 0, number, name, '', branch_writes FROM custom_table WHERE _site=1"
                                : "SELECT id, table_number, number, name, type, 0 FROM custom_column WHERE _site=1",
                       "");
  while (status == TRB_OK && (status = stmt_step(stmt, &row, err)) == TRB_OK && row) {
    struct trb_cell cells[4] = {
        {is_table ? TRB_C_custom_table_number : TRB_C_custom_column_number, 0, stmt_value(stmt, 2)},
        {is_table ? TRB_C_custom_table_name : TRB_C_custom_column_name, 0, stmt_value(stmt, 3)},
        {is_table ? TRB_C_custom_table_branch_writes : TRB_C_custom_column_table_number, 0,
         stmt_value(stmt, is_table ? 5 : 1)},
        {TRB_C_custom_column_type, 0, stmt_value(stmt, 4)}};
    struct trb_change known = {.table = table->number,
                               .op = TRB_OP_PUT,
                               .id = stmt_slice(stmt, 0),
                               .cells = cells,
                               .cell_count = is_table ? 3 : 4};
    status = check_known(l, table, change, &known, err);
  }
  return status;
}

static enum trb_status add_cells(struct loading *l, struct hq_changes *list, const struct trb_table *table,
                                 json_t *object, struct trb_error *err) {
  const char *key;
  json_t *member;
  bool dated = false;
  json_object_foreach(object, key, member) {
    if (strcmp(key, "id") == 0 || strcmp(key, "_delete") == 0) continue;
    const struct trb_column *column = table_column_named(table, key);
    if (!column) return trb_fail(err, TRB_PEER, "%s has no column '%.60s'", table->name, key);
    struct trb_value value;
    enum trb_status status = json_value(table, key, member, &value, err);
    if (status != TRB_OK) return status;
    dated |= column->number == TRB_C_customer_updated_at;
    hq_cell(list, column->number, value);
  }
  if (!dated) hq_cell(list, TRB_C_customer_updated_at, trb_int(l->now_ms)); /* the same number in every table */
  return TRB_OK;
}

static enum trb_status load_row(struct loading *l, const struct trb_table *table, json_t *object,
                                struct trb_error *err) {
  json_t *id = json_is_object(object) ? json_object_get(object, "id") : NULL;
  l->count++;
  if (!json_is_string(id))
    return trb_fail(err, TRB_PEER, "%s, row %lld has no id (a text)", table->name, (long long)l->count);
  if (l->count > POLICY_ROWS_MAX) return trb_fail(err, TRB_PEER, "more than %d rows in one file", POLICY_ROWS_MAX);
  bool definition = table->number == TRB_T_custom_table || table->number == TRB_T_custom_column;
  bool gone = json_is_true(json_object_get(object, "_delete"));
  struct hq_changes *list = definition ? &l->definitions : &l->rows;
  hq_change(list, table->number, gone ? TRB_OP_DELETE : TRB_OP_PUT,
            trb_slice_of(json_string_value(id), json_string_length(id)));
  if (list->failed) return trb_fail(err, TRB_NOMEM, "out of memory");
  enum trb_status status = gone ? TRB_OK : add_cells(l, list, table, object, err);
  if (list->failed) status = trb_fail(err, TRB_NOMEM, "out of memory");
  struct trb_change *change = &list->changes[list->count - 1];
  if (status == TRB_OK) status = check_row(l, table, change, err);
  if (status == TRB_OK && definition) status = check_definition(l, table, change, err);
  bool stands = false;
  if (status == TRB_OK) status = row_stands(l, table, change, &stands, err);
  if (status != TRB_OK) return status;
  if (stands) {
    list->count--;
    l->unchanged++;
    return TRB_OK;
  }
  json_int_t before = json_integer_value(json_object_get(l->changed, table->name));
  return json_object_set_new(l->changed, table->name, json_integer(before + 1)) == 0
             ? TRB_OK
             : trb_fail(err, TRB_NOMEM, "out of memory");
}

static enum trb_status load_table(struct loading *l, const char *name, json_t *rows, struct trb_error *err) {
  const struct trb_table *table = loadable(l->catalogue, name, err);
  if (!table) return TRB_PEER;
  if (!json_is_array(rows)) return trb_fail(err, TRB_PEER, "'%s' must be a list of rows", name);
  size_t i;
  json_t *row;
  json_array_foreach(rows, i, row) {
    enum trb_status status = load_row(l, table, row, err);
    if (status != TRB_OK) return status;
  }
  return TRB_OK;
}

static bool is_definition(const char *name) {
  return strcmp(name, "custom_table") == 0 || strcmp(name, "custom_column") == 0;
}

/* Definitions in the file, so that its further rows can be checked: what stands with the file's laid over it. */
static const char *member_text(json_t *object, const char *key) {
  const char *text = json_string_value(json_object_get(object, key));
  return text ? text : "";
}

static uint16_t member_number(json_t *object, const char *key) {
  json_int_t value = json_integer_value(json_object_get(object, key));
  return value < 0 || value > UINT16_MAX ? 0 : (uint16_t)value;
}

static enum trb_status preview_catalogue(struct loading *l, json_t *root, struct trb_error *err) {
  json_t *tables = json_object_get(root, "custom_table"), *columns = json_object_get(root, "custom_column"), *item;
  size_t i, table_count = 0, column_count = 0;
  if (json_array_size(tables) == 0 && json_array_size(columns) == 0) return TRB_OK;
  struct trb_custom_table *t = calloc(json_array_size(tables) + 1, sizeof *t);
  struct trb_custom_column *c = calloc(json_array_size(columns) + 1, sizeof *c);
  if (!t || !c) {
    free(t);
    free(c);
    return trb_fail(err, TRB_NOMEM, "out of memory");
  }
  json_array_foreach(tables, i, item) if (!json_is_true(json_object_get(item, "_delete"))) {
    json_t *writes = json_object_get(item, "branch_writes");
    t[table_count++] =
        (struct trb_custom_table){member_number(item, "number"), member_text(item, "name"), member_text(item, "doc"),
                                  json_is_true(writes) || json_integer_value(writes) != 0};
  }
  json_array_foreach(columns, i, item) if (!json_is_true(json_object_get(item, "_delete"))) {
    json_t *sensitive = json_object_get(item, "sensitive");
    json_int_t max = json_integer_value(json_object_get(item, "max_bytes"));
    c[column_count++] =
        (struct trb_custom_column){.table = member_number(item, "table_number"),
                                   .number = member_number(item, "number"),
                                   .name = member_text(item, "name"),
                                   .type = member_text(item, "type"),
                                   .doc = member_text(item, "doc"),
                                   .max_bytes = max < 0 || max > UINT32_MAX ? 0 : (uint32_t)max,
                                   .sensitive = json_is_true(sensitive) || json_integer_value(sensitive) != 0};
  }
  struct trb_catalogue *catalogue = NULL;
  enum trb_status status = store_merge_catalogue(l->hq->store->db, t, table_count, c, column_count, &catalogue, err);
  free(t);
  free(c);
  if (status != TRB_OK) return status;
  catalogue_unref(&l->catalogue);
  l->catalogue = catalogue;
  return TRB_OK;
}

static enum trb_status load_tables(struct loading *l, json_t *root, struct trb_error *err) {
  const char *name;
  json_t *rows;
  enum trb_status status = preview_catalogue(l, root, err);
  json_object_foreach(root, name, rows) if (status == TRB_OK && is_definition(name)) status =
      load_table(l, name, rows, err);
  json_object_foreach(root, name, rows) if (status == TRB_OK && !is_definition(name)) status =
      load_table(l, name, rows, err);
  return status;
}

static enum trb_status write_all(struct loading *l, struct trb_error *err) {
  struct unify_sites dirty;
  enum trb_status status = hq_write(l->hq, &l->definitions, l->now_ms, &dirty, err);
  return status == TRB_OK ? hq_write(l->hq, &l->rows, l->now_ms, &dirty, err) : status;
}

static enum trb_status report(const struct loading *l, bool dry_run, struct trb_buf *out, struct trb_error *err) {
  json_t *answer = json_pack("{s:O, s:I, s:b}", "changed", l->changed, "unchanged", (json_int_t)l->unchanged, "dry_run",
                             (int)dry_run);
  char *text = answer ? json_dumps(answer, JSON_COMPACT) : NULL;
  json_decref(answer);
  if (!text) return trb_fail(err, TRB_NOMEM, "out of memory");
  trb_buf_append_str(out, text);
  free(text);
  return TRB_OK;
}

enum trb_status policy_load(struct hq *hq, struct trb_slice json, bool dry_run, int64_t now_ms, struct trb_buf *out,
                            struct trb_error *err) {
  json_error_t why;
  json_t *root = json_loadb((const char *)json.data, json.len, JSON_REJECT_DUPLICATES, &why);
  if (!root) return trb_fail(err, TRB_PEER, "line %d, column %d: %s", why.line, why.column, why.text);
  struct loading l = {
      .hq = hq, .catalogue = catalogue_ref(hq->store->catalogue), .changed = json_object(), .now_ms = now_ms};
  enum trb_status status = l.changed ? TRB_OK : trb_fail(err, TRB_NOMEM, "out of memory");
  if (status == TRB_OK && !json_is_object(root))
    status = trb_fail(err, TRB_PEER, "a policy file is an object: {\"table\": [rows]}");
  if (status == TRB_OK) status = load_tables(&l, root, err);
  if (status == TRB_OK && !dry_run) status = write_all(&l, err);
  if (status == TRB_OK) status = report(&l, dry_run, out, err);
  hq_changes_free(&l.definitions);
  hq_changes_free(&l.rows);
  catalogue_unref(&l.catalogue);
  json_decref(l.changed);
  json_decref(root);
  return status;
}

/* ---- dump ---- */

static json_t *value_json(struct trb_value value) {
  switch (value.type) {
    case TRB_INT: return json_integer(value.i);
    case TRB_REAL: return json_real(value.r);
    case TRB_TEXT: return json_stringn((const char *)value.s.data, value.s.len);
    default: return json_null();
  }
}

static enum trb_status dump_table(struct trb_db *db, const struct trb_table *table, json_t *root,
                                  struct trb_error *err) {
  TRB_BUF_AUTO sql = {0};
  trb_buf_append_str(&sql, "SELECT id");
  for (size_t i = 0; i < table->column_count; i++) trb_buf_printf(&sql, ",\"%s\"", table->columns[i].name);
  trb_buf_printf(&sql, " FROM \"%s\" WHERE _site=1 ORDER BY id", table->name);
  TRB_STMT_AUTO *stmt = NULL;
  const char *text = trb_buf_cstr(&sql);
  if (sql.failed) return trb_fail(err, TRB_NOMEM, "out of memory");
  enum trb_status status = db_queryf(db, err, &stmt, text, "");
  json_t *rows = json_array();
  bool more = status == TRB_OK;
  while (status == TRB_OK && (status = stmt_step(stmt, &more, err)) == TRB_OK && more) {
    json_t *row = json_object();
    json_object_set_new(row, "id", value_json(stmt_value(stmt, 0)));
    for (size_t i = 0; i < table->column_count; i++) {
      struct trb_value value = stmt_value(stmt, (int)i + 1);
      if (value.type == TRB_NULL || value.type == TRB_BLOB || table->columns[i].number <= TRB_C_customer_created_by)
        continue;
      json_object_set_new(row, table->columns[i].name, value_json(value));
    }
    json_array_append_new(rows, row);
  }
  if (status == TRB_OK && json_array_size(rows) > 0) json_object_set(root, table->name, rows);
  json_decref(rows);
  return status;
}

enum trb_status policy_dump(struct trb_db *db, const struct trb_catalogue *catalogue, struct trb_buf *out,
                            struct trb_error *err) {
  json_t *root = json_object();
  enum trb_status status = root ? TRB_OK : trb_fail(err, TRB_NOMEM, "out of memory");
  for (size_t i = 0; status == TRB_OK && i < catalogue_count(catalogue); i++) {
    const struct trb_table *table = catalogue_at(catalogue, i);
    if (table->owner == TRB_OWNER_HQ && table->flow == TRB_FLOW_DOWN && table->number != TRB_T_site &&
        table->number != TRB_T_decision)
      status = dump_table(db, table, root, err);
  }
  char *text = status == TRB_OK ? json_dumps(root, JSON_INDENT(2)) : NULL;
  if (text)
    trb_buf_append_str(out, text);
  else if (status == TRB_OK)
    status = trb_fail(err, TRB_NOMEM, "out of memory");
  free(text);
  json_decref(root);
  return status;
}
