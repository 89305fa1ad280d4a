/* capture: see include/tributary/capture.h. */
#include "tributary/capture.h"

#include <stdlib.h>
#include <string.h>

/* How the check works: sqlite_master is read once, sorted by name; schema_branch_each walks what should be there, and
 * each object is looked up. The first walk only compares, under a read transaction; a second one repairs, under a write
 * transaction. */

struct found { /* a row of sqlite_master; in the arena */
  const char *name, *type, *sql;
  bool trigger; /* triggers have names of their own: one may be called like a table */
  bool expected;
};

struct check {
  struct trb_db *db;
  bool repair;
  struct trb_capture_report *report;
  struct trb_arena arena;
  struct found *found; /* ascending by name, whatever its case, tables before triggers */
  size_t found_count;
  const struct trb_table *absent;  /* its triggers are missing because the table is: said once */
  const struct trb_table *rebuilt; /* its indexes and triggers went when we dropped it */
  struct trb_buf made;             /* owned; numbers (uint16_t) of the tables that the repair made anew */
};

static void check_done(struct check *check) {
  trb_arena_free(&check->arena);
  trb_buf_free(&check->made);
}
#define CHECK_AUTO __attribute__((cleanup(check_done))) struct check

const char *capture_damage_text(enum trb_damage damage) {
  switch (damage) {
    case TRB_DAMAGE_TRIGGER_MISSING: return "a trigger was missing; restored";
    case TRB_DAMAGE_TRIGGER_ALTERED: return "a trigger had been altered; restored";
    case TRB_DAMAGE_TABLE_MISSING: return "a table was missing; made again, empty";
    case TRB_DAMAGE_TABLE_ALTERED: return "a table had been altered; built anew with its rows";
    case TRB_DAMAGE_COLUMN_MISSING: return "a column was missing; added";
    case TRB_DAMAGE_UNIQUE_INDEX: return "a unique index had been added; dropped, since it lets rows vanish unseen";
    case TRB_DAMAGE_OTHER: return "an index or view was missing or altered; restored";
    case TRB_DAMAGE_GUARD_LEFT: return "capture had been switched off by a row in _trb_guard; switched on";
    case TRB_DAMAGE_WAL: return "the file had been switched to WAL; rollback journal needed";
  }
  return "?";
}

static void note(struct check *check, enum trb_damage damage, const struct trb_table *table, const char *name) {
  struct trb_capture_report *report = check->report;
  if (check->repair) return; /* noted by the first walk already */
  if (report->count < TRB_FINDINGS_MAX) {
    struct trb_finding *finding = &report->findings[report->count];
    *finding = (struct trb_finding){.damage = damage, .table = table ? table->number : 0};
    strncpy(finding->name, name, sizeof finding->name - 1);
  }
  report->count++;
  report->scrub |= damage != TRB_DAMAGE_OTHER && damage != TRB_DAMAGE_WAL;
}

/* ---- what stands in the file ---- */

static int compare_found(const void *key, const void *element) {
  const struct found *a = key, *b = element;
  int order = strcasecmp(a->name, b->name);
  return order ? order : a->trigger - b->trigger;
}

static struct found *look_up(struct check *check, const char *name, bool trigger) {
  struct found key = {.name = name, .trigger = trigger};
  if (!check->found_count) return NULL;
  return bsearch(&key, check->found, check->found_count, sizeof *check->found, compare_found);
}

/* Automatic indexes have no SQL and are not looked at here. */
#define SQL_COUNT_OBJECTS "SELECT count(*) FROM sqlite_master WHERE sql IS NOT NULL"
#define SQL_OBJECTS \
  "SELECT name,type,sql FROM sqlite_master WHERE sql IS NOT NULL ORDER BY name COLLATE NOCASE,type='trigger'"

