/* branch_work: what the daemon does with its files, and when. See node.h.
 *
 * Clients come first. A client without a busy timeout that wants to commit while we read fails, and one that tries
 * again at once fails again every few dozen microseconds until we are done. So we read when nobody writes: SETTLE_US
 * after the last sign of a commit that stands alone, BURST_QUIET_US after the last of many. While a client writes
 * without pause nothing is read for up to FORCE_US, and then only as much as costs it a fraction of a percent of its
 * writes; what has gathered is sealed as soon as it pauses. */
#include <malloc.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "node.h"

#define MS 1000
#define READ_QUIET_US (20 * MS) /* a read transaction when nobody else writes */
#define READ_QUIET_MS 20
#define SETTLE_US (2 * MS)        /* after a commit that stands alone */
#define ALONE_US (100 * MS)       /* no write for so long before it */
#define BURST_QUIET_US (25 * MS)  /* after the last of many */
#define WRITER_IDLE_US (100 * MS) /* a write transaction is open, but nothing happens in it */
#define FORCE_US (10000 * MS)     /* however busy a client is: a short look */
#define FORCE_MARKS 64
#define FORCE_READ_US_MIN 60
#define FORCE_READ_US_MAX 2000
#define FORCE_WRITES_PER_US 8 /* a microsecond of reading in so many writes */
#define RETRY_MIN_MS 1
#define RETRY_MAX_MS 50
#define LOCKED_ALARM_US (3000 * MS)
#define TRIM_AFTER_US (200 * MS)
#define CHECK_US (5000 * MS)
#define GONE_LOOK_US (1000 * MS)     /* replica.db was taken away: is it back? */
#define CHECK_LATEST_US (60000 * MS) /* while a client writes without pause */
#define SCRUB_PAUSE_US (20 * MS)     /* a slice keeps a client's commit out: a sixth of the time at most */
#define SCRUB_EVERY_US (INT64_C(24) * 3600 * 1000 * MS)
#define SCRUB_SLICE_MS 4
#define SCRUB_LOST_US (10000 * MS) /* rows are missing and somebody wrote: are they back? */
/* Writes of what came down: a client without a busy timeout that writes just then fails. So after each slice they stay
 * away for so many times as long as it held the lock: a tenth of the time while a client is at work, a fifth while none
 * is, half of it for the first rows after the enrolment. */
#define APPLY_GAPS_CLIENT 9
#define APPLY_GAPS 4
#define APPLY_GAPS_FIRST 1
#define CLIENT_AT_WORK_US (2000 * MS)
#define APPLY_GAP_US_MIN (5 * MS)
#define APPLY_CALM_US (2 * MS)
#define DAMAGE_SHOWN_MS (INT64_C(24) * 3600 * 1000)
#define OUTBOX_ALARM_BYTES (INT64_C(256) << 20) /* so much not covered by a backup of the hub: somebody should look */

static void sooner(int64_t *due, int64_t us) {
  if (us < *due) *due = us;
}

int64_t work_due_us(const struct node *node) {
  int64_t due = node->due.look;
  if (node->replica_gone) return node->due.check;
  sooner(&due, node->due.apply);
  sooner(&due, node->due.trim);
  sooner(&due, node->due.scrub);
  sooner(&due, node->due.check);
  return due;
}

/* A commit gives several events, as far apart as the disk takes to sync: those of a first one are no burst yet. */
static int64_t quiet_us(const struct node *node, int64_t now) {
  return now - node->burst_us < ALONE_US ? SETTLE_US : BURST_QUIET_US;
}

void work_woken(struct node *node, uint32_t events) {
  int64_t now = seal_now_us();
  if (now - node->event_us >= ALONE_US) node->burst_us = now;
  node->event_us = now;
  node->events += events;
  if (!node->waiting_us) node->waiting_us = now;
  int64_t due = now + quiet_us(node, now);
  if (due > node->waiting_us + FORCE_US) due = node->waiting_us + FORCE_US;
  node->due.look = due;
}

bool work_quiet(const struct node *node) { return seal_now_us() - node->event_us >= BURST_QUIET_US * 2; }

