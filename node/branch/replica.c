/* replica: see include/tributary/replica.h. */
#include "tributary/replica.h"

#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "tributary/mp.h"
#include "tributary/sealer_store.h"

enum { PATH_BYTES_MAX = 4096, OP_PUT = 1, OP_WITHDRAW = 3 };

/* Lock bytes of SQLite's file format (os.h: PENDING_BYTE and what follows). */
#define LOCK_PENDING 0x40000000
#define LOCK_BYTES 512
#define LOCK_WRITER_BYTES 2 /* PENDING and RESERVED */

static const char SETTINGS[] = "PRAGMA cache_size=-1000; PRAGMA secure_delete=ON;";
/* Which rows came down, with which version, and in which snapshot they were last seen. */
static const char DOWN_TABLE[] =
    "CREATE TABLE IF NOT EXISTS _trb_down(tbl INTEGER, id TEXT, version INTEGER, snapshot INTEGER, PRIMARY KEY(tbl, "
    "id)) "
    "WITHOUT ROWID";

/* ---- opening ---- */

static enum trb_status stat_file(struct replica *r, struct trb_error *err) {
  struct stat st;
  if (stat(db_path(r->db), &st) != 0) return trb_fail(err, TRB_STORE, "cannot look at %s: %m", db_path(r->db));
  r->inode = (uint64_t)st.st_ino;
  r->device = (uint64_t)st.st_dev;
  return TRB_OK;
}

bool replica_replaced(const struct replica *r) {
  struct stat st;
  return stat(db_path(r->db), &st) != 0 || (uint64_t)st.st_ino != r->inode || (uint64_t)st.st_dev != r->device;
}

static enum trb_status open_file(const char *dir, enum trb_db_mode mode, int busy_ms, struct trb_db **ret,
                                 struct trb_error *err) {
  char path[PATH_BYTES_MAX];
  int len = snprintf(path, sizeof path, "%s/" REPLICA_FILE, dir);
  if (len < 0 || (size_t)len >= sizeof path) return trb_fail(err, TRB_PEER, "the path of the directory is too long");
  return db_open(path, mode, busy_ms, ret, err);
}

/* Local table of ours; made outside capture's catalogue, since only this file uses it. */
static enum trb_status make_down_table(struct trb_db *db, struct trb_error *err) {
  int64_t count = 0;
  enum trb_status status =
      db_get_int(db, err, &count, "SELECT count(*) FROM sqlite_master WHERE name = '_trb_down'", "");
  return status == TRB_OK && count == 0 ? db_exec(db, DOWN_TABLE, err) : status;
}

enum trb_status replica_make(const char *dir, struct trb_error *err) {
  struct trb_db *db = NULL;
  struct trb_catalogue *catalogue = catalogue_builtin();
  enum trb_status status = open_file(dir, TRB_DB_CREATE, 5000, &db, err);
  if (status == TRB_OK) status = capture_install(db, catalogue, err);
  if (status == TRB_OK) status = make_down_table(db, err);
  if (status == TRB_OK) status = db_sync(db, err);
  db_close(&db);
  catalogue_unref(&catalogue);
  return status;
}

static enum trb_status load_position(struct replica *r, struct trb_error *err);

/* Without the tables of custom definitions the schema is damaged: capture_check looks at it with what is built in. */
static enum trb_status read_catalogue(struct replica *r, struct trb_error *err) {
  enum trb_status status = capture_catalogue(r->db, &r->catalogue, err);
  if (status != TRB_ABSENT && status != TRB_STORE) return status;
  r->catalogue = catalogue_builtin();
  return TRB_OK;
}

enum trb_status replica_open(const char *dir, struct replica *ret, struct trb_error *err) {
  struct replica r = {.schema_version = -1};
  enum trb_status status = open_file(dir, TRB_DB_WRITE, 2000, &r.db, err);
  if (status == TRB_OK) status = stat_file(&r, err);
  if (status == TRB_OK) status = capture_connect(r.db, err);
  if (status == TRB_OK) status = db_exec(r.db, SETTINGS, err);
  if (status == TRB_OK) status = make_down_table(r.db, err);
  if (status == TRB_OK) status = read_catalogue(&r, err);
  if (status == TRB_OK) status = load_position(&r, err);
  if (status == TRB_OK) status = db_exec(r.db, "PRAGMA busy_timeout=0", err);
  if (status == TRB_OK)
    *ret = r;
  else
    replica_close(&r);
  return status;
}

