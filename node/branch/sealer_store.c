/* sealer_store: see include/tributary/sealer_store.h. */
#include "tributary/sealer_store.h"

#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "tributary/wire.h"

/* Row bytes read in one pass: as much as one pass may seal. */
#define READ_BYTES_MAX TRB_CONTINUES_BYTES_MAX
/* Marks deleted in one transaction: a few milliseconds. */
#define TRIM_MAX 500

struct seal_sql {
  uint16_t table;
  char *row, *page;
};

int64_t seal_now_us(void) {
  struct timespec ts;
  clock_gettime(CLOCK_MONOTONIC, &ts);
  return (int64_t)ts.tv_sec * 1000000 + ts.tv_nsec / 1000;
}

/* ---- tables and their statements ---- */

bool seal_table_up(const struct trb_table *table) {
  return table->owner == TRB_OWNER_BRANCH && table->flow == TRB_FLOW_UP;
}

const struct trb_table *seal_table_after(const struct trb_catalogue *catalogue, uint16_t number) {
  const struct trb_table *at = number ? catalogue_table(catalogue, number) : NULL;
  bool at_late = at && (at->flags & TRB_TABLE_LATE);
  for (int late = at_late; late <= 1; late++)
    for (size_t i = 0; i < catalogue_count(catalogue); i++) {
      const struct trb_table *table = catalogue_at(catalogue, i);
      if (!seal_table_up(table) || ((table->flags & TRB_TABLE_LATE) != 0) != late) continue;
      if (late != at_late || table->number > number) return table;
    }
  return NULL;
}

void seal_forget(struct sealing *sealing) {
  for (size_t i = 0; i < sealing->sql_count; i++) {
    free(sealing->sql[i].row);
    free(sealing->sql[i].page);
  }
  free(sealing->sql);
  free(sealing->packer);
  sealing->sql = NULL;
  sealing->packer = NULL;
  sealing->sql_count = 0;
}

static struct seal_sql *sql_of(struct sealing *sealing, const struct trb_table *table) {
  for (size_t i = 0; i < sealing->sql_count; i++)
    if (sealing->sql[i].table == table->number) return &sealing->sql[i];
  struct seal_sql *grown = realloc(sealing->sql, (sealing->sql_count + 1) * sizeof *grown);
  if (!grown) return NULL;
  sealing->sql = grown;
  TRB_BUF_AUTO row = {0}, page = {0};
  schema_select_row(table, &row);
  schema_select_page(table, &page);
  struct seal_sql sql = {.table = table->number};
  if (!row.failed && !page.failed) {
    sql.row = strdup(trb_buf_cstr(&row));
    sql.page = strdup(trb_buf_cstr(&page));
  }
  if (!sql.row || !sql.page) {
    free(sql.row);
    free(sql.page);
    return NULL;
  }
  sealing->sql[sealing->sql_count] = sql;
  return &sealing->sql[sealing->sql_count++];
}

const char *seal_row_sql(struct sealing *sealing, const struct trb_table *table) {
  struct seal_sql *sql = sql_of(sealing, table);
  return sql ? sql->row : NULL;
}

const char *seal_page_sql(struct sealing *sealing, const struct trb_table *table) {
  struct seal_sql *sql = sql_of(sealing, table);
  return sql ? sql->page : NULL;
}

enum trb_status seal_values(struct trb_stmt *stmt, const struct trb_table *table, struct trb_arena *arena,
                            struct trb_value **ret, size_t *ret_bytes, struct trb_error *err) {
  struct trb_value *values = trb_arena_alloc(arena, (table->column_count + 1) * sizeof *values);
  bool ok = values != NULL;
  for (size_t i = 0; i < table->column_count && ok; i++) {
    values[i] = stmt_value(stmt, (int)i + 1);
    if (values[i].type != TRB_TEXT && values[i].type != TRB_BLOB) continue;
    *ret_bytes += values[i].s.len;
    values[i].s = trb_arena_copy(arena, values[i].s, &ok);
  }
  if (!ok) return trb_fail(err, TRB_NOMEM, "out of memory");
  *ret = values;
  return TRB_OK;
}

/* ---- reading ---- */

struct scanned {
  uint64_t number;
  int64_t nonce;
};
struct pass {
  struct sealing *sealing;
  struct trb_arena *arena;
  bool late;
  struct seal_limits limits;
  uint64_t after; /* the cursor this pass starts at */
  size_t scanned_count, mark_count;
  struct scanned *scanned;   /* every mark looked at */
  struct sealer_mark *marks; /* those of this pass's tables */
  bool saw_late, scan_full;
  struct sealer_rows rows;
  struct trb_value **values; /* one a row; NULL: absent */
  bool *lost;                /* the row's table is missing */
  size_t read_rows;          /* rows read before time or bytes were up */
};