static enum trb_status load_objects(struct check *check, struct trb_error *err) {
  int64_t count;
  TRB_STMT_AUTO *stmt = NULL;
  enum trb_status status = db_get_int(check->db, err, &count, SQL_COUNT_OBJECTS, "");
  if (!status) status = db_query(check->db, SQL_OBJECTS, &stmt, err);
  if (status) return status;
  check->found = trb_arena_alloc(&check->arena, (size_t)(count + 1) * sizeof *check->found);
  if (!check->found) return trb_fail(err, TRB_NOMEM, "no memory to check replica.db");
  for (bool row;;) {
    status = stmt_step(stmt, &row, err);
    if (status || !row || check->found_count == (size_t)count) return status;
    struct found *found = &check->found[check->found_count++];
    found->name = trb_arena_str(&check->arena, stmt_slice(stmt, 0));
    found->type = trb_arena_str(&check->arena, stmt_slice(stmt, 1));
    found->sql = trb_arena_str(&check->arena, stmt_slice(stmt, 2));
    found->trigger = found->type && strcmp(found->type, "trigger") == 0;
    if (!found->name || !found->type || !found->sql) return trb_fail(err, TRB_NOMEM, "no memory to check replica.db");
  }
}

/* ---- the shape of a table whose text is not the expected one ---- */

#define SQL_WITHOUT_ROWID "SELECT wr FROM pragma_table_list WHERE schema='main' AND name=?1 COLLATE NOCASE"
#define SQL_COLUMN "SELECT type,pk,dflt_value IS NOT NULL FROM pragma_table_info(?1) WHERE name=?2 COLLATE NOCASE"
#define SQL_KEY_COLUMNS "SELECT count(*) FROM pragma_table_info(?1) WHERE pk>0"
#define SQL_CONSTRAINTS                                                                 \
  "SELECT (SELECT count(*) FROM pragma_index_list(?1) WHERE \"unique\" AND origin='u')" \
  "+(SELECT count(*) FROM pragma_foreign_key_list(?1))"

/* *ret_type: "" when there is no such column. */
static enum trb_status column_shape(struct trb_db *db, const char *table, const char *column, char ret_type[16],
                                    bool *ret_key, bool *ret_default, struct trb_error *err) {
  TRB_STMT_AUTO *stmt = NULL;
  bool row;
  enum trb_status status = db_queryf(db, err, &stmt, SQL_COLUMN, "tt", table, column);
  if (!status) status = stmt_step(stmt, &row, err);
  if (status) return status;
  memset(ret_type, 0, 16);
  *ret_key = *ret_default = false;
  if (!row) return TRB_OK;
  strncpy(ret_type, stmt_text(stmt, 0), 15);
  if (!ret_type[0]) ret_type[0] = '?'; /* a column without a type is there all the same */
  *ret_key = stmt_int(stmt, 1) > 0;
  *ret_default = stmt_int(stmt, 2) != 0;
  return TRB_OK;
}

static bool has_word(const char *sql, const char *word) { return strcasestr(sql, word) != NULL; }

/* *ret_sound: rows cannot vanish past the triggers and equal values are equal bytes. Further columns of a client are
 * left alone. */
static enum trb_status table_sound(struct check *check, const struct trb_table *table, const struct found *found,
                                   bool *ret_sound, struct trb_error *err) {
  int64_t without_rowid, keys, constraints;
  char type[16];
  bool key, has_default;
  *ret_sound = false;
  if (has_word(found->sql, "COLLATE") || has_word(found->sql, "CONFLICT")) return TRB_OK;
  enum trb_status status = db_get_int(check->db, err, &without_rowid, SQL_WITHOUT_ROWID, "t", table->name);
  if (!status) status = db_get_int(check->db, err, &keys, SQL_KEY_COLUMNS, "t", table->name);
  if (!status) status = db_get_int(check->db, err, &constraints, SQL_CONSTRAINTS, "t", table->name);
  if (!status) status = column_shape(check->db, table->name, "id", type, &key, &has_default, err);
  if (status || !without_rowid || keys != 1 || constraints || !key || strcmp(type, "TEXT") != 0) return status;
  if (table->owner == TRB_OWNER_BRANCH && !has_default) return TRB_OK;
  for (size_t i = 0; i < table->column_count; i++) {
    const struct trb_column *column = &table->columns[i];
    status = column_shape(check->db, table->name, column->name, type, &key, &has_default, err);
    if (status) return status;
    if (type[0] && strcmp(type, schema_type(column->type)) != 0) return TRB_OK;
  }
  *ret_sound = true;
  return TRB_OK;
}

/* ---- putting right ---- */

