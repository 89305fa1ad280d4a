/* unify_verify: everything again from the source rows, compared with what is stored (see unify.h). Keys are made anew
 * from the rows, parties by the pure core from those keys and the records' stamps, golden rows by the loader of the
 * writer over the parties so found. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "unify_internal.h"

static enum trb_status nomem(struct trb_error *err) { return trb_fail(err, TRB_NOMEM, "out of memory"); }

struct checked_record {
  int64_t rec, site, party, class;
  struct party_stamp stamp;
  struct trb_slice id;
  bool has_row;
};
struct made_key { /* of a row, as it should be stored */
  int64_t rec, table, rid, part, class;
  struct trb_slice key;
  bool links;
};
struct verifier {
  struct trb_db *db;
  const struct trb_catalogue *catalogue;
  struct sitebook sites;
  struct claims_policy key_policy;
  struct golden_policy golden_policy;
  struct trb_arena arena;
  struct checked_record *records; /* ascending by rec */
  size_t record_count, record_cap;
  struct made_key *keys;
  size_t key_count, key_cap;
  size_t *anchors; /* index of the anchor of each record */
  struct unify_report report;
};

static void note(struct verifier *v, int64_t *counter, struct trb_error *err, const char *what, int64_t number) {
  if (v->report.claim_differences + v->report.party_differences + v->report.golden_differences == 0 && err)
    trb_fail(err, TRB_OK, "first difference: %s %lld", what, (long long)number);
  ++*counter;
}

/* ---- records ---- */

static enum trb_status load_records(struct verifier *v, struct trb_error *err) {
  TRB_STMT_AUTO *stmt = NULL;
  enum trb_status status = db_queryf(
      v->db, err, &stmt,
      "SELECT r.rec, r.site, r.id, coalesce(r.party, r.rec), r.class, r.hlc, r.pos, c.kind, c._rid FROM record r "
      "LEFT JOIN customer c ON c._rid = r.rec ORDER BY r.rec",
      "");
  bool row = true, ok = true;
  while (status == TRB_OK && (status = stmt_step(stmt, &row, err)) == TRB_OK && row) {
    if (!unify_grow((void **)&v->records, v->record_count, &v->record_cap, sizeof *v->records)) return nomem(err);
    struct checked_record *r = &v->records[v->record_count++];
    *r = (struct checked_record){.rec = stmt_int(stmt, 0), .site = stmt_int(stmt, 1), .party = stmt_int(stmt, 3)};
    r->id = trb_arena_copy(&v->arena, stmt_slice(stmt, 2), &ok);
    r->has_row = !stmt_is_null(stmt, 8);
    r->class = r->has_row ? party_class(stmt_slice(stmt, 7)) : 0;
    r->stamp = (struct party_stamp){(trb_hlc)stmt_int(stmt, 5), stmt_int(stmt, 6)};
    if (!ok) return nomem(err);
    if (r->class != stmt_int(stmt, 4)) note(v, &v->report.party_differences, err, "class of record", r->rec);
  }
  v->report.records = (int64_t)v->record_count;
  return status;
}

static size_t record_at(const struct verifier *v, int64_t rec) {
  size_t low = 0, high = v->record_count;
  while (low < high) {
    size_t middle = (low + high) / 2;
    if (v->records[middle].rec < rec)
      low = middle + 1;
    else
      high = middle;
  }
  return low < v->record_count && v->records[low].rec == rec ? low : SIZE_MAX;
}

/* ---- keys ---- */

static enum trb_status add_keys(struct verifier *v, const struct trb_table *table, int64_t rec, int64_t rid,
                                const struct claims_keys *keys, struct trb_error *err) {
  bool ok = true;
  size_t at = rec ? record_at(v, rec) : SIZE_MAX;
  for (size_t i = 0; i < keys->count; i++) {
    if (!unify_grow((void **)&v->keys, v->key_count, &v->key_cap, sizeof *v->keys)) return nomem(err);
    struct made_key *k = &v->keys[v->key_count++];
    *k = (struct made_key){
        .rec = rec, .table = table->number, .rid = rid, .part = keys->count == 1 ? 0 : (int64_t)i + 1};
    k->key = trb_arena_copy(&v->arena, trb_slice_str(keys->key[i].text), &ok);
    k->links = keys->key[i].links;
    k->class = !rec ? CLAIMS_CLASS_STATUS : k->links && at != SIZE_MAX ? v->records[at].class : 0;
  }
  return ok ? TRB_OK : nomem(err);
}

