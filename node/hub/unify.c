/* unify: see unify.h. Rows in: which record a row hangs on, what keys it makes, and what has to be looked at in
 * unify_finish.
 *
 * Cost of a new customer with three contacts: one note, one update of its record, three rows each in row_key and claim
 * with one look at another holder of the key; in unify_finish about ten point queries, its golden row and one down
 * entry. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "timeline.h"
#include "unify_internal.h"

extern const char trb_sql_unify[];

static enum trb_status nomem(struct trb_error *err) { return trb_fail(err, TRB_NOMEM, "out of memory"); }

bool unify_grow(void **array, size_t count, size_t *cap, size_t size) {
  if (count < *cap) return true;
  size_t wanted = *cap ? *cap * 2 : 64;
  void *grown = realloc(*array, wanted * size);
  if (!grown) return false;
  *array = grown;
  *cap = wanted;
  return true;
}

/* ---- open, close ---- */

enum trb_status unify_open(struct trb_db *writer, struct trb_catalogue *catalogue, struct unify **ret,
                           struct trb_error *err) {
  enum trb_status status = db_exec(writer, trb_sql_unify, err);
  if (status == TRB_OK) status = timeline_view(writer, err);
  if (status != TRB_OK) return status;
  struct unify *u = calloc(1, sizeof *u);
  if (!u) return nomem(err);
  u->db = writer;
  view_init(&u->view, writer, &u->sites);
  unify_set_catalogue(u, catalogue);
  u->rec_floor = INT64_MAX;
  status = unify_golden_sql(u, err);
  if (status == TRB_OK) status = db_get_int(writer, err, &u->rec_floor, "SELECT coalesce(max(rec), 0) FROM record", "");
  if (status != TRB_OK) {
    unify_close(&u);
    return status;
  }
  *ret = u;
  return TRB_OK;
}

void unify_close(struct unify **u_p) {
  struct unify *u = *u_p;
  if (!u) return;
  *u_p = NULL;
  unify_forget(u);
  view_done(&u->view);
  sitebook_done(&u->sites);
  sitelist_done(&u->dirty);
  trb_arena_free(&u->arena);
  free(u->notes);
  free(u->slots);
  free(u->edges);
  free(u->changes);
  free(u->keys);
  free(u->extras);
  free(u->told);
  free(u->golden_select);
  free(u->golden_insert);
  if (u->catalogue) catalogue_unref(&u->catalogue);
  free(u);
}

void unify_set_catalogue(struct unify *u, struct trb_catalogue *catalogue) {
  struct trb_catalogue *old = u->catalogue;
  u->catalogue = catalogue_ref(catalogue);
  u->customer = catalogue_table(catalogue, TRB_T_customer);
  u->golden_table = catalogue_table(catalogue, TRB_T_unified_customer);
  if (old) catalogue_unref(&old);
}

void unify_forget(struct unify *u) {
  u->note_count = u->edge_count = u->change_count = u->key_count = u->extra_count = 0;
  if (u->slots) memset(u->slots, 0, u->slot_count * sizeof *u->slots);
  u->keys_policy_changed = u->golden_policy_changed = u->visibility_changed = u->all_sites_dirty = false;
  u->rec_floor = INT64_MAX;
  u->told_count = 0;
  if (u->told) memset(u->told, 0, u->told_size * sizeof *u->told);
  u->rec_cached = 0;
  if (u->policies_loaded) golden_policy_done(&u->golden_policy);
  u->policies_loaded = false;
  sitebook_done(&u->sites);
  trb_arena_reset(&u->arena);
}

enum trb_status unify_load_policies(struct unify *u, struct trb_error *err) {
  if (u->policies_loaded) return TRB_OK;
  enum trb_status status = claims_policy_load(&u->key_policy, u->db, err);
  if (status == TRB_OK) status = golden_policy_load(&u->golden_policy, u->db, err);
  u->policies_loaded = status == TRB_OK;
  return status;
}

/* ---- records and notes ---- */

enum trb_status record_intern(struct trb_db *db, int64_t site, struct trb_slice id, int64_t *ret_record,
                              struct trb_error *err) {
  enum trb_status status =
      db_get_int(db, NULL, ret_record, "SELECT rec FROM record WHERE site = ?1 AND id = ?2", "is", site, id);
  if (status == TRB_OK) return TRB_OK;
  if (status != TRB_ABSENT) return trb_fail(err, status, "hub.db: the table of records cannot be read");
  status = db_run(db, err, "INSERT INTO record(site, id) VALUES(?1, ?2)", "is", site, id);
  if (status == TRB_OK) *ret_record = db_last_rowid(db);
  return status;
}

