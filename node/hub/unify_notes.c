/* unify_notes: from what changed to entries in `down` (see down.h). Entries only name rows, so noting a site too many
 * or a row twice costs a few bytes, while one too few would leave a branch wrong: every doubt is settled by noting. */
#include <stdlib.h>
#include <string.h>

#include "unify_internal.h"

static enum trb_status nomem(struct trb_error *err) { return trb_fail(err, TRB_NOMEM, "out of memory"); }
static const struct trb_slice NOTHING = {NULL, 0};

/* ---- lists of sites ---- */

static size_t place_of(const struct unify_sitelist *list, int64_t site) {
  size_t low = 0, high = list->count;
  while (low < high) {
    size_t middle = (low + high) / 2;
    if (list->site[middle] < site)
      low = middle + 1;
    else
      high = middle;
  }
  return low;
}
bool sitelist_has(const struct unify_sitelist *list, int64_t site) {
  size_t at = place_of(list, site);
  return at < list->count && list->site[at] == site;
}
bool sitelist_add(struct unify_sitelist *list, int64_t site) {
  size_t at = place_of(list, site);
  if (at < list->count && list->site[at] == site) return true;
  if (!unify_grow((void **)&list->site, list->count, &list->cap, sizeof *list->site)) return false;
  memmove(list->site + at + 1, list->site + at, (list->count - at) * sizeof *list->site);
  list->site[at] = site;
  list->count++;
  return true;
}
bool sitelist_add_all(struct unify_sitelist *list, const struct unify_sitelist *from) {
  bool ok = true;
  for (size_t i = 0; ok && i < from->count; i++) ok = sitelist_add(list, from->site[i]);
  return ok;
}

enum trb_status unify_watchers(struct unify *u, int64_t party, struct unify_sitelist *ret, struct trb_error *err) {
  TRB_STMT_AUTO *stmt = NULL;
  enum trb_status status =
      db_queryf(u->db, err, &stmt,
                "SELECT site FROM record WHERE rec = ?1 AND party IS NULL AND class <> 0 UNION ALL "
                "SELECT site FROM record WHERE party = ?1 AND class <> 0",
                "i", party);
  bool row = true;
  while (status == TRB_OK && (status = stmt_step(stmt, &row, err)) == TRB_OK && row)
    if (stmt_int(stmt, 0) != TRB_HQ_SITE_NO && !sitelist_add(ret, stmt_int(stmt, 0))) return nomem(err);
  return status;
}

/* ---- entries ---- */

enum trb_status unify_put_down(struct unify *u, int64_t site, enum down_kind kind, int64_t num, struct trb_slice gone,
                               struct trb_error *err) {
  if (site == TRB_HQ_SITE_NO) return TRB_OK;
  if (site == DOWN_ALL_SITES)
    u->all_sites_dirty = true;
  else if (!sitelist_add(&u->dirty, site))
    return nomem(err);
  return down_put(u->db, site, kind, num, gone, &u->version, err);
}

struct row_notes {
  struct unify *u;
  const struct unify_sitelist *sites;
};
static enum trb_status note_row(void *context, uint16_t table, int64_t rid, struct trb_error *err) {
  const struct row_notes *n = context;
  enum trb_status status = TRB_OK;
  for (size_t i = 0; status == TRB_OK && i < n->sites->count; i++)
    status = unify_put_down(n->u, n->sites->site[i], DOWN_ROW, down_num(table, rid), NOTHING, err);
  return status;
}

enum trb_status unify_note_record(struct unify *u, const struct unify_sitelist *sites, int64_t rec,
                                  struct trb_error *err) {
  if (!sites->count) return TRB_OK;
  enum trb_status status = TRB_OK;
  for (size_t i = 0; status == TRB_OK && i < sites->count; i++)
    status = unify_put_down(u, sites->site[i], DOWN_RECORD, rec, NOTHING, err);
  struct row_notes n = {u, sites};
  const struct unify_note *note = unify_note_find(u, rec);
  if (status == TRB_OK && note && unify_has_contacts_only(u, note))
    return down_keyed_of_record(u->db, rec, note_row, &n, err);
  return status == TRB_OK ? down_rows_of_record(u->db, rec, note_row, &n, err) : status;
}

/* ---- rows that are out of sight ---- */

