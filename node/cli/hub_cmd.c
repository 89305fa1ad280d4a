/* hub_cmd: the commands on headquarters' directory. What changes something goes through hub_command (the daemon, or the
 * files when none runs) and says what it changed and what to do next. */
#include <jansson.h>
#include <limits.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "../hub/verify.h"
#include "commands.h"
#include "node_status.h"
#include "tributary/hub.h"

enum { POLICY_FILE_BYTES_MAX = 3 << 20 }; /* below the control socket's limit */

/* Runs the words; *ret is the answer's object (owned by the caller). Not NULL on success. */
static enum trb_status ask(const char *dir, size_t count, const char *const *words, json_t **ret,
                           struct trb_error *err) {
  TRB_BUF_AUTO answer = {0};
  enum trb_status status = hub_command(dir, count, words, &answer, err);
  if (status != TRB_OK) return status;
  json_error_t why;
  *ret = json_loadb((const char *)answer.data, answer.len, 0, &why);
  return *ret ? TRB_OK : trb_fail(err, TRB_STORE, "headquarters' answer cannot be read (%s)", why.text);
}

/* With --json the answer as it came; false: the caller says it in words. */
static bool said_as_json(struct cli *cli, const json_t *answer) {
  if (cli->json) {
    json_dumpf(answer, cli->out, JSON_COMPACT);
    fputc('\n', cli->out);
  }
  return cli->json || cli->quiet;
}

int cmd_hub_init(struct cli *cli) {
  struct hub_options options = {.name = cli_option(cli, "--name"),
                                .listen = cli_option(cli, "--listen"),
                                .advertise = cli_option(cli, "--advertise"),
                                .journal = cli_option(cli, "--journal")};
  static const char usage[] =
      "hub init DIR --name NAME [--listen tcp://0.0.0.0:7600] [--advertise ENDPOINT] [--journal DIR]";
  int code = cli_args(cli, 1, 1, usage);
  if (code) return code;
  if (!options.name) {
    fprintf(cli->err, "tributary: --name NAME is missing: headquarters' name as people say it\nusage: tributary %s\n",
            usage);
    return CLI_USAGE;
  }
  struct trb_error err = {0};
  if (hub_init(cli->argv[0], &options, &err) != TRB_OK) return cli_failed(cli, &err);
  if (cli->json) {
    fputs("{\"made\":true}\n", cli->out);
  } else if (!cli->quiet) {
    const char *dir = cli->argv[0];
    fprintf(cli->out, "%s is headquarters' directory now.\n", dir);
    fprintf(cli->out, "Start it:        tributary hub run %s\n", dir);
    fprintf(cli->out, "Invite a branch: tributary hub invite %s SITE\n", dir);
    fprintf(cli->out, "Keep a copy of %s/keys/root off this machine: with it a lost hub can be made anew.\n", dir);
  }
  return CLI_DONE;
}

int cmd_hub_run(struct cli *cli) {
  int code = cli_args(cli, 1, 1, "hub run DIR");
  if (code) return code;
  struct trb_error err = {0};
  return hub_run(cli->argv[0], &err) == TRB_OK ? CLI_DONE : cli_daemon_failed(cli, &err);
}

int cmd_hub_invite(struct cli *cli) {
  const char *expires = cli_option(cli, "--expires"), *region = cli_option(cli, "--region"),
             *area = cli_option(cli, "--area-code");
  int code = cli_args(cli, 2, 2, "hub invite DIR SITE [--expires 24h] [--region CN] [--area-code 021]");
  if (code) return code;
  int64_t seconds = 24 * 3600;
  if (expires && (!cli_duration(expires, &seconds) || seconds < 1)) {
    fputs("tributary: --expires takes a time such as 15m, 24h or 7d\n", cli->err);
    return CLI_USAGE;
  }
  char number[24];
  snprintf(number, sizeof number, "%lld", (long long)seconds);
  const char *const words[] = {"invite", cli->argv[1], number, region ? region : "", area ? area : ""};
  struct trb_error err = {0};
  json_t *answer = NULL;
  if (ask(cli->argv[0], 5, words, &answer, &err) != TRB_OK) return cli_failed(cli, &err);
  if (cli->json) {
    said_as_json(cli, answer);
  } else {
    fprintf(cli->out, "%s\n", node_text(answer, "token"));
    if (!cli->quiet && isatty(fileno(cli->err)))
      fprintf(cli->err, "At the branch: tributary branch join DIR TOKEN. The token serves once.\n");
  }
  json_decref(answer);
  return CLI_DONE;
}

