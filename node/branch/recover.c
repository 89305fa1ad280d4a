/* recover: after replica.db was found to be an older copy, what it lost is written back from the batches that the
 * outbox still holds.
 *
 * Batch by batch in their order: a column is written when the shadow says that this batch holds its last sealed value,
 * the replica has another one, and nothing was written to it in the old copy since (its last mark is not later). The
 * writes are captured like a client's; the baseline that follows finds the values equal to the shadows and gives them
 * their old times. What is older than the outbox (pruned below `safe`) headquarters holds. */
#include <string.h>

#include "tributary/capture.h"
#include "tributary/digest.h"
#include "tributary/sealer_store.h"

static const char NEXT_BATCH[] = "SELECT min(sequence) FROM batch WHERE sequence > ?";
static const char LAST_WRITE[] =
    "SELECT coalesce(max(wall), 0) FROM _trb_mark WHERE tbl = ?1 AND row = ?2 AND "
    "(?3 < 0 OR op <> 2 OR (part = ?3 AND mask & ?4 <> 0))";

struct recovery {
  struct sealing *sealing;
  const struct trb_table *table;
  const struct trb_change *change;
  struct shadow shadow;
  uint64_t sequence;
  uint32_t written;
};

/* column 0: any write to the row. */
static enum trb_status written_since(struct recovery *r, uint16_t column, trb_hlc time, bool *ret,
                                     struct trb_error *err) {
  int64_t wall = 0;
  enum trb_status status = db_get_int(r->sealing->replica, err, &wall, LAST_WRITE, "isii", (int64_t)r->table->number,
                                      r->change->id, column ? (int64_t)schema_mask_part(column) : INT64_C(-1),
                                      column ? schema_mask_bit(column) : INT64_C(0));
  *ret = wall > trb_hlc_ms(time);
  return status;
}

static enum trb_status open_transaction(struct recovery *r, struct trb_error *err) {
  struct trb_db *replica = r->sealing->replica;
  if (db_in_transaction(replica)) return TRB_OK;
  enum trb_status status = db_begin(replica, err);
  return status == TRB_OK ? capture_suspend(replica, "recovery", err) : status;
}

static enum trb_status insert_row(struct recovery *r, struct trb_error *err) {
  TRB_BUF_AUTO sql = {0};
  TRB_STMT_AUTO *stmt = NULL;
  bool row = false, since = false;
  if (r->change->op != TRB_OP_PUT) return TRB_OK; /* the rest of it was pruned: headquarters holds it */
  enum trb_status status = written_since(r, 0, r->shadow.time, &since, err); /* deleted since: stays so */
  if (status != TRB_OK || since) return status;
  status = open_transaction(r, err);
  schema_upsert_row(r->table, &sql);
  if (status == TRB_OK) status = db_query(r->sealing->replica, trb_buf_cstr(&sql), &stmt, err);
  if (status != TRB_OK) return status;
  stmt_bind_slice(stmt, 1, r->change->id);
  for (size_t i = 0; i < r->change->cell_count; i++) {
    size_t at = table_column_index(r->table, r->change->cells[i].column);
    if (at != SIZE_MAX) stmt_bind_value(stmt, (int)at + 2, r->change->cells[i].value);
  }
  status = stmt_step(stmt, &row, err);
  r->written += status == TRB_OK;
  return status;
}

static enum trb_status set_column(struct recovery *r, const struct trb_column *column, struct trb_value value,
                                  struct trb_error *err) {
  TRB_BUF_AUTO sql = {0};
  trb_buf_printf(&sql, "UPDATE \"%s\" SET \"%s\" = ?1 WHERE id = ?2", r->table->name, column->name);
  enum trb_status status = open_transaction(r, err);
  if (status == TRB_OK) status = db_run(r->sealing->replica, err, trb_buf_cstr(&sql), "vs", value, r->change->id);
  r->written += status == TRB_OK;
  return status;
}

/* The value this batch gave the column; a PUT that does not name it made it NULL. False: a SET that does not name it.
 */