static uint16_t down_table(uint16_t source) {
  switch (source) {
    case TRB_T_contact: return TRB_T_unified_contact;
    case TRB_T_preference: return TRB_T_unified_preference;
    case TRB_T_tag_on: return TRB_T_unified_tag;
    case TRB_T_relation: return TRB_T_unified_relation;
    default: return TRB_T_unified_event;
  }
}

/* Id of the unified row a source row stands for: site/id, for events table/site/id, for the second and later keys of a
 * cell site/id/part (down_row_id makes the same). */
static enum trb_status put_gone(struct unify *u, const struct unify_sitelist *sites, uint16_t source, const char *site,
                                struct trb_slice row_id, size_t part, struct trb_error *err) {
  TRB_BUF_AUTO id = {0};
  uint16_t table = down_table(source);
  if (table == TRB_T_unified_event) trb_buf_printf(&id, "%s/", catalogue_table(u->catalogue, source)->name);
  trb_buf_printf(&id, "%s/", site);
  trb_buf_append_slice(&id, row_id);
  if (part > 1) trb_buf_printf(&id, "/%zu", part);
  if (id.failed) return nomem(err);
  enum trb_status status = TRB_OK;
  for (size_t i = 0; status == TRB_OK && i < sites->count; i++)
    status = unify_put_down(u, sites->site[i], DOWN_GONE, table, trb_buf_slice(&id), err);
  return status;
}

/* A row that still exists but hangs on something else now. Named by its id, not its number: it may be deleted before
 * the entry is sent. */
static enum trb_status note_row_gone(void *context, uint16_t table, int64_t rid, struct trb_error *err) {
  const struct row_notes *n = context;
  TRB_BUF_AUTO sql = {0};
  TRB_STMT_AUTO *stmt = NULL;
  bool row = false;
  if (table == TRB_T_contact) return TRB_OK; /* with its parts: contacts_gone */
  trb_buf_printf(&sql, "SELECT s.name, x.id FROM \"%s\" x JOIN site_no s ON s.no = x._site WHERE x._rid = ?1",
                 catalogue_table(n->u->catalogue, table)->name);
  enum trb_status status = db_queryf(n->u->db, err, &stmt, trb_buf_cstr(&sql), "i", rid);
  if (status == TRB_OK) status = stmt_step(stmt, &row, err);
  return status == TRB_OK && row ? put_gone(n->u, n->sites, table, stmt_text(stmt, 0), stmt_slice(stmt, 1), 0, err)
                                 : status;
}

static enum trb_status contacts_gone(struct unify *u, const struct unify_sitelist *sites, int64_t rec,
                                     struct trb_error *err) {
  TRB_STMT_AUTO *stmt = NULL;
  enum trb_status status =
      db_queryf(u->db, err, &stmt,
                "SELECT s.name, c.id, k.part FROM row_key k CROSS JOIN contact c ON c._rid = k.rid "
                "JOIN site_no s ON s.no = c._site WHERE k.rec = ?1 AND k.tbl = 3",
                "i", rec);
  bool row = true;
  while (status == TRB_OK && (status = stmt_step(stmt, &row, err)) == TRB_OK && row)
    status = put_gone(u, sites, TRB_T_contact, stmt_text(stmt, 0), stmt_slice(stmt, 1), (size_t)stmt_int(stmt, 2), err);
  return status;
}

/* These sites see nothing of the record any more. */
static enum trb_status note_left(struct unify *u, const struct unify_sitelist *sites, int64_t rec,
                                 struct trb_error *err) {
  enum trb_status status = TRB_OK;
  if (!sites->count) return TRB_OK;
  for (size_t i = 0; status == TRB_OK && i < sites->count; i++)
    status = unify_put_down(u, sites->site[i], DOWN_RECORD, rec, NOTHING, err);
  if (status == TRB_OK) status = contacts_gone(u, sites, rec, err);
  struct row_notes n = {u, sites};
  return status == TRB_OK ? down_rows_of_record(u->db, rec, note_row_gone, &n, err) : status;
}

/* ---- relations ---- */