static void print_site(FILE *out, const json_t *site) {
  char heard[32];
  node_ago(node_int(site, "last_heard_ms"), heard);
  fprintf(out, "%-20s %-10s %-8s heard %-12s acked %-8lld up %-6lld down %-6lld rejected %-5lld %s %s\n",
          node_text(site, "site"), node_text(site, "state"), node_bool(site, "connected") ? "online" : "offline", heard,
          (long long)node_int(site, "acked_sequence"), (long long)node_int(site, "backlog"),
          (long long)node_int(site, "down_pending"), (long long)node_int(site, "rejected"),
          node_bool(site, "in_sync") ? "in sync" : "not in sync", node_text(site, "version"));
}

int cmd_hub_sites(struct cli *cli) {
  int code = cli_args(cli, 1, 1, "hub sites DIR");
  if (code) return code;
  const char *const words[] = {"status"};
  struct trb_error err = {0};
  json_t *answer = NULL, *site;
  size_t i;
  if (ask(cli->argv[0], 1, words, &answer, &err) != TRB_OK) return cli_failed(cli, &err);
  json_array_foreach(json_object_get(answer, "sites"), i, site) {
    if (cli->json) {
      json_dumpf(site, cli->out, JSON_COMPACT);
      fputc('\n', cli->out);
    } else {
      print_site(cli->out, site);
    }
  }
  json_decref(answer);
  return CLI_DONE;
}

/* Before anybody is asked whether to go on. */
static bool is_no_hub(struct cli *cli, int *ret_code) {
  struct trb_conf conf;
  struct trb_error err = {0};
  enum trb_status status = conf_load(cli->argv[0], &conf, &err);
  if (status == TRB_OK && conf.role != TRB_ROLE_HUB)
    status = trb_fail(&err, TRB_PEER, "%s is a branch's folder, not a hub's", cli->argv[0]);
  if (status != TRB_OK) *ret_code = cli_failed(cli, &err);
  return status != TRB_OK;
}

static int order(struct cli *cli, const char *word, const char *usage, bool dry, json_t **ret) {
  const char *reason = cli_option(cli, "--reason");
  int code = cli_args(cli, 2, 2, usage);
  if (code) return code;
  if (is_no_hub(cli, &code)) return code;
  char question[160];
  snprintf(question, sizeof question, "Revoke the machine of '%.40s'? Its keys are never accepted again.",
           cli->argv[1]);
  if (strcmp(word, "revoke") == 0 && !dry && !cli_confirm(cli, question)) {
    fputs("tributary: not confirmed, nothing changed (--yes confirms)\n", cli->err);
    return CLI_REFUSED;
  }
  const char *const words[] = {word, cli->argv[1], reason ? reason : "", dry ? "dry-run" : ""};
  struct trb_error err = {0};
  return ask(cli->argv[0], 4, words, ret, &err) == TRB_OK ? CLI_DONE : cli_failed(cli, &err);
}

int cmd_hub_suspend(struct cli *cli) {
  json_t *answer = NULL;
  bool dry = cli_flag(cli, "--dry-run");
  int code = order(cli, "suspend", "hub suspend DIR SITE [--reason TEXT] [--dry-run]", dry, &answer);
  if (code) return code;
  if (!said_as_json(cli, answer) && dry)
    fprintf(cli->out,
            "'%s' would be suspended: it would keep its changes until `tributary hub resume`. Nothing changed.\n",
            cli->argv[1]);
  else if (!cli->json && !cli->quiet)
    fprintf(cli->out, "'%s' is suspended: it keeps its changes until `tributary hub resume`.\n", cli->argv[1]);
  json_decref(answer);
  return CLI_DONE;
}

