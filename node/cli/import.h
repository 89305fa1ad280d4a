/* import: what the files of `tributary import` share.
 *
 *   import.c          the command: options, the file, the report
 *   import_value.c    one cell to one SQL value (pure)
 *   import_record.c   one record to the rows it makes (pure)
 *   import_store.c    rows to replica.db, and which of them are there already
 *   import_undo.c     taking an import back
 *
 * An import is a client like any other: ordinary SQL through replica.db, captured by the same triggers, in transactions
 * of IMPORT_ROWS_PER_COMMIT records, so that nobody waits long. Rows and their names in _trb_import_row are written
 * together: an import that was cut off can be undone, or run again (records with the same external_ref are passed
 * over). */
#ifndef NODE_CLI_IMPORT_H
#define NODE_CLI_IMPORT_H

#include "tributary/cli.h"
#include "tributary/csv.h"
#include "tributary/db.h"
#include "tributary/id.h"
#include "tributary/key.h"
#include "tributary/mapping.h"

#define IMPORT_RECORDS_PER_COMMIT 500
#define IMPORT_BUSY_MS 10000
#define IMPORT_ROWS_MAX 64    /* rows one record makes: itself, its contacts, documents and further rows */
#define IMPORT_CELLS_MAX 128  /* cells of one row: at least MAPPING_RULES_MAX */
#define IMPORT_ISSUES_MAX 200 /* kept with their lines; the rest is counted */
#define IMPORT_REASON_BYTES 200

struct import_cell {
  const struct trb_column *column;
  struct trb_value value;
};
struct import_row {
  const struct trb_table *table;
  bool real; /* has a value that is no constant */
  size_t count;
  struct import_cell cell[IMPORT_CELLS_MAX];
};

/* Something to report. rejected: the record was not taken; else one value of it was left out. */
struct import_issue {
  uint64_t line;
  bool rejected;
  char reason[IMPORT_REASON_BYTES];
};
struct import_tally {
  uint64_t read, filtered, rejected, left_out, present, updated, written[2], unkeyed[16];
  uint64_t main_rows, contact_rows, other_rows;
};

struct import {
  struct cli *cli;
  bool dry_run, update;
  const char *path, *name; /* the file, and its name without folders */
  struct trb_db *db;
  struct trb_catalogue *catalogue;
  const struct trb_table *main;
  const struct trb_column *ref; /* external_ref of the main table, when mapped */
  struct mapping mapping;
  struct trb_key_context key_context;
  char id[TRB_UUID_TEXT_BYTES];
  char sha256[65];
  int64_t id_ms; /* of the last id given, and how many were given in that millisecond */
  unsigned id_counter;
  /* the record at hand */
  uint64_t line;
  struct trb_arena arena;
  size_t row_count;
  struct import_row *row; /* IMPORT_ROWS_MAX, owned */
  /* the report */
  struct import_tally tally;
  size_t issue_count;
  struct import_issue issue[IMPORT_ISSUES_MAX];
};

/* import_value.c. `text` is trimmed and not empty. TRB_PEER: does not fit, with a reason that never holds the value. */
enum trb_status import_value(const struct trb_table *table, const struct trb_column *column, const char *region,
                             struct trb_slice text, struct trb_arena *arena, struct trb_value *ret,
                             struct trb_error *err);
struct trb_slice import_trim(struct trb_slice text);

/* import_record.c. Fills im->row from a record. TRB_PEER: rejected; TRB_ABSENT: not one of the lines asked for. */
enum trb_status import_record(struct import *im, const struct trb_csv_record *record, struct trb_error *err);
void import_left_out(struct import *im, const char *reason);

/* import_store.c */
enum trb_status import_begin(struct import *im, struct trb_error *err);
/* Id of the row that `rule` asks for, "" when there is none. */
enum trb_status import_find(struct import *im, const struct mapping_rule *rule, struct trb_slice value,
                            struct trb_buf *out, struct trb_error *err);
/* Writes im->row in the open transaction. TRB_PEER: refused, nothing of it is written. */
enum trb_status import_store(struct import *im, struct trb_error *err);
enum trb_status import_commit(struct import *im, struct trb_error *err);
enum trb_status import_end(struct import *im, struct trb_error *err);
/* Hash of a row as written: what _trb_import_row keeps. created_at and updated_at are no part of it. */
uint64_t import_hash_begin(const struct trb_table *table, struct trb_slice id);
uint64_t import_hash_cell(const struct trb_table *table, struct trb_slice id, const struct trb_column *column,
                          struct trb_value value);

/* import_undo.c. `id` may be "last". */
struct import_undone {
  char id[TRB_UUID_TEXT_BYTES];
  uint64_t deleted, changed, in_use;
};
enum trb_status import_undo(struct cli *cli, struct trb_db *db, const struct trb_catalogue *catalogue, const char *id,
                            bool dry_run, struct import_undone *ret, struct trb_error *err);

#endif
