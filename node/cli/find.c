/* find: customers by party, record id, external reference, contact or a piece of a name. At the hub; find_branch.c is a
 * branch's. */
#include <stdlib.h>
#include <string.h>

#include "../hub/jout.h"
#include "../hub/search.h"
#include "party.h"

#define FIND_MAX_DEFAULT 50
#define FIND_MAX 100000

static const char *const ROW_SQL =
    "SELECT id, name, kind, city, state, sites, record_count, main_mobile, main_email FROM unified_customer WHERE _rid "
    "= ?1";

static void print_json(struct cli *cli, struct trb_stmt *stmt, struct trb_slice mobile, struct trb_slice email) {
  static const char *const keys[] = {"party", "name", "kind", "city", "state", "sites"};
  TRB_BUF_AUTO out = {0};
  jout_open(&out, NULL, '{');
  for (int i = 0; i < 6; i++) jout_text(&out, keys[i], stmt_slice(stmt, i));
  jout_int(&out, "records", stmt_int(stmt, 6));
  jout_text(&out, "main_mobile", mobile);
  jout_text(&out, "main_email", email);
  jout_close(&out, '}');
  fprintf(cli->out, "%s\n", trb_buf_cstr(&out));
}

static void print_line(struct cli *cli, struct trb_stmt *stmt, struct trb_slice mobile, struct trb_slice email) {
  party_pad(cli, stmt_slice(stmt, 0), 28);
  fputc(' ', cli->out);
  party_pad(cli, stmt_slice(stmt, 1), 20);
  fputc(' ', cli->out);
  party_pad(cli, mobile, 16);
  fputc(' ', cli->out);
  party_pad(cli, email, 24);
  fprintf(cli->out, " %lld record%s at ", (long long)stmt_int(stmt, 6), stmt_int(stmt, 6) == 1 ? "" : "s");
  cli_print_text(cli->out, stmt_slice(stmt, 5));
  fputc('\n', cli->out);
}

static enum trb_status print_party(struct cli *cli, struct party_node *node, int64_t party, bool unmask,
                                   struct trb_error *err) {
  TRB_STMT_AUTO *stmt = NULL;
  bool row = false;
  enum trb_status status = db_queryf(node->db, err, &stmt, ROW_SQL, "i", party);
  if (status == TRB_OK) status = stmt_step(stmt, &row, err);
  if (status != TRB_OK || !row) return status;
  TRB_BUF_AUTO mobile = {0};
  TRB_BUF_AUTO email = {0};
  party_contact("mobile", stmt_slice(stmt, 7), unmask, &mobile);
  party_contact("email", stmt_slice(stmt, 8), unmask, &email);
  if (unmask) status = party_log_unmask(cli, stmt_text(stmt, 0), "find --unmask", err);
  if (status != TRB_OK) return status;
  if (cli->json)
    print_json(cli, stmt, trb_buf_slice(&mobile), trb_buf_slice(&email));
  else
    print_line(cli, stmt, trb_buf_slice(&mobile), trb_buf_slice(&email));
  return TRB_OK;
}

static int find_hub(struct cli *cli, struct party_node *node, const char *kind, const char *text, size_t max,
                    bool unmask) {
  struct trb_error err = {0};
  struct search_hits hits = {.max = max, .party = calloc(max, sizeof(int64_t))};
  enum trb_status status = hits.party ? TRB_OK : trb_fail(&err, TRB_NOMEM, "out of memory");
  if (status == TRB_OK)
    status = kind ? search_contact(node->db, trb_slice_str(kind), trb_slice_str(text), &node->context, &hits, &err)
                  : search_any(node->db, trb_slice_str(text), &node->context, &hits, &err);
  for (size_t i = 0; status == TRB_OK && i < hits.count; i++)
    status = print_party(cli, node, hits.party[i], unmask, &err);
  free(hits.party);
  if (status != TRB_OK) return cli_failed(cli, &err);
  if (hits.more && !cli->quiet) fprintf(cli->err, "there are more than %zu: say more, or use --max\n", max);
  if (hits.count) return CLI_DONE;
  if (!cli->quiet)
    fputs("nobody found: try fewer words, a piece of the name, or the contact with its country code\n", cli->err);
  return CLI_NOT_YET;
}

int cmd_find(struct cli *cli) {
  struct trb_error err = {0};
  const char *kind = cli_option(cli, "--kind"), *value = cli_option(cli, "--value"), *most = cli_option(cli, "--max");
  bool unmask = cli_flag(cli, "--unmask");
  static const char usage[] = "find DIR TEXT | find DIR --kind KIND --value VALUE";
  int code = cli_args(cli, value ? 1 : 2, value ? 1 : 2, usage);
  if (code) return code;
  long max = most ? strtol(most, NULL, 10) : FIND_MAX_DEFAULT;
  if ((kind != NULL) != (value != NULL) || max < 1 || max > FIND_MAX) {
    fprintf(cli->err, "tributary: --kind and --value go together, --max is 1 to %d\nusage: tributary %s\n", FIND_MAX,
            usage);
    return CLI_USAGE;
  }
  PARTY_NODE_AUTO node;
  if (party_open(cli, &node, &err) != TRB_OK) return cli_failed(cli, &err);
  const char *text = value ? value : cli->argv[1];
  return node.conf.role == TRB_ROLE_HUB ? find_hub(cli, &node, kind, text, (size_t)max, unmask)
                                        : find_branch(cli, &node, kind, text, (size_t)max, unmask);
}

int cmd_show(struct cli *cli) {
  struct trb_error err = {0};
  bool unmask = cli_flag(cli, "--unmask");
  const char *events = cli_option(cli, "--events");
  int code = cli_args(cli, 2, 2, "show DIR PARTY|SITE/RECORD|RECORD [--unmask] [--events N]");
  if (code) return code;
  PARTY_NODE_AUTO node;
  if (party_open(cli, &node, &err) != TRB_OK) return cli_failed(cli, &err);
  int64_t count = events ? strtoll(events, NULL, 10) : 30;
  return node.conf.role == TRB_ROLE_HUB ? show_hub(cli, &node, cli->argv[1], unmask, count)
                                        : show_branch(cli, &node, cli->argv[1], unmask, count);
}