/* `"name"`, quotes doubled: a client's object may be called anything. */
static void append_quoted(struct trb_buf *sql, const char *name) {
  trb_buf_append_byte(sql, '"');
  for (const char *p = name; *p; p++) {
    if (*p == '"') trb_buf_append_byte(sql, '"');
    trb_buf_append_byte(sql, (uint8_t)*p);
  }
  trb_buf_append_byte(sql, '"');
}

static enum trb_status drop(struct check *check, const char *type, const char *name, struct trb_error *err) {
  TRB_BUF_AUTO sql = {0};
  trb_buf_printf(&sql, "DROP %s ", type);
  append_quoted(&sql, name);
  return sql.failed ? trb_fail(err, TRB_NOMEM, "no memory to repair replica.db")
                    : db_exec(check->db, trb_buf_cstr(&sql), err);
}

/* Of the table that was made anew: what to take from the copy of the old one. Required columns never NULL, so that no
 * row is lost on the way; what the old table had beside is kept as the client's own column. */
#define SQL_TAKEN                                                                                                   \
  "SELECT n.name,n.pk,n.\"notnull\",n.type<>'TEXT',o.name IS NOT NULL FROM pragma_table_info(?1,'main') AS n LEFT " \
  "JOIN "                                                                                                           \
  "pragma_table_info('_trb_copy','temp') AS o ON o.name=n.name COLLATE NOCASE"
#define SQL_EXTRA                                                                                                     \
  "SELECT o.name,o.type FROM pragma_table_info('_trb_copy','temp') AS o LEFT JOIN pragma_table_info(?1,'main') AS n " \
  "ON o.name=n.name COLLATE NOCASE WHERE n.name IS NULL"

static enum trb_status taken_columns(struct trb_db *db, const char *table, struct trb_buf *names,
                                     struct trb_buf *values, struct trb_error *err) {
  TRB_STMT_AUTO *stmt = NULL;
  bool row;
  enum trb_status status = db_queryf(db, err, &stmt, SQL_TAKEN, "t", table);
  while (!status && !(status = stmt_step(stmt, &row, err)) && row) {
    const char *name = stmt_text(stmt, 0);
    bool key = stmt_int(stmt, 1) != 0, required = stmt_int(stmt, 2) != 0, old = stmt_int(stmt, 4) != 0;
    const char *zero = stmt_int(stmt, 3) ? "0" : key ? "lower(hex(randomblob(16)))" : "''";
    if (!old && !required) continue;
    trb_buf_printf(names, "%s\"%s\"", names->len ? "," : "", name);
    trb_buf_append_str(values, values->len ? "," : "");
    if (!old)
      trb_buf_append_str(values, zero);
    else if (required)
      trb_buf_printf(values, "coalesce(\"%s\",%s)", name, zero);
    else
      trb_buf_printf(values, "\"%s\"", name);
  }
  return status;
}

static enum trb_status extra_columns(struct trb_db *db, const char *table, struct trb_buf *alters,
                                     struct trb_buf *names, struct trb_error *err) {
  TRB_STMT_AUTO *stmt = NULL;
  bool row;
  enum trb_status status = db_queryf(db, err, &stmt, SQL_EXTRA, "t", table);
  while (!status && !(status = stmt_step(stmt, &row, err)) && row) {
    trb_buf_printf(alters, "ALTER TABLE main.\"%s\" ADD COLUMN ", table);
    append_quoted(alters, stmt_text(stmt, 0));
    trb_buf_printf(alters, " %s;", stmt_text(stmt, 1)); /* one of the five affinity names that CREATE TABLE AS writes */
    trb_buf_append_byte(names, ',');
    append_quoted(names, stmt_text(stmt, 0));
  }
  return status;
}

static enum trb_status refill(struct trb_db *db, const char *table, struct trb_error *err) {
  TRB_BUF_AUTO names = {0}, values = {0}, extra = {0}, sql = {0};
  enum trb_status status = taken_columns(db, table, &names, &values, err);
  if (!status) status = extra_columns(db, table, &sql, &extra, err);
  if (status) return status;
  const char *more = trb_buf_cstr(&extra);
  trb_buf_printf(&sql, "INSERT OR REPLACE INTO main.\"%s\"(%s%s)SELECT %s%s FROM temp._trb_copy", table,
                 trb_buf_cstr(&names), more, trb_buf_cstr(&values), more);
  if (names.failed || values.failed || extra.failed || sql.failed)
    return trb_fail(err, TRB_NOMEM, "no memory to repair %s", table);
  return db_exec(db, trb_buf_cstr(&sql), err);
}

