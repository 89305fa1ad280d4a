/* import_store: rows to replica.db by ordinary SQL, and the index of external references: a temporary table of this
 * connection, since replica.db itself has no index on columns of the client's own (each would cost every writer). */
#include <stdio.h>
#include <string.h>

#include "import.h"
#include "tributary/clock.h"
#include "tributary/crypto.h"
#include "tributary/digest.h"

uint64_t import_hash_begin(const struct trb_table *table, struct trb_slice id) {
  return digest_cell(table->number, id, 0, trb_null());
}

uint64_t import_hash_cell(const struct trb_table *table, struct trb_slice id, const struct trb_column *column,
                          struct trb_value value) {
  bool stamp = column->number == TRB_C_customer_created_at || column->number == TRB_C_customer_updated_at;
  return stamp ? 0 : digest_cell(table->number, id, column->number, value);
}

/* --- references --- */

static const char sql_ref_add[] = "INSERT OR IGNORE INTO temp.import_ref(tbl,col,ref,id)VALUES(?1,?2,?3,?4)";

/* What stands in `column` of `table` already, once an import. */
static enum trb_status store_index(struct import *im, const struct trb_table *table, const struct trb_column *column,
                                   struct trb_error *err) {
  TRB_BUF_AUTO sql = {0};
  int64_t have = 0;
  enum trb_status status =
      db_get_int(im->db, err, &have, "SELECT count(*) FROM temp.import_indexed WHERE tbl=?1 AND col=?2", "ii",
                 (int64_t)table->number, (int64_t)column->number);
  if (status || have) return status;
  /* The oldest row wins where a reference stands twice: ids are times. */
  trb_buf_printf(&sql,
                 "INSERT OR IGNORE INTO temp.import_ref(tbl,col,ref,id)"
                 " SELECT %u,%u,\"%s\",id FROM main.\"%s\" WHERE \"%s\" IS NOT NULL ORDER BY id;"
                 "INSERT INTO temp.import_indexed(tbl,col)VALUES(%u,%u)",
                 table->number, column->number, column->name, table->name, column->name, table->number, column->number);
  if (sql.failed) return trb_fail(err, TRB_NOMEM, "no memory for the import");
  return db_exec(im->db, trb_buf_cstr(&sql), err);
}

static enum trb_status store_indexes(struct import *im, struct trb_error *err) {
  enum trb_status status = TRB_OK;
  if (im->ref) status = store_index(im, im->main, im->ref, err);
  for (size_t i = 0; !status && i < im->mapping.rule_count; i++) {
    const struct mapping_rule *rule = &im->mapping.rule[i];
    if (rule->form == MAPPING_LOOKUP && rule->lookup_column)
      status = store_index(im, rule->lookup_table, rule->lookup_column, err);
  }
  return status;
}

static enum trb_status store_look(struct import *im, const struct trb_table *table, const struct trb_column *column,
                                  struct trb_slice ref, struct trb_buf *out, struct trb_error *err) {
  enum trb_status status =
      db_get_bytes(im->db, err, out, "SELECT id FROM temp.import_ref WHERE tbl=?1 AND col=?2 AND ref=?3", "iis",
                   (int64_t)table->number, (int64_t)column->number, ref);
  return status == TRB_ABSENT ? TRB_OK : status;
}

enum trb_status import_find(struct import *im, const struct mapping_rule *rule, struct trb_slice value,
                            struct trb_buf *out, struct trb_error *err) {
  if (rule->lookup_column) return store_look(im, rule->lookup_table, rule->lookup_column, value, out, err);
  TRB_BUF_AUTO sql = {0};
  trb_buf_printf(&sql, "SELECT id FROM main.\"%s\" WHERE id=?1", rule->lookup_table->name);
  enum trb_status status = db_get_bytes(im->db, err, out, trb_buf_cstr(&sql), "s", value);
  return status == TRB_ABSENT ? TRB_OK : status;
}

/* --- ids --- */

/* Ascending within an import (RFC 9562 section 6.2, method 1): the order of the file is the order of the ids, and rows
 * are appended to the tables' trees instead of spread over them. */
static void store_new_id(struct import *im, char ret[TRB_UUID_TEXT_BYTES]) {
  struct trb_clock_reading now = {0};
  uint8_t random[TRB_UUID_RANDOM_BYTES];
  clock_read(&now); /* was read at the start; an id is good with any time */
  crypto_random(random, sizeof random);
  if (now.wall_ms > im->id_ms) {
    im->id_ms = now.wall_ms;
    im->id_counter = 0;
  } else if (++im->id_counter > 0xFFF) {
    im->id_ms++;
    im->id_counter = 0;
  }
  random[0] = (uint8_t)(im->id_counter >> 8);
  random[1] = (uint8_t)im->id_counter;
  id_uuid7(im->id_ms, random, ret);
}

/* --- begin and end --- */

