/* verify: see verify.h. */
#include "verify.h"

#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include "jout.h"
#include "setaside.h"
#include "store.h"

static void __attribute__((format(printf, 3, 4)))
wrong(struct hub_report *r, int64_t *counter, const char *format, ...) {
  ++*counter;
  if (r->first[0]) return;
  va_list args;
  va_start(args, format);
  vsnprintf(r->first, sizeof r->first, format, args);
  va_end(args);
}

static enum trb_status check_integrity(struct trb_db *db, struct hub_report *r, struct trb_error *err) {
  TRB_STMT_AUTO *stmt = NULL;
  enum trb_status status = db_queryf(db, err, &stmt, "PRAGMA integrity_check(20)", "");
  bool row = status == TRB_OK;
  while (status == TRB_OK && (status = stmt_step(stmt, &row, err)) == TRB_OK && row)
    if (strcmp(stmt_text(stmt, 0), "ok") != 0)
      wrong(r, &r->integrity_errors, "the file is damaged: %.200s", stmt_text(stmt, 0));
  return status;
}

/* Each stream: hashes 1 to its end without gaps, the last one the stream's own. */
static enum trb_status check_chains(struct trb_db *db, struct hub_report *r, struct trb_error *err) {
  TRB_STMT_AUTO *stmt = NULL;
  enum trb_status status = db_queryf(
      db, err, &stmt,
      "SELECT n.name, s.sequence, count(b.sequence), coalesce(min(b.sequence),0), coalesce(max(b.sequence),0),"
      " s.sequence=0 OR (SELECT hash FROM batch_hash WHERE stream=s.no AND sequence=s.sequence)=s.hash,"
      " coalesce(sum(length(b.hash)<>32),0)"
      " FROM stream s JOIN site_no n ON n.no=s.site LEFT JOIN batch_hash b ON b.stream=s.no GROUP BY s.no",
      "");
  bool row = status == TRB_OK;
  while (status == TRB_OK && (status = stmt_step(stmt, &row, err)) == TRB_OK && row) {
    int64_t end = stmt_int(stmt, 1), count = stmt_int(stmt, 2);
    r->streams++;
    r->batches += count;
    bool whole = count == end && (end == 0 || (stmt_int(stmt, 3) == 1 && stmt_int(stmt, 4) == end));
    if (!whole || !stmt_int(stmt, 5) || stmt_int(stmt, 6))
      wrong(r, &r->chain_errors, "the chain of '%s' does not hold: %lld hashes up to batch %lld", stmt_text(stmt, 0),
            (long long)count, (long long)end);
  }
  return status;
}

struct place {
  int64_t site;
  uint16_t table;
};

static enum trb_status list_places(struct trb_db *db, struct trb_arena *arena, struct place **ret, size_t *ret_count,
                                   struct trb_error *err) {
  TRB_STMT_AUTO *stmt = NULL;
  int64_t count = 0;
  enum trb_status status = db_get_int(
      db, err, &count,
      "SELECT count(*) FROM (SELECT site, tbl FROM digest UNION SELECT site, tbl FROM set_aside WHERE row_id<>'')", "");
  if (status != TRB_OK) return status;
  struct place *places = trb_arena_alloc(arena, (size_t)count * sizeof *places);
  if (!places) return trb_fail(err, TRB_NOMEM, "out of memory");
  status = db_queryf(db, err, &stmt,
                     "SELECT site, tbl FROM digest UNION SELECT site, tbl FROM set_aside WHERE row_id<>''", "");
  bool row = status == TRB_OK;
  size_t n = 0;
  while (status == TRB_OK && (status = stmt_step(stmt, &row, err)) == TRB_OK && row && n < (size_t)count)
    places[n++] = (struct place){stmt_int(stmt, 0), (uint16_t)stmt_int(stmt, 1)};
  *ret = places;
  *ret_count = n;
  return status;
}

