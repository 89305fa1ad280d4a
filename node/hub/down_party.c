/* down_party: golden rows, contacts, preferences, tags and relations as one branch may see them (see down_row.h). */
#include <stdio.h>
#include <string.h>

#include "down_row.h"
#include "tributary/unify.h"

static enum trb_status nomem(struct trb_error *err) { return trb_fail(err, TRB_NOMEM, "out of memory"); }
static struct trb_value text_or_null(struct trb_slice s) { return s.len ? trb_text_slice(s) : trb_null(); }

/* ---- contacts ---- */

static bool group_has_site(const struct party_view *view, const struct golden_unified_contact *u, int64_t site) {
  for (size_t i = u->first; i < u->first + u->count; i++)
    if (view->records[view->contacts[i].member].site_no == site) return true;
  return false;
}

static bool group_is_seen(const struct down_renderer *r, const struct golden_unified_contact *u) {
  const struct party_view *view = &r->view;
  for (size_t i = u->first; i < u->first + u->count; i++)
    if (sitebook_sees(r->viewer, view->records[view->contacts[i].member].site)) return true;
  return false;
}

static enum visibility contact_rule(const struct down_renderer *r, const struct golden_unified_contact *u) {
  if (group_has_site(&r->view, u, r->viewer->no)) return VISIBLE_SHOW;
  if (!group_is_seen(r, u)) return VISIBLE_HIDE;
  return visibility_of(&r->visibility, r->viewer, "unified_contact", r->view.contacts[u->best].kind, r->lock);
}

/* As the viewer sees it; in the view's arena. */
static struct trb_slice shown_value(struct down_renderer *r, const struct golden_unified_contact *u,
                                    enum visibility rule) {
  const struct golden_contact *c = &r->view.contacts[u->best];
  if (rule == VISIBLE_SHOW) return golden_contact_value(c);
  TRB_BUF_AUTO masked = {0};
  bool ok = true;
  key_mask(kind_of(c->kind), golden_contact_value(c), &masked);
  return trb_arena_copy(&r->view.arena, trb_buf_slice(&masked), &ok);
}

static struct trb_slice contact_row_id(struct down_renderer *r, const struct golden_contact *c) {
  return down_row_id(&r->view.arena, NULL, r->view.records[c->member].site->name, c->id, c->part);
}

static void put_contact(struct down_renderer *r, const struct golden_unified_contact *u, struct trb_slice id) {
  const struct golden_contact *best = &r->view.contacts[u->best];
  enum visibility rule = contact_rule(r, u);
  if (rule == VISIBLE_HIDE) {
    down_withdraw(r, TRB_T_unified_contact, id);
    return;
  }
  struct down_row row = {0};
  down_cell(&row, TRB_C_unified_contact_party_id, trb_text_slice(r->view.id));
  down_cell(&row, TRB_C_unified_contact_kind, text_or_null(best->kind));
  down_cell(&row, TRB_C_unified_contact_value, text_or_null(shown_value(r, u, rule)));
  down_cell(&row, TRB_C_unified_contact_label, text_or_null(best->label));
  down_cell(&row, TRB_C_unified_contact_main, trb_int(u->main));
  down_cell(&row, TRB_C_unified_contact_used_by, text_or_null(best->used_by));
  if (u->verified_at) down_cell(&row, TRB_C_unified_contact_verified_at, trb_int(u->verified_at));
  down_cell(&row, TRB_C_unified_contact_status, trb_text(golden_status_name(u->status)));
  down_cell(&row, TRB_C_unified_contact_sites, trb_text_slice(view_contact_sites(&r->view, u)));
  down_cell(&row, TRB_C_unified_contact_masked, trb_int(rule == VISIBLE_MASK));
  down_put_row(r, TRB_T_unified_contact, id, &row);
}

