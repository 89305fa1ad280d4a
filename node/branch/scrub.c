/* scrub: rows against shadows, for changes that made no mark (triggers dropped or switched off, a file restored by
 * hand). See include/tributary/sealer_store.h. */
#include <string.h>

#include "tributary/capture.h"
#include "tributary/digest.h"
#include "tributary/sealer_store.h"

#define SLICE_ROWS_MAX 2000
/* More rows than this gone without a mark is no ordinary deletion (as with mass deletes at the hub): an operator
 * decides. */
#define GONE_MIN 20
#define GONE_SHARE 100
#define MASK_PARTS_MAX 64

struct finding {
  struct trb_slice id;
  int op;
  uint16_t part;
  int64_t mask;
};
struct scrub {
  struct sealing *sealing;
  const struct trb_table *table;
  struct trb_arena *arena;
  size_t row_count; /* ids of the page, ascending */
  struct trb_slice *ids;
  bool page_last;
  size_t count, cap;
  struct finding *findings;
  bool emptied;
};

enum trb_status scrub_start(struct outbox *outbox, struct trb_error *err) {
  enum trb_status status = outbox_begin(outbox, err);
  if (status != TRB_OK) return status;
  outbox->state.scrub = true;
  outbox->state.scrub_table = 0;
  outbox->state.scrub_id[0] = '\0';
  return outbox_commit(outbox, err);
}

static enum trb_status found(struct scrub *s, struct trb_slice id, int op, uint16_t part, int64_t mask) {
  if (s->count == s->cap) {
    size_t cap = s->cap ? s->cap * 2 : 64;
    struct finding *grown = trb_arena_alloc(s->arena, cap * sizeof *grown);
    if (!grown) return TRB_NOMEM;
    if (s->count) memcpy(grown, s->findings, s->count * sizeof *grown);
    s->findings = grown;
    s->cap = cap;
  }
  s->findings[s->count++] = (struct finding){.id = id, .op = op, .part = part, .mask = mask};
  return TRB_OK;
}

/* Which columns differ from the shadow, a mark for each part of them. */
static enum trb_status compare_row(struct scrub *s, struct trb_stmt *stmt, struct trb_slice id,
                                   const struct shadow *shadow) {
  int64_t masks[MASK_PARTS_MAX] = {0};
  for (size_t i = 0; i < s->table->column_count; i++) {
    uint16_t number = s->table->columns[i].number;
    const struct shadow_cell *cell = shadow_cell_of(shadow, number);
    uint64_t hash = digest_cell(s->table->number, id, number, stmt_value(stmt, (int)i + 1));
    int part = schema_mask_part(number);
    if (hash != (cell ? cell->hash : 0) && part < MASK_PARTS_MAX) masks[part] |= schema_mask_bit(number);
  }
  enum trb_status status = TRB_OK;
  for (int part = 0; part < MASK_PARTS_MAX && status == TRB_OK; part++)
    if (masks[part]) status = found(s, id, TRB_MARK_UPDATE, (uint16_t)part, masks[part]);
  return status;
}

static enum trb_status scrub_row(struct scrub *s, struct trb_stmt *stmt, struct trb_error *err) {
  TRB_ARENA_AUTO arena = {0};
  struct shadow shadow;
  bool old = false, ok = true;
  struct trb_slice id = trb_arena_copy(s->arena, stmt_slice(stmt, 0), &ok);
  if (!ok) return trb_fail(err, TRB_NOMEM, "out of memory");
  s->ids[s->row_count++] = id;
  enum trb_status status = outbox_shadow(s->sealing->outbox, s->table->number, id, &arena, &shadow, &old, err);
  if (status != TRB_OK) return status;
  bool live = shadow_live(&shadow) && !old;
  status = live ? compare_row(s, stmt, id, &shadow) : found(s, id, TRB_MARK_INSERT, 0, -1);
  return status == TRB_OK ? TRB_OK : trb_fail(err, status, "out of memory");
}

