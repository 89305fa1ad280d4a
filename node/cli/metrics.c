/* metrics: see metrics.h. Names, types and label rules: https://prometheus.io/docs/instrumenting/exposition_formats/ */
#include "metrics.h"

#include <string.h>

#include "commands.h"
#include "node_status.h"

/* Every metric that a node shows: the one place of its name, its type and what it says. Names end in their unit
 * (Prometheus: base units, _total for counters); `key` is the member of the answer it comes from, `per` how many of the
 * member's unit make one of the metric's. */
enum from { FROM_STATUS, FROM_SITE, FROM_COUNTERS };
enum roles { HUB = 1, BRANCH = 2 };
struct metric {
  enum from from;
  enum roles roles;
  const char *key, *name;
  int per;
  const char *type, *help;
};
enum { MS = 1000, US = 1000000 };
static const struct metric metrics[] = {
    /* a branch, from its status */
    {FROM_STATUS, BRANCH, "connected", "connected", 1, "gauge",
     "1 while the session with headquarters is open, else 0."},
    {FROM_STATUS, BRANCH, "in_sync", "in_sync", 1, "gauge",
     "1 when every committed change is acknowledged, no digest differs, no row is missing and nothing is held, else "
     "0."},
    {FROM_STATUS, BRANCH, "digests_equal", "digests_equal", 1, "gauge",
     "1 when everything is acknowledged and headquarters reported no differing digest, else 0."},
    {FROM_STATUS, BRANCH, "marks_unsealed", "unsealed_changes", 1, "gauge",
     "Changes that clients committed and that are in no batch yet."},
    {FROM_STATUS, BRANCH, "waiting_batches", "waiting_batches", 1, "gauge",
     "Sealed batches that headquarters has not acknowledged."},
    {FROM_STATUS, BRANCH, "waiting_changes", "waiting_changes", 1, "gauge", "Changes in the batches not acknowledged."},
    {FROM_STATUS, BRANCH, "waiting_bytes", "waiting_bytes", 1, "gauge", "Size of the batches not acknowledged."},
    {FROM_STATUS, BRANCH, "outbox_bytes", "outbox_bytes", 1, "gauge",
     "Size of all batches kept in outbox.db, acknowledged ones until two verified backups cover them."},
    {FROM_STATUS, BRANCH, "refused", "refused_changes", 1, "gauge",
     "Rows of the table rejected_change: changes of this branch that headquarters set aside."},
    {FROM_STATUS, BRANCH, "sealed_sequence", "sealed_sequence", 1, "gauge",
     "Number of the last sealed batch of the stream."},
    {FROM_STATUS, BRANCH, "acked_sequence", "acked_sequence", 1, "gauge",
     "Number of the last batch that headquarters acknowledged."},
    {FROM_STATUS, BRANCH, "safe_sequence", "safe_sequence", 1, "gauge",
     "Number of the last batch that two verified backups of headquarters cover."},
    {FROM_STATUS, BRANCH, "down_rows", "down_rows", 1, "gauge", "Rows held that came down from headquarters."},
    {FROM_STATUS, BRANCH, "last_heard_ms", "last_heard_timestamp_seconds", MS, "gauge",
     "Unix time at which headquarters was last heard, 0 for never."},
    {FROM_STATUS, BRANCH, "last_acked_ms", "last_acked_timestamp_seconds", MS, "gauge",
     "Unix time at which headquarters last acknowledged a batch, 0 for never."},
    /* a branch, since its daemon started */
    {FROM_COUNTERS, BRANCH, "seal_passes_total", "seal_passes_total", 1, "counter",
     "Times that committed changes were looked for."},
    {FROM_COUNTERS, BRANCH, "batches_sealed_total", "batches_sealed_total", 1, "counter", "Batches sealed."},
    {FROM_COUNTERS, BRANCH, "changes_sealed_total", "changes_sealed_total", 1, "counter",
     "Changes sealed into batches."},
    {FROM_COUNTERS, BRANCH, "down_frames_total", "down_frames_total", 1, "counter",
     "Frames of rows received from headquarters."},
    {FROM_COUNTERS, BRANCH, "bad_frames_total", "bad_frames_total", 1, "counter",
     "Frames from headquarters that could not be read or did not fit the session."},
    {FROM_COUNTERS, BRANCH, "bad_acks_total", "bad_acks_total", 1, "counter",
     "Acknowledgements whose signature or content was wrong."},
    {FROM_COUNTERS, BRANCH, "locked_total", "locked_total", 1, "counter",
     "Times that the daemon waited because another program held replica.db locked."},
    /* headquarters, from its status */
    {FROM_STATUS, HUB, "in_sync", "in_sync", 1, "gauge", "1 when every active branch is in sync, else 0."},
    {FROM_STATUS, HUB, "records", "records", 1, "gauge", "Customer records of all branches."},
    {FROM_STATUS, HUB, "parties", "parties", 1, "gauge", "Unified customers."},
    {FROM_STATUS, HUB, "rejected", "rejected_changes", 1, "gauge", "Changes set aside, of all branches."},
    {FROM_STATUS, HUB, "held", "held", 1, "gauge",
     "1 after a restore without the journal until an operator says `tributary hub go`, else 0."},
    {FROM_STATUS, HUB, "last_backup_ms", "last_backup_timestamp_seconds", MS, "gauge",
     "Unix time of the last verified backup, 0 for never."},
    /* headquarters, for each branch */
    {FROM_SITE, HUB, "connected", "site_connected", 1, "gauge", "1 while the branch's session is open, else 0."},
    {FROM_SITE, HUB, "in_sync", "site_in_sync", 1, "gauge",
     "1 when the branch is connected, nothing waits either way, nothing is held and no digest differs, else 0."},
    {FROM_SITE, HUB, "digests_equal", "site_digests_equal", 1, "gauge",
     "1 when no digest of the branch's tables differs from what headquarters holds, else 0."},
    {FROM_SITE, HUB, "acked_sequence", "site_acked_sequence", 1, "gauge",
     "Number of the last batch taken from the branch."},
    {FROM_SITE, HUB, "safe_sequence", "site_safe_sequence", 1, "gauge",
     "Number of the branch's last batch that two verified backups cover."},
    {FROM_SITE, HUB, "backlog", "site_backlog_batches", 1, "gauge",
     "Batches that the branch last said it still has to send."},
    {FROM_SITE, HUB, "in_flight_bytes", "site_in_flight_bytes", 1, "gauge",
     "Batches of the branch that were received and are not committed yet."},
    {FROM_SITE, HUB, "down_pending", "site_down_pending_rows", 1, "gauge", "Rows that wait to go down to the branch."},
    {FROM_SITE, HUB, "rejected", "site_rejected_changes", 1, "gauge", "Changes of the branch set aside."},
    {FROM_SITE, HUB, "last_heard_ms", "site_last_heard_timestamp_seconds", MS, "gauge",
     "Unix time at which the branch was last heard, 0 for never."},
    /* headquarters: files */
    {FROM_COUNTERS, HUB, "database_bytes", "database_bytes", 1, "gauge", "Size of hub.db without its log."},
    {FROM_COUNTERS, HUB, "wal_bytes", "wal_bytes", 1, "gauge",
     "Size of hub.db's log (hub.db-wal) when last looked at."},
    {FROM_COUNTERS, HUB, "history_rows", "history_rows", 1, "gauge", "Entries in the history of rows."},
    /* headquarters, since its daemon started */
    {FROM_COUNTERS, HUB, "groups_committed_total", "groups_committed_total", 1, "counter",
     "Transactions of the writer: batches of many branches and commands are committed in groups."},
    {FROM_COUNTERS, HUB, "batches_committed_total", "batches_committed_total", 1, "counter",
     "Batches applied for the first time."},
    {FROM_COUNTERS, HUB, "changes_committed_total", "changes_committed_total", 1, "counter",
     "Changes in those batches, set aside ones included."},
    {FROM_COUNTERS, HUB, "commit_failures_total", "commit_failures_total", 1, "counter",
     "Groups that could not be committed and will be sent again."},
    {FROM_COUNTERS, HUB, "batches_repeated_total", "batches_repeated_total", 1, "counter",
     "Batches received again and answered with their stored acknowledgement."},
    {FROM_COUNTERS, HUB, "batches_held_total", "batches_held_total", 1, "counter", "Batches answered with a hold."},
    {FROM_COUNTERS, HUB, "changes_set_aside_total", "changes_set_aside_total", 1, "counter", "Changes set aside."},
    {FROM_COUNTERS, HUB, "forks_total", "forks_total", 1, "counter",
     "Batches set aside because another one had taken their number."},
    {FROM_COUNTERS, HUB, "last_commit_us", "last_commit_seconds", US, "gauge", "Duration of the writer's last commit."},
    {FROM_COUNTERS, HUB, "frames_received_total", "frames_received_total", 1, "counter",
     "Frames received from branches and guests."},
    {FROM_COUNTERS, HUB, "frames_sent_total", "frames_sent_total", 1, "counter", "Frames sent to branches and guests."},
    {FROM_COUNTERS, HUB, "frames_dropped_total", "frames_dropped_total", 1, "counter",
     "Frames dropped unread: no authenticated user, several parts, or too large."},
    {FROM_COUNTERS, HUB, "connections_refused_total", "connections_refused_total", 1, "counter",
     "Connections refused at admission, and failed handshakes."},
    {FROM_COUNTERS, HUB, "guest_frames_total", "guest_frames_total", 1, "counter",
     "Frames of unknown keys, which may only redeem a token."},
    {FROM_COUNTERS, HUB, "joins_refused_total", "joins_refused_total", 1, "counter", "Tokens refused."},
    {FROM_COUNTERS, HUB, "commands_total", "commands_total", 1, "counter", "Commands through the control socket."},
    {FROM_COUNTERS, HUB, "verify_queue_jobs", "verify_queue_jobs", 1, "gauge",
     "Jobs that wait for a worker to verify them."},
    {FROM_COUNTERS, HUB, "write_queue_jobs", "write_queue_jobs", 1, "gauge", "Jobs that wait for the writer."},
    {FROM_COUNTERS, HUB, "down_queue_jobs", "down_queue_jobs", 1, "gauge", "Branches whose rows wait to be rendered."},
};
enum { METRIC_COUNT = sizeof metrics / sizeof *metrics };