/* One row of the party's list: put if a contact is named by it, else withdrawn. */
static void contact_at(struct down_renderer *r, size_t index) {
  const struct golden_contact *c = &r->view.contacts[index];
  struct trb_slice id = contact_row_id(r, c);
  if (!id.len) {
    r->rows.failed = true;
    return;
  }
  for (size_t i = 0; r->watched && i < r->view.unified_count; i++) {
    const struct golden_unified_contact *u = &r->view.unified[i];
    if (index < u->first || index >= u->first + u->count) continue;
    if (u->named == index) {
      put_contact(r, u, id);
      return;
    }
    break;
  }
  down_withdraw(r, TRB_T_unified_contact, id);
}

/* The record is no live one of a party: what hangs on it is nobody's. */
static enum trb_status withdraw_contacts(struct down_renderer *r, int64_t rec, struct trb_error *err) {
  TRB_STMT_AUTO *stmt = NULL;
  enum trb_status status =
      db_queryf(r->db, err, &stmt,
                "SELECT s.name, c.id, k.part FROM row_key k CROSS JOIN contact c ON c._rid = k.rid "
                "JOIN site_no s ON s.no = c._site WHERE k.rec = ?1 AND k.tbl = 3 ORDER BY k.rid LIMIT ?2",
                "ii", rec, (int64_t)DOWN_CONTACTS_MAX * TRB_KEYS_PER_VALUE_MAX);
  bool row = true;
  while (status == TRB_OK && (status = stmt_step(stmt, &row, err)) == TRB_OK && row) {
    TRB_ARENA_AUTO arena = {0};
    down_withdraw(r, TRB_T_unified_contact,
                  down_row_id(&arena, NULL, stmt_text(stmt, 0), stmt_slice(stmt, 1), stmt_int(stmt, 2)));
  }
  return status;
}

static enum trb_status party_of_record(struct down_renderer *r, int64_t rec, int64_t *ret, struct trb_error *err) {
  enum trb_status status =
      db_get_int(r->db, NULL, ret, "SELECT coalesce(party, rec) FROM record WHERE rec = ?1 AND class <> 0", "i", rec);
  if (status == TRB_ABSENT) *ret = 0;
  return status == TRB_OK || status == TRB_ABSENT
             ? TRB_OK
             : trb_fail(err, status, "hub.db: the table of records cannot be read");
}

enum trb_status down_contacts_of_record(struct down_renderer *r, int64_t rec, struct trb_error *err) {
  int64_t party = 0;
  enum trb_status status = party_of_record(r, rec, &party, err);
  if (status == TRB_OK && !party) return withdraw_contacts(r, rec, err);
  if (status == TRB_OK) status = down_party(r, party, err);
  if (status == TRB_OK) status = view_contacts(&r->view, err);
  if (status != TRB_OK) return status;
  size_t done = 0;
  for (size_t i = 0; i < r->view.contact_count && done < (size_t)DOWN_CONTACTS_MAX * 2; i++)
    if (r->view.records[r->view.contacts[i].member].rec == rec) {
      contact_at(r, i);
      done++;
    }
  return TRB_OK;
}

enum trb_status down_contact(struct down_renderer *r, int64_t rid, struct trb_error *err) {
  TRB_STMT_AUTO *stmt = NULL;
  bool found = false;
  enum trb_status status =
      db_queryf(r->db, err, &stmt, "SELECT _site, customer_id, id FROM contact WHERE _rid = ?1", "i", rid);
  if (status == TRB_OK) status = stmt_step(stmt, &found, err);
  if (status != TRB_OK || !found) return status;
  int64_t rec = 0, party = 0, site_no = stmt_int(stmt, 0);
  const struct sitebook_entry *site;
  status = sitebook_get(&r->sites, r->db, site_no, &site, err);
  if (status == TRB_OK && !stmt_is_null(stmt, 1))
    status = down_party_of(r, site_no, stmt_slice(stmt, 1), &rec, &party, err);
  if (status != TRB_OK) return status;
  if (!party) {
    TRB_ARENA_AUTO arena = {0};
    down_withdraw(r, TRB_T_unified_contact, down_row_id(&arena, NULL, site->name, stmt_slice(stmt, 2), 0));
    return TRB_OK;
  }
  status = down_party(r, party, err);
  if (status == TRB_OK) status = view_contacts(&r->view, err);
  for (size_t i = 0; status == TRB_OK && i < r->view.contact_count; i++)
    if (r->view.contacts[i].rid == rid) contact_at(r, i);
  return status;
}

