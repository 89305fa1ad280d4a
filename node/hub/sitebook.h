/* sitebook: what the unified view needs to know of a site, read from site_no and `site` when first asked for. Belongs
 * to one thread and one connection's snapshot; forget it when a site's row changes. */
#ifndef TRIBUTARY_HUB_SITEBOOK_H
#define TRIBUTARY_HUB_SITEBOOK_H

#include "tributary/catalogue.h"
#include "tributary/db.h"
#include "tributary/key.h"

enum sitebook_scope { SITEBOOK_COMPANY = 0, SITEBOOK_OWN, SITEBOOK_FRANCHISE };
struct sitebook_entry {
  int64_t no;
  char name[TRB_SITE_BYTES_MAX + 1];
  struct trb_key_context context; /* completes local phone numbers */
  enum sitebook_scope scope;      /* which sites see its customers */
  char parent[TRB_SITE_BYTES_MAX + 1];
  bool awaited; /* some row named it before it was known */
};
struct sitebook {
  struct sitebook_entry **entries; /* owned; pointers stay valid until sitebook_done */
  size_t count, cap;
};
/* TRB_ABSENT: no such site. */
enum trb_status sitebook_get(struct sitebook *book, struct trb_db *db, int64_t no, const struct sitebook_entry **ret,
                             struct trb_error *err);
enum trb_status sitebook_number(struct trb_db *db, struct trb_slice name, int64_t *ret, struct trb_error *err);
void sitebook_done(struct sitebook *book); /* also forgets: it may be used again */

/* May `viewer` see rows of `source`? Its own and headquarters' always; of scope own: nobody else; franchise: sites of
 * the same parent and the parent itself; company: every site of scope company. */
bool sitebook_sees(const struct sitebook_entry *viewer, const struct sitebook_entry *source);

#endif
