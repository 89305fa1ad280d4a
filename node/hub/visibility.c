/* visibility: see visibility.h. */
#include "visibility.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static void copy_text(char *to, size_t size, const char *from) { snprintf(to, size, "%s", from); }

static void read_rule(struct trb_stmt *stmt, struct visibility_rule *r) {
  const char *scope = stmt_text(stmt, 0), *rule = stmt_text(stmt, 3);
  r->any_scope = !scope[0];
  r->scope = strcmp(scope, "own") == 0         ? SITEBOOK_OWN
             : strcmp(scope, "franchise") == 0 ? SITEBOOK_FRANCHISE
                                               : SITEBOOK_COMPANY;
  copy_text(r->table, sizeof r->table, stmt_text(stmt, 1));
  copy_text(r->field, sizeof r->field, stmt_text(stmt, 2));
  r->rule = strcmp(rule, "show") == 0 ? VISIBLE_SHOW : strcmp(rule, "hide") == 0 ? VISIBLE_HIDE : VISIBLE_MASK;
  copy_text(r->sites, sizeof r->sites, stmt_text(stmt, 4));
  copy_text(r->unmask_by, sizeof r->unmask_by, stmt_text(stmt, 5));
}

enum trb_status visibility_load(struct visibility_policy *policy, struct trb_db *db, struct trb_error *err) {
  *policy = (struct visibility_policy){0};
  TRB_STMT_AUTO *stmt = NULL;
  enum trb_status status = db_queryf(db, err, &stmt,
                                     "SELECT scope, table_name, field, rule, sites, unmask_by FROM visibility_policy "
                                     "ORDER BY position, rule, table_name, field, sites LIMIT ?1",
                                     "i", (int64_t)VISIBILITY_RULES_MAX);
  bool row = true;
  while (status == TRB_OK && (status = stmt_step(stmt, &row, err)) == TRB_OK && row) {
    struct visibility_rule *grown = realloc(policy->rules, (policy->count + 1) * sizeof *grown);
    if (!grown) return trb_fail(err, TRB_NOMEM, "out of memory");
    policy->rules = grown;
    read_rule(stmt, &policy->rules[policy->count++]);
  }
  return status;
}

void visibility_done(struct visibility_policy *policy) {
  free(policy->rules);
  *policy = (struct visibility_policy){0};
}

static bool names(const char *list, const char *name) { /* comma separated; empty: everybody */
  size_t len = strlen(name);
  if (!*list) return true;
  for (const char *at = list; *at;) {
    while (*at == ' ' || *at == ',') at++;
    size_t n = strcspn(at, ", ");
    if (n == len && memcmp(at, name, len) == 0) return true;
    at += n;
  }
  return false;
}

static bool lifted(const char *unmask_by, enum visibility_lock lock) {
  if (lock == VISIBILITY_LOCKED) return false;
  if (strcmp(unmask_by, "never") == 0) return false;
  if (strcmp(unmask_by, "booking") == 0) return lock == VISIBILITY_BOOKING;
  if (strcmp(unmask_by, "verified_contact") == 0) return lock == VISIBILITY_VERIFIED;
  return true;
}

static enum visibility built_in(const char *table, struct trb_slice field) {
  static const char *const withheld[] = {"birthday", "address", "postcode", "referrer", "remark"};
  if (strcmp(table, "unified_contact") == 0) return VISIBLE_MASK;
  if (strcmp(table, "unified_event") == 0) return VISIBLE_MASK;
  for (size_t i = 0; strcmp(table, "unified_customer") == 0 && i < sizeof withheld / sizeof *withheld; i++)
    if (trb_slice_equal(field, trb_slice_str(withheld[i]))) return VISIBLE_HIDE;
  return VISIBLE_SHOW;
}

enum visibility visibility_of(const struct visibility_policy *policy, const struct sitebook_entry *viewer,
                              const char *table, struct trb_slice field, enum visibility_lock lock) {
  for (size_t i = 0; i < policy->count; i++) {
    const struct visibility_rule *r = &policy->rules[i];
    if (!r->any_scope && r->scope != viewer->scope) continue;
    if (r->table[0] && strcmp(r->table, table) != 0) continue;
    if (r->field[0] && !trb_slice_equal(field, trb_slice_str(r->field))) continue;
    if (!names(r->sites, viewer->name)) continue;
    return r->rule != VISIBLE_SHOW && lifted(r->unmask_by, lock) ? VISIBLE_SHOW : r->rule;
  }
  return lock == VISIBILITY_LOCKED ? built_in(table, field) : VISIBLE_SHOW;
}

enum trb_status visibility_lock_of(struct trb_db *db, int64_t party, int64_t site, enum visibility_lock *ret,
                                   struct trb_error *err) {
  TRB_BUF_AUTO why = {0};
  enum trb_status status =
      db_get_bytes(db, NULL, &why, "SELECT why FROM unlocked WHERE party = ?1 AND site = ?2", "ii", party, site);
  if (status != TRB_OK && status != TRB_ABSENT)
    return trb_fail(err, status, "hub.db: the table of locks cannot be read");
  *ret = status == TRB_ABSENT                         ? VISIBILITY_LOCKED
         : strcmp(trb_buf_cstr(&why), "booking") == 0 ? VISIBILITY_BOOKING
                                                      : VISIBILITY_VERIFIED;
  return TRB_OK;
}
