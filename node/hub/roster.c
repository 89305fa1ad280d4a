/* roster: see roster.h. Here: the copy in memory. The orders are in roster_orders.c. */
#include "roster.h"

#include <stdlib.h>
#include <string.h>

const char *roster_state_name(enum roster_state state) {
  static const char *const names[] = {"invited", "active", "suspended", "revoked", "closed"};
  return names[state];
}

static enum roster_state state_of(const char *text) {
  static const char *const words[] = {"invited", "open", "suspended", "revoked", "closed"};
  for (size_t i = 0; i < sizeof words / sizeof *words; i++)
    if (strcmp(text, words[i]) == 0) return (enum roster_state)i;
  return ROSTER_SUSPENDED; /* a word from a newer version: keep out */
}

static void copy_text(char *to, size_t size, struct trb_slice from) {
  size_t len = from.len < size ? from.len : size - 1;
  if (len) memcpy(to, from.data, len);
  to[len] = 0;
}

static enum trb_status load_sites(struct trb_db *db, struct roster *roster, struct trb_error *err) {
  TRB_STMT_AUTO *stmt = NULL;
  size_t cap = 0;
  enum trb_status status =
      db_queryf(db, err, &stmt,
                "SELECT n.no, n.name, coalesce(s.state,'invited'), s.region, s.area_code FROM site s JOIN site_no n ON "
                "n.name=s.id WHERE s._site=1 AND n.no<>1 ORDER BY n.name",
                "");
  bool row = status == TRB_OK;
  while (status == TRB_OK && (status = stmt_step(stmt, &row, err)) == TRB_OK && row) {
    if (roster->count == cap) {
      cap = cap ? 2 * cap : 16;
      struct roster_site *sites = realloc(roster->sites, cap * sizeof *sites);
      if (!sites) return trb_fail(err, TRB_NOMEM, "out of memory");
      roster->sites = sites;
    }
    struct roster_site *site = &roster->sites[roster->count++];
    *site = (struct roster_site){.no = stmt_int(stmt, 0), .state = state_of(stmt_text(stmt, 2))};
    copy_text(site->name, sizeof site->name, stmt_slice(stmt, 1));
    copy_text(site->region, sizeof site->region, stmt_slice(stmt, 3));
    copy_text(site->area_code, sizeof site->area_code, stmt_slice(stmt, 4));
  }
  return status;
}

static void add_key(uint8_t keys[][TRB_KEY_BYTES], size_t *count, size_t max, struct trb_slice key) {
  if (key.len != TRB_KEY_BYTES || *count == max) return;
  for (size_t i = 0; i < *count; i++)
    if (memcmp(keys[i], key.data, TRB_KEY_BYTES) == 0) return;
  memcpy(keys[(*count)++], key.data, TRB_KEY_BYTES);
}

static enum trb_status load_keys(struct trb_db *db, struct roster *roster, struct trb_error *err) {
  TRB_STMT_AUTO *stmt = NULL;
  enum trb_status status = db_queryf(db, err, &stmt,
                                     "SELECT site_id, curve_public, sign_public, state FROM site_key WHERE state IN "
                                     "('current','previous') ORDER BY site_id, state, valid_from DESC",
                                     "");
  bool row = status == TRB_OK;
  while (status == TRB_OK && (status = stmt_step(stmt, &row, err)) == TRB_OK && row) {
    struct roster_site *site = roster_named(roster, stmt_text(stmt, 0));
    if (!site) continue;
    add_key(site->curve, &site->curve_count, ROSTER_CURVE_KEYS, stmt_slice(stmt, 1));
    add_key(site->sign, &site->sign_count, JOB_SIGN_KEYS, stmt_slice(stmt, 2));
  }
  return status;
}

enum trb_status roster_load(struct trb_db *db, struct roster *ret, struct trb_error *err) {
  struct roster roster = {0};
  enum trb_status status = load_sites(db, &roster, err);
  if (status == TRB_OK) status = load_keys(db, &roster, err);
  if (status != TRB_OK) {
    roster_free(&roster);
    return status;
  }
  *ret = roster;
  return TRB_OK;
}

void roster_free(struct roster *roster) {
  free(roster->sites);
  *roster = (struct roster){0};
}

static int by_name(const void *name, const void *site) {
  return strcmp(name, ((const struct roster_site *)site)->name);
}

struct roster_site *roster_named(const struct roster *roster, const char *name) {
  return roster->count ? bsearch(name, roster->sites, roster->count, sizeof *roster->sites, by_name) : NULL;
}

struct roster_site *roster_numbered(const struct roster *roster, int64_t no) {
  for (size_t i = 0; i < roster->count; i++)
    if (roster->sites[i].no == no) return &roster->sites[i];
  return NULL;
}

struct roster_site *roster_by_curve(const struct roster *roster, const uint8_t key[TRB_KEY_BYTES]) {
  for (size_t i = 0; i < roster->count; i++)
    for (size_t k = 0; k < roster->sites[i].curve_count; k++)
      if (memcmp(roster->sites[i].curve[k], key, TRB_KEY_BYTES) == 0) return &roster->sites[i];
  return NULL;
}