enum trb_status unify_note_relations_to(struct unify *u, int64_t site_no, const char *site, struct trb_slice id,
                                        struct trb_error *err) {
  TRB_STMT_AUTO *stmt = NULL;
  enum trb_status status = db_queryf(
      u->db, err, &stmt,
      "SELECT x._rid, coalesce(o.party, o.rec) FROM relation x JOIN record o ON o.id = x.customer_id AND o.site = "
      "CASE WHEN x.customer_site IS NULL THEN x._site ELSE (SELECT no FROM site_no WHERE name = x.customer_site) END "
      "WHERE x.other_id = ?2 AND (x.other_site = ?3 OR (x.other_site IS NULL AND x._site = ?1))",
      "ist", site_no, id, site);
  bool row = true;
  while (status == TRB_OK && (status = stmt_step(stmt, &row, err)) == TRB_OK && row) {
    struct unify_sitelist sites = {0};
    status = unify_watchers(u, stmt_int(stmt, 1), &sites, err);
    struct row_notes n = {u, &sites};
    if (status == TRB_OK) status = note_row(&n, TRB_T_relation, stmt_int(stmt, 0), err);
    sitelist_done(&sites);
  }
  return status;
}

static enum trb_status relations_to_record(struct unify *u, int64_t rec, struct trb_error *err) {
  TRB_STMT_AUTO *stmt = NULL;
  enum trb_status status =
      db_queryf(u->db, err, &stmt,
                "SELECT r.site, r.id, s.name FROM record r JOIN site_no s ON s.no = r.site WHERE r.rec = ?1 AND "
                "EXISTS(SELECT 1 FROM relation x WHERE x.other_id = r.id)",
                "i", rec);
  bool row = false;
  if (status == TRB_OK) status = stmt_step(stmt, &row, err);
  if (status != TRB_OK || !row) return status;
  return unify_note_relations_to(u, stmt_int(stmt, 0), stmt_text(stmt, 2), stmt_slice(stmt, 1), err);
}

/* ---- a group whose composition changed ---- */

struct party_sites { /* before or after, by anchor ascending */
  size_t count;
  struct {
    int64_t party;
    struct unify_sitelist sites;
    bool headquarters; /* holds a card too */
  } * of;
};

static int by_number(const void *a, const void *b) {
  int64_t x = *(const int64_t *)a, y = *(const int64_t *)b;
  return x < y ? -1 : x > y;
}

static size_t party_index(const struct party_sites *p, int64_t party) {
  size_t low = 0, high = p->count;
  while (low < high) {
    size_t middle = (low + high) / 2;
    if (p->of[middle].party < party)
      low = middle + 1;
    else
      high = middle;
  }
  return low;
}
static struct unify_sitelist *sites_of(const struct party_sites *p, int64_t party) {
  return &p->of[party_index(p, party)].sites;
}
/* A party of one site hides nothing from it; with a second one the locks begin. */
static bool is_shared(const struct party_sites *p, int64_t party) {
  size_t at = party_index(p, party);
  return p->of[at].sites.count + p->of[at].headquarters > 1;
}

static bool party_sites_init(struct unify *u, struct party_sites *p, const struct unify_member *members, size_t count,
                             bool after) {
  int64_t *parties = trb_arena_alloc(&u->arena, (count + 1) * sizeof *parties);
  p->of = trb_arena_alloc(&u->arena, (count + 1) * sizeof *p->of);
  if (!parties || !p->of) return false;
  for (size_t i = 0; i < count; i++) parties[i] = after ? members[i].new_party : members[i].old_party;
  qsort(parties, count, sizeof *parties, by_number);
  for (size_t i = 0; i < count; i++)
    if (!p->count || p->of[p->count - 1].party != parties[i]) p->of[p->count++].party = parties[i];
  bool ok = true;
  for (size_t i = 0; ok && i < count; i++) {
    const struct unify_member *m = &members[i];
    bool live = (after ? m->class_now : m->class_before) != 0;
    int64_t party = after ? m->new_party : m->old_party;
    if (live && m->site == TRB_HQ_SITE_NO) p->of[party_index(p, party)].headquarters = true;
    if (live && m->site != TRB_HQ_SITE_NO) ok = sitelist_add(sites_of(p, party), m->site);
  }
  return ok;
}
static void party_sites_done(struct party_sites *p) {
  for (size_t i = 0; i < p->count; i++) sitelist_done(&p->of[i].sites);
}

static bool has_moved(const struct unify_member *m) {
  return m->old_party != m->new_party || (m->class_before != 0) != (m->class_now != 0);
}

