/* show_branch: one customer as headquarters has told this branch, from its unified_* tables. */
#include <string.h>

#include "../hub/jout.h"
#include "party.h"

static const char *const PARTY_SQL =
    "SELECT id FROM unified_customer WHERE id = ?1 UNION ALL SELECT party_id FROM party_of WHERE id = ?1 LIMIT 1";

/* Each list: heading, SQL of ?1 party and ?2 limit; the named columns are printed. */
static const struct {
  const char *name, *sql;
} LISTS[] = {
    {"contacts",
     "SELECT kind, value, CASE WHEN main THEN 'main' ELSE '' END AS main, CASE WHEN verified_at > 0 THEN 'verified' "
     "ELSE '' END AS "
     "verified, status, sites, CASE WHEN masked THEN 'masked by headquarters' ELSE '' END AS masked FROM "
     "unified_contact WHERE "
     "party_id = ?1 ORDER BY kind, main DESC, value LIMIT 1000"},
    {"preferences",
     "SELECT key, value, sites FROM unified_preference WHERE party_id = ?1 ORDER BY key, value LIMIT 1000"},
    {"tags",
     "SELECT coalesce(label, (SELECT name FROM tag WHERE tag.id = tag_id), tag_id) AS tag, sites FROM unified_tag "
     "WHERE party_id = ?1 "
     "ORDER BY 1 LIMIT 1000"},
    {"relations",
     "SELECT kind, coalesce(other_name, other_id) AS other, label, sites FROM unified_relation WHERE party_id = ?1 "
     "ORDER BY kind, 2 "
     "LIMIT 1000"},
    {"timeline",
     "SELECT strftime('%Y-%m-%d %H:%M', at / 1000, 'unixepoch') AS at, site, kind, title, amount, currency FROM "
     "unified_event "
     "WHERE party_id = ?1 ORDER BY unified_event.at DESC, id LIMIT ?2"},
};

static void print_cell(struct cli *cli, struct trb_stmt *stmt, int i, bool contact, bool unmask, struct trb_buf *json) {
  TRB_BUF_AUTO text = {0};
  TRB_BUF_AUTO shown = {0};
  party_value(stmt_value(stmt, i), &text);
  bool hide = contact && strcmp(stmt_column_name(stmt, i), "value") == 0 && stmt_text(stmt, 6)[0] == 0;
  if (hide)
    party_contact(stmt_text(stmt, 0), trb_buf_slice(&text), unmask, &shown);
  else
    trb_buf_append_slice(&shown, trb_buf_slice(&text));
  if (cli->json) {
    jout_text(json, stmt_column_name(stmt, i), trb_buf_slice(&shown));
    return;
  }
  fputs(i ? " " : "  ", cli->out);
  party_pad(cli, trb_buf_slice(&shown), i == 0 ? 16 : shown.len ? 12 : 0);
}

static enum trb_status show_list(struct cli *cli, struct party_node *node, size_t which, const char *party, bool unmask,
                                 int64_t events, struct trb_buf *json, struct trb_error *err) {
  TRB_STMT_AUTO *stmt = NULL;
  bool row = true, any = false, timeline = strcmp(LISTS[which].name, "timeline") == 0;
  enum trb_status status = timeline ? db_queryf(node->db, err, &stmt, LISTS[which].sql, "ti", party, events)
                                    : db_queryf(node->db, err, &stmt, LISTS[which].sql, "t", party);
  if (cli->json) jout_open(json, LISTS[which].name, '[');
  while (status == TRB_OK && (status = stmt_step(stmt, &row, err)) == TRB_OK && row) {
    if (cli->json) jout_open(json, NULL, '{');
    if (!cli->json && !any) fprintf(cli->out, "%s\n", LISTS[which].name);
    any = true;
    for (int i = 0; i < stmt_column_count(stmt); i++) print_cell(cli, stmt, i, which == 0, unmask, json);
    if (cli->json)
      jout_close(json, '}');
    else
      fputc('\n', cli->out);
  }
  if (cli->json) jout_close(json, ']');
  return status;
}

static enum trb_status show_golden(struct cli *cli, struct party_node *node, const char *party, bool unmask,
                                   struct trb_buf *json, struct trb_error *err) {
  TRB_STMT_AUTO *stmt = NULL;
  bool row = false;
  struct trb_catalogue *catalogue = catalogue_builtin();
  const struct trb_table *table = catalogue_table(catalogue, TRB_T_unified_customer);
  enum trb_status status = db_queryf(node->db, err, &stmt, "SELECT * FROM unified_customer WHERE id = ?1", "t", party);
  if (status == TRB_OK) status = stmt_step(stmt, &row, err);
  for (int i = 0; status == TRB_OK && row && i < stmt_column_count(stmt); i++) {
    const struct trb_column *column = table_column_named(table, stmt_column_name(stmt, i));
    if (!column || stmt_is_null(stmt, i) || column->number < 4) continue;
    bool provenance = column->number == TRB_C_unified_customer_provenance;
    if (provenance && !cli->json) continue;
    TRB_BUF_AUTO shown = {0};
    party_masked(column, stmt_value(stmt, i), unmask, &shown);
    if (cli->json) {
      jout_text(json, column->name, trb_buf_slice(&shown));
      continue;
    }
    if (column->number == TRB_C_unified_customer_first_seen || column->number == TRB_C_unified_customer_last_seen) {
      char when[32];
      party_when(stmt_int(stmt, i), when);
      trb_buf_clear(&shown);
      trb_buf_append_str(&shown, when);
    }
    fprintf(cli->out, "  %-18s ", column->name);
    cli_print_text(cli->out, trb_buf_slice(&shown));
    fputc('\n', cli->out);
  }
  catalogue_unref(&catalogue);
  return status;
}

int show_branch(struct cli *cli, struct party_node *node, const char *what, bool unmask, int64_t events) {
  struct trb_error err = {0};
  TRB_BUF_AUTO party = {0};
  TRB_BUF_AUTO json = {0};
  enum trb_status status = db_get_bytes(node->db, &err, &party, PARTY_SQL, "t", what);
  if (status == TRB_ABSENT) {
    fputs(
        "tributary: headquarters has told this branch of no customer with this party or record id (yet); `find` looks "
        "by name and contact\n",
        cli->err);
    return CLI_NOT_YET;
  }
  if (status != TRB_OK) return cli_failed(cli, &err);
  const char *id = trb_buf_cstr(&party);
  if (cli->json) {
    jout_open(&json, NULL, '{');
    jout_str(&json, "party", id);
  } else {
    cli_print_text(cli->out, trb_slice_str(id));
    fputc('\n', cli->out);
  }
  status = show_golden(cli, node, id, unmask, &json, &err);
  for (size_t i = 0; status == TRB_OK && i < sizeof LISTS / sizeof *LISTS; i++)
    status = show_list(cli, node, i, id, unmask, events, &json, &err);
  if (status != TRB_OK) return cli_failed(cli, &err);
  if (cli->json) {
    jout_close(&json, '}');
    fprintf(cli->out, "%s\n", trb_buf_cstr(&json));
  }
  return CLI_DONE;
}