enum trb_status record_add(struct trb_db *db, int64_t site, struct trb_slice id, int64_t *ret_record,
                           struct trb_error *err) {
  enum trb_status status =
      db_run(db, err, "INSERT INTO record(site, id) VALUES(?1, ?2) ON CONFLICT DO NOTHING", "is", site, id);
  if (status != TRB_OK) return status;
  if (db_changes(db) == 0) return record_intern(db, site, id, ret_record, err);
  *ret_record = db_last_rowid(db);
  return TRB_OK;
}

static enum trb_status intern(struct unify *u, int64_t site, struct trb_slice id, int64_t *ret, struct trb_error *err) {
  if (u->rec_cached && u->rec_cached_site == site && id.len == u->rec_cached_len &&
      memcmp(u->rec_cached_id, id.data, id.len) == 0) {
    *ret = u->rec_cached;
    return TRB_OK;
  }
  enum trb_status status = record_intern(u->db, site, id, ret, err);
  if (status != TRB_OK || id.len > TRB_ID_BYTES_MAX) return status;
  u->rec_cached = *ret;
  u->rec_cached_site = site;
  u->rec_cached_len = id.len;
  memcpy(u->rec_cached_id, id.data, id.len);
  return TRB_OK;
}

static uint64_t spread(int64_t rec) { return (uint64_t)rec * 0x9E3779B97F4A7C15u; }

static size_t slot_of(const struct unify *u, int64_t rec) { /* where it is, or the empty slot where it would go */
  size_t mask = u->slot_count - 1, at = (size_t)(spread(rec) >> 32) & mask;
  while (u->slots[at] && u->notes[u->slots[at] - 1].rec != rec) at = (at + 1) & mask;
  return at;
}

static bool slots_grow(struct unify *u) {
  if (u->slot_count > u->note_count * 2 + 2) return true;
  size_t count = u->slot_count ? u->slot_count * 2 : 256;
  uint32_t *slots = calloc(count, sizeof *slots);
  if (!slots) return false;
  free(u->slots);
  u->slots = slots;
  u->slot_count = count;
  for (size_t i = 0; i < u->note_count; i++) u->slots[slot_of(u, u->notes[i].rec)] = (uint32_t)(i + 1);
  return true;
}

struct unify_note *unify_note_find(struct unify *u, int64_t rec) {
  if (!u->slot_count) return NULL;
  size_t at = slot_of(u, rec);
  return u->slots[at] ? &u->notes[u->slots[at] - 1] : NULL;
}

static enum trb_status add_note(struct unify *u, const struct unify_note *note, struct unify_note **ret,
                                struct trb_error *err) {
  if (!slots_grow(u) || !unify_grow((void **)&u->notes, u->note_count, &u->note_cap, sizeof *u->notes))
    return nomem(err);
  const struct sitebook_entry *site;
  enum trb_status status = sitebook_get(&u->sites, u->db, note->site, &site, err);
  if (status != TRB_OK) return status;
  u->notes[u->note_count] = *note;
  u->notes[u->note_count].awaited = site->awaited;
  u->notes[u->note_count].party_before = note->party;
  u->slots[slot_of(u, note->rec)] = (uint32_t)(u->note_count + 1);
  *ret = &u->notes[u->note_count++];
  return TRB_OK;
}

enum trb_status unify_note_of(struct unify *u, int64_t rec, struct unify_note **ret, struct trb_error *err) {
  struct unify_note *found = unify_note_find(u, rec);
  if (found) {
    *ret = found;
    return TRB_OK;
  }
  TRB_STMT_AUTO *stmt = NULL;
  enum trb_status status = db_queryf(
      u->db, err, &stmt, "SELECT site, class, coalesce(party, rec), hlc, pos FROM record WHERE rec = ?1", "i", rec);
  bool row = false;
  if (status == TRB_OK) status = stmt_step(stmt, &row, err);
  if (status != TRB_OK) return status;
  if (!row) return trb_fail(err, TRB_STORE, "hub.db: record %lld is missing", (long long)rec);
  struct unify_note note = {.rec = rec, .site = stmt_int(stmt, 0), .party = stmt_int(stmt, 2)};
  note.class_before = note.class_now = stmt_int(stmt, 1);
  note.stamp = (struct party_stamp){(trb_hlc)stmt_int(stmt, 3), stmt_int(stmt, 4)};
  return add_note(u, &note, ret, err);
}