static enum trb_status keys_of_table(struct verifier *v, uint16_t number, struct trb_error *err) {
  const struct trb_table *table = catalogue_table(v->catalogue, number);
  bool speaks = number == TRB_T_contact_status || number == TRB_T_suppression;
  TRB_BUF_AUTO sql = {0};
  trb_buf_printf(&sql, "SELECT x._rid,x._site,%s",
                 speaks ? "0"
                 : number == TRB_T_customer
                     ? "x._rid"
                     : "(SELECT rec FROM record r WHERE r.site = x._site AND r.id = x.customer_id)");
  for (size_t i = 0; i < table->column_count; i++) trb_buf_printf(&sql, ",x.\"%s\"", table->columns[i].name);
  trb_buf_printf(&sql, " FROM \"%s\" x", table->name);
  if (sql.failed) return nomem(err);
  TRB_STMT_AUTO *stmt = NULL;
  struct trb_value *values = trb_arena_alloc(&v->arena, table->column_count * sizeof *values);
  if (!values) return nomem(err);
  enum trb_status status = db_query(v->db, trb_buf_cstr(&sql), &stmt, err);
  bool row = true;
  while (status == TRB_OK && (status = stmt_step(stmt, &row, err)) == TRB_OK && row) {
    if (stmt_is_null(stmt, 2)) continue; /* of nobody */
    const struct sitebook_entry *site;
    struct claims_keys keys;
    for (size_t i = 0; i < table->column_count; i++) values[i] = stmt_value(stmt, (int)i + 3);
    status = sitebook_get(&v->sites, v->db, stmt_int(stmt, 1), &site, err);
    if (status != TRB_OK) break;
    claims_of_row(&v->key_policy, &site->context, table, values, NULL, &keys);
    status = add_keys(v, table, stmt_int(stmt, 2), stmt_int(stmt, 0), &keys, err);
  }
  return status;
}

static int by_row(const void *a, const void *b) {
  const struct made_key *x = a, *y = b;
  if (x->rec != y->rec) return x->rec < y->rec ? -1 : 1;
  if (x->table != y->table) return x->table < y->table ? -1 : 1;
  if (x->rid != y->rid) return x->rid < y->rid ? -1 : 1;
  return x->part < y->part ? -1 : x->part > y->part;
}

static bool key_equals(struct trb_stmt *stmt, const struct made_key *k) {
  return stmt_int(stmt, 0) == k->rec && stmt_int(stmt, 1) == k->table && stmt_int(stmt, 2) == k->rid &&
         stmt_int(stmt, 3) == k->part && trb_slice_equal(stmt_slice(stmt, 4), k->key) &&
         (stmt_int(stmt, 5) != 0) == k->links && !stmt_is_null(stmt, 6);
}

/* Both tables at once: each row of row_key with its row of claim, in the order of the made keys. */
static enum trb_status compare_keys(struct verifier *v, struct trb_error *err) {
  if (v->key_count > 1) qsort(v->keys, v->key_count, sizeof *v->keys, by_row);
  v->report.claims = (int64_t)v->key_count;
  TRB_STMT_AUTO *stmt = NULL;
  enum trb_status status = db_queryf(
      v->db, err, &stmt,
      "SELECT k.rec, k.tbl, k.rid, k.part, k.key, k.links, c.rec FROM row_key k LEFT JOIN record r ON r.rec = k.rec "
      "LEFT JOIN claim c ON c.key = k.key AND c.tbl = k.tbl AND c.rid = k.rid AND c.rec = k.rec AND "
      "c.class = CASE WHEN k.rec = 0 THEN -1 WHEN k.links THEN r.class ELSE 0 END ORDER BY k.rec, k.tbl, k.rid, k.part",
      "");
  bool row = true;
  size_t i = 0;
  while (status == TRB_OK && (status = stmt_step(stmt, &row, err)) == TRB_OK && row) {
    if (i >= v->key_count || !key_equals(stmt, &v->keys[i]))
      note(v, &v->report.claim_differences, err, "keys of record", stmt_int(stmt, 0));
    i++;
  }
  int64_t claims = 0;
  if (status == TRB_OK) status = db_get_int(v->db, err, &claims, "SELECT count(*) FROM claim", "");
  if (status == TRB_OK && (i != v->key_count || claims != (int64_t)v->key_count))
    note(v, &v->report.claim_differences, err, "number of claims", claims);
  return status;
}

/* ---- parties ---- */

