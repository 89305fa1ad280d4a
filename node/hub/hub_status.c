/* hub_status: what `tributary status` and `hub sites` say of headquarters, as JSON (include/tributary/hub.h has the
 * members). Reads one snapshot; with a daemon also its sessions. No personal data. */
#include <stdio.h>
#include <string.h>
#include <sys/statvfs.h>

#include "daemon.h"
#include "jout.h"
#include "setaside.h"

enum {
  /* Unless the settings backup_stale_hours, branch_silent_hours, disk_min_mib, clock_off_seconds say otherwise. */
  BACKUP_STALE_HOURS = 26, /* nightly, with room */
  SILENT_HOURS = 24,
  DISK_MIN_MIB = 1024,
  CLOCK_OFF_SECONDS = 300,
};

struct site_view {
  const struct roster_site *known;
  bool daemon, connected, digests_equal, cloned;
  struct session_status session;
  int64_t acked, safe, heard_ms, rejected, differences, forks, down_pending, backlog, bad_batches;
};

static int64_t count_int(struct trb_db *db, const char *sql, int64_t site) {
  int64_t value = 0;
  enum trb_status status = site ? db_get_int(db, NULL, &value, sql, "i", site) : db_get_int(db, NULL, &value, sql, "");
  return status == TRB_OK ? value : 0;
}

static enum trb_status read_stream(struct trb_db *db, struct site_view *v, struct trb_error *err) {
  TRB_STMT_AUTO *stmt = NULL;
  bool row = false;
  enum trb_status status = db_queryf(
      db, err, &stmt, "SELECT sequence, safe, heard_at FROM stream WHERE site=?1 AND current=1", "i", v->known->no);
  if (status == TRB_OK) status = stmt_step(stmt, &row, err);
  if (status == TRB_OK && row) {
    v->acked = stmt_int(stmt, 0);
    v->safe = stmt_int(stmt, 1);
    v->heard_ms = stmt_int(stmt, 2);
  }
  return status;
}

static enum trb_status view_site(const struct status_source *source, const struct roster_site *known,
                                 struct site_view *v, struct trb_error *err) {
  struct trb_db *db = source->db;
  *v = (struct site_view){.known = known};
  enum trb_status status = read_stream(db, v, err);
  if (status != TRB_OK) return status;
  v->rejected = count_int(db, "SELECT count(*) FROM set_aside WHERE site=?1 AND row_id<>''", known->no);
  v->differences = count_int(db, "SELECT count(*) FROM set_aside WHERE site=?1 AND row_id=''", known->no);
  v->forks = count_int(db, "SELECT count(*) FROM fork WHERE site=?1", known->no);
  v->bad_batches = count_int(db, "SELECT coalesce(sum(count),0) FROM bad_batch WHERE site=?1", known->no);
  v->digests_equal = v->differences == 0;
  down_pending(db, known->no, &v->down_pending, NULL);
  struct net_site *site = source->daemon ? net_site_of(source->daemon, known->no) : NULL;
  if (!site || !site->session) return TRB_OK;
  session_status(site->session, &v->session);
  v->daemon = true;
  v->cloned = site->cloned;
  v->connected = v->session.online && site->routed && !site->gone;
  v->backlog = (int64_t)v->session.backlog;
  if (v->session.heard_hub_ms > v->heard_ms) v->heard_ms = v->session.heard_hub_ms;
  return TRB_OK;
}

/* As at the branch (branch.h): everything saved there is here, held or set aside, and the digests are equal. What is
 * set aside is an alarm on both sides. Only a branch that can be heard can be vouched for, and what waits to go down
 * waits here. */
static bool site_in_sync(const struct site_view *v) {
  return v->connected && v->digests_equal && !v->backlog && !v->down_pending && v->session.in_flight_bytes == 0 &&
         v->session.hold_code == 0;
}

