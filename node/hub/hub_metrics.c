/* hub_metrics: numbers of the daemon for `tributary metrics`, one flat JSON object; names of counters end in _total.
 * What
 * is a fact about sites comes from hub_status; node/cli/metrics.c says of each what it means. No personal data. */
#include "daemon.h"
#include "jout.h"

static void put_counters(const struct daemon *d, struct trb_buf *out) {
  const struct writer_counters *c = &d->writer.counters;
  jout_int(out, "groups_committed_total", atomic_load(&c->groups));
  jout_int(out, "batches_committed_total", atomic_load(&c->batches));
  jout_int(out, "changes_committed_total", atomic_load(&c->changes));
  jout_int(out, "commit_failures_total", atomic_load(&c->failures));
  jout_int(out, "batches_repeated_total", atomic_load(&c->repeated));
  jout_int(out, "batches_held_total", atomic_load(&c->held));
  jout_int(out, "changes_set_aside_total", atomic_load(&c->set_aside));
  jout_int(out, "forks_total", atomic_load(&c->forks));
  jout_int(out, "wal_bytes", atomic_load(&c->wal_bytes));
  jout_int(out, "last_commit_us", atomic_load(&c->commit_us));
  jout_int(out, "guest_frames_total", (int64_t)d->guest_frames);
  jout_int(out, "joins_refused_total", (int64_t)d->joins_refused);
  jout_int(out, "commands_total", (int64_t)d->control_commands);
}

static void put_link(const struct daemon *d, struct trb_buf *out) {
  struct link_counters c;
  link_server_counters(d->server, &c);
  jout_int(out, "frames_received_total", (int64_t)c.received);
  jout_int(out, "frames_sent_total", (int64_t)c.sent);
  jout_int(out, "frames_dropped_total", (int64_t)(c.dropped_no_user + c.dropped_shape));
  jout_int(out, "connections_refused_total", (int64_t)(c.refused + c.handshakes_failed));
}

static void put_queues(const struct daemon *d, struct trb_buf *out) {
  int64_t waiting = 0;
  for (size_t i = 0; i < d->worker_count; i++) waiting += (int64_t)queue_count(d->workers[i].in);
  jout_int(out, "verify_queue_jobs", waiting);
  jout_int(out, "write_queue_jobs", (int64_t)queue_count(d->to_writer));
  jout_int(out, "down_queue_jobs", (int64_t)queue_count(d->to_down));
}

enum trb_status hub_metrics(const struct status_source *source, struct trb_buf *out, struct trb_error *err) {
  int64_t history = 0, pages = 0, page_size = 0;
  enum trb_status status = db_get_int(source->db, err, &pages, "PRAGMA page_count", "");
  if (status == TRB_OK) status = db_get_int(source->db, err, &page_size, "PRAGMA page_size", "");
  if (status == TRB_OK)
    status = db_get_int(source->db, err, &history, "SELECT coalesce(max(no)-min(no)+1,0) FROM history", "");
  if (status != TRB_OK) return status;
  jout_open(out, NULL, '{');
  jout_int(out, "database_bytes", pages * page_size);
  jout_int(out, "history_rows", history);
  if (source->daemon) {
    put_counters(source->daemon, out);
    put_link(source->daemon, out);
    put_queues(source->daemon, out);
  }
  jout_close(out, '}');
  return out->failed ? trb_fail(err, TRB_NOMEM, "out of memory") : TRB_OK;
}
