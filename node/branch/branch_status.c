/* branch_status: what `status` and `metrics` answer; with the daemon or from the files alone. See branch.h and node.h.
 */
#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "node.h"

/* ---- JSON, as much of it as this file needs ---- */

static void put_text(struct trb_buf *out, struct trb_slice s) {
  trb_buf_append_byte(out, '"');
  for (size_t i = 0; i < s.len; i++) {
    uint8_t c = s.data[i];
    if (c == '"' || c == '\\') trb_buf_append_byte(out, '\\');
    if (c < 0x20 || c == 0x7f)
      trb_buf_printf(out, "\\u%04x", c);
    else
      trb_buf_append_byte(out, c);
  }
  trb_buf_append_byte(out, '"');
}

static void put_key(struct trb_buf *out, const char *name) {
  if (out->len && out->data[out->len - 1] != '{') trb_buf_append_byte(out, ',');
  trb_buf_printf(out, "\"%s\":", name);
}

static void put_str(struct trb_buf *out, const char *name, const char *value) {
  put_key(out, name);
  struct trb_slice s = trb_slice_str(value);
  put_text(out, trb_utf8_valid(s) ? s : trb_slice_str("?"));
}

static void put_int(struct trb_buf *out, const char *name, int64_t value) {
  put_key(out, name);
  trb_buf_printf(out, "%" PRId64, value);
}

static void put_bool(struct trb_buf *out, const char *name, bool value) {
  put_key(out, name);
  trb_buf_append_str(out, value ? "true" : "false");
}

/* ---- in sync? ---- */

#define TRIES 200 /* of a millisecond: a client's commit may be under way */

/* *known: what the query gives, or stays as last known when replica.db is locked for longer (then *locked, and the next
 * one does not wait). */
static enum trb_status try_count(struct node *node, const char *sql, int64_t *known, bool *locked,
                                 struct trb_error *err) {
  int64_t count = 0;
  enum trb_status status = TRB_AGAIN;
  for (int i = 0; i < (*locked ? 1 : TRIES) && status == TRB_AGAIN; i++) {
    if (i) link_wait(NULL, NULL, NULL, NULL, 0, 1, NULL);
    status = sql ? db_get_int(node->replica.db, err, &count, sql, "")
                 : seal_unsealed(node->replica.db, node->outbox->state.late_mark, &count, err);
  }
  *locked |= status == TRB_AGAIN;
  if (status == TRB_OK) *known = count;
  return status == TRB_AGAIN ? TRB_OK : status;
}

enum trb_status status_sync(struct node *node, struct node_sync *ret, struct trb_error *err) {
  const struct outbox_state *s = &node->outbox->state;
  struct node_known *known = &node->known;
  struct uplink_status line = {0};
  struct node_sync sync = {0};
  if (node->uplink) uplink_status(node->uplink, &line);
  enum trb_status status = try_count(node, NULL, &known->unsealed, &sync.locked, err);
  if (status == TRB_OK)
    status = try_count(node, "SELECT count(*) FROM rejected_change WHERE reason_code = 'digest'", &known->differing,
                       &sync.locked, err);
  if (status != TRB_OK) return status;
  if (sync.locked) work_lock_seen(node);
  sync.unsealed = known->unsealed;
  sync.held = line.state == UPLINK_HELD && line.hold_code != 0;
  sync.all_sealed = !sync.locked && sync.unsealed == 0 && !s->want && !s->baseline;
  sync.all_acked = s->acked == s->sequence;
  sync.digests_equal = sync.all_sealed && sync.all_acked && known->differing == 0;
  sync.rows_lost = work_rows_lost(node);
  sync.refused = line.state == UPLINK_REFUSED || work_alarm_stands(node, "key_refused");
  sync.in_sync = sync.digests_equal && !sync.rows_lost && !sync.held && !sync.refused && !node->stream_pending;
  *ret = sync;
  return TRB_OK;
}

/* ---- status ---- */

static const char *state_name(const struct node *node, const struct uplink_status *line) {
  static const char *const names[] = {"offline", "connecting", "online", "held", "refused"};
  return node->uplink ? names[line->state] : "not running";
}

static enum trb_status put_digests(struct node *node, struct trb_buf *out, struct trb_error *err) {
  struct sealer_digests digests;
  enum trb_status status = outbox_digests(node->outbox, &digests, err);
  put_key(out, "digests");
  trb_buf_append_byte(out, '{');
  for (size_t i = 0; i < digests.count && status == TRB_OK; i++) {
    const struct trb_table *table = catalogue_table(node->replica.catalogue, digests.table[i].table);
    if (!table) continue;
    put_key(out, table->name);
    trb_buf_printf(out, "{\"rows\":%" PRIu64 ",\"sum\":\"%016" PRIx64 "\"}", digests.table[i].rows,
                   digests.table[i].sum);
  }
  trb_buf_append_byte(out, '}');
  return status;
}

