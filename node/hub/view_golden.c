/* view_golden: the golden row of a party from its source rows (see view.h). */
#include <string.h>

#include "tributary/times.h"
#include "view.h"

/* Golden fields in catalogue order (numbers 4 to 35). */
#define FIELDS_SQL                                                                                                    \
  "kind,name,name_latin,name_english,gender,birthday,nationality,language,occupation,province,city,address,postcode," \
  "industry,staff_count,annual_income,legal_representative,tax_no,bank,account,credit_limit,settlement,relation,"     \
  "keywords,source,referrer,grade,state_override,loss_reason,blacklist_note,remark,external_ref"
enum { EXTRA_COLUMNS = 3 };

struct sums { /* over all members */
  int64_t first_ms, last_ms, bookings, cents, points;
  bool touched;
  struct trb_slice recency_on, expires_on; /* in the view's arena */
};

static enum trb_status nomem(struct trb_error *err) { return trb_fail(err, TRB_NOMEM, "out of memory"); }
static int64_t later(int64_t a, int64_t b) { return a > b ? a : b; }

static enum trb_status read_member(struct party_view *view, size_t m, struct trb_error *err) {
  const struct view_record *r = &view->records[m];
  struct golden_member *g = &view->members[m];
  *g = (struct golden_member){.rec = r->rec,
                              .site_no = r->site_no,
                              .site = trb_slice_str(r->site->name),
                              .id = r->id,
                              .hq = r->site_no == 1,
                              .stamp = r->stamp};
  struct trb_value *values = trb_arena_alloc(&view->arena, GOLDEN_FIELDS * sizeof *values);
  if (!values) return nomem(err);
  g->values = values;
  TRB_STMT_AUTO *stmt = NULL;
  enum trb_status status =
      db_queryf(view->db, err, &stmt,
                "SELECT _times, created_at, _accepted," FIELDS_SQL " FROM customer WHERE _rid = ?1", "i", r->rec);
  bool row = false, ok = true;
  if (status == TRB_OK) status = stmt_step(stmt, &row, err);
  if (status != TRB_OK || !row) return status;
  g->times = trb_arena_copy(&view->arena, stmt_slice(stmt, 0), &ok);
  g->latest = times_latest(g->times);
  g->created_ms = stmt_is_null(stmt, 1) ? trb_hlc_ms(r->stamp.hlc) : stmt_int(stmt, 1);
  for (int f = 0; f < GOLDEN_FIELDS; f++) {
    values[f] = stmt_value(stmt, f + EXTRA_COLUMNS);
    if (values[f].type == TRB_TEXT || values[f].type == TRB_BLOB)
      values[f].s = trb_arena_copy(&view->arena, values[f].s, &ok);
  }
  return ok ? TRB_OK : nomem(err);
}

/* ---- numbers ---- */

static void keep_text(struct party_view *view, struct trb_slice *best, struct trb_slice text, bool greater) {
  if (!text.len) return;
  int c = trb_slice_compare(text, *best);
  bool ok = true;
  if (best->len == 0 || (greater ? c > 0 : c < 0)) *best = trb_arena_copy(&view->arena, text, &ok);
}

/* A booking without events counts; else its latest event decides. */
static const char *const BOOKINGS_SQL =
    "SELECT b.ordered_on, b.amount, b.created_at, (SELECT e.kind FROM booking_event e WHERE e.booking_id = b.id AND "
    "(e.booking_site = ?3 OR (e.booking_site IS NULL AND e._site = ?1)) ORDER BY coalesce(e.at, e.created_at, "
    "e._accepted >> 16) "
    "DESC, e.kind DESC LIMIT 1), b._accepted >> 16 FROM booking b WHERE b._site = ?1 AND b.customer_id = ?2";

static bool no_sale(struct trb_slice kind) {
  static const char *const kinds[] = {"enquiry", "quoted", "cancelled", "refunded"};
  for (size_t i = 0; i < sizeof kinds / sizeof *kinds; i++)
    if (trb_slice_equal(kind, trb_slice_str(kinds[i]))) return true;
  return false;
}

