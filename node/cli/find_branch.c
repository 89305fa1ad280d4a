/* find_branch: customers as a branch knows them: unified rows from headquarters, and its own cards that headquarters
 * has not yet answered for. A contact that is masked here cannot be found by its number. */
#include <string.h>

#include "../hub/jout.h"
#include "party.h"

/* id, name, kind, city, state, sites, records, mobile, email */
#define UNIFIED                                                                                              \
  "SELECT u.id, u.name, u.kind, u.city, u.state, u.sites, u.record_count, u.main_mobile, u.main_email FROM " \
  "unified_customer u "
/* Own cards without a party yet: '?' says so. */
#define OWN                                                                                                          \
  "SELECT '? ' || c.id, c.name, c.kind, c.city, 'not at headquarters yet', '', 1, NULL, NULL FROM customer c WHERE " \
  "NOT EXISTS("                                                                                                      \
  "SELECT 1 FROM party_of p WHERE p.id = c.id) "

static const char *const BY_ID_SQL = UNIFIED
    "WHERE u.id = ?1 OR u.id IN (SELECT party_id FROM party_of WHERE id = ?1) OR u.id IN (SELECT p.party_id FROM "
    "customer c JOIN "
    "party_of p ON p.id = c.id WHERE c.external_ref = ?1) UNION ALL " OWN
    "AND (c.id = ?1 OR c.external_ref = ?1) LIMIT ?2";
static const char *const BY_NAME_SQL = UNIFIED
    "WHERE instr(lower(u.name), lower(?1)) OR instr(lower(u.name_latin), lower(?1)) OR instr(lower(u.name_english), "
    "lower(?1)) UNION ALL " OWN
    "AND (instr(lower(c.name), lower(?1)) OR instr(lower(c.name_latin), lower(?1)) OR instr(lower(c.name_english), "
    "lower(?1))) LIMIT ?2";
/* Candidates only: values that end like the one looked for; each is normalised and compared. */
#define STRIPPED(v) "replace(replace(replace(lower(" v "), ' ', ''), '-', ''), '.', '')"
static const char *const CONTACTS_SQL =
    "SELECT k.party_id, k.kind, k.value FROM unified_contact k WHERE k.masked = 0 AND instr(" STRIPPED("k.value") ", ?1) UNION ALL "
    "SELECT coalesce((SELECT party_id FROM party_of p WHERE p.id = k.customer_id), '? ' || k.customer_id), k.kind, k.value FROM contact k "
    "WHERE k.customer_id IS NOT NULL AND instr(" STRIPPED("k.value") ", ?1)";
static const char *const ONE_SQL = UNIFIED "WHERE u.id = ?1 UNION ALL " OWN "AND '? ' || c.id = ?1";

struct finder {
  struct cli *cli;
  struct party_node *node;
  size_t max, count;
  bool unmask;
};

static void print_row(struct finder *f, struct trb_stmt *stmt) {
  static const char *const keys[] = {"party", "name", "kind", "city", "state", "sites"};
  TRB_BUF_AUTO mobile = {0};
  TRB_BUF_AUTO email = {0};
  party_contact("mobile", stmt_slice(stmt, 7), f->unmask, &mobile);
  party_contact("email", stmt_slice(stmt, 8), f->unmask, &email);
  f->count++;
  if (f->cli->json) {
    TRB_BUF_AUTO out = {0};
    jout_open(&out, NULL, '{');
    for (int i = 0; i < 6; i++) jout_text(&out, keys[i], stmt_slice(stmt, i));
    jout_int(&out, "records", stmt_int(stmt, 6));
    jout_text(&out, "main_mobile", trb_buf_slice(&mobile));
    jout_text(&out, "main_email", trb_buf_slice(&email));
    jout_close(&out, '}');
    fprintf(f->cli->out, "%s\n", trb_buf_cstr(&out));
    return;
  }
  party_pad(f->cli, stmt_slice(stmt, 0), 28);
  fputc(' ', f->cli->out);
  party_pad(f->cli, stmt_slice(stmt, 1), 20);
  fputc(' ', f->cli->out);
  party_pad(f->cli, trb_buf_slice(&mobile), 16);
  fputc(' ', f->cli->out);
  party_pad(f->cli, trb_buf_slice(&email), 24);
  fputc(' ', f->cli->out);
  struct trb_slice sites = stmt_slice(stmt, 5);
  if (sites.len)
    fprintf(f->cli->out, "%lld record%s at ", (long long)stmt_int(stmt, 6), stmt_int(stmt, 6) == 1 ? "" : "s");
  cli_print_text(f->cli->out, sites.len ? sites : stmt_slice(stmt, 4));
  fputc('\n', f->cli->out);
}

