/* verify: a branch's files against each other, reading only (see branch_verify in include/tributary/branch.h).
 *
 * The daemon and other programs may write meanwhile: rows are compared in slices, each in its own short read snapshot
 * of outbox.db and replica.db, so that no client waits longer than a slice; a row that differs is looked at again,
 * since its change may have been sealed between the two snapshots, and is left out while a mark of it waits to be
 * sealed. */
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "node.h"
#include "tributary/capture.h"
#include "tributary/digest.h"
#include "tributary/mp.h"

#define SLICE_ROWS_MAX 200
#define LOOKS_MAX 5 /* at a row that differs, LOOK_PAUSE_MS apart, before it is called a difference */
#define LOOK_PAUSE_MS 50
#define BUSY_MS 2000

struct verifying {
  struct outbox outbox; /* read only; db owned */
  struct trb_db *replica;
  struct trb_catalogue *catalogue;
  struct node node; /* only dir and keyset */
  struct branch_report *report;
};

static void differs(struct branch_report *report, int64_t *counter, const char *format, uint64_t a, const char *b) {
  ++*counter;
  if (report->first[0]) return;
  char text[sizeof report->first];
  TRB_BUF_AUTO out = {0};
  trb_buf_append_str(&out, format);
  trb_buf_printf(&out, " (%llu%s%s)", (unsigned long long)a, b ? ", " : "", b ? b : "");
  strncpy(text, trb_buf_cstr(&out), sizeof text - 1);
  text[sizeof text - 1] = '\0';
  memcpy(report->first, text, sizeof text);
}

static enum trb_status verify_file(struct verifying *v, struct trb_db *db, struct trb_error *err) {
  TRB_BUF_AUTO answer = {0};
  enum trb_status status = db_get_bytes(db, err, &answer, "PRAGMA integrity_check(1)", "");
  if (status == TRB_OK && strcmp(trb_buf_cstr(&answer), "ok") != 0)
    differs(v->report, &v->report->integrity_errors, "a file is damaged: SQLite's integrity check fails", 0,
            db == v->replica ? "replica.db" : OUTBOX_FILE);
  return status;
}

/* ---- the chain ---- */

struct chain {
  uint64_t sequence; /* of the batch before; 0: none seen */
  uint8_t hash[TRB_HASH_BYTES];
};

static void verify_ack(struct verifying *v, struct trb_slice sealed, const struct trb_batch_header *header,
                       const uint8_t hash[TRB_HASH_BYTES], struct trb_arena *arena) {
  struct trb_ack ack;
  if (!sealed.len) return;
  bool good = ack_open(sealed, v->node.keyset.sign_public, arena, &ack, NULL) == TRB_OK &&
              ack.sequence == header->sequence && memcmp(ack.hash, hash, TRB_HASH_BYTES) == 0;
  if (!good)
    differs(v->report, &v->report->ack_errors, "the stored acknowledgement of a batch is not headquarters'",
            header->sequence, NULL);
}

/* Columns: sequence, sealed, hash, signer, ack. */
static void verify_batch(struct verifying *v, struct trb_stmt *stmt, struct chain *chain) {
  TRB_ARENA_AUTO arena = {0};
  struct trb_batch batch;
  uint8_t hash[TRB_HASH_BYTES];
  uint64_t sequence = (uint64_t)stmt_int(stmt, 0);
  struct trb_slice stored = stmt_slice(stmt, 2), signer = stmt_slice(stmt, 3);
  v->report->batches++;
  bool good = signer.len == TRB_KEY_BYTES &&
              batch_open(stmt_slice(stmt, 1), signer.data, &arena, &batch, hash, NULL) == TRB_OK &&
              trb_slice_equal(stored, trb_slice_of(hash, sizeof hash)) && batch.header.sequence == sequence &&
              memcmp(batch.header.incarnation, v->outbox.state.incarnation, TRB_INCARNATION_BYTES) == 0;
  bool linked = good && (!chain->sequence || (sequence == chain->sequence + 1 &&
                                              memcmp(batch.header.previous, chain->hash, sizeof hash) == 0));
  if (!linked)
    differs(v->report, &v->report->chain_errors, good ? "a batch does not follow the one before" : "a batch is damaged",
            sequence, NULL);
  if (good) verify_ack(v, stmt_slice(stmt, 4), &batch.header, hash, &arena);
  chain->sequence = sequence;
  memcpy(chain->hash, stored.data ? stored.data : hash, stored.len == sizeof hash ? sizeof hash : 0);
}

static const char BATCHES[] = "SELECT sequence, sealed, hash, signer, ack FROM batch ORDER BY sequence";

