/* metrics: see metrics.h. Names, types and label rules: https://prometheus.io/docs/instrumenting/exposition_formats/ */
#include "metrics.h"

#include <ctype.h>
#include <string.h>

#include "commands.h"
#include "node_status.h"

/* key: the field of the status object; ms: a time, shown in seconds. */
struct gauge {
  const char *key, *name, *help;
  bool ms;
};
static const struct gauge branch_gauges[] = {
    {"connected", "connected", "1 while the session with headquarters is open", false},
    {"in_sync", "in_sync", "1 when everything committed is at headquarters and digests are equal", false},
    {"digests_equal", "digests_equal", "1 when headquarters' digest of this site equals its own", false},
    {"marks_unsealed", "marks_unsealed", "changes captured and not sealed yet", false},
    {"waiting_batches", "waiting_batches", "sealed batches that headquarters has not acknowledged", false},
    {"waiting_changes", "waiting_changes", "changes in those batches", false},
    {"waiting_bytes", "waiting_bytes", "bytes of those batches", false},
    {"refused", "refused_rows", "rows with a change that headquarters set aside", false},
    {"sealed_sequence", "sealed_sequence", "last sealed batch", false},
    {"acked_sequence", "acked_sequence", "last acknowledged batch", false},
    {"safe_sequence", "safe_sequence", "last batch that two verified backups cover", false},
    {"down_rows", "down_rows", "rows held that came down from headquarters", false},
    {"last_heard_ms", "last_heard_timestamp_seconds", "when headquarters was last heard, 0 for never", true},
    {NULL, NULL, NULL, false},
};
static const struct gauge hub_gauges[] = {
    {"in_sync", "in_sync", "1 when every active branch is in sync", false},
    {"records", "records", "customer records of all branches", false},
    {"parties", "parties", "unified customers", false},
    {"rejected", "rejected_changes", "changes set aside", false},
    {"held", "held", "1 while sites are held after a restore until an operator says go", false},
    {"last_backup_ms", "last_backup_timestamp_seconds", "last verified backup, 0 for never", true},
    {NULL, NULL, NULL, false},
};
static const struct gauge site_gauges[] = {
    {"connected", "site_connected", "1 while the branch's session is open", false},
    {"in_sync", "site_in_sync", "1 when the branch is in sync", false},
    {"digests_equal", "site_digests_equal", "1 when both sides' digests of the site are equal", false},
    {"acked_sequence", "site_acked_sequence", "last batch taken from the branch", false},
    {"safe_sequence", "site_safe_sequence", "last batch that two verified backups cover", false},
    {"backlog", "site_backlog_batches", "batches the branch said it still has to send", false},
    {"down_pending", "site_down_pending_rows", "rows waiting to go down to the branch", false},
    {"rejected", "site_rejected_changes", "changes of the branch set aside", false},
    {"last_heard_ms", "site_last_heard_timestamp_seconds", "when the branch was last heard, 0 for never", true},
    {NULL, NULL, NULL, false},
};

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

static void number(FILE *out, const json_t *value, bool ms) {
  if (json_is_boolean(value))
    fprintf(out, " %d\n", json_is_true(value) ? 1 : 0);
  else if (ms)
    fprintf(out, " %.3f\n", (double)json_integer_value(value) / 1000);
  else if (json_is_real(value))
    fprintf(out, " %.17g\n", json_real_value(value));
  else
    fprintf(out, " %lld\n", (long long)json_integer_value(value));
}

static bool is_number(const json_t *value) { return json_is_boolean(value) || json_is_number(value); }

static void node_gauges(FILE *out, const struct gauge *gauges, const json_t *status) {
  for (; gauges->key; ++gauges) {
    const json_t *value = json_object_get(status, gauges->key);
    if (!is_number(value)) continue;
    head(out, gauges->name, "gauge", gauges->help);
    fprintf(out, "tributary_%s", gauges->name);
    number(out, value, gauges->ms);
  }
}

/* All samples of one metric must stand together. */
static void all_sites(FILE *out, const json_t *sites) {
  size_t i;
  json_t *site;
  if (json_array_size(sites) == 0) return;
  for (const struct gauge *gauge = site_gauges; gauge->key; ++gauge) {
    head(out, gauge->name, "gauge", gauge->help);
    json_array_foreach(sites, i, site) {
      const json_t *value = json_object_get(site, gauge->key);
      if (!is_number(value)) continue;
      fprintf(out, "tributary_%s{site=\"", gauge->name);
      label_value(out, node_text(site, "site"));
      fputs("\"}", out);
      number(out, value, gauge->ms);
    }
  }
  head(out, "site_state", "gauge", "1 for the state the site is in");
  json_array_foreach(sites, i, site) {
    fputs("tributary_site_state{site=\"", out);
    label_value(out, node_text(site, "site"));
    fputs("\",state=\"", out);
    label_value(out, node_text(site, "state"));
    fputs("\"} 1\n", out);
  }
}

static void all_alarms(FILE *out, const json_t *alarms) {
  head(out, "alarms", "gauge", "alarms that stand now");
  fprintf(out, "tributary_alarms %zu\n", json_array_size(alarms));
  if (json_array_size(alarms) == 0) return;
  head(out, "alarm", "gauge", "1 for each alarm that stands now");
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

static bool metric_name_valid(const char *name) {
  if (!islower((unsigned char)*name)) return false;
  for (; *name; ++name)
    if (!islower((unsigned char)*name) && !isdigit((unsigned char)*name) && *name != '_') return false;
  return true;
}

static void all_counters(FILE *out, const json_t *counters) {
  const char *name;
  json_t *value;
  json_object_foreach((json_t *)counters, name, value) {
    if (!is_number(value) || !metric_name_valid(name)) continue;
    size_t len = strlen(name);
    bool total = len > 6 && strcmp(name + len - 6, "_total") == 0;
    head(out, name, total ? "counter" : "gauge", total ? "since the daemon started" : "now");
    fprintf(out, "tributary_%s", name);
    number(out, value, false);
  }
}

void metrics_render(const json_t *status, const json_t *counters, FILE *out) {
  bool hub = strcmp(node_text(status, "role"), "hub") == 0;
  head(out, "info", "gauge", "what this node is");
  fprintf(out, "tributary_info{role=\"%s\",version=\"" TRB_VERSION "\",name=\"", hub ? "hub" : "branch");
  label_value(out, node_text(status, hub ? "name" : "site"));
  fputs("\"} 1\n", out);
  node_gauges(out, hub ? hub_gauges : branch_gauges, status);
  if (hub) all_sites(out, json_object_get(status, "sites"));
  all_alarms(out, json_object_get(status, "alarms"));
  all_counters(out, counters);
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
