/* down_row: see down_row.h. Entries, headquarters' rows and events; what is drawn from a party is in down_party.c. */
#include "down_row.h"

#include <stdio.h>
#include <string.h>

#include "timeline.h"
#include "tributary/unify.h"

enum { OP_PUT = 1, OP_WITHDRAW = 3 };

static enum trb_status nomem(struct trb_error *err) { return trb_fail(err, TRB_NOMEM, "out of memory"); }

enum trb_status down_renderer_init(struct down_renderer *r, struct trb_db *db, const struct trb_catalogue *catalogue,
                                   int64_t site, struct trb_error *err) {
  *r = (struct down_renderer){.db = db, .catalogue = catalogue};
  view_init(&r->view, db, &r->sites);
  enum trb_status status = sitebook_get(&r->sites, db, site, &r->viewer, err);
  return status == TRB_OK ? visibility_load(&r->visibility, db, err) : status;
}

void down_renderer_done(struct down_renderer *r) {
  view_done(&r->view);
  visibility_done(&r->visibility);
  sitebook_done(&r->sites);
  trb_buf_free(&r->rows);
}

/* ---- rows ---- */

static void head(struct down_renderer *r, uint16_t table, int op, struct trb_slice id) {
  mp_put_array(&r->rows, 5);
  mp_put_uint(&r->rows, table);
  mp_put_uint(&r->rows, (uint64_t)op);
  mp_put_str(&r->rows, id);
  mp_put_uint(&r->rows, (uint64_t)r->version);
  r->row_count++;
}

void down_withdraw(struct down_renderer *r, uint16_t table, struct trb_slice id) {
  head(r, table, OP_WITHDRAW, id);
  mp_put_array(&r->rows, 0);
}

void down_cell(struct down_row *row, uint16_t column, struct trb_value value) {
  if (value.type == TRB_NULL) return;
  mp_put_uint(&row->cells, column);
  mp_put_value(&row->cells, value);
  row->count += 2;
}

void down_put_row(struct down_renderer *r, uint16_t table, struct trb_slice id, struct down_row *row) {
  head(r, table, OP_PUT, id);
  mp_put_array(&r->rows, row->count);
  trb_buf_append_slice(&r->rows, trb_buf_slice(&row->cells));
  if (row->cells.failed) r->rows.failed = true;
  trb_buf_free(&row->cells);
}

struct trb_slice down_row_id(struct trb_arena *arena, const char *table, const char *site, struct trb_slice id,
                             int64_t part) {
  TRB_BUF_AUTO text = {0};
  bool ok = true;
  if (table) trb_buf_printf(&text, "%s/", table);
  trb_buf_printf(&text, "%s/", site);
  trb_buf_append_slice(&text, id);
  if (part > 1) trb_buf_printf(&text, "/%lld", (long long)part);
  return trb_arena_copy(arena, trb_buf_slice(&text), &ok);
}

/* ---- parties ---- */

enum trb_status down_party(struct down_renderer *r, int64_t party, struct trb_error *err) {
  if (party && r->view.anchor == party) return TRB_OK;
  r->lists_loaded = false;
  r->watched = false;
  enum trb_status status = view_load(&r->view, party, err);
  bool shared = false;
  for (size_t i = 0; status == TRB_OK && i < r->view.record_count; i++)
    if (r->view.records[i].site_no == r->viewer->no)
      r->watched = true;
    else
      shared = true;
  if (status == TRB_OK) status = visibility_lock_of(r->db, party, r->viewer->no, &r->lock, err);
  if (status == TRB_OK && !shared) r->lock = VISIBILITY_BOOKING; /* all of it is the viewer's own */
  return status;
}

enum trb_status down_party_of(struct down_renderer *r, int64_t site_no, struct trb_slice id, int64_t *ret_rec,
                              int64_t *ret_party, struct trb_error *err) {
  TRB_STMT_AUTO *stmt = NULL;
  bool row = false;
  *ret_rec = *ret_party = 0;
  enum trb_status status = db_queryf(
      r->db, err, &stmt, "SELECT rec, coalesce(party, rec) FROM record WHERE site = ?1 AND id = ?2 AND class <> 0",
      "is", site_no, id);
  if (status == TRB_OK) status = stmt_step(stmt, &row, err);
  if (status != TRB_OK || !row) return status;
  *ret_rec = stmt_int(stmt, 0);
  *ret_party = stmt_int(stmt, 1);
  return TRB_OK;
}

/* ---- events ---- */

struct event_copy { /* the visitor only copies: the statement stands while it is called */
  struct trb_arena *arena;
  struct timeline_event event;
  bool ok;
};
static enum trb_status copy_event(void *context, const struct timeline_event *event, struct trb_error *err) {
  struct event_copy *c = context;
  (void)err;
  c->event = *event;
  c->event.id = trb_arena_copy(c->arena, event->id, &c->ok);
  c->event.owner_id = trb_arena_copy(c->arena, event->owner_id, &c->ok);
  c->event.title = trb_arena_copy(c->arena, event->title, &c->ok);
  c->event.detail = trb_arena_copy(c->arena, event->detail, &c->ok);
  c->event.currency = trb_arena_copy(c->arena, event->currency, &c->ok);
  return TRB_OK;
}