static enum trb_status sum_bookings(struct party_view *view, const struct view_record *r, struct sums *sums,
                                    struct trb_error *err) {
  TRB_STMT_AUTO *stmt = NULL;
  enum trb_status status = db_queryf(view->db, err, &stmt, BOOKINGS_SQL, "ist", r->site_no, r->id, r->site->name);
  bool row = true;
  while (status == TRB_OK && (status = stmt_step(stmt, &row, err)) == TRB_OK && row) {
    sums->touched = true;
    sums->last_ms = later(sums->last_ms, stmt_int(stmt, stmt_is_null(stmt, 2) ? 4 : 2));
    if (no_sale(stmt_slice(stmt, 3))) continue;
    sums->bookings++;
    sums->cents += golden_cents(stmt_real(stmt, 1));
    keep_text(view, &sums->recency_on, stmt_slice(stmt, 0), true);
  }
  return status;
}

static const char *const CONTACTED_SQL =
    "SELECT count(*), max(coalesce(at, created_at, _accepted >> 16)) FROM activity WHERE _site = ?1 AND customer_id = "
    "?2";
static const char *const POINTS_SQL =
    "SELECT count(*), coalesce(sum(CAST(points AS INTEGER)), 0) FROM points_entry WHERE customer_id = ?2 AND "
    "(customer_site = ?3 OR "
    "(customer_site IS NULL AND _site = ?1))";
static const char *const DOCUMENTS_SQL =
    "SELECT count(*), max(coalesce(verified_at, 0)), min(expires) FROM identity_document WHERE _site = ?1 AND "
    "customer_id = ?2";

static enum trb_status one_row(struct party_view *view, const struct view_record *r, const char *sql, bool site_name,
                               struct trb_stmt **ret, struct trb_error *err) {
  struct trb_stmt *stmt = NULL;
  enum trb_status status = site_name ? db_queryf(view->db, err, &stmt, sql, "ist", r->site_no, r->id, r->site->name)
                                     : db_queryf(view->db, err, &stmt, sql, "is", r->site_no, r->id);
  bool row = false;
  if (status == TRB_OK) status = stmt_step(stmt, &row, err);
  if (status == TRB_OK) *ret = stmt; /* an aggregate always gives a row */
  return status;
}

static enum trb_status sum_points(struct party_view *view, const struct view_record *r, struct sums *sums,
                                  struct trb_error *err) {
  TRB_STMT_AUTO *points = NULL;
  enum trb_status status = one_row(view, r, POINTS_SQL, true, &points, err);
  if (status == TRB_OK) sums->points += stmt_int(points, 1);
  return status;
}

static enum trb_status sum_member(struct party_view *view, size_t m, struct sums *sums, struct trb_error *err) {
  const struct view_record *r = &view->records[m];
  struct golden_member *g = &view->members[m];
  if (m == 0 || g->created_ms < sums->first_ms) sums->first_ms = g->created_ms;
  sums->last_ms = later(sums->last_ms, g->created_ms);
  if (r->untraded) return TRB_OK;
  enum trb_status status = sum_points(view, r, sums, err);
  if (status == TRB_OK) status = sum_bookings(view, r, sums, err);
  TRB_STMT_AUTO *contacted = NULL;
  if (status == TRB_OK) status = one_row(view, r, CONTACTED_SQL, false, &contacted, err);
  if (status != TRB_OK) return status;
  sums->touched = sums->touched || stmt_int(contacted, 0) > 0;
  sums->last_ms = later(sums->last_ms, stmt_int(contacted, 1));
  TRB_STMT_AUTO *documents = NULL;
  status = one_row(view, r, DOCUMENTS_SQL, false, &documents, err);
  if (status != TRB_OK) return status;
  if (stmt_int(documents, 1) > 0) g->verified = true;
  keep_text(view, &sums->expires_on, stmt_slice(documents, 2), false);
  return TRB_OK;
}

/* ---- the row ---- */

struct fill { /* writes columns of unified_customer by number */
  const struct trb_table *table;
  struct trb_value *values;
};
static void put(struct fill *fill, uint16_t column, struct trb_value value) {
  size_t index = table_column_index(fill->table, column);
  if (index != SIZE_MAX) fill->values[index] = value;
}
static struct trb_value text_or_null(struct trb_slice s) { return s.len ? trb_text_slice(s) : trb_null(); }

