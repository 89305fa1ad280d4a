/* down: see down.h and unify.h. The table of entries; rendering is in down_render.c. */
#include "down.h"

#include "timeline.h"
#include "tributary/unify.h"

enum trb_status down_version_read(struct trb_db *db, int64_t *ret, struct trb_error *err) {
  int64_t version = 0;
  enum trb_status status =
      db_get_int(db, NULL, &version, "SELECT value FROM unify_state WHERE name = 'down_version'", "");
  if (status != TRB_OK && status != TRB_ABSENT)
    return trb_fail(err, status, "hub.db: the version of down entries cannot be read");
  *ret = version;
  return TRB_OK;
}

enum trb_status down_version_write(struct trb_db *db, int64_t version, struct trb_error *err) {
  return db_run(db, err, "INSERT OR REPLACE INTO unify_state(name, value) VALUES('down_version', ?1)", "i", version);
}

enum trb_status down_put(struct trb_db *db, int64_t site, enum down_kind kind, int64_t num, struct trb_slice gone,
                         int64_t *version, struct trb_error *err) {
  enum trb_status status = db_run(db, err,
                                  "INSERT INTO down(site, kind, num, gone, version) VALUES(?1, ?2, ?3, ?4, ?5) "
                                  "ON CONFLICT(site, kind, num, gone) DO UPDATE SET version = excluded.version",
                                  "iiisi", site, (int64_t)kind, num, gone, *version + 1);
  if (status == TRB_OK) ++*version;
  return status;
}

/* ---- what hangs on a record ---- */

struct events_to {
  down_visit visit;
  void *context;
};
static enum trb_status visit_event(void *context, const struct timeline_event *event, struct trb_error *err) {
  const struct events_to *to = context;
  return to->visit(to->context, event->table, event->rid, err);
}

static const char *const KEYED_SQL = /* contacts past those of the RECORD entry, preferences, tags */
    "SELECT tbl, rid FROM row_key WHERE rec = ?1 AND tbl IN (10, 27) AND part <= 1 UNION ALL "
    "SELECT * FROM (SELECT DISTINCT tbl, rid FROM row_key WHERE rec = ?1 AND tbl = 3 ORDER BY rid LIMIT -1 OFFSET ?2)";
static const char *const RELATIONS_SQL =
    "SELECT 7, _rid FROM relation WHERE customer_id = ?2 AND (customer_site = ?3 OR (customer_site IS NULL AND _site = "
    "?1))";

static enum trb_status visit_all(struct trb_stmt *stmt, down_visit visit, void *context, struct trb_error *err) {
  bool row = true;
  enum trb_status status;
  while ((status = stmt_step(stmt, &row, err)) == TRB_OK && row)
    if ((status = visit(context, (uint16_t)stmt_int(stmt, 0), stmt_int(stmt, 1), err)) != TRB_OK) return status;
  return status;
}

enum trb_status down_keyed_of_record(struct trb_db *db, int64_t rec, down_visit visit, void *context,
                                     struct trb_error *err) {
  TRB_STMT_AUTO *keyed = NULL;
  enum trb_status status = db_queryf(db, err, &keyed, KEYED_SQL, "ii", rec, (int64_t)DOWN_CONTACTS_MAX);
  return status == TRB_OK ? visit_all(keyed, visit, context, err) : status;
}

enum trb_status down_rows_of_record(struct trb_db *db, int64_t rec, down_visit visit, void *context,
                                    struct trb_error *err) {
  enum trb_status status = down_keyed_of_record(db, rec, visit, context, err);
  TRB_STMT_AUTO *record = NULL;
  if (status == TRB_OK)
    status = db_queryf(db, err, &record,
                       "SELECT r.site, r.id, s.name FROM record r JOIN site_no s ON s.no = r.site WHERE r.rec = ?1",
                       "i", rec);
  bool row = false;
  if (status == TRB_OK) status = stmt_step(record, &row, err);
  if (status != TRB_OK || !row) return status;
  TRB_STMT_AUTO *relations = NULL;
  status = db_queryf(db, err, &relations, RELATIONS_SQL, "ist", stmt_int(record, 0), stmt_slice(record, 1),
                     stmt_text(record, 2));
  if (status == TRB_OK) status = visit_all(relations, visit, context, err);
  struct events_to to = {visit, context};
  if (status == TRB_OK)
    status =
        timeline_of_record(db, stmt_int(record, 0), stmt_text(record, 2), stmt_slice(record, 1), visit_event, &to, err);
  return status;
}

/* ---- snapshot, clearing, counting ---- */

struct snapshot {
  struct trb_db *db;
  int64_t site, version;
};
static enum trb_status snapshot_row(void *context, uint16_t table, int64_t rid, struct trb_error *err) {
  struct snapshot *s = context;
  return down_put(s->db, s->site, DOWN_ROW, down_num(table, rid), (struct trb_slice){0}, &s->version, err);
}