void replica_close(struct replica *r) {
  db_close(&r->db);
  catalogue_unref(&r->catalogue);
  trb_buf_free(&r->rows);
  memset(r, 0, sizeof *r);
}

/* ---- position ---- */

static const char META_GET[] = "SELECT value FROM _trb_meta WHERE name = ?";
static const char META_SET[] = "INSERT OR REPLACE INTO _trb_meta(name, value) VALUES(?, ?)";

static enum trb_status meta_int(struct replica *r, const char *name, int64_t *ret, struct trb_error *err) {
  enum trb_status status = db_get_int(r->db, err, ret, META_GET, "t", name);
  if (status == TRB_ABSENT) *ret = 0;
  return status == TRB_ABSENT ? TRB_OK : status;
}

/* A newer program knows more tables and columns: what it had to leave out is asked for again. */
static enum trb_status left_out(struct replica *r, bool *ret, struct trb_error *err) {
  TRB_BUF_AUTO version = {0};
  enum trb_status status = db_get_bytes(r->db, err, &version, META_GET, "t", "down_left_out");
  if (status != TRB_OK && status != TRB_ABSENT) return status;
  *ret = status == TRB_OK && version.len && strcmp(trb_buf_cstr(&version), TRB_VERSION) != 0;
  return TRB_OK;
}

static enum trb_status load_position(struct replica *r, struct trb_error *err) {
  TRB_BUF_AUTO epoch = {0};
  int64_t version = 0;
  bool again = false;
  enum trb_status status = db_get_bytes(r->db, err, &epoch, META_GET, "t", "down_epoch");
  if (status == TRB_OK || status == TRB_ABSENT) status = meta_int(r, "down_version", &version, err);
  if (status == TRB_OK) status = left_out(r, &again, err);
  if (status != TRB_OK) return status;
  memset(r->held_epoch, 0, 16);
  r->held_version = 0;
  if (epoch.len != 16 || again) return TRB_OK;
  memcpy(r->held_epoch, epoch.data, 16);
  r->held_version = (uint64_t)version;
  return TRB_OK;
}

void replica_position(const struct replica *r, uint8_t ret_epoch[16], uint64_t *ret_version) {
  memcpy(ret_epoch, r->held_epoch, 16);
  *ret_version = r->held_version;
}

enum trb_status replica_forget(struct replica *r, struct trb_error *err) {
  enum trb_status status =
      db_exec(r->db, "DELETE FROM _trb_meta WHERE name IN('down_epoch', 'down_version', 'down_left_out')", err);
  return status == TRB_OK ? load_position(r, err) : status;
}

/* ---- one frame ---- */

enum trb_status replica_apply(struct replica *r, const struct wire_down *down, struct trb_error *err) {
  TRB_ASSERT(!r->applying);
  bool first = (down->flags & DOWN_FIRST) != 0;
  if (!first && (memcmp(r->held_epoch, down->epoch, 16) != 0 || down->after > r->held_version ||
                 r->held_version >= down->version))
    return trb_fail(err, TRB_AGAIN, "a frame that does not follow what the replica holds");
  if (down->rows.len && mp_check(down->rows, err) != TRB_OK) return TRB_PEER;
  trb_buf_clear(&r->rows);
  trb_buf_append_slice(&r->rows, down->rows);
  if (r->rows.failed) return trb_fail(err, TRB_NOMEM, "out of memory");
  struct mp_reader reader = mp_reader(trb_buf_slice(&r->rows));
  r->row_count = down->rows.len ? mp_get_array(&reader) : 0;
  if (reader.failed) return trb_fail(err, TRB_PEER, "rows that are not an array");
  r->byte_at = down->rows.len ? (size_t)(reader.at - r->rows.data) : 0;
  r->row_at = 0;
  memcpy(r->epoch, down->epoch, 16);
  r->version = down->version;
  r->flags = (uint32_t)down->flags;
  r->definitions = r->unknown = r->sweeping = false;
  r->skipped = 0;
  r->sweep_table = 0;
  r->applying = true;
  return TRB_OK;
}