#define SQL_COPY_HAS_ID "SELECT count(*) FROM pragma_table_info('_trb_copy','temp') WHERE name='id' COLLATE NOCASE"

/* Through a temporary table rather than a rename, which would rewrite or refuse a client's own views and triggers. A
 * table without ids was never ours, it only bears the name: its rows are kept beside, as NAME_found. */
static enum trb_status rebuild(struct check *check, const struct trb_schema_object *object, struct trb_error *err) {
  TRB_BUF_AUTO sql = {0}, found = {0};
  int64_t has_id = 1;
  trb_buf_printf(&sql, "CREATE TEMP TABLE _trb_copy AS SELECT * FROM main.\"%s\";DROP TABLE main.\"%s\";%s",
                 object->name, object->name, object->sql);
  trb_buf_printf(&found, "CREATE TABLE IF NOT EXISTS main.\"%s_found\" AS SELECT * FROM temp._trb_copy", object->name);
  if (sql.failed || found.failed) return trb_fail(err, TRB_NOMEM, "no memory to repair %s", object->name);
  check->rebuilt = object->table;
  enum trb_status status = db_exec(check->db, trb_buf_cstr(&sql), err);
  if (!status && object->table) status = db_get_int(check->db, err, &has_id, SQL_COPY_HAS_ID, "");
  if (!status) status = has_id ? refill(check->db, object->name, err) : db_exec(check->db, trb_buf_cstr(&found), err);
  return status ? status : db_exec(check->db, "DROP TABLE temp._trb_copy", err);
}

static enum trb_status create(struct check *check, const struct trb_schema_object *object, struct trb_error *err) {
  return check->repair ? db_exec(check->db, object->sql, err) : TRB_OK;
}

static enum trb_status check_columns(struct check *check, const struct trb_table *table, struct trb_error *err) {
  for (size_t i = 0; i < table->column_count; i++) {
    TRB_BUF_AUTO sql = {0};
    char type[16];
    bool key, has_default;
    enum trb_status status =
        column_shape(check->db, table->name, table->columns[i].name, type, &key, &has_default, err);
    if (!status && !type[0]) {
      note(check, TRB_DAMAGE_COLUMN_MISSING, table, table->columns[i].name);
      schema_add_column(table, &table->columns[i], &sql);
      if (check->repair) status = db_exec(check->db, trb_buf_cstr(&sql), err);
    }
    if (status) return status;
  }
  return TRB_OK;
}

static enum trb_status check_table(struct check *check, const struct trb_schema_object *object,
                                   const struct found *found, struct trb_error *err) {
  if (strcmp(found->sql, object->sql) == 0) return TRB_OK;
  bool sound = false; /* our own tables are built anew at any difference: they are small */
  enum trb_status status = object->table ? table_sound(check, object->table, found, &sound, err) : TRB_OK;
  if (status) return status;
  if (sound) return check_columns(check, object->table, err);
  note(check, TRB_DAMAGE_TABLE_ALTERED, object->table, object->name);
  return check->repair ? rebuild(check, object, err) : TRB_OK;
}

static const char *const type_names[] = {
    [TRB_SCHEMA_TABLE] = "table",
    [TRB_SCHEMA_INDEX] = "index",
    [TRB_SCHEMA_TRIGGER] = "trigger",
    [TRB_SCHEMA_VIEW] = "view",
};

static enum trb_damage damage_of(enum trb_schema_kind kind, bool missing) {
  if (kind == TRB_SCHEMA_TABLE) return TRB_DAMAGE_TABLE_MISSING;
  if (kind != TRB_SCHEMA_TRIGGER) return TRB_DAMAGE_OTHER;
  return missing ? TRB_DAMAGE_TRIGGER_MISSING : TRB_DAMAGE_TRIGGER_ALTERED;
}