int cmd_hub_resume(struct cli *cli) {
  json_t *answer = NULL;
  int code = order(cli, "resume", "hub resume DIR SITE [--reason TEXT]", false, &answer);
  if (code) return code;
  if (!said_as_json(cli, answer)) fprintf(cli->out, "'%s' is active again; it goes on by itself.\n", cli->argv[1]);
  json_decref(answer);
  return CLI_DONE;
}

int cmd_hub_revoke(struct cli *cli) {
  json_t *answer = NULL;
  bool dry = cli_flag(cli, "--dry-run");
  int code = order(cli, "revoke", "hub revoke DIR SITE [--reason TEXT] [--dry-run] [--yes]", dry, &answer);
  if (code) return code;
  if (!said_as_json(cli, answer)) {
    const json_t *held = json_object_get(answer, "machine_held");
    fprintf(cli->out, "'%s' %s revoked: nothing %s taken from its machine or sent to it any more.\n", cli->argv[1],
            dry ? "would be" : "is", dry ? "would be" : "is");
    fprintf(cli->out,
            "The machine %s %lld rows of its own (%lld customers), and what headquarters knows of %lld "
            "unified customers.\n",
            dry ? "holds" : "held", (long long)node_int(held, "rows"), (long long)node_int(held, "customers"),
            (long long)node_int(held, "unified_customers"));
    if (dry)
      fputs("Nothing changed.\n", cli->out);
    else
      fprintf(cli->out, "For a new machine: tributary hub invite %s %s\n", cli->argv[0], cli->argv[1]);
  }
  json_decref(answer);
  return CLI_DONE;
}

int cmd_hub_go(struct cli *cli) {
  int code = cli_args(cli, 1, 1, "hub go DIR [--yes]");
  if (code) return code;
  if (is_no_hub(cli, &code)) return code;
  if (!cli_confirm(cli, "Let the branches go on, although headquarters' writes since the backup are lost?")) {
    fputs("tributary: not confirmed, nothing changed (--yes confirms)\n", cli->err);
    return CLI_REFUSED;
  }
  const char *const words[] = {"go"};
  struct trb_error err = {0};
  json_t *answer = NULL;
  if (ask(cli->argv[0], 1, words, &answer, &err) != TRB_OK) return cli_failed(cli, &err);
  if (!said_as_json(cli, answer)) fputs("The branches go on.\n", cli->out);
  json_decref(answer);
  return CLI_DONE;
}

/* ---- backup ---- */

static int verify_copy(struct cli *cli, const char *path) {
  struct hub_report report;
  struct trb_error err = {0};
  if (hub_verify(path, &report, &err) != TRB_OK) return cli_failed(cli, &err);
  if (hub_report_good(&report)) return CLI_DONE;
  fprintf(cli->err, "tributary: the copy does not verify: %s\n", report.first);
  return CLI_FAILED;
}

int cmd_hub_backup(struct cli *cli) {
  int code = cli_args(cli, 2, 2, "hub backup DIR FILE");
  if (code) return code;
  char path[PATH_MAX], folder[PATH_MAX];
  struct trb_error err = {0};
  if (cli->argv[1][0] != '/' && getcwd(folder, sizeof folder)) { /* the daemon stands elsewhere */
    if ((size_t)snprintf(path, sizeof path, "%s/%s", folder, cli->argv[1]) >= sizeof path) path[0] = 0;
  } else {
    snprintf(path, sizeof path, "%s", cli->argv[1]);
  }
  const char *const words[] = {"backup", path};
  json_t *answer = NULL;
  if (ask(cli->argv[0], 2, words, &answer, &err) != TRB_OK) return cli_failed(cli, &err);
  char number[24];
  snprintf(number, sizeof number, "%lld", (long long)node_int(answer, "number"));
  code = verify_copy(cli, node_text(answer, "part"));
  json_decref(answer);
  const char *const verified[] = {code == CLI_DONE ? "backup-verified" : "backup-refused", path, number};
  if (ask(cli->argv[0], 3, verified, &answer, &err) != TRB_OK) return cli_failed(cli, &err);
  if (code != CLI_DONE) {
    json_decref(answer);
    fputs("tributary: the copy was removed; look at the hub itself: tributary verify DIR\n", cli->err);
    return code;
  }
  if (!said_as_json(cli, answer)) fprintf(cli->out, "%s is a verified backup (number %s).\n", path, number);
  json_decref(answer);
  return CLI_DONE;
}

