/* mapping: the parser, the printer and the binding to a header. What headers suggest is in mapping_guess.c. */
#include "tributary/mapping.h"

#include <string.h>

#include "mapping_names.h"

void mapping_free(struct mapping *mapping) { trb_arena_free(&mapping->arena); }

void mapping_kind_columns(const struct trb_table *table, const struct trb_column **ret_kind,
                          const struct trb_column **ret_value) {
  bool contact = table->number == TRB_T_contact, document = table->number == TRB_T_identity_document;
  *ret_kind = contact || document ? table_column_named(table, "kind") : NULL;
  *ret_value = contact ? table_column_named(table, "value") : document ? table_column_named(table, "number") : NULL;
}

const struct trb_column *mapping_parent_column(const struct trb_table *child, const struct trb_table *parent) {
  for (size_t i = 0; i < child->column_count; i++) {
    const struct trb_column *column = &child->columns[i];
    if (column->type == TRB_COL_REF && strcmp(column->ref_table, parent->name) == 0) return column;
  }
  return NULL;
}

/* --- the parser --- */

struct reader {
  const char *at, *end;
  struct trb_arena *arena;
  struct trb_error *err;
};

static void reader_spaces(struct reader *r) {
  while (r->at < r->end && (*r->at == ' ' || *r->at == '\t')) r->at++;
}
static bool reader_take(struct reader *r, char c) {
  reader_spaces(r);
  if (r->at == r->end || *r->at != c) return false;
  r->at++;
  return true;
}

static enum trb_status reader_keep(struct reader *r, const char *from, const char *to, const char **ret) {
  char *copy = trb_arena_str(r->arena, trb_slice_of(from, (size_t)(to - from)));
  if (!copy) return trb_fail(r->err, TRB_NOMEM, "no memory for the mapping");
  *ret = copy;
  return TRB_OK;
}

static enum trb_status reader_quoted(struct reader *r, char quote, const char **ret) {
  const char *from = ++r->at;
  while (r->at < r->end && *r->at != quote) r->at++;
  if (r->at == r->end) return trb_fail(r->err, TRB_PEER, "%c is not closed", quote);
  return reader_keep(r, from, r->at++, ret);
}

/* A column's name: in backquotes, or up to one of `stops`. */
static enum trb_status reader_name(struct reader *r, const char *stops, const char **ret) {
  reader_spaces(r);
  if (r->at < r->end && *r->at == '`') return reader_quoted(r, '`', ret);
  const char *from = r->at;
  while (r->at < r->end && !strchr(stops, *r->at)) r->at++;
  const char *to = r->at;
  while (to > from && (to[-1] == ' ' || to[-1] == '\t')) to--;
  if (to == from) return trb_fail(r->err, TRB_PEER, "a column's name is missing");
  return reader_keep(r, from, to, ret);
}

static enum trb_status reader_piece(struct reader *r, struct mapping_piece *ret) {
  reader_spaces(r);
  *ret = (struct mapping_piece){.constant = r->at < r->end && *r->at == '"', .column = SIZE_MAX};
  return ret->constant ? reader_quoted(r, '"', &ret->text) : reader_name(r, "+,", &ret->text);
}

/* TABLE.NAME up to one of `stops`. */
static enum trb_status reader_target(struct reader *r, const struct trb_catalogue *catalogue, const char *stops,
                                     const struct trb_table **ret_table, const char **ret_name) {
  const char *text = NULL;
  enum trb_status status = reader_name(r, stops, &text);
  if (status) return status;
  const char *dot = strchr(text, '.');
  if (!dot || dot == text || !dot[1])
    return trb_fail(r->err, TRB_PEER, "'%.60s' is not of the form table.column", text);
  char name[64];
  size_t len = (size_t)(dot - text);
  if (len >= sizeof name) return trb_fail(r->err, TRB_PEER, "there is no table '%.60s'", text);
  memcpy(name, text, len);
  name[len] = '\0';
  *ret_table = catalogue_named(catalogue, name);
  if (!*ret_table) return trb_fail(r->err, TRB_PEER, "there is no table '%s'", name);
  *ret_name = dot + 1;
  return TRB_OK;
}