/* The sites that must hear of all rows of one member again, and those that see none of them any more. */
static bool concerned(const struct unify_member *m, const struct party_sites *before, const struct party_sites *after,
                      struct unify_sitelist *ret, struct unify_sitelist *ret_left) {
  const struct unify_sitelist *old = sites_of(before, m->old_party), *new = sites_of(after, m->new_party);
  bool all = has_moved(m) || is_shared(before, m->old_party) != is_shared(after, m->new_party);
  static const struct unify_sitelist none = {0};
  if (m->class_before == 0) old = &none;
  if (m->class_now == 0) new = &none;
  bool ok = true;
  for (size_t i = 0; ok && i < old->count; i++)
    if (!sitelist_has(new, old->site[i])) ok = sitelist_add(ret_left, old->site[i]);
  for (size_t i = 0; ok && i < new->count; i++)
    if (all || !sitelist_has(old, new->site[i])) ok = sitelist_add(ret, new->site[i]);
  return ok;
}

static enum trb_status note_members(struct unify *u, const struct unify_member *members, size_t count,
                                    const struct party_sites *old, const struct party_sites *new,
                                    struct unify_sitelist *audience, struct trb_error *err) {
  enum trb_status status = TRB_OK;
  for (size_t i = 0; status == TRB_OK && i < count; i++) {
    const struct unify_member *m = &members[i];
    struct unify_sitelist sites = {0}, left = {0};
    bool ok = concerned(m, old, new, &sites, &left);
    status = ok ? unify_note_record(u, &sites, m->rec, err) : nomem(err);
    if (status == TRB_OK) status = note_left(u, &left, m->rec, err);
    if (status == TRB_OK && (sites.count || left.count || has_moved(m))) status = relations_to_record(u, m->rec, err);
    sitelist_done(&sites);
    sitelist_done(&left);
    struct unify_note *note = unify_note_find(u, m->rec);
    if (note) note->audience = audience;
  }
  return status;
}

/* ---- equal contacts, preferences and tags: the row they are named by may be another now ---- */

static int by_rec(const void *a, const void *b) {
  const struct unify_member *x = a, *y = b;
  return x->rec < y->rec ? -1 : x->rec > y->rec;
}
static int by_key(const void *a, const void *b) {
  return trb_slice_compare(*(const struct trb_slice *)a, *(const struct trb_slice *)b);
}

struct holder {
  const struct unify_member *member;
  uint16_t table;
  int64_t rid;
};

/* Of the members that stayed in their party only the one with the earliest stamp can have named a key's row or name it
 * now. */
static enum trb_status note_stayed(struct unify *u, const struct unify_member *sorted, size_t count,
                                   struct trb_slice key, const struct unify_sitelist *audience, struct trb_error *err) {
  struct holder *holders = NULL;
  size_t n = 0, cap = 0;
  TRB_STMT_AUTO *stmt = NULL;
  enum trb_status status =
      db_queryf(u->db, err, &stmt, "SELECT rec, tbl, rid FROM claim WHERE key = ?1 AND class >= 0", "s", key);
  bool row = true;
  while (status == TRB_OK && (status = stmt_step(stmt, &row, err)) == TRB_OK && row) {
    struct unify_member probe = {.rec = stmt_int(stmt, 0)};
    const struct unify_member *m = bsearch(&probe, sorted, count, sizeof *sorted, by_rec);
    if (!m || has_moved(m) || m->class_now == 0) continue;
    if (!unify_grow((void **)&holders, n, &cap, sizeof *holders)) {
      status = nomem(err);
      break;
    }
    holders[n++] = (struct holder){m, (uint16_t)stmt_int(stmt, 1), stmt_int(stmt, 2)};
  }
  struct row_notes notes = {u, audience};
  for (size_t i = 0; status == TRB_OK && i < n; i++) {
    bool first =
        true; /* parties of one group are few: holders of one key that stayed are in one party but for splits */
    for (size_t j = 0; first && j < n && n <= 64; j++)
      first = !(holders[j].member->new_party == holders[i].member->new_party &&
                party_stamp_before(holders[j].member->stamp, holders[i].member->stamp));
    if (first && holders[i].table != TRB_T_customer && holders[i].table != TRB_T_identity_document)
      status = note_row(&notes, holders[i].table, holders[i].rid, err);
  }
  free(holders);
  return status;
}