static void head(FILE *out, const char *name, const char *type, const char *help) {
  fprintf(out, "# HELP tributary_%s %s\n# TYPE tributary_%s %s\n", name, help, name, type);
}

static void label_value(FILE *out, const char *text) {
  for (; *text; ++text) {
    if (*text == '\n') {
      fputs("\\n", out);
      continue;
    }
    if (*text == '"' || *text == '\\') fputc('\\', out);
    fputc(*text, out);
  }
}

static void number(FILE *out, const json_t *value, int per) {
  if (json_is_boolean(value))
    fprintf(out, " %d\n", json_is_true(value) ? 1 : 0);
  else if (per == MS)
    fprintf(out, " %.3f\n", (double)json_integer_value(value) / MS);
  else if (per == US)
    fprintf(out, " %.6f\n", (double)json_integer_value(value) / US);
  else
    fprintf(out, " %lld\n", (long long)json_integer_value(value));
}

static bool is_number(const json_t *value) { return json_is_boolean(value) || json_is_integer(value); }

static void of_node(FILE *out, enum from from, enum roles role, const json_t *answer) {
  for (size_t i = 0; i < METRIC_COUNT; ++i) {
    const struct metric *m = &metrics[i];
    const json_t *value = json_object_get(answer, m->key);
    if (m->from != from || !(m->roles & role) || !is_number(value)) continue;
    head(out, m->name, m->type, m->help);
    fprintf(out, "tributary_%s", m->name);
    number(out, value, m->per);
  }
}