bool work_sealed_all(struct node *node) {
  const struct outbox_state *s = &node->outbox->state;
  return node->due.look == INT64_MAX && s->want == 0 && s->baseline == OUTBOX_BASELINE_NONE && s->late_mark == s->mark;
}

/* ---- locks ---- */

static void locked(struct node *node, int64_t *due) {
  int64_t now = seal_now_us();
  node->locked++;
  if (!node->locked_since_us) node->locked_since_us = now;
  node->retry_ms = node->retry_ms ? node->retry_ms * 2 : RETRY_MIN_MS;
  if (node->retry_ms > RETRY_MAX_MS) node->retry_ms = RETRY_MAX_MS;
  *due = now + node->retry_ms * MS;
  if (now - node->locked_since_us >= LOCKED_ALARM_US) work_lock_seen(node);
}

void work_lock_seen(struct node *node) {
  int pid = replica_lock_holder(&node->replica);
  if (!pid) return;
  node->lock_shown = true;
  node_alarm(
      node, "lock_held",
      "process %d keeps replica.db locked; nothing can be sealed meanwhile: it should end its transaction (COMMIT "
      "or ROLLBACK)",
      pid);
}

static void unlocked(struct node *node) {
  if (node->lock_shown) node_calm(node, "lock_held");
  node->lock_shown = false;
  node->locked_since_us = 0;
  node->retry_ms = 0;
}

/* ---- clock ---- */

/* Marks made before the break was noticed belong to the stretch before, but for a new boot: then those since its
 * beginning. */
enum trb_status work_clock(struct node *node, struct trb_error *err) {
  struct trb_clock_reading now;
  const struct trb_segment *segments = NULL;
  size_t count = 0;
  TRB_ARENA_AUTO arena = {0};
  enum trb_status status = clock_read(&now);
  if (status == TRB_OK) status = outbox_segments(node->outbox, INT64_MAX - 1, &arena, &segments, &count, err);
  if (status != TRB_OK) return status;
  const struct trb_segment *last = count ? &segments[count - 1] : NULL;
  if (last && !clock_segment_breaks(last, &now)) return TRB_OK;
  bool jumped = last && memcmp(last->at.boot_id, now.boot_id, TRB_BOOT_ID_BYTES) == 0;
  uint64_t first = 0;
  int64_t nonce = 0;
  if (jumped) {
    status = seal_last_mark(node->replica.db, &first, &nonce, err);
    first++;
  } else if (!last) {
    first = 1;
  } else {
    status = seal_mark_since(node->replica.db, node->outbox->state.late_mark, now.wall_ms - now.boot_ms, &first, err);
  }
  bool opened = false;
  if (status == TRB_OK) status = outbox_clock(node->outbox, &now, first, &opened, err);
  if (status == TRB_OK && jumped) node_log(5, "the clock of this machine was set; times stay right");
  return status;
}

static enum trb_status store_offset(struct node *node, struct trb_error *err) {
  struct uplink_status line;
  struct trb_clock_reading now;
  if (!node->uplink) return TRB_OK;
  uplink_status(node->uplink, &line);
  if (!line.offset_measured || (node->offset_known && line.hub_minus_boot_ms == node->offset_ms)) return TRB_OK;
  enum trb_status status = clock_read(&now);
  if (status == TRB_OK) status = outbox_measured(node->outbox, now.boot_id, line.hub_minus_boot_ms, err);
  node->offset_known = status == TRB_OK;
  node->offset_ms = line.hub_minus_boot_ms;
  return status;
}

/* ---- schema ---- */

static enum trb_status begin_scrub(struct node *node, struct trb_error *err) {
  enum trb_status status = scrub_start(node->outbox, err);
  node->due.scrub = node->scrub_begun_us = seal_now_us();
  return status;
}

/* True: its rows come from headquarters and are to be asked for. */
static bool table_lost(struct node *node, const struct trb_finding *f, const char *kind) {
  const struct trb_table *table = f->table ? catalogue_table(node->replica.catalogue, f->table) : NULL;
  if (table && seal_table_up(table))
    node_alarm(node, kind,
               "table %s was missing in replica.db and was made again, empty; none of its rows is taken for deleted: "
               "restore replica.db from a backup, or write the rows again",
               f->name);
  return table && !seal_table_up(table);
}