static enum trb_status reader_lookup(struct reader *r, const struct trb_catalogue *catalogue,
                                     struct mapping_rule *rule) {
  const char *name = NULL;
  enum trb_status status = reader_target(r, catalogue, ":", &rule->lookup_table, &name);
  if (status) return status;
  rule->lookup_column = table_column_named(rule->lookup_table, name);
  if (!rule->lookup_column && strcmp(name, "id") != 0)
    return trb_fail(r->err, TRB_PEER, "table %s has no column '%.60s'", rule->lookup_table->name, name);
  if (!reader_take(r, ':'))
    return trb_fail(r->err, TRB_PEER, "@%s.%s needs ':' and a column", rule->lookup_table->name, name);
  rule->form = MAPPING_LOOKUP;
  rule->count = 1;
  return reader_piece(r, &rule->piece[0]);
}

static enum trb_status reader_pieces(struct reader *r, struct mapping_rule *rule) {
  char between = 0;
  for (;;) {
    if (rule->count == MAPPING_PIECES_MAX)
      return trb_fail(r->err, TRB_PEER, "more than %d columns in one line", MAPPING_PIECES_MAX);
    enum trb_status status = reader_piece(r, &rule->piece[rule->count]);
    if (status) return status;
    rule->count++;
    reader_spaces(r);
    if (r->at == r->end) break;
    char c = *r->at++;
    if (c != '+' && c != ',') return trb_fail(r->err, TRB_PEER, "'+' or ',' is missing between columns");
    if (between && c != between) return trb_fail(r->err, TRB_PEER, "'+' and ',' cannot be mixed in one line");
    between = c;
  }
  rule->form = between == '+' ? MAPPING_JOIN : MAPPING_LIST;
  return TRB_OK;
}

static enum trb_status rule_target(struct mapping_rule *rule, const char *name, struct trb_error *err) {
  const struct trb_column *kind, *value;
  mapping_kind_columns(rule->table, &kind, &value);
  rule->column = table_column_named(rule->table, name);
  if (rule->column || strcmp(name, "id") == 0) {
    if (rule->column) return TRB_OK;
    return trb_fail(err, TRB_PEER, "%s.id is made by the import; keep the file's own ids in external_ref",
                    rule->table->name);
  }
  if (!kind) return trb_fail(err, TRB_PEER, "table %s has no column '%.60s'", rule->table->name, name);
  if (strlen(name) > kind->max_bytes) return trb_fail(err, TRB_PEER, "'%.60s' is too long for a kind", name);
  rule->kind = name;
  return TRB_OK;
}

static enum trb_status parse_rule(struct mapping *mapping, const struct trb_catalogue *catalogue, struct reader *r) {
  struct mapping_rule rule = {0};
  const char *name = NULL;
  if (mapping->rule_count == MAPPING_RULES_MAX)
    return trb_fail(r->err, TRB_PEER, "more than %d lines", MAPPING_RULES_MAX);
  enum trb_status status = reader_target(r, catalogue, "=", &rule.table, &name);
  if (!status && !reader_take(r, '=')) status = trb_fail(r->err, TRB_PEER, "'=' is missing");
  if (!status && rule.table->owner != TRB_OWNER_BRANCH)
    status = trb_fail(r->err, TRB_PEER, "branches do not write the table %s", rule.table->name);
  if (!status) status = rule_target(&rule, name, r->err);
  if (!status) status = reader_take(r, '@') ? reader_lookup(r, catalogue, &rule) : reader_pieces(r, &rule);
  reader_spaces(r);
  if (!status && r->at != r->end) status = trb_fail(r->err, TRB_PEER, "'%.20s' is too much", r->at);
  if (!status) mapping->rule[mapping->rule_count++] = rule;
  return status;
}