static const char CURSOR[] = "SELECT nonce FROM _trb_mark WHERE n = ?";
static const char MARKS[] =
    "SELECT n, tbl, row, op, part, mask, wall, nonce FROM _trb_mark WHERE n > ?1 AND n <= ?2 ORDER BY n LIMIT ?3";
static const char UNDONE[] = "SELECT count(*) FROM _trb_undo WHERE first_mark <= ?1 AND last_mark >= ?1";

static enum trb_status check_cursor(struct sealing *sealing, bool *ret_rolled_back, struct trb_error *err) {
  const struct outbox_state *s = &sealing->outbox->state;
  int64_t nonce = 0;
  if (s->mark == 0) return TRB_OK;
  enum trb_status status = db_get_int(sealing->replica, err, &nonce, CURSOR, "i", (int64_t)s->mark);
  if (status != TRB_OK && status != TRB_ABSENT) return status;
  *ret_rolled_back = status == TRB_ABSENT || nonce != s->nonce;
  return TRB_OK;
}

static enum trb_status read_mark(struct pass *p, struct trb_stmt *stmt, struct trb_error *err) {
  uint64_t number = (uint64_t)stmt_int(stmt, 0);
  p->scanned[p->scanned_count++] = (struct scanned){.number = number, .nonce = stmt_int(stmt, 7)};
  const struct trb_table *table = catalogue_table(p->sealing->catalogue, (uint16_t)stmt_int(stmt, 1));
  if (!table || !seal_table_up(table)) return TRB_OK;
  bool late = (table->flags & TRB_TABLE_LATE) != 0;
  p->saw_late |= late;
  if (late != p->late) return TRB_OK;
  bool ok = true;
  struct sealer_mark *mark = &p->marks[p->mark_count++];
  *mark = (struct sealer_mark){.number = number,
                               .table = table->number,
                               .id = trb_arena_copy(p->arena, stmt_slice(stmt, 2), &ok),
                               .op = (int)stmt_int(stmt, 3),
                               .part = (uint16_t)stmt_int(stmt, 4),
                               .mask = stmt_int(stmt, 5),
                               .wall_ms = stmt_int(stmt, 6)};
  return ok ? TRB_OK : trb_fail(err, TRB_NOMEM, "out of memory");
}

static enum trb_status flag_undone(struct pass *p, struct trb_error *err) {
  for (size_t i = 0; i < p->mark_count; i++) {
    if (p->marks[i].op != TRB_MARK_DELETE) continue;
    int64_t undone = 0;
    enum trb_status status = db_get_int(p->sealing->replica, err, &undone, UNDONE, "i", (int64_t)p->marks[i].number);
    if (status != TRB_OK) return status;
    p->marks[i].undo = undone > 0;
  }
  return TRB_OK;
}

static enum trb_status read_marks(struct pass *p, struct trb_error *err) {
  uint64_t last = p->sealing->outbox->state.mark;
  int64_t nonce = 0;
  enum trb_status status = p->late ? TRB_OK : seal_last_mark(p->sealing->replica, &last, &nonce, err);
  if (status != TRB_OK || last <= p->after) return status;
  size_t max = last - p->after < p->limits.marks ? (size_t)(last - p->after) : p->limits.marks;
  p->scanned = trb_arena_alloc(p->arena, max * sizeof *p->scanned);
  p->marks = trb_arena_alloc(p->arena, max * sizeof *p->marks);
  if (!p->scanned || !p->marks) return trb_fail(err, TRB_NOMEM, "out of memory");
  TRB_STMT_AUTO *stmt = NULL;
  bool row = false;
  status = db_queryf(p->sealing->replica, err, &stmt, MARKS, "iii", (int64_t)p->after, (int64_t)last, (int64_t)max);
  if (status == TRB_OK) status = stmt_step(stmt, &row, err);
  while (status == TRB_OK && row) {
    status = read_mark(p, stmt, err);
    if (status == TRB_OK) status = stmt_step(stmt, &row, err);
  }
  p->scan_full = p->scanned_count == max && p->scanned[max - 1].number < last;
  if (status == TRB_OK) status = flag_undone(p, err);
  if (status == TRB_OK && sealer_group(p->marks, p->mark_count, p->arena, &p->rows) != TRB_OK)
    status = trb_fail(err, TRB_NOMEM, "out of memory");
  return status;
}