/* As unify_note_of; of a record made in this transaction it is known what stands in the table. */
static enum trb_status note_of_site(struct unify *u, int64_t rec, int64_t site, struct unify_note **ret,
                                    struct trb_error *err) {
  if (rec <= u->rec_floor || unify_note_find(u, rec)) return unify_note_of(u, rec, ret, err);
  struct unify_note note = {.rec = rec, .site = site, .party = rec};
  return add_note(u, &note, ret, err);
}

/* ---- keys of a row ---- */

static enum trb_status add_edge(struct unify *u, int64_t a, int64_t b, struct trb_error *err) {
  struct unify_note *note;
  enum trb_status status = unify_note_of(u, a, &note, err);
  if (status != TRB_OK) return status;
  note->linked = true;
  status = unify_note_of(u, b, &note, err);
  if (status != TRB_OK) return status;
  note->linked = true;
  if (!unify_grow((void **)&u->edges, u->edge_count, &u->edge_cap, sizeof *u->edges)) return nomem(err);
  u->edges[u->edge_count++] = (struct unify_edge){a, b};
  return TRB_OK;
}

static enum trb_status keep_key(struct unify *u, struct trb_slice key, struct trb_error *err) {
  bool ok = true;
  if (!unify_grow((void **)&u->keys, u->key_count, &u->key_cap, sizeof *u->keys)) return nomem(err);
  u->keys[u->key_count++] = trb_arena_copy(&u->arena, key, &ok);
  return ok ? TRB_OK : nomem(err);
}

static int64_t class_of_key(const struct unify_note *note, bool links) { /* note NULL: contact_status, suppression */
  if (!note) return CLAIMS_CLASS_STATUS;
  return links ? note->class_now : 0;
}

struct held { /* the keys a row has now */
  size_t count;
  struct claims_key key[TRB_KEYS_PER_VALUE_MAX];
  int64_t part[TRB_KEYS_PER_VALUE_MAX];
};
static enum trb_status held_keys(struct unify *u, int64_t rec, uint16_t table, int64_t rid, struct held *ret,
                                 struct trb_error *err) {
  TRB_STMT_AUTO *stmt = NULL;
  enum trb_status status =
      db_queryf(u->db, err, &stmt, "SELECT part, key, links FROM row_key WHERE rec = ?1 AND tbl = ?2 AND rid = ?3",
                "iii", rec, (int64_t)table, rid);
  bool row = true;
  ret->count = 0;
  while (status == TRB_OK && (status = stmt_step(stmt, &row, err)) == TRB_OK && row) {
    if (ret->count == TRB_KEYS_PER_VALUE_MAX) continue;
    ret->part[ret->count] = stmt_int(stmt, 0);
    snprintf(ret->key[ret->count].text, sizeof ret->key[0].text, "%s", stmt_text(stmt, 1));
    ret->key[ret->count++].links = stmt_int(stmt, 2) != 0;
  }
  return status;
}

static bool same_keys(const struct held *held, const struct claims_keys *keys) {
  if (held->count != keys->count) return false;
  for (size_t i = 0; i < keys->count; i++)
    if (strcmp(held->key[i].text, keys->key[i].text) != 0 || held->key[i].links != keys->key[i].links) return false;
  return true;
}

static enum trb_status drop_keys(struct unify *u, int64_t rec, uint16_t table, int64_t rid, const struct held *held,
                                 struct trb_error *err) {
  enum trb_status status = TRB_OK;
  for (size_t i = 0; status == TRB_OK && i < held->count; i++) {
    struct unify_note *note = NULL;
    if (rec) status = unify_note_of(u, rec, &note, err);
    if (status != TRB_OK) break;
    int64_t class = class_of_key(note, held->key[i].links);
    if (class > 0) note->resolve = true;
    status = claims_drop(u->db, rec, table, rid, held->part[i], trb_slice_str(held->key[i].text), class, err);
  }
  return status;
}

