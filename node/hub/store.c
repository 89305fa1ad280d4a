/* store: see store.h. */
#include "store.h"

#include <stdlib.h>
#include <string.h>

#include "tributary/schema.h"

extern const char trb_sql_hub[];

static const char *const PRAGMAS =
    "PRAGMA journal_mode=WAL; PRAGMA synchronous=FULL; PRAGMA wal_autocheckpoint=0; PRAGMA cache_size=-65536;"
    "PRAGMA temp_store=MEMORY; PRAGMA journal_size_limit=67108864;";

static enum trb_status check_version(struct store *s, bool create, struct trb_error *err) {
  int64_t tables = 0;
  enum trb_status status =
      db_get_int(s->db, err, &tables, "SELECT count(*) FROM sqlite_master WHERE name='stream'", "");
  if (status != TRB_OK) return status;
  if (tables == 0 && !create)
    return trb_fail(err, TRB_STORE, "%s is not a hub database: restore it from a backup", db_path(s->db));
  if (tables) return db_exec(s->db, trb_sql_hub, err); /* tables newer than the file */
  TRB_BUF_AUTO sql = {0};
  trb_buf_append_str(&sql, "BEGIN IMMEDIATE;\n");
  trb_buf_append_str(&sql, trb_sql_hub);
  schema_hub(s->catalogue, &sql);
  trb_buf_append_str(&sql, "COMMIT;\n");
  const char *text = trb_buf_cstr(&sql);
  if (sql.failed) return trb_fail(err, TRB_NOMEM, "out of memory");
  return db_exec(s->db, text, err);
}

/* Tables and columns the catalogue has and the file has not: a newer program, or custom definitions. */
static enum trb_status add_missing_columns(struct store *s, const struct trb_table *table, struct trb_buf *sql,
                                           struct trb_error *err) {
  for (size_t i = 0; i < table->column_count; i++) {
    int64_t found = 0;
    enum trb_status status = db_get_int(s->db, err, &found, "SELECT count(*) FROM pragma_table_info(?1) WHERE name=?2",
                                        "tt", table->name, table->columns[i].name);
    if (status != TRB_OK) return status;
    if (found) continue;
    schema_add_column(table, &table->columns[i], sql);
    bool listed = s->grown_count && s->grown[s->grown_count - 1] == table->number;
    if (!listed && s->grown_count < sizeof s->grown / sizeof *s->grown) s->grown[s->grown_count++] = table->number;
  }
  return TRB_OK;
}

static enum trb_status add_missing(struct store *s, struct trb_error *err) {
  TRB_BUF_AUTO sql = {0};
  for (size_t i = 0; i < catalogue_count(s->catalogue); i++) {
    const struct trb_table *table = catalogue_at(s->catalogue, i);
    if (!schema_at_hub(table)) continue;
    int64_t found = 0;
    enum trb_status status = db_get_int(
        s->db, err, &found, "SELECT count(*) FROM sqlite_master WHERE type='table' AND name=?1", "t", table->name);
    if (status == TRB_OK && found) status = add_missing_columns(s, table, &sql, err);
    if (status != TRB_OK) return status;
    if (!found) schema_hub_table(table, &sql);
  }
  if (sql.len == 0 && !sql.failed) return TRB_OK;
  const char *text = trb_buf_cstr(&sql);
  return sql.failed ? trb_fail(err, TRB_NOMEM, "out of memory") : db_exec(s->db, text, err);
}

static enum trb_status load_epoch(struct store *s, struct trb_error *err) {
  TRB_BUF_AUTO text = {0};
  enum trb_status status = store_setting(s->db, "epoch", &text, err);
  if (status == TRB_ABSENT) return TRB_OK; /* before hub_init's first rows */
  if (status != TRB_OK) return status;
  if (!trb_unhex(trb_buf_cstr(&text), s->epoch, sizeof s->epoch))
    return trb_fail(err, TRB_STORE, "%s: the setting 'epoch' is damaged", db_path(s->db));
  return TRB_OK;
}

/* A newer program knows more columns than the one that wrote the file. */
static enum trb_status promote_now(struct store *s, struct trb_error *err) {
  struct unify_sites dirty;
  enum trb_status status = store_begin(s, err);
  if (status == TRB_OK) status = promote_grown(s, err);
  if (status == TRB_OK) return store_commit(s, &dirty, err);
  store_rollback(s);
  return status;
}

