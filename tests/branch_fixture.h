/* branch_fixture: a branch's files in a folder of its own, a client that writes, and a model of what the hub would
 * hold. */
#ifndef TESTS_BRANCH_FIXTURE_H
#define TESTS_BRANCH_FIXTURE_H

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

#include "tributary/capture.h"
#include "tributary/digest.h"
#include "tributary/mp.h"
#include "tributary/outbox.h"
#include "tributary/replica.h"
#include "tributary/sealer_store.h"
#include "tributary/wire.h"

#define MODEL_ROWS_MAX 4096
#define MODEL_COLUMNS_MAX 64

struct model_row {
  uint16_t table;
  char id[80];
  bool live;
  uint64_t hash[MODEL_COLUMNS_MAX];
};
struct model {
  size_t count;
  struct model_row rows[MODEL_ROWS_MAX];
  uint64_t applied; /* sequence */
  uint8_t hash[TRB_HASH_BYTES];
  uint32_t puts, sets, deletes, undos;
  int open_group; /* last batch said 'continues' */
};

struct fixture {
  char dir[64];
  struct replica replica;
  struct outbox *outbox;
  struct sealing sealing;
  struct crypto_signer *signer, *hub;
  struct trb_db *client;
  struct trb_clock_reading now;
  struct model *model;
  uint64_t commit;
};