/* ---- policy ---- */

static int policy_load_file(struct cli *cli, const char *file, bool dry) {
  TRB_BUF_AUTO text = {0};
  struct trb_error err = {0};
  json_t *answer = NULL;
  if (file_read(file, POLICY_FILE_BYTES_MAX, &text, &err) != TRB_OK) return cli_failed(cli, &err);
  const char *const words[] = {"policy-load", trb_buf_cstr(&text), dry ? "dry-run" : ""};
  if (strlen(words[1]) != text.len) trb_fail(&err, TRB_PEER, "%s holds a NUL byte", file);
  if (err.status != TRB_OK) return cli_failed(cli, &err);
  if (ask(cli->argv[0], 3, words, &answer, &err) != TRB_OK) return cli_failed(cli, &err);
  if (!said_as_json(cli, answer)) {
    const char *table;
    json_t *count;
    json_object_foreach(json_object_get(answer, "changed"), table, count)
        fprintf(cli->out, "%-24s %lld rows %s\n", table, (long long)json_integer_value(count),
                dry ? "would change" : "changed");
    fprintf(cli->out, "%lld rows as they were.%s\n", (long long)node_int(answer, "unchanged"),
            dry ? " Nothing was written." : " The branches get the changes by themselves.");
  }
  json_decref(answer);
  return CLI_DONE;
}

static int policy_words(struct cli *cli, size_t count, const char *const *words) {
  struct trb_error err = {0};
  json_t *answer = NULL;
  if (ask(cli->argv[0], count, words, &answer, &err) != TRB_OK) return cli_failed(cli, &err);
  if (strcmp(words[0], "policy-dump") == 0) {
    json_dumpf(answer, cli->out, JSON_INDENT(2));
    fputc('\n', cli->out);
  } else if (!said_as_json(cli, answer)) {
    fprintf(cli->out, "%s = ", node_text(answer, "name"));
    cli_print_text(cli->out, trb_slice_str(node_text(answer, "value")));
    fputc('\n', cli->out);
  }
  json_decref(answer);
  return CLI_DONE;
}

int cmd_policy(struct cli *cli) {
  static const char usage[] = "policy DIR dump | load FILE [--dry-run] | get KEY | set KEY VALUE";
  bool dry = cli_flag(cli, "--dry-run");
  int code = cli_args(cli, 2, 4, usage);
  if (code) return code;
  const char *verb = cli->argv[1];
  if (strcmp(verb, "load") == 0 && cli->argc == 3) return policy_load_file(cli, cli->argv[2], dry);
  if (strcmp(verb, "dump") == 0 && cli->argc == 2) return policy_words(cli, 1, (const char *const[]){"policy-dump"});
  if (strcmp(verb, "get") == 0 && cli->argc == 3)
    return policy_words(cli, 2, (const char *const[]){"policy-get", cli->argv[2]});
  if (strcmp(verb, "set") == 0 && cli->argc == 4)
    return policy_words(cli, 3, (const char *const[]){"policy-set", cli->argv[2], cli->argv[3]});
  fprintf(cli->err, "tributary: usage: tributary %s\n", usage);
  return CLI_USAGE;
}

/* ---- rejected ---- */