/* ---- the golden row ---- */

static bool named_in(struct trb_slice provenance, const char *field, struct trb_slice *ret_site) {
  char pattern[64]; /* names of golden fields are short */
  int len = snprintf(pattern, sizeof pattern, "\"%s\":[\"", field);
  const uint8_t *at = provenance.len ? memmem(provenance.data, provenance.len, pattern, (size_t)len) : NULL;
  if (!at) return false;
  const uint8_t *start = at + len, *end = memchr(start, '"', (size_t)(provenance.data + provenance.len - start));
  if (!end) return false;
  *ret_site = (struct trb_slice){start, (size_t)(end - start)};
  return true;
}

/* The site whose value won a field, from the provenance (golden_provenance). Quotes inside ids are escaped, so this
 * cannot be forged. */
static bool won_by(struct trb_slice provenance, const struct trb_column *column, struct trb_slice *ret_site) {
  if (column->number < GOLDEN_FIELD_FIRST || column->number > GOLDEN_FIELD_LAST) return false;
  return named_in(provenance, column->name, ret_site) || named_in(provenance, "*", ret_site);
}

/* Does a record of the viewer itself say the same? Then nothing is given away. */
static enum trb_status viewer_holds(struct down_renderer *r, const struct trb_column *column, struct trb_value value,
                                    bool *ret, struct trb_error *err) {
  TRB_BUF_AUTO sql = {0};
  trb_buf_printf(&sql, "SELECT \"%s\" = ?2 FROM customer WHERE _rid = ?1", column->name);
  *ret = false;
  for (size_t i = 0; !*ret && i < r->view.record_count; i++) {
    if (r->view.records[i].site_no != r->viewer->no) continue;
    int64_t same = 0;
    enum trb_status status = db_get_int(r->db, NULL, &same, trb_buf_cstr(&sql), "iv", r->view.records[i].rec, value);
    if (status != TRB_OK && status != TRB_ABSENT) return trb_fail(err, status, "hub.db: customers cannot be read");
    *ret = same != 0;
  }
  return TRB_OK;
}

static struct trb_value main_contact(struct down_renderer *r, struct trb_value value) {
  for (size_t i = 0; i < r->view.unified_count; i++) {
    const struct golden_unified_contact *u = &r->view.unified[i];
    if (!u->main || !trb_slice_equal(golden_contact_value(&r->view.contacts[u->best]), value.s)) continue;
    enum visibility rule = contact_rule(r, u);
    return rule == VISIBLE_HIDE ? trb_null() : text_or_null(shown_value(r, u, rule));
  }
  return trb_null();
}