static enum trb_status note_shared_keys(struct unify *u, const struct unify_member *members, size_t count,
                                        const struct unify_sitelist *audience, struct trb_error *err) {
  struct unify_member *sorted = trb_arena_alloc(&u->arena, count * sizeof *sorted);
  if (!sorted) return nomem(err);
  memcpy(sorted, members, count * sizeof *sorted);
  qsort(sorted, count, sizeof *sorted, by_rec);
  struct trb_slice *keys = NULL;
  size_t n = 0, cap = 0;
  enum trb_status status = TRB_OK;
  for (size_t i = 0; status == TRB_OK && i < count; i++) {
    if (!has_moved(&members[i])) continue;
    TRB_STMT_AUTO *stmt = NULL;
    status = db_queryf(u->db, err, &stmt, "SELECT key FROM row_key WHERE rec = ?1 AND tbl IN (3, 10, 27)", "i",
                       members[i].rec);
    bool row = true, ok = true;
    while (status == TRB_OK && (status = stmt_step(stmt, &row, err)) == TRB_OK && row) {
      ok = unify_grow((void **)&keys, n, &cap, sizeof *keys);
      if (ok) keys[n++] = trb_arena_copy(&u->arena, stmt_slice(stmt, 0), &ok);
      if (!ok) status = nomem(err);
    }
  }
  if (n > 1) qsort(keys, n, sizeof *keys, by_key);
  for (size_t i = 0; status == TRB_OK && i < n; i++)
    if (i == 0 || !trb_slice_equal(keys[i], keys[i - 1]))
      status = note_stayed(u, sorted, count, keys[i], audience, err);
  free(keys);
  return status;
}

enum trb_status unify_note_group(struct unify *u, const struct unify_member *members, size_t count,
                                 struct trb_error *err) {
  struct party_sites old = {0}, new = {0};
  struct unify_sitelist *audience = trb_arena_alloc(&u->arena, sizeof *audience);
  bool ok =
      audience && party_sites_init(u, &old, members, count, false) && party_sites_init(u, &new, members, count, true);
  for (size_t i = 0; ok && i < old.count; i++) ok = sitelist_add_all(audience, &old.of[i].sites);
  for (size_t i = 0; ok && i < new.count; i++) ok = sitelist_add_all(audience, &new.of[i].sites);
  enum trb_status status = ok ? TRB_OK : nomem(err);
  if (status == TRB_OK) status = note_members(u, members, count, &old, &new, audience, err);
  if (status == TRB_OK) status = note_shared_keys(u, members, count, audience, err);
  party_sites_done(&old);
  party_sites_done(&new);
  return status;
}

/* ---- rows that changed by themselves ---- */

/* Was this key of this party told already in this transaction? A crowd on one phone asks once. */
static bool told_already(struct unify *u, int64_t party, struct trb_slice key, bool *ret_ok) {
  uint64_t h = (uint64_t)party * 0x9E3779B97F4A7C15u ^ 14695981039346656037u;
  for (size_t i = 0; i < key.len; i++) h = (h ^ key.data[i]) * 1099511628211u;
  h |= 1; /* 0 is an empty slot */
  *ret_ok = true;
  if (u->told_count * 2 >= u->told_size) {
    size_t size = u->told_size ? u->told_size * 2 : 256;
    uint64_t *told = calloc(size, sizeof *told);
    if (!told) return *ret_ok = false;
    for (size_t i = 0; i < u->told_size; i++)
      for (size_t at = u->told[i]; u->told[i]; at++)
        if (!told[at & (size - 1)]) {
          told[at & (size - 1)] = u->told[i];
          break;
        }
    free(u->told);
    u->told = told;
    u->told_size = size;
  }
  for (size_t at = h;; at++) {
    uint64_t *slot = &u->told[at & (u->told_size - 1)];
    if (*slot == h) return true;
    if (*slot) continue;
    *slot = h;
    u->told_count++;
    return false;
  }
}

/* The row that names the unified one, and the row that may have until now: those of touched records from the earliest
 * on, up to the first record that this transaction did not touch. */