static struct trb_value text_or_null(struct trb_slice s) { return s.len ? trb_text_slice(s) : trb_null(); }

static enum trb_status put_event(struct down_renderer *r, const struct timeline_event *e,
                                 const struct sitebook_entry *site, const char *source, struct trb_slice id) {
  struct down_row row = {0};
  bool own = site->no == r->viewer->no || site->no == TRB_HQ_SITE_NO;
  enum visibility rule =
      own ? VISIBLE_SHOW : visibility_of(&r->visibility, r->viewer, "unified_event", trb_slice_str(e->kind), r->lock);
  if (rule == VISIBLE_HIDE) {
    down_withdraw(r, TRB_T_unified_event, id);
    return TRB_OK;
  }
  bool told = rule == VISIBLE_SHOW;
  down_cell(&row, TRB_C_unified_event_party_id, trb_text_slice(r->view.id));
  down_cell(&row, TRB_C_unified_event_site, trb_text(site->name));
  down_cell(&row, TRB_C_unified_event_at, trb_int(e->at_ms));
  down_cell(&row, TRB_C_unified_event_kind, trb_text(e->kind));
  if (told) {
    down_cell(&row, TRB_C_unified_event_title, text_or_null(e->title));
    down_cell(&row, TRB_C_unified_event_detail, text_or_null(e->detail));
    if (e->has_amount) down_cell(&row, TRB_C_unified_event_amount, trb_real(e->amount));
    down_cell(&row, TRB_C_unified_event_currency, text_or_null(e->currency));
  }
  down_cell(&row, TRB_C_unified_event_source_table, trb_text(source));
  down_cell(&row, TRB_C_unified_event_source_id, trb_text_slice(e->id));
  down_put_row(r, TRB_T_unified_event, id, &row);
  return TRB_OK;
}

static enum trb_status render_event(struct down_renderer *r, uint16_t table, int64_t rid, struct trb_error *err) {
  TRB_ARENA_AUTO arena = {0};
  struct event_copy copy = {.arena = &arena, .ok = true};
  enum trb_status status = timeline_of_row(r->db, table, rid, copy_event, &copy, err);
  if (status == TRB_ABSENT) return TRB_OK; /* deleted: a GONE entry withdraws it */
  const struct sitebook_entry *site;
  if (status == TRB_OK) status = sitebook_get(&r->sites, r->db, copy.event.site_no, &site, err);
  if (status != TRB_OK) return status;
  const char *source = catalogue_table(r->catalogue, table)->name;
  struct trb_slice id = down_row_id(&arena, source, site->name, copy.event.id, 0);
  if (!copy.ok || !id.len) return nomem(err);
  int64_t rec = 0, party = 0;
  if (copy.event.owner_site) status = down_party_of(r, copy.event.owner_site, copy.event.owner_id, &rec, &party, err);
  if (status == TRB_OK && party) status = down_party(r, party, err);
  if (status != TRB_OK) return status;
  if (!party || !r->watched || !sitebook_sees(r->viewer, site)) {
    down_withdraw(r, TRB_T_unified_event, id);
    return TRB_OK;
  }
  return put_event(r, &copy.event, site, source, id);
}

/* ---- headquarters' tables and rejected_change ---- */

static enum trb_status render_stored(struct down_renderer *r, const struct trb_table *table, const char *sql,
                                     int64_t rid, int64_t site, struct trb_error *err) {
  TRB_STMT_AUTO *stmt = NULL;
  bool found = false;
  enum trb_status status = db_query(r->db, sql, &stmt, err);
  if (status != TRB_OK) return status;
  stmt_bind_int(stmt, 1, rid);
  if (site) stmt_bind_int(stmt, 2, site);
  status = stmt_step(stmt, &found, err);
  if (status != TRB_OK || !found) return status;
  struct down_row row = {0};
  for (int i = 1; i < stmt_column_count(stmt); i++) {
    const struct trb_column *column = table_column_named(table, stmt_column_name(stmt, i));
    if (column && !(column->flags & TRB_COLUMN_SENSITIVE)) down_cell(&row, column->number, stmt_value(stmt, i));
  }
  down_put_row(r, table->number, stmt_slice(stmt, 0), &row);
  return TRB_OK;
}

static enum trb_status render_rejected(struct down_renderer *r, const struct trb_table *table, int64_t rid,
                                       struct trb_error *err) {
  size_t before = r->row_count;
  enum trb_status status =
      render_stored(r, table,
                    "SELECT id, table_name, row_id, op, reason_code, reason, batch_seq, at FROM rejected_change_of "
                    "WHERE rid = ?1 AND site = ?2",
                    rid, r->viewer->no, err);
  if (status != TRB_OK || r->row_count > before) return status;
  char id[24];
  snprintf(id, sizeof id, "%lld", (long long)rid);
  down_withdraw(r, table->number, trb_slice_str(id));
  return TRB_OK;
}