/* A client may drop a table while the daemon runs: that is no delete of its rows. */
static enum trb_status table_exists(struct trb_db *replica, const struct trb_table *table, bool *ret,
                                    struct trb_error *err) {
  int64_t count = 0;
  enum trb_status status = db_get_int(
      replica, err, &count, "SELECT count(*) FROM sqlite_master WHERE type = 'table' AND name = ?", "t", table->name);
  *ret = count > 0;
  return status;
}

static enum trb_status read_row(struct pass *p, size_t at, size_t *bytes, struct trb_error *err) {
  const struct sealer_row *row = &p->rows.rows[at];
  const struct trb_table *table = catalogue_table(p->sealing->catalogue, row->table);
  struct trb_db *replica = p->sealing->replica;
  TRB_STMT_AUTO *stmt = NULL;
  bool present = false;
  const char *sql = seal_row_sql(p->sealing, table);
  if (!sql) return trb_fail(err, TRB_NOMEM, "out of memory");
  enum trb_status status = db_queryf(replica, err, &stmt, sql, "s", row->id);
  if (status == TRB_STORE) {
    bool exists = true;
    struct trb_error unused;
    if (table_exists(replica, table, &exists, &unused) == TRB_OK && !exists) {
      p->lost[at] = true;
      return TRB_OK;
    }
  }
  if (status == TRB_OK) status = stmt_step(stmt, &present, err);
  if (status == TRB_OK && present) status = seal_values(stmt, table, p->arena, &p->values[at], bytes, err);
  return status;
}

static enum trb_status read_rows(struct pass *p, int64_t until_us, struct trb_error *err) {
  size_t bytes = 0;
  p->values = trb_arena_alloc(p->arena, (p->rows.row_count + 1) * sizeof *p->values);
  p->lost = trb_arena_alloc(p->arena, p->rows.row_count + 1);
  if (!p->values || !p->lost) return trb_fail(err, TRB_NOMEM, "out of memory");
  for (size_t i = 0; i < p->rows.row_count; i++) {
    if (i > 0 && (bytes > READ_BYTES_MAX || seal_now_us() > until_us)) break;
    enum trb_status status = read_row(p, i, &bytes, err);
    if (status != TRB_OK) return status;
    p->read_rows = i + 1;
  }
  return TRB_OK;
}

/* The read transaction: everything from one snapshot, so that each value is at least as old as the marks that were
 * read. */
static enum trb_status read_pass(struct pass *p, struct seal_result *ret, struct trb_error *err) {
  struct sealing *sealing = p->sealing;
  int64_t version = 0, begin_us = seal_now_us();
  enum trb_status status = db_begin_read(sealing->replica, err);
  if (status == TRB_OK) status = db_get_int(sealing->replica, err, &version, "PRAGMA schema_version", "");
  ret->schema_changed = status == TRB_OK && version != sealing->schema_version;
  if (status == TRB_OK && !ret->schema_changed) status = check_cursor(sealing, &ret->rolled_back, err);
  if (status == TRB_OK && !ret->schema_changed && !ret->rolled_back) status = read_marks(p, err);
  if (status == TRB_OK && p->mark_count) status = read_rows(p, begin_us + p->limits.read_us, err);
  db_rollback(sealing->replica); /* nothing was written: ends the snapshot */
  ret->reading_us += seal_now_us() - begin_us;
  return status;
}

/* ---- sealing ---- */

static enum trb_status seal_row(struct pass *p, size_t at, struct seal_writer *w, struct seal_result *ret,
                                bool *ret_full, struct trb_error *err) {
  const struct sealer_row *row = &p->rows.rows[at];
  const struct trb_table *table = catalogue_table(p->sealing->catalogue, row->table);
  struct shadow shadow;
  struct trb_change change;
  bool old = false, any = false;
  *ret_full = false;
  if (p->lost[at]) {
    ret->lost_table = row->table;
    return TRB_OK;
  }
  enum trb_status status = outbox_shadow(p->sealing->outbox, row->table, row->id, p->arena, &shadow, &old, err);
  if (status != TRB_OK) return status;
  if (old) shadow = (struct shadow){.stamp = shadow.stamp, .position = shadow.position};
  status = sealer_change(table, &p->rows, row, p->values[at], &shadow, p->arena, &any, &change);
  if (status == TRB_FULL) {
    ret->oversized++;
    return TRB_OK;
  }
  if (status != TRB_OK) return trb_fail(err, status, "out of memory");
  return any ? seal_writer_take(w, &change, &shadow, 0, ret_full, err) : TRB_OK;
}