static enum trb_status open_rooms(struct store *s, bool with_unify, struct trb_error *err) {
  catalogue_unref(&s->catalogue);
  enum trb_status status = store_load_catalogue(s->db, &s->catalogue, err);
  if (status == TRB_OK) status = add_missing(s, err);
  if (status == TRB_OK) status = rows_new(s->db, s->catalogue, &s->rows, err);
  if (status == TRB_OK) status = digests_new(s->db, &s->digests, err);
  if (status == TRB_OK && with_unify) status = unify_open(s->db, s->catalogue, &s->unify, err);
  if (status == TRB_OK && s->grown_count) status = promote_now(s, err);
  int64_t last = 0;
  if (status == TRB_OK) status = store_state_int(s, "last_commit", &last, err);
  s->last_commit = (trb_hlc)last;
  return status == TRB_OK ? load_epoch(s, err) : status;
}

enum trb_status store_open(const char *path, bool create, bool with_unify, struct store *ret, struct trb_error *err) {
  struct store s = {.catalogue = catalogue_builtin()};
  enum trb_status status = db_open(path, create ? TRB_DB_CREATE : TRB_DB_WRITE, STORE_BUSY_MS, &s.db, err);
  if (status == TRB_OK) status = db_exec(s.db, PRAGMAS, err);
  if (status == TRB_OK) status = check_version(&s, create, err);
  if (status == TRB_OK) status = open_rooms(&s, with_unify, err);
  if (status != TRB_OK) {
    store_close(&s);
    return status;
  }
  *ret = s;
  return TRB_OK;
}

void store_close(struct store *s) {
  if (s->db) db_rollback(s->db);
  unify_close(&s->unify);
  rows_free(&s->rows);
  digests_free(&s->digests);
  db_close(&s->db);
  catalogue_unref(&s->catalogue);
  free(s->streams);
  free(s->facts);
  free(s->dirty);
  trb_arena_free(&s->scratch);
  trb_buf_free(&s->times);
  trb_buf_free(&s->extra);
  *s = (struct store){0};
}

/* ---- transactions ---- */

enum trb_status store_begin(struct store *s, struct trb_error *err) {
  s->definitions = s->notes = false;
  return db_begin(s->db, err);
}

static enum trb_status flush_stream(struct store *s, struct stream *stream, struct trb_error *err) {
  if (!stream->used || !stream->dirty) return TRB_OK;
  stream->dirty = false;
  return db_run(s->db, err, "UPDATE stream SET sequence=?2, hash=?3, base=?4, heard_at=?5, changes=?6 WHERE no=?1",
                "iibiii", stream->no, (int64_t)stream->sequence, trb_slice_of(stream->hash, TRB_HASH_BYTES),
                (int64_t)stream->base, stream->heard_ms, stream->changes);
}

static enum trb_status flush(struct store *s, struct unify_sites *ret_dirty, struct trb_error *err) {
  enum trb_status status = TRB_OK;
  if (s->unify) status = unify_finish(s->unify, ret_dirty, err);
  for (size_t i = 0; status == TRB_OK && i < s->site_cap; i++) status = flush_stream(s, &s->streams[i], err);
  if (status == TRB_OK) status = digests_flush(s->digests, err);
  if (status == TRB_OK) status = store_set_state(s, "last_commit", trb_int((int64_t)s->last_commit), err);
  if (status == TRB_OK) status = db_commit(s->db, err);
  return status;
}

/* Without memory for it the sessions find out at their next look. */
static void note_dirty(struct store *s, const struct unify_sites *sites) {
  size_t need = s->dirty_count + sites->count;
  if (need > s->dirty_cap) {
    int64_t *dirty = realloc(s->dirty, 2 * need * sizeof *dirty);
    if (!dirty) return;
    s->dirty = dirty;
    s->dirty_cap = 2 * need;
  }
  if (sites->count) memcpy(s->dirty + s->dirty_count, sites->site, sites->count * sizeof *s->dirty);
  s->dirty_count = need;
}

enum trb_status store_commit(struct store *s, struct unify_sites *ret_dirty, struct trb_error *err) {
  *ret_dirty = (struct unify_sites){0};
  enum trb_status status = flush(s, ret_dirty, err);
  if (status != TRB_OK)
    store_rollback(s);
  else
    note_dirty(s, ret_dirty);
  return status;
}