static struct trb_value main_of(const struct party_view *view, const char *kind) {
  for (size_t i = 0; i < view->unified_count; i++) {
    const struct golden_contact *c = &view->contacts[view->unified[i].best];
    if (view->unified[i].main && kind_of(c->kind) == kind_of(trb_slice_str(kind)))
      return text_or_null(golden_contact_value(c));
  }
  return trb_null();
}

static enum trb_status put_summary(struct party_view *view, struct fill *fill, const struct sums *sums,
                                   const struct golden_field *fields, struct trb_error *err) {
  size_t *all = trb_arena_alloc(&view->arena, view->record_count * sizeof *all);
  if (!all) return nomem(err);
  trb_hlc updated = 0;
  for (size_t m = 0; m < view->record_count; m++) {
    all[m] = m;
    if (view->members[m].latest > updated) updated = view->members[m].latest;
  }
  struct trb_value override = fields[TRB_C_customer_state_override - GOLDEN_FIELD_FIRST].value;
  put(fill, TRB_C_unified_customer_created_at, trb_int(sums->first_ms));
  put(fill, TRB_C_unified_customer_updated_at, trb_int(trb_hlc_ms(updated)));
  put(fill, TRB_C_unified_customer_sites, trb_text_slice(view_sites(view, all, view->record_count)));
  put(fill, TRB_C_unified_customer_record_count, trb_int((int64_t)view->record_count));
  put(fill, TRB_C_unified_customer_first_seen, trb_int(sums->first_ms));
  put(fill, TRB_C_unified_customer_last_seen, trb_int(sums->last_ms));
  put(fill, TRB_C_unified_customer_state,
      override.type == TRB_TEXT ? override : trb_text(golden_state(sums->bookings, sums->touched)));
  put(fill, TRB_C_unified_customer_recency_on, text_or_null(sums->recency_on));
  put(fill, TRB_C_unified_customer_frequency, trb_int(sums->bookings));
  put(fill, TRB_C_unified_customer_monetary, trb_real((double)sums->cents / 100.0));
  put(fill, TRB_C_unified_customer_points_balance, trb_int(sums->points));
  put(fill, TRB_C_unified_customer_main_mobile, main_of(view, "mobile"));
  put(fill, TRB_C_unified_customer_main_email, main_of(view, "email"));
  put(fill, TRB_C_unified_customer_main_wechat, main_of(view, "wechat"));
  put(fill, TRB_C_unified_customer_expires_on, text_or_null(sums->expires_on));
  return TRB_OK;
}

enum trb_status view_golden(struct party_view *view, const struct golden_policy *policy, const struct trb_table *table,
                            struct trb_value *ret, struct golden_field fields[GOLDEN_FIELDS], struct trb_error *err) {
  struct sums sums = {0};
  view->members = trb_arena_alloc(&view->arena, (view->record_count ? view->record_count : 1) * sizeof *view->members);
  if (!view->members) return nomem(err);
  enum trb_status status = view_contacts(view, err);
  for (size_t m = 0; status == TRB_OK && m < view->record_count; m++) {
    status = read_member(view, m, err);
    if (status == TRB_OK) status = sum_member(view, m, &sums, err);
  }
  if (status != TRB_OK) return status;
  for (size_t i = 0; i < view->contact_count; i++)
    if (view->contacts[i].verified_at > 0) view->members[view->contacts[i].member].verified = true;
  status = golden_fields(policy, view->members, view->record_count, &view->arena, fields, err);
  if (status != TRB_OK) return status;
  struct fill fill = {table, ret};
  for (size_t i = 0; i < table->column_count; i++) ret[i] = trb_null();
  for (size_t f = 0; f < GOLDEN_FIELDS; f++) put(&fill, (uint16_t)(GOLDEN_FIELD_FIRST + f), fields[f].value);
  struct trb_catalogue *catalogue = catalogue_builtin();
  TRB_BUF_AUTO provenance = {0};
  golden_provenance(catalogue_table(catalogue, TRB_T_customer), view->members, fields, &provenance);
  catalogue_unref(&catalogue);
  bool ok = !provenance.failed;
  struct trb_slice text = trb_arena_copy(&view->arena, trb_buf_slice(&provenance), &ok);
  if (!ok) return nomem(err);
  put(&fill, TRB_C_unified_customer_provenance, trb_text_slice(text));
  return put_summary(view, &fill, &sums, fields, err);
}
