/* unify_golden: the stored golden rows, and who may see more of a party (see unify_internal.h). */
#include <stdlib.h>
#include <string.h>

#include "unify_internal.h"

static enum trb_status nomem(struct trb_error *err) { return trb_fail(err, TRB_NOMEM, "out of memory"); }

enum trb_status unify_golden_sql(struct unify *u, struct trb_error *err) {
  TRB_BUF_AUTO columns = {0}, select = {0}, insert = {0};
  for (size_t i = 0; i < u->golden_table->column_count; i++)
    if (u->golden_table->columns[i].number < 62) trb_buf_printf(&columns, ",%s", u->golden_table->columns[i].name);
  trb_buf_printf(&select, "SELECT id%s FROM unified_customer WHERE _rid = ?1", trb_buf_cstr(&columns));
  trb_buf_printf(&insert, "INSERT OR REPLACE INTO unified_customer(_rid,id%s)VALUES(?1,?2", trb_buf_cstr(&columns));
  for (size_t i = 0; i < u->golden_table->column_count; i++) trb_buf_printf(&insert, ",?%zu", i + 3);
  trb_buf_append_str(&insert, ")");
  u->golden_select = strdup(trb_buf_cstr(&select));
  u->golden_insert = strdup(trb_buf_cstr(&insert));
  return columns.failed || select.failed || insert.failed || !u->golden_select || !u->golden_insert ? nomem(err)
                                                                                                    : TRB_OK;
}

/* ---- the row ---- */

static enum trb_status remove_row(struct unify *u, int64_t anchor, struct trb_error *err) {
  enum trb_status status = db_run(u->db, err, "DELETE FROM unified_customer WHERE _rid = ?1", "i", anchor);
  return status == TRB_OK ? db_run(u->db, err, "DELETE FROM unlocked WHERE party = ?1", "i", anchor) : status;
}

/* The main contact of a kind is another now: the rows of both change. */
static enum trb_status note_main(struct unify *u, struct trb_slice value, enum trb_kind kind, struct trb_error *err) {
  struct party_view *view = &u->view;
  enum trb_status status = TRB_OK;
  for (size_t i = 0; status == TRB_OK && i < view->unified_count; i++) {
    const struct golden_contact *best = &view->contacts[view->unified[i].best];
    if (kind_of(best->kind) != kind || !trb_slice_equal(golden_contact_value(best), value)) continue;
    int64_t num = down_num(TRB_T_contact, view->contacts[view->unified[i].named].rid);
    for (size_t m = 0; status == TRB_OK && m < view->record_count; m++)
      status = unify_put_down(u, view->records[m].site_no, DOWN_ROW, num, (struct trb_slice){0}, err);
  }
  return status;
}

static const struct {
  uint16_t column;
  enum trb_kind kind;
} MAINS[] = {
    {TRB_C_unified_customer_main_mobile, TRB_KIND_MOBILE},
    {TRB_C_unified_customer_main_email, TRB_KIND_EMAIL},
    {TRB_C_unified_customer_main_wechat, TRB_KIND_WECHAT},
};

static enum trb_status note_mains(struct unify *u, struct trb_stmt *stored, const struct trb_value *row,
                                  struct trb_error *err) {
  enum trb_status status = TRB_OK;
  for (size_t k = 0; status == TRB_OK && k < sizeof MAINS / sizeof *MAINS; k++) {
    size_t index = table_column_index(u->golden_table, MAINS[k].column);
    struct trb_value old = stmt_value(stored, (int)index + 1);
    if (trb_value_equal(old, row[index])) continue;
    if (old.type == TRB_TEXT) status = note_main(u, old.s, MAINS[k].kind, err);
    if (status == TRB_OK && row[index].type == TRB_TEXT) status = note_main(u, row[index].s, MAINS[k].kind, err);
  }
  return status;
}