static enum trb_status ask_everything(struct node *node, struct trb_error *err) {
  enum trb_status status = replica_forget(&node->replica, err);
  if (status != TRB_OK || !node->uplink) return status;
  line_stop(node);
  return line_start(node, err);
}

bool work_alarm_stands(struct node *node, const char *kind) {
  int64_t count = 0;
  enum trb_status status = db_get_int(node->outbox->db, NULL, &count,
                                      "SELECT count(*) FROM alarm WHERE kind = ?1 OR kind LIKE ?1 || ':%'", "t", kind);
  return status != TRB_OK || count > 0;
}

bool work_rows_lost(struct node *node) {
  return work_alarm_stands(node, "rows_vanished") || work_alarm_stands(node, "table_lost");
}

static enum trb_status check_schema(struct node *node, struct trb_error *err) {
  struct trb_capture_report report;
  enum trb_status status =
      capture_check(node->replica.db, node->replica.catalogue, &node->replica.schema_version, &report, err);
  if (status != TRB_OK) return status;
  node->sealing.schema_version = node->replica.schema_version;
  bool down_lost = false;
  for (size_t i = 0; i < report.count && i < TRB_FINDINGS_MAX; i++) {
    const struct trb_finding *f = &report.findings[i];
    if (f->damage == TRB_DAMAGE_OTHER) continue;
    char kind[128];
    snprintf(kind, sizeof kind, "%s:%s", f->damage == TRB_DAMAGE_TABLE_MISSING ? "table_lost" : "capture_damaged",
             f->name);
    if (f->damage == TRB_DAMAGE_TABLE_MISSING)
      down_lost |= table_lost(node, f, kind);
    else
      node_alarm(node, kind, "%s: %s", f->name, capture_damage_text(f->damage));
    node_log(4, "replica.db: %s: %s", f->name, capture_damage_text(f->damage));
  }
  if (report.wal_stays)
    node_alarm(node, "journal_wal",
               "a program keeps replica.db in WAL mode: close it, so that the journal can be put right");
  else
    node_calm(node, "journal_wal");
  if (down_lost) status = ask_everything(node, err);
  if (status != TRB_OK) return status;
  return report.scrub ? begin_scrub(node, err) : TRB_OK;
}

/* ---- sealing ---- */

static void sealed(struct node *node, const struct seal_result *result) {
  int64_t now = seal_now_us();
  node->passes++;
  node->batches += result->batches;
  node->changes += result->changes;
  if (result->marks > 0 || result->batches > 0) {
    node->sealed_us = now;
    node->due.trim = now + TRIM_AFTER_US;
  }
  if (result->batches) line_sealed(node);
  if (result->oversized)
    node_alarm(node, "row_too_large", "a row is larger than a batch and cannot be sent; make it smaller");
  node->waiting_us = result->more ? now : 0;
  node->events = 0;
  node->due.look = result->more ? now : INT64_MAX;
}

/* Nobody is about to commit, as far as can be told. */
static bool calm(const struct node *node) {
  int64_t now = seal_now_us(), since = now - node->event_us;
  if (since >= WRITER_IDLE_US) return true;
  return since >= SETTLE_US && !replica_writer_active(&node->replica);
}

/* What may be read although a client writes without pause. An inotify event or four is a write. */
static struct seal_limits forced(const struct node *node) {
  int64_t us = node->events / 4 / FORCE_WRITES_PER_US;
  if (us < FORCE_READ_US_MIN) us = FORCE_READ_US_MIN;
  if (us > FORCE_READ_US_MAX) us = FORCE_READ_US_MAX;
  return (struct seal_limits){.read_us = us, .marks = FORCE_MARKS};
}