static enum trb_status golden_cell(struct down_renderer *r, const struct trb_column *column,
                                   struct trb_slice provenance, struct trb_value *value, struct trb_error *err) {
  struct trb_slice winner;
  if (column->flags & TRB_COLUMN_SENSITIVE) *value = trb_null();
  if (value->type == TRB_NULL) return TRB_OK;
  if (column->number >= TRB_C_unified_customer_main_mobile && column->number <= TRB_C_unified_customer_main_wechat) {
    *value = main_contact(r, *value);
    return TRB_OK;
  }
  if (!won_by(provenance, column, &winner) || trb_slice_equal(winner, trb_slice_str(r->viewer->name))) return TRB_OK;
  int64_t number = 0;
  const struct sitebook_entry *site;
  enum trb_status status = sitebook_number(r->db, winner, &number, err);
  if (status == TRB_OK) status = sitebook_get(&r->sites, r->db, number, &site, err);
  if (status != TRB_OK || site->no == TRB_HQ_SITE_NO) return status;
  enum visibility rule = sitebook_sees(r->viewer, site) ? visibility_of(&r->visibility, r->viewer, "unified_customer",
                                                                        trb_slice_str(column->name), r->lock)
                                                        : VISIBLE_HIDE;
  bool holds = false;
  if (rule != VISIBLE_SHOW) status = viewer_holds(r, column, *value, &holds, err);
  if (status != TRB_OK || rule == VISIBLE_SHOW || holds) return status;
  if (rule == VISIBLE_HIDE || value->type != TRB_TEXT) {
    *value = trb_null();
    return TRB_OK;
  }
  TRB_BUF_AUTO masked = {0};
  bool ok = true;
  key_mask(TRB_KIND_NONE, value->s, &masked);
  value->s = trb_arena_copy(&r->view.arena, trb_buf_slice(&masked), &ok);
  return ok ? TRB_OK : nomem(err);
}

static enum trb_status put_golden(struct down_renderer *r, int64_t anchor, struct trb_error *err) {
  const struct trb_table *table = catalogue_table(r->catalogue, TRB_T_unified_customer);
  TRB_STMT_AUTO *stmt = NULL;
  bool found = false;
  enum trb_status status = view_contacts(&r->view, err);
  if (status == TRB_OK)
    status = db_queryf(r->db, err, &stmt, "SELECT * FROM unified_customer WHERE _rid = ?1", "i", anchor);
  if (status == TRB_OK) status = stmt_step(stmt, &found, err);
  if (status != TRB_OK || !found) return status;
  struct trb_slice provenance = {0};
  for (int i = 0; i < stmt_column_count(stmt); i++)
    if (strcmp(stmt_column_name(stmt, i), "provenance") == 0) provenance = stmt_slice(stmt, i);
  struct down_row row = {0};
  for (int i = 2; status == TRB_OK && i < stmt_column_count(stmt); i++) { /* after _rid and id; in catalogue order */
    const struct trb_column *column = table_column_named(table, stmt_column_name(stmt, i));
    if (!column) continue;
    struct trb_value value = stmt_value(stmt, i);
    status = golden_cell(r, column, provenance, &value, err);
    down_cell(&row, column->number, value);
  }
  down_put_row(r, TRB_T_unified_customer, r->view.id, &row);
  return status;
}

static void put_party_of(struct down_renderer *r, struct trb_slice record_id) {
  const struct view_record *anchor = &r->view.records[0];
  struct down_row row = {0};
  down_cell(&row, TRB_C_party_of_record_table, trb_text("customer"));
  down_cell(&row, TRB_C_party_of_record_id, trb_text_slice(record_id));
  down_cell(&row, TRB_C_party_of_party_id, trb_text_slice(r->view.id));
  down_cell(&row, TRB_C_party_of_anchor_site, trb_text(anchor->site->name));
  down_cell(&row, TRB_C_party_of_anchor_id, trb_text_slice(anchor->id));
  down_put_row(r, TRB_T_party_of, record_id, &row);
}

