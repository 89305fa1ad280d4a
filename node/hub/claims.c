/* claims: see claims.h. */
#include "claims.h"

#include <stdio.h>
#include <string.h>
#include <strings.h>

#include "tributary/digest.h"
#include "tributary/unify.h"

struct trb_value row_value(const struct trb_table *table, const struct trb_value *values, uint16_t column) {
  size_t index = table_column_index(table, column);
  return index == SIZE_MAX ? trb_null() : values[index];
}
struct trb_slice value_text(struct trb_value value) {
  return value.type == TRB_TEXT ? value.s : (struct trb_slice){NULL, 0};
}

/* ---- policy ---- */

enum trb_status claims_policy_load(struct claims_policy *policy, struct trb_db *db, struct trb_error *err) {
  *policy = (struct claims_policy){0};
  TRB_STMT_AUTO *stmt = NULL;
  /* By content, so that two rows for one kind give one answer: the more careful one comes last and wins. */
  enum trb_status status =
      db_queryf(db, err, &stmt,
                "SELECT kind, coalesce(enabled, 1) <> 0 AND coalesce(strength, 'normal') IN ('strong', 'normal') "
                "FROM identity_policy WHERE kind IS NOT NULL ORDER BY kind, 2 DESC",
                "");
  bool row = true;
  while (status == TRB_OK && (status = stmt_step(stmt, &row, err)) == TRB_OK && row) {
    if (policy->count == CLAIMS_POLICY_KINDS_MAX) continue;
    struct claims_policy_kind *k = &policy->kind[policy->count++];
    snprintf(k->name, sizeof k->name, "%s", stmt_text(stmt, 0));
    k->kind = kind_of(stmt_slice(stmt, 0));
    k->links = stmt_int(stmt, 1) != 0;
  }
  return status;
}

static bool kind_links(const struct claims_policy *policy, enum trb_kind kind, struct trb_slice name, bool otherwise) {
  bool links = otherwise;
  for (size_t i = 0; i < policy->count; i++) {
    const struct claims_policy_kind *k = &policy->kind[i];
    bool same = kind == TRB_KIND_OTHER ? k->kind == TRB_KIND_OTHER && strlen(k->name) == name.len &&
                                             (!name.len || strncasecmp(k->name, (const char *)name.data, name.len) == 0)
                                       : k->kind == kind;
    if (same) links = k->links;
  }
  return links;
}

/* ---- keys of a row ---- */

bool unify_key_columns(uint16_t table, uint16_t *ret_value_column, uint16_t *ret_kind_column, enum trb_kind *ret_kind) {
  uint16_t value, kind = 0;
  enum trb_kind fixed = TRB_KIND_NONE;
  switch (table) {
    case TRB_T_contact: value = TRB_C_contact_value, kind = TRB_C_contact_kind; break;
    case TRB_T_identity_document: value = TRB_C_identity_document_number, kind = TRB_C_identity_document_kind; break;
    case TRB_T_contact_status: value = TRB_C_contact_status_value, kind = TRB_C_contact_status_kind; break;
    case TRB_T_suppression: value = TRB_C_suppression_value, kind = TRB_C_suppression_kind; break;
    case TRB_T_customer: value = TRB_C_customer_tax_no, fixed = TRB_KIND_TAX_NO; break;
    default: return false;
  }
  *ret_value_column = value;
  *ret_kind_column = kind;
  *ret_kind = fixed;
  return true;
}

bool claims_makes_keys(uint16_t table) {
  uint16_t value, kind_column;
  enum trb_kind kind;
  return table == TRB_T_preference || table == TRB_T_tag_on || unify_key_columns(table, &value, &kind_column, &kind);
}

static void add_key(struct claims_keys *ret, const char *text, bool links) {
  for (size_t i = 0; i < ret->count; i++)
    if (strcmp(ret->key[i].text, text) == 0) return;
  if (ret->count == TRB_KEYS_PER_VALUE_MAX) return;
  struct claims_key *key = &ret->key[ret->count++];
  snprintf(key->text, sizeof key->text, "%s", text);
  key->links = links;
}

/* A 64-bit hash stands for the content: only ever compared within one party. */
static void add_content(struct claims_keys *ret, const char *prefix, struct trb_slice a, struct trb_value b) {
  char text[24];
  snprintf(text, sizeof text, "%s%016llx", prefix, (unsigned long long)digest_cell(0, a, 1, b));
  add_key(ret, text, false);
}

static bool claims_own(struct trb_slice used_by) {
  return used_by.len == 0 || trb_slice_equal(used_by, trb_slice_str("self")) ||
         trb_slice_equal(used_by, trb_slice_str("none"));
}