/* Where the cursor may go: behind everything looked at, or before the first mark of a row that is left over. */
static const struct scanned *cursor_after(const struct pass *p, size_t sealed_rows) {
  uint64_t limit = UINT64_MAX;
  for (size_t i = sealed_rows; i < p->rows.row_count; i++) {
    uint64_t first = p->marks[p->rows.rows[i].first].number;
    if (first < limit) limit = first;
  }
  size_t count = p->scanned_count;
  while (count > 0 && p->scanned[count - 1].number >= limit) count--;
  return count ? &p->scanned[count - 1] : NULL;
}

static void move_cursor(struct pass *p, size_t sealed_rows) {
  struct outbox_state *s = &p->sealing->outbox->state;
  const struct scanned *to = cursor_after(p, sealed_rows);
  bool all = sealed_rows == p->rows.row_count;
  if (p->late) { /* nothing late is left below `mark` once the scan came to its end */
    s->late_mark = all && !p->scan_full ? s->mark : to ? to->number : s->late_mark;
    return;
  }
  bool level = s->late_mark == s->mark && !p->saw_late;
  if (to) {
    s->mark = to->number;
    s->nonce = to->nonce;
  }
  if (level) s->late_mark = s->mark;
}

static enum trb_status write_pass(struct pass *p, struct seal_writer *w, struct seal_result *ret,
                                  struct trb_error *err) {
  struct outbox_state *s = &p->sealing->outbox->state;
  enum trb_status status = seal_writer_begin(w, p->sealing, p->marks, p->arena, w->now, err);
  if (status == TRB_OK)
    status = outbox_segments(p->sealing->outbox, s->late_mark, p->arena, &w->packer->segments,
                             &w->packer->segment_count, err);
  size_t at = 0;
  for (bool full = false; status == TRB_OK && at < p->read_rows; at++) {
    status = seal_row(p, at, w, ret, &full, err);
    if (full) break;
  }
  if (status != TRB_OK) return status;
  uint64_t mark = s->mark;
  move_cursor(p, at);
  ret->more |= at < p->rows.row_count || p->scan_full || (!p->late && s->late_mark < s->mark && s->mark > mark);
  return seal_writer_end(w, s->mark < s->late_mark ? s->mark : s->late_mark, err);
}

static enum trb_status one_pass(struct sealing *sealing, bool late, struct seal_limits limits,
                                const struct trb_clock_reading *now, struct seal_result *ret, struct trb_error *err) {
  TRB_ARENA_AUTO arena = {0};
  struct outbox *outbox = sealing->outbox;
  struct pass p = {.sealing = sealing, .arena = &arena, .late = late, .limits = limits};
  p.after = late ? outbox->state.late_mark : outbox->state.mark;
  enum trb_status status = read_pass(&p, ret, err);
  if (status != TRB_OK || ret->schema_changed || ret->rolled_back) return status;
  if (p.scanned_count == 0 && !(late && outbox->state.late_mark < outbox->state.mark)) return TRB_OK;
  status = outbox_begin(outbox, err);
  if (status != TRB_OK) return status;
  struct seal_writer w = {.now = now};
  status = write_pass(&p, &w, ret, err);
  if (status == TRB_OK) status = db_sync(sealing->replica, err);
  if (status == TRB_OK) status = outbox_commit(outbox, err);
  if (status != TRB_OK) {
    outbox_rollback(outbox);
    return status;
  }
  ret->batches += w.batches;
  ret->changes += w.changes;
  ret->marks += (uint32_t)p.mark_count;
  return TRB_OK;
}

static enum trb_status want_stream(struct outbox *outbox, enum trb_stream_why why, struct trb_error *err) {
  if (outbox->state.want) return TRB_OK;
  enum trb_status status = outbox_begin(outbox, err);
  if (status != TRB_OK) return status;
  outbox->state.want = why;
  return outbox_commit(outbox, err);
}