enum trb_status down_golden(struct down_renderer *r, int64_t rec, struct trb_error *err) {
  TRB_STMT_AUTO *stmt = NULL;
  bool found = false;
  enum trb_status status =
      db_queryf(r->db, err, &stmt, "SELECT site, id, class, coalesce(party, rec) FROM record WHERE rec = ?1", "i", rec);
  if (status == TRB_OK) status = stmt_step(stmt, &found, err);
  if (status != TRB_OK || !found) return status;
  const struct sitebook_entry *site;
  int64_t party = stmt_int(stmt, 3);
  bool live = stmt_int(stmt, 2) != 0;
  status = sitebook_get(&r->sites, r->db, stmt_int(stmt, 0), &site, err);
  if (status == TRB_OK) status = down_party(r, party, err);
  if (status != TRB_OK) return status;
  if (live && r->watched && party == rec) {
    status = put_golden(r, rec, err);
  } else {
    TRB_ARENA_AUTO arena = {0};
    down_withdraw(r, TRB_T_unified_customer, view_party_id(&arena, site->name, stmt_slice(stmt, 1)));
  }
  if (status != TRB_OK || site->no != r->viewer->no) return status;
  if (live && r->view.record_count)
    put_party_of(r, stmt_slice(stmt, 1));
  else
    down_withdraw(r, TRB_T_party_of, stmt_slice(stmt, 1));
  return status;
}

/* ---- preferences, tags, relations ---- */

static enum trb_status load_lists(struct down_renderer *r, struct trb_error *err) {
  if (r->lists_loaded) return TRB_OK;
  enum trb_status status = view_preferences(&r->view, &r->preferences, &r->preference_count, err);
  if (status == TRB_OK) status = view_tags(&r->view, &r->tags, &r->tag_count, err);
  if (status == TRB_OK) status = view_relations(&r->view, &r->relations, &r->relation_count, err);
  r->lists_loaded = status == TRB_OK;
  return status;
}

static void put_preference(struct down_renderer *r, const struct view_group *g, struct trb_slice id) {
  struct down_row row = {0};
  down_cell(&row, TRB_C_unified_preference_party_id, trb_text_slice(r->view.id));
  down_cell(&row, TRB_C_unified_preference_key, text_or_null(g->key));
  down_cell(&row, TRB_C_unified_preference_value, text_or_null(g->value));
  if (g->noted_at) down_cell(&row, TRB_C_unified_preference_noted_at, trb_int(g->noted_at));
  down_cell(&row, TRB_C_unified_preference_sites, trb_text_slice(g->sites));
  down_put_row(r, TRB_T_unified_preference, id, &row);
}

static void put_tag(struct down_renderer *r, const struct view_group *g, struct trb_slice id) {
  struct down_row row = {0};
  down_cell(&row, TRB_C_unified_tag_party_id, trb_text_slice(r->view.id));
  down_cell(&row, TRB_C_unified_tag_tag_id, text_or_null(g->key));
  down_cell(&row, TRB_C_unified_tag_label, text_or_null(g->label));
  down_cell(&row, TRB_C_unified_tag_sites, trb_text_slice(g->sites));
  down_put_row(r, TRB_T_unified_tag, id, &row);
}

/* The other end is named only to a site that holds a record of it. */
static enum trb_status put_relation(struct down_renderer *r, const struct view_relation *x,
                                    const struct sitebook_entry *site, struct trb_slice id, struct trb_error *err) {
  int64_t holds = 0;
  enum trb_status status = TRB_OK;
  if (x->other)
    status = db_get_int(
        r->db, err, &holds,
        "SELECT EXISTS(SELECT 1 FROM record WHERE rec = ?1 AND party IS NULL AND site = ?2 AND class <> 0 UNION ALL "
        "SELECT 1 FROM record WHERE party = ?1 AND site = ?2 AND class <> 0)",
        "ii", x->other, r->viewer->no);
  if (status != TRB_OK) return status;
  struct down_row row = {0};
  down_cell(&row, TRB_C_unified_relation_party_id, trb_text_slice(r->view.id));
  if (holds) down_cell(&row, TRB_C_unified_relation_other_id, text_or_null(x->other_party));
  down_cell(&row, TRB_C_unified_relation_kind, text_or_null(x->kind));
  down_cell(&row, TRB_C_unified_relation_label, text_or_null(x->label));
  down_cell(&row, TRB_C_unified_relation_sites, trb_text(site->name));
  if (holds) down_cell(&row, TRB_C_unified_relation_other_name, text_or_null(x->other_name));
  down_put_row(r, TRB_T_unified_relation, id, &row);
  return TRB_OK;
}