static enum trb_status stored_equals(struct unify *u, const struct trb_value *row, bool *ret_there, bool *ret_equal,
                                     bool *ret_name, struct trb_error *err) {
  TRB_STMT_AUTO *stmt = NULL;
  enum trb_status status = db_queryf(u->db, err, &stmt, u->golden_select, "i", u->view.anchor);
  *ret_there = false;
  if (status == TRB_OK) status = stmt_step(stmt, ret_there, err);
  if (status != TRB_OK || !*ret_there) return status;
  *ret_equal = true;
  size_t name = table_column_index(u->golden_table, TRB_C_unified_customer_name);
  *ret_name = trb_value_equal(stmt_value(stmt, (int)name + 1), row[name]);
  for (size_t i = 0; *ret_equal && i < u->golden_table->column_count; i++)
    *ret_equal = trb_value_equal(stmt_value(stmt, (int)i + 1), row[i]);
  return *ret_equal ? TRB_OK : note_mains(u, stmt, row, err);
}

static enum trb_status write_row(struct unify *u, const struct trb_value *row, struct trb_error *err) {
  TRB_STMT_AUTO *stmt = NULL;
  enum trb_status status = db_query(u->db, u->golden_insert, &stmt, err);
  if (status != TRB_OK) return status;
  stmt_bind_int(stmt, 1, u->view.anchor);
  stmt_bind_slice(stmt, 2, u->view.id);
  for (size_t i = 0; i < u->golden_table->column_count; i++)
    if (row[i].type != TRB_NULL) stmt_bind_value(stmt, (int)i + 3, row[i]); /* unbound is NULL */
  bool more;
  return stmt_step(stmt, &more, err);
}

/* ---- who may see the contacts and history of other branches ---- */

static bool has_verified_contact(const struct party_view *view, int64_t site) {
  for (size_t i = 0; i < view->contact_count; i++)
    if (view->contacts[i].verified_at > 0 && view->records[view->contacts[i].member].site_no == site) return true;
  return false;
}

static enum trb_status has_booking(struct unify *u, int64_t site, bool *ret, struct trb_error *err) {
  const struct party_view *view = &u->view;
  *ret = false;
  for (size_t i = 0; !*ret && i < view->record_count; i++) {
    if (view->records[i].site_no != site) continue;
    int64_t there = 0;
    enum trb_status status =
        db_get_int(u->db, err, &there, "SELECT EXISTS(SELECT 1 FROM booking WHERE _site = ?1 AND customer_id = ?2)",
                   "is", site, view->records[i].id);
    if (status != TRB_OK) return status;
    *ret = there != 0;
  }
  return TRB_OK;
}

static enum trb_status set_lock(struct unify *u, int64_t site, const char *why, struct trb_error *err) {
  TRB_BUF_AUTO old = {0};
  enum trb_status status = db_get_bytes(u->db, NULL, &old, "SELECT why FROM unlocked WHERE party = ?1 AND site = ?2",
                                        "ii", u->view.anchor, site);
  if (status != TRB_OK && status != TRB_ABSENT)
    return trb_fail(err, status, "hub.db: the table of locks cannot be read");
  bool was = status == TRB_OK;
  if (!was && !why) return TRB_OK;
  if (was && why && strcmp(trb_buf_cstr(&old), why) == 0) return TRB_OK;
  if (why)
    status = db_run(u->db, err, "INSERT OR REPLACE INTO unlocked(party, site, why) VALUES(?1, ?2, ?3)", "iit",
                    u->view.anchor, site, why);
  else
    status = db_run(u->db, err, "DELETE FROM unlocked WHERE party = ?1 AND site = ?2", "ii", u->view.anchor, site);
  if (status != TRB_OK || (was && why)) return status; /* another reason for the same view */
  if (why)
    status = db_run(
        u->db, err,
        "INSERT INTO access_log(at, site, party, why) VALUES(?1, (SELECT name FROM site_no WHERE no = ?2), ?3, ?4)",
        "iist", u->now_ms, site, u->view.id, why);
  struct unify_sitelist one = {0};
  if (status == TRB_OK && !sitelist_add(&one, site)) status = nomem(err);
  for (size_t i = 0; status == TRB_OK && i < u->view.record_count; i++)
    status = unify_note_record(u, &one, u->view.records[i].rec, err);
  sitelist_done(&one);
  return status;
}