static enum trb_status check_place(struct trb_db *db, struct rows *rows, const struct trb_catalogue *catalogue,
                                   const struct place *place, struct hub_report *r, struct trb_error *err) {
  struct setaside_sum sum;
  enum trb_status status = setaside_table_digest(db, rows, catalogue, place->site, place->table, &sum, err);
  if (status != TRB_OK) return status;
  TRB_STMT_AUTO *stmt = NULL;
  bool row = false;
  status = db_queryf(db, err, &stmt, "SELECT rows, sum FROM digest WHERE site=?1 AND tbl=?2", "ii", place->site,
                     (int64_t)place->table);
  if (status == TRB_OK) status = stmt_step(stmt, &row, err);
  if (status != TRB_OK) return status;
  int64_t stored_rows = row ? stmt_int(stmt, 0) : 0;
  uint64_t stored_sum = row ? (uint64_t)stmt_int(stmt, 1) : 0;
  r->tables++;
  r->rows_digested += sum.rows;
  const struct trb_table *table = catalogue_table(catalogue, place->table);
  const char *name = table ? table->name : "of a table this version does not know";
  if (stored_rows != sum.rows)
    wrong(r, &r->digest_errors, "site %lld, table %u (%s): the digest says %lld rows, there are %lld",
          (long long)place->site, place->table, name, (long long)stored_rows, (long long)sum.rows);
  else if (stored_sum != sum.sum)
    wrong(r, &r->digest_errors, "site %lld, table %u (%s): the digest's hash differs from that of the %lld rows there",
          (long long)place->site, place->table, name, (long long)sum.rows);
  return TRB_OK;
}

static enum trb_status check_digests(struct trb_db *db, struct trb_catalogue *catalogue, struct hub_report *r,
                                     struct trb_error *err) {
  TRB_ARENA_AUTO arena = {0};
  struct place *places = NULL;
  struct rows *rows = NULL;
  size_t count = 0;
  enum trb_status status = list_places(db, &arena, &places, &count, err);
  if (status == TRB_OK) status = rows_new(db, catalogue, &rows, err);
  for (size_t i = 0; status == TRB_OK && i < count; i++) status = check_place(db, rows, catalogue, &places[i], r, err);
  rows_free(&rows);
  if (status != TRB_OK) return status;
  return db_get_int(db, err, &r->digest_differences, "SELECT count(*) FROM set_aside WHERE row_id=''", "");
}

static enum trb_status check_unify(struct trb_db *db, const struct trb_catalogue *catalogue, struct hub_report *r,
                                   struct trb_error *err) {
  enum trb_status status = unify_verify(db, catalogue, &r->unify, err);
  if (status != TRB_OK) return status;
  int64_t differences = r->unify.claim_differences + r->unify.party_differences + r->unify.golden_differences;
  int64_t ignored = 0;
  if (differences)
    wrong(r, &ignored,
          "the unified view differs from what its source rows say: %lld claims, %lld parties, %lld golden rows",
          (long long)r->unify.claim_differences, (long long)r->unify.party_differences,
          (long long)r->unify.golden_differences);
  return TRB_OK;
}

enum trb_status hub_verify(const char *path, struct hub_report *ret, struct trb_error *err) {
  struct trb_db *db = NULL;
  struct trb_catalogue *catalogue = NULL;
  *ret = (struct hub_report){0};
  enum trb_status status = db_open(path, TRB_DB_READ, STORE_BUSY_MS, &db, err);
  if (status == TRB_OK) status = db_begin_read(db, err);
  if (status == TRB_OK) status = check_integrity(db, ret, err);
  if (status == TRB_OK) status = store_load_catalogue(db, &catalogue, err);
  if (status == TRB_OK) status = check_chains(db, ret, err);
  if (status == TRB_OK) status = check_digests(db, catalogue, ret, err);
  if (status == TRB_OK) status = check_unify(db, catalogue, ret, err);
  catalogue_unref(&catalogue);
  db_close(&db);
  return status;
}

bool hub_report_good(const struct hub_report *r) {
  return !r->integrity_errors && !r->chain_errors && !r->digest_errors && !r->unify.claim_differences &&
         !r->unify.party_differences && !r->unify.golden_differences;
}

void hub_report_json(const struct hub_report *r, struct trb_buf *out) {
  jout_open(out, NULL, '{');
  jout_bool(out, "good", hub_report_good(r));
  jout_str(out, "first", r->first);
  jout_int(out, "integrity_errors", r->integrity_errors);
  jout_int(out, "streams", r->streams);
  jout_int(out, "batches", r->batches);
  jout_int(out, "chain_errors", r->chain_errors);
  jout_int(out, "tables_digested", r->tables);
  jout_int(out, "rows_digested", r->rows_digested);
  jout_int(out, "digest_errors", r->digest_errors);
  jout_int(out, "digest_differences", r->digest_differences);
  jout_int(out, "records", r->unify.records);
  jout_int(out, "claims", r->unify.claims);
  jout_int(out, "parties", r->unify.parties);
  jout_int(out, "claim_differences", r->unify.claim_differences);
  jout_int(out, "party_differences", r->unify.party_differences);
  jout_int(out, "golden_differences", r->unify.golden_differences);
  jout_close(out, '}');
}