#define OK(call)                                                                   \
  do {                                                                             \
    struct trb_error e_ = {0};                                                     \
    struct trb_error *err = &e_;                                                   \
    (void)err;                                                                     \
    enum trb_status s_ = (call);                                                   \
    if (s_ != TRB_OK) fail_msg("%s: %s: %s", #call, trb_status_name(s_), e_.text); \
  } while (0)

static inline void fixture_client(struct fixture *f) {
  char path[128];
  snprintf(path, sizeof path, "%s/replica.db", f->dir);
  OK(db_open(path, TRB_DB_WRITE, 2000, &f->client, err));
}

static inline void fixture_sealing(struct fixture *f) {
  seal_forget(&f->sealing);
  struct trb_capture_report report;
  f->sealing = (struct sealing){.replica = f->replica.db,
                                .outbox = f->outbox,
                                .catalogue = f->replica.catalogue,
                                .signer = f->signer,
                                .site = "north"};
  OK(capture_check(f->replica.db, f->replica.catalogue, &f->replica.schema_version, &report, err));
  f->sealing.schema_version = f->replica.schema_version;
}

static inline void fixture_open(struct fixture *f) {
  bool lost = false;
  OK(outbox_open(f->dir, 1, &f->outbox, &lost, err));
  OK(replica_open(f->dir, &f->replica, err));
  fixture_sealing(f);
}

static inline void fixture_close(struct fixture *f) {
  seal_forget(&f->sealing);
  outbox_close(&f->outbox);
  replica_close(&f->replica);
}

/* As after kill -9: nothing is committed by the way out. */
static inline void fixture_reopen(struct fixture *f) {
  fixture_close(f);
  fixture_open(f);
}

static inline void fixture_clock(struct fixture *f) {
  bool opened = false;
  OK(outbox_clock(f->outbox, &f->now, 1, &opened, err));
}

static inline int fixture_up(void **state) {
  struct fixture *f = calloc(1, sizeof *f);
  static const uint8_t incarnation[TRB_INCARNATION_BYTES] = {7};
  uint8_t public_key[TRB_KEY_BYTES], seed[TRB_KEY_BYTES];
  f->model = calloc(1, sizeof *f->model);
  strcpy(f->dir, "/tmp/trb-branch-XXXXXX");
  assert_non_null(mkdtemp(f->dir));
  crypto_sign_keypair(public_key, seed);
  OK(crypto_signer_new(seed, &f->signer, err));
  crypto_sign_keypair(public_key, seed);
  OK(crypto_signer_new(seed, &f->hub, err));
  OK(replica_make(f->dir, err));
  OK(outbox_create(f->dir, incarnation, &f->outbox, err));
  outbox_close(&f->outbox);
  fixture_open(f);
  fixture_client(f);
  f->now = (struct trb_clock_reading){.wall_ms = 1700000000000, .boot_ms = 5000, .boot_id = {1}};
  fixture_clock(f);
  *state = f;
  return 0;
}

static inline int fixture_down(void **state) {
  struct fixture *f = *state;
  char command[128];
  db_close(&f->client);
  fixture_close(f);
  crypto_signer_free(&f->signer);
  crypto_signer_free(&f->hub);
  free(f->model);
  snprintf(command, sizeof command, "rm -rf %s", f->dir);
  assert_int_equal(system(command), 0);
  free(f);
  return 0;
}

static inline void sql(struct fixture *f, const char *text) { OK(db_exec(f->client, text, err)); }
__attribute__((format(printf, 2, 3))) static inline void sqlf(struct fixture *f, const char *format, ...) {
  char text[4096];
  va_list args;
  va_start(args, format);
  vsnprintf(text, sizeof text, format, args);
  va_end(args);
  sql(f, text);
}
static inline int64_t number(struct trb_db *db, const char *text) {
  int64_t n = -1;
  OK(db_get_int(db, err, &n, text, ""));
  return n;
}

/* ---- the model ---- */

static inline struct model_row *model_row(struct model *m, uint16_t table, struct trb_slice id) {
  for (size_t i = 0; i < m->count; i++)
    if (m->rows[i].table == table && strlen(m->rows[i].id) == id.len && memcmp(m->rows[i].id, id.data, id.len) == 0)
      return &m->rows[i];
  assert_true(m->count < MODEL_ROWS_MAX && id.len < sizeof m->rows[0].id);
  struct model_row *row = &m->rows[m->count++];
  memset(row, 0, sizeof *row);
  row->table = table;
  memcpy(row->id, id.data, id.len);
  return row;
}

static inline void model_change(struct model *m, const struct trb_change *change) {
  struct model_row *row = model_row(m, change->table, change->id);
  if (change->op == TRB_OP_SET) assert_true(row->live);
  if (change->op == TRB_OP_PUT || change->op == TRB_OP_DELETE || change->op == TRB_OP_UNDO)
    memset(row->hash, 0, sizeof row->hash);
  row->live = change->op == TRB_OP_PUT || change->op == TRB_OP_SET;
  m->puts += change->op == TRB_OP_PUT;
  m->sets += change->op == TRB_OP_SET;
  m->deletes += change->op == TRB_OP_DELETE;
  m->undos += change->op == TRB_OP_UNDO;
  for (size_t i = 0; i < change->cell_count; i++) {
    assert_true(change->cells[i].column < MODEL_COLUMNS_MAX);
    if (i) assert_true(change->cells[i].column > change->cells[i - 1].column);
    row->hash[change->cells[i].column] =
        digest_cell(change->table, change->id, change->cells[i].column, change->cells[i].value);
  }
}

static inline void model_digest(const struct model *m, uint16_t table, uint64_t *rows, uint64_t *sum) {
  *rows = *sum = 0;
  for (size_t i = 0; i < m->count; i++) {
    const struct model_row *row = &m->rows[i];
    if (row->table != table || !row->live) continue;
    ++*rows;
    *sum += digest_cell(table, trb_slice_str(row->id), 0, trb_null());
    for (size_t c = 0; c < MODEL_COLUMNS_MAX; c++) *sum += row->hash[c];
  }
}

/* Opens one batch as the hub would, checks chain, marks and digests, and applies it. */
static inline void model_batch(struct fixture *f, uint64_t sequence, struct trb_batch_header *ret) {
  TRB_ARENA_AUTO arena = {0};
  TRB_BUF_AUTO sealed = {0}, ack = {0};
  struct trb_batch batch;
  uint8_t hash[TRB_HASH_BYTES];
  struct model *m = f->model;
  OK(outbox_load(f->outbox, sequence, &sealed, &ack, err));
  OK(batch_open(trb_buf_slice(&sealed), crypto_signer_public(f->signer), &arena, &batch, hash, err));
  assert_int_equal(batch.header.sequence, sequence);
  assert_memory_equal(batch.header.previous, m->hash, TRB_HASH_BYTES);
  assert_memory_equal(batch.header.incarnation, f->outbox->state.incarnation, TRB_INCARNATION_BYTES);
  assert_true(batch.change_count > 0 && batch.change_count <= TRB_BATCH_CHANGES_MAX);
  assert_true(batch.header.raw_bytes <= TRB_BATCH_RAW_MAX);
  for (size_t i = 1; i < batch.mark_count; i++) assert_true(batch.marks[i].number > batch.marks[i - 1].number);
  for (size_t i = 0; i < batch.change_count; i++) model_change(m, &batch.changes[i]);
  for (size_t i = 0; i < batch.header.digest_count; i++) {
    uint64_t rows, sum;
    model_digest(m, batch.header.digests[i].table, &rows, &sum);
    assert_int_equal(batch.header.digests[i].rows, rows);
    assert_int_equal(batch.header.digests[i].sum, sum);
  }
  memcpy(m->hash, hash, TRB_HASH_BYTES);
  m->applied = sequence;
  m->open_group = (batch.header.flags & TRB_BATCH_CONTINUES) != 0;
  if (ret) *ret = batch.header;
}

static inline void model_catch_up(struct fixture *f) {
  while (f->model->applied < f->outbox->state.sequence) model_batch(f, f->model->applied + 1, NULL);
  assert_false(f->model->open_group); /* a pass ends its group */
}

/* The model's rows are the replica's rows, all tables. */
static inline void model_equals_replica(struct fixture *f) {
  size_t live = 0, rows = 0;
  for (size_t i = 0; i < f->model->count; i++) live += f->model->rows[i].live;
  for (const struct trb_table *t = seal_table_after(f->replica.catalogue, 0); t;
       t = seal_table_after(f->replica.catalogue, t->number)) {
    TRB_STMT_AUTO *stmt = NULL;
    bool row = false;
    OK(capture_scan_rows(f->client, t, trb_slice_str(""), 100000, &stmt, err));
    OK(stmt_step(stmt, &row, err));
    for (; row; rows++) {
      struct trb_slice id = stmt_slice(stmt, 0);
      struct model_row *m = model_row(f->model, t->number, id);
      if (!m->live) fail_msg("%s %s is not in the model", t->name, m->id);
      for (size_t c = 0; c < t->column_count; c++) {
        uint64_t hash = digest_cell(t->number, id, t->columns[c].number, stmt_value(stmt, (int)c + 1));
        if (m->hash[t->columns[c].number] != hash) fail_msg("%s %s %s differs", t->name, m->id, t->columns[c].name);
      }
      OK(stmt_step(stmt, &row, err));
    }
  }
  assert_int_equal(live, rows);
}

/* ---- steps ---- */

static inline struct seal_result seal_once(struct fixture *f) {
  struct seal_result result = {0};
  f->now.wall_ms += 10;
  f->now.boot_ms += 10;
  OK(seal_pass(&f->sealing, (struct seal_limits){1000000, SEAL_MARKS_MAX}, &f->now, &result, err));
  if (result.schema_changed) {
    fixture_sealing(f);
    OK(seal_pass(&f->sealing, (struct seal_limits){1000000, SEAL_MARKS_MAX}, &f->now, &result, err));
  }
  return result;
}

static inline void seal_all(struct fixture *f) {
  for (int i = 0; i < 1000; i++)
    if (!seal_once(f).more) return;
  fail_msg("sealing does not come to an end");
}

static inline void seal_baselines(struct fixture *f) {
  for (int i = 0; f->outbox->state.baseline; i++) {
    struct seal_result result;
    assert_true(i < 1000);
    OK(seal_baseline(&f->sealing, 1000, &f->now, &result, err));
  }
}

static inline struct scrub_result scrub_all(struct fixture *f) {
  struct scrub_result all = {0};
  OK(scrub_start(f->outbox, err));
  for (int i = 0; !all.done; i++) {
    struct scrub_result one;
    assert_true(i < 1000);
    OK(scrub_slice(&f->sealing, 1000, &f->now, &one, err));
    if (one.pending) seal_all(f);
    all.missed += one.missed;
    all.done = one.done;
    if (one.emptied_table) all.emptied_table = one.emptied_table;
    if (one.emptied_rows) all.emptied_rows = one.emptied_rows;
  }
  return all;
}

/* Signed acks as the hub would give them for (from..to]. */
static inline void ack_to(struct fixture *f, uint64_t from, uint64_t to, uint64_t safe) {
  TRB_BUF_AUTO acks = {0};
  uint32_t bad = 0;
  mp_put_array(&acks, to - from);
  for (uint64_t sequence = from + 1; sequence <= to; sequence++) {
    TRB_ARENA_AUTO arena = {0};
    TRB_BUF_AUTO sealed = {0}, old = {0}, ack_bytes = {0};
    struct trb_batch_header header;
    struct trb_ack ack = {.site = trb_slice_str("north"), .sequence = sequence};
    OK(outbox_load(f->outbox, sequence, &sealed, &old, err));
    OK(batch_peek(trb_buf_slice(&sealed), &arena, &header, ack.hash, err));
    memcpy(ack.incarnation, header.incarnation, TRB_INCARNATION_BYTES);
    clock_correct(header.segments, header.segment_count, NULL, 0, &ack.acceptance);
    ack.acceptance.commit = trb_hlc_of_ms(2000000000000 + (int64_t)++f->commit);
    ack.acceptance.limit = trb_hlc_of_ms(2000000000000);
    ack_seal(&ack, f->hub, &ack_bytes);
    mp_put_bin(&acks, trb_buf_slice(&ack_bytes));
  }
  OK(outbox_acked(f->outbox, to, safe, trb_buf_slice(&acks), crypto_signer_public(f->hub), &bad, err));
  assert_int_equal(bad, 0);
}

static inline struct shadow shadow_of(struct fixture *f, struct trb_arena *arena, uint16_t table, const char *id) {
  struct shadow shadow = {0};
  bool old = false;
  OK(outbox_shadow(f->outbox, table, trb_slice_str(id), arena, &shadow, &old, err));
  return shadow;
}

#endif