static enum trb_status put_keys(struct unify *u, int64_t rec, uint16_t table, int64_t rid,
                                const struct claims_keys *keys, struct trb_error *err) {
  enum trb_status status = TRB_OK;
  for (size_t i = 0; status == TRB_OK && i < keys->count; i++) {
    struct unify_note *note = NULL;
    if (rec) status = unify_note_of(u, rec, &note, err);
    if (status != TRB_OK) break;
    if (note) note->keyed = true;
    int64_t other = 0, part = keys->count == 1 ? 0 : (int64_t)i + 1;
    status =
        claims_put(u->db, rec, table, rid, part, &keys->key[i], class_of_key(note, keys->key[i].links), &other, err);
    if (status == TRB_OK && other) status = add_edge(u, rec, other, err);
  }
  return status;
}

/* The keys of a row from what it was to what it is. `before` false: there was no row. */
static enum trb_status move_keys(struct unify *u, uint16_t table, int64_t rid, bool before, int64_t rec_before,
                                 int64_t rec_after, const struct claims_keys *keys, struct unify_change *change,
                                 struct trb_error *err) {
  struct held held = {0};
  enum trb_status status = before ? held_keys(u, rec_before, table, rid, &held, err) : TRB_OK;
  if (change) change->parts_before = held.count;
  for (size_t i = 0; change && status == TRB_OK && i < held.count + keys->count; i++) {
    const char *text = i < held.count ? held.key[i].text : keys->key[i - held.count].text;
    status = keep_key(u, trb_slice_str(text), err);
    if (status == TRB_OK) change->key_count++;
  }
  if (status != TRB_OK || (rec_before == rec_after && same_keys(&held, keys))) return status;
  status = drop_keys(u, rec_before, table, rid, &held, err);
  return status == TRB_OK ? put_keys(u, rec_after, table, rid, keys, err) : status;
}

/* ---- which record a row hangs on ---- */

/* Direct references to a card; `site` 0: always the row's own. */
static const struct {
  uint16_t table, column, site, booking, booking_site;
} OWNERS[] = {
    {TRB_T_contact, TRB_C_contact_customer_id, 0, 0, 0},
    {TRB_T_identity_document, TRB_C_identity_document_customer_id, 0, 0, 0},
    {TRB_T_preference, TRB_C_preference_customer_id, 0, 0, 0},
    {TRB_T_tag_on, TRB_C_tag_on_customer_id, 0, 0, 0},
    {TRB_T_relation, TRB_C_relation_customer_id, TRB_C_relation_customer_site, 0, 0},
    {TRB_T_booking, TRB_C_booking_customer_id, 0, 0, 0},
    {TRB_T_booking_event, 0, 0, TRB_C_booking_event_booking_id, TRB_C_booking_event_booking_site},
    {TRB_T_booking_item, 0, 0, TRB_C_booking_item_booking_id, 0},
    {TRB_T_payment, TRB_C_payment_customer_id, 0, TRB_C_payment_booking_id, 0},
    {TRB_T_invoice, TRB_C_invoice_customer_id, 0, TRB_C_invoice_booking_id, 0},
    {TRB_T_contract, TRB_C_contract_customer_id, 0, TRB_C_contract_booking_id, 0},
    {TRB_T_activity, TRB_C_activity_customer_id, 0, 0, 0},
    {TRB_T_ticket, TRB_C_ticket_customer_id, 0, 0, 0},
    {TRB_T_ticket_event, 0, 0, TRB_C_ticket_event_ticket_id, TRB_C_ticket_event_ticket_site},
    {TRB_T_survey_answer, TRB_C_survey_answer_customer_id, 0, TRB_C_survey_answer_booking_id, 0},
    {TRB_T_points_entry, TRB_C_points_entry_customer_id, TRB_C_points_entry_customer_site, 0, 0},
};
enum { OWNER_TABLES = sizeof OWNERS / sizeof *OWNERS };

static size_t owner_index(uint16_t table) {
  for (size_t i = 0; i < OWNER_TABLES; i++)
    if (OWNERS[i].table == table) return i;
  return SIZE_MAX;
}

