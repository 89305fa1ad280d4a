/* capture: replica.db, the file any SQLite program may write, kept so that its triggers see every change.
 *
 * Uses db.h; belongs to the thread that owns the connection. Reads and repairs the schema only; comparing rows with
 * shadows (the scrub) and sealing are the sealer's, which walks rows by capture_scan_rows and adds what was missed by
 * capture_mark.
 *
 * Invariant: after capture_install, or a capture_check that answers TRB_OK, every table, trigger, guard and view of the
 * catalogue stands in the file exactly as schema.h generates it, and the journal is a rollback journal (or the report
 * says not). */
#ifndef TRIBUTARY_CAPTURE_H
#define TRIBUTARY_CAPTURE_H

#include "tributary/db.h"
#include "tributary/schema.h"

enum trb_damage { /* what somebody did to the schema; all of it has been put right unless said otherwise */
                  TRB_DAMAGE_TRIGGER_MISSING,
                  TRB_DAMAGE_TRIGGER_ALTERED,
                  TRB_DAMAGE_TABLE_MISSING, /* created again, empty: not a mass delete. Ask for its rows */
                  TRB_DAMAGE_TABLE_ALTERED, /* keys, uniqueness, collation or types changed: built anew with its rows */
                  TRB_DAMAGE_COLUMN_MISSING, /* added again, its values NULL (or: a newer catalogue added it) */
                  TRB_DAMAGE_UNIQUE_INDEX,   /* dropped: INSERT OR REPLACE would delete rows past the triggers */
                  TRB_DAMAGE_OTHER,          /* an index or the view: harmless, restored */
                  TRB_DAMAGE_GUARD_LEFT,     /* a committed row in _trb_guard had switched capture off; removed */
                  TRB_DAMAGE_WAL,            /* somebody switched to WAL; switched back, or wal_stays */
};
const char *capture_damage_text(enum trb_damage damage); /* for people */

struct trb_finding {
  enum trb_damage damage;
  uint16_t table; /* 0: none of the catalogue's */
  char name[96];  /* of the object */
};
#define TRB_FINDINGS_MAX 64 /* kept; `count` says how many there were */
struct trb_capture_report {
  bool looked;    /* schema_version had moved, so everything was compared */
  bool scrub;     /* rows may have been written unseen: compare rows with shadows */
  bool wal_stays; /* the file is in WAL and some program keeps it open: ask for it to be closed */
  size_t count;
  struct trb_finding findings[TRB_FINDINGS_MAX];
};

/* Settings of every connection of ours that writes replica.db: TRUNCATE journal, synchronous=EXTRA (a returned commit
 * survives a power cut; DELETE would leave the journal's unlink unsynced). TRB_AGAIN when WAL cannot be left now. */
enum trb_status capture_connect(struct trb_db *db, struct trb_error *err);

/* Makes replica.db's schema, or brings an older or damaged one up to the catalogue, in one transaction. Rows stay. */
enum trb_status capture_install(struct trb_db *db, const struct trb_catalogue *catalogue, struct trb_error *err);

/* At every wake-up; cheap while nothing changed. *schema_version: -1 at first, kept by the caller. When the file's has
 * moved, all is compared in a read transaction; only if something is wrong a write transaction puts it right
 * (TRB_AGAIN: locked, call again). *ret_report is filled whenever TRB_OK. Outside a transaction. */
enum trb_status capture_check(struct trb_db *db, const struct trb_catalogue *catalogue, int64_t *schema_version,
                              struct trb_capture_report *ret_report, struct trb_error *err);

/* The table was missing once and was made again, empty: rows that are gone from it were not deleted, however few they
 * are. Noted in the file, in the transaction that made it, until capture_settled (when no row is missing any more). */
enum trb_status capture_made_anew(struct trb_db *db, const struct trb_table *table, bool *ret, struct trb_error *err);
enum trb_status capture_settled(struct trb_db *db, const struct trb_table *table, struct trb_error *err);

/* The catalogue of this file: built in plus what custom_table and custom_column hold. A new reference. */
enum trb_status capture_catalogue(struct trb_db *db, struct trb_catalogue **ret, struct trb_error *err);
/* After custom_table or custom_column rows came down (outside a transaction): reads them, makes tables, columns and
 * triggers, and replaces *catalogue_p by the new catalogue. Unchanged on failure; TRB_PEER when a definition is wrong.
 */
enum trb_status capture_extend(struct trb_db *db, struct trb_catalogue **catalogue_p, struct trb_error *err);

/* Inside a transaction: capture and guards are off from capture_suspend to capture_resume; resume before commit. */
enum trb_status capture_suspend(struct trb_db *db, const char *reason, struct trb_error *err);
enum trb_status capture_resume(struct trb_db *db, struct trb_error *err);

/* One page of a table's rows in the order of their ids, those after `after_id` ("" for the first page): statement
 * column 0 is the id, 1+i is table->columns[i]; stmt_done ends it. Step in a short read transaction; the next page
 * starts after the last id. */
enum trb_status capture_scan_rows(struct trb_db *db, const struct trb_table *table, struct trb_slice after_id,
                                  int64_t limit, struct trb_stmt **ret, struct trb_error *err);
/* The same columns of one row (no row: stmt_step says so). */
enum trb_status capture_row(struct trb_db *db, const struct trb_table *table, struct trb_slice id,
                            struct trb_stmt **ret, struct trb_error *err);
/* Appends a mark for a change the triggers missed; op and mask as schema.h says, time is now. */
enum trb_status capture_mark(struct trb_db *db, uint16_t table, struct trb_slice id, int op, int part, int64_t mask,
                             struct trb_error *err);

#endif
