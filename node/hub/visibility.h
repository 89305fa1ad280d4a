/* visibility: what one branch sees of a customer whom other branches know too. Built in, then headquarters'
 * visibility_policy.
 *
 *   - Sensitive columns never go down.
 *   - Rows of a site whose scope hides it from this one (sitebook_sees) do not go down, nor golden values that site
 * won.
 *   - While locked: other branches' contacts are masked (key_mask); of other branches' events only site, time and kind
 * are told; golden birthday, address, postcode, referrer and remark that another branch won are withheld.
 *   - Unlocked for a site: it has a booking with the customer, or a verified contact of its own in the party (table
 * unlocked).
 *   - visibility_policy rows, by position: the first that fits viewer's scope, site, table (unified_..) and field
 * (column, or kind of the contact) decides: show, mask or hide; unmask_by booking, verified_contact or never says what
 * lifts a mask (empty: either of the two). Values that this branch holds itself are always shown. */
#ifndef TRIBUTARY_HUB_VISIBILITY_H
#define TRIBUTARY_HUB_VISIBILITY_H

#include "sitebook.h"
#include "tributary/catalogue.h"

enum visibility { VISIBLE_SHOW = 0, VISIBLE_MASK, VISIBLE_HIDE };
enum visibility_lock { VISIBILITY_LOCKED = 0, VISIBILITY_BOOKING, VISIBILITY_VERIFIED };

#define VISIBILITY_RULES_MAX 256 /* rows of visibility_policy looked at */
struct visibility_rule {
  char table[65], field[65], sites[1025], unmask_by[65];
  enum sitebook_scope scope;
  bool any_scope;
  enum visibility rule;
};
struct visibility_policy {
  size_t count;
  struct visibility_rule *rules; /* owned */
};
enum trb_status visibility_load(struct visibility_policy *policy, struct trb_db *db, struct trb_error *err);
void visibility_done(struct visibility_policy *policy);

/* Of a value another branch holds. */
enum visibility visibility_of(const struct visibility_policy *policy, const struct sitebook_entry *viewer,
                              const char *table, struct trb_slice field, enum visibility_lock lock);
enum trb_status visibility_lock_of(struct trb_db *db, int64_t party, int64_t site, enum visibility_lock *ret,
                                   struct trb_error *err);

#endif
