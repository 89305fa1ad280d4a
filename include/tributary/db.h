/* db: SQLite. common/db.c opens connections and owns transactions and prepared statements; other files bind and step
 * through these functions, with their SQL as literals above the function that runs them.
 *
 * A connection belongs to one thread. Statuses from SQLite: AGAIN busy or locked, FULL disk full, PEER constraint or
 * RAISE (message kept), DENIED read only, NOMEM, STORE anything else. */
#ifndef TRIBUTARY_DB_H
#define TRIBUTARY_DB_H

#include "tributary/value.h"

struct trb_db;   /* opaque, owned: a connection and its statement cache */
struct trb_stmt; /* borrowed from the connection's cache; reset by db_query, stmt_done, commit and rollback */

enum trb_db_mode {
  TRB_DB_READ,   /* SQLITE_OPEN_READONLY: never checkpoints, never changes the file */
  TRB_DB_WRITE,  /* must exist */
  TRB_DB_CREATE, /* made if absent, mode 0600 */
};
/* Sets foreign_keys off, trusted_schema off, busy timeout `busy_ms`. */
enum trb_status db_open(const char *path, enum trb_db_mode mode, int busy_ms, struct trb_db **ret,
                        struct trb_error *err);
void db_close(struct trb_db **db_p); /* takes and nulls; rolls back what is open */

enum trb_status db_exec(struct trb_db *db, const char *sql,
                        struct trb_error *err); /* one or more statements, no results */

/* IMMEDIATE transaction; nesting is a bug. db_rollback never fails and is allowed when none is open. */
enum trb_status db_begin(struct trb_db *db, struct trb_error *err);
enum trb_status db_begin_read(struct trb_db *db, struct trb_error *err); /* DEFERRED: one snapshot */
enum trb_status db_commit(struct trb_db *db, struct trb_error *err);     /* on failure the transaction is rolled back */
void db_rollback(struct trb_db *db);
bool db_in_transaction(const struct trb_db *db);

/* A prepared statement for `sql` (cached by text, at most 256 kept), reset and unbound, ready to bind. */
enum trb_status db_query(struct trb_db *db, const char *sql, struct trb_stmt **ret, struct trb_error *err);
/* A statement of the caller's own, outside the cache, for hot paths: prepared once, no look-up by text. The caller
 * calls stmt_done after each use and stmt_free (takes and nulls) before db_close. */
enum trb_status db_prepare(struct trb_db *db, const char *sql, struct trb_stmt **ret, struct trb_error *err);
void stmt_free(struct trb_stmt **stmt_p);
/* Parameters count from 1. Bound bytes are borrowed until stmt_done. Bind failures show at stmt_step. */
void stmt_bind_int(struct trb_stmt *stmt, int index, int64_t value);
void stmt_bind_real(struct trb_stmt *stmt, int index, double value);
void stmt_bind_text(struct trb_stmt *stmt, int index, const char *text);       /* NULL binds NULL */
void stmt_bind_slice(struct trb_stmt *stmt, int index, struct trb_slice text); /* TEXT */
void stmt_bind_blob(struct trb_stmt *stmt, int index, struct trb_slice blob);
void stmt_bind_value(struct trb_stmt *stmt, int index, struct trb_value value);
void stmt_bind_null(struct trb_stmt *stmt, int index);
/* *ret_row true: a row stands; false: done (and reset). */
enum trb_status stmt_step(struct trb_stmt *stmt, bool *ret_row, struct trb_error *err);
/* Columns count from 0; slices live until the next step. stmt_text gives "" for NULL. */
int64_t stmt_int(struct trb_stmt *stmt, int column);
double stmt_real(struct trb_stmt *stmt, int column);
struct trb_slice stmt_slice(struct trb_stmt *stmt, int column);
const char *stmt_text(struct trb_stmt *stmt, int column);
bool stmt_is_null(struct trb_stmt *stmt, int column);
struct trb_value stmt_value(struct trb_stmt *stmt, int column);
int stmt_column_count(struct trb_stmt *stmt);
const char *stmt_column_name(struct trb_stmt *stmt, int column);
void stmt_done(struct trb_stmt *stmt); /* reset and unbind: releases read locks and borrowed bytes; NULL allowed */
static inline void stmt_auto(struct trb_stmt **stmt_p) { stmt_done(*stmt_p); }
#define TRB_STMT_AUTO __attribute__((cleanup(stmt_auto))) struct trb_stmt

/* Bind by format and run to the end. Format letters, one an argument: i int64_t, r double, t const char*, s struct
 * trb_slice (TEXT), b struct trb_slice (BLOB), v struct trb_value, n (no argument) NULL. Note: pass int64_t for i
 * (cast!). */
enum trb_status db_run(struct trb_db *db, struct trb_error *err, const char *sql, const char *format, ...);
/* The same, for a query: first column of the first row. TRB_ABSENT when there is no row. */
enum trb_status db_get_int(struct trb_db *db, struct trb_error *err, int64_t *ret, const char *sql, const char *format,
                           ...);
/* Appends the bytes of the first column (nothing for NULL). */
enum trb_status db_get_bytes(struct trb_db *db, struct trb_error *err, struct trb_buf *out, const char *sql,
                             const char *format, ...);
/* Bind by format and leave the statement ready to step. */
enum trb_status db_queryf(struct trb_db *db, struct trb_error *err, struct trb_stmt **ret, const char *sql,
                          const char *format, ...);

int64_t db_changes(struct trb_db *db); /* rows of the last statement */
int64_t db_last_rowid(struct trb_db *db);
/* Moves when another connection commits: for a cache of what was read, without a look at the rows. */
enum trb_status db_data_version(struct trb_db *db, int64_t *ret, struct trb_error *err);
bool db_damaged(const struct trb_db *db); /* the latest failure: the file is corrupt or no database */
/* fsync of the database file through SQLite's own handle (closing a second descriptor would drop its POSIX locks),
 * then of its folder, so that a deleted rollback journal stays deleted. */
enum trb_status db_sync(struct trb_db *db, struct trb_error *err);
const char *db_path(const struct trb_db *db);
const char *db_library_version(void); /* of SQLite, static; needs no database */
/* Runs PRAGMA wal_checkpoint(PASSIVE). */
enum trb_status db_checkpoint(struct trb_db *db, struct trb_error *err);
enum trb_status db_wal_bytes(struct trb_db *db, int64_t *ret, struct trb_error *err);

/* Online copy, a few pages a step, so the owner can work in between (a backup steps through the writer's connection).
 */
struct trb_db_backup;
enum trb_status db_backup_begin(struct trb_db *source, const char *path, struct trb_db_backup **ret,
                                struct trb_error *err);
enum trb_status db_backup_step(struct trb_db_backup *backup, int pages, bool *ret_done, struct trb_error *err);
void db_backup_end(struct trb_db_backup **backup_p); /* also aborts; the partial file is removed unless done */

#endif
