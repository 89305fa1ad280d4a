/* import_undo: taking an import back. A row goes when it is as it was written and nothing outside hangs on it; a card
 * that stays keeps its contacts, and what hangs on them stays too. In transactions of UNDO_ROWS_PER_COMMIT rows, each
 * with the range of its marks in _trb_undo, so that the sealer tells headquarters "undo of an import" instead of a mass
 * delete to be held. */
#include <stdio.h>
#include <string.h>

#include "import.h"
#include "tributary/clock.h"

#define UNDO_ROWS_PER_COMMIT 500
#define UNDO_ROUNDS_MAX 16 /* longest chain of references between tables, with room */

struct undo {
  struct cli *cli;
  struct trb_db *db;
  const struct trb_catalogue *catalogue;
  const char *id;
  bool dry_run;
  struct trb_error *err;
};

/* --- which import --- */

static enum trb_status undo_choose(struct undo *u, const char *asked, char ret[TRB_UUID_TEXT_BYTES]) {
  static const char sql_last[] = "SELECT id FROM _trb_import WHERE undone_at IS NULL ORDER BY at DESC,id DESC LIMIT 1";
  static const char sql_named[] = "SELECT id FROM _trb_import WHERE id=?1";
  TRB_BUF_AUTO id = {0};
  int64_t undone = 0;
  bool last = strcmp(asked, "last") == 0;
  enum trb_status status =
      last ? db_get_bytes(u->db, u->err, &id, sql_last, "") : db_get_bytes(u->db, u->err, &id, sql_named, "t", asked);
  if (status == TRB_ABSENT || (!status && id.len >= TRB_UUID_TEXT_BYTES))
    return trb_fail(u->err, TRB_ABSENT, "this branch has no such import; 'tributary import DIR' lists them");
  if (status) return status;
  memcpy(ret, trb_buf_cstr(&id), id.len + 1);
  status = db_get_int(u->db, u->err, &undone, "SELECT undone_at IS NOT NULL FROM _trb_import WHERE id=?1", "t", ret);
  if (!status && undone) return trb_fail(u->err, TRB_AGAIN, "import %s is taken back already", ret);
  return status;
}

/* --- what stays --- */

/* *ret_state: 0 as written, 1 changed, 2 gone. */
static enum trb_status undo_state(struct undo *u, const struct trb_table *table, struct trb_slice id, uint64_t hash,
                                  int *ret_state) {
  TRB_BUF_AUTO sql = {0};
  struct trb_stmt *stmt = NULL;
  bool stands = false;
  trb_buf_append_str(&sql, "SELECT id");
  for (size_t i = 0; i < table->column_count; i++) trb_buf_printf(&sql, ",\"%s\"", table->columns[i].name);
  trb_buf_printf(&sql, " FROM \"%s\" WHERE id=?1", table->name);
  if (sql.failed) return trb_fail(u->err, TRB_NOMEM, "no memory for the undo");
  enum trb_status status = db_query(u->db, trb_buf_cstr(&sql), &stmt, u->err);
  if (status) return status;
  stmt_bind_slice(stmt, 1, id);
  status = stmt_step(stmt, &stands, u->err);
  if (!status && stands) {
    uint64_t now = import_hash_begin(table, id);
    for (size_t i = 0; i < table->column_count; i++)
      now += import_hash_cell(table, id, &table->columns[i], stmt_value(stmt, (int)i + 1));
    *ret_state = now == hash ? 0 : 1;
  } else if (!status) {
    *ret_state = 2;
  }
  stmt_done(stmt);
  return status;
}

static enum trb_status undo_keep(struct undo *u, int64_t table, const char *id, int why) {
  return db_run(u->db, u->err, "INSERT OR IGNORE INTO temp.undo_keep(tbl,row,why)VALUES(?1,?2,?3)", "iti", table, id,
                (int64_t)why);
}

/* Rows that were changed since, into undo_keep. */
static enum trb_status undo_find_changed(struct undo *u) {
  struct trb_stmt *rows = NULL;
  enum trb_status status =
      db_queryf(u->db, u->err, &rows, "SELECT tbl,row,hash FROM _trb_import_row WHERE import_id=?1", "t", u->id);
  for (bool stands = true; !status;) {
    char id[TRB_ID_BYTES_MAX + 1];
    int state = 0;
    status = stmt_step(rows, &stands, u->err);
    if (status || !stands) break;
    const struct trb_table *table = catalogue_table(u->catalogue, (uint16_t)stmt_int(rows, 0));
    struct trb_slice row = stmt_slice(rows, 1);
    if (!table || row.len >= sizeof id) continue;
    memcpy(id, row.data, row.len);
    id[row.len] = '\0';
    status = undo_state(u, table, trb_slice_of(id, row.len), (uint64_t)stmt_int(rows, 2), &state);
    if (!status && state == 1) status = undo_keep(u, table->number, id, 1);
  }
  stmt_done(rows);
  return status;
}

/* One reference column: a row outside the import, or one that stays, keeps what it refers to; a row that stays keeps
 * what of the import refers to it. */
