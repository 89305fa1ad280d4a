/* unify_parties: from what was touched to who is one party (see unify_internal.h). The decision itself is the pure
 * core's.
 *
 * Touched records and edges give groups of stored parties that may have become one. A group of one party with nothing
 * lost needs no look; any other group's members are read once. Only when a linking claim was lost are their keys read
 * and resolved again: added claims can only join. Cost: linear in the members of the groups, with their keys after a
 * loss. */
#include <stdlib.h>
#include <string.h>

#include "unify_internal.h"

static enum trb_status nomem(struct trb_error *err) { return trb_fail(err, TRB_NOMEM, "out of memory"); }

/* ---- groups of stored parties ---- */

struct group_node { /* one stored party */
  int64_t anchor;
  size_t parent; /* union-find by index */
  bool resolve, changed, golden;
};
struct groups {
  struct group_node *nodes; /* ascending by anchor */
  size_t count;
};

static int by_anchor(const void *a, const void *b) {
  const struct group_node *x = a, *y = b;
  return x->anchor < y->anchor ? -1 : x->anchor > y->anchor;
}

static size_t node_of(const struct groups *g, int64_t anchor) {
  struct group_node key = {.anchor = anchor};
  struct group_node *found = bsearch(&key, g->nodes, g->count, sizeof key, by_anchor);
  TRB_ASSERT(found);
  return (size_t)(found - g->nodes);
}

static size_t root_of(struct groups *g, size_t i) {
  while (g->nodes[i].parent != i) i = g->nodes[i].parent = g->nodes[g->nodes[i].parent].parent;
  return i;
}

static void join(struct groups *g, size_t a, size_t b) {
  a = root_of(g, a);
  b = root_of(g, b);
  if (a == b) return;
  g->nodes[b].parent = a;
  g->nodes[a].resolve = g->nodes[a].resolve || g->nodes[b].resolve;
  g->nodes[a].changed = true;
}

static enum trb_status groups_of(struct unify *u, struct groups *g, struct trb_error *err) {
  g->nodes = trb_arena_alloc(&u->arena, (u->note_count + 1) * sizeof *g->nodes);
  if (!g->nodes) return nomem(err);
  for (size_t i = 0; i < u->note_count; i++) g->nodes[i].anchor = u->notes[i].party;
  qsort(g->nodes, u->note_count, sizeof *g->nodes, by_anchor);
  for (size_t i = 0; i < u->note_count; i++)
    if (!g->count || g->nodes[g->count - 1].anchor != g->nodes[i].anchor) g->nodes[g->count++] = g->nodes[i];
  for (size_t i = 0; i < g->count; i++) g->nodes[i].parent = i;
  for (size_t i = 0; i < u->note_count; i++) {
    const struct unify_note *note = &u->notes[i];
    struct group_node *node = &g->nodes[node_of(g, note->party)];
    node->resolve = node->resolve || note->resolve;
    node->golden = node->golden || note->golden;
    node->changed = node->changed || note->resolve || note->class_before != note->class_now;
  }
  for (size_t i = 0; i < u->edge_count; i++) {
    const struct unify_note *a = unify_note_find(u, u->edges[i].a), *b = unify_note_find(u, u->edges[i].b);
    join(g, node_of(g, a->party), node_of(g, b->party));
  }
  return TRB_OK;
}

/* ---- members of a group ---- */

struct members {
  struct unify_member *list; /* in the unify's arena */
  size_t count, cap;
};

static bool add_member(struct unify *u, struct members *m, const struct unify_member *member) {
  if (m->count == m->cap) {
    size_t cap = m->cap ? m->cap * 2 : 8;
    struct unify_member *grown = trb_arena_alloc(&u->arena, cap * sizeof *grown);
    if (!grown) return false;
    if (m->count) memcpy(grown, m->list, m->count * sizeof *grown);
    m->list = grown;
    m->cap = cap;
  }
  m->list[m->count++] = *member;
  return true;
}

