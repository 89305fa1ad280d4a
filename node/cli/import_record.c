/* import_record: the rows that one record makes: the main row, a contact or document for each value, and at most one
 * row of every further table. */
#include <stdio.h>
#include <string.h>

#include "import.h"

static struct trb_slice record_cell(const struct trb_csv_record *record, const struct mapping_piece *piece) {
  if (piece->constant) return trb_slice_str(piece->text);
  return piece->column < record->count ? import_trim(record->cells[piece->column]) : (struct trb_slice){0};
}

static bool record_wanted(const struct import *im, const struct trb_csv_record *record) {
  for (size_t i = 0; i < im->mapping.filter_count; i++) {
    const struct mapping_filter *filter = &im->mapping.filter[i];
    struct trb_slice cell = record_cell(record, &filter->column);
    bool any = false;
    for (size_t k = 0; k < filter->count && !any; k++)
      any = trb_slice_equal(cell, import_trim(trb_slice_str(filter->value[k].text)));
    if (!any) return false;
  }
  return true;
}

/* The row for rules about `table`: the main row, the one further row of a child table, or with `fresh` a new one. */
static struct import_row *record_row(struct import *im, const struct trb_table *table, bool fresh) {
  for (size_t i = 0; i < im->row_count && !fresh; i++)
    if (im->row[i].table == table) return &im->row[i];
  if (im->row_count == IMPORT_ROWS_MAX) return NULL;
  struct import_row *row = &im->row[im->row_count++];
  row->table = table;
  row->count = 0;
  row->real = false;
  return row;
}

static void row_add(struct import_row *row, const struct trb_column *column, struct trb_value value) {
  TRB_ASSERT(row->count < IMPORT_CELLS_MAX);
  row->cell[row->count++] = (struct import_cell){.column = column, .value = value};
}

/* Han and kana, which are written without spaces between: 3-byte sequences from U+3000 on. */
static bool ends_wide(struct trb_slice s) {
  return s.len >= 3 && s.data[s.len - 3] >= 0xE3 && s.data[s.len - 3] < 0xF0;
}
static bool begins_wide(struct trb_slice s) { return s.len >= 3 && s.data[0] >= 0xE3 && s.data[0] < 0xF0; }

/* The text of a rule; *ret_real: not only constants. Constants beside columns that are all empty say nothing. */
static enum trb_status record_text(const struct mapping_rule *rule, const struct trb_csv_record *record,
                                   struct trb_buf *out, bool *ret_real, struct trb_error *err) {
  struct trb_slice last = {0};
  for (size_t i = 0; i < rule->count; i++) {
    struct trb_slice cell = record_cell(record, &rule->piece[i]);
    if (!cell.len) continue;
    if (!rule->piece[i].constant) *ret_real = true;
    if (out->len && !rule->piece[i].constant && !rule->piece[i - 1].constant && !(ends_wide(last) && begins_wide(cell)))
      trb_buf_append_byte(out, ' ');
    trb_buf_append_slice(out, cell);
    last = cell;
    if (rule->form != MAPPING_JOIN) break;
  }
  bool columns = false;
  for (size_t i = 0; i < rule->count; i++) columns = columns || !rule->piece[i].constant;
  if (columns && !*ret_real) trb_buf_clear(out);
  return out->failed ? trb_fail(err, TRB_NOMEM, "no memory for a row") : TRB_OK;
}

void import_left_out(struct import *im, const char *reason) {
  im->tally.left_out++;
  if (im->issue_count == IMPORT_ISSUES_MAX) return;
  struct import_issue *issue = &im->issue[im->issue_count++];
  issue->line = im->line;
  issue->rejected = false;
  snprintf(issue->reason, sizeof issue->reason, "%.*s", IMPORT_REASON_BYTES - 1, reason);
}