static enum trb_status drop_row(struct replica *r, const struct trb_table *table, struct trb_slice id,
                                struct trb_error *err) {
  TRB_BUF_AUTO sql = {0};
  schema_delete_row(table, &sql);
  enum trb_status status = db_run(r->db, err, trb_buf_cstr(&sql), "s", id);
  if (status == TRB_OK)
    status = db_run(r->db, err, "DELETE FROM _trb_down WHERE tbl = ? AND id = ?", "is", (int64_t)table->number, id);
  return status;
}

/* Values in catalogue order from [column, value, ...]; unknown columns are left out and remembered. */
static void take_values(struct replica *r, const struct trb_table *table, struct mp_reader *cells,
                        struct trb_value *values) {
  size_t count = mp_get_array(cells);
  if (count % 2 != 0) cells->failed = true;
  for (size_t i = 0; i + 1 < count && !cells->failed; i += 2) {
    uint64_t number = mp_get_uint(cells);
    struct trb_value value = mp_get_value(cells);
    size_t at = number <= UINT16_MAX ? table_column_index(table, (uint16_t)number) : SIZE_MAX;
    if (at == SIZE_MAX)
      r->unknown = true;
    else
      values[at] = value;
  }
}

static enum trb_status put_row(struct replica *r, const struct trb_table *table, struct trb_slice id, uint64_t version,
                               int64_t snapshot, struct mp_reader *cells, struct trb_error *err) {
  TRB_ARENA_AUTO arena = {0};
  TRB_BUF_AUTO sql = {0};
  struct trb_value *values = trb_arena_alloc(&arena, (table->column_count + 1) * sizeof *values);
  if (!values) return trb_fail(err, TRB_NOMEM, "out of memory");
  take_values(r, table, cells, values);
  if (cells->failed) return TRB_OK; /* the caller says so */
  TRB_STMT_AUTO *stmt = NULL;
  schema_upsert_row(table, &sql);
  enum trb_status status = db_query(r->db, trb_buf_cstr(&sql), &stmt, err);
  if (status != TRB_OK) return status;
  stmt_bind_slice(stmt, 1, id);
  for (size_t i = 0; i < table->column_count; i++) stmt_bind_value(stmt, (int)i + 2, values[i]);
  bool row = false;
  status = stmt_step(stmt, &row, err);
  if (status == TRB_OK && table->owner != TRB_OWNER_BRANCH)
    status = db_run(r->db, err, "INSERT OR REPLACE INTO _trb_down(tbl, id, version, snapshot) VALUES(?, ?, ?, ?)",
                    "isii", (int64_t)table->number, id, (int64_t)version, snapshot);
  return status;
}

/* A row of a table that branches write is this branch's own, given back after a loss: it is written like a client's
 * change, captured, so that shadows and digests follow. */
static enum trb_status apply_row(struct replica *r, struct mp_reader *reader, int64_t snapshot, struct trb_error *err) {
  static const char shape[] = "a row of DOWN has the wrong shape";
  if (mp_get_array(reader) < 5) return trb_fail(err, TRB_PEER, shape);
  uint64_t number = mp_get_uint(reader), op = mp_get_uint(reader);
  struct trb_slice id = mp_get_str(reader);
  uint64_t version = mp_get_uint(reader);
  struct mp_reader cells = mp_reader(mp_get_raw(reader));
  if (reader->failed || id.len == 0 || id.len > TRB_ID_BYTES_MAX || !trb_utf8_valid(id))
    return trb_fail(err, TRB_PEER, shape);
  const struct trb_table *table = number <= UINT16_MAX ? catalogue_table(r->catalogue, (uint16_t)number) : NULL;
  if (!table || !schema_at_branch(table)) {
    r->unknown = true;
    return TRB_OK;
  }
  r->definitions |= number == TRB_T_custom_table || number == TRB_T_custom_column;
  bool own = table->owner == TRB_OWNER_BRANCH;
  enum trb_status status = own ? capture_resume(r->db, err) : TRB_OK;
  if (status == TRB_OK && op == OP_WITHDRAW) status = drop_row(r, table, id, err);
  if (status == TRB_OK && op == OP_PUT) status = put_row(r, table, id, version, snapshot, &cells, err);
  if (status == TRB_PEER) { /* refused by a constraint or a guard: the others go on */
    r->skipped++;
    status = TRB_OK;
  }
  if (status == TRB_OK && own) status = capture_suspend(r->db, "down", err);
  return status == TRB_OK && cells.failed ? trb_fail(err, TRB_PEER, shape) : status;
}