static enum trb_status scan_page(struct scrub *s, int64_t until_us, struct trb_error *err) {
  TRB_STMT_AUTO *stmt = NULL;
  bool row = false;
  struct trb_slice after = trb_slice_str(s->sealing->outbox->state.scrub_id);
  enum trb_status status = capture_scan_rows(s->sealing->replica, s->table, after, SLICE_ROWS_MAX + 1, &stmt, err);
  if (status == TRB_OK) status = stmt_step(stmt, &row, err);
  while (status == TRB_OK && row && s->row_count < SLICE_ROWS_MAX) {
    status = scrub_row(s, stmt, err);
    if (status == TRB_OK) status = stmt_step(stmt, &row, err);
    if (s->row_count % 16 == 0 && seal_now_us() > until_us) break;
  }
  s->page_last = !row;
  return status;
}

static int by_bytes(struct trb_slice a, struct trb_slice b) { return trb_slice_compare(a, b); }

static bool on_page(const struct scrub *s, struct trb_slice id) {
  size_t low = 0, high = s->row_count;
  while (low < high) {
    size_t mid = (low + high) / 2;
    int order = by_bytes(s->ids[mid], id);
    if (order == 0) return true;
    if (order < 0)
      low = mid + 1;
    else
      high = mid;
  }
  return false;
}

static const char LIVE[] =
    "SELECT id FROM shadow WHERE tbl = ?1 AND id > ?2 AND (?4 OR id <= ?3) AND deleted = 0 AND generation = ?5 ORDER "
    "BY id";

/* Live shadows within the page's stretch of ids that have no row. */
static enum trb_status scan_gone(struct scrub *s, struct trb_error *err) {
  const struct outbox_state *state = &s->sealing->outbox->state;
  struct trb_slice last = s->row_count ? s->ids[s->row_count - 1] : trb_slice_str("");
  TRB_STMT_AUTO *stmt = NULL;
  bool row = false, ok = true;
  enum trb_status status = db_queryf(s->sealing->outbox->db, err, &stmt, LIVE, "itsii", (int64_t)s->table->number,
                                     state->scrub_id, last, (int64_t)s->page_last, state->generation);
  if (status == TRB_OK) status = stmt_step(stmt, &row, err);
  while (status == TRB_OK && row) {
    if (!on_page(s, stmt_slice(stmt, 0))) {
      struct trb_slice id = trb_arena_copy(s->arena, stmt_slice(stmt, 0), &ok);
      if (!ok || found(s, id, TRB_MARK_DELETE, 0, 0) != TRB_OK) return trb_fail(err, TRB_NOMEM, "out of memory");
    }
    status = stmt_step(stmt, &row, err);
  }
  return status;
}

/* A table that lost this much was emptied past the triggers or restored: no mass delete. One that was made anew lost
 * its rows with the table, be it a single one: no delete at all. */
static enum trb_status check_emptied(struct scrub *s, struct scrub_result *ret, struct trb_error *err) {
  bool any = false;
  for (size_t i = 0; i < s->count; i++) any |= s->findings[i].op == TRB_MARK_DELETE;
  if (!any) return TRB_OK;
  int64_t rows = 0, live = 0;
  TRB_BUF_AUTO sql = {0};
  trb_buf_printf(&sql, "SELECT count(*) FROM \"%s\"", s->table->name);
  enum trb_status status = db_get_int(s->sealing->replica, err, &rows, trb_buf_cstr(&sql), "");
  if (status == TRB_OK)
    status = db_get_int(s->sealing->outbox->db, err, &live,
                        "SELECT coalesce((SELECT live FROM digest WHERE tbl = ?), 0)", "i", (int64_t)s->table->number);
  if (status != TRB_OK) return status;
  int64_t limit = live / GONE_SHARE > GONE_MIN ? live / GONE_SHARE : GONE_MIN;
  if (live - rows <= limit && !ret->made_anew) return TRB_OK;
  s->emptied = true;
  ret->emptied_table = s->table->number;
  ret->emptied_rows = live - rows;
  return TRB_OK;
}