static enum trb_status compare_parties(struct verifier *v, struct trb_error *err) {
  struct party_record *records = calloc(v->record_count + 1, sizeof *records);
  struct party_claim *claims = calloc(v->key_count + 1, sizeof *claims);
  v->anchors = calloc(v->record_count + 1, sizeof *v->anchors);
  size_t n = 0;
  enum trb_status status = records && claims && v->anchors ? TRB_OK : nomem(err);
  for (size_t i = 0; status == TRB_OK && i < v->record_count; i++)
    records[i] = (struct party_record){v->records[i].stamp, v->records[i].class};
  for (size_t i = 0; status == TRB_OK && i < v->key_count; i++)
    if (v->keys[i].links && record_at(v, v->keys[i].rec) != SIZE_MAX)
      claims[n++] = (struct party_claim){record_at(v, v->keys[i].rec), v->keys[i].key};
  if (status == TRB_OK) status = parties_resolve(records, v->record_count, claims, n, v->anchors, err);
  for (size_t i = 0; status == TRB_OK && i < v->record_count; i++) {
    if (v->records[i].class != 0 && v->anchors[i] == i) v->report.parties++;
    if (v->records[v->anchors[i]].rec != v->records[i].party)
      note(v, &v->report.party_differences, err, "party of record", v->records[i].rec);
  }
  free(records);
  free(claims);
  return status;
}

/* ---- golden rows ---- */

static enum trb_status compare_row(struct verifier *v, struct party_view *view, const struct trb_table *table,
                                   const char *select, struct trb_error *err) {
  struct golden_field fields[GOLDEN_FIELDS];
  struct trb_value *row = trb_arena_alloc(&view->arena, table->column_count * sizeof *row);
  if (!row) return nomem(err);
  enum trb_status status = view_golden(view, &v->golden_policy, table, row, fields, err);
  TRB_STMT_AUTO *stmt = NULL;
  bool found = false, equal = true;
  if (status == TRB_OK) status = db_queryf(v->db, err, &stmt, select, "i", view->anchor);
  if (status == TRB_OK) status = stmt_step(stmt, &found, err);
  if (status != TRB_OK) return status;
  if (found) equal = trb_slice_equal(stmt_slice(stmt, 0), view->id);
  for (size_t i = 0; found && equal && i < table->column_count; i++)
    equal = trb_value_equal(stmt_value(stmt, (int)i + 1), row[i]);
  if (!found || !equal) note(v, &v->report.golden_differences, err, "golden row of party", view->anchor);
  return TRB_OK;
}

static enum trb_status compare_golden(struct verifier *v, struct trb_error *err) {
  const struct trb_table *table = catalogue_table(v->catalogue, TRB_T_unified_customer);
  struct party_view view;
  TRB_BUF_AUTO select = {0};
  trb_buf_append_str(&select, "SELECT id");
  for (size_t i = 0; i < table->column_count; i++) trb_buf_printf(&select, ",%s", table->columns[i].name);
  trb_buf_append_str(&select, " FROM unified_customer WHERE _rid = ?1");
  view_init(&view, v->db, &v->sites);
  enum trb_status status = TRB_OK;
  for (size_t i = 0; status == TRB_OK && i < v->record_count; i++) {
    if (v->records[i].class == 0 || v->anchors[i] != i) continue;
    status = view_load(&view, v->records[i].rec, err);
    if (status == TRB_OK) status = compare_row(v, &view, table, trb_buf_cstr(&select), err);
  }
  view_done(&view);
  int64_t stored = 0;
  if (status == TRB_OK) status = db_get_int(v->db, err, &stored, "SELECT count(*) FROM unified_customer", "");
  if (status == TRB_OK && stored != v->report.parties)
    note(v, &v->report.golden_differences, err, "number of golden rows", stored);
  return status;
}

static void verifier_done(struct verifier *v) {
  golden_policy_done(&v->golden_policy);
  sitebook_done(&v->sites);
  trb_arena_free(&v->arena);
  free(v->records);
  free(v->keys);
  free(v->anchors);
}

enum trb_status unify_verify(struct trb_db *reader, const struct trb_catalogue *catalogue, struct unify_report *ret,
                             struct trb_error *err) {
  static const uint16_t tables[] = {TRB_T_customer, TRB_T_contact,        TRB_T_identity_document, TRB_T_preference,
                                    TRB_T_tag_on,   TRB_T_contact_status, TRB_T_suppression};
  struct verifier v = {.db = reader, .catalogue = catalogue};
  enum trb_status status = claims_policy_load(&v.key_policy, reader, err);
  if (status == TRB_OK) status = golden_policy_load(&v.golden_policy, reader, err);
  if (status == TRB_OK) status = load_records(&v, err);
  for (size_t i = 0; status == TRB_OK && i < sizeof tables / sizeof *tables; i++)
    status = keys_of_table(&v, tables[i], err);
  if (status == TRB_OK) status = compare_keys(&v, err);
  if (status == TRB_OK) status = compare_parties(&v, err);
  if (status == TRB_OK) status = compare_golden(&v, err);
  if (status == TRB_OK) *ret = v.report;
  verifier_done(&v);
  return status;
}
