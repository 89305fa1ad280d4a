/* party: see party.h. */
#include "party.h"

#include <limits.h>
#include <string.h>
#include <time.h>

#include "tributary/hub.h"
#include "tributary/text.h"

enum { BUSY_MS = 5000 };

enum trb_status party_open(struct cli *cli, struct party_node *node, struct trb_error *err) {
  char path[PATH_MAX];
  *node = (struct party_node){0};
  enum trb_status status = conf_load(cli->argv[0], &node->conf, err);
  if (status != TRB_OK) return status;
  bool hub = node->conf.role == TRB_ROLE_HUB;
  snprintf(node->context.region, sizeof node->context.region, "%.2s", node->conf.region);
  snprintf(node->context.area_code, sizeof node->context.area_code, "%.7s", node->conf.area_code);
  snprintf(path, sizeof path, "%s/%s", cli->argv[0], hub ? "hub.db" : "replica.db");
  status = db_open(path, TRB_DB_READ, BUSY_MS, &node->db, err);
  return status == TRB_OK ? db_begin_read(node->db, err) : status;
}

void party_close(struct party_node *node) {
  if (node->db) db_rollback(node->db);
  db_close(&node->db);
}

void party_value(struct trb_value value, struct trb_buf *out) {
  switch (value.type) {
    case TRB_NULL: return;
    case TRB_INT: trb_buf_printf(out, "%lld", (long long)value.i); return;
    case TRB_REAL: trb_buf_printf(out, "%.15g", value.r); return;
    case TRB_TEXT: trb_buf_append_slice(out, value.s); return;
    case TRB_BLOB: trb_buf_printf(out, "(%zu bytes)", value.s.len); return;
  }
}

static bool is_name(const char *column) {
  static const char *const names[] = {"name",        "name_latin", "name_english",        "gender",
                                      "nationality", "occupation", "legal_representative"};
  for (size_t i = 0; i < sizeof names / sizeof *names; i++)
    if (strcmp(column, names[i]) == 0) return true;
  return false;
}

void party_masked(const struct trb_column *column, struct trb_value value, bool unmask, struct trb_buf *out) {
  bool hidden = (column->flags & (TRB_COLUMN_PERSONAL | TRB_COLUMN_SENSITIVE)) && !is_name(column->name);
  if (unmask || !hidden || value.type == TRB_NULL) {
    party_value(value, out);
    return;
  }
  TRB_BUF_AUTO text = {0};
  party_value(value, &text);
  enum trb_kind kind = strcmp(column->name, "main_mobile") == 0  ? TRB_KIND_MOBILE
                       : strcmp(column->name, "main_email") == 0 ? TRB_KIND_EMAIL
                       : strncmp(column->name, "main_", 5) == 0  ? TRB_KIND_WECHAT
                                                                 : TRB_KIND_NONE;
  key_mask(kind, trb_buf_slice(&text), out);
}

void party_contact(const char *kind, struct trb_slice value, bool unmask, struct trb_buf *out) {
  if (unmask)
    trb_buf_append_slice(out, value);
  else
    key_mask(kind_of(trb_slice_str(kind)), value, out);
}

void party_when(int64_t ms, char ret_text[32]) {
  time_t seconds = (time_t)(ms / 1000);
  struct tm tm;
  ret_text[0] = 0;
  if (ms > 0 && gmtime_r(&seconds, &tm)) strftime(ret_text, 32, "%Y-%m-%d %H:%M", &tm);
}

void party_pad(struct cli *cli, struct trb_slice text, size_t width) {
  cli_print_text(cli->out, text);
  for (size_t w = text_width(text); w < width; w++) fputc(' ', cli->out);
}

enum trb_status party_log_unmask(struct cli *cli, const char *party, const char *why, struct trb_error *err) {
  const char *const words[] = {"access-log", party, why};
  TRB_BUF_AUTO out = {0};
  return hub_command(cli->argv[0], 3, words, &out, err);
}