static enum trb_status load_members(struct unify *u, int64_t anchor, struct members *m, struct trb_error *err) {
  TRB_STMT_AUTO *stmt = NULL;
  enum trb_status status =
      db_queryf(u->db, err, &stmt,
                "SELECT rec, site, class, hlc, pos FROM record WHERE rec = ?1 AND party IS NULL UNION ALL "
                "SELECT rec, site, class, hlc, pos FROM record WHERE party = ?1",
                "i", anchor);
  bool row = true;
  while (status == TRB_OK && (status = stmt_step(stmt, &row, err)) == TRB_OK && row) {
    struct unify_member member = {
        .rec = stmt_int(stmt, 0), .site = stmt_int(stmt, 1), .old_party = anchor, .new_party = anchor};
    member.class_before = member.class_now = stmt_int(stmt, 2);
    member.stamp = (struct party_stamp){(trb_hlc)stmt_int(stmt, 3), stmt_int(stmt, 4)};
    const struct unify_note *note = unify_note_find(u, member.rec);
    if (note) member.class_before = note->class_before;
    if (!add_member(u, m, &member)) return nomem(err);
  }
  return status;
}

/* ---- the decision ---- */

static void join_all(struct members *m) {
  size_t anchor = SIZE_MAX;
  for (size_t i = 0; i < m->count; i++)
    if (m->list[i].class_now != 0 && (anchor == SIZE_MAX || parties_joined(m->list[i].stamp, m->list[anchor].stamp)))
      anchor = i;
  for (size_t i = 0; i < m->count; i++)
    m->list[i].new_party = m->list[i].class_now != 0 ? m->list[anchor].rec : m->list[i].rec;
}

struct claim_list {
  struct party_claim *list;
  size_t count, cap;
};

static enum trb_status load_claims(struct unify *u, int64_t rec, size_t index, struct claim_list *claims,
                                   struct trb_error *err) {
  TRB_STMT_AUTO *stmt = NULL;
  enum trb_status status =
      db_queryf(u->db, err, &stmt, "SELECT key FROM row_key WHERE rec = ?1 AND links = 1", "i", rec);
  bool row = true, ok = true;
  while (status == TRB_OK && (status = stmt_step(stmt, &row, err)) == TRB_OK && row) {
    if (!unify_grow((void **)&claims->list, claims->count, &claims->cap, sizeof *claims->list)) return nomem(err);
    claims->list[claims->count++] = (struct party_claim){index, trb_arena_copy(&u->arena, stmt_slice(stmt, 0), &ok)};
    if (!ok) return nomem(err);
  }
  return status;
}

static enum trb_status resolve_again(struct unify *u, struct members *m, struct trb_error *err) {
  struct claim_list claims = {0};
  struct party_record *records = calloc(m->count + 1, sizeof *records); /* of none as well */
  size_t *anchors = calloc(m->count + 1, sizeof *anchors);
  enum trb_status status = records && anchors ? TRB_OK : nomem(err);
  for (size_t i = 0; status == TRB_OK && i < m->count; i++) {
    records[i] = (struct party_record){m->list[i].stamp, m->list[i].class_now};
    if (m->list[i].class_now != 0) status = load_claims(u, m->list[i].rec, i, &claims, err);
  }
  if (status == TRB_OK) status = parties_resolve(records, m->count, claims.list, claims.count, anchors, err);
  for (size_t i = 0; status == TRB_OK && i < m->count; i++) m->list[i].new_party = m->list[anchors[i]].rec;
  free(records);
  free(anchors);
  free(claims.list);
  return status;
}

static enum trb_status store_parties(struct unify *u, const struct members *m, struct trb_error *err) {
  enum trb_status status = TRB_OK;
  for (size_t i = 0; status == TRB_OK && i < m->count; i++) {
    const struct unify_member *x = &m->list[i];
    if (x->new_party == x->old_party) continue;
    status = db_run(u->db, err, "UPDATE record SET party = nullif(?2, rec) WHERE rec = ?1", "ii", x->rec, x->new_party);
    struct unify_note *note = unify_note_find(u, x->rec);
    if (note) note->party = x->new_party;
  }
  return status;
}