static enum trb_status put_digests(const struct status_source *source, int64_t site, struct trb_buf *out,
                                   struct trb_error *err) {
  TRB_STMT_AUTO *stmt = NULL;
  struct trb_catalogue *catalogue = source->daemon ? catalogue_ref(source->daemon->catalogue) : catalogue_builtin();
  enum trb_status status =
      db_queryf(source->db, err, &stmt, "SELECT tbl, rows, sum FROM digest WHERE site=?1 ORDER BY tbl", "i", site);
  bool row = status == TRB_OK;
  jout_open(out, "digests", '{');
  while (status == TRB_OK && (status = stmt_step(stmt, &row, err)) == TRB_OK && row) {
    char name[48], sum[17];
    const struct trb_table *table = catalogue_table(catalogue, (uint16_t)stmt_int(stmt, 0));
    snprintf(name, sizeof name, "%lld", (long long)stmt_int(stmt, 0));
    snprintf(sum, sizeof sum, "%016llx", (unsigned long long)stmt_int(stmt, 2));
    jout_open(out, table ? table->name : name, '{');
    jout_int(out, "rows", stmt_int(stmt, 1));
    jout_str(out, "sum", sum);
    jout_close(out, '}');
  }
  jout_close(out, '}');
  catalogue_unref(&catalogue);
  return status;
}

static enum trb_status put_site(const struct status_source *source, const struct site_view *v, struct trb_buf *out,
                                struct trb_error *err) {
  jout_open(out, NULL, '{');
  jout_str(out, "site", v->known->name);
  jout_str(out, "state", roster_state_name(v->known->state));
  jout_bool(out, "connected", v->connected);
  jout_bool(out, "in_sync", site_in_sync(v));
  jout_str(out, "version", v->session.software);
  jout_int(out, "last_heard_ms", v->heard_ms);
  jout_int(out, "acked_sequence", v->acked);
  jout_int(out, "safe_sequence", v->safe);
  jout_int(out, "backlog", v->backlog);
  jout_int(out, "in_flight_bytes", (int64_t)v->session.in_flight_bytes);
  jout_int(out, "down_pending", v->down_pending);
  jout_int(out, "rejected", v->rejected);
  jout_int(out, "forks", v->forks);
  jout_int(out, "bad_batches", v->bad_batches);
  jout_int(out, "hold_code", v->session.hold_code);
  if (v->session.clock_known) jout_int(out, "clock_skew_ms", v->session.clock_skew_ms);
  jout_bool(out, "digests_equal", v->digests_equal);
  enum trb_status status = put_digests(source, v->known->no, out, err);
  jout_close(out, '}');
  return status;
}

/* ---- alarms ---- */

static void alarm_of(struct trb_buf *out, const char *name, const char *site, const char *text) {
  jout_open(out, NULL, '{');
  jout_str(out, "name", name);
  jout_str(out, "site", site);
  jout_str(out, "text", text);
  jout_close(out, '}');
}

static void site_alarms(const struct status_source *source, const struct site_view *v, int64_t now_ms,
                        struct trb_buf *out) {
  const char *site = v->known->name;
  char text[200];
  int64_t hours = store_setting_int(source->db, "branch_silent_hours", SILENT_HOURS);
  if (v->known->state == ROSTER_OPEN && !v->connected && v->heard_ms && now_ms - v->heard_ms > hours * 3600000) {
    snprintf(text, sizeof text, "not heard for %lld hours", (long long)((now_ms - v->heard_ms) / 3600000));
    alarm_of(out, "branch_silent", site, text);
  }
  if (v->rejected) {
    snprintf(text, sizeof text, "%lld changes are set aside: tributary rejected DIR", (long long)v->rejected);
    alarm_of(out, "rejected", site, text);
  }
  if (v->differences)
    alarm_of(out, "digest_differs", site, "what headquarters holds differs from what the branch says it sent");
  if (v->forks) alarm_of(out, "fork", site, "a batch was set aside that another one had taken the number of");
  if (v->bad_batches) alarm_of(out, "bad_batch", site, "damaged batches were refused");
  if (v->cloned)
    alarm_of(out, "cloned", site, "two machines with the same keys take turns: revoke, and invite one anew");
  int64_t off_ms = store_setting_int(source->db, "clock_off_seconds", CLOCK_OFF_SECONDS) * 1000;
  if (v->session.clock_known && (v->session.clock_skew_ms > off_ms || v->session.clock_skew_ms < -off_ms)) {
    snprintf(text, sizeof text, "the branch's clock is off by %lld s (times are corrected)",
             (long long)(v->session.clock_skew_ms / 1000));
    alarm_of(out, "clock_off", site, text);
  }
}

static int64_t last_backup_ms(struct trb_db *db) {
  return count_int(db, "SELECT coalesce(max(verified_at),0) FROM backup", 0);
}

