/* view_lists: preferences, tags and relations of a party (see view.h). */
#include <stdlib.h>
#include <string.h>

#include "view.h"

static enum trb_status nomem(struct trb_error *err) { return trb_fail(err, TRB_NOMEM, "out of memory"); }

/* ---- preferences and tags: rows of equal content are one ---- */

struct noted { /* one row */
  size_t member;
  struct trb_slice content, key, label, value, id;
  int64_t rid, noted_at;
  struct party_stamp accepted;
};
struct noted_list {
  struct noted *rows;
  size_t count, cap;
};

static int by_content(const void *a, const void *b) {
  const struct noted *x = a, *y = b;
  int c = trb_slice_compare(x->content, y->content);
  if (c) return c;
  if (x->member != y->member) return x->member < y->member ? -1 : 1; /* members stand in the order of their stamps */
  return party_stamp_before(x->accepted, y->accepted) ? -1 : 1;
}

static bool add_noted(struct party_view *view, struct noted_list *list, struct trb_stmt *stmt, size_t member) {
  if (list->count == list->cap) {
    size_t cap = list->cap ? list->cap * 2 : 8;
    struct noted *grown = trb_arena_alloc(&view->arena, cap * sizeof *grown);
    if (!grown) return false;
    if (list->count) memcpy(grown, list->rows, list->count * sizeof *grown);
    list->rows = grown;
    list->cap = cap;
  }
  struct trb_arena *arena = &view->arena;
  bool ok = true;
  struct noted *n = &list->rows[list->count++];
  *n = (struct noted){.member = member, .rid = stmt_int(stmt, 0), .noted_at = stmt_int(stmt, 6)};
  n->content = trb_arena_copy(arena, stmt_slice(stmt, 1), &ok);
  n->id = trb_arena_copy(arena, stmt_slice(stmt, 2), &ok);
  n->key = trb_arena_copy(arena, stmt_slice(stmt, 3), &ok);
  n->label = trb_arena_copy(arena, stmt_slice(stmt, 4), &ok);
  n->value = trb_arena_copy(arena, stmt_slice(stmt, 5), &ok);
  n->accepted = (struct party_stamp){(trb_hlc)stmt_int(stmt, 7), stmt_int(stmt, 8)};
  return ok;
}

static enum trb_status groups(struct party_view *view, const char *sql, struct view_group **ret, size_t *ret_count,
                              struct trb_error *err) {
  struct noted_list list = {0};
  enum trb_status status = TRB_OK;
  for (size_t m = 0; status == TRB_OK && m < view->record_count; m++) {
    TRB_STMT_AUTO *stmt = NULL;
    status = db_queryf(view->db, err, &stmt, sql, "i", view->records[m].rec);
    bool row = true;
    while (status == TRB_OK && (status = stmt_step(stmt, &row, err)) == TRB_OK && row)
      if (!add_noted(view, &list, stmt, m)) return nomem(err);
  }
  if (status != TRB_OK) return status;
  if (list.count > 1) qsort(list.rows, list.count, sizeof *list.rows, by_content);
  struct view_group *out = trb_arena_alloc(&view->arena, (list.count + 1) * sizeof *out);
  size_t *members = trb_arena_alloc(&view->arena, (list.count + 1) * sizeof *members);
  if (!out || !members) return nomem(err);
  size_t n = 0;
  for (size_t i = 0, j; i < list.count; i = j) {
    const struct noted *first = &list.rows[i];
    const struct view_record *r = &view->records[first->member];
    out[n] = (struct view_group){.key = first->key,
                                 .label = first->label,
                                 .value = first->value,
                                 .rid = first->rid,
                                 .site_no = r->site_no,
                                 .id = first->id};
    for (j = i; j < list.count && trb_slice_equal(list.rows[j].content, first->content); j++) {
      members[j - i] = list.rows[j].member;
      if (list.rows[j].noted_at > out[n].noted_at) out[n].noted_at = list.rows[j].noted_at;
    }
    out[n].sites = view_sites(view, members, j - i);
    n++;
  }
  *ret = out;
  *ret_count = n;
  return TRB_OK;
}