static enum trb_status note_equal_rows(struct unify *u, int64_t party, struct trb_slice key,
                                       const struct unify_sitelist *sites, struct trb_error *err) {
  bool ok;
  if (told_already(u, party, key, &ok)) return TRB_OK;
  if (!ok) return nomem(err);
  TRB_STMT_AUTO *stmt = NULL;
  enum trb_status status =
      db_queryf(u->db, err, &stmt,
                "SELECT k.tbl, k.rid, r.rec FROM claim k CROSS JOIN record r ON r.rec = k.rec WHERE k.key = ?1 AND "
                "k.class >= 0 AND "
                "k.tbl IN (3, 10, 27) AND r.class <> 0 AND coalesce(r.party, r.rec) = ?2 ORDER BY r.hlc, r.pos",
                "si", key, party);
  bool row = true;
  int64_t last = 0;
  struct row_notes n = {u, sites};
  bool settled = false;
  while (status == TRB_OK && (status = stmt_step(stmt, &row, err)) == TRB_OK && row) {
    if (settled && stmt_int(stmt, 2) != last) break;
    last = stmt_int(stmt, 2);
    settled = unify_note_find(u, last) == NULL;
    status = note_row(&n, (uint16_t)stmt_int(stmt, 0), stmt_int(stmt, 1), err);
  }
  return status;
}

static enum trb_status change_gone(struct unify *u, const struct unify_change *c, bool left,
                                   const struct unify_sitelist *sites, struct trb_error *err) {
  const struct sitebook_entry *site;
  enum trb_status status = sitebook_get(&u->sites, u->db, c->site, &site, err);
  for (size_t part = 2; status == TRB_OK && part <= c->parts_before; part++)
    status = put_gone(u, sites, c->table, site->name, c->id, part, err);
  return status == TRB_OK && left ? put_gone(u, sites, c->table, site->name, c->id, 0, err) : status;
}

/* A contact of a new record that stands alone, or whose whole group was noted: the RECORD entries tell it, and the
 * equal rows of those that stayed were noted with the group. */
static bool told_with_record(const struct unify *u, const struct unify_change *c, const struct unify_note *note) {
  if (c->table != TRB_T_contact || c->deleted) return false;
  bool joined = unify_is_new(u, note) && note->class_now != 0 && note->audience && c->parts_before == 0;
  return joined || unify_is_alone(u, note);
}

static enum trb_status note_change_for(struct unify *u, const struct unify_change *c, int64_t rec,
                                       struct trb_error *err) {
  const struct unify_note *note = rec ? unify_note_find(u, rec) : NULL;
  int64_t party = note ? note->party : 0;
  if (!rec) return TRB_OK;
  if (note && told_with_record(u, c, note)) return TRB_OK;
  struct unify_sitelist sites = {0};
  enum trb_status status = TRB_OK;
  if (!note)
    status = db_get_int(u->db, err, &party, "SELECT coalesce(party, rec) FROM record WHERE rec = ?1", "i", rec);
  if (status == TRB_OK) status = unify_watchers(u, party, &sites, err);
  if (status == TRB_OK && note && note->audience && !sitelist_add_all(&sites, note->audience)) status = nomem(err);
  struct row_notes n = {u, &sites};
  bool left = c->deleted || rec != c->rec_after;
  if (status == TRB_OK && c->site) status = change_gone(u, c, left, &sites, err);
  if (status == TRB_OK && !c->site && left)
    status = note_row_gone(&n, c->table, c->rid, err); /* through its booking or ticket */
  if (status == TRB_OK && !left) status = note_row(&n, c->table, c->rid, err);
  for (size_t i = 0; status == TRB_OK && i < c->key_count; i++) {
    status = note_equal_rows(u, party, u->keys[c->key_first + i], &sites, err);
    if (status == TRB_OK && note && note->party_before != party) /* those it left behind */
      status = note_equal_rows(u, note->party_before, u->keys[c->key_first + i], &sites, err);
  }
  sitelist_done(&sites);
  return status;
}

enum trb_status unify_note_changes(struct unify *u, struct trb_error *err) {
  enum trb_status status = TRB_OK;
  for (size_t i = 0; status == TRB_OK && i < u->change_count; i++) {
    const struct unify_change *c = &u->changes[i];
    if (c->rec_before && c->rec_before != c->rec_after) status = note_change_for(u, c, c->rec_before, err);
    if (status == TRB_OK && c->rec_after) status = note_change_for(u, c, c->rec_after, err);
  }
  return status;
}
