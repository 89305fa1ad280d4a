/* db: see include/tributary/db.h. */
#include "tributary/db.h"

#include <fcntl.h>
#include <pthread.h>
#include <sqlite3.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

/* Statements kept prepared: more than the hub's hot path uses; a power of two. */
enum { CACHE_SLOTS = 256, CACHE_PROBES = 8, BY_ADDRESS_SLOTS = 512, PATH_BYTES_MAX = 4096 };

struct trb_stmt {
  struct trb_db *db;
  sqlite3_stmt *handle;
  char *sql; /* owned: the cache key */
  uint64_t hash;
  int bind_error;
  bool used; /* bound or stepped since it was last reset */
};

struct trb_db {
  sqlite3 *handle;
  char *path;
  struct trb_stmt *cache[CACHE_SLOTS];
  struct trb_stmt
      *by_address[BY_ADDRESS_SLOTS]; /* the same statements by the address of their text, mostly a literal's */
};

static enum trb_status status_of(int rc) {
  switch (rc & 0xff) {
    case SQLITE_OK:
    case SQLITE_ROW:
    case SQLITE_DONE: return TRB_OK;
    case SQLITE_BUSY:
    case SQLITE_LOCKED: return TRB_AGAIN;
    case SQLITE_FULL: return TRB_FULL;
    case SQLITE_NOMEM: return TRB_NOMEM;
    case SQLITE_CONSTRAINT:
    case SQLITE_TOOBIG:
    case SQLITE_MISMATCH: return TRB_PEER;
    case SQLITE_READONLY:
    case SQLITE_PERM:
    case SQLITE_AUTH: return TRB_DENIED;
    default: return TRB_STORE;
  }
}

/* SQLite's message names tables and columns, never values (RAISE texts are ours). */
static enum trb_status db_failed(struct trb_db *db, int rc, struct trb_error *err) {
  const char *name = strrchr(db->path, '/');
  return trb_fail(err, status_of(rc), "%s: %s", name ? name + 1 : db->path, sqlite3_errmsg(db->handle));
}

static const char *const OPEN_SQL = "PRAGMA foreign_keys=OFF; PRAGMA trusted_schema=OFF;";

/* Counting every allocation under one lock costs the hub's threads some 4 %; nobody asks for the numbers. */
static void configure(void) { sqlite3_config(SQLITE_CONFIG_MEMSTATUS, 0); }

enum trb_status db_open(const char *path, enum trb_db_mode mode, int busy_ms, struct trb_db **ret,
                        struct trb_error *err) {
  static const int flags[] = {SQLITE_OPEN_READONLY, SQLITE_OPEN_READWRITE, SQLITE_OPEN_READWRITE | SQLITE_OPEN_CREATE};
  static pthread_once_t configured = PTHREAD_ONCE_INIT;
  pthread_once(&configured, configure); /* before SQLite is first used */
  if (mode == TRB_DB_CREATE) {          /* the mode before SQLite's umask-dependent default */
    int fd = open(path, O_RDWR | O_CREAT | O_CLOEXEC, 0600);
    if (fd < 0) return trb_fail(err, TRB_STORE, "cannot create %s: %m", path);
    close(fd);
  }
  struct trb_db *db = calloc(1, sizeof *db);
  if (!db || !(db->path = strdup(path))) {
    free(db);
    return trb_fail(err, TRB_NOMEM, "out of memory");
  }
  int rc = sqlite3_open_v2(path, &db->handle, flags[mode] | SQLITE_OPEN_NOMUTEX, NULL);
  if (rc == SQLITE_OK) rc = sqlite3_busy_timeout(db->handle, busy_ms);
  if (rc == SQLITE_OK) rc = sqlite3_exec(db->handle, OPEN_SQL, NULL, NULL, NULL);
  if (rc != SQLITE_OK) {
    enum trb_status status = db->handle ? db_failed(db, rc, err) : trb_fail(err, TRB_NOMEM, "out of memory");
    db_close(&db);
    return status;
  }
  *ret = db;
  return TRB_OK;
}

static void stmt_drop(struct trb_stmt *stmt) {
  if (!stmt) return;
  sqlite3_finalize(stmt->handle);
  free(stmt->sql);
  free(stmt);
}

void stmt_free(struct trb_stmt **stmt_p) {
  stmt_drop(*stmt_p);
  *stmt_p = NULL;
}