static enum trb_status store_announce(struct import *im, struct trb_error *err) {
  TRB_BUF_AUTO mapping = {0};
  struct trb_clock_reading now;
  enum trb_status status = clock_read(&now);
  if (status) return trb_fail(err, status, "the clock cannot be read");
  mapping_print(&im->mapping, &mapping);
  return db_run(im->db, err,
                "INSERT INTO _trb_import(id,at,file,sha256,mapping,rows,bad_rows)VALUES(?1,?2,?3,?4,?5,0,0)", "titts",
                im->id, now.wall_ms, im->name, im->sha256, trb_buf_slice(&mapping));
}

enum trb_status import_begin(struct import *im, struct trb_error *err) {
  static const char tables[] =
      "PRAGMA temp_store=FILE;"
      "CREATE TEMP TABLE import_ref(tbl INTEGER,col INTEGER,ref TEXT,id TEXT,PRIMARY KEY(tbl,col,ref))WITHOUT ROWID;"
      "CREATE TEMP TABLE import_indexed(tbl INTEGER,col INTEGER);";
  struct trb_clock_reading now;
  enum trb_status status = clock_read(&now);
  if (status) return trb_fail(err, status, "the clock cannot be read");
  store_new_id(im, im->id);
  status = db_exec(im->db, tables, err);
  if (!status) status = store_indexes(im, err);
  if (status || im->dry_run) return status;
  status = db_begin(im->db, err);
  return status ? status : store_announce(im, err);
}

static enum trb_status store_counts(struct import *im, struct trb_error *err) {
  const struct import_tally *t = &im->tally;
  return db_run(im->db, err, "UPDATE _trb_import SET rows=?2,bad_rows=?3 WHERE id=?1", "tii", im->id,
                (int64_t)(t->main_rows + t->contact_rows + t->other_rows), (int64_t)t->rejected);
}

enum trb_status import_commit(struct import *im, struct trb_error *err) {
  if (im->dry_run) return TRB_OK;
  enum trb_status status = store_counts(im, err);
  if (!status) status = db_commit(im->db, err);
  return status ? status : db_begin(im->db, err);
}

/* An import that wrote nothing leaves no trace. */
enum trb_status import_end(struct import *im, struct trb_error *err) {
  const struct import_tally *t = &im->tally;
  if (im->dry_run) return TRB_OK;
  if (!(t->main_rows + t->contact_rows + t->other_rows + t->updated)) {
    int64_t kept = 0;
    db_rollback(im->db);
    enum trb_status status =
        db_get_int(im->db, err, &kept, "SELECT count(*) FROM _trb_import WHERE id=?1", "t", im->id);
    if (status || !kept) return status;
    return db_run(im->db, err, "DELETE FROM _trb_import WHERE id=?1", "t", im->id);
  }
  enum trb_status status = store_counts(im, err);
  return status ? status : db_commit(im->db, err);
}

/* --- rows --- */

static enum trb_status store_row(struct import *im, const struct import_row *row, const char *id,
                                 struct trb_error *err) {
  TRB_BUF_AUTO sql = {0};
  struct trb_stmt *stmt = NULL;
  bool stands = false;
  uint64_t hash = import_hash_begin(row->table, trb_slice_str(id));
  trb_buf_printf(&sql, "INSERT INTO \"%s\"(id", row->table->name);
  for (size_t i = 0; i < row->count; i++) trb_buf_printf(&sql, ",\"%s\"", row->cell[i].column->name);
  trb_buf_append_str(&sql, ")VALUES(?1");
  for (size_t i = 0; i < row->count; i++) trb_buf_printf(&sql, ",?%zu", i + 2);
  trb_buf_append_str(&sql, ")");
  if (sql.failed) return trb_fail(err, TRB_NOMEM, "no memory for a row");
  enum trb_status status = db_query(im->db, trb_buf_cstr(&sql), &stmt, err);
  if (status) return status;
  stmt_bind_text(stmt, 1, id);
  for (size_t i = 0; i < row->count; i++) {
    stmt_bind_value(stmt, (int)i + 2, row->cell[i].value);
    hash += import_hash_cell(row->table, trb_slice_str(id), row->cell[i].column, row->cell[i].value);
  }
  status = stmt_step(stmt, &stands, err);
  stmt_done(stmt);
  if (status) return status;
  return db_run(im->db, err, "INSERT INTO _trb_import_row(import_id,tbl,row,line,hash)VALUES(?1,?2,?3,?4,?5)", "titii",
                im->id, (int64_t)row->table->number, id, (int64_t)im->line, (int64_t)hash);
}

static const struct import_cell *row_cell(const struct import_row *row, const struct trb_column *column) {
  for (size_t i = 0; column && i < row->count; i++)
    if (row->cell[i].column == column) return &row->cell[i];
  return NULL;
}