static enum trb_status undo_spread_column(struct undo *u, const struct trb_table *child,
                                          const struct trb_column *column, const struct trb_table *parent) {
  TRB_BUF_AUTO up = {0}, down = {0};
  trb_buf_printf(&up,
                 "INSERT OR IGNORE INTO temp.undo_keep(tbl,row,why)"
                 " SELECT %u,r.row,2 FROM _trb_import_row r JOIN main.\"%s\" c ON c.\"%s\"=r.row"
                 " WHERE r.import_id=?1 AND r.tbl=%u"
                 " AND(NOT EXISTS(SELECT 1 FROM _trb_import_row x WHERE x.import_id=?1 AND x.tbl=%u AND x.row=c.id)"
                 " OR EXISTS(SELECT 1 FROM temp.undo_keep k WHERE k.tbl=%u AND k.row=c.id))",
                 parent->number, child->name, column->name, parent->number, child->number, child->number);
  trb_buf_printf(&down,
                 "INSERT OR IGNORE INTO temp.undo_keep(tbl,row,why)"
                 " SELECT %u,c.id,2 FROM temp.undo_keep k JOIN main.\"%s\" c ON c.\"%s\"=k.row"
                 " JOIN _trb_import_row x ON x.import_id=?1 AND x.tbl=%u AND x.row=c.id WHERE k.tbl=%u",
                 child->number, child->name, column->name, child->number, parent->number);
  if (up.failed || down.failed) return trb_fail(u->err, TRB_NOMEM, "no memory for the undo");
  enum trb_status status = db_run(u->db, u->err, trb_buf_cstr(&up), "t", u->id);
  return status ? status : db_run(u->db, u->err, trb_buf_cstr(&down), "t", u->id);
}

static enum trb_status undo_imported(struct undo *u, const struct trb_table *table, bool *ret) {
  int64_t count = 0;
  enum trb_status status =
      db_get_int(u->db, u->err, &count, "SELECT EXISTS(SELECT 1 FROM _trb_import_row WHERE import_id=?1 AND tbl=?2)",
                 "ti", u->id, (int64_t)table->number);
  *ret = count > 0;
  return status;
}

static enum trb_status undo_spread(struct undo *u) {
  for (size_t i = 0; i < catalogue_count(u->catalogue); i++) {
    const struct trb_table *child = catalogue_at(u->catalogue, i);
    if (child->owner != TRB_OWNER_BRANCH) continue;
    for (size_t k = 0; k < child->column_count; k++) {
      const struct trb_column *column = &child->columns[k];
      const struct trb_table *parent =
          column->type == TRB_COL_REF ? catalogue_named(u->catalogue, column->ref_table) : NULL;
      bool imported = false;
      if (!parent || parent->owner != TRB_OWNER_BRANCH) continue;
      enum trb_status status = undo_imported(u, parent, &imported);
      if (!status && imported) status = undo_spread_column(u, child, column, parent);
      if (status) return status;
    }
  }
  return TRB_OK;
}

static enum trb_status undo_plan(struct undo *u) {
  static const char tables[] =
      "CREATE TEMP TABLE IF NOT EXISTS undo_keep(tbl INTEGER,row TEXT,why INTEGER,PRIMARY KEY(tbl,row))WITHOUT ROWID;"
      "DELETE FROM temp.undo_keep;";
  int64_t before = -1, now = 0;
  enum trb_status status = db_exec(u->db, tables, u->err);
  if (!status) status = undo_find_changed(u);
  for (int round = 0; !status && before != now && round < UNDO_ROUNDS_MAX; round++) {
    before = now;
    status = undo_spread(u);
    if (!status) status = db_get_int(u->db, u->err, &now, "SELECT count(*) FROM temp.undo_keep", "");
  }
  return status;
}

/* --- taking back --- */

static enum trb_status undo_last_mark(struct undo *u, int64_t *ret) {
  return db_get_int(u->db, u->err, ret, "SELECT coalesce(max(n),0) FROM _trb_mark", "");
}

/* Deletes one row unless it changed after the plan was made; forgets it either way. */
static enum trb_status undo_row(struct undo *u, const struct trb_table *table, struct trb_slice id, uint64_t hash,
                                struct import_undone *ret) {
  TRB_BUF_AUTO sql = {0};
  int state = 0;
  enum trb_status status = undo_state(u, table, id, hash, &state);
  if (status) return status;
  trb_buf_printf(&sql, "DELETE FROM \"%s\" WHERE id=?1", table->name);
  if (state == 0) status = db_run(u->db, u->err, trb_buf_cstr(&sql), "s", id);
  if (!status && state == 0) ret->deleted++;
  if (!status && state == 1) ret->changed++;
  if (status) return status;
  return db_run(u->db, u->err, "DELETE FROM _trb_import_row WHERE import_id=?1 AND tbl=?2 AND row=?3", "tis", u->id,
                (int64_t)table->number, id);
}

