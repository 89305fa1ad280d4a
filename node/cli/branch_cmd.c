/* branch_cmd: `branch join` and `branch run`. */
#include <stdlib.h>
#include <string.h>

#include "commands.h"
#include "tributary/branch.h"

#define JOIN_TIMEOUT_S 30

static enum trb_status read_token(const char *word, const char *file, struct trb_buf *out, struct trb_error *err) {
  if (word) {
    trb_buf_append_str(out, word);
    return TRB_OK;
  }
  TRB_ASSERT(file); /* the one or the other was given */
  if (strcmp(file, "-") != 0) return file_read(file, TRB_TOKEN_CHARS_MAX + 256, out, err);
  char line[TRB_TOKEN_CHARS_MAX + 256];
  if (!fgets(line, sizeof line, stdin)) return trb_fail(err, TRB_PEER, "no token came on standard input");
  trb_buf_append_str(out, line);
  return TRB_OK;
}

static int say_joined(struct cli *cli, const struct branch_join_result *result) {
  if (cli->json) {
    fprintf(cli->out, "{\"site\":\"%s\",\"endpoint\":\"%s\"}\n", result->site, result->endpoint);
  } else if (!cli->quiet) {
    fprintf(cli->out, "This directory is now the branch '%s' of the hub at %s.\n", result->site, result->endpoint);
    fprintf(cli->out, "Start it:   tributary branch run %s\n", cli->argv[0]);
    fprintf(cli->out, "Write rows: sqlite3 %s/replica.db \"INSERT INTO customer(kind,name) VALUES('person','...')\"\n",
            cli->argv[0]);
  }
  return CLI_DONE;
}

int cmd_branch_join(struct cli *cli) {
  static const char usage[] = "branch join DIR TOKEN | branch join DIR --token-file FILE";
  int64_t timeout_s = JOIN_TIMEOUT_S;
  const char *file = cli_option(cli, "--token-file"), *timeout = cli_option(cli, "--timeout");
  int code = cli_args(cli, file ? 1 : 2, file ? 1 : 2, usage);
  if (code != 0) return code;
  if (timeout && (!cli_duration(timeout, &timeout_s) || timeout_s < 1 || timeout_s > 3600)) {
    fprintf(cli->err, "tributary: --timeout takes a time such as 30s or 2m, at most 1h\n");
    return CLI_USAGE;
  }
  TRB_BUF_AUTO text = {0};
  struct trb_token token;
  struct trb_error err = {0};
  struct branch_join_result result = {{0}, {0}};
  enum trb_status status = read_token(file ? NULL : cli->argv[1], file, &text, &err);
  if (status == TRB_OK) status = token_decode(trb_buf_slice(&text), &token, &err);
  if (status == TRB_OK) status = branch_join(cli->argv[0], &token, (int)timeout_s * 1000, &result, &err);
  crypto_wipe(&token, sizeof token);
  return status == TRB_OK ? say_joined(cli, &result) : cli_failed(cli, &err);
}

int cmd_branch_run(struct cli *cli) {
  bool once = cli_flag(cli, "--once");
  int code = cli_args(cli, 1, 1, "branch run DIR [--once]");
  if (code != 0) return code;
  struct trb_error err = {0};
  enum trb_status status = branch_run(cli->argv[0], once, &err);
  return status == TRB_OK ? CLI_DONE : cli_daemon_failed(cli, &err);
}