static enum trb_status parse_filter(struct mapping *mapping, struct reader *r) {
  struct mapping_filter filter = {.column = {.column = SIZE_MAX}};
  if (mapping->filter_count == MAPPING_FILTERS_MAX)
    return trb_fail(r->err, TRB_PEER, "more than %d 'where' lines", MAPPING_FILTERS_MAX);
  enum trb_status status = reader_name(r, "=", &filter.column.text);
  if (!status && !reader_take(r, '=')) status = trb_fail(r->err, TRB_PEER, "'=' is missing");
  do {
    if (status) return status;
    if (filter.count == MAPPING_PIECES_MAX) return trb_fail(r->err, TRB_PEER, "too many values in a 'where' line");
    status = reader_piece(r, &filter.value[filter.count]);
    filter.value[filter.count++].constant = true; /* a value needs no quotes here */
  } while (!status && reader_take(r, ','));
  reader_spaces(r);
  if (!status && r->at != r->end) status = trb_fail(r->err, TRB_PEER, "'%.20s' is too much", r->at);
  if (!status) mapping->filter[mapping->filter_count++] = filter;
  return status;
}

enum trb_status mapping_line(struct mapping *mapping, const struct trb_catalogue *catalogue, struct trb_slice line,
                             struct trb_error *err) {
  struct reader r = {.at = (const char *)line.data, .arena = &mapping->arena, .err = err};
  if (line.len > MAPPING_LINE_BYTES_MAX)
    return trb_fail(err, TRB_PEER, "a line of more than %d bytes", MAPPING_LINE_BYTES_MAX);
  if (!trb_utf8_valid(line) || (line.len && memchr(line.data, 0, line.len)))
    return trb_fail(err, TRB_PEER, "not valid UTF-8");
  r.end = r.at + line.len;
  while (r.end > r.at && strchr(" \t\r\n", r.end[-1])) r.end--;
  reader_spaces(&r);
  if (r.at == r.end || *r.at == '#') return TRB_OK;
  if (r.end - r.at > 6 && memcmp(r.at, "where ", 6) == 0) {
    r.at += 6;
    return parse_filter(mapping, &r);
  }
  return parse_rule(mapping, catalogue, &r);
}

/* --- binding --- */

static enum trb_status bind_piece(struct mapping_piece *piece, const struct trb_slice *header, size_t count,
                                  struct trb_error *err) {
  if (piece->constant) return TRB_OK;
  piece->column = SIZE_MAX;
  for (size_t i = 0; i < count && piece->column == SIZE_MAX; i++)
    if (trb_slice_equal(header[i], trb_slice_str(piece->text))) piece->column = i;
  char want[MAPPING_NAME_BYTES], have[MAPPING_NAME_BYTES];
  mapping_name_fold(trb_slice_str(piece->text), want);
  for (size_t i = 0; i < count && piece->column == SIZE_MAX; i++) {
    mapping_name_fold(header[i], have);
    if (want[0] && strcmp(want, have) == 0) piece->column = i;
  }
  if (piece->column != SIZE_MAX) return TRB_OK;
  return trb_fail(err, TRB_PEER, "the file has no column '%.100s'", piece->text);
}

static enum trb_status bind_table(const struct mapping_rule *rule, const struct trb_table *main,
                                  struct trb_error *err) {
  if (rule->table == main) {
    if (rule->column || !rule->kind) return TRB_OK;
    return trb_fail(err, TRB_PEER, "%s.%s: for an import into %s itself, map its columns", rule->table->name,
                    rule->kind, main->name);
  }
  const struct trb_column *kind, *value;
  mapping_kind_columns(rule->table, &kind, &value);
  if (kind && rule->column)
    return trb_fail(err, TRB_PEER, "%s.%s: write %s.KIND, one line for each kind", rule->table->name,
                    rule->column->name, rule->table->name);
  if (mapping_parent_column(rule->table, main)) return TRB_OK;
  return trb_fail(err, TRB_PEER, "table %s does not belong to %s: import it by itself with --table %s",
                  rule->table->name, main->name, rule->table->name);
}

