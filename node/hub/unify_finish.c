/* unify_finish: the end of a transaction: parties, golden rows, down entries; and re-keying when the rules of keys
 * change. */
#include <stdlib.h>
#include <string.h>

#include "unify_internal.h"

static enum trb_status nomem(struct trb_error *err) { return trb_fail(err, TRB_NOMEM, "out of memory"); }

/* ---- new rules for keys: every keyed row again. O(hub), for a change of policy, of a site's area code or of the
 * normaliser ---- */

struct page_row {
  int64_t rid, site;
  struct trb_slice id;
  struct trb_value *values;
};
enum { PAGE_ROWS = 500 };

static enum trb_status read_page(struct unify *u, const struct trb_table *table, const char *sql, int64_t after,
                                 struct trb_arena *arena, struct page_row *rows, size_t *ret_count,
                                 struct trb_error *err) {
  TRB_STMT_AUTO *stmt = NULL;
  enum trb_status status = db_queryf(u->db, err, &stmt, sql, "ii", after, (int64_t)PAGE_ROWS);
  bool row = true, ok = true;
  *ret_count = 0;
  while (status == TRB_OK && (status = stmt_step(stmt, &row, err)) == TRB_OK && row) {
    struct page_row *r = &rows[(*ret_count)++];
    *r = (struct page_row){.rid = stmt_int(stmt, 0), .site = stmt_int(stmt, 1)};
    r->id = trb_arena_copy(arena, stmt_slice(stmt, 2), &ok);
    r->values = trb_arena_alloc(arena, table->column_count * sizeof *r->values);
    if (!r->values) return nomem(err);
    for (size_t i = 0; i < table->column_count; i++) {
      r->values[i] = stmt_value(stmt, (int)i + 3);
      if (r->values[i].type == TRB_TEXT || r->values[i].type == TRB_BLOB)
        r->values[i].s = trb_arena_copy(arena, r->values[i].s, &ok);
    }
  }
  return ok ? status : nomem(err);
}

static enum trb_status rekey_table(struct unify *u, const struct trb_table *table, struct trb_error *err) {
  TRB_BUF_AUTO sql = {0};
  trb_buf_append_str(&sql, "SELECT _rid,_site,id");
  for (size_t i = 0; i < table->column_count; i++) trb_buf_printf(&sql, ",\"%s\"", table->columns[i].name);
  trb_buf_printf(&sql, " FROM \"%s\" WHERE _rid > ?1 ORDER BY _rid LIMIT ?2", table->name);
  struct page_row rows[PAGE_ROWS];
  int64_t after = -1;
  size_t count = PAGE_ROWS;
  enum trb_status status = sql.failed ? nomem(err) : TRB_OK;
  while (status == TRB_OK && count == PAGE_ROWS) {
    TRB_ARENA_AUTO arena = {0};
    status = read_page(u, table, trb_buf_cstr(&sql), after, &arena, rows, &count, err);
    for (size_t i = 0; status == TRB_OK && i < count; i++) {
      struct unify_row row = {.table = table,
                              .site = rows[i].site,
                              .rid = rows[i].rid,
                              .id = rows[i].id,
                              .before = rows[i].values,
                              .after = rows[i].values};
      status = unify_rekey_row(u, &row, err);
      after = rows[i].rid;
    }
  }
  return status;
}

enum trb_status unify_rekey_all(struct unify *u, struct trb_error *err) {
  static const uint16_t tables[] = {TRB_T_customer, TRB_T_contact, TRB_T_identity_document, TRB_T_contact_status,
                                    TRB_T_suppression};
  enum trb_status status = TRB_OK;
  for (size_t i = 0; status == TRB_OK && i < sizeof tables / sizeof *tables; i++)
    status = rekey_table(u, catalogue_table(u->catalogue, tables[i]), err);
  return status;
}

/* ---- the finish ---- */

static enum trb_status reload_policies(struct unify *u, struct trb_error *err) {
  if ((u->keys_policy_changed || u->golden_policy_changed) && u->policies_loaded) {
    golden_policy_done(&u->golden_policy);
    u->policies_loaded = false;
  }
  enum trb_status status = unify_load_policies(u, err);
  return status == TRB_OK && u->keys_policy_changed ? unify_rekey_all(u, err) : status;
}

static enum trb_status store_all_golden(struct unify *u, struct trb_error *err) {
  int64_t after = -1;
  for (;;) {
    int64_t anchor = 0;
    enum trb_status status = db_get_int(
        u->db, NULL, &anchor, "SELECT _rid FROM unified_customer WHERE _rid > ?1 ORDER BY _rid LIMIT 1", "i", after);
    if (status == TRB_ABSENT) return TRB_OK;
    if (status != TRB_OK) return trb_fail(err, status, "hub.db: the golden rows cannot be read");
    status = unify_store_golden(u, anchor, err);
    if (status != TRB_OK) return status;
    after = anchor;
  }
}