/* The number of the snapshot under way (of the last one otherwise); a first frame begins the next. */
static enum trb_status snapshot_number(struct replica *r, int64_t *ret, struct trb_error *err) {
  enum trb_status status = meta_int(r, "down_snapshot", ret, err);
  if (status != TRB_OK || !(r->flags & DOWN_FIRST)) return status;
  ++*ret;
  r->flags &= ~(uint32_t)DOWN_FIRST; /* once a frame */
  return db_run(r->db, err, META_SET, "ti", "down_snapshot", *ret);
}

static const char UNSEEN[] = "SELECT id FROM _trb_down WHERE tbl = ?1 AND snapshot <> ?2 LIMIT ?3";
static const char UNSEEN_TABLE[] = "SELECT tbl FROM _trb_down WHERE tbl >= ?1 ORDER BY tbl LIMIT 1";

static enum trb_status sweep_rows(struct replica *r, int64_t snapshot, size_t *ret_count, struct trb_error *err) {
  TRB_ARENA_AUTO arena = {0};
  TRB_STMT_AUTO *stmt = NULL;
  struct trb_slice ids[TRB_REPLICA_SLICE_ROWS];
  size_t count = 0;
  bool row = false, ok = true;
  enum trb_status status =
      db_queryf(r->db, err, &stmt, UNSEEN, "iii", (int64_t)r->sweep_table, snapshot, (int64_t)TRB_REPLICA_SLICE_ROWS);
  if (status == TRB_OK) status = stmt_step(stmt, &row, err);
  while (status == TRB_OK && row && ok) {
    ids[count++] = trb_arena_copy(&arena, stmt_slice(stmt, 0), &ok);
    status = stmt_step(stmt, &row, err);
  }
  if (!ok) return trb_fail(err, TRB_NOMEM, "out of memory");
  const struct trb_table *table = catalogue_table(r->catalogue, r->sweep_table);
  for (size_t i = 0; i < count && status == TRB_OK; i++)
    if (table) status = drop_row(r, table, ids[i], err);
  if (status == TRB_OK && !table)
    status = db_run(r->db, err, "DELETE FROM _trb_down WHERE tbl = ?", "i", (int64_t)r->sweep_table);
  *ret_count = table ? count : 0;
  return status;
}

/* End of a snapshot: rows not seen since its first frame go. True in *ret_done when none is left. */
static enum trb_status sweep(struct replica *r, int64_t snapshot, int64_t until_us, bool *ret_done,
                             struct trb_error *err) {
  enum trb_status status = TRB_OK;
  *ret_done = false;
  while (status == TRB_OK && seal_now_us() < until_us) {
    int64_t table = 0;
    size_t count = 0;
    status = db_get_int(r->db, NULL, &table, UNSEEN_TABLE, "i", (int64_t)r->sweep_table);
    if (status == TRB_ABSENT) {
      *ret_done = true;
      return TRB_OK;
    }
    if (status != TRB_OK) return trb_fail(err, status, REPLICA_FILE ": cannot read what came down");
    r->sweep_table = (uint16_t)table;
    status = sweep_rows(r, snapshot, &count, err);
    if (count < TRB_REPLICA_SLICE_ROWS) r->sweep_table++;
  }
  return status;
}

static enum trb_status store_position(struct replica *r, struct trb_error *err) {
  enum trb_status status = db_run(r->db, err, META_SET, "tb", "down_epoch", trb_slice_of(r->epoch, 16));
  if (status == TRB_OK) status = db_run(r->db, err, META_SET, "ti", "down_version", (int64_t)r->version);
  if (status == TRB_OK && r->unknown) status = db_run(r->db, err, META_SET, "tt", "down_left_out", TRB_VERSION);
  /* The catalogue grows in the next slice; should it not come to that, load_position asks for all of it again. */
  if (status == TRB_OK && r->definitions)
    status = db_run(r->db, err, "UPDATE _trb_meta SET value = 'definitions' WHERE name = 'down_left_out'", "");
  if (status == TRB_OK && !r->definitions && !r->unknown && (r->flags & DOWN_LAST))
    status = db_run(r->db, err, "DELETE FROM _trb_meta WHERE name = 'down_left_out' AND value <> ?", "t", TRB_VERSION);
  return status;
}

struct progress { /* as it will stand after the commit */
  size_t row_at, byte_at;
  bool done;
};