/* All samples of one metric must stand together. */
static void all_sites(FILE *out, const json_t *sites) {
  size_t i;
  json_t *site;
  if (json_array_size(sites) == 0) return;
  for (const struct metric *m = metrics; m < metrics + METRIC_COUNT; ++m) {
    if (m->from != FROM_SITE) continue;
    head(out, m->name, m->type, m->help);
    json_array_foreach(sites, i, site) {
      const json_t *value = json_object_get(site, m->key);
      if (!is_number(value)) continue;
      fprintf(out, "tributary_%s{site=\"", m->name);
      label_value(out, node_text(site, "site"));
      fputs("\"}", out);
      number(out, value, m->per);
    }
  }
  head(out, "site_state", "gauge", "1 with the state the branch is in: invited, active, suspended or revoked.");
  json_array_foreach(sites, i, site) {
    fputs("tributary_site_state{site=\"", out);
    label_value(out, node_text(site, "site"));
    fputs("\",state=\"", out);
    label_value(out, node_text(site, "state"));
    fputs("\"} 1\n", out);
  }
}

static void all_alarms(FILE *out, const json_t *alarms) {
  head(out, "alarms", "gauge", "Number of alarms that stand now.");
  fprintf(out, "tributary_alarms %zu\n", json_array_size(alarms));
  if (json_array_size(alarms) == 0) return;
  head(out, "alarm", "gauge", "1 for each kind of alarm that stands now, with the branch it is about.");
  size_t i, before;
  json_t *alarm;
  json_array_foreach(alarms, i, alarm) {
    for (before = 0; before < i; ++before) { /* the same series twice would spoil the whole scrape */
      const json_t *earlier = json_array_get(alarms, before);
      if (strcmp(node_text(earlier, "name"), node_text(alarm, "name")) == 0 &&
          strcmp(node_text(earlier, "site"), node_text(alarm, "site")) == 0)
        break;
    }
    if (before < i) continue;
    fputs("tributary_alarm{name=\"", out);
    label_value(out, node_text(alarm, "name"));
    fputs("\",site=\"", out);
    label_value(out, node_text(alarm, "site"));
    fputs("\"} 1\n", out);
  }
}

