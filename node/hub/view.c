/* view: see view.h. Records, contacts and the policy; golden rows are in view_golden.c, the small lists in
 * view_lists.c. */
#include "view.h"

#include <stdlib.h>
#include <string.h>

#include "claims.h"
#include "tributary/times.h"

void view_init(struct party_view *view, struct trb_db *db, struct sitebook *sites) {
  *view = (struct party_view){.db = db, .sites = sites};
}
void view_done(struct party_view *view) { trb_arena_free(&view->arena); }

static enum trb_status nomem(struct trb_error *err) { return trb_fail(err, TRB_NOMEM, "out of memory"); }

struct trb_slice view_party_id(struct trb_arena *arena, const char *site, struct trb_slice id) {
  size_t len = strlen(site);
  uint8_t *text = trb_arena_alloc(arena, len + 1 + id.len);
  if (!text) return (struct trb_slice){0};
  memcpy(text, site, len);
  text[len] = '/';
  if (id.len) memcpy(text + len + 1, id.data, id.len);
  return (struct trb_slice){text, len + 1 + id.len};
}

/* ---- records ---- */

static const char *const RECORDS_SQL =
    "SELECT rec, site, id, class, hlc, pos FROM record WHERE rec = ?1 AND party IS NULL "
    "UNION ALL SELECT rec, site, id, class, hlc, pos FROM record WHERE party = ?1";

static enum trb_status read_record(struct party_view *view, struct trb_stmt *stmt, struct view_record *r,
                                   struct trb_error *err) {
  bool ok = true;
  *r = (struct view_record){.rec = stmt_int(stmt, 0), .site_no = stmt_int(stmt, 1), .class = stmt_int(stmt, 3)};
  r->id = trb_arena_copy(&view->arena, stmt_slice(stmt, 2), &ok);
  r->stamp = (struct party_stamp){(trb_hlc)stmt_int(stmt, 4), stmt_int(stmt, 5)};
  return ok ? sitebook_get(view->sites, view->db, r->site_no, &r->site, err) : nomem(err);
}

/* Grows an arena array by doubling; the old copy is left to the arena. */
static void *room(struct trb_arena *arena, void *array, size_t count, size_t *cap, size_t size) {
  if (count < *cap) return array;
  size_t wanted = *cap ? *cap * 2 : 8;
  void *grown = trb_arena_alloc(arena, wanted * size);
  if (!grown) return NULL;
  if (count) memcpy(grown, array, count * size);
  *cap = wanted;
  return grown;
}

static int by_stamp(const void *a, const void *b) {
  const struct view_record *x = a, *y = b;
  return party_stamp_before(x->stamp, y->stamp) ? -1 : party_stamp_before(y->stamp, x->stamp);
}

enum trb_status view_load(struct party_view *view, int64_t anchor, struct trb_error *err) {
  trb_arena_reset(&view->arena);
  *view = (struct party_view){
      .arena = view->arena, .db = view->db, .sites = view->sites, .quiet = view->quiet, .anchor = anchor};
  TRB_STMT_AUTO *stmt = NULL;
  enum trb_status status = db_queryf(view->db, err, &stmt, RECORDS_SQL, "i", anchor);
  bool row = true;
  size_t cap = 0;
  while (status == TRB_OK && (status = stmt_step(stmt, &row, err)) == TRB_OK && row) {
    view->records = room(&view->arena, view->records, view->record_count, &cap, sizeof *view->records);
    if (!view->records) return nomem(err);
    struct view_record *r = &view->records[view->record_count];
    status = read_record(view, stmt, r, err);
    if (status == TRB_OK && r->rec == anchor) view->id = view_party_id(&view->arena, r->site->name, r->id);
    if (r->class != 0) view->record_count++;
  }
  if (status == TRB_OK && view->record_count > 1)
    qsort(view->records, view->record_count, sizeof *view->records, by_stamp);
  if (status != TRB_OK) view->record_count = 0;
  return status;
}

/* ---- contacts ---- */

static const char *const CONTACTS_SQL =
    "SELECT k.rid, k.part, k.key, k.links, c.id, c.kind, c.value, c.label, c.used_by, c.main, c.verified_at, c._times, "
    "c._accepted, "
    "c._pos FROM row_key k CROSS JOIN contact c ON c._rid = k.rid WHERE k.rec = ?1 AND k.tbl = 3";