void db_close(struct trb_db **db_p) {
  struct trb_db *db = *db_p;
  if (!db) return;
  *db_p = NULL;
  for (size_t i = 0; i < CACHE_SLOTS; i++) stmt_drop(db->cache[i]);
  sqlite3_close(db->handle);
  free(db->path);
  free(db);
}

enum trb_status db_exec(struct trb_db *db, const char *sql, struct trb_error *err) {
  int rc = sqlite3_exec(db->handle, sql, NULL, NULL, NULL);
  return rc == SQLITE_OK ? TRB_OK : db_failed(db, rc, err);
}

static enum trb_status begin(struct trb_db *db, const char *sql, struct trb_error *err) {
  TRB_ASSERT(!db_in_transaction(db));
  return db_run(db, err, sql, "");
}

enum trb_status db_begin(struct trb_db *db, struct trb_error *err) { return begin(db, "BEGIN IMMEDIATE", err); }
enum trb_status db_begin_read(struct trb_db *db, struct trb_error *err) { return begin(db, "BEGIN", err); }

static void reset_all(struct trb_db *db) {
  for (size_t i = 0; i < CACHE_SLOTS; i++)
    if (db->cache[i] && sqlite3_stmt_busy(db->cache[i]->handle)) stmt_done(db->cache[i]);
}

enum trb_status db_commit(struct trb_db *db, struct trb_error *err) {
  reset_all(db);
  enum trb_status status = db_run(db, err, "COMMIT", "");
  if (status != TRB_OK) db_rollback(db);
  return status;
}

void db_rollback(struct trb_db *db) {
  reset_all(db);
  if (db_in_transaction(db)) sqlite3_exec(db->handle, "ROLLBACK", NULL, NULL, NULL);
}

bool db_in_transaction(const struct trb_db *db) { return !sqlite3_get_autocommit(db->handle); }

/* Eight bytes at a time: statements are long and looked up millions of times. No adversary. */
static uint64_t hash_text(const char *s) {
  size_t len = strlen(s);
  uint64_t h = 14695981039346656037u ^ len, word;
  for (; len >= sizeof word; s += sizeof word, len -= sizeof word) {
    memcpy(&word, s, sizeof word);
    h = (h ^ word) * 0x9E3779B97F4A7C15u;
    h ^= h >> 32;
  }
  for (; len; s++, len--) h = (h ^ (uint8_t)*s) * 1099511628211u;
  return h ^ (h >> 29);
}

enum trb_status db_prepare(struct trb_db *db, const char *sql, struct trb_stmt **ret, struct trb_error *err) {
  struct trb_stmt *stmt = calloc(1, sizeof *stmt);
  if (!stmt || !(stmt->sql = strdup(sql))) {
    free(stmt);
    return trb_fail(err, TRB_NOMEM, "out of memory");
  }
  stmt->db = db;
  int rc = sqlite3_prepare_v3(db->handle, sql, -1, SQLITE_PREPARE_PERSISTENT, &stmt->handle, NULL);
  if (rc != SQLITE_OK) {
    enum trb_status status = db_failed(db, rc, err);
    stmt_drop(stmt);
    return status;
  }
  *ret = stmt;
  return TRB_OK;
}

static struct trb_stmt **address_slot(struct trb_db *db, const char *sql) {
  return &db->by_address[((uintptr_t)sql * 0x9E3779B97F4A7C15u) >> 55]; /* 512 slots */
}

static enum trb_status query_by_text(struct trb_db *db, const char *sql, struct trb_stmt **ret, struct trb_error *err) {
  uint64_t hash = hash_text(sql);
  size_t slot = SIZE_MAX;
  for (size_t i = 0; i < CACHE_PROBES; i++) {
    size_t at = (hash + i) % CACHE_SLOTS;
    struct trb_stmt *stmt = db->cache[at];
    if (stmt && stmt->hash == hash && strcmp(stmt->sql, sql) == 0) {
      *ret = stmt;
      return TRB_OK;
    }
    if (slot == SIZE_MAX && (!stmt || !sqlite3_stmt_busy(stmt->handle))) slot = at;
    if (!stmt) break;
  }
  TRB_ASSERT(slot != SIZE_MAX); /* eight statements in use at once on one probe path */
  struct trb_stmt *stmt = NULL;
  enum trb_status status = db_prepare(db, sql, &stmt, err);
  if (status != TRB_OK) return status;
  TRB_ASSERT(stmt);
  stmt->hash = hash;
  for (size_t i = 0; db->cache[slot] && i < BY_ADDRESS_SLOTS; i++)
    if (db->by_address[i] == db->cache[slot]) db->by_address[i] = NULL;
  stmt_drop(db->cache[slot]);
  db->cache[slot] = stmt;
  *ret = stmt;
  return TRB_OK;
}

