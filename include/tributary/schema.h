/* schema: the SQL text of both databases, generated from a catalogue.
 *
 * Pure: text goes to a buffer (check buf->failed once), nothing is executed. Any thread.
 *
 * Branch (replica.db): opened by anyone's SQLite from 3.15 on, so nothing newer than 3.15 stands in it. Tables are
 * WITHOUT ROWID, BINARY, with no uniqueness besides the key and no foreign keys, so that no row can go without its
 * trigger. Triggers (all called _trb_..) refuse what cannot be stored, keep headquarters' tables read only and write
 * one mark per change:
 *
 *   _trb_mark(n, tbl, row, op, part, mask, wall, nonce)   op 1 insert (part 0, mask -1: the whole row), 2 update, 3
 * delete (part 0, mask 0); column number c is bit c % 62 of part c / 62 _trb_guard(reason)          a row in it
 * switches capture and guards off: only inside the transaction that applies what came down; a committed row is damage
 * (capture_check removes and reports it) _trb_undo(first_mark, last_mark, import_id)           marks that undo an
 * import: no mass delete _trb_import, _trb_import_row                          what each import wrote _trb_meta(name,
 * value)      'acked_mark': marks up to it are at headquarters. Trim marks only up to it: row_state reads them
 *   row_state(table_name, row_id, state, reason)          view: 'saved here', 'at headquarters', 'refused' with the
 * reason
 *
 * Hub (hub.db): see schema_hub. Names are quoted; they come from the catalogue, which admits [a-z][a-z0-9_]{0,40} only.
 */
#ifndef TRIBUTARY_SCHEMA_H
#define TRIBUTARY_SCHEMA_H

#include "tributary/catalogue.h"

enum { TRB_MARK_INSERT = 1, TRB_MARK_UPDATE = 2, TRB_MARK_DELETE = 3 };
#define TRB_MARK_BITS 62 /* columns per mark: bits 62 and 63 stay clear, so a mask is never negative but for -1 */
static inline int schema_mask_part(uint16_t column) { return column / TRB_MARK_BITS; }
static inline int64_t schema_mask_bit(uint16_t column) { return (int64_t)1 << (column % TRB_MARK_BITS); }

/* Milliseconds since 1970 as a SQL expression any SQLite from 3.15 computes. */
#define TRB_SQL_NOW_MS "CAST(round((julianday('now')-2440587.5)*86400000)AS INTEGER)"

const char *schema_type(enum trb_column_type type); /* declared type; its affinity keeps what the column holds */
void schema_comment(const char *text, struct trb_buf *out); /* ` -- text` and a line's end, whatever the text holds */
/* True for references to rows of branches and of parties: children are looked up by them, so both sides index them. */
bool schema_indexes_reference(const struct trb_column *column);

/* ---- branch ---- */

/* True for tables that exist in replica.db: all but the hub's own. */
bool schema_at_branch(const struct trb_table *table);

enum trb_schema_kind { TRB_SCHEMA_TABLE, TRB_SCHEMA_INDEX, TRB_SCHEMA_TRIGGER, TRB_SCHEMA_VIEW };
struct trb_schema_object {
  enum trb_schema_kind kind;
  const char *name;
  const struct trb_table *table; /* NULL: one of our local tables, or the view */
  const char *sql;               /* one statement without the semicolon, exactly as sqlite_master shows it */
};
/* Everything borrowed for the call. Anything but TRB_OK ends the walk. */
typedef enum trb_status (*schema_visit)(void *context, const struct trb_schema_object *object, struct trb_error *err);
/* Every object of replica.db, in the order of creation: local tables, then each table with its indexes and triggers,
 * then the view. */
enum trb_status schema_branch_each(const struct trb_catalogue *catalogue, schema_visit visit, void *context,
                                   struct trb_error *err);
/* The objects of one table. */
enum trb_status schema_branch_table_each(const struct trb_table *table, schema_visit visit, void *context,
                                         struct trb_error *err);
/* The same as one script, each statement ended by ";\n". */
void schema_branch(const struct trb_catalogue *catalogue, struct trb_buf *out);
/* ALTER TABLE "t" ADD COLUMN ..; nullable. Re-create the table's triggers afterwards. */
void schema_add_column(const struct trb_table *table, const struct trb_column *column, struct trb_buf *out);

/* ---- hub ---- */

/* For every table branches or headquarters write (computed tables are the hub's own affair):
 *   name(_rid INTEGER PRIMARY KEY, _site INTEGER NOT NULL, id TEXT NOT NULL, columns without NOT NULL, _times BLOB,
 * _extra BLOB, _accepted INTEGER, _pos INTEGER) unique (_site, id) but for customer, whose _rid is the record number;
 * partial indexes on references to branches' rows. */
void schema_hub(const struct trb_catalogue *catalogue, struct trb_buf *out);
void schema_hub_table(const struct trb_table *table, struct trb_buf *out);
bool schema_at_hub(const struct trb_table *table);

/* ---- statements; columns always in catalogue order ---- */

/* `"a","b","c"`, each with `prefix` (such as `t.`) before it. */
void schema_columns(const struct trb_table *table, const char *prefix, struct trb_buf *out);
/* SELECT id, columns FROM table WHERE id=?1: column 0 is the id, column 1+i is table->columns[i]. */
void schema_select_row(const struct trb_table *table, struct trb_buf *out);
/* SELECT id, columns .. WHERE id>?1 ORDER BY id LIMIT ?2: the scrub, page by page. */
void schema_select_page(const struct trb_table *table, struct trb_buf *out);
/* INSERT OR REPLACE of the whole row: ?1 is the id, ?(2+i) is table->columns[i]. */
void schema_upsert_row(const struct trb_table *table, struct trb_buf *out);
/* DELETE .. WHERE id=?1 */
void schema_delete_row(const struct trb_table *table, struct trb_buf *out);

/* Hub: SELECT _rid,_times,_extra,_accepted,_pos,columns: the row's columns start at TRB_HUB_ROW_COLUMNS. By _rid=?1, or
 * by _site=?1 AND id=?2. */
#define TRB_HUB_ROW_COLUMNS 5
void schema_hub_select_rid(const struct trb_table *table, struct trb_buf *out);
void schema_hub_select_id(const struct trb_table *table, struct trb_buf *out);
/* Hub: whole row by _rid: ?1 _rid (NULL: a new one), ?2 _site, ?3 id, ?4 _times, ?5 _extra, ?6 _accepted, ?7 _pos,
 * ?(8+i) columns; a row that stands under this _rid is replaced. */
#define TRB_HUB_UPSERT_COLUMNS 8
void schema_hub_upsert(const struct trb_table *table, struct trb_buf *out);

#endif