/* The contact or document is on the card already. */
static enum trb_status store_has_kind(struct import *im, const struct import_row *row, const char *parent,
                                      bool *ret_has, struct trb_error *err) {
  const struct trb_column *kind, *value;
  TRB_BUF_AUTO sql = {0};
  int64_t count = 0;
  mapping_kind_columns(row->table, &kind, &value);
  *ret_has = !kind; /* other further rows are not repeated on an update */
  if (!kind) return TRB_OK;
  trb_buf_printf(&sql, "SELECT count(*) FROM \"%s\" WHERE \"%s\"=?1 AND \"%s\"=?2 AND \"%s\"=?3", row->table->name,
                 mapping_parent_column(row->table, im->main)->name, kind->name, value->name);
  enum trb_status status =
      db_get_int(im->db, err, &count, trb_buf_cstr(&sql), "tvv", parent, row->cell[0].value, row->cell[1].value);
  *ret_has = count > 0;
  return status;
}

/* --update: the mapped columns of a row that is there, where they differ. */
static enum trb_status store_update(struct import *im, const char *id, struct trb_error *err) {
  TRB_BUF_AUTO sql = {0};
  const struct import_row *row = &im->row[0];
  struct trb_stmt *stmt = NULL;
  bool stands = false;
  if (!row->count) return TRB_OK;
  trb_buf_printf(&sql, "UPDATE \"%s\" SET ", row->table->name);
  for (size_t i = 0; i < row->count; i++)
    trb_buf_printf(&sql, "%s\"%s\"=?%zu", i ? "," : "", row->cell[i].column->name, i + 2);
  trb_buf_append_str(&sql, " WHERE id=?1 AND(");
  for (size_t i = 0; i < row->count; i++)
    trb_buf_printf(&sql, "%s\"%s\" IS NOT ?%zu", i ? " OR " : "", row->cell[i].column->name, i + 2);
  trb_buf_append_str(&sql, ")");
  if (sql.failed) return trb_fail(err, TRB_NOMEM, "no memory for a row");
  enum trb_status status = db_query(im->db, trb_buf_cstr(&sql), &stmt, err);
  if (status) return status;
  stmt_bind_text(stmt, 1, id);
  for (size_t i = 0; i < row->count; i++) stmt_bind_value(stmt, (int)i + 2, row->cell[i].value);
  status = stmt_step(stmt, &stands, err);
  if (!status && db_changes(im->db) > 0) im->tally.updated++;
  stmt_done(stmt);
  return status;
}

/* The rows beside the main one, which has the id `parent`. */
static enum trb_status store_children(struct import *im, const char *parent, bool there, struct trb_error *err) {
  enum trb_status status = TRB_OK;
  for (size_t i = 1; !status && i < im->row_count; i++) {
    struct import_row *row = &im->row[i];
    char id[TRB_UUID_TEXT_BYTES];
    bool has = false;
    if (there) status = store_has_kind(im, row, parent, &has, err);
    if (status || has) continue;
    TRB_ASSERT(row->count < IMPORT_CELLS_MAX);
    row->cell[row->count++] =
        (struct import_cell){.column = mapping_parent_column(row->table, im->main), .value = trb_text(parent)};
    store_new_id(im, id);
    if (!im->dry_run) status = store_row(im, row, id, err);
    if (status) break;
    if (row->table->number == TRB_T_contact)
      im->tally.contact_rows++;
    else
      im->tally.other_rows++;
  }
  return status;
}

static enum trb_status store_record(struct import *im, struct trb_error *err) {
  char id[TRB_UUID_TEXT_BYTES];
  TRB_BUF_AUTO found = {0};
  const struct import_cell *ref = row_cell(&im->row[0], im->ref);
  enum trb_status status = ref ? store_look(im, im->main, im->ref, ref->value.s, &found, err) : TRB_OK;
  if (status) return status;
  if (found.len) {
    im->tally.present++;
    if (!im->update || im->dry_run) return TRB_OK;
    status = store_update(im, trb_buf_cstr(&found), err);
    return status ? status : store_children(im, trb_buf_cstr(&found), true, err);
  }
  store_new_id(im, id);
  if (!im->dry_run) status = store_row(im, &im->row[0], id, err);
  if (status) return status;
  im->tally.main_rows++;
  if (ref)
    status =
        db_run(im->db, err, sql_ref_add, "iist", (int64_t)im->main->number, (int64_t)im->ref->number, ref->value.s, id);
  return status ? status : store_children(im, id, false, err);
}

enum trb_status import_store(struct import *im, struct trb_error *err) {
  struct import_tally before = im->tally;
  struct trb_error why = {0};
  if (im->dry_run) return store_record(im, err);
  enum trb_status status = db_run(im->db, err, "SAVEPOINT import_record", "");
  if (status) return status;
  status = store_record(im, &why);
  if (status == TRB_PEER) { /* a guard or a check of the branch refused it: nothing of the record stays */
    im->tally = before;
    status = db_run(im->db, err, "ROLLBACK TO import_record", "");
    if (!status) status = db_run(im->db, err, "RELEASE import_record", "");
    return status ? status : trb_fail(err, TRB_PEER, "%s", why.text);
  }
  if (status) return trb_fail(err, status, "%s", why.text);
  return db_run(im->db, err, "RELEASE import_record", "");
}
