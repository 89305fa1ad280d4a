/* mapping: which CSV column goes into which column of which table. A parser fed lines, not files.
 *
 * Pure; one thread an object. Lines:
 *
 *     # a comment
 *     customer.name = Name                      a column
 *     customer.name = Given + Surname           joined with a space (none between Chinese characters, none beside a
 * constant) customer.kind = "organisation"            a constant; also as a piece of a join customer.birthday =
 * Birthday, Born        the first that is not empty contact.mobile = Phone, Mobile 2          a contact of this kind
 * for each that is not empty; any kind goes identity_document.passport = Passport     the same for documents
 *     address.city = City 2                     one further row of a table that belongs to the main one
 *     booking.customer_id = @customer.external_ref:Customer No
 *                                               a reference: the row of `customer` in this branch whose external_ref
 * stands in the column `Customer No` where Source = "a.csv", "b.csv"           only these lines of the file
 *
 * A column name that holds one of = + , @ " # or begins or ends with a space stands in backquotes. Names are compared
 * without case, spaces, `_` and `-` when no exact name is there. The main table (import --table, default customer) gets
 * one row a line; the others must refer to it and get their reference by themselves. */
#ifndef TRIBUTARY_MAPPING_H
#define TRIBUTARY_MAPPING_H

#include "tributary/catalogue.h"

#define MAPPING_RULES_MAX 128 /* the widest table has 35 columns; with contacts and children there is room */
#define MAPPING_PIECES_MAX 16 /* columns in one rule */
#define MAPPING_FILTERS_MAX 8 /* where lines */
#define MAPPING_LINE_BYTES_MAX 4096

struct mapping_piece {
  bool constant;
  const char *text; /* the constant, or the column's name; in the mapping's arena */
  size_t column;    /* index in the header, after mapping_bind */
};
enum mapping_form {
  MAPPING_JOIN,   /* all pieces */
  MAPPING_LIST,   /* each piece a value, or the first that is not empty */
  MAPPING_LOOKUP, /* one piece: what to look for */
};
struct mapping_rule {
  const struct trb_table *table;
  const struct trb_column *column; /* NULL: `kind` of a contact or document */
  const char *kind;
  enum mapping_form form;
  const struct trb_table *lookup_table;
  const struct trb_column *lookup_column;
  size_t count;
  struct mapping_piece piece[MAPPING_PIECES_MAX];
};
struct mapping_filter {
  struct mapping_piece column;
  size_t count;
  struct mapping_piece value[MAPPING_PIECES_MAX];
};
struct mapping { /* zero-initialised is empty */
  struct trb_arena arena;
  size_t rule_count, filter_count;
  struct mapping_rule rule[MAPPING_RULES_MAX];
  struct mapping_filter filter[MAPPING_FILTERS_MAX];
};
void mapping_free(struct mapping *mapping);

/* Tables that keep kind and value pairs: `contact.KIND`, `identity_document.KIND`. NULL columns: the table is none. */
void mapping_kind_columns(const struct trb_table *table, const struct trb_column **ret_kind,
                          const struct trb_column **ret_value);
/* The column of `child` that refers to `parent`, NULL when there is none. */
const struct trb_column *mapping_parent_column(const struct trb_table *child, const struct trb_table *parent);

/* Adds what one line says. TRB_PEER with the reason (the caller names file and line). The catalogue must outlive the
 * mapping. */
enum trb_status mapping_line(struct mapping *mapping, const struct trb_catalogue *catalogue, struct trb_slice line,
                             struct trb_error *err);
/* Adds what the headers suggest for `main`, in Chinese and English. Columns it does not know are left alone. */
enum trb_status mapping_guess(struct mapping *mapping, const struct trb_catalogue *catalogue,
                              const struct trb_table *main, const struct trb_slice *header, size_t count,
                              struct trb_error *err);
/* The table whose columns the headers fit best; customer when none does. */
const struct trb_table *mapping_guess_table(const struct trb_catalogue *catalogue, const struct trb_slice *header,
                                            size_t count);
/* The table of a rule that all other tables of the mapping refer to; NULL when there is none. */
const struct trb_table *mapping_main_table(const struct mapping *mapping);
/* Finds every named column in the header and checks that all tables fit `main`. TRB_PEER names what is missing. */
enum trb_status mapping_bind(struct mapping *mapping, const struct trb_table *main, const struct trb_slice *header,
                             size_t count, struct trb_error *err);
bool mapping_uses(const struct mapping *mapping, size_t column);
/* Appends the lines that mapping_line reads back. */
void mapping_print(const struct mapping *mapping, struct trb_buf *out);

#endif