/* The number of the site a SITE column names; the row's own when NULL; 0 when there is no such site. */
static enum trb_status site_named(struct unify *u, const struct unify_row *row, const struct trb_value *values,
                                  uint16_t column, int64_t *ret, struct trb_error *err) {
  struct trb_value v = column ? row_value(row->table, values, column) : trb_null();
  *ret = row->site;
  if (v.type != TRB_TEXT) return TRB_OK;
  enum trb_status status = sitebook_number(u->db, v.s, ret, NULL);
  if (status == TRB_ABSENT) {
    *ret = 0;
    return db_run(u->db, err, "INSERT OR IGNORE INTO unify_state(name, value) VALUES('awaited/' || ?1, 1)", "s", v.s);
  }
  return status == TRB_OK ? TRB_OK : trb_fail(err, status, "hub.db: the table of sites cannot be read");
}

/* The parent's row and, through it, the record. 0 when it has not come or names nobody. */
static enum trb_status owner_of_parent(struct unify *u, const struct unify_row *row, const struct trb_value *values,
                                       size_t which, int64_t *ret_rec, int64_t *ret_parent, struct trb_error *err) {
  struct trb_value parent = row_value(row->table, values, OWNERS[which].booking);
  int64_t site = 0;
  if (parent.type != TRB_TEXT) return TRB_OK;
  enum trb_status status = site_named(u, row, values, OWNERS[which].booking_site, &site, err);
  if (status != TRB_OK || !site) return status;
  const char *sql = row->table->number == TRB_T_ticket_event
                        ? "SELECT _rid, customer_id FROM ticket WHERE _site = ?1 AND id = ?2"
                        : "SELECT _rid, customer_id FROM booking WHERE _site = ?1 AND id = ?2";
  TRB_STMT_AUTO *stmt = NULL;
  bool found = false;
  status = db_queryf(u->db, err, &stmt, sql, "is", site, parent.s);
  if (status == TRB_OK) status = stmt_step(stmt, &found, err);
  if (status != TRB_OK || !found) return status;
  *ret_parent = stmt_int(stmt, 0);
  return stmt_is_null(stmt, 1) ? TRB_OK : intern(u, site, stmt_slice(stmt, 1), ret_rec, err);
}

static enum trb_status owner_of(struct unify *u, const struct unify_row *row, const struct trb_value *values,
                                size_t which, int64_t *ret_rec, int64_t *ret_parent, struct trb_error *err) {
  *ret_rec = *ret_parent = 0;
  if (!values) return TRB_OK;
  struct trb_value id = OWNERS[which].column ? row_value(row->table, values, OWNERS[which].column) : trb_null();
  if (id.type == TRB_TEXT) {
    int64_t site = 0;
    enum trb_status status = site_named(u, row, values, OWNERS[which].site, &site, err);
    return status == TRB_OK && site ? intern(u, site, id.s, ret_rec, err) : status;
  }
  return OWNERS[which].booking ? owner_of_parent(u, row, values, which, ret_rec, ret_parent, err) : TRB_OK;
}

/* ---- rows by table ---- */

static enum trb_status new_change(struct unify *u, const struct unify_row *row, int64_t rec_before, int64_t rec_after,
                                  struct unify_change **ret, struct trb_error *err) {
  bool ok = true;
  if (!unify_grow((void **)&u->changes, u->change_count, &u->change_cap, sizeof *u->changes)) return nomem(err);
  struct unify_change *c = &u->changes[u->change_count];
  *c = (struct unify_change){.table = row->table->number,
                             .deleted = !row->after,
                             .rid = row->rid,
                             .site = row->site,
                             .rec_before = rec_before,
                             .rec_after = rec_after,
                             .key_first = u->key_count};
  c->id = trb_arena_copy(&u->arena, row->id, &ok);
  if (!ok) return nomem(err);
  u->change_count++;
  *ret = c;
  return TRB_OK;
}

static enum trb_status touch(struct unify *u, int64_t rec, bool golden, bool sales, struct trb_error *err) {
  struct unify_note *note;
  enum trb_status status = rec ? unify_note_of(u, rec, &note, err) : TRB_OK;
  if (rec && status == TRB_OK && golden) note->golden = true;
  if (rec && status == TRB_OK && sales) note->sales = true;
  return status;
}

