/* claims: the keys a source row makes, and their two tables (row_key by record, claim by key).
 *
 * The rule of keys (claims_of_row) is pure given the site's phone context and the key policy; the verifier uses the
 * same function.
 *
 *   table               key                                                  links
 *   contact             of value, by kind (key.h)                            used_by empty, self or none; not
 * TRB_KEY_WEAK; the kind links identity_document   of number, by kind                                   the kind links
 *   customer            of tax_no                                            tax_no links
 *   preference, tag_on  ~p: or ~t: and a hash of the content                 never
 *   contact_status, suppression   of value, by kind; held under record 0     never
 * A contact that makes no key gets ~c: and a hash of kind and text, so that equal ones still count once. Kinds that
 * link: all of key.h; kinds of contacts it does not know (fax, website, ..) only when identity_policy has an enabled
 * row of strength strong or normal for them; a policy row of strength weak or none, or not enabled, switches any kind
 * off. */
#ifndef TRIBUTARY_HUB_CLAIMS_H
#define TRIBUTARY_HUB_CLAIMS_H

#include "tributary/catalogue.h"
#include "tributary/db.h"
#include "tributary/key.h"

#define CLAIMS_POLICY_KINDS_MAX 256 /* rows of identity_policy looked at */
struct claims_policy_kind {
  char name[33];
  enum trb_kind kind;
  bool links;
};
struct claims_policy {
  size_t count;
  struct claims_policy_kind kind[CLAIMS_POLICY_KINDS_MAX];
};
enum trb_status claims_policy_load(struct claims_policy *policy, struct trb_db *db, struct trb_error *err);

struct claims_key {
  char text[TRB_KEY_BYTES_MAX + 1];
  bool links;
};
struct claims_keys {
  size_t count;
  struct claims_key key[TRB_KEYS_PER_VALUE_MAX];
};
/* `keys`: what a worker normalised already, or NULL. Distinct keys in the order typed. */
void claims_of_row(const struct claims_policy *policy, const struct trb_key_context *context,
                   const struct trb_table *table, const struct trb_value *values, const struct trb_keys *keys,
                   struct claims_keys *ret);
bool claims_makes_keys(uint16_t table);

/* Value of a column of a row in catalogue order; NULL value when the table has no such column. */
struct trb_value row_value(const struct trb_table *table, const struct trb_value *values, uint16_t column);
struct trb_slice value_text(struct trb_value value); /* empty unless TEXT */

/* Rows of row_key and claim. claims_put finds any other record that holds the key under a linking class: *ret_other, 0:
 * none. */
enum trb_status claims_put(struct trb_db *db, int64_t rec, uint16_t table, int64_t rid, int64_t part,
                           const struct claims_key *key, int64_t class, int64_t *ret_other, struct trb_error *err);
/* The row of claim alone. */
enum trb_status claims_hold(struct trb_db *db, int64_t rec, uint16_t table, int64_t rid, const char *key, int64_t class,
                            int64_t *ret_other, struct trb_error *err);
enum trb_status claims_drop(struct trb_db *db, int64_t rec, uint16_t table, int64_t rid, int64_t part,
                            struct trb_slice key, int64_t class, struct trb_error *err);
#define CLAIMS_CLASS_STATUS (-1)

#endif