static enum trb_status render_headquarters(struct down_renderer *r, const struct trb_table *table, int64_t rid,
                                           struct trb_error *err) {
  TRB_BUF_AUTO sql = {0};
  trb_buf_append_str(&sql, "SELECT id");
  for (size_t i = 0; i < table->column_count; i++) trb_buf_printf(&sql, ",\"%s\"", table->columns[i].name);
  trb_buf_printf(&sql, " FROM \"%s\" WHERE _rid = ?1", table->name);
  return sql.failed ? nomem(err) : render_stored(r, table, trb_buf_cstr(&sql), rid, 0, err);
}

/* ---- entries ---- */

static enum trb_status render_row(struct down_renderer *r, uint16_t number, int64_t rid, struct trb_error *err) {
  const struct trb_table *table = catalogue_table(r->catalogue, number);
  if (!table) return TRB_OK; /* a custom table whose definition is gone */
  if (number == TRB_T_rejected_change) return render_rejected(r, table, rid, err);
  if (table->owner == TRB_OWNER_HQ) return render_headquarters(r, table, rid, err);
  if (number == TRB_T_contact) return down_contact(r, rid, err);
  if (number == TRB_T_preference || number == TRB_T_tag_on || number == TRB_T_relation)
    return down_listed(r, number, rid, err);
  return timeline_has(number) ? render_event(r, number, rid, err) : TRB_OK;
}

static uint16_t source_of(uint16_t down_table) {
  switch (down_table) {
    case TRB_T_unified_contact: return TRB_T_contact;
    case TRB_T_unified_preference: return TRB_T_preference;
    case TRB_T_unified_tag: return TRB_T_tag_on;
    case TRB_T_unified_relation: return TRB_T_relation;
    default: return 0;
  }
}

/* Takes "text/" off the front; false when there is none. */
static bool take_word(struct trb_slice *s, struct trb_slice *ret) {
  const uint8_t *slash = s->len ? memchr(s->data, '/', s->len) : NULL;
  if (!slash) return false;
  *ret = (struct trb_slice){s->data, (size_t)(slash - s->data)};
  *s = (struct trb_slice){slash + 1, s->len - ret->len - 1};
  return true;
}

/* Withdraws the id; a row that has the id again (or the parts of its cell) is rendered after that. */
static enum trb_status render_gone(struct down_renderer *r, uint16_t down_table, struct trb_slice id,
                                   struct trb_error *err) {
  down_withdraw(r, down_table, id);
  struct trb_slice rest = id, word;
  const struct trb_table *table = catalogue_table(r->catalogue, source_of(down_table));
  if (down_table == TRB_T_unified_event) {
    char name[64] = "";
    if (take_word(&rest, &word)) snprintf(name, sizeof name, "%.*s", (int)word.len, (const char *)word.data);
    table = catalogue_named(r->catalogue, name);
  }
  int64_t site = 0, rid = 0;
  if (!table || !take_word(&rest, &word) || sitebook_number(r->db, word, &site, NULL) != TRB_OK) return TRB_OK;
  TRB_BUF_AUTO sql = {0};
  trb_buf_printf(&sql, "SELECT _rid FROM \"%s\" WHERE _site = ?1 AND id = ?2", table->name);
  enum trb_status status = db_get_int(r->db, NULL, &rid, trb_buf_cstr(&sql), "is", site, rest);
  const uint8_t *slash = status == TRB_ABSENT && rest.len ? memrchr(rest.data, '/', rest.len) : NULL;
  if (slash) { /* the id of a part of a cell */
    rest.len = (size_t)(slash - rest.data);
    status = db_get_int(r->db, NULL, &rid, trb_buf_cstr(&sql), "is", site, rest);
  }
  if (status == TRB_ABSENT) return TRB_OK;
  if (status != TRB_OK) return trb_fail(err, status, "hub.db: table %s cannot be read", table->name);
  return render_row(r, table->number, rid, err);
}

enum trb_status down_renderer_entry(struct down_renderer *r, enum down_kind kind, int64_t num, struct trb_slice gone,
                                    int64_t version, struct trb_error *err) {
  trb_buf_clear(&r->rows);
  r->row_count = 0;
  r->version = version;
  enum trb_status status = TRB_OK;
  switch (kind) {
    case DOWN_RECORD:
      status = down_golden(r, num, err);
      if (status == TRB_OK) status = down_contacts_of_record(r, num, err);
      break;
    case DOWN_GOLDEN: status = down_golden(r, num, err); break;
    case DOWN_ROW: status = render_row(r, down_num_table(num), down_num_rid(num), err); break;
    case DOWN_GONE: status = render_gone(r, (uint16_t)num, gone, err); break;
  }
  return status == TRB_OK && r->rows.failed ? nomem(err) : status;
}