static enum trb_status record_lookup(struct import *im, const struct mapping_rule *rule, struct trb_slice text,
                                     struct trb_value *ret, struct trb_error *err) {
  TRB_BUF_AUTO id = {0};
  enum trb_status status = import_find(im, rule, text, &id, err);
  if (status) return status;
  if (!id.len)
    return trb_fail(err, TRB_PEER, "%s.%s: this branch has no %s with that %s", rule->table->name, rule->column->name,
                    rule->lookup_table->name, rule->lookup_column ? rule->lookup_column->name : "id");
  char *copy = trb_arena_str(&im->arena, trb_buf_slice(&id));
  if (!copy) return trb_fail(err, TRB_NOMEM, "no memory for a row");
  *ret = trb_text(copy);
  return TRB_OK;
}

static enum trb_status record_scalar(struct import *im, const struct mapping_rule *rule,
                                     const struct trb_csv_record *record, struct trb_error *err) {
  TRB_BUF_AUTO text = {0};
  bool real = false;
  struct trb_value value;
  struct trb_error why = {0};
  enum trb_status status = record_text(rule, record, &text, &real, err);
  if (status || !text.len) return status;
  bool lookup = rule->form == MAPPING_LOOKUP;
  status = lookup ? record_lookup(im, rule, trb_buf_slice(&text), &value, err)
                  : import_value(rule->table, rule->column, im->key_context.region, trb_buf_slice(&text), &im->arena,
                                 &value, &why);
  bool required = rule->column->flags & TRB_COLUMN_REQUIRED;
  if (status == TRB_PEER && !lookup && !required) { /* the rest of the record is worth having */
    import_left_out(im, why.text);
    return TRB_OK;
  }
  if (status && !lookup) return trb_fail(err, status, "%s", why.text);
  if (status) return status;
  struct import_row *row = record_row(im, rule->table, false);
  if (!row) return trb_fail(err, TRB_PEER, "more than %d rows in one record", IMPORT_ROWS_MAX);
  row_add(row, rule->column, value);
  row->real = row->real || real;
  return TRB_OK;
}

/* The kind under which a number is kept: what it was recognised as, when it is a telephone. */
static const char *record_kind(struct import *im, const struct mapping_rule *rule, struct trb_slice value) {
  struct trb_keys keys;
  enum trb_kind kind = kind_of(trb_slice_str(rule->kind));
  key_normalise(kind, trb_slice_str(rule->kind), value, &im->key_context, &keys);
  if (!keys.count) im->tally.unkeyed[keys.reason < 16 ? keys.reason : 0]++;
  bool phone = kind == TRB_KIND_MOBILE || kind == TRB_KIND_LANDLINE;
  if (phone && keys.count) {
    bool same = true;
    for (size_t i = 1; i < keys.count; i++) same = same && keys.key[i].kind == keys.key[0].kind;
    if (same) kind = keys.key[0].kind;
  }
  return kind == TRB_KIND_OTHER || kind == TRB_KIND_NONE ? rule->kind : kind_name(kind);
}

static bool record_has(const struct import *im, const struct trb_table *table, const char *kind,
                       struct trb_slice value) {
  for (size_t i = 0; i < im->row_count; i++) {
    const struct import_row *row = &im->row[i];
    if (row->table == table && row->count >= 2 && trb_slice_equal(row->cell[0].value.s, trb_slice_str(kind)) &&
        trb_slice_equal(row->cell[1].value.s, value))
      return true;
  }
  return false;
}

/* One contact or document. */
static enum trb_status record_one_kind(struct import *im, const struct mapping_rule *rule, struct trb_slice cell,
                                       struct trb_error *err) {
  const struct trb_column *kind_column, *value_column;
  struct trb_value value;
  struct trb_error why = {0};
  mapping_kind_columns(rule->table, &kind_column, &value_column);
  enum trb_status status =
      import_value(rule->table, value_column, im->key_context.region, cell, &im->arena, &value, &why);
  if (status == TRB_PEER) {
    import_left_out(im, why.text);
    return TRB_OK;
  }
  if (status) return trb_fail(err, status, "%s", why.text);
  const char *kind = record_kind(im, rule, cell);
  if (record_has(im, rule->table, kind, value.s)) return TRB_OK;
  struct import_row *row = record_row(im, rule->table, true);
  if (!row) return trb_fail(err, TRB_PEER, "more than %d rows in one record", IMPORT_ROWS_MAX);
  row_add(row, kind_column, trb_text(kind));
  row_add(row, value_column, value);
  row->real = true;
  return TRB_OK;
}