static enum trb_status seal_rows(struct node *node, struct trb_error *err) {
  struct trb_clock_reading now;
  struct seal_result result = {0};
  int64_t start = seal_now_us();
  struct seal_limits limits = {.read_us = READ_QUIET_US, .marks = SEAL_MARKS_MAX};
  if (!calm(node)) {
    if (start < node->waiting_us + FORCE_US) {
      node->due.look = start + quiet_us(node, start) / 2;
      return TRB_OK;
    }
    limits = forced(node);
  }
  enum trb_status status = clock_read(&now);
  if (status == TRB_OK) status = work_clock(node, err);
  if (status == TRB_OK && node->outbox->state.baseline)
    status = seal_baseline(&node->sealing, READ_QUIET_MS, &now, &result, err);
  else if (status == TRB_OK)
    status = seal_pass(&node->sealing, limits, &now, &result, err);
  if (status == TRB_OK && result.schema_changed) {
    status = check_schema(node, err);
    if (status == TRB_OK) node->due.look = start;
    return status;
  }
  if (status != TRB_OK) return status;
  if (result.rolled_back) node_log(4, "replica.db is an older copy than what was sealed: a new stream is asked for");
  if (result.lost_table) {
    const struct trb_table *table = catalogue_table(node->replica.catalogue, result.lost_table);
    node_alarm(node, "capture_damaged", "table %s is missing in replica.db; its rows are not taken for deleted",
               table ? table->name : "?");
  }
  sealed(node, &result);
  return TRB_OK;
}

/* The stream's end must be at the hub before it is left for a new one, unless the hub refuses it. */
static void ask_stream(struct node *node) {
  const struct outbox_state *s = &node->outbox->state;
  if (!s->want || node->stream_pending || !node->uplink) return;
  bool unsent = s->want == TRB_STREAM_ROLLED_BACK && s->acked < s->sequence;
  if (!unsent) uplink_want_stream(node->uplink, (enum trb_stream_why)s->want);
}

static enum trb_status look(struct node *node, struct trb_error *err) {
  const struct outbox_state *s = &node->outbox->state;
  node->due.look = INT64_MAX;
  if (s->want || node->stream_pending || node->rotating) { /* goes on when that is settled */
    if (node->stream_pending) node->due.look = seal_now_us();
    return TRB_OK;
  }
  enum trb_status status = seal_rows(node, err);
  if (status == TRB_AGAIN) {
    locked(node, &node->due.look);
    return TRB_OK;
  }
  if (status == TRB_FULL) {
    node_alarm(node, "disk_full", "the disk is full: nothing is lost, but nothing is sealed either; make room");
    node->due.look = seal_now_us() + 1000 * MS;
    return TRB_OK;
  }
  if (status != TRB_OK) return status;
  if (node->locked_since_us || node->lock_shown) unlocked(node);
  return TRB_OK;
}

/* One batch a turn. True in *ret_done when the new stream can begin. */
static enum trb_status recover(struct node *node, bool *ret_done, struct trb_error *err) {
  enum trb_status status = seal_recover(&node->sealing, &node->recovered_sequence, &node->recovered, ret_done, err);
  node->due.look = seal_now_us();
  if (status == TRB_AGAIN) locked(node, &node->due.look);
  if (status == TRB_FULL) node->due.look += 1000 * MS;
  return status == TRB_AGAIN || status == TRB_FULL ? TRB_OK : status;
}

enum trb_status work_start_stream(struct node *node, struct trb_error *err) {
  uint64_t mark = 0;
  int64_t nonce = 0;
  struct uplink_position position = {0};
  bool recovered = node->outbox->state.want != TRB_STREAM_ROLLED_BACK;
  if (!node->stream_pending) return TRB_OK;
  if (node->due.look != INT64_MAX && node->due.look > seal_now_us()) return TRB_OK;
  enum trb_status status = recovered ? TRB_OK : recover(node, &recovered, err);
  if (status != TRB_OK || !recovered) return status;
  status = seal_last_mark(node->replica.db, &mark, &nonce, err);
  if (status == TRB_AGAIN) {
    locked(node, &node->due.look);
    return TRB_OK;
  }
  if (status == TRB_OK) status = outbox_start_stream(node->outbox, node->stream_incarnation, mark, nonce, err);
  if (status != TRB_OK) return status;
  replica_position(&node->replica, position.down_epoch, &position.down_version);
  node->stream_pending = false;
  if (node->recovered)
    node_log(5, "%u values that replica.db had lost were written back from the outbox", node->recovered);
  node->recovered = 0;
  node->recovered_sequence = 0;
  memcpy(position.incarnation, node->stream_incarnation, TRB_INCARNATION_BYTES);
  uplink_stream_started(node->uplink, &position);
  node_log(5, "a new stream was granted; all rows are sealed again in it");
  node->due.look = seal_now_us();
  return TRB_OK;
}

