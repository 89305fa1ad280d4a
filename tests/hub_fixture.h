/* hub_fixture: a real hub directory without sockets and threads, sites that joined it, and batches made by hand. For
 * the unit tests of node/hub. */
#ifndef TRIBUTARY_TESTS_HUB_FIXTURE_H
#define TRIBUTARY_TESTS_HUB_FIXTURE_H

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "../node/hub/apply.h"
#include "../node/hub/policy.h"
#include "../node/hub/roster.h"
#include "../node/hub/setaside.h"
#include "../node/hub/verify.h"
#include "../node/hub/writer.h"
#include "tributary/hub.h"

struct fx_site {
  int64_t no;
  char name[33];
  uint8_t incarnation[TRB_INCARNATION_BYTES], previous[TRB_HASH_BYTES];
  uint64_t sequence, mark;
  struct crypto_signer *signer;
  uint8_t sign_public[TRB_KEY_BYTES], curve_public[TRB_KEY_BYTES];
};
struct fx {
  char dir[64];
  struct trb_conf conf;
  struct writer w;
  struct queue *out;
  struct fx_site site[2]; /* north, south */
  struct trb_error err;
};

#define fx_ok(fx, expression)                                                    \
  do {                                                                           \
    if ((expression) != TRB_OK) fail_msg("%s: %s", #expression, (fx)->err.text); \
  } while (0)

static inline void fx_open(struct fx *fx) {
  fx_ok(fx, writer_open(fx->dir, &fx->conf, true, &fx->w, &fx->err));
  fx_ok(fx, queue_new(SIZE_MAX, SIZE_MAX, &fx->out, &fx->err));
  fx->w.out = fx->out;
}
static inline void fx_close(struct fx *fx) {
  writer_close(&fx->w);
  for (struct hub_job *job; (job = queue_pop(fx->out, 0)) != NULL;) job_free(&job);
  queue_free(&fx->out);
}
/* As after kill -9: what was committed is there, the rest never was. */
static inline void fx_reopen(struct fx *fx) {
  fx_close(fx);
  fx_open(fx);
}

static inline enum trb_status fx_join(struct fx *fx, struct fx_site *site, const char *name, struct hub_job **ret) {
  uint8_t seed[TRB_KEY_BYTES], secret[TRB_KEY_BYTES];
  TRB_BUF_AUTO text = {0};
  struct trb_token token;
  int64_t now_ms = writer_now_ms();
  struct roster_invite invite = {name, "CN", "021", now_ms + 1000000};
  fx_ok(fx, roster_invite(&fx->w.hq, &fx->w.keys, &invite, now_ms, &text, &fx->err));
  fx_ok(fx, token_decode(trb_buf_slice(&text), &token, &fx->err));
  struct hub_job *job = job_new(JOB_JOIN, 0, NULL);
  memcpy(job->join.invitation, token.invitation, sizeof token.invitation);
  memcpy(job->join.secret, token.secret, sizeof token.secret);
  crypto_curve_keypair(site->curve_public, secret);
  crypto_sign_keypair(site->sign_public, seed);
  memcpy(job->join.curve_public, site->curve_public, TRB_KEY_BYTES);
  memcpy(job->join.sign_public, site->sign_public, TRB_KEY_BYTES);
  fx_ok(fx, crypto_signer_new(seed, &site->signer, &fx->err));
  enum trb_status status = roster_join(&fx->w.hq, job, now_ms, &fx->err);
  memcpy(site->incarnation, job->stream.incarnation, TRB_INCARNATION_BYTES);
  snprintf(site->name, sizeof site->name, "%s", name);
  if (status == TRB_OK) fx_ok(fx, store_site_no(&fx->w.store, trb_slice_str(name), &site->no, &fx->err));
  *ret = job;
  return status;
}

static inline int fx_setup(void **state) {
  struct fx *fx = calloc(1, sizeof *fx);
  snprintf(fx->dir, sizeof fx->dir, "/tmp/trb_hub_XXXXXX");
  assert_non_null(mkdtemp(fx->dir));
  struct hub_options options = {.name = "总部", .listen = "tcp://127.0.0.1:1"};
  fx_ok(fx, hub_init(fx->dir, &options, &fx->err));
  fx_ok(fx, conf_load(fx->dir, &fx->conf, &fx->err));
  fx_open(fx);
  static const char *const names[] = {"north", "south"};
  for (int i = 0; i < 2; i++) {
    struct hub_job *job = NULL;
    fx_ok(fx, fx_join(fx, &fx->site[i], names[i], &job));
    job_free(&job);
  }
  *state = fx;
  return 0;
}
static inline int fx_teardown(void **state) {
  struct fx *fx = *state;
  char command[128];
  fx_close(fx);
  for (int i = 0; i < 2; i++) crypto_signer_free(&fx->site[i].signer);
  snprintf(command, sizeof command, "rm -rf '%s'", fx->dir);
  free(fx);
  return system(command) == 0 ? 0 : -1;
}

/* ---- batches by hand ---- */

enum { FX_CHANGES_MAX = 64, FX_CELLS_MAX = 16 };
struct fx_batch { /* zero it, add changes, fx_send */
  struct trb_batch batch;
  struct trb_change changes[FX_CHANGES_MAX];
  struct trb_cell cells[FX_CHANGES_MAX][FX_CELLS_MAX];
  struct trb_mark_time marks[FX_CHANGES_MAX];
  struct trb_digest digests[8];
  int64_t wall_ms; /* of the next change; 0: now */
};

static inline struct trb_change *fx_change(struct fx_batch *b, uint16_t table, enum trb_op op, const char *id) {
  size_t i = b->batch.change_count++;
  assert_true(i < FX_CHANGES_MAX);
  b->changes[i] =
      (struct trb_change){.table = table, .op = op, .mark = (uint32_t)i, .id = trb_slice_str(id), .cells = b->cells[i]};
  b->marks[i].wall_ms = b->wall_ms ? b->wall_ms : writer_now_ms();
  return &b->changes[i];
}
/* Columns in ascending order, please. */
static inline void fx_cell(struct trb_change *c, uint16_t column, struct trb_value value) {
  c->cells[c->cell_count++] = (struct trb_cell){column, c->mark, value};
}
static inline struct trb_change *fx_customer(struct fx_batch *b, const char *id, const char *name) {
  struct trb_change *c = fx_change(b, TRB_T_customer, TRB_OP_PUT, id);
  fx_cell(c, TRB_C_customer_kind, trb_text("person"));
  fx_cell(c, TRB_C_customer_name, trb_text(name));
  return c;
}
static inline struct trb_change *fx_contact(struct fx_batch *b, const char *id, const char *customer,
                                            const char *value) {
  struct trb_change *c = fx_change(b, TRB_T_contact, TRB_OP_PUT, id);
  fx_cell(c, TRB_C_contact_customer_id, trb_text(customer));
  fx_cell(c, TRB_C_contact_kind, trb_text("mobile"));
  fx_cell(c, TRB_C_contact_value, trb_text(value));
  return c;
}

/* Sealed as the site's next batch, verified: what a worker would hand to the writer. Does not move the site on. */
static inline struct hub_job *fx_seal(struct fx *fx, struct fx_site *site, struct fx_batch *b,
                                      uint8_t ret_hash[TRB_HASH_BYTES]) {
  struct trb_batch *batch = &b->batch;
  batch->changes = b->changes;
  batch->marks = b->marks;
  batch->mark_count = batch->change_count;
  for (size_t i = 0; i < batch->mark_count; i++) b->marks[i].number = site->mark + i + 1;
  batch->header.site = trb_slice_str(site->name);
  memcpy(batch->header.incarnation, site->incarnation, TRB_INCARNATION_BYTES);
  memcpy(batch->header.previous, site->previous, TRB_HASH_BYTES);
  batch->header.sequence = site->sequence + 1;
  batch->header.last_mark = site->mark + batch->mark_count;
  batch->header.segment_count = 1;
  batch->header.segments[0] = (struct trb_segment){.first_mark = 1, .at = {.wall_ms = 1}};
  batch->header.digests = b->digests;
  TRB_BUF_AUTO out = {0};
  fx_ok(fx, batch_seal(batch, site->signer, &out, ret_hash, &fx->err));
  struct hub_job *job = job_new(JOB_BATCH, site->no, site->name);
  bool ok = true;
  job->sealed = trb_arena_copy(&job->arena, trb_buf_slice(&out), &ok);
  job->sequence = batch->header.sequence;
  job->sign_key_count = 1;
  memcpy(job->sign_keys[0], site->sign_public, TRB_KEY_BYTES);
  snprintf(job->key_context.region, sizeof job->key_context.region, "CN");
  job->catalogue = catalogue_ref(fx->w.store.catalogue);
  return job;
}

struct fx_answer {
  bool any;
  enum trb_hold hold;
  uint64_t sequence;
  char text[JOB_TEXT_BYTES];
  struct trb_buf ack;
};
/* The last answer to a batch among what waits; its ack is to be freed. */
static inline struct fx_answer fx_answers(struct fx *fx, size_t *ret_count) {
  struct fx_answer answer = {0};
  size_t count = 0;
  for (struct hub_job *job; (job = queue_pop(fx->out, 0)) != NULL; job_free(&job)) {
    if (job->kind != JOB_BATCH) continue;
    count++;
    trb_buf_free(&answer.ack);
    answer = (struct fx_answer){.any = true, .hold = job->hold, .sequence = job->sequence};
    memcpy(answer.text, job->text, sizeof answer.text);
    trb_buf_append_slice(&answer.ack, trb_buf_slice(&job->ack));
  }
  if (ret_count) *ret_count = count;
  return answer;
}

static inline struct fx_answer fx_give(struct fx *fx, struct hub_job *job) {
  worker_verify(job, &fx->w.keys.accepted);
  writer_group(&fx->w, &job, 1);
  return fx_answers(fx, NULL);
}
/* Sends, expects it to be committed (or taken into its pass), moves the site on. */
static inline void fx_send(struct fx *fx, struct fx_site *site, struct fx_batch *b) {
  uint8_t hash[TRB_HASH_BYTES];
  bool last = !(b->batch.header.flags & TRB_BATCH_CONTINUES);
  struct fx_answer answer = fx_give(fx, fx_seal(fx, site, b, hash));
  if (last && (!answer.any || answer.hold)) fail_msg("not committed: hold %d %s", answer.hold, answer.text);
  trb_buf_free(&answer.ack);
  memcpy(site->previous, hash, TRB_HASH_BYTES);
  site->sequence++;
  site->mark += b->batch.change_count;
}

static inline int64_t fx_int(struct fx *fx, const char *sql) {
  int64_t value = -1;
  fx_ok(fx, db_get_int(fx->w.store.db, &fx->err, &value, sql, ""));
  return value;
}
static inline void fx_text(struct fx *fx, const char *sql, const char *expected) {
  TRB_BUF_AUTO out = {0};
  fx_ok(fx, db_get_bytes(fx->w.store.db, &fx->err, &out, sql, ""));
  assert_string_equal(trb_buf_cstr(&out), expected);
}
/* Everything that can be recomputed is as stored: chains, digests, the unified view. */
static inline void fx_verify(struct fx *fx) {
  char path[96];
  struct hub_report report;
  snprintf(path, sizeof path, "%s/hub.db", fx->dir);
  fx_ok(fx, hub_verify(path, &report, &fx->err));
  if (!hub_report_good(&report)) fail_msg("does not verify: %s", report.first);
}

#endif
