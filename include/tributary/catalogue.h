/* catalogue: every table and column Tributary knows, built in (proto/catalogue.def) or custom (headquarters' rows).
 *
 * Pure; a catalogue is immutable once built and reference counted, so any thread may read one it holds.
 * From this single source come SQL, capture triggers, guards, codec checks and the documentation. */
#ifndef TRIBUTARY_CATALOGUE_H
#define TRIBUTARY_CATALOGUE_H

#include "tributary/value.h"

enum trb_owner {
  TRB_OWNER_BRANCH,   /* branches write it (headquarters may too, as the site `hq`: its own cards) */
  TRB_OWNER_HQ,       /* only headquarters writes it */
  TRB_OWNER_COMPUTED, /* the hub computes it; nobody writes it */
};
enum trb_flow {
  TRB_FLOW_UP,   /* branch -> hub; headquarters' own rows of it stay at the hub */
  TRB_FLOW_DOWN, /* hub -> every branch (HQ tables) or -> branches concerned (computed tables) */
  TRB_FLOW_HUB,  /* never leaves the hub (site keys, invitations) */
};
enum trb_column_type {
  TRB_COL_TEXT, /* UTF-8, at most max_bytes, no NUL */
  TRB_COL_INT,  /* also booleans (0, 1) and times in ms */
  TRB_COL_REAL, /* finite; an INT value is accepted */
  TRB_COL_DATE, /* TEXT YYYY-MM-DD (also YYYY-MM or YYYY) */
  TRB_COL_BLOB,
  TRB_COL_REF,  /* TEXT id of a row of ref_table, 1..64 characters */
  TRB_COL_SITE, /* TEXT site name beside a REF; NULL = the row's own site */
};
enum {
  TRB_COLUMN_REQUIRED = 1,  /* NOT NULL in the branch's SQL and refused by the hub when NULL */
  TRB_COLUMN_SENSITIVE = 2, /* never flows down by default */
  TRB_COLUMN_CUSTOM = 4,
  TRB_COLUMN_PERSONAL = 8, /* masked unless asked for; never logged */
};
enum {
  TRB_TABLE_EVENT = 1, /* may be about another site's row */
  TRB_TABLE_LATE = 2,  /* sealed after everything else (document chunks) */
  TRB_TABLE_CUSTOM = 4,
};

struct trb_column {
  uint16_t number; /* permanent; 0 is the id and is not listed; built in 1..61, custom from 62 */
  uint16_t flags;
  enum trb_column_type type;
  uint32_t max_bytes; /* TEXT, BLOB */
  const char *name;
  const char *ref_table; /* REF only, else NULL */
  const char *doc;
};
struct trb_table {
  uint16_t number; /* permanent; built in 1..999, custom from 1000 */
  uint16_t flags;
  enum trb_owner owner;
  enum trb_flow flow;
  const char *name;
  const char *doc;
  const struct trb_column *columns; /* ascending by number */
  size_t column_count;
};

struct trb_catalogue;
struct trb_catalogue *catalogue_builtin(void); /* a new reference; never fails (static data) */
struct trb_catalogue *catalogue_ref(struct trb_catalogue *catalogue);
void catalogue_unref(struct trb_catalogue **catalogue_p);

/* Custom definitions as rows of the HQ tables custom_table and custom_column. */
struct trb_custom_table {
  uint16_t number;
  const char *name, *doc;
  bool branch_writes; /* else headquarters' */
};
struct trb_custom_column {
  uint16_t table, number;
  const char *name, *type, *doc; /* type: text int real date blob */
  uint32_t max_bytes;
  bool sensitive;
};
#define TRB_CUSTOM_TABLE_MIN 1000 /* numbers of custom tables */
#define TRB_CUSTOM_TABLE_MAX 9999
#define TRB_CUSTOM_COLUMN_MIN 62 /* numbers of custom columns, in built-in and in custom tables */
#define TRB_CUSTOM_COLUMN_MAX 999
#define TRB_CUSTOM_TABLES_MAX 200  /* how many: the view over all tables stays within 500 compound selects */
#define TRB_CUSTOM_COLUMNS_MAX 100 /* in one table: its triggers stay within SQLite's expression depth of 1000 */
#define TRB_CUSTOM_TEXT_BYTES_DEFAULT 1024
#define TRB_CUSTOM_BYTES_MAX 131072
/* Built-in plus custom. A custom table has the standard columns 1..3 (created_at, updated_at, created_by) too. Bad
 * names ([a-z][a-z0-9_]{0,40}), numbers out of range or clashes: TRB_PEER with the reason. Copies its input. */
enum trb_status catalogue_extend(const struct trb_custom_table *tables, size_t table_count,
                                 const struct trb_custom_column *columns, size_t column_count,
                                 struct trb_catalogue **ret, struct trb_error *err);

size_t catalogue_count(const struct trb_catalogue *catalogue);
const struct trb_table *catalogue_at(const struct trb_catalogue *catalogue, size_t index); /* ascending by number */
const struct trb_table *catalogue_table(const struct trb_catalogue *catalogue,
                                        uint16_t number); /* NULL: unknown. O(1) */
const struct trb_table *catalogue_named(const struct trb_catalogue *catalogue, const char *name);
const struct trb_column *table_column(const struct trb_table *table,
                                      uint16_t number); /* NULL: unknown. O(1) for built in */
const struct trb_column *table_column_named(const struct trb_table *table, const char *name);
/* Index of a column in table->columns, or SIZE_MAX. */
size_t table_column_index(const struct trb_table *table, uint16_t number);

/* Table numbers the code itself refers to are generated as TRB_T_<NAME> (e.g. TRB_T_customer) and columns as
 * TRB_C_<table>_<column>, from catalogue.def. */
#include "tributary/catalogue_numbers.h"

/* proto/TABLES.md: Markdown of every table and column. */
void catalogue_write_docs(const struct trb_catalogue *catalogue, struct trb_buf *out);
const char *column_type_name(enum trb_column_type type); /* "text", "int", .. */

/* Does `value` fit the column? TRB_PEER with a reason that names table and column but never the value. */
enum trb_status column_check(const struct trb_table *table, const struct trb_column *column, struct trb_value value,
                             struct trb_error *err);

#define TRB_ID_BYTES_MAX 256 /* 64 characters of up to 4 bytes */
#define TRB_ID_CHARS_MAX 64
bool trb_id_valid(struct trb_slice id);     /* 1..64 characters of valid UTF-8 without control characters */
bool trb_site_valid(struct trb_slice site); /* [a-z][a-z0-9-]{0,31} */
#define TRB_SITE_BYTES_MAX 32
#define TRB_HQ_SITE "hq"               /* headquarters' own site name; branches may not take it */
#define TRB_ROW_BYTES_MAX (256u << 10) /* one row, all values: a document chunk fits, a batch holds several */

#endif