static const struct view_group *named_by(const struct view_group *groups, size_t count, int64_t rid) {
  for (size_t i = 0; i < count; i++)
    if (groups[i].rid == rid) return &groups[i];
  return NULL;
}

static enum trb_status put_listed(struct down_renderer *r, uint16_t source, int64_t rid,
                                  const struct sitebook_entry *site, struct trb_slice id, bool *ret_put,
                                  struct trb_error *err) {
  enum trb_status status = load_lists(r, err);
  if (status != TRB_OK) return status;
  const struct view_group *preference =
      source == TRB_T_preference ? named_by(r->preferences, r->preference_count, rid) : NULL;
  const struct view_group *tag = source == TRB_T_tag_on ? named_by(r->tags, r->tag_count, rid) : NULL;
  if (preference) put_preference(r, preference, id);
  if (tag) put_tag(r, tag, id);
  *ret_put = preference || tag;
  for (size_t i = 0; source == TRB_T_relation && !*ret_put && status == TRB_OK && i < r->relation_count; i++) {
    if (r->relations[i].rid != rid) continue;
    status = put_relation(r, &r->relations[i], site, id, err);
    *ret_put = true;
  }
  return status;
}

enum trb_status down_listed(struct down_renderer *r, uint16_t source, int64_t rid, struct trb_error *err) {
  const char *sql = source == TRB_T_preference ? "SELECT _site, id, customer_id, NULL FROM preference WHERE _rid = ?1"
                    : source == TRB_T_tag_on
                        ? "SELECT _site, id, customer_id, NULL FROM tag_on WHERE _rid = ?1"
                        : "SELECT _site, id, customer_id, customer_site FROM relation WHERE _rid = ?1";
  TRB_STMT_AUTO *stmt = NULL;
  bool found = false, put = false;
  enum trb_status status = db_queryf(r->db, err, &stmt, sql, "i", rid);
  if (status == TRB_OK) status = stmt_step(stmt, &found, err);
  if (status != TRB_OK || !found) return status;
  TRB_ARENA_AUTO arena = {0};
  const struct sitebook_entry *site;
  int64_t owner_site = stmt_int(stmt, 0), rec = 0, party = 0;
  status = sitebook_get(&r->sites, r->db, owner_site, &site, err);
  if (status != TRB_OK) return status;
  struct trb_slice id = down_row_id(&arena, NULL, site->name, stmt_slice(stmt, 1), 0);
  if (!id.len) return nomem(err);
  bool known = stmt_is_null(stmt, 3) || sitebook_number(r->db, stmt_slice(stmt, 3), &owner_site, NULL) == TRB_OK;
  if (known && !stmt_is_null(stmt, 2)) status = down_party_of(r, owner_site, stmt_slice(stmt, 2), &rec, &party, err);
  if (status == TRB_OK && party) status = down_party(r, party, err);
  enum visibility rule = VISIBLE_SHOW;
  const char *table = source == TRB_T_preference ? "unified_preference"
                      : source == TRB_T_tag_on   ? "unified_tag"
                                                 : "unified_relation";
  if (status == TRB_OK && party && site->no != r->viewer->no)
    rule = visibility_of(&r->visibility, r->viewer, table, (struct trb_slice){0}, r->lock);
  if (status == TRB_OK && party && r->watched && rule != VISIBLE_HIDE && sitebook_sees(r->viewer, site))
    status = put_listed(r, source, rid, site, id, &put, err);
  if (status == TRB_OK && !put)
    down_withdraw(r,
                  (uint16_t)(source == TRB_T_preference ? TRB_T_unified_preference
                             : source == TRB_T_tag_on   ? TRB_T_unified_tag
                                                        : TRB_T_unified_relation),
                  id);
  return status;
}