enum trb_status seal_pass(struct sealing *sealing, struct seal_limits limits, const struct trb_clock_reading *now,
                          struct seal_result *ret, struct trb_error *err) {
  struct seal_result result = {0};
  const struct outbox_state *s = &sealing->outbox->state;
  TRB_ASSERT(s->baseline == OUTBOX_BASELINE_NONE && s->want == 0 && limits.marks > 0);
  if (limits.marks > SEAL_MARKS_MAX) limits.marks = SEAL_MARKS_MAX;
  enum trb_status status = one_pass(sealing, false, limits, now, &result, err);
  bool whole = !result.schema_changed && !result.rolled_back && !result.more;
  if (status == TRB_OK && s->late_mark < s->mark && (whole || result.marks == 0)) {
    result.more = false;
    status = one_pass(sealing, true, limits, now, &result, err);
  }
  if (status == TRB_OK && result.rolled_back) status = want_stream(sealing->outbox, TRB_STREAM_ROLLED_BACK, err);
  if (status == TRB_OK) *ret = result;
  return status;
}

/* ---- marks ---- */

enum trb_status seal_last_mark(struct trb_db *replica, uint64_t *ret_mark, int64_t *ret_nonce, struct trb_error *err) {
  TRB_STMT_AUTO *stmt = NULL;
  bool row = false;
  enum trb_status status = db_queryf(replica, err, &stmt, "SELECT n, nonce FROM _trb_mark ORDER BY n DESC LIMIT 1", "");
  if (status == TRB_OK) status = stmt_step(stmt, &row, err);
  if (status != TRB_OK) return status;
  *ret_mark = row ? (uint64_t)stmt_int(stmt, 0) : 0;
  *ret_nonce = row ? stmt_int(stmt, 1) : 0;
  return TRB_OK;
}

enum trb_status seal_mark_since(struct trb_db *replica, uint64_t after, int64_t from_ms, uint64_t *ret_mark,
                                struct trb_error *err) {
  int64_t mark = 0;
  enum trb_status status = db_get_int(replica, err, &mark,
                                      "SELECT coalesce((SELECT min(n) FROM _trb_mark WHERE n > ?1 AND wall >= ?2), "
                                      "(SELECT max(n) FROM _trb_mark) + 1, ?1 + 1)",
                                      "ii", (int64_t)after, from_ms);
  if (status == TRB_OK) *ret_mark = (uint64_t)mark;
  return status;
}

enum trb_status seal_unsealed(struct trb_db *replica, uint64_t after, int64_t *ret_count, struct trb_error *err) {
  return db_get_int(replica, err, ret_count, "SELECT count(*) FROM _trb_mark WHERE n > ?", "i", (int64_t)after);
}

static const char TRIM[] =
    "DELETE FROM _trb_mark WHERE n IN (SELECT n FROM _trb_mark WHERE n <= ?1 AND n < ?2 ORDER BY n LIMIT ?3)";
static const char TRIMMABLE[] = "SELECT count(*) FROM (SELECT 1 FROM _trb_mark WHERE n <= ?1 AND n < ?2 LIMIT 1)";
static const char ACKED_MARK[] = "SELECT coalesce((SELECT value FROM _trb_meta WHERE name = 'acked_mark'), 0)";

enum trb_status seal_trim(struct sealing *sealing, bool *ret_more, struct trb_error *err) {
  uint64_t acked = 0;
  int64_t known = 0, some = 0;
  struct trb_db *replica = sealing->replica;
  int64_t cursor =
      (int64_t)sealing->outbox->state.mark; /* the cursor's mark stays: its nonce proves that replica.db is the same */
  *ret_more = false;
  if (sealing->outbox->state.want || sealing->outbox->state.baseline) return TRB_OK;
  enum trb_status status = outbox_acked_mark(sealing->outbox, &acked, err);
  if (status == TRB_OK) status = db_get_int(replica, err, &known, ACKED_MARK, "");
  if (status == TRB_OK) status = db_get_int(replica, err, &some, TRIMMABLE, "ii", (int64_t)acked, cursor);
  if (status != TRB_OK || ((int64_t)acked <= known && some == 0)) return status;
  status = db_begin(replica, err);
  if (status == TRB_OK && (int64_t)acked > known)
    status = db_run(replica, err, "INSERT OR REPLACE INTO _trb_meta(name, value) VALUES('acked_mark', ?)", "i",
                    (int64_t)acked);
  if (status == TRB_OK) status = db_run(replica, err, TRIM, "iii", (int64_t)acked, cursor, (int64_t)TRIM_MAX);
  if (status == TRB_OK) *ret_more = db_changes(replica) == TRIM_MAX;
  if (status == TRB_OK) status = db_commit(replica, err);
  if (status != TRB_OK) db_rollback(replica);
  return status;
}