void metrics_render(const json_t *status, const json_t *counters, FILE *out) {
  bool hub = strcmp(node_text(status, "role"), "hub") == 0;
  enum roles role = hub ? HUB : BRANCH;
  head(out, "info", "gauge", "1, with the role, name and version of this node.");
  fprintf(out, "tributary_info{role=\"%s\",version=\"" TRB_VERSION "\",name=\"", hub ? "hub" : "branch");
  label_value(out, node_text(status, hub ? "name" : "site"));
  fputs("\"} 1\n", out);
  of_node(out, FROM_STATUS, role, status);
  if (hub) all_sites(out, json_object_get(status, "sites"));
  all_alarms(out, json_object_get(status, "alarms"));
  of_node(out, FROM_COUNTERS, role, counters);
}

int cmd_metrics(struct cli *cli) {
  int code = cli_args(cli, 1, 1, "tributary metrics DIR");
  if (code) return code;
  struct trb_error err = {0};
  json_t *status = NULL, *counters = NULL;
  if (node_ask(cli->argv[0], "status", NULL, &status, &err) || node_ask(cli->argv[0], "metrics", NULL, &counters, &err))
    code = cli_failed(cli, &err);
  else
    metrics_render(status, counters, cli->out);
  json_decref(status);
  json_decref(counters);
  return code;
}