static enum trb_status all_sites(struct unify *u, struct unify_sitelist *ret, struct trb_error *err) {
  TRB_STMT_AUTO *stmt = NULL;
  enum trb_status status =
      db_queryf(u->db, err, &stmt, "SELECT no FROM site_no WHERE no <> ?1", "i", (int64_t)TRB_HQ_SITE_NO);
  bool row = true;
  while (status == TRB_OK && (status = stmt_step(stmt, &row, err)) == TRB_OK && row)
    if (!sitelist_add(ret, stmt_int(stmt, 0))) return nomem(err);
  return status;
}

static enum trb_status note_visibility(struct unify *u, struct trb_error *err) {
  enum trb_status status = all_sites(u, &u->dirty, err);
  for (size_t i = 0; status == TRB_OK && i < u->dirty.count; i++)
    status = down_put_parties(u->db, u->dirty.site[i], &u->version, err);
  return status;
}

static enum trb_status flush_extras(struct unify *u, struct trb_error *err) {
  enum trb_status status = TRB_OK;
  for (size_t i = 0; status == TRB_OK && i < u->extra_count; i++)
    status = unify_put_down(u, u->extras[i].site, u->extras[i].kind, u->extras[i].num, u->extras[i].gone, err);
  return status;
}

/* What a site sees of a golden row also depends on what its own records say (values it holds itself are not masked). */
static enum trb_status note_own_golden(struct unify *u, struct trb_error *err) {
  enum trb_status status = TRB_OK;
  for (size_t i = 0; status == TRB_OK && i < u->note_count; i++) {
    const struct unify_note *note = &u->notes[i];
    if (note->golden && note->class_now != 0 && !unify_is_alone(u, note))
      status = unify_put_down(u, note->site, DOWN_GOLDEN, note->party, (struct trb_slice){0}, err);
  }
  return status;
}

static enum trb_status look_for_status_rows(struct unify *u, struct trb_error *err) {
  int64_t any = 1;
  enum trb_status status = db_get_int(u->db, err, &any, "SELECT EXISTS(SELECT 1 FROM row_key WHERE rec = 0)", "");
  u->view.quiet = !any;
  return status;
}

static enum trb_status finish(struct unify *u, struct trb_error *err) {
  int64_t *parties = NULL, version = 0;
  size_t count = 0;
  enum trb_status status = down_version_read(u->db, &version, err);
  u->version = version;
  u->dirty.count = 0;
  if (status == TRB_OK) status = reload_policies(u, err);
  if (status == TRB_OK && u->note_count) status = unify_resolve(u, &parties, &count, err);
  if (status == TRB_OK) status = look_for_status_rows(u, err);
  for (size_t i = 0; status == TRB_OK && i < count; i++) status = unify_store_golden(u, parties[i], err);
  if (status == TRB_OK && u->golden_policy_changed) status = store_all_golden(u, err);
  if (status == TRB_OK) status = unify_note_changes(u, err);
  if (status == TRB_OK) status = note_own_golden(u, err);
  if (status == TRB_OK && u->visibility_changed) status = note_visibility(u, err);
  if (status == TRB_OK) status = flush_extras(u, err);
  if (status == TRB_OK && u->version != version) status = down_version_write(u->db, u->version, err);
  if (status == TRB_OK && u->all_sites_dirty) status = all_sites(u, &u->dirty, err);
  return status;
}

enum trb_status unify_finish(struct unify *u, struct unify_sites *ret_dirty, struct trb_error *err) {
  enum trb_status status = finish(u, err);
  int64_t floor = INT64_MAX;
  if (status == TRB_OK) status = db_get_int(u->db, err, &floor, "SELECT coalesce(max(rec), 0) FROM record", "");
  for (size_t i = 0; i < u->note_count; i++) {
    const struct unify_sitelist *audience = u->notes[i].audience;
    if (audience && audience->site) sitelist_done((struct unify_sitelist *)audience);
  }
  if (status != TRB_OK) return status;
  bool policies = u->policies_loaded;
  u->policies_loaded = false; /* kept over the transactions: unify_forget would drop them */
  struct sitebook sites = u->sites;
  u->sites = (struct sitebook){0};
  unify_forget(u);
  u->policies_loaded = policies;
  u->sites = sites;
  u->rec_floor = floor;
  *ret_dirty = (struct unify_sites){u->dirty.count, u->dirty.site};
  return TRB_OK;
}