/* A literal stands at one address for ever, so its text need not be hashed again; it is compared all the same, for a
 * buffer may hold another text at the same address. */
enum trb_status db_query(struct trb_db *db, const char *sql, struct trb_stmt **ret, struct trb_error *err) {
  struct trb_stmt **known = address_slot(db, sql);
  if (!*known || strcmp((*known)->sql, sql) != 0) {
    struct trb_stmt *stmt = NULL;
    enum trb_status status = query_by_text(db, sql, &stmt, err);
    if (status != TRB_OK) return status;
    TRB_ASSERT(stmt);
    *known = stmt;
  }
  stmt_done(*known);
  *ret = *known;
  return TRB_OK;
}

static void bound(struct trb_stmt *stmt, int rc) {
  stmt->used = true;
  if (rc != SQLITE_OK && stmt->bind_error == SQLITE_OK) stmt->bind_error = rc;
}

void stmt_bind_int(struct trb_stmt *stmt, int index, int64_t value) {
  bound(stmt, sqlite3_bind_int64(stmt->handle, index, value));
}
void stmt_bind_real(struct trb_stmt *stmt, int index, double value) {
  bound(stmt, sqlite3_bind_double(stmt->handle, index, value));
}
void stmt_bind_text(struct trb_stmt *stmt, int index, const char *text) {
  bound(stmt, sqlite3_bind_text(stmt->handle, index, text, -1, SQLITE_STATIC));
}
void stmt_bind_slice(struct trb_stmt *stmt, int index, struct trb_slice text) {
  const void *data = text.data ? (const void *)text.data : "";
  bound(stmt, sqlite3_bind_text64(stmt->handle, index, data, text.len, SQLITE_STATIC, SQLITE_UTF8));
}
void stmt_bind_blob(struct trb_stmt *stmt, int index, struct trb_slice blob) {
  const void *data = blob.data ? (const void *)blob.data : "";
  bound(stmt, sqlite3_bind_blob64(stmt->handle, index, data, blob.len, SQLITE_STATIC));
}
void stmt_bind_null(struct trb_stmt *stmt, int index) { bound(stmt, sqlite3_bind_null(stmt->handle, index)); }
void stmt_bind_value(struct trb_stmt *stmt, int index, struct trb_value value) {
  switch (value.type) {
    case TRB_NULL: stmt_bind_null(stmt, index); return;
    case TRB_INT: stmt_bind_int(stmt, index, value.i); return;
    case TRB_REAL: stmt_bind_real(stmt, index, value.r); return;
    case TRB_TEXT: stmt_bind_slice(stmt, index, value.s); return;
    case TRB_BLOB: stmt_bind_blob(stmt, index, value.s); return;
  }
}

enum trb_status stmt_step(struct trb_stmt *stmt, bool *ret_row, struct trb_error *err) {
  int rc = stmt->bind_error;
  stmt->used = true;
  if (rc == SQLITE_OK) rc = sqlite3_step(stmt->handle);
  if (rc == SQLITE_ROW) {
    *ret_row = true;
    return TRB_OK;
  }
  enum trb_status status = rc == SQLITE_DONE ? TRB_OK : db_failed(stmt->db, rc, err);
  stmt_done(stmt);
  if (status == TRB_OK) *ret_row = false;
  return status;
}

int64_t stmt_int(struct trb_stmt *stmt, int column) { return sqlite3_column_int64(stmt->handle, column); }
double stmt_real(struct trb_stmt *stmt, int column) { return sqlite3_column_double(stmt->handle, column); }
struct trb_slice stmt_slice(struct trb_stmt *stmt, int column) {
  const void *data = sqlite3_column_blob(stmt->handle, column); /* before _bytes: see SQLite's note on order */
  return trb_slice_of(data, (size_t)sqlite3_column_bytes(stmt->handle, column));
}
const char *stmt_text(struct trb_stmt *stmt, int column) {
  const unsigned char *text = sqlite3_column_text(stmt->handle, column);
  return text ? (const char *)text : "";
}
bool stmt_is_null(struct trb_stmt *stmt, int column) {
  return sqlite3_column_type(stmt->handle, column) == SQLITE_NULL;
}
struct trb_value stmt_value(struct trb_stmt *stmt, int column) {
  switch (sqlite3_column_type(stmt->handle, column)) {
    case SQLITE_INTEGER: return trb_int(stmt_int(stmt, column));
    case SQLITE_FLOAT: return trb_real(stmt_real(stmt, column));
    case SQLITE_TEXT: return trb_text_slice(stmt_slice(stmt, column));
    case SQLITE_BLOB: return trb_blob(stmt_slice(stmt, column));
    default: return trb_null();
  }
}
int stmt_column_count(struct trb_stmt *stmt) { return sqlite3_column_count(stmt->handle); }
const char *stmt_column_name(struct trb_stmt *stmt, int column) {
  const char *name = sqlite3_column_name(stmt->handle, column);
  return name ? name : "";
}