static enum trb_status verify_chain(struct verifying *v, struct trb_error *err) {
  TRB_STMT_AUTO *stmt = NULL;
  struct chain chain = {0};
  bool row = false;
  enum trb_status status = db_query(v->outbox.db, BATCHES, &stmt, err);
  if (status == TRB_OK) status = stmt_step(stmt, &row, err);
  while (status == TRB_OK && row) {
    verify_batch(v, stmt, &chain);
    status = stmt_step(stmt, &row, err);
  }
  const struct outbox_state *state = &v->outbox.state;
  bool ends = !chain.sequence ? state->sequence <= state->safe
                              : chain.sequence == state->sequence && !memcmp(chain.hash, state->hash, TRB_HASH_BYTES);
  if (status == TRB_OK && !ends)
    differs(v->report, &v->report->chain_errors, "the last batch is not the one the stream ends with", chain.sequence,
            NULL);
  return status;
}

/* ---- the digests, from the shadows ---- */

static const char STORED_DIGEST[] = "SELECT live, sum FROM digest WHERE tbl = ?";

static enum trb_status compare_digest(struct verifying *v, const struct trb_digest *digest, struct trb_error *err) {
  TRB_STMT_AUTO *stmt = NULL;
  bool row = false;
  enum trb_status status = db_queryf(v->outbox.db, err, &stmt, STORED_DIGEST, "i", (int64_t)digest->table);
  if (status == TRB_OK) status = stmt_step(stmt, &row, err);
  if (status != TRB_OK) return status;
  v->report->tables++;
  uint64_t rows = row ? (uint64_t)stmt_int(stmt, 0) : 0, sum = row ? (uint64_t)stmt_int(stmt, 1) : 0;
  if (rows != digest->rows || sum != digest->sum)
    differs(v->report, &v->report->digest_errors, "the digest of a table is not that of its rows", digest->table, NULL);
  return TRB_OK;
}

static enum trb_status add_shadow(struct trb_stmt *stmt, struct trb_digest *digest, struct trb_error *err) {
  TRB_ARENA_AUTO arena = {0};
  struct shadow shadow = {0};
  enum trb_status status = shadow_decode(stmt_slice(stmt, 2), &arena, &shadow, err);
  if (status != TRB_OK) return status;
  digest->rows++;
  digest->sum += digest_cell(digest->table, stmt_slice(stmt, 1), 0, trb_null());
  for (size_t i = 0; i < shadow.cell_count; i++) digest->sum += shadow.cells[i].hash;
  return TRB_OK;
}

static const char SHADOWS[] = "SELECT tbl, id, cells FROM shadow WHERE deleted = 0 AND generation = ? ORDER BY tbl, id";
static const char OTHER_DIGESTS[] =
    "SELECT tbl FROM digest d WHERE live <> 0 AND NOT EXISTS (SELECT 1 FROM shadow s WHERE s.tbl = d.tbl AND s.deleted "
    "= "
    "0 AND s.generation = ?)";

static enum trb_status verify_digests(struct verifying *v, struct trb_error *err) {
  TRB_STMT_AUTO *stmt = NULL;
  struct trb_digest digest = {0};
  bool row = false;
  int64_t other = 0, generation = v->outbox.state.generation;
  enum trb_status status = db_queryf(v->outbox.db, err, &stmt, SHADOWS, "i", generation);
  if (status == TRB_OK) status = stmt_step(stmt, &row, err);
  while (status == TRB_OK && row) {
    uint16_t table = (uint16_t)stmt_int(stmt, 0);
    if (table != digest.table) {
      if (digest.table) status = compare_digest(v, &digest, err);
      digest = (struct trb_digest){.table = table};
    }
    if (status == TRB_OK) status = add_shadow(stmt, &digest, err);
    if (status == TRB_OK) status = stmt_step(stmt, &row, err);
  }
  if (status == TRB_OK && digest.table) status = compare_digest(v, &digest, err);
  if (status != TRB_OK) return status;
  status = db_get_int(v->outbox.db, err, &other, OTHER_DIGESTS, "i", generation);
  if (status == TRB_OK)
    differs(v->report, &v->report->digest_errors, "a table has a digest and no rows", (uint64_t)other, NULL);
  return status == TRB_ABSENT ? TRB_OK : status;
}

/* ---- the rows of replica.db against the shadows ---- */

static enum trb_status snapshots(struct verifying *v, struct trb_error *err) {
  enum trb_status status = db_begin_read(v->outbox.db, err);
  if (status == TRB_OK) status = outbox_reload(&v->outbox, err); /* the first read takes the snapshot */
  if (status == TRB_OK) status = db_begin_read(v->replica, err);
  return status;
}

static void snapshots_end(struct verifying *v) {
  db_rollback(v->replica);
  db_rollback(v->outbox.db);
}

static const char WAITING[] = "SELECT 1 FROM _trb_mark WHERE n > ? AND tbl = ? AND row = ? LIMIT 1";