static int64_t print_rejected(struct cli *cli, struct trb_stmt *stmt, bool with_site, enum trb_status *ret_status,
                              struct trb_error *err) {
  bool row = true;
  int64_t count = 0;
  enum trb_status status = TRB_OK;
  while ((status = stmt_step(stmt, &row, err)) == TRB_OK && row) {
    count++;
    const char *site = with_site ? stmt_text(stmt, 7) : "";
    if (cli->json) {
      json_t *object = json_pack("{s:s, s:s, s:s, s:s, s:s, s:s, s:I, s:I}", "id", stmt_text(stmt, 0), "table",
                                 stmt_text(stmt, 1), "row_id", stmt_text(stmt, 2), "op", stmt_text(stmt, 3), "code",
                                 stmt_text(stmt, 4), "reason", stmt_text(stmt, 5), "batch_seq",
                                 (json_int_t)stmt_int(stmt, 6), "at_ms", (json_int_t)stmt_int(stmt, 8));
      if (object && with_site) json_object_set_new(object, "site", json_string(site));
      if (object) json_dumpf(object, cli->out, JSON_COMPACT);
      fputc('\n', cli->out);
      json_decref(object);
      continue;
    }
    fprintf(cli->out, "%-8s %-16s %-16s %-7s %-12s batch %-6lld ", stmt_text(stmt, 0), site, stmt_text(stmt, 1),
            stmt_text(stmt, 3), stmt_text(stmt, 4), (long long)stmt_int(stmt, 6));
    cli_print_text(cli->out, trb_slice_str(stmt_text(stmt, 2)));
    fputs(": ", cli->out);
    cli_print_text(cli->out, trb_slice_str(stmt_text(stmt, 5)));
    fputc('\n', cli->out);
  }
  *ret_status = status;
  return count;
}

static int list_rejected(struct cli *cli, const struct trb_conf *conf) {
  bool hub = conf->role == TRB_ROLE_HUB;
  char path[PATH_MAX];
  struct trb_db *db = NULL;
  struct trb_stmt *stmt = NULL;
  struct trb_error err = {0};
  snprintf(path, sizeof path, "%s/%s", cli->argv[0], hub ? "hub.db" : "replica.db");
  enum trb_status status = db_open(path, TRB_DB_READ, 5000, &db, &err);
  if (status == TRB_OK)
    status =
        db_queryf(db, &err, &stmt,
                  hub ? "SELECT r.id, r.table_name, r.row_id, r.op, r.reason_code, r.reason, r.batch_seq, n.name, r.at "
                        "FROM rejected_change_of r JOIN site_no n ON n.no=r.site ORDER BY r.rid"
                      : "SELECT id, table_name, row_id, op, reason_code, reason, batch_seq, '', at FROM "
                        "rejected_change ORDER BY CAST(id AS INTEGER)",
                  "");
  int64_t count = status == TRB_OK ? print_rejected(cli, stmt, hub, &status, &err) : 0;
  if (stmt) stmt_done(stmt);
  db_close(&db);
  if (status != TRB_OK) return cli_failed(cli, &err);
  if (!cli->json && !cli->quiet && count == 0) fputs("Nothing is set aside.\n", cli->out);
  if (!cli->json && !cli->quiet && count && hub)
    fprintf(cli->err, "When the reason is gone: tributary rejected %s retry ID (or all)\n", cli->argv[0]);
  return CLI_DONE;
}

int cmd_rejected(struct cli *cli) {
  int code = cli_args(cli, 1, 3, "rejected DIR [retry ID|all]");
  if (code) return code;
  struct trb_conf conf;
  struct trb_error err = {0};
  if (conf_load(cli->argv[0], &conf, &err) != TRB_OK) return cli_failed(cli, &err);
  if (cli->argc == 1) return list_rejected(cli, &conf);
  if (cli->argc != 3 || strcmp(cli->argv[1], "retry") != 0) {
    fputs("tributary: usage: tributary rejected DIR [retry ID|all]\n", cli->err);
    return CLI_USAGE;
  }
  if (conf.role != TRB_ROLE_HUB) {
    fputs("tributary: changes are tried again at headquarters, not at a branch; to mend a row, change it here again\n",
          cli->err);
    return CLI_REFUSED;
  }
  const char *const words[] = {"rejected-retry", cli->argv[2]};
  json_t *answer = NULL;
  if (ask(cli->argv[0], 2, words, &answer, &err) != TRB_OK) return cli_failed(cli, &err);
  int64_t refused = node_int(answer, "still_refused");
  if (!said_as_json(cli, answer))
    fprintf(cli->out, "%lld changes applied, %lld still refused.\n", (long long)node_int(answer, "applied"),
            (long long)refused);
  json_decref(answer);
  return refused ? CLI_NOT_YET : CLI_DONE;
}