void stmt_done(struct trb_stmt *stmt) {
  if (!stmt || !stmt->used) return;
  stmt->used = false;
  sqlite3_reset(stmt->handle); /* its result repeats the error of the step */
  sqlite3_clear_bindings(stmt->handle);
  stmt->bind_error = SQLITE_OK;
}

static void bind_format(struct trb_stmt *stmt, const char *format, va_list args) {
  for (int i = 1; *format; format++, i++) switch (*format) {
      case 'i': stmt_bind_int(stmt, i, va_arg(args, int64_t)); break;
      case 'r': stmt_bind_real(stmt, i, va_arg(args, double)); break;
      case 't': stmt_bind_text(stmt, i, va_arg(args, const char *)); break;
      case 's': stmt_bind_slice(stmt, i, va_arg(args, struct trb_slice)); break;
      case 'b': stmt_bind_blob(stmt, i, va_arg(args, struct trb_slice)); break;
      case 'v': stmt_bind_value(stmt, i, va_arg(args, struct trb_value)); break;
      case 'n': stmt_bind_null(stmt, i); break;
      default: trb_bug("unknown format letter", __FILE__, __LINE__);
    }
}

#define QUERY_BOUND(status, stmt, db, sql, format, err)    \
  enum trb_status status;                                  \
  do {                                                     \
    va_list args;                                          \
    va_start(args, format);                                \
    status = db_query(db, sql, &(stmt), err);              \
    if (status == TRB_OK) bind_format(stmt, format, args); \
    va_end(args);                                          \
  } while (0)

enum trb_status db_queryf(struct trb_db *db, struct trb_error *err, struct trb_stmt **ret, const char *sql,
                          const char *format, ...) {
  struct trb_stmt *stmt = NULL;
  QUERY_BOUND(status, stmt, db, sql, format, err);
  if (status == TRB_OK) *ret = stmt;
  return status;
}

enum trb_status db_run(struct trb_db *db, struct trb_error *err, const char *sql, const char *format, ...) {
  TRB_STMT_AUTO *stmt = NULL;
  QUERY_BOUND(status, stmt, db, sql, format, err);
  bool row = true;
  while (status == TRB_OK && row) status = stmt_step(stmt, &row, err);
  return status;
}

static enum trb_status first_row(struct trb_stmt *stmt, struct trb_error *err) {
  bool row = false;
  enum trb_status status = stmt_step(stmt, &row, err);
  return status != TRB_OK || row ? status : trb_fail(err, TRB_ABSENT, "no such row");
}

enum trb_status db_get_int(struct trb_db *db, struct trb_error *err, int64_t *ret, const char *sql, const char *format,
                           ...) {
  TRB_STMT_AUTO *stmt = NULL;
  QUERY_BOUND(status, stmt, db, sql, format, err);
  if (status == TRB_OK) status = first_row(stmt, err);
  if (status == TRB_OK) *ret = stmt_int(stmt, 0);
  return status;
}

enum trb_status db_get_bytes(struct trb_db *db, struct trb_error *err, struct trb_buf *out, const char *sql,
                             const char *format, ...) {
  TRB_STMT_AUTO *stmt = NULL;
  QUERY_BOUND(status, stmt, db, sql, format, err);
  if (status == TRB_OK) status = first_row(stmt, err);
  if (status == TRB_OK) trb_buf_append_slice(out, stmt_slice(stmt, 0));
  return status == TRB_OK && out->failed ? trb_fail(err, TRB_NOMEM, "out of memory") : status;
}