/* ---- down ---- */

void work_down(struct node *node) {
  int64_t now = seal_now_us();
  node->due.apply = now > node->apply_from_us ? now : node->apply_from_us;
}

static void see_clients(struct node *node, int64_t now) {
  int64_t version = node->data_version;
  if (db_get_int(node->replica.db, NULL, &version, "PRAGMA data_version", "") != TRB_OK) return;
  if (version != node->data_version) node->client_us = now;
  node->data_version = version;
}

static int64_t apply_gap(const struct node *node, int64_t held_us, int64_t now) {
  bool client = node->client_us && now - node->client_us < CLIENT_AT_WORK_US;
  int64_t gap = held_us * (client                            ? APPLY_GAPS_CLIENT
                           : node->replica.held_version == 0 ? APPLY_GAPS_FIRST
                                                             : APPLY_GAPS);
  return gap > APPLY_GAP_US_MIN ? gap : APPLY_GAP_US_MIN;
}

/* False: a client is writing now; but it cannot keep what came down out for ever. */
static bool may_apply(struct node *node, int64_t now) {
  if (!node->apply_wait_us) node->apply_wait_us = now;
  if (!calm(node) && now - node->apply_wait_us < FORCE_US) {
    node->due.apply = now + APPLY_CALM_US;
    return false;
  }
  node->apply_wait_us = 0;
  see_clients(node, now);
  return true;
}

/* What stands in the way of a slice; the daemon goes on. */
static enum trb_status apply_failed(struct node *node, enum trb_status status, struct trb_error *err) {
  struct trb_clock_reading reading;
  switch (status) {
    case TRB_AGAIN: locked(node, &node->due.apply); return TRB_OK;
    case TRB_FULL:
      node_alarm(node, "disk_full", "the disk is full: what headquarters sent cannot be stored; make room");
      node->due.apply = seal_now_us() + 1000 * MS;
      return TRB_OK;
    case TRB_PEER:
      if (clock_read(&reading) != TRB_OK) return trb_fail(err, TRB_STORE, "cannot read the clock");
      line_refuse_down(node, &reading, err->text); /* else the core waits for ever that it is applied */
      return TRB_OK;
    case TRB_OK:
    case TRB_DENIED:
    case TRB_ABSENT:
    case TRB_STORE:
    case TRB_NOMEM: break;
  }
  return status;
}

static enum trb_status apply(struct node *node, struct trb_error *err) {
  bool done = false, extended = false;
  int64_t start = seal_now_us();
  node->due.apply = INT64_MAX;
  if (!node->replica.applying || !may_apply(node, start)) return TRB_OK;
  enum trb_status status = replica_apply_step(&node->replica, &done, &extended, err);
  int64_t now = seal_now_us();
  node->apply_from_us = now + apply_gap(node, now - start, now);
  if (extended) {
    seal_forget(&node->sealing);
    node->sealing.catalogue = node->replica.catalogue;
    node->due.look = now;
  }
  if (status != TRB_OK) return apply_failed(node, status, err);
  unlocked(node);
  node->down_us = now;
  if (done)
    line_down_applied(node);
  else
    node->due.apply = node->apply_from_us;
  return TRB_OK;
}

/* ---- the rest ---- */

static enum trb_status trim(struct node *node, struct trb_error *err) {
  int64_t now = seal_now_us();
  bool more = false;
  node->due.trim = INT64_MAX;
  if (now - node->sealed_us < TRIM_AFTER_US || !work_quiet(node)) {
    node->due.trim = now + TRIM_AFTER_US;
    return TRB_OK;
  }
  enum trb_status status = seal_trim(&node->sealing, &more, err);
  if (status == TRB_OK && more) node->due.trim = now + 10 * MS;
  if (status == TRB_AGAIN || status == TRB_FULL) node->due.trim = now + TRIM_AFTER_US;
  return status == TRB_AGAIN || status == TRB_FULL ? TRB_OK : status;
}

