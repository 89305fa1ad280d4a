/* golden_contacts: the contacts of a party as one list (see golden.h). */
#include <stdlib.h>
#include <string.h>

#include "golden.h"

const char *golden_status_name(enum golden_contact_status status) {
  static const char *const names[] = {NULL, "works", "owner_changed", "wrong", "dead", "suppressed"};
  return names[status];
}

bool golden_kind_has_main(enum trb_kind kind) {
  return kind == TRB_KIND_MOBILE || kind == TRB_KIND_EMAIL || kind == TRB_KIND_WECHAT;
}

static bool own(const struct golden_contact *c) {
  return c->used_by.len == 0 || trb_slice_equal(c->used_by, trb_slice_str("self"));
}

/* 2 usable, 1 owner changed, 0 never main. */
static int usable(enum golden_contact_status status) {
  if (status <= GOLDEN_STATUS_WORKS) return 2;
  return status == GOLDEN_STATUS_OWNER_CHANGED ? 1 : 0;
}

static int order(bool a, bool b) { return (int)a - (int)b; }

/* Rows of one key, or candidates for main: greater is better. */
static int judge(const struct golden_contact *a, const struct golden_contact *b) {
  int c = order(own(a), own(b));
  if (!c) c = order(a->main, b->main);
  if (!c && a->verified_at != b->verified_at) c = a->verified_at > b->verified_at ? 1 : -1;
  if (!c && a->time != b->time) c = a->time > b->time ? 1 : -1;
  return c;
}

static int judge_content(const struct golden_contact *a, const struct golden_contact *b) {
  int c = trb_slice_compare(golden_contact_value(a), golden_contact_value(b));
  if (!c) c = trb_slice_compare(a->label, b->label);
  if (!c) c = trb_slice_compare(a->used_by, b->used_by);
  return c ? c : trb_slice_compare(a->kind, b->kind);
}

static bool named_before(const struct golden_member *members, const struct golden_contact *a,
                         const struct golden_contact *b) {
  struct party_stamp x = members[a->member].stamp, y = members[b->member].stamp;
  if (party_stamp_before(x, y)) return true;
  if (party_stamp_before(y, x)) return false;
  if (party_stamp_before(a->accepted, b->accepted)) return true;
  if (party_stamp_before(b->accepted, a->accepted)) return false;
  return a->part < b->part;
}

static int by_key(const void *a, const void *b) {
  return trb_slice_compare(((const struct golden_contact *)a)->key, ((const struct golden_contact *)b)->key);
}

struct trb_slice golden_contact_value(const struct golden_contact *contact) {
  if (contact->part == 0) return contact->value;
  const uint8_t *colon = memchr(contact->key.data, ':', contact->key.len);
  if (!colon) return contact->key;
  size_t skip = (size_t)(colon - contact->key.data) + 1;
  return (struct trb_slice){contact->key.data + skip, contact->key.len - skip};
}

static void group(const struct golden_member *members, const struct golden_contact *contacts,
                  struct golden_unified_contact *u) {
  u->named = u->best = u->first;
  u->status = contacts[u->first].status;
  for (size_t i = u->first; i < u->first + u->count; i++) {
    const struct golden_contact *c = &contacts[i];
    if (c->verified_at > u->verified_at) u->verified_at = c->verified_at;
    if (named_before(members, c, &contacts[u->named])) u->named = i;
    int better = judge(c, &contacts[u->best]);
    if (better > 0 || (better == 0 && judge_content(c, &contacts[u->best]) > 0)) u->best = i;
  }
}

static bool main_before(const struct golden_contact *contacts, const struct golden_unified_contact *a,
                        const struct golden_unified_contact *b) {
  int c = usable(a->status) - usable(b->status);
  if (!c) c = judge(&contacts[a->best], &contacts[b->best]);
  if (!c && a->count != b->count) c = a->count > b->count ? 1 : -1;
  if (!c) c = trb_slice_compare(contacts[a->best].key, contacts[b->best].key);
  return c > 0;
}

/* One main of each kind that the golden row names; of the other kinds whatever was marked. */
static void choose_main(const struct golden_contact *contacts, struct golden_unified_contact *all, size_t count) {
  size_t best[TRB_KIND_OTHER + 1];
  for (size_t k = 0; k <= TRB_KIND_OTHER; k++) best[k] = SIZE_MAX;
  for (size_t i = 0; i < count; i++) {
    enum trb_kind kind = kind_of(contacts[all[i].best].kind);
    if (golden_kind_has_main(kind)) {
      bool better = best[kind] == SIZE_MAX || main_before(contacts, &all[i], &all[best[kind]]);
      if (usable(all[i].status) > 0 && better) best[kind] = i;
    } else {
      for (size_t j = all[i].first; j < all[i].first + all[i].count; j++) all[i].main = all[i].main || contacts[j].main;
    }
  }
  for (size_t k = 0; k <= TRB_KIND_OTHER; k++)
    if (best[k] != SIZE_MAX) all[best[k]].main = true;
}

size_t golden_contacts(const struct golden_member *members, struct golden_contact *contacts, size_t count,
                       struct golden_unified_contact *ret) {
  if (count > 1) qsort(contacts, count, sizeof *contacts, by_key);
  size_t n = 0;
  for (size_t i = 0; i < count;) {
    struct golden_unified_contact *u = &ret[n++];
    *u = (struct golden_unified_contact){.first = i};
    while (i < count && trb_slice_equal(contacts[i].key, contacts[u->first].key)) i++;
    u->count = i - u->first;
    group(members, contacts, u);
  }
  choose_main(contacts, ret, n);
  return n;
}