/* A row that stands in another way than by itself: note it as if it had changed. */
static enum trb_status touch_row(struct unify *u, uint16_t table, int64_t rid, int64_t rec_before, int64_t rec_after,
                                 struct trb_error *err) {
  if (!unify_grow((void **)&u->changes, u->change_count, &u->change_cap, sizeof *u->changes)) return nomem(err);
  u->changes[u->change_count++] = (struct unify_change){
      .table = table, .rid = rid, .rec_before = rec_before, .rec_after = rec_after, .key_first = u->key_count};
  return TRB_OK;
}

struct dependent {
  struct unify *u;
  int64_t before, after, own;
};
static enum trb_status owner_of_event(void *context, const struct timeline_event *event, struct trb_error *err) {
  struct dependent *d = context;
  return event->owner_site ? record_intern(d->u->db, event->owner_site, event->owner_id, &d->own, err) : TRB_OK;
}
static enum trb_status touch_dependent(void *context, uint16_t table, int64_t rid, struct trb_error *err) {
  struct dependent *d = context;
  d->own = 0; /* a payment may name another customer than its booking, and still tells the booking's title */
  enum trb_status status = timeline_of_row(d->u->db, table, rid, owner_of_event, d, err);
  if (status == TRB_ABSENT) status = TRB_OK;
  if (status == TRB_OK && d->own && d->own != d->after) status = touch_row(d->u, table, rid, d->own, d->own, err);
  return status == TRB_OK ? touch_row(d->u, table, rid, d->before, d->after, err) : status;
}

static bool feeds_golden(uint16_t table) {
  return table == TRB_T_contact || table == TRB_T_identity_document || table == TRB_T_booking ||
         table == TRB_T_booking_event || table == TRB_T_activity || table == TRB_T_points_entry;
}

static enum trb_status keys_of(struct unify *u, const struct unify_row *row, struct claims_keys *ret,
                               struct trb_error *err) {
  ret->count = 0;
  if (!row->after) return TRB_OK;
  const struct sitebook_entry *site;
  enum trb_status status = unify_load_policies(u, err);
  if (status == TRB_OK) status = sitebook_get(&u->sites, u->db, row->site, &site, err);
  if (status == TRB_OK) claims_of_row(&u->key_policy, &site->context, row->table, row->after, row->keys, ret);
  return status;
}

static enum trb_status owned_row(struct unify *u, const struct unify_row *row, size_t which, struct trb_error *err) {
  int64_t before, after, parent_before, parent_after;
  uint16_t table = row->table->number;
  enum trb_status status = owner_of(u, row, row->before, which, &before, &parent_before, err);
  if (status == TRB_OK) status = owner_of(u, row, row->after, which, &after, &parent_after, err);
  if (status == TRB_OK) status = touch(u, before, feeds_golden(table), table != TRB_T_contact, err);
  if (status == TRB_OK) status = touch(u, after, feeds_golden(table), table != TRB_T_contact, err);
  if (status != TRB_OK) return status;
  if (table == TRB_T_booking_item) { /* told in the booking's detail */
    if (parent_before && parent_before != parent_after)
      status = touch_row(u, TRB_T_booking, parent_before, before, before, err);
    if (status == TRB_OK && parent_after) status = touch_row(u, TRB_T_booking, parent_after, after, after, err);
    return status;
  }
  struct unify_change *change = NULL;
  bool goes_down = timeline_has(table) || table == TRB_T_contact || table == TRB_T_preference ||
                   table == TRB_T_tag_on || table == TRB_T_relation;
  if (goes_down) status = new_change(u, row, before, after, &change, err);
  if (status == TRB_OK && claims_makes_keys(table)) {
    struct claims_keys keys;
    status = keys_of(u, row, &keys, err);
    if (!after) keys.count = 0; /* a contact person's: shown with the organisation, never a claim */
    if (status == TRB_OK)
      status = move_keys(u, table, row->rid, row->before && before, before, after, &keys, change, err);
  }
  if (status != TRB_OK || (table != TRB_T_booking && table != TRB_T_ticket)) return status;
  if (row->before && row->after && before == after && table == TRB_T_ticket)
    before = 0; /* its subject may have changed */
  const struct sitebook_entry *site;
  status = sitebook_get(&u->sites, u->db, row->site, &site, err);
  struct dependent d = {u, before, after, 0};
  if (status == TRB_OK)
    status = timeline_dependents(u->db, table, row->site, site->name, row->id, touch_dependent, &d, err);
  return status;
}