void store_rollback(struct store *s) {
  db_rollback(s->db);
  if (s->unify) unify_forget(s->unify);
  digests_forget(s->digests);
  for (size_t i = 0; i < s->site_cap; i++) {
    s->streams[i] = (struct stream){0};
    s->facts[i] = (struct site_facts){0};
  }
  if (!s->definitions) return;
  /* The tables made for new custom definitions are gone: back to what the file says. */
  struct trb_catalogue *old = NULL;
  struct rows *rows = NULL;
  if (store_load_catalogue(s->db, &old, NULL) == TRB_OK && rows_new(s->db, old, &rows, NULL) == TRB_OK) {
    rows_free(&s->rows);
    s->rows = rows;
    catalogue_unref(&s->catalogue);
    s->catalogue = old;
    if (s->unify) unify_set_catalogue(s->unify, s->catalogue);
  } else {
    catalogue_unref(&old);
  }
}

/* ---- small facts ---- */

enum trb_status store_state_int(struct store *s, const char *name, int64_t *ret, struct trb_error *err) {
  enum trb_status status = db_get_int(s->db, err, ret, "SELECT value FROM hub_state WHERE name=?1", "t", name);
  return status == TRB_ABSENT ? TRB_OK : status;
}

enum trb_status store_set_state(struct store *s, const char *name, struct trb_value value, struct trb_error *err) {
  return db_run(s->db, err, "INSERT OR REPLACE INTO hub_state(name, value) VALUES(?1, ?2)", "tv", name, value);
}

enum trb_status store_setting(struct trb_db *db, const char *name, struct trb_buf *out, struct trb_error *err) {
  return db_get_bytes(db, err, out, "SELECT value FROM setting WHERE _site=1 AND id=?1", "t", name);
}

int64_t store_setting_int(struct trb_db *db, const char *name, int64_t otherwise) {
  TRB_BUF_AUTO text = {0};
  if (store_setting(db, name, &text, NULL) != TRB_OK || text.len == 0) return otherwise;
  char *end;
  const char *start = trb_buf_cstr(&text);
  long long value = strtoll(start, &end, 10);
  return *end || end == start ? otherwise : (int64_t)value;
}

enum trb_status store_site_no(struct store *s, struct trb_slice name, int64_t *ret, struct trb_error *err) {
  enum trb_status status = db_get_int(s->db, err, ret, "SELECT no FROM site_no WHERE name=?1", "s", name);
  if (status != TRB_ABSENT) return status;
  status = db_run(s->db, err, "INSERT INTO site_no(name) VALUES(?1)", "s", name);
  if (status == TRB_OK) *ret = db_last_rowid(s->db);
  return status;
}

static enum trb_status reserve_site(struct store *s, int64_t site, struct trb_error *err) {
  if (site <= 0 || site > STORE_SITES_MAX) return trb_fail(err, TRB_FULL, "more than %d sites", STORE_SITES_MAX);
  size_t need = (size_t)site + 1;
  if (need <= s->site_cap) return TRB_OK;
  size_t cap = s->site_cap ? s->site_cap : 64;
  while (cap < need) cap *= 2;
  struct stream *streams = realloc(s->streams, cap * sizeof *streams);
  if (streams) s->streams = streams;
  struct site_facts *facts = realloc(s->facts, cap * sizeof *facts);
  if (facts) s->facts = facts;
  if (!streams || !facts) return trb_fail(err, TRB_NOMEM, "out of memory");
  memset(s->streams + s->site_cap, 0, (cap - s->site_cap) * sizeof *streams);
  memset(s->facts + s->site_cap, 0, (cap - s->site_cap) * sizeof *facts);
  s->site_cap = cap;
  return TRB_OK;
}

static bool copy_fixed(struct trb_slice from, void *to, size_t len) {
  if (from.len != len) return false;
  memcpy(to, from.data, len);
  return true;
}