static void rows_vanished(struct node *node, const struct trb_table *table, int64_t rows) {
  char kind[96];
  node->scrub_emptied = true;
  snprintf(kind, sizeof kind, "rows_vanished:%s", table->name);
  node_alarm(node, kind,
             "%lld rows of table %s are gone from replica.db without having been deleted; headquarters still has them. "
             "Restore replica.db from a backup, or write these rows again (rows that shall go: then DELETE them)",
             (long long)rows, table->name);
  snprintf(kind, sizeof kind, "table_lost:%s", table->name); /* the one above says more */
  node_calm(node, kind);
}

/* A whole table was looked at and every row is there (again). */
static void rows_complete(struct node *node, uint16_t number, bool made_anew) {
  const struct trb_table *table = catalogue_table(node->replica.catalogue, number);
  char kind[96];
  if (!table) return;
  if (made_anew && capture_settled(node->replica.db, table, NULL) != TRB_OK) return; /* locked: the next scrub */
  snprintf(kind, sizeof kind, "rows_vanished:%s", table->name);
  node_calm(node, kind);
  snprintf(kind, sizeof kind, "table_lost:%s", table->name);
  node_calm(node, kind);
}

static void scrubbed(struct node *node, const struct scrub_result *result) {
  const struct trb_table *table =
      result->emptied_table ? catalogue_table(node->replica.catalogue, result->emptied_table) : NULL;
  if (table) rows_vanished(node, table, result->emptied_rows);
  if (result->missed) {
    node_log(4, "scrub: %u rows had been changed unseen; they are sent now", result->missed);
    node->due.look = seal_now_us();
  }
  if (result->table_done) {
    if (!node->scrub_emptied) rows_complete(node, result->table_done, result->made_anew);
    node->scrub_emptied = false;
  }
  if (result->done) node->scrubbed_us = seal_now_us();
}

static enum trb_status scrub(struct node *node, struct trb_error *err) {
  struct trb_clock_reading now;
  struct scrub_result result = {0};
  const struct outbox_state *s = &node->outbox->state;
  node->due.scrub = INT64_MAX;
  if (!s->scrub) return TRB_OK;
  int64_t start = seal_now_us();
  bool wait =
      !work_quiet(node) || s->want || s->baseline || node->rotating || node->stream_pending || node->replica.applying;
  node->due.scrub = start + (wait ? 200 * MS : SCRUB_PAUSE_US);
  if (wait || clock_read(&now) != TRB_OK) return TRB_OK;
  enum trb_status status = scrub_slice(&node->sealing, SCRUB_SLICE_MS, &now, &result, err);
  if (status == TRB_AGAIN || status == TRB_FULL) {
    node->due.scrub = start + TRIM_AFTER_US;
    return TRB_OK;
  }
  if (status != TRB_OK) return status;
  if (result.pending) {
    sooner(&node->due.look, start);
    node->due.scrub = start + TRIM_AFTER_US;
  }
  scrubbed(node, &result);
  if (result.done) node->due.scrub = INT64_MAX;
  return TRB_OK;
}

static enum trb_status reopen(struct node *node, struct trb_error *err) {
  struct replica fresh = {0};
  enum trb_status status = replica_open(node->dir, &fresh, err);
  if (status != TRB_OK) return status;
  node_log(4, "replica.db was replaced by another file; looking at that one");
  seal_forget(&node->sealing);
  replica_close(&node->replica);
  node->replica = fresh;
  node->sealing.replica = fresh.db;
  node->sealing.catalogue = fresh.catalogue;
  node->sealing.schema_version = -1;
  line_stop(node); /* what the replica holds of what came down is another thing now */
  status = line_start(node, err);
  return status == TRB_OK ? begin_scrub(node, err) : status;
}

static void watch_sizes(struct node *node) {
  int64_t batches = 0, bytes = 0, unacked = 0;
  if (outbox_counts(node->outbox, &batches, &bytes, &unacked, NULL) != TRB_OK) return;
  if (bytes > OUTBOX_ALARM_BYTES)
    node_alarm(node, "outbox_growing",
               "%lld MB of sealed batches are kept: headquarters has not covered them by a verified backup",
               (long long)(bytes >> 20));
  else
    node_calm(node, "outbox_growing");
}

/* replica.db is not the file that is open: another one, between two files, or taken away. Then nothing but this is
 * done, each second, until it is back. */