/* Every record of every party in which the site holds a live record. */
static const char *const SEEN_SQL =
    "SELECT m.rec FROM (SELECT DISTINCT coalesce(party, rec) AS party FROM record WHERE site = ?1 AND class <> 0) p "
    "JOIN record m ON m.rec = p.party UNION ALL "
    "SELECT m.rec FROM (SELECT DISTINCT coalesce(party, rec) AS party FROM record WHERE site = ?1 AND class <> 0) p "
    "JOIN record m ON m.party = p.party";

static enum trb_status snapshot_parties(struct snapshot *s, struct trb_error *err) {
  TRB_STMT_AUTO *stmt = NULL;
  enum trb_status status = db_queryf(s->db, err, &stmt, SEEN_SQL, "i", s->site);
  bool row = true;
  while (status == TRB_OK && (status = stmt_step(stmt, &row, err)) == TRB_OK && row) {
    int64_t rec = stmt_int(stmt, 0);
    status = down_put(s->db, s->site, DOWN_RECORD, rec, (struct trb_slice){0}, &s->version, err);
    if (status == TRB_OK) status = down_rows_of_record(s->db, rec, snapshot_row, s, err);
  }
  return status;
}

enum trb_status down_put_parties(struct trb_db *db, int64_t site, int64_t *version, struct trb_error *err) {
  struct snapshot s = {.db = db, .site = site, .version = *version};
  enum trb_status status = snapshot_parties(&s, err);
  *version = s.version;
  return status;
}

/* Headquarters' tables: as they were last noted for all. */
static enum trb_status snapshot_headquarters(struct snapshot *s, struct trb_error *err) {
  TRB_STMT_AUTO *stmt = NULL;
  enum trb_status status =
      db_queryf(s->db, err, &stmt, "SELECT num FROM down WHERE site = 0 AND kind = ?1", "i", (int64_t)DOWN_ROW);
  bool row = true;
  while (status == TRB_OK && (status = stmt_step(stmt, &row, err)) == TRB_OK && row)
    status = snapshot_row(s, down_num_table(stmt_int(stmt, 0)), down_num_rid(stmt_int(stmt, 0)), err);
  return status;
}

static enum trb_status snapshot_rejected(struct snapshot *s, struct trb_error *err) {
  TRB_STMT_AUTO *stmt = NULL;
  enum trb_status status =
      db_queryf(s->db, err, &stmt, "SELECT rid FROM rejected_change_of WHERE site = ?1", "i", s->site);
  bool row = true;
  while (status == TRB_OK && (status = stmt_step(stmt, &row, err)) == TRB_OK && row)
    status = snapshot_row(s, TRB_T_rejected_change, stmt_int(stmt, 0), err);
  return status;
}

enum trb_status down_snapshot(struct trb_db *writer, int64_t site, struct trb_error *err) {
  struct snapshot s = {.db = writer, .site = site};
  enum trb_status status = down_version_read(writer, &s.version, err);
  int64_t first = s.version + 1;
  if (status == TRB_OK) status = db_run(writer, err, "DELETE FROM down WHERE site = ?1", "i", site);
  if (status == TRB_OK) status = snapshot_headquarters(&s, err);
  if (status == TRB_OK) status = snapshot_rejected(&s, err);
  if (status == TRB_OK) status = snapshot_parties(&s, err);
  if (status == TRB_OK && s.version < first)
    s.version = first; /* an empty one still has its own version to be acknowledged */
  if (status == TRB_OK)
    status = db_run(writer, err,
                    "INSERT OR REPLACE INTO down_snapshot(site, first_version, last_version) VALUES(?1, ?2, ?3)", "iii",
                    site, first, s.version);
  return status == TRB_OK ? down_version_write(writer, s.version, err) : status;
}

enum trb_status down_clear(struct trb_db *writer, int64_t site, uint64_t version, struct trb_error *err) {
  enum trb_status status =
      db_run(writer, err, "DELETE FROM down WHERE site = ?1 AND version <= ?2", "ii", site, (int64_t)version);
  if (status == TRB_OK) /* the snapshot is held: from here on only changes */
    status = db_run(writer, err, "INSERT OR REPLACE INTO down_held(site, version) VALUES(?1, ?2)", "ii", site,
                    (int64_t)version);
  return status;
}

enum trb_status down_pending(struct trb_db *db, int64_t site, int64_t *ret_count, struct trb_error *err) {
  return db_get_int(
      db, err, ret_count,
      "SELECT (SELECT count(*) FROM down WHERE site = ?1) + (SELECT count(*) FROM down WHERE site = 0 AND version > "
      "coalesce((SELECT max(version) FROM (SELECT version FROM down_held WHERE site = ?1 UNION ALL "
      "SELECT first_version FROM down_snapshot WHERE site = ?1)), 0))",
      "i", site);
}