enum trb_status view_preferences(struct party_view *view, struct view_group **ret, size_t *ret_count,
                                 struct trb_error *err) {
  return groups(view,
                "SELECT k.rid, k.key, p.id, p.key, NULL, p.value, p.noted_at, p._accepted, p._pos FROM row_key k "
                "CROSS JOIN preference p ON p._rid = k.rid WHERE k.rec = ?1 AND k.tbl = 10",
                ret, ret_count, err);
}

enum trb_status view_tags(struct party_view *view, struct view_group **ret, size_t *ret_count, struct trb_error *err) {
  return groups(view,
                "SELECT k.rid, k.key, t.id, t.tag_id, t.label, NULL, 0, t._accepted, t._pos FROM row_key k "
                "CROSS JOIN tag_on t ON t._rid = k.rid WHERE k.rec = ?1 AND k.tbl = 27 AND t.to_on IS NULL",
                ret, ret_count, err);
}

/* ---- relations ---- */

/* Both ends by name or, when NULL, the row's own site. The other end's party has its golden row, or it is no live
 * record yet. */
static const char *const RELATIONS_SQL =
    "SELECT x._rid, x.id, x.kind, x.label, u._rid, u.id, u.name, x._site FROM relation x "
    "LEFT JOIN record o ON o.id = x.other_id AND o.class <> 0 AND "
    "o.site = CASE WHEN x.other_site IS NULL THEN x._site ELSE (SELECT no FROM site_no WHERE name = x.other_site) END "
    "LEFT JOIN unified_customer u ON u._rid = coalesce(o.party, o.rec) "
    "WHERE x.customer_id = ?2 AND (x.customer_site = ?3 OR (x.customer_site IS NULL AND x._site = ?1)) ORDER BY x._rid";

static enum trb_status add_relation(struct party_view *view, struct trb_stmt *stmt, struct view_relation **list,
                                    size_t *count, size_t *cap, struct trb_error *err) {
  if (*count == *cap) {
    size_t wanted = *cap ? *cap * 2 : 8;
    struct view_relation *grown = trb_arena_alloc(&view->arena, wanted * sizeof *grown);
    if (!grown) return nomem(err);
    if (*count) memcpy(grown, *list, *count * sizeof *grown);
    *list = grown;
    *cap = wanted;
  }
  bool ok = true;
  struct view_relation *x = &(*list)[(*count)++];
  *x = (struct view_relation){.rid = stmt_int(stmt, 0), .site_no = stmt_int(stmt, 7), .other = stmt_int(stmt, 4)};
  x->id = trb_arena_copy(&view->arena, stmt_slice(stmt, 1), &ok);
  x->kind = trb_arena_copy(&view->arena, stmt_slice(stmt, 2), &ok);
  x->label = trb_arena_copy(&view->arena, stmt_slice(stmt, 3), &ok);
  x->other_party = trb_arena_copy(&view->arena, stmt_slice(stmt, 5), &ok);
  x->other_name = trb_arena_copy(&view->arena, stmt_slice(stmt, 6), &ok);
  return ok ? TRB_OK : nomem(err);
}

enum trb_status view_relations(struct party_view *view, struct view_relation **ret, size_t *ret_count,
                               struct trb_error *err) {
  struct view_relation *list = NULL;
  size_t count = 0, cap = 0;
  enum trb_status status = TRB_OK;
  for (size_t m = 0; status == TRB_OK && m < view->record_count; m++) {
    const struct view_record *r = &view->records[m];
    TRB_STMT_AUTO *stmt = NULL;
    status = db_queryf(view->db, err, &stmt, RELATIONS_SQL, "ist", r->site_no, r->id, r->site->name);
    bool row = true;
    while (status == TRB_OK && (status = stmt_step(stmt, &row, err)) == TRB_OK && row)
      status = add_relation(view, stmt, &list, &count, &cap, err);
  }
  if (status != TRB_OK) return status;
  *ret = list;
  *ret_count = count;
  return TRB_OK;
}