static bool read_contact(struct party_view *view, struct trb_stmt *stmt, size_t member, struct golden_contact *c) {
  bool ok = true;
  struct trb_arena *arena = &view->arena;
  *c = (struct golden_contact){.member = member, .rid = stmt_int(stmt, 0), .part = stmt_int(stmt, 1)};
  c->key = trb_arena_copy(arena, stmt_slice(stmt, 2), &ok);
  c->links = stmt_int(stmt, 3) != 0;
  c->id = trb_arena_copy(arena, stmt_slice(stmt, 4), &ok);
  c->kind = trb_arena_copy(arena, stmt_slice(stmt, 5), &ok);
  c->value = trb_arena_copy(arena, stmt_slice(stmt, 6), &ok);
  c->label = trb_arena_copy(arena, stmt_slice(stmt, 7), &ok);
  c->used_by = trb_arena_copy(arena, stmt_slice(stmt, 8), &ok);
  c->main = stmt_int(stmt, 9) != 0;
  c->verified_at = stmt_int(stmt, 10);
  c->time = times_get(stmt_slice(stmt, 11), TRB_C_contact_value);
  c->accepted = (struct party_stamp){(trb_hlc)stmt_int(stmt, 12), stmt_int(stmt, 13)};
  return ok;
}

static enum golden_contact_status status_named(struct trb_slice name) {
  for (int s = GOLDEN_STATUS_WORKS; s < GOLDEN_STATUS_SUPPRESSED; s++)
    if (trb_slice_equal(name, trb_slice_str(golden_status_name((enum golden_contact_status)s))))
      return (enum golden_contact_status)s;
  return GOLDEN_STATUS_NONE;
}

/* The latest word on a key; a suppression of everything wins. Equal times: the worse news. */
static enum trb_status key_status(struct party_view *view, struct trb_slice key, enum golden_contact_status *ret,
                                  struct trb_error *err) {
  int64_t any = 0;
  enum trb_status there =
      db_get_int(view->db, NULL, &any, "SELECT 1 FROM claim WHERE key = ?1 AND class = -1 LIMIT 1", "s", key);
  *ret = GOLDEN_STATUS_NONE;
  if (there == TRB_ABSENT) return TRB_OK; /* nearly always */
  TRB_STMT_AUTO *stmt = NULL;
  enum trb_status status =
      db_queryf(view->db, err, &stmt,
                "SELECT s.status, s._times, 0 FROM claim k CROSS JOIN contact_status s ON s._rid = k.rid "
                "WHERE k.key = ?1 AND k.class = -1 AND k.tbl = 4 UNION ALL "
                "SELECT NULL, NULL, 1 FROM claim k CROSS JOIN suppression s ON s._rid = k.rid "
                "WHERE k.key = ?1 AND k.class = -1 AND k.tbl = 9 AND s.purpose IS NULL AND s.channel IS NULL",
                "s", key);
  bool row = true;
  trb_hlc latest = 0;
  *ret = GOLDEN_STATUS_NONE;
  while (status == TRB_OK && (status = stmt_step(stmt, &row, err)) == TRB_OK && row) {
    if (stmt_int(stmt, 2)) *ret = GOLDEN_STATUS_SUPPRESSED;
    if (*ret == GOLDEN_STATUS_SUPPRESSED) continue;
    enum golden_contact_status said = status_named(stmt_slice(stmt, 0));
    trb_hlc t = times_get(stmt_slice(stmt, 1), TRB_C_contact_status_status);
    if (said == GOLDEN_STATUS_NONE || (*ret != GOLDEN_STATUS_NONE && (t < latest || (t == latest && said <= *ret))))
      continue;
    *ret = said;
    latest = t;
  }
  return status;
}

static enum trb_status statuses(struct party_view *view, struct trb_error *err) {
  enum trb_status status = TRB_OK;
  for (size_t i = 0; status == TRB_OK && i < view->unified_count; i++) {
    struct golden_unified_contact *u = &view->unified[i];
    enum golden_contact_status said;
    status = key_status(view, view->contacts[u->first].key, &said, err);
    for (size_t j = u->first; status == TRB_OK && j < u->first + u->count; j++) view->contacts[j].status = said;
  }
  return status;
}