/* schema_visit: one object that should be there. */
static enum trb_status check_object(void *context, const struct trb_schema_object *object, struct trb_error *err) {
  struct check *check = context;
  bool is_table = object->kind == TRB_SCHEMA_TABLE;
  struct found *found = look_up(check, object->name, object->kind == TRB_SCHEMA_TRIGGER);
  if (found) found->expected = true;
  if (!is_table && object->table && object->table == check->rebuilt) found = NULL;
  bool right_type = found && strcmp(found->type, type_names[object->kind]) == 0;
  if (right_type && is_table) return check_table(check, object, found, err);
  if (right_type && strcmp(found->sql, object->sql) == 0) return TRB_OK;
  if (!object->table || object->table != check->absent)
    note(check, damage_of(object->kind, !found), object->table, object->name);
  if (is_table) check->absent = object->table;
  if (is_table && object->table && check->repair && check->found_count)
    trb_buf_append(&check->made, &object->table->number, sizeof object->table->number);
  enum trb_status status = found && check->repair ? drop(check, found->type, found->name, err) : TRB_OK;
  return status ? status : create(check, object, err);
}

/* Triggers of ours that should not be there: an older version's, or somebody's imitation. */
static enum trb_status check_strangers(struct check *check, struct trb_error *err) {
  enum trb_status status = TRB_OK;
  for (size_t i = 0; !status && i < check->found_count; i++) {
    const struct found *found = &check->found[i];
    if (found->expected || !found->trigger || strncasecmp(found->name, "_trb_", 5) != 0) continue;
    note(check, TRB_DAMAGE_TRIGGER_ALTERED, NULL, found->name);
    if (check->repair) status = drop(check, "TRIGGER IF EXISTS", found->name, err);
  }
  return status;
}

#define SQL_UNIQUE_INDEXES                                                                                  \
  "SELECT m.name,lower(m.tbl_name) FROM sqlite_master AS m WHERE m.type='index' AND m.sql IS NOT NULL AND " \
  "EXISTS(SELECT 1 FROM pragma_index_list(m.tbl_name) AS l WHERE l.name=m.name AND l.\"unique\")"

/* One at a time, since a drop ends the walk over sqlite_master. */
static enum trb_status check_unique_indexes(struct check *check, const struct trb_catalogue *catalogue,
                                            struct trb_error *err) {
  TRB_BUF_AUTO names = {0};
  {
    TRB_STMT_AUTO *stmt = NULL;
    bool row;
    enum trb_status status = db_query(check->db, SQL_UNIQUE_INDEXES, &stmt, err);
    while (!status && !(status = stmt_step(stmt, &row, err)) && row) {
      const struct trb_table *table = catalogue_named(catalogue, stmt_text(stmt, 1));
      if (!table || !schema_at_branch(table)) continue; /* a client's own table */
      note(check, TRB_DAMAGE_UNIQUE_INDEX, table, stmt_text(stmt, 0));
      trb_buf_append(&names, stmt_text(stmt, 0), stmt_slice(stmt, 0).len + 1);
    }
    if (status) return status;
  }
  if (names.failed) return trb_fail(err, TRB_NOMEM, "no memory to check replica.db");
  enum trb_status status = TRB_OK;
  for (size_t at = 0; check->repair && !status && at < names.len; at += strlen((char *)names.data + at) + 1)
    status = drop(check, "INDEX IF EXISTS", (char *)names.data + at, err);
  return status;
}

static enum trb_status check_guard_row(struct check *check, struct trb_error *err) {
  int64_t rows = 0;
  if (!check->repair && !look_up(check, "_trb_guard", false)) return TRB_OK;
  enum trb_status status = db_get_int(check->db, err, &rows, "SELECT count(*) FROM _trb_guard", "");
  if (status || !rows) return status;
  note(check, TRB_DAMAGE_GUARD_LEFT, NULL, "_trb_guard");
  return check->repair ? db_exec(check->db, "DELETE FROM _trb_guard", err) : TRB_OK;
}

#define SQL_MADE_ANEW "INSERT OR REPLACE INTO _trb_meta(name,value)VALUES('made_anew:'||?1," TRB_SQL_NOW_MS ")"