/* contact_status and suppression speak about a key on any card. */
static enum trb_status touch_holders(struct unify *u, struct trb_slice key, struct trb_error *err) {
  TRB_STMT_AUTO *stmt = NULL;
  enum trb_status status =
      db_queryf(u->db, err, &stmt, "SELECT rec, rid FROM claim WHERE key = ?1 AND class >= 0 AND tbl = ?2", "si", key,
                (int64_t)TRB_T_contact);
  bool row = true;
  while (status == TRB_OK && (status = stmt_step(stmt, &row, err)) == TRB_OK && row) {
    int64_t rec = stmt_int(stmt, 0);
    status = touch(u, rec, true, false, err);
    if (status == TRB_OK) status = touch_row(u, TRB_T_contact, stmt_int(stmt, 1), rec, rec, err);
  }
  return status;
}

static enum trb_status status_row(struct unify *u, const struct unify_row *row, struct trb_error *err) {
  struct claims_keys keys;
  struct held held = {0};
  enum trb_status status = keys_of(u, row, &keys, err);
  if (status == TRB_OK && row->before) status = held_keys(u, 0, row->table->number, row->rid, &held, err);
  for (size_t i = 0; status == TRB_OK && i < held.count; i++)
    status = touch_holders(u, trb_slice_str(held.key[i].text), err);
  for (size_t i = 0; status == TRB_OK && i < keys.count; i++)
    status = touch_holders(u, trb_slice_str(keys.key[i].text), err);
  if (status != TRB_OK || same_keys(&held, &keys)) return status;
  status = drop_keys(u, 0, row->table->number, row->rid, &held, err);
  return status == TRB_OK ? put_keys(u, 0, row->table->number, row->rid, &keys, err) : status;
}

/* ---- customer rows ---- */

/* Moves the claims of a record that may link from one class to another. */
static enum trb_status reclass(struct unify *u, int64_t rec, int64_t from, int64_t to, struct trb_error *err) {
  TRB_STMT_AUTO *stmt = NULL;
  enum trb_status status =
      db_queryf(u->db, err, &stmt, "SELECT tbl, rid, part, key FROM row_key WHERE rec = ?1 AND links = 1", "i", rec);
  bool row = true;
  while (status == TRB_OK && (status = stmt_step(stmt, &row, err)) == TRB_OK && row) {
    char key[TRB_KEY_BYTES_MAX + 1];
    int64_t table = stmt_int(stmt, 0), rid = stmt_int(stmt, 1), other = 0;
    snprintf(key, sizeof key, "%s", stmt_text(stmt, 3));
    status = db_run(u->db, err, "DELETE FROM claim WHERE key = ?1 AND class = ?2 AND tbl = ?3 AND rid = ?4", "tiii",
                    key, from, table, rid);
    if (status == TRB_OK) status = claims_hold(u->db, rec, (uint16_t)table, rid, key, to, &other, err);
    if (status == TRB_OK && other) status = add_edge(u, rec, other, err);
  }
  return status;
}

static enum trb_status set_class(struct unify *u, const struct unify_row *row, struct trb_error *err) {
  struct unify_note *note;
  enum trb_status status = note_of_site(u, row->rid, row->site, &note, err);
  if (status != TRB_OK) return status;
  int64_t from = note->class_now;
  int64_t to = row->after ? party_class(value_text(row_value(row->table, row->after, TRB_C_customer_kind))) : 0;
  bool stamped = row->first || (note->stamp.hlc == 0 && row->after);
  if (stamped) note->stamp = (struct party_stamp){row->accepted, row->position};
  if (from > 0 && (from != to || stamped)) note->resolve = true;
  note->class_now = to;
  if (from != to || stamped)
    status = db_run(u->db, err, "UPDATE record SET class = ?2, hlc = ?3, pos = ?4 WHERE rec = ?1", "iiii", row->rid, to,
                    (int64_t)note->stamp.hlc, note->stamp.position);
  bool none = unify_is_new(u, note) && !note->keyed;
  if (status == TRB_OK && from != to && !none) status = reclass(u, row->rid, from, to, err);
  return status;
}