const struct trb_table *mapping_main_table(const struct mapping *mapping) {
  for (size_t i = 0; i < mapping->rule_count; i++) {
    const struct trb_table *main = mapping->rule[i].table;
    bool all = true;
    for (size_t k = 0; k < mapping->rule_count; k++)
      all = all && (mapping->rule[k].table == main || mapping_parent_column(mapping->rule[k].table, main));
    if (all) return main;
  }
  return NULL;
}

enum trb_status mapping_bind(struct mapping *mapping, const struct trb_table *main, const struct trb_slice *header,
                             size_t count, struct trb_error *err) {
  enum trb_status status = TRB_OK;
  if (!mapping->rule_count) return trb_fail(err, TRB_PEER, "the mapping is empty: no column of the file is used");
  for (size_t i = 0; !status && i < mapping->rule_count; i++) {
    struct mapping_rule *rule = &mapping->rule[i];
    status = bind_table(rule, main, err);
    for (size_t k = 0; !status && k < i; k++) {
      const struct mapping_rule *other = &mapping->rule[k];
      if (other->table == rule->table && rule->column && other->column == rule->column)
        status = trb_fail(err, TRB_PEER, "%s.%s is mapped twice", rule->table->name, rule->column->name);
    }
    for (size_t k = 0; !status && k < rule->count; k++) status = bind_piece(&rule->piece[k], header, count, err);
  }
  for (size_t i = 0; !status && i < mapping->filter_count; i++)
    status = bind_piece(&mapping->filter[i].column, header, count, err);
  return status;
}

bool mapping_uses(const struct mapping *mapping, size_t column) {
  for (size_t i = 0; i < mapping->rule_count; i++)
    for (size_t k = 0; k < mapping->rule[i].count; k++)
      if (!mapping->rule[i].piece[k].constant && mapping->rule[i].piece[k].column == column) return true;
  for (size_t i = 0; i < mapping->filter_count; i++)
    if (mapping->filter[i].column.column == column) return true;
  return false;
}

/* --- printing --- */

static void print_piece(const struct mapping_piece *piece, struct trb_buf *out) {
  const char *text = piece->text;
  size_t len = strlen(text);
  bool plain = len && text[0] != ' ' && text[len - 1] != ' ' && !strpbrk(text, "=+,@\"#:\t");
  const char *quote = piece->constant ? "\"" : plain ? "" : "`";
  trb_buf_printf(out, "%s%s%s", quote, text, quote);
}

static void print_pieces(const struct mapping_piece *piece, size_t count, const char *between, struct trb_buf *out) {
  for (size_t i = 0; i < count; i++) {
    if (i) trb_buf_append_str(out, between);
    print_piece(&piece[i], out);
  }
  trb_buf_append_byte(out, '\n');
}

void mapping_print(const struct mapping *mapping, struct trb_buf *out) {
  for (size_t i = 0; i < mapping->rule_count; i++) {
    const struct mapping_rule *rule = &mapping->rule[i];
    trb_buf_printf(out, "%s.%s = ", rule->table->name, rule->column ? rule->column->name : rule->kind);
    if (rule->form == MAPPING_LOOKUP)
      trb_buf_printf(out, "@%s.%s:", rule->lookup_table->name, rule->lookup_column ? rule->lookup_column->name : "id");
    print_pieces(rule->piece, rule->count, rule->form == MAPPING_JOIN ? " + " : ", ", out);
  }
  for (size_t i = 0; i < mapping->filter_count; i++) {
    trb_buf_append_str(out, "where ");
    print_piece(&mapping->filter[i].column, out);
    trb_buf_append_str(out, " = ");
    print_pieces(mapping->filter[i].value, mapping->filter[i].count, ", ", out);
  }
}