/* In the transaction that makes them, so that whoever misses their rows later knows why, after a crash too. */
static enum trb_status note_made(struct check *check, struct trb_error *err) {
  enum trb_status status = check->made.failed ? trb_fail(err, TRB_NOMEM, "no memory to repair replica.db") : TRB_OK;
  for (size_t at = 0; !status && at < check->made.len; at += sizeof(uint16_t)) {
    uint16_t number;
    memcpy(&number, check->made.data + at, sizeof number);
    status = db_run(check->db, err, SQL_MADE_ANEW, "i", (int64_t)number);
  }
  return status;
}

/* One walk inside the caller's transaction. */
static enum trb_status walk(struct trb_db *db, const struct trb_catalogue *catalogue, bool repair,
                            struct trb_capture_report *report, struct trb_error *err) {
  CHECK_AUTO check = {.db = db, .repair = repair, .report = report};
  enum trb_status status = load_objects(&check, err);
  /* Unique indexes first: a table that is built anew must not find them. */
  if (!status) status = check_unique_indexes(&check, catalogue, err);
  if (!status) status = schema_branch_each(catalogue, check_object, &check, err);
  if (!status) status = check_strangers(&check, err);
  if (!status) status = note_made(&check, err);
  return status ? status : check_guard_row(&check, err);
}

/* ---- journal ---- */

static enum trb_status journal_mode(struct trb_db *db, const char *pragma, bool *ret_wal, struct trb_error *err) {
  TRB_BUF_AUTO mode = {0};
  enum trb_status status = db_get_bytes(db, err, &mode, pragma, "");
  if (!status) *ret_wal = strcmp(trb_buf_cstr(&mode), "wal") == 0;
  return status;
}

enum trb_status capture_connect(struct trb_db *db, struct trb_error *err) {
  bool wal;
  enum trb_status status = journal_mode(db, "PRAGMA journal_mode=TRUNCATE", &wal, err);
  if (status) return status;
  if (wal)
    return trb_fail(err, TRB_AGAIN, "replica.db is in WAL mode and another program has it open: close that program");
  return db_exec(db, "PRAGMA synchronous=EXTRA", err);
}

static enum trb_status check_journal(struct trb_db *db, struct trb_capture_report *report, struct trb_error *err) {
  bool wal;
  enum trb_status status = journal_mode(db, "PRAGMA journal_mode", &wal, err);
  if (status || !wal) return status;
  struct check check = {.report = report};
  note(&check, TRB_DAMAGE_WAL, NULL, "replica.db");
  status = capture_connect(db, NULL);
  report->wal_stays = status == TRB_AGAIN;
  return status == TRB_AGAIN || status == TRB_OK ? TRB_OK : capture_connect(db, err);
}

/* ---- the calls ---- */

/* *ret_version: the schema version this leaves, read before the commit lets anybody else in. */
static enum trb_status repair(struct trb_db *db, const struct trb_catalogue *catalogue, int64_t *ret_version,
                              struct trb_error *err) {
  struct trb_capture_report unused = {0};
  enum trb_status status = db_begin(db, err);
  if (status) return status;
  status = walk(db, catalogue, true, &unused, err);
  if (!status)
    status =
        db_run(db, err, "INSERT OR IGNORE INTO _trb_meta(name,value)VALUES('installed_at'," TRB_SQL_NOW_MS ")", "");
  if (!status) status = db_get_int(db, err, ret_version, "PRAGMA schema_version", "");
  if (!status) return db_commit(db, err);
  db_rollback(db);
  return status;
}

enum trb_status capture_install(struct trb_db *db, const struct trb_catalogue *catalogue, struct trb_error *err) {
  int64_t version;
  enum trb_status status = capture_connect(db, err);
  return status ? status : repair(db, catalogue, &version, err);
}

static enum trb_status look(struct trb_db *db, const struct trb_catalogue *catalogue, int64_t *schema_version,
                            struct trb_capture_report *report, struct trb_error *err) {
  int64_t version;
  enum trb_status status = db_begin_read(db, err);
  if (!status) status = db_get_int(db, err, &version, "PRAGMA schema_version", "");
  if (!status && version != *schema_version) {
    report->looked = true;
    status = walk(db, catalogue, false, report, err);
    if (!status) *schema_version = version;
  }
  db_rollback(db);
  return status;
}