static enum trb_status mark_missed(struct scrub *s, struct scrub_result *ret, struct trb_error *err) {
  struct trb_db *replica = s->sealing->replica;
  enum trb_status status = TRB_OK;
  for (size_t i = 0; i < s->count && status == TRB_OK; i++) {
    const struct finding *f = &s->findings[i];
    if (s->emptied && f->op == TRB_MARK_DELETE) continue;
    if (!db_in_transaction(replica)) status = db_begin(replica, err);
    if (status == TRB_OK) status = capture_mark(replica, s->table->number, f->id, f->op, f->part, f->mask, err);
    ret->missed++;
  }
  if (status == TRB_OK && db_in_transaction(replica)) status = db_commit(replica, err);
  if (status != TRB_OK) db_rollback(replica);
  return status;
}

/* Where the next slice begins: kept in memory and written with the next commit; a crash repeats a little. */
static void move_on(struct scrub *s, struct scrub_result *ret) {
  struct outbox_state *state = &s->sealing->outbox->state;
  const struct trb_table *table = s->table;
  if (s->page_last) {
    ret->table_done = table->number;
    state->scrub_id[0] = '\0';
    table = seal_table_after(s->sealing->catalogue, s->table->number);
  } else {
    struct trb_slice last = s->ids[s->row_count - 1];
    memcpy(state->scrub_id, last.data, last.len);
    state->scrub_id[last.len] = '\0';
  }
  state->scrub_table = table ? table->number : 0;
  ret->done = table == NULL;
  struct outbox_state *saved = &s->sealing->outbox->saved;
  saved->scrub_table = state->scrub_table;
  memcpy(saved->scrub_id, state->scrub_id, sizeof saved->scrub_id);
}

static enum trb_status read_slice(struct scrub *s, int64_t until_us, struct scrub_result *ret, struct trb_error *err) {
  struct sealing *sealing = s->sealing;
  const struct outbox_state *state = &sealing->outbox->state;
  uint64_t last = 0;
  int64_t nonce = 0, version = 0;
  enum trb_status status = db_begin_read(sealing->replica, err);
  if (status == TRB_OK) status = db_get_int(sealing->replica, err, &version, "PRAGMA schema_version", "");
  if (status == TRB_OK) status = seal_last_mark(sealing->replica, &last, &nonce, err);
  if (status == TRB_OK)
    ret->pending = version != sealing->schema_version || last != state->mark || state->late_mark != state->mark;
  if (status == TRB_OK && !ret->pending) {
    status = capture_made_anew(sealing->replica, s->table, &ret->made_anew, err);
    if (status == TRB_OK) status = scan_page(s, until_us, err);
    if (status == TRB_OK) status = scan_gone(s, err);
    if (status == TRB_OK) status = check_emptied(s, ret, err);
  }
  db_rollback(sealing->replica);
  return status;
}

enum trb_status scrub_slice(struct sealing *sealing, int64_t read_ms_max, const struct trb_clock_reading *now,
                            struct scrub_result *ret, struct trb_error *err) {
  TRB_ARENA_AUTO arena = {0};
  struct outbox *outbox = sealing->outbox;
  struct scrub_result result = {0};
  struct scrub s = {.sealing = sealing, .arena = &arena};
  (void)now;
  s.table = outbox->state.scrub_table ? catalogue_table(sealing->catalogue, outbox->state.scrub_table)
                                      : seal_table_after(sealing->catalogue, 0);
  s.ids = trb_arena_alloc(&arena, SLICE_ROWS_MAX * sizeof *s.ids);
  if (!s.ids || !s.table) return trb_fail(err, s.table ? TRB_NOMEM : TRB_STORE, "scrub: no memory or no such table");
  enum trb_status status = read_slice(&s, seal_now_us() + read_ms_max * 1000, &result, err);
  if (status == TRB_OK && !result.pending) {
    status = mark_missed(&s, &result, err);
    if (status == TRB_OK) move_on(&s, &result);
  }
  if (status == TRB_OK && result.done) {
    status = outbox_begin(outbox, err);
    outbox->state.scrub = false;
    if (status == TRB_OK) status = outbox_commit(outbox, err);
  }
  if (status == TRB_OK) *ret = result;
  return status;
}
