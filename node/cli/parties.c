/* parties: the whole assignment of records to parties, for audit and for measuring. Hub only. */
#include "../hub/jout.h"
#include "party.h"

static void csv_field(FILE *out, struct trb_slice text) { /* RFC 4180 */
  bool quoted = false;
  for (size_t i = 0; i < text.len; i++)
    if (text.data[i] == '"' || text.data[i] == ',' || text.data[i] == '\n' || text.data[i] == '\r') quoted = true;
  if (!quoted) {
    fwrite(text.data, 1, text.len, out);
    return;
  }
  fputc('"', out);
  for (size_t i = 0; i < text.len; i++) {
    if (text.data[i] == '"') fputc('"', out);
    fputc(text.data[i], out);
  }
  fputc('"', out);
}

static void print_json(struct cli *cli, struct trb_stmt *stmt) {
  static const char *const keys[] = {"site", "record_id", "external_ref", "party_id"};
  TRB_BUF_AUTO out = {0};
  jout_open(&out, NULL, '{');
  for (int i = 0; i < 4; i++) jout_text(&out, keys[i], stmt_slice(stmt, i));
  jout_close(&out, '}');
  fprintf(cli->out, "%s\n", trb_buf_cstr(&out));
}

static void print_csv(struct cli *cli, struct trb_stmt *stmt) {
  for (int i = 0; i < 4; i++) {
    if (i) fputc(',', cli->out);
    csv_field(cli->out, stmt_slice(stmt, i));
  }
  fputc('\n', cli->out);
}

int cmd_parties(struct cli *cli) {
  struct trb_error err = {0};
  cli_flag(cli, "--csv"); /* the one form there is, and the default */
  int code = cli_args(cli, 1, 1, "parties DIR --csv");
  if (code) return code;
  PARTY_NODE_AUTO node;
  TRB_STMT_AUTO *stmt = NULL;
  if (party_open(cli, &node, &err) != TRB_OK) return cli_failed(cli, &err);
  if (node.conf.role != TRB_ROLE_HUB) {
    trb_fail(&err, TRB_PEER,
             "parties are headquarters' to list: give the hub's directory (at a branch read the table party_of)");
    return cli_failed(cli, &err);
  }
  enum trb_status status = db_queryf(node.db, &err, &stmt,
                                     "SELECT p.site, p.record_id, c.external_ref, p.party_id FROM party_of p "
                                     "LEFT JOIN customer c ON c._rid = p.rec ORDER BY p.site, p.record_id",
                                     "");
  if (status == TRB_OK && !cli->json) fputs("site,record_id,external_ref,party_id\n", cli->out);
  bool row = true;
  while (status == TRB_OK && (status = stmt_step(stmt, &row, &err)) == TRB_OK && row)
    cli->json ? print_json(cli, stmt) : print_csv(cli, stmt);
  return status == TRB_OK ? CLI_DONE : cli_failed(cli, &err);
}