enum trb_status capture_check(struct trb_db *db, const struct trb_catalogue *catalogue, int64_t *schema_version,
                              struct trb_capture_report *ret_report, struct trb_error *err) {
  struct trb_capture_report report = {0};
  int64_t version = *schema_version;
  enum trb_status status = check_journal(db, &report, err);
  size_t journal_findings = report.count;
  if (!status) status = look(db, catalogue, &version, &report, err);
  if (!status && report.count > journal_findings) status = repair(db, catalogue, &version, err);
  if (status) return status;
  *schema_version = version;
  *ret_report = report;
  return TRB_OK;
}

enum trb_status capture_made_anew(struct trb_db *db, const struct trb_table *table, bool *ret, struct trb_error *err) {
  int64_t count = 0;
  enum trb_status status = db_get_int(db, err, &count, "SELECT count(*) FROM _trb_meta WHERE name='made_anew:'||?1",
                                      "i", (int64_t)table->number);
  *ret = count > 0;
  return status;
}

enum trb_status capture_settled(struct trb_db *db, const struct trb_table *table, struct trb_error *err) {
  return db_run(db, err, "DELETE FROM _trb_meta WHERE name='made_anew:'||?1", "i", (int64_t)table->number);
}

/* ---- custom definitions ---- */

#define SQL_CUSTOM_TABLES "SELECT number,name,doc,branch_writes FROM custom_table ORDER BY number,id LIMIT ?1"
#define SQL_CUSTOM_COLUMNS                                                                                           \
  "SELECT table_number,number,name,type,doc,max_bytes,sensitive FROM custom_column ORDER BY table_number,number,id " \
  "LIMIT ?1"
#define CUSTOM_COLUMN_ROWS_MAX 20000 /* all tables together */

static uint16_t number_of(int64_t number) { return number < 0 || number > UINT16_MAX ? 0 : (uint16_t)number; }

static enum trb_status load_custom_tables(struct trb_db *db, struct trb_arena *arena, struct trb_custom_table **ret,
                                          size_t *ret_count, struct trb_error *err) {
  struct trb_custom_table *tables = trb_arena_alloc(arena, (TRB_CUSTOM_TABLES_MAX + 1) * sizeof *tables);
  if (!tables) return trb_fail(err, TRB_NOMEM, "no memory for the catalogue");
  TRB_STMT_AUTO *stmt = NULL;
  size_t count = 0;
  bool row;
  enum trb_status status = db_queryf(db, err, &stmt, SQL_CUSTOM_TABLES, "i", (int64_t)TRB_CUSTOM_TABLES_MAX + 1);
  while (!status && !(status = stmt_step(stmt, &row, err)) && row) {
    tables[count++] = (struct trb_custom_table){
        .number = number_of(stmt_int(stmt, 0)),
        .name = trb_arena_str(arena, stmt_slice(stmt, 1)),
        .doc = trb_arena_str(arena, stmt_slice(stmt, 2)),
        .branch_writes = stmt_int(stmt, 3) != 0,
    };
  }
  *ret = tables;
  *ret_count = count;
  return status;
}

static enum trb_status load_custom_columns(struct trb_db *db, struct trb_arena *arena, struct trb_custom_column **ret,
                                           size_t *ret_count, struct trb_error *err) {
  int64_t rows;
  enum trb_status status = db_get_int(db, err, &rows, "SELECT count(*) FROM custom_column", "");
  if (status) return status;
  if (rows > CUSTOM_COLUMN_ROWS_MAX)
    return trb_fail(err, TRB_PEER, "more than %d custom columns", CUSTOM_COLUMN_ROWS_MAX);
  struct trb_custom_column *columns = trb_arena_alloc(arena, (size_t)(rows + 1) * sizeof *columns);
  if (!columns) return trb_fail(err, TRB_NOMEM, "no memory for the catalogue");
  TRB_STMT_AUTO *stmt = NULL;
  size_t count = 0;
  bool row;
  status = db_queryf(db, err, &stmt, SQL_CUSTOM_COLUMNS, "i", rows);
  while (!status && !(status = stmt_step(stmt, &row, err)) && row) {
    int64_t max_bytes = stmt_int(stmt, 5);
    columns[count++] = (struct trb_custom_column){
        .table = number_of(stmt_int(stmt, 0)),
        .number = number_of(stmt_int(stmt, 1)),
        .name = trb_arena_str(arena, stmt_slice(stmt, 2)),
        .type = trb_arena_str(arena, stmt_slice(stmt, 3)),
        .doc = trb_arena_str(arena, stmt_slice(stmt, 4)),
        .max_bytes = max_bytes < 0 || max_bytes > UINT32_MAX ? UINT32_MAX : (uint32_t)max_bytes,
        .sensitive = stmt_int(stmt, 6) != 0,
    };
  }
  *ret = columns;
  *ret_count = count;
  return status;
}