static enum trb_status print_all(struct finder *f, struct trb_stmt *stmt, struct trb_error *err) {
  bool row = true;
  enum trb_status status = TRB_OK;
  while (f->count < f->max && (status = stmt_step(stmt, &row, err)) == TRB_OK && row) print_row(f, stmt);
  return status;
}

static enum trb_status by_text(struct finder *f, const char *sql, const char *text, struct trb_error *err) {
  TRB_STMT_AUTO *stmt = NULL;
  enum trb_status status = db_queryf(f->node->db, err, &stmt, sql, "ti", text, (int64_t)f->max);
  return status == TRB_OK ? print_all(f, stmt, err) : status;
}

static bool shares_key(const struct trb_keys *a, const struct trb_keys *b) {
  for (size_t i = 0; i < a->count; i++)
    for (size_t j = 0; j < b->count; j++)
      if (strcmp(a->key[i].text, b->key[j].text) == 0) return true;
  return false;
}

/* What every way of writing the contact has in common: the last digits of a number, the part before @ of a mailbox,
 * else all. */
static void fragment(const char *key, char ret[64]) {
  const char *value = strchr(key, ':');
  value = value ? value + 1 : key;
  size_t len = strcspn(value, "@;");
  if (strncmp(key, "tel:", 4) == 0 && len > 4) value += len - 4, len = 4;
  snprintf(ret, 64, "%.*s", (int)(len < 63 ? len : 63), value);
}

static enum trb_status by_contact(struct finder *f, const char *kind, const char *text, struct trb_error *err) {
  struct trb_keys wanted, keys;
  key_normalise(kind_of(trb_slice_str(kind)), trb_slice_str(kind), trb_slice_str(text), &f->node->context, &wanted);
  if (!wanted.count) return TRB_OK;
  char part[64];
  TRB_BUF_AUTO seen = {0}; /* "\nid\n..": a party with the contact on several rows is shown once */
  fragment(wanted.key[0].text, part);
  TRB_STMT_AUTO *stmt = NULL;
  bool row = true;
  enum trb_status status = db_queryf(f->node->db, err, &stmt, CONTACTS_SQL, "t", part);
  while (status == TRB_OK && f->count < f->max && (status = stmt_step(stmt, &row, err)) == TRB_OK && row) {
    key_normalise(kind_of(stmt_slice(stmt, 1)), stmt_slice(stmt, 1), stmt_slice(stmt, 2), &f->node->context, &keys);
    if (!shares_key(&wanted, &keys)) continue;
    TRB_BUF_AUTO id = {0};
    trb_buf_printf(&id, "\n%s\n", stmt_text(stmt, 0));
    if (seen.len && memmem(seen.data, seen.len, id.data, id.len)) continue;
    trb_buf_append_slice(&seen, trb_buf_slice(&id));
    TRB_STMT_AUTO *one = NULL;
    bool found = false;
    status = db_queryf(f->node->db, err, &one, ONE_SQL, "s", stmt_slice(stmt, 0));
    if (status == TRB_OK) status = stmt_step(one, &found, err);
    if (status == TRB_OK && found) print_row(f, one);
  }
  return status;
}

int find_branch(struct cli *cli, struct party_node *node, const char *kind, const char *text, size_t max, bool unmask) {
  static const char *const kinds[] = {"mobile", "landline", "email", "wechat", "qq", "member_card"};
  struct finder f = {.cli = cli, .node = node, .max = max, .unmask = unmask};
  struct trb_error err = {0};
  enum trb_status status = kind ? by_contact(&f, kind, text, &err) : by_text(&f, BY_ID_SQL, text, &err);
  for (size_t i = 0; !kind && status == TRB_OK && !f.count && i < sizeof kinds / sizeof *kinds; i++)
    status = by_contact(&f, kinds[i], text, &err);
  if (!kind && status == TRB_OK && !f.count) status = by_text(&f, BY_NAME_SQL, text, &err);
  if (status != TRB_OK) return cli_failed(cli, &err);
  if (f.count) return CLI_DONE;
  if (!cli->quiet)
    fputs("nobody found at this branch (contacts that are masked here cannot be found by number)\n", cli->err);
  return CLI_NOT_YET;
}