enum trb_status view_contacts(struct party_view *view, struct trb_error *err) {
  if (view->contacts_loaded) return TRB_OK;
  size_t cap = 0;
  enum trb_status status = TRB_OK;
  for (size_t m = 0; status == TRB_OK && m < view->record_count; m++) {
    TRB_STMT_AUTO *stmt = NULL;
    status = db_queryf(view->db, err, &stmt, CONTACTS_SQL, "i", view->records[m].rec);
    bool row = true;
    while (status == TRB_OK && (status = stmt_step(stmt, &row, err)) == TRB_OK && row) {
      view->contacts = room(&view->arena, view->contacts, view->contact_count, &cap, sizeof *view->contacts);
      if (!view->contacts || !read_contact(view, stmt, m, &view->contacts[view->contact_count])) return nomem(err);
      view->contact_count++;
    }
  }
  if (status != TRB_OK || view->contact_count == 0) {
    view->contacts_loaded = status == TRB_OK;
    return status;
  }
  struct golden_member *members = trb_arena_alloc(&view->arena, view->record_count * sizeof *members);
  view->unified = trb_arena_alloc(&view->arena, view->contact_count * sizeof *view->unified);
  if (!members || !view->unified) return nomem(err);
  for (size_t m = 0; m < view->record_count; m++) members[m].stamp = view->records[m].stamp;
  view->unified_count = golden_contacts(members, view->contacts, view->contact_count, view->unified);
  if (!view->quiet) status = statuses(view, err); /* once a key; then again with what is known of the keys */
  if (status == TRB_OK && !view->quiet)
    view->unified_count = golden_contacts(members, view->contacts, view->contact_count, view->unified);
  view->contacts_loaded = status == TRB_OK;
  return status;
}

/* ---- sites ---- */

static int by_name(const void *a, const void *b) {
  return strcmp((*(const struct sitebook_entry *const *)a)->name, (*(const struct sitebook_entry *const *)b)->name);
}

#define SITES_BYTES_MAX 32768 /* the column's limit */

struct trb_slice view_sites(struct party_view *view, const size_t *members, size_t count) {
  const struct sitebook_entry **list = trb_arena_alloc(&view->arena, (count ? count : 1) * sizeof *list);
  if (!list) return (struct trb_slice){0};
  size_t n = 0;
  for (size_t i = 0; i < count; i++) {
    const struct sitebook_entry *site = view->records[members[i]].site;
    if (!n || list[n - 1] != site) list[n++] = site;
  }
  if (n > 1) qsort(list, n, sizeof *list, by_name);
  size_t bytes = 0;
  for (size_t i = 0; i < n; i++) bytes += strlen(list[i]->name) + 1;
  char *text = trb_arena_alloc(&view->arena, bytes ? bytes : 1);
  if (!text) return (struct trb_slice){0};
  size_t used = 0;
  for (size_t i = 0; i < n; i++) {
    if (i && list[i] == list[i - 1]) continue;
    size_t len = strlen(list[i]->name);
    if (used + len + 1 > SITES_BYTES_MAX) break;
    if (used) text[used++] = ',';
    memcpy(text + used, list[i]->name, len);
    used += len;
  }
  return (struct trb_slice){(const uint8_t *)text, used};
}

struct trb_slice view_contact_sites(struct party_view *view, const struct golden_unified_contact *unified) {
  size_t *members = trb_arena_alloc(&view->arena, unified->count * sizeof *members);
  if (!members) return (struct trb_slice){0};
  for (size_t i = 0; i < unified->count; i++) members[i] = view->contacts[unified->first + i].member;
  return view_sites(view, members, unified->count);
}

/* ---- policy ---- */

enum trb_status golden_policy_load(struct golden_policy *policy, struct trb_db *db, struct trb_error *err) {
  TRB_ARENA_AUTO arena = {0};
  struct golden_policy_row *rows = NULL;
  size_t count = 0, cap = 0;
  TRB_STMT_AUTO *stmt = NULL;
  enum trb_status status =
      db_queryf(db, err, &stmt, "SELECT field, rule, sites, position, trust, hq_wins FROM survivorship_policy", "");
  bool row = true, ok = true;
  while (status == TRB_OK && (status = stmt_step(stmt, &row, err)) == TRB_OK && row) {
    rows = room(&arena, rows, count, &cap, sizeof *rows);
    if (!rows) return nomem(err);
    struct golden_policy_row *r = &rows[count++];
    *r = (struct golden_policy_row){.position = stmt_int(stmt, 3), .trust = stmt_int(stmt, 4)};
    r->field = trb_arena_copy(&arena, stmt_slice(stmt, 0), &ok);
    r->rule = trb_arena_copy(&arena, stmt_slice(stmt, 1), &ok);
    r->sites = trb_arena_copy(&arena, stmt_slice(stmt, 2), &ok);
    r->has_trust = !stmt_is_null(stmt, 4);
    r->hq_loses = !stmt_is_null(stmt, 5) && stmt_int(stmt, 5) == 0;
  }
  if (!ok) return nomem(err);
  return status == TRB_OK ? golden_policy_init(policy, rows, count, err) : status;
}