#define SQL_HAS_CUSTOM \
  "SELECT count(*)=2 FROM sqlite_master WHERE type='table' AND name IN('custom_table','custom_column')"

enum trb_status capture_catalogue(struct trb_db *db, struct trb_catalogue **ret, struct trb_error *err) {
  TRB_ARENA_AUTO arena = {0};
  struct trb_custom_table *tables = NULL;
  struct trb_custom_column *columns = NULL;
  size_t table_count = 0, column_count = 0;
  int64_t present;
  enum trb_status status = db_get_int(db, err, &present, SQL_HAS_CUSTOM, "");
  if (!status && present) status = load_custom_tables(db, &arena, &tables, &table_count, err);
  if (!status && present) status = load_custom_columns(db, &arena, &columns, &column_count, err);
  if (status) return status;
  if (table_count + column_count) return catalogue_extend(tables, table_count, columns, column_count, ret, err);
  *ret = catalogue_builtin();
  return TRB_OK;
}

enum trb_status capture_extend(struct trb_db *db, struct trb_catalogue **catalogue_p, struct trb_error *err) {
  struct trb_catalogue *extended = NULL;
  int64_t version;
  enum trb_status status = capture_catalogue(db, &extended, err);
  if (!status) status = repair(db, extended, &version, err);
  if (status) {
    catalogue_unref(&extended);
    return status;
  }
  catalogue_unref(catalogue_p);
  *catalogue_p = extended;
  return TRB_OK;
}

/* ---- rows and marks ---- */

enum trb_status capture_suspend(struct trb_db *db, const char *reason, struct trb_error *err) {
  TRB_ASSERT(db_in_transaction(db));
  return db_run(db, err, "INSERT INTO _trb_guard(reason)VALUES(?1)", "t", reason);
}

enum trb_status capture_resume(struct trb_db *db, struct trb_error *err) {
  return db_run(db, err, "DELETE FROM _trb_guard", "");
}

enum trb_status capture_scan_rows(struct trb_db *db, const struct trb_table *table, struct trb_slice after_id,
                                  int64_t limit, struct trb_stmt **ret, struct trb_error *err) {
  TRB_BUF_AUTO sql = {0};
  schema_select_page(table, &sql);
  if (sql.failed) return trb_fail(err, TRB_NOMEM, "no memory to read %s", table->name);
  return db_queryf(db, err, ret, trb_buf_cstr(&sql), "si", after_id, limit);
}

enum trb_status capture_row(struct trb_db *db, const struct trb_table *table, struct trb_slice id,
                            struct trb_stmt **ret, struct trb_error *err) {
  TRB_BUF_AUTO sql = {0};
  schema_select_row(table, &sql);
  if (sql.failed) return trb_fail(err, TRB_NOMEM, "no memory to read %s", table->name);
  return db_queryf(db, err, ret, trb_buf_cstr(&sql), "s", id);
}

#define SQL_MARK                                           \
  "INSERT INTO _trb_mark(tbl,row,op,part,mask,wall,nonce)" \
  "VALUES(?1,?2,?3,?4,?5," TRB_SQL_NOW_MS ",random())"

enum trb_status capture_mark(struct trb_db *db, uint16_t table, struct trb_slice id, int op, int part, int64_t mask,
                             struct trb_error *err) {
  return db_run(db, err, SQL_MARK, "isiii", (int64_t)table, id, (int64_t)op, (int64_t)part, mask);
}
