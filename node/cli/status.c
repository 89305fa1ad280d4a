/* status: is a node in sync, and if not, what waits. */
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "commands.h"
#include "node_status.h"
#include "tributary/db.h"

enum { WAIT_STEP_MS = 50, ROW_BUSY_MS = 5000, WAIT_SECONDS_MAX = 86400 };

static void print_alarms(FILE *out, const json_t *status) {
  size_t i;
  json_t *alarm;
  json_array_foreach(json_object_get(status, "alarms"), i, alarm) {
    if (strcmp(node_text(alarm, "name"), "stream_held") == 0) continue; /* said as HELD */
    const char *site = node_text(alarm, "site");
    fprintf(out, "  ALARM %s%s%s: ", node_text(alarm, "name"), site[0] ? " " : "", site);
    cli_print_text(out, trb_slice_str(node_text(alarm, "text")));
    fputc('\n', out);
  }
}

static void print_branch(FILE *out, const json_t *s) {
  char heard[32];
  node_ago(node_int(s, "last_heard_ms"), heard);
  fprintf(out, "branch %s: %s%s\n", node_text(s, "site"), node_bool(s, "in_sync") ? "in sync" : "not in sync",
          node_bool(s, "suspended") ? ", suspended by headquarters" : "");
  bool refused = strcmp(node_text(s, "state"), "refused") == 0;
  fprintf(out, "  line             %s %s (heard %s)\n",
          refused                     ? "refused by"
          : node_bool(s, "connected") ? "up to"
                                      : "down to",
          node_text(s, "endpoint"), heard);
  fprintf(out, "  saved here only  %lld changes, %lld of them in %lld sealed batches (%lld bytes)\n",
          (long long)(node_int(s, "marks_unsealed") + node_int(s, "waiting_changes")),
          (long long)node_int(s, "waiting_changes"), (long long)node_int(s, "waiting_batches"),
          (long long)node_int(s, "waiting_bytes"));
  int64_t acked = node_int(s, "acked_sequence"), sealed = node_int(s, "sealed_sequence");
  if (acked)
    fprintf(out, "  at headquarters  batches 1 to %lld of %lld (in two backups: up to %lld)\n", (long long)acked,
            (long long)sealed, (long long)node_int(s, "safe_sequence"));
  else
    fprintf(out, "  at headquarters  %s\n", sealed ? "no batch yet" : "nothing was sent yet");
  fprintf(out, "  refused          %lld rows%s\n", (long long)node_int(s, "refused"),
          node_int(s, "refused") ? " (see: tributary rejected DIR)" : "");
  fprintf(out, "  came down        %lld rows\n", (long long)node_int(s, "down_rows"));
  fprintf(out, "  digests          %s\n", node_bool(s, "digests_equal") ? "equal" : "not compared equal yet");
  const json_t *hold = json_object_get(s, "hold");
  if (hold) {
    fputs("  HELD by headquarters: ", out);
    cli_print_text(out, trb_slice_str(node_text(hold, "text")));
    fputc('\n', out);
  }
}

static void print_site(FILE *out, const json_t *site) {
  char heard[32];
  node_ago(node_int(site, "last_heard_ms"), heard);
  fprintf(out, "  %-16s %-9s %-8s heard %-12s batches %-7lld waiting up %-5lld down %-6lld refused %-4lld %s\n",
          node_text(site, "site"), node_text(site, "state"), node_bool(site, "connected") ? "online" : "offline", heard,
          (long long)node_int(site, "acked_sequence"), (long long)node_int(site, "backlog"),
          (long long)node_int(site, "down_pending"), (long long)node_int(site, "rejected"),
          node_bool(site, "in_sync") ? "in sync" : "not in sync");
}

static void print_hub(FILE *out, const json_t *s) {
  char backup[32];
  node_ago(node_int(s, "last_backup_ms"), backup);
  fprintf(out, "headquarters %s: %s%s\n", node_text(s, "name"),
          node_bool(s, "in_sync") ? "in sync with every active branch" : "not in sync with every active branch",
          node_bool(s, "held") ? ", HELD until `tributary hub go`" : "");
  fprintf(out, "  listens on %s; last verified backup %s\n", node_text(s, "listen"), backup);
  fprintf(out, "  %lld records of %lld customers, %lld changes set aside\n", (long long)node_int(s, "records"),
          (long long)node_int(s, "parties"), (long long)node_int(s, "rejected"));
  size_t i;
  json_t *site;
  json_array_foreach(json_object_get(s, "sites"), i, site) print_site(out, site);
}

/* One row of a branch, from the view row_state of replica.db. TRB_ABSENT: no such row. */
static enum trb_status read_row(const char *dir, const char *row, struct trb_buf *state, struct trb_buf *reason,
                                struct trb_error *err) {
  static const char sql[] = "SELECT state, reason FROM row_state WHERE table_name = ?1 AND row_id = ?2";
  const char *slash = strchr(row, '/');
  struct trb_db *db = NULL;
  struct trb_stmt *stmt = NULL;
  char path[4096];
  bool found = false;
  snprintf(path, sizeof path, "%s/replica.db", dir);
  enum trb_status status = db_open(path, TRB_DB_READ, ROW_BUSY_MS, &db, err);
  if (!status) status = db_queryf(db, err, &stmt, sql, "st", trb_slice_of(row, (size_t)(slash - row)), slash + 1);
  if (!status) status = stmt_step(stmt, &found, err);
  trb_buf_clear(state);
  trb_buf_clear(reason);
  if (!status && found) {
    trb_buf_append_str(state, stmt_text(stmt, 0));
    trb_buf_append_str(reason, stmt_text(stmt, 1));
  }
  stmt_done(stmt);
  db_close(&db);
  if (!status && !found)
    status = trb_fail(err, TRB_ABSENT, "no such row here: is the table's name right, and was the row deleted?");
  return status;
}