enum trb_status store_stream(struct store *s, int64_t site, struct stream **ret, struct trb_error *err) {
  enum trb_status status = reserve_site(s, site, err);
  if (status != TRB_OK) return status;
  struct stream *stream = &s->streams[site];
  *ret = stream;
  if (stream->used) return TRB_OK;
  TRB_STMT_AUTO *stmt = NULL;
  status = db_queryf(s->db, err, &stmt,
                     "SELECT no, incarnation, sequence, hash, base, heard_at, changes, safe FROM stream WHERE site=?1 "
                     "AND current=1",
                     "i", site);
  bool row = false;
  if (status == TRB_OK) status = stmt_step(stmt, &row, err);
  if (status != TRB_OK) return status;
  if (!row) return trb_fail(err, TRB_ABSENT, "this site has no stream");
  *stream = (struct stream){.no = stmt_int(stmt, 0),
                            .site = site,
                            .sequence = (uint64_t)stmt_int(stmt, 2),
                            .base = (trb_hlc)stmt_int(stmt, 4),
                            .heard_ms = stmt_int(stmt, 5),
                            .changes = stmt_int(stmt, 6),
                            .safe = (uint64_t)stmt_int(stmt, 7)};
  if (!copy_fixed(stmt_slice(stmt, 1), stream->incarnation, TRB_INCARNATION_BYTES) ||
      !copy_fixed(stmt_slice(stmt, 3), stream->hash, TRB_HASH_BYTES))
    return trb_fail(err, TRB_STORE, "hub.db: the stream of site %lld is damaged", (long long)site);
  stream->used = true;
  return TRB_OK;
}

enum trb_status store_stream_start(struct store *s, int64_t site, const uint8_t incarnation[TRB_INCARNATION_BYTES],
                                   const uint8_t *parent, uint64_t parent_sequence, struct trb_error *err) {
  enum trb_status status = reserve_site(s, site, err);
  if (status == TRB_OK && s->streams[site].used) status = flush_stream(s, &s->streams[site], err);
  if (status == TRB_OK)
    status = db_run(s->db, err, "UPDATE stream SET current=0 WHERE site=?1 AND current=1", "i", site);
  static const uint8_t zeros[TRB_HASH_BYTES];
  struct trb_value from = parent ? trb_blob(trb_slice_of(parent, TRB_INCARNATION_BYTES)) : trb_null();
  if (status == TRB_OK)
    status =
        db_run(s->db, err,
               "INSERT INTO stream(site, incarnation, parent, parent_sequence, current, sequence, hash, base, "
               "heard_at, changes, safe) VALUES(?1,?2,?3,?4,1,0,?5,0,0,0,0) ON CONFLICT(incarnation) DO UPDATE SET "
               "current=1",
               "ibvib", site, trb_slice_of(incarnation, TRB_INCARNATION_BYTES), from, (int64_t)parent_sequence,
               trb_slice_of(zeros, sizeof zeros));
  if (status == TRB_OK) s->streams[site] = (struct stream){0}; /* read again at next use */
  return status;
}

enum trb_status store_facts(struct store *s, int64_t site, struct site_facts **ret, struct trb_error *err) {
  enum trb_status status = reserve_site(s, site, err);
  if (status != TRB_OK) return status;
  struct site_facts *facts = &s->facts[site];
  *ret = facts;
  if (facts->known) return TRB_OK;
  int64_t set_aside = 0, tombstones = 0;
  status = db_get_int(s->db, err, &set_aside, "SELECT EXISTS(SELECT 1 FROM set_aside WHERE site=?1)", "i", site);
  if (status == TRB_OK)
    status = db_get_int(s->db, err, &tombstones, "SELECT EXISTS(SELECT 1 FROM tombstone WHERE site=?1)", "i", site);
  if (status == TRB_OK) *facts = (struct site_facts){true, set_aside != 0, tombstones != 0};
  return status;
}

/* ---- catalogue ---- */

enum { CUSTOM_MAX = 2000 }; /* definitions of either kind */

static enum trb_status custom_tables(struct trb_db *db, struct trb_arena *arena, struct trb_custom_table *list,
                                     size_t *ret_count, struct trb_error *err) {
  TRB_STMT_AUTO *stmt = NULL;
  enum trb_status status = db_queryf(
      db, err, &stmt, "SELECT number, name, doc, branch_writes FROM custom_table ORDER BY number LIMIT 2000", "");
  bool row = status == TRB_OK;
  size_t count = 0;
  while (status == TRB_OK && (status = stmt_step(stmt, &row, err)) == TRB_OK && row) {
    int64_t number = stmt_int(stmt, 0);
    list[count++] = (struct trb_custom_table){number < 0 || number > UINT16_MAX ? 0 : (uint16_t)number,
                                              trb_arena_str(arena, stmt_slice(stmt, 1)),
                                              trb_arena_str(arena, stmt_slice(stmt, 2)), stmt_int(stmt, 3) != 0};
    if (!list[count - 1].name || !list[count - 1].doc) status = trb_fail(err, TRB_NOMEM, "out of memory");
  }
  *ret_count = count;
  return status;
}

static uint16_t small(int64_t number) { return number < 0 || number > UINT16_MAX ? 0 : (uint16_t)number; }