static enum trb_status apply_slice(struct replica *r, struct progress *p, struct trb_error *err) {
  int64_t snapshot = 0, until_us = seal_now_us() + TRB_REPLICA_SLICE_MS * 1000 / 2; /* the other half is the commit's */
  enum trb_status status = capture_suspend(r->db, "down", err);
  if (status == TRB_OK) status = snapshot_number(r, &snapshot, err);
  struct mp_reader reader = {.at = r->rows.data + p->byte_at, .end = r->rows.data + r->rows.len};
  while (status == TRB_OK && p->row_at < r->row_count) {
    status = apply_row(r, &reader, snapshot, err);
    p->row_at++;
    if (seal_now_us() > until_us) break;
  }
  p->byte_at = r->rows.len ? (size_t)(reader.at - r->rows.data) : 0;
  bool rows_done = p->row_at == r->row_count;
  p->done = rows_done;
  if (status == TRB_OK && rows_done && (r->flags & DOWN_LAST)) status = sweep(r, snapshot, until_us, &p->done, err);
  if (status == TRB_OK && p->done) status = store_position(r, err);
  if (status == TRB_OK) status = capture_resume(r->db, err);
  return status;
}

/* After definitions of custom tables and columns: the catalogue grows; what had to be left out is asked for again. */
static enum trb_status extend(struct replica *r, bool *ret_extended, struct trb_error *err) {
  size_t before = catalogue_count(r->catalogue);
  enum trb_status status = capture_extend(r->db, &r->catalogue, err);
  if (status == TRB_PEER) return TRB_OK; /* a wrong definition is headquarters' to mend; the catalogue stays */
  if (status != TRB_OK) return status;
  r->definitions = false;
  *ret_extended = true;
  (void)before;
  int64_t out = 0;
  status = db_get_int(r->db, err, &out, "SELECT count(*) FROM _trb_meta WHERE name = 'down_left_out'", "");
  return status == TRB_OK && out > 0 ? replica_forget(r, err) : status;
}

enum trb_status replica_apply_step(struct replica *r, bool *ret_done, bool *ret_extended, struct trb_error *err) {
  TRB_ASSERT(r->applying);
  struct progress p = {.row_at = r->row_at, .byte_at = r->byte_at};
  uint32_t flags = r->flags;
  *ret_done = false;
  enum trb_status status = TRB_OK;
  if (!r->sweeping) {
    status = db_begin(r->db, err);
    if (status == TRB_OK) status = apply_slice(r, &p, err);
    if (status == TRB_OK) status = db_commit(r->db, err);
    if (status != TRB_OK) {
      db_rollback(r->db);
      r->flags = flags;
      if (status != TRB_AGAIN && status != TRB_FULL) r->applying = false;
      return status;
    }
    r->row_at = p.row_at;
    r->byte_at = p.byte_at;
    r->sweeping = p.done; /* in: only the definitions are left to do */
    if (p.done) memcpy(r->held_epoch, r->epoch, 16);
    if (p.done) r->held_version = r->version;
    if (p.done && r->definitions) return TRB_OK; /* tables and triggers in a slice of their own */
  }
  if (r->sweeping && r->definitions) status = extend(r, ret_extended, err);
  if (status == TRB_OK && r->sweeping) {
    r->applying = false;
    *ret_done = true;
  }
  return status;
}

/* ---- looking ---- */

/* Asks the kernel who holds SQLite's lock bytes. The descriptor stays open for the life of the process: closing any
 * descriptor of a file drops this process's POSIX locks on it, SQLite's among them. */
static int probe_lock(const struct replica *r, int len) {
  static int fd = -1;
  static uint64_t inode, device;
  if (fd < 0 || inode != r->inode || device != r->device) {
    fd = open(db_path(r->db), O_RDWR | O_CLOEXEC);
    inode = r->inode;
    device = r->device;
  }
  if (fd < 0) return 0;
  struct flock lock = {.l_type = F_WRLCK, .l_whence = SEEK_SET, .l_start = LOCK_PENDING, .l_len = len};
  if (fcntl(fd, F_GETLK, &lock) != 0 || lock.l_type == F_UNLCK) return 0;
  return lock.l_pid > 0 ? lock.l_pid : 0;
}

int replica_lock_holder(const struct replica *r) { return probe_lock(r, LOCK_BYTES); }
bool replica_writer_active(const struct replica *r) { return probe_lock(r, LOCK_WRITER_BYTES) != 0; }
