/* catalogue_docs: the Markdown of proto/TABLES.md. */
#include "tributary/catalogue.h"

static const char *owner_text(const struct trb_table *table) {
  if (table->owner == TRB_OWNER_BRANCH) return "branches write it, it flows up";
  if (table->owner == TRB_OWNER_COMPUTED) return "the hub computes it, it flows down to the branches concerned";
  return table->flow == TRB_FLOW_HUB ? "headquarters writes it, it never leaves the hub"
                                     : "headquarters writes it, it flows down to every branch";
}

/* A cell must not end at a bar of its own, nor the row at a line's end. */
static void append_cell(struct trb_buf *out, const char *text) {
  for (const char *p = text; *p; p++) {
    if (*p == '|') trb_buf_append_byte(out, '\\');
    trb_buf_append_byte(out, *p == '\n' ? ' ' : (uint8_t)*p);
  }
}

static void write_type(const struct trb_column *column, struct trb_buf *out) {
  trb_buf_append_str(out, column_type_name(column->type));
  if (column->type == TRB_COL_TEXT || column->type == TRB_COL_BLOB) trb_buf_printf(out, " (%u)", column->max_bytes);
  if (column->ref_table) trb_buf_printf(out, " to %s", column->ref_table);
}

static void write_column(const struct trb_column *column, struct trb_buf *out) {
  trb_buf_printf(out, "| %u | `%s` | ", column->number, column->name);
  write_type(column, out);
  trb_buf_append_str(out, " | ");
  if (column->flags & TRB_COLUMN_REQUIRED) trb_buf_append_str(out, "required ");
  if (column->flags & TRB_COLUMN_PERSONAL) trb_buf_append_str(out, "personal ");
  if (column->flags & TRB_COLUMN_SENSITIVE) trb_buf_append_str(out, "sensitive ");
  if (column->flags & TRB_COLUMN_CUSTOM) trb_buf_append_str(out, "custom ");
  trb_buf_append_str(out, "| ");
  append_cell(out, column->doc);
  trb_buf_append_str(out, " |\n");
}

static void write_table(const struct trb_table *table, struct trb_buf *out) {
  trb_buf_printf(out, "\n## %s (%u)\n\n", table->name, table->number);
  append_cell(out, table->doc);
  trb_buf_printf(out, "; %s", owner_text(table));
  if (table->flags & TRB_TABLE_EVENT) trb_buf_append_str(out, "; may be about another site's row");
  if (table->flags & TRB_TABLE_LATE) trb_buf_append_str(out, "; travels after everything else");
  trb_buf_append_str(out, ".\n\n| no | column | type (bytes) | flags | what it holds |\n|---|---|---|---|---|\n");
  for (size_t i = 0; i < table->column_count; i++) write_column(&table->columns[i], out);
}

void catalogue_write_docs(const struct trb_catalogue *catalogue, struct trb_buf *out) {
  trb_buf_append_str(
      out,
      "# Tables\n\n"
      "Made from proto/catalogue.def by `make tables`; edit that file, not this one. Every table has a\n"
      "key `id` (text of 1 to 64 characters, column number 0), unique within a site. Times are\n"
      "milliseconds since 1970-01-01 UTC; dates are YYYY-MM-DD, YYYY-MM or YYYY. Numbers are permanent.\n"
      "Required: never NULL. Personal: masked unless asked for. Sensitive: does not flow down by default.\n");
  for (size_t i = 0; i < catalogue_count(catalogue); i++) write_table(catalogue_at(catalogue, i), out);
}