/* replica.db learns of acknowledgements a little later than the daemon (it is written when nobody waits): a row that
 * was 'saved here' before the node was in sync is at headquarters. */
static enum trb_status row_state(const char *dir, const char *row, struct trb_buf *state, struct trb_buf *reason,
                                 struct trb_error *err) {
  enum trb_status status = read_row(dir, row, state, reason, err);
  if (status || strcmp(trb_buf_cstr(state), "saved here") != 0) return status;
  json_t *node = NULL;
  bool in_sync = !node_ask(dir, "status", NULL, &node, NULL) && node_bool(node, "in_sync");
  json_decref(node);
  if (!in_sync) return TRB_OK;
  status = read_row(dir, row, state, reason, err); /* refused meanwhile? */
  if (status || strcmp(trb_buf_cstr(state), "saved here") != 0) return status;
  trb_buf_clear(state);
  trb_buf_append_str(state, "at headquarters");
  return TRB_OK;
}

static int64_t passed_ms(const struct timespec *start) {
  struct timespec now;
  clock_gettime(CLOCK_MONOTONIC, &now);
  return (now.tv_sec - start->tv_sec) * 1000 + (now.tv_nsec - start->tv_nsec) / 1000000;
}
static void wait_step(void) {
  struct timespec step = {.tv_nsec = WAIT_STEP_MS * 1000000L};
  nanosleep(&step, NULL);
}

static int show_row(struct cli *cli, const char *dir, const char *row, int64_t wait_ms) {
  const char *slash = strchr(row, '/');
  if (!slash || slash == row || !slash[1]) {
    fprintf(cli->err, "tributary: --row wants TABLE/ID, such as customer/C001\n");
    return CLI_USAGE;
  }
  struct trb_error err = {0};
  TRB_BUF_AUTO state = {0};
  TRB_BUF_AUTO reason = {0};
  struct timespec start;
  clock_gettime(CLOCK_MONOTONIC, &start);
  enum trb_status status;
  bool saved_only;
  for (;; wait_step()) {
    status = row_state(dir, row, &state, &reason, &err);
    saved_only = !status && strcmp(trb_buf_cstr(&state), "saved here") == 0;
    if (!saved_only || passed_ms(&start) >= wait_ms) break;
  }
  if (status) return cli_failed(cli, &err);
  if (cli->json) {
    json_t *object = json_pack("{s:s, s:s}", "state", trb_buf_cstr(&state), "reason", trb_buf_cstr(&reason));
    json_dumpf(object, cli->out, JSON_COMPACT);
    json_decref(object);
  } else {
    fprintf(cli->out, "%s%s", trb_buf_cstr(&state), reason.len ? ": " : "");
    cli_print_text(cli->out, trb_buf_slice(&reason));
  }
  fputc('\n', cli->out);
  return strcmp(trb_buf_cstr(&state), "at headquarters") == 0 ? CLI_DONE : CLI_NOT_YET;
}

/* Asks until in sync or out of time; a node that cannot be asked yet (its daemon is starting) is asked again too. */
static enum trb_status ask_until(const char *dir, int64_t wait_ms, json_t **ret, bool *ret_in_sync,
                                 struct trb_error *err) {
  struct timespec start;
  clock_gettime(CLOCK_MONOTONIC, &start);
  for (;; wait_step()) {
    json_t *answer = NULL;
    enum trb_status status = node_ask(dir, "status", NULL, &answer, err);
    bool in_sync = !status && node_bool(answer, "in_sync");
    bool again = status ? status == TRB_AGAIN : !in_sync;
    if (!again || passed_ms(&start) >= wait_ms) {
      *ret = answer;
      *ret_in_sync = in_sync;
      return status;
    }
    json_decref(answer);
  }
}

int cmd_status(struct cli *cli) {
  const char *wait = cli_option(cli, "--wait"), *row = cli_option(cli, "--row");
  int code = cli_args(cli, 1, 1, "tributary status DIR [--wait SECONDS] [--row TABLE/ID] [--json]");
  if (code) return code;
  char *end = NULL;
  double seconds = wait ? strtod(wait, &end) : 0;
  if (wait && (end == wait || *end || !(seconds >= 0 && seconds <= WAIT_SECONDS_MAX))) {
    fprintf(cli->err, "tributary: --wait wants seconds, 0 to %d\n", WAIT_SECONDS_MAX);
    return CLI_USAGE;
  }
  if (row) return show_row(cli, cli->argv[0], row, (int64_t)(seconds * 1000));
  struct trb_error err = {0};
  json_t *status = NULL;
  bool in_sync = false;
  if (ask_until(cli->argv[0], (int64_t)(seconds * 1000), &status, &in_sync, &err)) return cli_failed(cli, &err);
  if (cli->json) {
    json_dumpf(status, cli->out, JSON_COMPACT);
    fputc('\n', cli->out);
  } else if (!cli->quiet) {
    if (strcmp(node_text(status, "role"), "hub") == 0)
      print_hub(cli->out, status);
    else
      print_branch(cli->out, status);
    print_alarms(cli->out, status);
  }
  json_decref(status);
  return in_sync ? CLI_DONE : CLI_NOT_YET;
}