int64_t db_changes(struct trb_db *db) { return sqlite3_changes64(db->handle); }
int64_t db_last_rowid(struct trb_db *db) { return sqlite3_last_insert_rowid(db->handle); }
const char *db_path(const struct trb_db *db) { return db->path; }
const char *db_library_version(void) { return sqlite3_libversion(); }

enum trb_status db_data_version(struct trb_db *db, int64_t *ret, struct trb_error *err) {
  return db_get_int(db, err, ret, "PRAGMA data_version", "");
}

static enum trb_status sync_folder(const char *path, struct trb_error *err) {
  char folder[PATH_BYTES_MAX];
  const char *slash = strrchr(path, '/');
  int len = slash ? (int)(slash - path) : 1;
  snprintf(folder, sizeof folder, "%.*s", len ? len : 1, slash ? (len ? path : "/") : ".");
  int fd = open(folder, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
  if (fd < 0) return trb_fail(err, TRB_STORE, "cannot open %s: %m", folder);
  int rc = fsync(fd);
  if (rc != 0) trb_fail(err, TRB_STORE, "cannot sync %s: %m", folder);
  close(fd);
  return rc == 0 ? TRB_OK : TRB_STORE;
}

bool db_damaged(const struct trb_db *db) {
  int rc = sqlite3_errcode(db->handle) & 0xff;
  return rc == SQLITE_CORRUPT || rc == SQLITE_NOTADB;
}

enum trb_status db_sync(struct trb_db *db, struct trb_error *err) {
  sqlite3_file *file = NULL;
  int rc = sqlite3_file_control(db->handle, "main", SQLITE_FCNTL_FILE_POINTER, &file);
  if (rc == SQLITE_OK && file && file->pMethods) rc = file->pMethods->xSync(file, SQLITE_SYNC_NORMAL);
  if (rc != SQLITE_OK) return trb_fail(err, TRB_STORE, "cannot sync %s: %s", db->path, sqlite3_errstr(rc));
  return sync_folder(db->path, err);
}

enum trb_status db_checkpoint(struct trb_db *db, struct trb_error *err) {
  int rc = sqlite3_wal_checkpoint_v2(db->handle, NULL, SQLITE_CHECKPOINT_PASSIVE, NULL, NULL);
  return rc == SQLITE_OK ? TRB_OK : db_failed(db, rc, err);
}

enum trb_status db_wal_bytes(struct trb_db *db, int64_t *ret, struct trb_error *err) {
  char path[PATH_BYTES_MAX];
  if ((size_t)snprintf(path, sizeof path, "%s-wal", db->path) >= sizeof path)
    return trb_fail(err, TRB_STORE, "path too long");
  struct stat st;
  *ret = stat(path, &st) == 0 ? (int64_t)st.st_size : 0;
  return TRB_OK;
}

struct trb_db_backup {
  struct trb_db *target;
  sqlite3_backup *handle;
  bool done;
};

enum trb_status db_backup_begin(struct trb_db *source, const char *path, struct trb_db_backup **ret,
                                struct trb_error *err) {
  struct trb_db_backup *backup = calloc(1, sizeof *backup);
  if (!backup) return trb_fail(err, TRB_NOMEM, "out of memory");
  enum trb_status status = db_open(path, TRB_DB_CREATE, 0, &backup->target, err);
  if (status == TRB_OK) {
    TRB_ASSERT(backup->target);
    backup->handle = sqlite3_backup_init(backup->target->handle, "main", source->handle, "main");
    if (!backup->handle) status = db_failed(backup->target, sqlite3_errcode(backup->target->handle), err);
  }
  if (status == TRB_OK)
    *ret = backup;
  else
    db_backup_end(&backup);
  return status;
}

enum trb_status db_backup_step(struct trb_db_backup *backup, int pages, bool *ret_done, struct trb_error *err) {
  int rc = sqlite3_backup_step(backup->handle, pages);
  if (rc == SQLITE_OK || rc == SQLITE_DONE) {
    *ret_done = backup->done = rc == SQLITE_DONE;
    return TRB_OK;
  }
  return trb_fail(err, status_of(rc), "backup: %s", sqlite3_errstr(rc));
}

void db_backup_end(struct trb_db_backup **backup_p) {
  struct trb_db_backup *backup = *backup_p;
  if (!backup) return;
  *backup_p = NULL;
  if (backup->handle && sqlite3_backup_finish(backup->handle) != SQLITE_OK) backup->done = false;
  if (backup->target && !backup->done) unlink(backup->target->path);
  db_close(&backup->target);
  free(backup);
}