/* Within the snapshots. stmt: the row as capture_row and capture_scan_rows give it, NULL: there is none. */
static enum trb_status row_agrees(struct verifying *v, const struct trb_table *table, struct trb_slice id,
                                  struct trb_stmt *stmt, bool *ret, struct trb_error *err) {
  TRB_ARENA_AUTO arena = {0};
  struct shadow shadow;
  bool old = false;
  enum trb_status status = outbox_shadow(&v->outbox, table->number, id, &arena, &shadow, &old, err);
  if (status != TRB_OK) return status;
  bool agrees = (shadow_live(&shadow) && !old) == (stmt != NULL);
  for (size_t i = 0; agrees && stmt && i < table->column_count; i++) {
    const struct shadow_cell *cell = shadow_cell_of(&shadow, table->columns[i].number);
    agrees = digest_cell(table->number, id, table->columns[i].number, stmt_value(stmt, (int)i + 1)) ==
             (cell ? cell->hash : 0);
  }
  if (!agrees) { /* a change that waits to be sealed is no difference */
    int64_t any = 0;
    uint64_t cursor = table->flags & TRB_TABLE_LATE ? v->outbox.state.late_mark : v->outbox.state.mark;
    status = db_get_int(v->replica, err, &any, WAITING, "iis", (int64_t)cursor, (int64_t)table->number, id);
    if (status != TRB_OK && status != TRB_ABSENT) return status;
    agrees = status == TRB_OK;
  }
  *ret = agrees;
  return TRB_OK;
}

/* A row that differed, in snapshots of its own, a few times. */
static enum trb_status look_again(struct verifying *v, const struct trb_table *table, struct trb_slice id,
                                  struct trb_error *err) {
  bool agrees = false;
  enum trb_status status = TRB_OK;
  for (int look = 0; look < LOOKS_MAX && status == TRB_OK && !agrees; look++) {
    TRB_STMT_AUTO *stmt = NULL;
    bool row = false;
    nanosleep(&(struct timespec){.tv_nsec = LOOK_PAUSE_MS * 1000000L}, NULL);
    status = snapshots(v, err);
    if (status == TRB_OK) status = capture_row(v->replica, table, id, &stmt, err);
    if (status == TRB_OK) status = stmt_step(stmt, &row, err);
    if (status == TRB_OK) status = row_agrees(v, table, id, row ? stmt : NULL, &agrees, err);
    stmt_done(stmt);
    stmt = NULL;
    snapshots_end(v);
  }
  if (status == TRB_OK && !agrees)
    differs(v->report, &v->report->row_differences, "a row is not as it was last sealed and has no mark", table->number,
            table->name);
  return status;
}

struct slice { /* of one table: ids that differ at first sight, and where the next one begins */
  struct trb_arena arena;
  struct trb_slice last;
  size_t rows, count;
  struct trb_slice ids[SLICE_ROWS_MAX];
};

/* The rows of replica.db, or the live shadows (which finds rows that are gone). */
typedef enum trb_status slice_fn(struct verifying *v, const struct trb_table *table, struct slice *s,
                                 struct trb_slice after, struct trb_error *err);

static enum trb_status slice_note(struct slice *s, struct trb_slice id, bool agrees, struct trb_error *err) {
  bool ok = true;
  s->rows++;
  s->last = trb_arena_copy(&s->arena, id, &ok);
  if (!agrees) s->ids[s->count++] = s->last;
  return ok ? TRB_OK : trb_fail(err, TRB_NOMEM, "out of memory");
}

static enum trb_status slice_of_rows(struct verifying *v, const struct trb_table *table, struct slice *s,
                                     struct trb_slice after, struct trb_error *err) {
  TRB_STMT_AUTO *stmt = NULL;
  bool row = false, agrees = false;
  enum trb_status status = capture_scan_rows(v->replica, table, after, SLICE_ROWS_MAX, &stmt, err);
  if (status == TRB_OK) status = stmt_step(stmt, &row, err);
  while (status == TRB_OK && row) {
    status = row_agrees(v, table, stmt_slice(stmt, 0), stmt, &agrees, err);
    if (status == TRB_OK) status = slice_note(s, stmt_slice(stmt, 0), agrees, err);
    if (status == TRB_OK) status = stmt_step(stmt, &row, err);
  }
  v->report->rows += (int64_t)s->rows;
  return status;
}

static const char LIVE[] =
    "SELECT id FROM shadow WHERE tbl = ? AND id > ? AND deleted = 0 AND generation = ? ORDER BY id LIMIT ?";