/* One for each piece that is not empty, or one of all pieces joined. */
static enum trb_status record_kinds(struct import *im, const struct mapping_rule *rule,
                                    const struct trb_csv_record *record, struct trb_error *err) {
  TRB_BUF_AUTO joined = {0};
  bool real = false;
  enum trb_status status = TRB_OK;
  if (rule->form == MAPPING_JOIN) {
    status = record_text(rule, record, &joined, &real, err);
    return status || !joined.len ? status : record_one_kind(im, rule, trb_buf_slice(&joined), err);
  }
  for (size_t i = 0; !status && i < rule->count; i++) {
    struct trb_slice cell = record_cell(record, &rule->piece[i]);
    if (cell.len) status = record_one_kind(im, rule, cell, err);
  }
  return status;
}

static bool row_has(const struct import_row *row, const char *name) {
  for (size_t i = 0; i < row->count; i++)
    if (strcmp(row->cell[i].column->name, name) == 0) return true;
  return false;
}

/* The first required column that has no value, NULL when there is none; the reference to `parent` comes later by
 * itself. */
static const struct trb_column *row_lacks(const struct import_row *row, const struct trb_table *parent) {
  const struct trb_column *reference = parent ? mapping_parent_column(row->table, parent) : NULL;
  for (size_t i = 0; i < row->table->column_count; i++) {
    const struct trb_column *column = &row->table->columns[i];
    if ((column->flags & TRB_COLUMN_REQUIRED) && column != reference && !row_has(row, column->name)) return column;
  }
  return NULL;
}

/* Keeps the further rows that say something: constants alone are nothing, and what is required must be there. */
static void record_keep_children(struct import *im) {
  size_t kept = 1;
  for (size_t i = 1; i < im->row_count; i++) {
    struct import_row *row = &im->row[i];
    char reason[IMPORT_REASON_BYTES];
    if (!row->real) continue;
    const struct trb_column *lacks = row_lacks(row, im->main);
    if (lacks) {
      snprintf(reason, sizeof reason, "no %s is made: its %s is empty", row->table->name, lacks->name);
      import_left_out(im, reason);
      continue;
    }
    if (kept != i) im->row[kept] = *row;
    kept++;
  }
  im->row_count = kept;
}

/* What makes a record worth a row. */
static enum trb_status record_check(struct import *im, struct trb_error *err) {
  struct import_row *main = &im->row[0];
  bool customer = main->table->number == TRB_T_customer;
  if (customer && !row_has(main, "kind")) row_add(main, table_column_named(main->table, "kind"), trb_text("person"));
  record_keep_children(im);
  bool named = row_has(main, "name") || row_has(main, "name_latin") || row_has(main, "name_english");
  if (customer && im->row_count == 1 && !named) return trb_fail(err, TRB_PEER, "neither a name nor a contact");
  if (!main->real && im->row_count == 1) return trb_fail(err, TRB_PEER, "nothing that the mapping takes");
  const struct trb_column *lacks = row_lacks(main, NULL);
  return lacks ? trb_fail(err, TRB_PEER, "%s.%s is empty", main->table->name, lacks->name) : TRB_OK;
}

enum trb_status import_record(struct import *im, const struct trb_csv_record *record, struct trb_error *err) {
  enum trb_status status = TRB_OK;
  trb_arena_reset(&im->arena);
  im->row_count = 0;
  im->line = record->line;
  if (!record_wanted(im, record)) return TRB_ABSENT;
  TRB_ASSERT(record_row(im, im->main, true));
  for (size_t i = 0; !status && i < im->mapping.rule_count; i++) {
    const struct mapping_rule *rule = &im->mapping.rule[i];
    status = rule->column ? record_scalar(im, rule, record, err) : record_kinds(im, rule, record, err);
  }
  return status ? status : record_check(im, err);
}