static void keys_of_value(const struct claims_policy *policy, const struct trb_key_context *context, uint16_t table,
                          struct trb_slice kind_text, enum trb_kind kind, struct trb_slice value,
                          const struct trb_keys *keys, bool own, struct claims_keys *ret) {
  struct trb_keys made;
  if (!keys) {
    key_normalise(kind, kind_text, value, context, &made);
    keys = &made;
  }
  bool otherwise = table != TRB_T_contact || kind != TRB_KIND_OTHER;
  for (size_t i = 0; i < keys->count; i++) {
    const struct trb_key *key = &keys->key[i];
    bool links = own && !(key->flags & TRB_KEY_WEAK) && kind_links(policy, key->kind, kind_text, otherwise);
    if (key->text[0]) add_key(ret, key->text, links);
  }
}

void claims_of_row(const struct claims_policy *policy, const struct trb_key_context *context,
                   const struct trb_table *table, const struct trb_value *values, const struct trb_keys *keys,
                   struct claims_keys *ret) {
  ret->count = 0;
  uint16_t value_column, kind_column;
  enum trb_kind kind;
  if (unify_key_columns(table->number, &value_column, &kind_column, &kind)) {
    struct trb_slice value = value_text(row_value(table, values, value_column));
    struct trb_slice kind_text =
        kind_column ? value_text(row_value(table, values, kind_column)) : (struct trb_slice){0};
    if (kind_column) kind = kind_of(kind_text);
    bool speaks = table->number == TRB_T_contact_status || table->number == TRB_T_suppression;
    bool own = !speaks && (table->number != TRB_T_contact ||
                           claims_own(value_text(row_value(table, values, TRB_C_contact_used_by))));
    if (value.len) keys_of_value(policy, context, table->number, kind_text, kind, value, keys, own, ret);
    if (ret->count == 0 && table->number != TRB_T_customer && table->number != TRB_T_identity_document)
      add_content(ret, "~c:", kind_text, trb_text_slice(value));
  } else if (table->number == TRB_T_preference) {
    add_content(ret, "~p:", value_text(row_value(table, values, TRB_C_preference_key)),
                row_value(table, values, TRB_C_preference_value));
  } else if (table->number == TRB_T_tag_on) {
    struct trb_value tag = row_value(table, values, TRB_C_tag_on_tag_id);
    bool headquarters = tag.type == TRB_TEXT;
    add_content(ret, "~t:", trb_slice_str(headquarters ? "tag" : "label"),
                headquarters ? tag : row_value(table, values, TRB_C_tag_on_label));
  }
}

/* ---- tables ---- */

enum trb_status claims_hold(struct trb_db *db, int64_t rec, uint16_t table, int64_t rid, const char *key, int64_t class,
                            int64_t *ret_other, struct trb_error *err) {
  int64_t other = 0;
  if (class > 0) {
    enum trb_status found =
        db_get_int(db, NULL, &other, "SELECT rec FROM claim WHERE key=?1 AND class=?2 AND rec<>?3 LIMIT 1", "tii", key,
                   class, rec);
    if (found != TRB_OK && found != TRB_ABSENT) return trb_fail(err, found, "hub.db: the claims cannot be read");
  }
  enum trb_status status = db_run(db, err, "INSERT OR REPLACE INTO claim(key,class,tbl,rid,rec) VALUES(?1,?2,?3,?4,?5)",
                                  "tiiii", key, class, (int64_t)table, rid, rec);
  if (status == TRB_OK) *ret_other = other;
  return status;
}

enum trb_status claims_put(struct trb_db *db, int64_t rec, uint16_t table, int64_t rid, int64_t part,
                           const struct claims_key *key, int64_t class, int64_t *ret_other, struct trb_error *err) {
  enum trb_status status =
      db_run(db, err, "INSERT OR REPLACE INTO row_key(rec,tbl,rid,part,key,links) VALUES(?1,?2,?3,?4,?5,?6)", "iiiiti",
             rec, (int64_t)table, rid, part, key->text, (int64_t)key->links);
  return status == TRB_OK ? claims_hold(db, rec, table, rid, key->text, class, ret_other, err) : status;
}

enum trb_status claims_drop(struct trb_db *db, int64_t rec, uint16_t table, int64_t rid, int64_t part,
                            struct trb_slice key, int64_t class, struct trb_error *err) {
  enum trb_status status = db_run(db, err, "DELETE FROM row_key WHERE rec=?1 AND tbl=?2 AND rid=?3 AND part=?4", "iiii",
                                  rec, (int64_t)table, rid, part);
  if (status == TRB_OK)
    status = db_run(db, err, "DELETE FROM claim WHERE key=?1 AND class=?2 AND tbl=?3 AND rid=?4", "siii", key, class,
                    (int64_t)table, rid);
  return status;
}