static enum trb_status see_replica(struct node *node, struct trb_error *err) {
  enum trb_status status = replica_replaced(&node->replica) ? reopen(node, err) : TRB_OK;
  node->replica_gone = status == TRB_STORE || status == TRB_ABSENT || status == TRB_DENIED;
  node->due.check = seal_now_us() + GONE_LOOK_US;
  if (!node->replica_gone) {
    node_calm(node, "replica_missing");
    node->due.look = node->due.check = seal_now_us();
    return status == TRB_AGAIN ? TRB_OK : status;
  }
  if (access(node->dir, F_OK) != 0) return trb_fail(err, TRB_STORE, "the directory %s is gone", node->dir);
  node_alarm(node, "replica_missing",
             "replica.db is missing: restore it from a backup; headquarters has what was acknowledged");
  return TRB_OK;
}

static bool scrub_wanted(struct node *node) {
  int64_t since = seal_now_us() - node->scrubbed_us;
  if (since > SCRUB_EVERY_US) return true;
  return since > SCRUB_LOST_US && node->sealed_us > node->scrub_begun_us && work_rows_lost(node);
}

/* The slow round: what no wake-up tells. */
static enum trb_status check(struct node *node, struct trb_error *err) {
  int64_t now = seal_now_us();
  if (!work_quiet(node) && now - node->checked_us < CHECK_LATEST_US) {
    node->due.check = now + TRIM_AFTER_US;
    return TRB_OK;
  }
  node->checked_us = now;
  node->due.check = now + CHECK_US;
  if (replica_replaced(&node->replica)) return see_replica(node, err);
  enum trb_status status = check_schema(node, err);
  if (status == TRB_OK) status = store_offset(node, err);
  if (status == TRB_OK && !node->outbox->state.scrub && scrub_wanted(node)) status = begin_scrub(node, err);
  if (node->passes != node->trimmed_passes) malloc_trim(0); /* a bulk import must not leave the node large */
  node->trimmed_passes = node->passes;
  watch_sizes(node);
  db_run(node->outbox->db, NULL, "DELETE FROM alarm WHERE kind LIKE 'capture_damaged:%' AND since_ms < ?", "i",
         node_wall_ms() - DAMAGE_SHOWN_MS); /* it was put right: an operator had a day to see it */
  node_calm(node, "disk_full");             /* said again at the next write that fails */
  sooner(&node->due.look, now);
  return status == TRB_AGAIN || status == TRB_FULL ? TRB_OK : status;
}

enum trb_status work_start(struct node *node, struct trb_error *err) {
  int64_t now = seal_now_us();
  node->due.look = node->due.check = now;
  node->due.trim = now + TRIM_AFTER_US;
  node->scrubbed_us = now;
  node_calm(node, "lock_held"); /* of a process of then; said again when it still is so */
  struct trb_error busy;
  enum trb_status status = check_schema(node, &busy);
  if (status == TRB_AGAIN) status = TRB_OK; /* the round does it */
  if (status != TRB_OK) return trb_fail(err, status, "%s", busy.text);
  status = begin_scrub(node, err); /* triggers can be switched off without a trace */
  if (status == TRB_FULL || status == TRB_AGAIN) status = TRB_OK;
  return status;
}

static enum trb_status do_due(struct node *node, int64_t *due,
                              enum trb_status (*task)(struct node *, struct trb_error *), struct trb_error *err) {
  return *due <= seal_now_us() ? task(node, err) : TRB_OK;
}

enum trb_status work_run(struct node *node, struct trb_error *err) {
  if (node->replica_gone) return do_due(node, &node->due.check, see_replica, err);
  enum trb_status status = do_due(node, &node->due.check, check, err);
  if (status == TRB_OK) status = work_start_stream(node, err);
  if (status == TRB_OK) status = do_due(node, &node->due.look, look, err);
  if (status == TRB_OK) status = do_due(node, &node->due.apply, apply, err);
  if (status == TRB_OK) status = do_due(node, &node->due.trim, trim, err);
  if (status == TRB_OK) status = do_due(node, &node->due.scrub, scrub, err);
  ask_stream(node);
  /* SQLite refuses to write a file that was moved: no fault of the step that noticed. */
  if (status == TRB_OK || !replica_replaced(&node->replica)) return status;
  return see_replica(node, err);
}
