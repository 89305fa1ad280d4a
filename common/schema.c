#include "tributary/schema.h"

/* The hub's tables and the statements of both sides; replica.db itself is in schema_branch.c. */

const char *schema_type(enum trb_column_type type) {
  switch (type) {
    case TRB_COL_INT: return "INTEGER";
    case TRB_COL_REAL: return "REAL";
    case TRB_COL_BLOB: return "BLOB";
    case TRB_COL_TEXT:
    case TRB_COL_DATE: /* declared TEXT: a DATE would have numeric affinity */
    case TRB_COL_REF:
    case TRB_COL_SITE: return "TEXT";
  }
  return "BLOB";
}

void schema_comment(const char *text, struct trb_buf *out) {
  trb_buf_append_str(out, " -- ");
  for (const char *p = text; *p; p++) trb_buf_append_byte(out, (uint8_t)*p < 0x20 ? ' ' : (uint8_t)*p);
  trb_buf_append_byte(out, '\n');
}

bool schema_at_branch(const struct trb_table *table) { return table->flow != TRB_FLOW_HUB; }

bool schema_at_hub(const struct trb_table *table) { return table->owner != TRB_OWNER_COMPUTED; }

void schema_add_column(const struct trb_table *table, const struct trb_column *column, struct trb_buf *out) {
  trb_buf_printf(out, "ALTER TABLE \"%s\" ADD COLUMN \"%s\" %s;\n", table->name, column->name,
                 schema_type(column->type));
}

/* ---- statements ---- */

void schema_columns(const struct trb_table *table, const char *prefix, struct trb_buf *out) {
  for (size_t i = 0; i < table->column_count; i++)
    trb_buf_printf(out, "%s%s\"%s\"", i ? "," : "", prefix, table->columns[i].name);
}

/* ?first,?first+1,.. */
static void parameters(size_t first, size_t count, struct trb_buf *out) {
  for (size_t i = 0; i < count; i++) trb_buf_printf(out, "%s?%zu", i ? "," : "", first + i);
}

static void select_rows(const struct trb_table *table, const char *rest, struct trb_buf *out) {
  trb_buf_append_str(out, "SELECT id,");
  schema_columns(table, "", out);
  trb_buf_printf(out, " FROM \"%s\" WHERE %s", table->name, rest);
}

void schema_select_row(const struct trb_table *table, struct trb_buf *out) { select_rows(table, "id=?1", out); }

void schema_select_page(const struct trb_table *table, struct trb_buf *out) {
  select_rows(table, "id>?1 ORDER BY id LIMIT ?2", out);
}

void schema_upsert_row(const struct trb_table *table, struct trb_buf *out) {
  trb_buf_printf(out, "INSERT OR REPLACE INTO \"%s\"(id,", table->name);
  schema_columns(table, "", out);
  trb_buf_append_str(out, ")VALUES(");
  parameters(1, 1 + table->column_count, out);
  trb_buf_append_str(out, ")");
}

void schema_delete_row(const struct trb_table *table, struct trb_buf *out) {
  trb_buf_printf(out, "DELETE FROM \"%s\" WHERE id=?1", table->name);
}

static void hub_select(const struct trb_table *table, const char *where, struct trb_buf *out) {
  trb_buf_append_str(out, "SELECT _rid,_times,_extra,_accepted,_pos,");
  schema_columns(table, "", out);
  trb_buf_printf(out, " FROM \"%s\" WHERE %s", table->name, where);
}

void schema_hub_select_rid(const struct trb_table *table, struct trb_buf *out) { hub_select(table, "_rid=?1", out); }

void schema_hub_select_id(const struct trb_table *table, struct trb_buf *out) {
  hub_select(table, "_site=?1 AND id=?2", out);
}

void schema_hub_upsert(const struct trb_table *table, struct trb_buf *out) {
  trb_buf_printf(out, "INSERT INTO \"%s\"(_rid,_site,id,_times,_extra,_accepted,_pos,", table->name);
  schema_columns(table, "", out);
  trb_buf_append_str(out, ")VALUES(");
  parameters(1, TRB_HUB_UPSERT_COLUMNS - 1 + table->column_count, out);
  trb_buf_append_str(out,
                     ")ON CONFLICT(_rid)DO UPDATE SET _site=excluded._site,id=excluded.id,_times=excluded._times,"
                     "_extra=excluded._extra,_accepted=excluded._accepted,_pos=excluded._pos");
  for (size_t i = 0; i < table->column_count; i++)
    trb_buf_printf(out, ",\"%s\"=excluded.\"%s\"", table->columns[i].name, table->columns[i].name);
}

/* ---- hub tables ---- */

bool schema_indexes_reference(const struct trb_column *column) {
  if (column->type != TRB_COL_REF) return false;
  struct trb_catalogue *catalogue = catalogue_builtin();
  const struct trb_table *to = catalogue_named(catalogue, column->ref_table);
  bool indexed = to && to->owner != TRB_OWNER_HQ;
  catalogue_unref(&catalogue);
  return indexed;
}

static bool site_follows(const struct trb_table *table, size_t index) {
  return index + 1 < table->column_count && table->columns[index + 1].type == TRB_COL_SITE;
}

static void hub_indexes(const struct trb_table *table, struct trb_buf *out) {
  if (table->number != TRB_T_customer) /* its (site, id) is unique in the table of records already */
    trb_buf_printf(out, "CREATE UNIQUE INDEX \"%s_id\" ON \"%s\"(_site,id);\n", table->name, table->name);
  for (size_t i = 0; i < table->column_count; i++) {
    const char *name = table->columns[i].name;
    if (!schema_indexes_reference(&table->columns[i])) continue;
    trb_buf_printf(out, "CREATE INDEX \"%s_%s\" ON \"%s\"(", table->name, name, table->name);
    /* Where the other row's site may be another one, _site does not narrow the search: the id comes first. */
    if (site_follows(table, i))
      trb_buf_printf(out, "\"%s\",_site", name);
    else
      trb_buf_printf(out, "_site,\"%s\"", name);
    trb_buf_printf(out, ")WHERE \"%s\" IS NOT NULL;\n", name);
  }
}

void schema_hub_table(const struct trb_table *table, struct trb_buf *out) {
  trb_buf_printf(out,
                 "CREATE TABLE \"%s\"(\n"
                 "  _rid INTEGER PRIMARY KEY, -- number of the row at the hub\n"
                 "  _site INTEGER NOT NULL, -- number of the site that owns it\n"
                 "  id TEXT NOT NULL, -- id at that site\n",
                 table->name);
  for (size_t i = 0; i < table->column_count; i++) {
    const struct trb_column *column = &table->columns[i];
    trb_buf_printf(out, "  \"%s\" %s,", column->name, schema_type(column->type));
    schema_comment(column->doc, out);
  }
  trb_buf_append_str(out,
                     "  _times BLOB, -- effective time (HLC) of each column\n"
                     "  _extra BLOB, -- columns this version does not know, raw\n"
                     "  _accepted INTEGER, -- stamp of the first change ever accepted: commit HLC of its batch\n"
                     "  _pos INTEGER -- and its position in that batch\n);\n");
  hub_indexes(table, out);
}

void schema_hub(const struct trb_catalogue *catalogue, struct trb_buf *out) {
  for (size_t i = 0; i < catalogue_count(catalogue); i++) {
    const struct trb_table *table = catalogue_at(catalogue, i);
    if (schema_at_hub(table)) schema_hub_table(table, out);
  }
}