struct undo_batch {
  struct trb_arena arena;
  size_t count;
  struct {
    uint16_t table;
    uint64_t hash;
    struct trb_slice id;
  } row[UNDO_ROWS_PER_COMMIT];
};

static enum trb_status undo_read_batch(struct undo *u, struct undo_batch *batch) {
  static const char sql[] =
      "SELECT tbl,row,hash FROM _trb_import_row r WHERE import_id=?1"
      " AND NOT EXISTS(SELECT 1 FROM temp.undo_keep k WHERE k.tbl=r.tbl AND k.row=r.row) LIMIT ?2";
  struct trb_stmt *stmt = NULL;
  bool stands = true, ok = true;
  trb_arena_reset(&batch->arena);
  batch->count = 0;
  enum trb_status status = db_queryf(u->db, u->err, &stmt, sql, "ti", u->id, (int64_t)UNDO_ROWS_PER_COMMIT);
  while (!status && batch->count < UNDO_ROWS_PER_COMMIT) {
    status = stmt_step(stmt, &stands, u->err);
    if (status || !stands) break;
    batch->row[batch->count].table = (uint16_t)stmt_int(stmt, 0);
    batch->row[batch->count].id = trb_arena_copy(&batch->arena, stmt_slice(stmt, 1), &ok);
    batch->row[batch->count++].hash = (uint64_t)stmt_int(stmt, 2);
    if (!ok) status = trb_fail(u->err, TRB_NOMEM, "no memory for the undo");
  }
  stmt_done(stmt);
  return status;
}

/* One transaction. The row of _trb_undo comes first, so that no reader sees the marks without it. */
static enum trb_status undo_commit_batch(struct undo *u, struct undo_batch *batch, struct import_undone *ret) {
  int64_t before = 0, after = 0, undo_row_id = 0;
  enum trb_status status = db_begin(u->db, u->err);
  if (!status) status = undo_last_mark(u, &before);
  if (!status)
    status = db_run(u->db, u->err, "INSERT INTO _trb_undo(first_mark,last_mark,import_id)VALUES(?1,?1,?2)", "it",
                    before + 1, u->id);
  if (!status) undo_row_id = db_last_rowid(u->db);
  if (!status) status = undo_read_batch(u, batch);
  for (size_t i = 0; !status && i < batch->count; i++) {
    const struct trb_table *table = catalogue_table(u->catalogue, batch->row[i].table);
    if (!table)
      return trb_fail(u->err, TRB_PEER, "the import wrote to table %u, which is not known here", batch->row[i].table);
    status = undo_row(u, table, batch->row[i].id, batch->row[i].hash, ret);
  }
  if (!status) status = undo_last_mark(u, &after);
  if (!status && after > before)
    status = db_run(u->db, u->err, "UPDATE _trb_undo SET last_mark=?2 WHERE rowid=?1", "ii", undo_row_id, after);
  if (!status && after <= before)
    status = db_run(u->db, u->err, "DELETE FROM _trb_undo WHERE rowid=?1", "i", undo_row_id);
  return status ? status : db_commit(u->db, u->err);
}

static enum trb_status undo_run(struct undo *u, struct import_undone *ret) {
  struct undo_batch batch = {0};
  struct trb_clock_reading now;
  enum trb_status status = TRB_OK;
  do {
    status = undo_commit_batch(u, &batch, ret);
    cli_progress(u->cli, "rows taken back:", (int64_t)ret->deleted, 0);
  } while (!status && batch.count);
  trb_arena_free(&batch.arena);
  if (status) return status;
  status = clock_read(&now);
  if (status) return trb_fail(u->err, status, "the clock cannot be read");
  return db_run(u->db, u->err, "UPDATE _trb_import SET undone_at=?2 WHERE id=?1", "ti", u->id, now.wall_ms);
}

enum trb_status import_undo(struct cli *cli, struct trb_db *db, const struct trb_catalogue *catalogue, const char *id,
                            bool dry_run, struct import_undone *ret, struct trb_error *err) {
  struct undo u = {.cli = cli, .db = db, .catalogue = catalogue, .dry_run = dry_run, .err = err};
  int64_t total = 0, changed = 0, kept = 0;
  *ret = (struct import_undone){0};
  enum trb_status status = undo_choose(&u, id, ret->id);
  u.id = ret->id;
  if (!status) status = undo_plan(&u);
  if (!status) status = db_get_int(db, err, &changed, "SELECT count(*) FROM temp.undo_keep WHERE why=1", "");
  if (!status) status = db_get_int(db, err, &kept, "SELECT count(*) FROM temp.undo_keep", "");
  if (!status)
    status = db_get_int(db, err, &total, "SELECT count(*) FROM _trb_import_row WHERE import_id=?1", "t", u.id);
  if (status) return status;
  ret->changed = (uint64_t)changed;
  ret->in_use = (uint64_t)(kept - changed);
  if (dry_run) {
    ret->deleted = (uint64_t)(total - kept);
    return TRB_OK;
  }
  status = undo_run(&u, ret);
  cli_progress_end(cli);
  if (status) db_rollback(db);
  return status;
}
