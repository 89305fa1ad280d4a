/* verify: recomputes what can be recomputed and compares. At the hub everything (hub/verify.h); at a branch the chain
 * of the outbox, and its digests against the rows (branch_command "verify" when the node offers it). Changes nothing.
 */
#include "../hub/verify.h"

#include <limits.h>
#include <string.h>

#include "commands.h"
#include "tributary/branch.h"
#include "tributary/conf.h"

static int verify_hub(struct cli *cli, const char *path) {
  struct hub_report r;
  struct trb_error err = {0};
  if (hub_verify(path, &r, &err) != TRB_OK) return cli_failed(cli, &err);
  bool good = hub_report_good(&r);
  if (cli->json) {
    TRB_BUF_AUTO out = {0};
    hub_report_json(&r, &out);
    fprintf(cli->out, "%s\n", trb_buf_cstr(&out));
    return good ? CLI_DONE : CLI_FAILED;
  }
  if (!cli->quiet) {
    fprintf(cli->out, "file      %s\n", r.integrity_errors ? "DAMAGED" : "whole");
    fprintf(cli->out, "chains    %lld streams, %lld batches: %lld errors\n", (long long)r.streams, (long long)r.batches,
            (long long)r.chain_errors);
    fprintf(
        cli->out, "digests   %lld tables of sites, %lld rows: %lld errors, %lld differences from what branches say\n",
        (long long)r.tables, (long long)r.rows_digested, (long long)r.digest_errors, (long long)r.digest_differences);
    fprintf(cli->out, "view      %lld records, %lld claims, %lld parties: %lld, %lld and %lld golden rows differ\n",
            (long long)r.unify.records, (long long)r.unify.claims, (long long)r.unify.parties,
            (long long)r.unify.claim_differences, (long long)r.unify.party_differences,
            (long long)r.unify.golden_differences);
  }
  if (!good) fprintf(cli->err, "tributary: %s\n", r.first);
  return good ? CLI_DONE : CLI_FAILED;
}

static void branch_json(struct cli *cli, const struct branch_report *r, bool good) {
  fprintf(cli->out,
          "{\"good\": %s, \"batches\": %lld, \"tables\": %lld, \"rows\": %lld, \"integrity_errors\": %lld, "
          "\"chain_errors\": %lld, \"ack_errors\": %lld, \"digest_errors\": %lld, \"row_differences\": %lld}\n",
          good ? "true" : "false", (long long)r->batches, (long long)r->tables, (long long)r->rows,
          (long long)r->integrity_errors, (long long)r->chain_errors, (long long)r->ack_errors,
          (long long)r->digest_errors, (long long)r->row_differences);
}

static int verify_branch(struct cli *cli) {
  struct branch_report r;
  struct trb_error err = {0};
  if (branch_verify(cli->argv[0], &r, &err) != TRB_OK) return cli_failed(cli, &err);
  bool good = branch_report_good(&r);
  if (cli->json) {
    branch_json(cli, &r, good);
  } else if (!cli->quiet) {
    fprintf(cli->out, "files     %s\n", r.integrity_errors ? "DAMAGED" : "whole");
    fprintf(cli->out, "chain     %lld batches kept: %lld errors, %lld acknowledgements wrong\n", (long long)r.batches,
            (long long)r.chain_errors, (long long)r.ack_errors);
    fprintf(cli->out, "digests   %lld tables: %lld errors\n", (long long)r.tables, (long long)r.digest_errors);
    fprintf(cli->out, "rows      %lld: %lld differ from what was sealed\n", (long long)r.rows,
            (long long)r.row_differences);
  }
  if (!good) fprintf(cli->err, "tributary: %s\n", r.first);
  return good ? CLI_DONE : CLI_FAILED;
}

int cmd_verify(struct cli *cli) {
  int code = cli_args(cli, 1, 1, "verify DIR|BACKUP");
  if (code) return code;
  struct trb_conf conf;
  struct trb_error err = {0};
  size_t len = strlen(cli->argv[0]);
  if (len > 3 && strcmp(cli->argv[0] + len - 3, ".db") == 0) return verify_hub(cli, cli->argv[0]);
  if (conf_load(cli->argv[0], &conf, &err) != TRB_OK) return cli_failed(cli, &err);
  if (conf.role == TRB_ROLE_BRANCH) return verify_branch(cli);
  char path[PATH_MAX];
  snprintf(path, sizeof path, "%s/hub.db", cli->argv[0]);
  return verify_hub(cli, path);
}