static enum trb_status customer_row(struct unify *u, const struct unify_row *row, struct trb_error *err) {
  struct claims_keys keys;
  enum trb_status status = set_class(u, row, err);
  if (status == TRB_OK) status = touch(u, row->rid, true, false, err);
  if (status == TRB_OK) status = keys_of(u, row, &keys, err);
  if (status == TRB_OK)
    status = move_keys(u, TRB_T_customer, row->rid, row->before != NULL, row->rid, row->rid, &keys, NULL, err);
  if (status == TRB_OK && row->grams && !row->before) return search_add(u->db, row->rid, row->grams, err);
  return status == TRB_OK ? search_update(u->db, row->table, row->rid, row->before, row->after, err) : status;
}

/* ---- headquarters' tables ---- */

enum trb_status down_note(struct unify *u, int64_t site, uint16_t table, int64_t rid, struct trb_error *err) {
  if (!unify_grow((void **)&u->extras, u->extra_count, &u->extra_cap, sizeof *u->extras)) return nomem(err);
  u->extras[u->extra_count++] = (struct unify_extra){.site = site, .num = down_num(table, rid), .kind = DOWN_ROW};
  return TRB_OK;
}

static bool value_changed(const struct unify_row *row, uint16_t column) {
  struct trb_value a = row->before ? row_value(row->table, row->before, column) : trb_null();
  struct trb_value b = row->after ? row_value(row->table, row->after, column) : trb_null();
  return !trb_value_equal(a, b);
}

static enum trb_status headquarters_row(struct unify *u, const struct unify_row *row, struct trb_error *err) {
  if (row->table->number == TRB_T_site) {
    sitebook_done(&u->sites);
    if (value_changed(row, TRB_C_site_scope) || value_changed(row, TRB_C_site_parent_site))
      u->visibility_changed = true;
    if (value_changed(row, TRB_C_site_region) || value_changed(row, TRB_C_site_area_code))
      u->keys_policy_changed = true;
  }
  if (row->table->number == TRB_T_visibility_policy) u->visibility_changed = true;
  if (row->table->number == TRB_T_identity_policy) u->keys_policy_changed = true;
  if (row->table->number == TRB_T_survivorship_policy) u->golden_policy_changed = true;
  if (row->table->flow != TRB_FLOW_DOWN) return TRB_OK;
  if (row->after) return down_note(u, DOWN_ALL_SITES, row->table->number, row->rid, err);
  bool ok = true;
  if (!unify_grow((void **)&u->extras, u->extra_count, &u->extra_cap, sizeof *u->extras)) return nomem(err);
  struct unify_extra *extra = &u->extras[u->extra_count];
  *extra = (struct unify_extra){.site = DOWN_ALL_SITES, .num = row->table->number, .kind = DOWN_GONE};
  extra->gone = trb_arena_copy(&u->arena, row->id, &ok);
  if (!ok) return nomem(err);
  u->extra_count++;
  return TRB_OK;
}

enum trb_status unify_rekey_row(struct unify *u, const struct unify_row *row, struct trb_error *err) {
  size_t which = owner_index(row->table->number);
  int64_t rec = row->table->number == TRB_T_customer ? row->rid : 0, parent;
  struct claims_keys keys;
  struct held held;
  enum trb_status status = which == SIZE_MAX ? TRB_OK : owner_of(u, row, row->after, which, &rec, &parent, err);
  bool speaks = row->table->number == TRB_T_contact_status || row->table->number == TRB_T_suppression;
  if (status != TRB_OK || (!rec && !speaks)) return status;
  status = held_keys(u, rec, row->table->number, row->rid, &held, err);
  if (status == TRB_OK) status = keys_of(u, row, &keys, err);
  if (status != TRB_OK || same_keys(&held, &keys)) return status;
  return speaks                                 ? status_row(u, row, err)
         : row->table->number == TRB_T_customer ? customer_row(u, row, err)
                                                : owned_row(u, row, which, err);
}

enum trb_status unify_row(struct unify *u, const struct unify_row *row, struct trb_error *err) {
  int64_t ms = trb_hlc_ms(row->accepted);
  if (ms > u->now_ms) u->now_ms = ms;
  if (row->table->owner == TRB_OWNER_HQ) return headquarters_row(u, row, err);
  if (row->table->number == TRB_T_customer) return customer_row(u, row, err);
  if (row->table->number == TRB_T_contact_status || row->table->number == TRB_T_suppression)
    return status_row(u, row, err);
  size_t which = owner_index(row->table->number);
  return which == SIZE_MAX ? TRB_OK : owned_row(u, row, which, err);
}