static void put_alarm(struct trb_buf *out, const char *name, struct trb_slice text, int64_t since_ms) {
  if (out->len && out->data[out->len - 1] != '[') trb_buf_append_byte(out, ',');
  trb_buf_append_byte(out, '{');
  put_str(out, "name", name);
  put_key(out, "text");
  put_text(out, text);
  put_int(out, "since_ms", since_ms);
  trb_buf_append_byte(out, '}');
}

/* Marks of a boot in which no offset to headquarters' clock was ever measured: a jump then cannot be known. */
static enum trb_status put_clock(struct node *node, struct trb_buf *out, int64_t *ret_unsure, struct trb_error *err) {
  int64_t all = 0;
  enum trb_status status =
      db_get_int(node->outbox->db, err, ret_unsure, "SELECT count(*) FROM segment WHERE measured = 0", "");
  if (status == TRB_OK) status = db_get_int(node->outbox->db, err, &all, "SELECT count(*) FROM segment", "");
  put_key(out, "clock");
  trb_buf_append_byte(out, '{');
  put_int(out, "verified", all - *ret_unsure);
  put_int(out, "unverified", *ret_unsure);
  trb_buf_append_byte(out, '}');
  return status;
}

static enum trb_status put_alarms(struct node *node, const struct node_sync *sync, const struct uplink_status *line,
                                  int64_t refused, int64_t unsure, struct trb_buf *out, struct trb_error *err) {
  TRB_STMT_AUTO *stmt = NULL;
  bool row = false;
  put_key(out, "alarms");
  trb_buf_append_byte(out, '[');
  enum trb_status status =
      db_queryf(node->outbox->db, err, &stmt, "SELECT kind, text, since_ms FROM alarm ORDER BY kind", "");
  if (status == TRB_OK) status = stmt_step(stmt, &row, err);
  while (status == TRB_OK && row) {
    char kind[128];
    snprintf(kind, sizeof kind, "%s", stmt_text(stmt, 0));
    kind[strcspn(kind, ":")] = '\0';
    put_alarm(out, kind, stmt_slice(stmt, 1), stmt_int(stmt, 2));
    status = stmt_step(stmt, &row, err);
  }
  if (sync->held) put_alarm(out, "stream_held", trb_slice_str(line->text), 0);
  if (node->outbox->state.want)
    put_alarm(out, "stream_wanted",
              trb_slice_str("replica.db or outbox.db was lost or is an older copy: a new stream is asked for"), 0);
  if (refused)
    put_alarm(out, "changes_refused",
              trb_slice_str("headquarters set changes aside: see table rejected_change for which and why"), 0);
  if (unsure && !line->offset_measured)
    put_alarm(out, "clock_unsure",
              trb_slice_str("the clock of this machine was not compared with headquarters' since it was started"), 0);
  trb_buf_append_byte(out, ']');
  return status;
}

static void put_line(struct node *node, const struct uplink_status *line, const struct node_sync *sync,
                     struct trb_buf *out) {
  struct trb_clock_reading now = {0};
  clock_read(&now);
  put_bool(out, "running", node->uplink != NULL);
  put_bool(out, "connected", line->state == UPLINK_ONLINE || line->state == UPLINK_HELD);
  put_str(out, "state", state_name(node, line));
  put_str(out, "connection", line->text);
  bool waits =
      node->uplink && (line->state == UPLINK_OFFLINE || line->state == UPLINK_REFUSED || line->state == UPLINK_HELD);
  int64_t wait_ms = waits && line->retry_at_boot_ms != INT64_MAX ? line->retry_at_boot_ms - now.boot_ms : 0;
  put_int(out, "retry_ms", wait_ms > 0 ? wait_ms : 0);
  put_bool(out, "suspended", sync->held && line->hold_code == TRB_HOLD_SUSPENDED);
  if (!sync->held) return;
  put_key(out, "hold");
  trb_buf_append_byte(out, '{');
  put_int(out, "code", line->hold_code);
  put_str(out, "text", line->text);
  trb_buf_append_byte(out, '}');
}