/* ---- all groups ---- */

struct parties {
  int64_t *list;
  size_t count, cap;
};
static bool add_party(struct unify *u, struct parties *p, int64_t anchor) {
  if (p->count == p->cap) {
    size_t cap = p->cap ? p->cap * 2 : 64;
    int64_t *grown = trb_arena_alloc(&u->arena, cap * sizeof *grown);
    if (!grown) return false;
    if (p->count) memcpy(grown, p->list, p->count * sizeof *grown);
    p->list = grown;
    p->cap = cap;
  }
  p->list[p->count++] = anchor;
  return true;
}

static enum trb_status resolve_group(struct unify *u, const struct groups *g, const size_t *nodes, size_t count,
                                     bool resolve, struct parties *parties, struct trb_error *err) {
  struct members m = {0};
  enum trb_status status = TRB_OK;
  for (size_t i = 0; status == TRB_OK && i < count; i++) {
    status = load_members(u, g->nodes[nodes[i]].anchor, &m, err);
    if (status == TRB_OK && !add_party(u, parties, g->nodes[nodes[i]].anchor)) status = nomem(err);
  }
  if (status != TRB_OK) return status;
  if (resolve)
    status = resolve_again(u, &m, err);
  else
    join_all(&m);
  if (status == TRB_OK) status = store_parties(u, &m, err);
  for (size_t i = 0; status == TRB_OK && i < m.count; i++)
    if (m.list[i].new_party != m.list[i].old_party && m.list[i].new_party == m.list[i].rec &&
        !add_party(u, parties, m.list[i].rec))
      status = nomem(err);
  return status == TRB_OK ? unify_note_group(u, m.list, m.count, err) : status;
}

static int by_number(const void *a, const void *b) {
  int64_t x = *(const int64_t *)a, y = *(const int64_t *)b;
  return x < y ? -1 : x > y;
}

static void sort_distinct(struct parties *p) {
  if (p->count > 1) qsort(p->list, p->count, sizeof *p->list, by_number);
  size_t n = 0;
  for (size_t i = 0; i < p->count; i++)
    if (!n || p->list[n - 1] != p->list[i]) p->list[n++] = p->list[i];
  p->count = n;
}

struct rooted {
  size_t root, node;
};
static int by_root(const void *a, const void *b) {
  const struct rooted *x = a, *y = b;
  if (x->root != y->root) return x->root < y->root ? -1 : 1;
  return x->node < y->node ? -1 : x->node > y->node;
}

enum trb_status unify_resolve(struct unify *u, int64_t **ret_parties, size_t *ret_count, struct trb_error *err) {
  struct groups g = {0};
  struct parties parties = {0};
  enum trb_status status = groups_of(u, &g, err);
  struct rooted *order = trb_arena_alloc(&u->arena, (g.count + 1) * sizeof *order);
  size_t *nodes = trb_arena_alloc(&u->arena, (g.count + 1) * sizeof *nodes);
  if (status == TRB_OK && (!order || !nodes)) status = nomem(err);
  for (size_t i = 0; status == TRB_OK && i < g.count; i++) order[i] = (struct rooted){root_of(&g, i), i};
  if (status == TRB_OK && g.count > 1) qsort(order, g.count, sizeof *order, by_root);
  for (size_t i = 0, j; status == TRB_OK && i < g.count; i = j) {
    const struct group_node *root = &g.nodes[order[i].root];
    for (j = i; j < g.count && order[j].root == order[i].root; j++) nodes[j - i] = order[j].node;
    const struct unify_note *note = unify_note_find(u, root->anchor);
    if (!root->changed || (j - i == 1 && note && unify_is_alone(u, note))) {
      if ((root->golden || root->changed) && !add_party(u, &parties, root->anchor)) status = nomem(err);
      continue;
    }
    status = resolve_group(u, &g, nodes, j - i, root->resolve, &parties, err);
  }
  if (status != TRB_OK) return status;
  sort_distinct(&parties);
  *ret_parties = parties.list;
  *ret_count = parties.count;
  return TRB_OK;
}
