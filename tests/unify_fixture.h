/* unify_fixture: a hub.db in memory-like speed, rows written as apply writes them, and a branch's replica fed with what
 * is rendered for it. Used by test_unify.c, test_down.c, test_find.c and bench_unify.c. */
#ifndef TRIBUTARY_TESTS_UNIFY_FIXTURE_H
#define TRIBUTARY_TESTS_UNIFY_FIXTURE_H

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

#include "tributary/mp.h"
#include "tributary/schema.h"
#include "tributary/times.h"
#include "tributary/unify.h"

extern const char trb_sql_hub[];

struct fx {
  char path[128];
  struct trb_db *db;
  struct trb_catalogue *catalogue;
  struct unify *u;
  trb_hlc now;       /* stamps and times of fx_put: one tick a call */
  uint64_t held[16]; /* version each replica holds, by site number */
  struct trb_error err;
};

#define FX_OK(fx, call)                                                                                 \
  do {                                                                                                  \
    enum trb_status fx_status = (call);                                                                 \
    if (fx_status != TRB_OK) fail_msg("%s: %s: %s", #call, trb_status_name(fx_status), (fx)->err.text); \
  } while (0)

static inline void fx_open_at(struct fx *fx, const char *path) {
  *fx = (struct fx){.now = trb_hlc_of_ms(1700000000000)};
  snprintf(fx->path, sizeof fx->path, "%s", path);
  unlink(fx->path);
  FX_OK(fx, db_open(fx->path, TRB_DB_CREATE, 0, &fx->db, &fx->err));
  FX_OK(fx,
        db_exec(fx->db, "PRAGMA journal_mode=MEMORY; PRAGMA synchronous=OFF; PRAGMA cache_size=-200000;", &fx->err));
  FX_OK(fx, db_exec(fx->db, trb_sql_hub, &fx->err));
  fx->catalogue = catalogue_builtin();
  TRB_BUF_AUTO sql = {0};
  schema_hub(fx->catalogue, &sql);
  FX_OK(fx, db_exec(fx->db, trb_buf_cstr(&sql), &fx->err));
  FX_OK(fx, db_exec(fx->db,
                    "INSERT INTO site_no(no, name) VALUES(2, 'sh'), (3, 'bj'), (4, 'gz');"
                    "CREATE TABLE test_seen(tbl, site, id, PRIMARY KEY(tbl, site, id));"
                    "CREATE TABLE test_replica(site, tbl, id, cells, PRIMARY KEY(site, tbl, id));",
                    &fx->err));
  FX_OK(fx, unify_open(fx->db, fx->catalogue, &fx->u, &fx->err));
}

static inline void fx_open(struct fx *fx) {
  static int number;
  char path[64];
  snprintf(path, sizeof path, "/tmp/trb-unify-%d-%d.db", (int)getpid(), number++);
  fx_open_at(fx, path);
}

static inline void fx_close(struct fx *fx) {
  unify_close(&fx->u);
  db_close(&fx->db);
  catalogue_unref(&fx->catalogue);
  unlink(fx->path);
}

struct fx_cell {
  const char *column;
  struct trb_value value;
};
struct fx_change { /* put: the whole row; else only the cells named; count 0 and !put: delete */
  int64_t site;
  const char *table, *id;
  bool put;
  size_t count;
  struct fx_cell cells[12];
  trb_hlc accepted, time;
  uint32_t position;
};

static inline void fx_read(struct fx *fx, const struct trb_table *t, int64_t rid, struct trb_arena *arena,
                           struct trb_value **ret, struct trb_slice *ret_times) {
  TRB_BUF_AUTO sql = {0};
  schema_hub_select_rid(t, &sql);
  TRB_STMT_AUTO *stmt = NULL;
  bool row = false, ok = true;
  FX_OK(fx, db_queryf(fx->db, &fx->err, &stmt, trb_buf_cstr(&sql), "i", rid));
  FX_OK(fx, stmt_step(stmt, &row, &fx->err));
  *ret = NULL;
  *ret_times = (struct trb_slice){0};
  if (!row) return;
  *ret = trb_arena_alloc(arena, t->column_count * sizeof **ret);
  for (size_t i = 0; i < t->column_count; i++) {
    (*ret)[i] = stmt_value(stmt, (int)i + TRB_HUB_ROW_COLUMNS);
    if ((*ret)[i].type >= TRB_TEXT) (*ret)[i].s = trb_arena_copy(arena, (*ret)[i].s, &ok);
  }
  *ret_times = trb_arena_copy(arena, stmt_slice(stmt, 1), &ok);
}

static inline int64_t fx_rid(struct fx *fx, const struct trb_table *t, int64_t site, struct trb_slice id) {
  int64_t rid = 0;
  if (t->number == TRB_T_customer) {
    FX_OK(fx, record_intern(fx->db, site, id, &rid, &fx->err));
    return rid;
  }
  char sql[128];
  snprintf(sql, sizeof sql, "SELECT _rid FROM \"%s\" WHERE _site = ?1 AND id = ?2", t->name);
  enum trb_status status = db_get_int(fx->db, NULL, &rid, sql, "is", site, id);
  if (status == TRB_OK) return rid;
  snprintf(sql, sizeof sql, "SELECT coalesce(max(_rid), 0) + 1 FROM \"%s\"", t->name);
  FX_OK(fx, db_get_int(fx->db, &fx->err, &rid, sql, ""));
  return rid;
}

static inline void fx_write(struct fx *fx, const struct trb_table *t, int64_t rid, const struct fx_change *c,
                            struct trb_slice times, const struct trb_value *values) {
  TRB_BUF_AUTO sql = {0};
  schema_hub_upsert(t, &sql);
  TRB_STMT_AUTO *stmt = NULL;
  bool row;
  FX_OK(fx, db_query(fx->db, trb_buf_cstr(&sql), &stmt, &fx->err));
  stmt_bind_int(stmt, 1, rid);
  stmt_bind_int(stmt, 2, c->site);
  stmt_bind_text(stmt, 3, c->id);
  stmt_bind_blob(stmt, 4, times);
  stmt_bind_int(stmt, 6, (int64_t)c->accepted);
  stmt_bind_int(stmt, 7, c->position);
  for (size_t i = 0; i < t->column_count; i++) stmt_bind_value(stmt, (int)i + TRB_HUB_UPSERT_COLUMNS, values[i]);
  FX_OK(fx, stmt_step(stmt, &row, &fx->err));
}

static inline int fx_by_column(const void *a, const void *b) {
  return (int)*(const uint16_t *)a - (int)*(const uint16_t *)b;
}

/* One change as apply makes it: inside the caller's transaction. */
static inline void fx_apply(struct fx *fx, const struct fx_change *c) {
  TRB_ARENA_AUTO arena = {0};
  const struct trb_table *t = catalogue_named(fx->catalogue, c->table);
  assert_non_null(t);
  struct trb_slice id = trb_slice_str(c->id), times;
  int64_t rid = fx_rid(fx, t, c->site, id), seen = 0;
  struct trb_value *before, *after = trb_arena_alloc(&arena, t->column_count * sizeof *after);
  fx_read(fx, t, rid, &arena, &before, &times);
  bool delete = !c->put && c->count == 0;
  if (delete &&!before) return;
  FX_OK(fx,
        db_get_int(fx->db, &fx->err, &seen, "SELECT count(*) FROM test_seen WHERE tbl = ?1 AND site = ?2 AND id = ?3",
                   "iis", (int64_t)t->number, c->site, id));
  FX_OK(fx, db_run(fx->db, &fx->err, "INSERT OR IGNORE INTO test_seen VALUES(?1, ?2, ?3)", "iis", (int64_t)t->number,
                   c->site, id));
  if (before && !c->put) memcpy(after, before, t->column_count * sizeof *after);
  uint16_t columns[16];
  trb_hlc set[16];
  for (size_t i = 0; i < c->count; i++) {
    const struct trb_column *column = table_column_named(t, c->cells[i].column);
    if (!column) fail_msg("no column %s.%s", c->table, c->cells[i].column);
    after[table_column_index(t, column->number)] = c->cells[i].value;
    columns[i] = column->number;
    set[i] = c->time;
  }
  qsort(columns, c->count, sizeof *columns, fx_by_column);
  TRB_BUF_AUTO blob = {0};
  times_set(times, c->put || !before ? c->time : 0, c->count, columns, set, &blob);
  if (delete) {
    char sql[96];
    snprintf(sql, sizeof sql, "DELETE FROM \"%s\" WHERE _rid = ?1", t->name);
    FX_OK(fx, db_run(fx->db, &fx->err, sql, "i", rid));
  } else {
    fx_write(fx, t, rid, c, trb_buf_slice(&blob), after);
  }
  struct unify_row row = {.table = t,
                          .site = c->site,
                          .rid = rid,
                          .id = id,
                          .before = before,
                          .after = delete ? NULL : after,
                          .accepted = c->accepted,
                          .position = c->position,
                          .first = seen == 0};
  FX_OK(fx, unify_row(fx->u, &row, &fx->err));
}

static inline void fx_begin(struct fx *fx) { FX_OK(fx, db_begin(fx->db, &fx->err)); }
static inline struct unify_sites fx_commit(struct fx *fx) {
  struct unify_sites dirty;
  FX_OK(fx, unify_finish(fx->u, &dirty, &fx->err));
  FX_OK(fx, db_commit(fx->db, &fx->err));
  return dirty;
}

/* One row in a transaction of its own (or in the open one): pairs of column and text ("#12" an integer, "%1.5" a real,
 * NULL is NULL). */
static inline struct trb_value fx_value(const char *text) {
  if (!text) return trb_null();
  if (text[0] == '#') return trb_int(atoll(text + 1));
  if (text[0] == '%') return trb_real(atof(text + 1));
  return trb_text(text);
}
static inline void fx_put_as(struct fx *fx, bool put, int64_t site, const char *table, const char *id, va_list args) {
  struct fx_change c = {
      .site = site, .table = table, .id = id, .put = put, .accepted = fx->now += 1u << 20, .time = fx->now};
  for (const char *column; (column = va_arg(args, const char *)) != NULL; c.count++)
    c.cells[c.count] = (struct fx_cell){column, fx_value(va_arg(args, const char *))};
  bool own = !db_in_transaction(fx->db);
  if (own) fx_begin(fx);
  fx_apply(fx, &c);
  if (own) fx_commit(fx);
}
static inline void fx_put(struct fx *fx, int64_t site, const char *table, const char *id, ...) {
  va_list args;
  va_start(args, id);
  fx_put_as(fx, true, site, table, id, args);
  va_end(args);
}
static inline void fx_set(struct fx *fx, int64_t site, const char *table, const char *id, ...) {
  va_list args;
  va_start(args, id);
  fx_put_as(fx, false, site, table, id, args);
  va_end(args);
}
#define FX_END ((const char *)NULL)

/* A customer with up to two contacts. */
static inline void fx_customer(struct fx *fx, int64_t site, const char *id, const char *name, const char *mobile) {
  bool own = !db_in_transaction(fx->db);
  if (own) fx_begin(fx);
  fx_put(fx, site, "customer", id, "kind", "person", "name", name, FX_END);
  char contact[80];
  snprintf(contact, sizeof contact, "%s-m", id);
  if (mobile) fx_put(fx, site, "contact", contact, "customer_id", id, "kind", "mobile", "value", mobile, FX_END);
  if (own) fx_commit(fx);
}

static inline const char *fx_text(struct fx *fx, const char *sql) { /* first column, in a static buffer */
  static char text[8][512];
  static int turn;
  char *out = text[turn = (turn + 1) % 8];
  TRB_STMT_AUTO *stmt = NULL;
  bool row = false;
  FX_OK(fx, db_queryf(fx->db, &fx->err, &stmt, sql, ""));
  FX_OK(fx, stmt_step(stmt, &row, &fx->err));
  snprintf(out, sizeof text[0], "%s", row ? stmt_text(stmt, 0) : "(none)");
  return out;
}
static inline int64_t fx_int(struct fx *fx, const char *sql) {
  int64_t n = 0;
  FX_OK(fx, db_get_int(fx->db, &fx->err, &n, sql, ""));
  return n;
}
static inline const char *fx_party(struct fx *fx, const char *site, const char *id) {
  char sql[256];
  snprintf(sql, sizeof sql, "SELECT party_id FROM party_of WHERE site = '%s' AND record_id = '%s'", site, id);
  return fx_text(fx, sql);
}

/* ---- a branch's replica ---- */

/* Takes rendered rows into test_replica as site number `as`. */
static inline size_t fx_take(struct fx *fx, int64_t as, struct trb_slice rows) {
  FX_OK(fx, mp_check(rows, &fx->err));
  struct mp_reader r = mp_reader(rows);
  size_t count = mp_get_array(&r);
  for (size_t i = 0; i < count; i++) {
    assert_int_equal(mp_get_array(&r), 5);
    int64_t table = (int64_t)mp_get_uint(&r);
    uint64_t op = mp_get_uint(&r);
    struct trb_slice id = mp_get_str(&r);
    mp_get_uint(&r);
    struct trb_slice cells = mp_get_raw(&r);
    assert_false(r.failed);
    assert_true(op == 1 || op == 3);
    if (op == 1)
      FX_OK(fx, db_run(fx->db, &fx->err, "INSERT OR REPLACE INTO test_replica VALUES(?1, ?2, ?3, ?4)", "iisb", as,
                       table, id, cells));
    else
      FX_OK(fx, db_run(fx->db, &fx->err, "DELETE FROM test_replica WHERE site = ?1 AND tbl = ?2 AND id = ?3", "iis", as,
                       table, id));
  }
  assert_true(mp_at_end(&r));
  return count;
}

/* Everything pending for a site into its replica, acknowledged; returns rows. */
static inline size_t fx_pull_from(struct fx *fx, int64_t site, int64_t as, uint64_t *version, size_t max_bytes,
                                  uint32_t *ret_flags) {
  size_t rows = 0;
  *ret_flags = 0;
  for (bool more = true; more;) {
    TRB_BUF_AUTO out = {0};
    uint32_t flags = 0;
    uint64_t next = *version;
    FX_OK(fx, down_render(fx->db, fx->catalogue, site, *version, max_bytes, &out, &next, &more, &flags, &fx->err));
    *ret_flags |= flags;
    if (out.len) rows += fx_take(fx, as, trb_buf_slice(&out));
    assert_true(next > *version || !more);
    *version = next;
  }
  return rows;
}
static inline size_t fx_pull(struct fx *fx, int64_t site) {
  uint32_t flags;
  size_t rows = fx_pull_from(fx, site, site, &fx->held[site], 1u << 18, &flags);
  FX_OK(fx, down_clear(fx->db, site, fx->held[site], &fx->err));
  return rows;
}
static inline const char *fx_held(struct fx *fx, int64_t site) { /* ids by table, for failures */
  static char text[4096];
  char sql[256];
  TRB_BUF_AUTO out = {0};
  snprintf(sql, sizeof sql,
           "SELECT group_concat(tbl || ':' || id, ' ') FROM (SELECT tbl, id FROM test_replica WHERE site = %d ORDER BY "
           "tbl, id)",
           (int)site);
  db_get_bytes(fx->db, NULL, &out, sql, "");
  snprintf(text, sizeof text, "%s", trb_buf_cstr(&out));
  return text;
}
/* The value of a cell of a replica's row, as text; "(none)" or "(null)". */
static inline const char *fx_cell_of(struct fx *fx, int64_t site, const char *table, const char *id,
                                     const char *column) {
  static char text[8][512];
  static int turn;
  char *out = text[turn = (turn + 1) % 8];
  const struct trb_table *t = catalogue_named(fx->catalogue, table);
  TRB_STMT_AUTO *stmt = NULL;
  bool row = false;
  FX_OK(fx,
        db_queryf(fx->db, &fx->err, &stmt, "SELECT cells FROM test_replica WHERE site = ?1 AND tbl = ?2 AND id = ?3",
                  "iit", site, (int64_t)t->number, id));
  FX_OK(fx, stmt_step(stmt, &row, &fx->err));
  if (!row) return "(none)";
  struct mp_reader r = mp_reader(stmt_slice(stmt, 0));
  size_t n = mp_get_array(&r);
  snprintf(out, sizeof text[0], "(null)");
  for (size_t i = 0; i < n; i += 2) {
    uint16_t number = (uint16_t)mp_get_uint(&r);
    struct trb_value v = mp_get_value(&r);
    if (table_column(t, number) != table_column_named(t, column)) continue;
    if (v.type == TRB_TEXT) snprintf(out, sizeof text[0], "%.*s", (int)v.s.len, (const char *)v.s.data);
    if (v.type == TRB_INT) snprintf(out, sizeof text[0], "%lld", (long long)v.i);
    if (v.type == TRB_REAL) snprintf(out, sizeof text[0], "%g", v.r);
  }
  return out;
}
static inline void fx_print_rows(struct fx *fx, int64_t site, const char *answer) {
  TRB_STMT_AUTO *stmt = NULL;
  bool row = true;
  FX_OK(fx, db_queryf(fx->db, &fx->err, &stmt,
                      "SELECT site, tbl, id, cells FROM test_replica WHERE site IN (?1, ?1 + 100) ORDER BY 2, 3, 1",
                      "i", site));
  while (stmt_step(stmt, &row, &fx->err) == TRB_OK && row) {
    char name[600];
    snprintf(name, sizeof name, "%s:%s", stmt_text(stmt, 1), stmt_text(stmt, 2));
    if (!strstr(answer, name)) continue;
    fprintf(stderr, "  %d %s:", (int)stmt_int(stmt, 0), name);
    struct mp_reader r = mp_reader(stmt_slice(stmt, 3));
    size_t n = mp_get_array(&r);
    for (size_t i = 0; i < n; i += 2) {
      fprintf(stderr, " %d=", (int)mp_get_uint(&r));
      struct trb_value v = mp_get_value(&r);
      if (v.type == TRB_TEXT) fprintf(stderr, "'%.*s'", (int)v.s.len, (const char *)v.s.data);
      if (v.type == TRB_INT) fprintf(stderr, "%lld", (long long)v.i);
    }
    fprintf(stderr, "\n");
  }
}

/* The replica fed bit by bit equals a replica fed by a snapshot of now. */
static inline void fx_check_replica(struct fx *fx, int64_t site) {
  fx_begin(fx);
  FX_OK(fx, down_snapshot(fx->db, site, &fx->err));
  uint64_t version = 0;
  uint32_t flags;
  fx_pull_from(fx, site, 100 + site, &version, 3000, &flags);
  assert_int_equal(flags & 6, 6);
  char sql[512];
  snprintf(sql, sizeof sql,
           "SELECT coalesce((SELECT group_concat(CASE WHEN site < 100 THEN 'stale ' ELSE 'missing ' END || tbl || ':' "
           "|| id, '; ') FROM (SELECT site, tbl, id FROM "
           "test_replica a WHERE site IN (%d, %d) AND NOT EXISTS(SELECT 1 FROM test_replica b WHERE b.site = %d - "
           "a.site AND b.tbl = "
           "a.tbl AND b.id = a.id AND b.cells = a.cells))), 'equal')",
           (int)site, (int)(100 + site), (int)(100 + 2 * site));
  const char *answer = fx_text(fx, sql);
  if (strcmp(answer, "equal") != 0) {
    fx_print_rows(fx, site, answer);
    fail_msg("replica of site %d: %s", (int)site, answer);
  }
  db_rollback(fx->db);
}

#endif