static enum trb_status waiting_changes(struct node *node, int64_t *ret, struct trb_error *err) {
  *ret = 0;
  const struct outbox_state *s = &node->outbox->state;
  enum trb_status status = TRB_OK;
  for (uint64_t at = s->acked + 1; at <= s->sequence && at <= s->acked + 1000 && status == TRB_OK; at++) {
    TRB_BUF_AUTO sealed = {0};
    TRB_ARENA_AUTO arena = {0};
    struct trb_batch_header header;
    uint8_t hash[TRB_HASH_BYTES];
    status =
        db_get_bytes(node->outbox->db, err, &sealed, "SELECT sealed FROM batch WHERE sequence = ?", "i", (int64_t)at);
    if (status == TRB_OK && batch_peek(trb_buf_slice(&sealed), &arena, &header, hash, NULL) == TRB_OK)
      *ret += header.change_count;
  }
  return status == TRB_ABSENT ? TRB_OK : status;
}

struct counts {
  int64_t batches, bytes, unacked_bytes, changes, down_rows, refused;
};

static enum trb_status count_all(struct node *node, bool locked, struct counts *ret, struct trb_error *err) {
  enum trb_status status = outbox_counts(node->outbox, &ret->batches, &ret->bytes, &ret->unacked_bytes, err);
  if (status == TRB_OK) status = waiting_changes(node, &ret->changes, err);
  if (status == TRB_OK)
    status = try_count(node, "SELECT count(*) FROM _trb_down", &node->known.down_rows, &locked, err);
  if (status == TRB_OK)
    status = try_count(node, "SELECT count(*) FROM rejected_change", &node->known.refused, &locked, err);
  ret->down_rows = node->known.down_rows;
  ret->refused = node->known.refused;
  return status;
}

enum trb_status status_print(struct node *node, struct trb_buf *out, struct trb_error *err) {
  const struct outbox_state *s = &node->outbox->state;
  struct uplink_status line = {0};
  struct node_sync sync;
  struct counts counts = {0};
  uint8_t epoch[16];
  uint64_t version = 0;
  int64_t unsure = 0;
  if (node->uplink) uplink_status(node->uplink, &line);
  enum trb_status status = status_sync(node, &sync, err);
  if (status == TRB_OK) status = count_all(node, sync.locked, &counts, err);
  if (status != TRB_OK) return status;
  replica_position(&node->replica, epoch, &version);
  trb_buf_append_byte(out, '{');
  put_str(out, "role", "branch");
  put_str(out, "site", node->conf.site);
  put_str(out, "endpoint", node->keyset.endpoints[0]);
  put_line(node, &line, &sync, out);
  put_bool(out, "in_sync", sync.in_sync);
  put_bool(out, "replica_locked", sync.locked);
  put_int(out, "marks_unsealed", sync.unsealed);
  put_int(out, "saved", sync.unsealed);
  put_int(out, "sealed_sequence", (int64_t)s->sequence);
  put_int(out, "acked_sequence", (int64_t)s->acked);
  put_int(out, "safe_sequence", (int64_t)s->safe);
  put_int(out, "waiting_batches", (int64_t)(s->sequence - s->acked));
  put_int(out, "waiting_changes", counts.changes);
  put_int(out, "waiting_bytes", counts.unacked_bytes);
  put_int(out, "outbox_bytes", counts.bytes);
  put_int(out, "refused", counts.refused);
  put_int(out, "last_heard_ms", node->heard_ms);
  put_int(out, "last_acked_ms", node->acked_ms);
  put_int(out, "down_version", (int64_t)version);
  put_int(out, "down_rows", counts.down_rows);
  put_bool(out, "digests_equal", sync.digests_equal);
  status = put_digests(node, out, err);
  if (status == TRB_OK) status = put_clock(node, out, &unsure, err);
  if (status == TRB_OK) status = put_alarms(node, &sync, &line, counts.refused, unsure, out, err);
  trb_buf_append_byte(out, '}');
  return status == TRB_OK && out->failed ? trb_fail(err, TRB_NOMEM, "out of memory") : status;
}

/* ---- metrics ---- */

/* What is a fact about the node comes from its status; node/cli/metrics.c says of each counter what it means. */
enum trb_status status_metrics(struct node *node, struct trb_buf *out, struct trb_error *err) {
  struct uplink_status line = {0};
  if (node->uplink) uplink_status(node->uplink, &line);
  trb_buf_append_byte(out, '{');
  put_int(out, "seal_passes_total", (int64_t)node->passes);
  put_int(out, "batches_sealed_total", (int64_t)node->batches);
  put_int(out, "changes_sealed_total", (int64_t)node->changes);
  put_int(out, "down_frames_total", (int64_t)node->down_frames);
  put_int(out, "bad_frames_total", (int64_t)line.bad_frames);
  put_int(out, "bad_acks_total", (int64_t)node->bad_acks);
  put_int(out, "locked_total", (int64_t)node->locked);
  trb_buf_append_byte(out, '}');
  return out->failed ? trb_fail(err, TRB_NOMEM, "out of memory") : TRB_OK;
}