static enum trb_status slice_of_shadows(struct verifying *v, const struct trb_table *table, struct slice *s,
                                        struct trb_slice after, struct trb_error *err) {
  TRB_STMT_AUTO *stmt = NULL;
  bool row = false;
  enum trb_status status = db_queryf(v->outbox.db, err, &stmt, LIVE, "isii", (int64_t)table->number, after,
                                     v->outbox.state.generation, (int64_t)SLICE_ROWS_MAX);
  if (status == TRB_OK) status = stmt_step(stmt, &row, err);
  while (status == TRB_OK && row) {
    TRB_STMT_AUTO *there = NULL;
    bool any = false;
    status = capture_row(v->replica, table, stmt_slice(stmt, 0), &there, err);
    if (status == TRB_OK) status = stmt_step(there, &any, err);
    if (status == TRB_OK) status = slice_note(s, stmt_slice(stmt, 0), any, err);
    if (status == TRB_OK) status = stmt_step(stmt, &row, err);
  }
  return status;
}

static enum trb_status verify_table(struct verifying *v, const struct trb_table *table, slice_fn *read,
                                    struct trb_error *err) {
  TRB_ARENA_AUTO arena = {0};
  struct trb_slice after = trb_slice_str("");
  enum trb_status status = TRB_OK;
  for (bool more = true; more && status == TRB_OK;) {
    struct slice s = {0};
    bool ok = true;
    status = snapshots(v, err);
    if (status == TRB_OK) status = read(v, table, &s, after, err);
    snapshots_end(v);
    for (size_t i = 0; i < s.count && status == TRB_OK; i++) status = look_again(v, table, s.ids[i], err);
    more = s.rows == SLICE_ROWS_MAX;
    trb_arena_reset(&arena);
    after = trb_arena_copy(&arena, s.last, &ok);
    trb_arena_free(&s.arena);
    if (status == TRB_OK && !ok) status = trb_fail(err, TRB_NOMEM, "out of memory");
  }
  return status;
}

/* Nothing to compare while a new stream's baseline is being sealed: rows and shadows are on their way to each other. */
static enum trb_status verify_rows(struct verifying *v, struct trb_error *err) {
  if (v->outbox.state.baseline != OUTBOX_BASELINE_NONE || v->outbox.state.want) return TRB_OK;
  enum trb_status status = TRB_OK;
  const struct trb_table *table = seal_table_after(v->catalogue, 0);
  for (; table && status == TRB_OK; table = seal_table_after(v->catalogue, table->number)) {
    status = verify_table(v, table, slice_of_rows, err);
    if (status == TRB_OK) status = verify_table(v, table, slice_of_shadows, err);
  }
  return status;
}

/* ---- */

static enum trb_status open_files(struct verifying *v, const char *dir, struct trb_error *err) {
  char path[NODE_PATH_MAX];
  if (strlen(dir) >= sizeof v->node.dir) return trb_fail(err, TRB_PEER, "the path is too long");
  strcpy(v->node.dir, dir);
  enum trb_status status = node_load_keyset(&v->node, err);
  if (status == TRB_OK) status = node_path(dir, OUTBOX_FILE, path, err);
  if (status == TRB_OK) status = db_open(path, TRB_DB_READ, BUSY_MS, &v->outbox.db, err);
  if (status == TRB_OK) status = node_path(dir, "replica.db", path, err);
  if (status == TRB_OK) status = db_open(path, TRB_DB_READ, BUSY_MS, &v->replica, err);
  if (status == TRB_OK) status = capture_catalogue(v->replica, &v->catalogue, err);
  return status;
}

static enum trb_status verify_outbox(struct verifying *v, struct trb_error *err) {
  enum trb_status status = db_begin_read(v->outbox.db, err);
  if (status == TRB_OK) status = outbox_reload(&v->outbox, err);
  if (status == TRB_OK) status = verify_file(v, v->outbox.db, err);
  if (status == TRB_OK) status = verify_chain(v, err);
  if (status == TRB_OK) status = verify_digests(v, err);
  db_rollback(v->outbox.db);
  return status;
}

enum trb_status branch_verify(const char *dir, struct branch_report *ret, struct trb_error *err) {
  struct verifying *v = calloc(1, sizeof *v);
  if (!v) return trb_fail(err, TRB_NOMEM, "out of memory");
  *ret = (struct branch_report){0};
  v->report = ret;
  enum trb_status status = open_files(v, dir, err);
  if (status == TRB_OK) status = verify_file(v, v->replica, err);
  if (status == TRB_OK) status = verify_outbox(v, err);
  if (status == TRB_OK) status = verify_rows(v, err);
  db_close(&v->outbox.db);
  db_close(&v->replica);
  catalogue_unref(&v->catalogue);
  free(v);
  return status;
}

bool branch_report_good(const struct branch_report *report) {
  return !report->integrity_errors && !report->chain_errors && !report->ack_errors && !report->digest_errors &&
         !report->row_differences;
}