static void hub_alarms(const struct status_source *source, int64_t now_ms, struct trb_buf *out) {
  int64_t backup = last_backup_ms(source->db);
  int64_t stale_hours = store_setting_int(source->db, "backup_stale_hours", BACKUP_STALE_HOURS);
  int64_t disk_mib = store_setting_int(source->db, "disk_min_mib", DISK_MIN_MIB);
  char text[120];
  struct statvfs fs;
  if (!backup)
    alarm_of(out, "backup_stale", "", "there is no verified backup yet: tributary hub backup DIR FILE");
  else if (now_ms - backup > stale_hours * 3600000) {
    snprintf(text, sizeof text, "the last verified backup is older than %lld hours", (long long)stale_hours);
    alarm_of(out, "backup_stale", "", text);
  }
  if (statvfs(source->dir, &fs) == 0 && (uint64_t)fs.f_bavail * fs.f_frsize >> 20 < (uint64_t)disk_mib) {
    snprintf(text, sizeof text, "less than %lld MiB is left on hub.db's disk", (long long)disk_mib);
    alarm_of(out, "disk_low", "", text);
  }
  if (count_int(source->db, "SELECT coalesce((SELECT value FROM hub_state WHERE name='hold'),0)", 0))
    alarm_of(out, "held", "", "restored without its journal: look at what is missing, then tributary hub go DIR");
  if (source->daemon && atomic_load(&source->daemon->writer.counters.failing))
    alarm_of(out, "store_failing", "", "hub.db cannot be written: see the log; branches wait, nothing is lost");
}

/* ---- the whole ---- */

static void put_head(const struct status_source *source, struct trb_buf *out) {
  struct trb_db *db = source->db;
  TRB_BUF_AUTO epoch = {0};
  store_setting(db, "epoch", &epoch, NULL);
  jout_str(out, "role", "hub");
  jout_str(out, "name", source->conf->name);
  jout_bool(out, "running", source->daemon != NULL);
  jout_str(out, "listen", source->daemon ? link_server_endpoint(source->daemon->server) : source->conf->listen);
  jout_str(out, "advertise", source->conf->advertise);
  jout_int(out, "records", count_int(db, "SELECT count(*) FROM customer", 0));
  jout_int(out, "parties", count_int(db, "SELECT count(*) FROM unified_customer", 0));
  jout_int(out, "rejected", count_int(db, "SELECT count(*) FROM set_aside WHERE row_id<>''", 0));
  jout_bool(out, "held", count_int(db, "SELECT coalesce((SELECT value FROM hub_state WHERE name='hold'),0)", 0) != 0);
  jout_int(out, "last_backup_ms", last_backup_ms(db));
  jout_text(out, "epoch", trb_buf_slice(&epoch));
}

static enum trb_status put_sites(const struct status_source *source, struct trb_buf *out, struct trb_buf *alarms,
                                 struct trb_error *err) {
  int64_t now_ms = writer_now_ms();
  bool all_in_sync = true;
  enum trb_status status = TRB_OK;
  hub_alarms(source, now_ms, alarms);
  jout_open(out, "sites", '[');
  for (size_t i = 0; status == TRB_OK && i < source->roster->count; i++) {
    struct site_view v;
    status = view_site(source, &source->roster->sites[i], &v, err);
    if (status == TRB_OK) status = put_site(source, &v, out, err);
    if (status == TRB_OK) site_alarms(source, &v, now_ms, alarms);
    if (status == TRB_OK && v.known->state == ROSTER_OPEN) all_in_sync &= site_in_sync(&v);
  }
  jout_close(out, ']');
  jout_bool(out, "in_sync", all_in_sync);
  return status;
}

enum trb_status hub_status(const struct status_source *source, struct trb_buf *out, struct trb_error *err) {
  TRB_BUF_AUTO alarms = {0};
  enum trb_status status = db_begin_read(source->db, err);
  if (status != TRB_OK) return status;
  jout_open(&alarms, NULL, '[');
  jout_open(out, NULL, '{');
  put_head(source, out);
  status = put_sites(source, out, &alarms, err);
  db_rollback(source->db);
  jout_close(&alarms, ']');
  if (status != TRB_OK) return status;
  trb_buf_append_str(out, ",\"alarms\":");
  trb_buf_append_slice(out, trb_buf_slice(&alarms));
  jout_close(out, '}');
  return out->failed || alarms.failed ? trb_fail(err, TRB_NOMEM, "out of memory") : TRB_OK;
}