static enum trb_status forget_left(struct unify *u, const struct unify_sitelist *sites, struct trb_error *err) {
  struct unify_sitelist left = {0};
  TRB_STMT_AUTO *stmt = NULL;
  enum trb_status status =
      db_queryf(u->db, err, &stmt, "SELECT site FROM unlocked WHERE party = ?1", "i", u->view.anchor);
  bool row = true;
  while (status == TRB_OK && (status = stmt_step(stmt, &row, err)) == TRB_OK && row)
    if ((sites->count < 2 || !sitelist_has(sites, stmt_int(stmt, 0))) && !sitelist_add(&left, stmt_int(stmt, 0)))
      status = nomem(err);
  for (size_t i = 0; status == TRB_OK && i < left.count; i++)
    status =
        db_run(u->db, err, "DELETE FROM unlocked WHERE party = ?1 AND site = ?2", "ii", u->view.anchor, left.site[i]);
  sitelist_done(&left);
  return status;
}

/* A party of one site has nothing to hide from it. */
static enum trb_status update_locks(struct unify *u, bool alone, struct trb_error *err) {
  if (alone) return TRB_OK;
  struct unify_sitelist sites = {0};
  enum trb_status status = TRB_OK;
  for (size_t i = 0; i < u->view.record_count; i++)
    if (!sitelist_add(&sites, u->view.records[i].site_no)) status = nomem(err);
  if (status == TRB_OK) status = forget_left(u, &sites, err);
  for (size_t i = 0; status == TRB_OK && sites.count > 1 && i < sites.count; i++) {
    bool booking = false;
    if (sites.site[i] == TRB_HQ_SITE_NO) continue;
    status = has_booking(u, sites.site[i], &booking, err);
    const char *why = booking ? "booking" : has_verified_contact(&u->view, sites.site[i]) ? "verified_contact" : NULL;
    if (status == TRB_OK) status = set_lock(u, sites.site[i], why, err);
  }
  sitelist_done(&sites);
  return status;
}

/* ---- both ---- */

static enum trb_status tell(struct unify *u, bool alone, bool name_changed, struct trb_error *err) {
  enum trb_status status = TRB_OK;
  const struct party_view *view = &u->view;
  for (size_t i = 0; status == TRB_OK && i < view->record_count; i++) {
    const struct view_record *r = &view->records[i];
    bool seen = false; /* one entry a site; the records stand in the order of their stamps, sites are few */
    for (size_t j = 0; !seen && j < i && j < 64; j++) seen = view->records[j].site_no == r->site_no;
    if (!seen)
      status =
          unify_put_down(u, r->site_no, alone ? DOWN_RECORD : DOWN_GOLDEN, view->anchor, (struct trb_slice){0}, err);
    if (status == TRB_OK && name_changed) status = unify_note_relations_to(u, r->site_no, r->site->name, r->id, err);
  }
  return status;
}

enum trb_status unify_store_golden(struct unify *u, int64_t anchor, struct trb_error *err) {
  const struct unify_note *note = unify_note_find(u, anchor);
  bool alone = note && unify_is_alone(u, note);
  enum trb_status status = view_load(&u->view, anchor, err);
  if (status != TRB_OK) return status;
  if (u->view.record_count == 0 || u->view.records[0].rec != anchor) return remove_row(u, anchor, err);
  for (size_t i = 0; i < u->view.record_count; i++) {
    const struct unify_note *of = unify_note_find(u, u->view.records[i].rec);
    u->view.records[i].untraded = of && unify_has_contacts_only(u, of);
  }
  struct golden_field fields[GOLDEN_FIELDS];
  struct trb_value *row = trb_arena_alloc(&u->view.arena, u->golden_table->column_count * sizeof *row);
  if (!row) return nomem(err);
  status = view_golden(&u->view, &u->golden_policy, u->golden_table, row, fields, err);
  bool there = false, equal = false, same_name = false;
  if (status == TRB_OK && !alone) status = stored_equals(u, row, &there, &equal, &same_name, err);
  if (status == TRB_OK && !equal) status = write_row(u, row, err);
  if (status == TRB_OK && !equal) status = tell(u, alone, !there || !same_name, err);
  return status == TRB_OK ? update_locks(u, alone, err) : status;
}