static enum trb_status custom_columns(struct trb_db *db, struct trb_arena *arena, struct trb_custom_column *list,
                                      size_t *ret_count, struct trb_error *err) {
  TRB_STMT_AUTO *stmt = NULL;
  enum trb_status status =
      db_queryf(db, err, &stmt,
                "SELECT table_number, number, name, type, doc, max_bytes, sensitive FROM custom_column ORDER BY "
                "table_number, number LIMIT 2000",
                "");
  bool row = status == TRB_OK;
  size_t count = 0;
  while (status == TRB_OK && (status = stmt_step(stmt, &row, err)) == TRB_OK && row) {
    struct trb_custom_column *c = &list[count++];
    int64_t max = stmt_int(stmt, 5);
    *c = (struct trb_custom_column){.table = small(stmt_int(stmt, 0)),
                                    .number = small(stmt_int(stmt, 1)),
                                    .name = trb_arena_str(arena, stmt_slice(stmt, 2)),
                                    .type = trb_arena_str(arena, stmt_slice(stmt, 3)),
                                    .doc = trb_arena_str(arena, stmt_slice(stmt, 4)),
                                    .max_bytes = max < 0 || max > UINT32_MAX ? 0 : (uint32_t)max,
                                    .sensitive = stmt_int(stmt, 6) != 0};
    if (!c->name || !c->type || !c->doc) status = trb_fail(err, TRB_NOMEM, "out of memory");
  }
  *ret_count = count;
  return status;
}

static void lay_table(struct trb_custom_table *list, size_t *count, const struct trb_custom_table *table) {
  size_t at = 0;
  while (at < *count && list[at].number != table->number) at++;
  if (at == *count) {
    if (*count == CUSTOM_MAX) return;
    ++*count;
  }
  list[at] = *table;
}

static void lay_column(struct trb_custom_column *list, size_t *count, const struct trb_custom_column *column) {
  size_t at = 0;
  while (at < *count && (list[at].table != column->table || list[at].number != column->number)) at++;
  if (at == *count) {
    if (*count == CUSTOM_MAX) return;
    ++*count;
  }
  list[at] = *column;
}

enum trb_status store_merge_catalogue(struct trb_db *db, const struct trb_custom_table *more_tables, size_t more_table,
                                      const struct trb_custom_column *more_columns, size_t more_column,
                                      struct trb_catalogue **ret, struct trb_error *err) {
  TRB_ARENA_AUTO arena = {0};
  struct trb_custom_table *tables = trb_arena_alloc(&arena, CUSTOM_MAX * sizeof *tables);
  struct trb_custom_column *columns = trb_arena_alloc(&arena, CUSTOM_MAX * sizeof *columns);
  if (!tables || !columns) return trb_fail(err, TRB_NOMEM, "out of memory");
  size_t table_count = 0, column_count = 0;
  enum trb_status status = custom_tables(db, &arena, tables, &table_count, err);
  if (status == TRB_OK) status = custom_columns(db, &arena, columns, &column_count, err);
  if (status != TRB_OK) return status;
  for (size_t i = 0; i < more_table; i++) lay_table(tables, &table_count, &more_tables[i]);
  for (size_t i = 0; i < more_column; i++) lay_column(columns, &column_count, &more_columns[i]);
  if (table_count == 0 && column_count == 0) {
    *ret = catalogue_builtin();
    return TRB_OK;
  }
  return catalogue_extend(tables, table_count, columns, column_count, ret, err);
}

enum trb_status store_load_catalogue(struct trb_db *db, struct trb_catalogue **ret, struct trb_error *err) {
  return store_merge_catalogue(db, NULL, 0, NULL, 0, ret, err);
}

enum trb_status store_refresh_catalogue(struct store *s, struct trb_error *err) {
  struct trb_catalogue *catalogue = NULL;
  struct rows *rows = NULL;
  enum trb_status status = store_load_catalogue(s->db, &catalogue, err);
  if (status == TRB_OK) status = rows_new(s->db, catalogue, &rows, err);
  if (status != TRB_OK) {
    catalogue_unref(&catalogue);
    return status;
  }
  rows_free(&s->rows);
  s->rows = rows;
  catalogue_unref(&s->catalogue);
  s->catalogue = catalogue;
  s->catalogue_changed = true;
  status = add_missing(s, err);
  if (status == TRB_OK && s->unify) unify_set_catalogue(s->unify, s->catalogue);
  return status == TRB_OK ? promote_grown(s, err) : status;
}