static bool value_in(const struct trb_change *change, uint16_t column, struct trb_value *ret) {
  *ret = trb_null();
  for (size_t i = 0; i < change->cell_count; i++)
    if (change->cells[i].column == column) {
      *ret = change->cells[i].value;
      return true;
    }
  return change->op == TRB_OP_PUT;
}

static enum trb_status update_row(struct recovery *r, const struct trb_value *values, struct trb_error *err) {
  enum trb_status status = TRB_OK;
  for (size_t i = 0; i < r->table->column_count && status == TRB_OK; i++) {
    const struct trb_column *column = &r->table->columns[i];
    const struct shadow_cell *cell = shadow_cell_of(&r->shadow, column->number);
    struct trb_value value;
    bool since = false;
    uint64_t held_by = cell ? cell->sequence : r->shadow.sequence, hash = cell ? cell->hash : 0;
    if (held_by != r->sequence || !value_in(r->change, column->number, &value)) continue;
    if (digest_cell(r->table->number, r->change->id, column->number, values[i]) == hash) continue;
    status = written_since(r, column->number, cell ? cell->time : r->shadow.time, &since, err);
    if (status == TRB_OK && !since) status = set_column(r, column, value, err);
  }
  return status;
}

static enum trb_status recover_row(struct recovery *r, struct trb_error *err) {
  TRB_ARENA_AUTO arena = {0};
  struct trb_value *values = NULL;
  size_t bytes = 0;
  bool old = false, present = false;
  enum trb_status status =
      outbox_shadow(r->sealing->outbox, r->change->table, r->change->id, &arena, &r->shadow, &old, err);
  if (status != TRB_OK || old || !shadow_live(&r->shadow)) return status;
  {
    TRB_STMT_AUTO *stmt = NULL;
    status = capture_row(r->sealing->replica, r->table, r->change->id, &stmt, err);
    if (status == TRB_OK) status = stmt_step(stmt, &present, err);
    if (status == TRB_OK && present) status = seal_values(stmt, r->table, &arena, &values, &bytes, err);
  }
  if (status != TRB_OK) return status;
  status = present ? update_row(r, values, err) : insert_row(r, err);
  return status == TRB_PEER ? TRB_OK : status; /* a limit that is stricter now: headquarters holds the row */
}

static enum trb_status recover_batch(struct sealing *sealing, uint64_t sequence, uint32_t *written,
                                     struct trb_error *err) {
  TRB_BUF_AUTO sealed = {0};
  TRB_ARENA_AUTO arena = {0};
  struct trb_batch batch;
  enum trb_status status = outbox_open_batch(sealing->outbox, sequence, &sealed, &arena, &batch, err);
  if (status == TRB_STORE) return TRB_OK; /* damaged: the others still help */
  struct recovery r = {.sealing = sealing, .sequence = sequence};
  for (size_t i = 0; i < batch.change_count && status == TRB_OK; i++) {
    r.change = &batch.changes[i];
    r.table = catalogue_table(sealing->catalogue, r.change->table);
    bool content = r.change->op == TRB_OP_PUT || r.change->op == TRB_OP_SET;
    if (r.table && content && seal_table_up(r.table)) status = recover_row(&r, err);
  }
  bool wrote = db_in_transaction(sealing->replica);
  if (status == TRB_OK && wrote) status = capture_resume(sealing->replica, err);
  if (status == TRB_OK && wrote) status = db_commit(sealing->replica, err);
  if (status != TRB_OK) db_rollback(sealing->replica);
  if (status == TRB_OK) *written += r.written;
  return status;
}

enum trb_status seal_recover(struct sealing *sealing, uint64_t *after, uint32_t *written, bool *ret_done,
                             struct trb_error *err) {
  int64_t next = 0;
  *ret_done = false;
  enum trb_status status = db_get_int(sealing->outbox->db, err, &next, NEXT_BATCH, "i", (int64_t)*after);
  if (status != TRB_OK) return status;
  if (next == 0) {
    *ret_done = true;
    return TRB_OK;
  }
  status = recover_batch(sealing, (uint64_t)next, written, err);
  if (status == TRB_OK) *after = (uint64_t)next;
  return status;
}
