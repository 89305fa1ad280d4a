/* worker: see worker.h. */
#include "worker.h"

#include <stddef.h>
#include <stdio.h>
#include <string.h>

#include "search.h"
#include "tributary/digest.h"
#include "tributary/unify.h"

static enum trb_status open_batch(struct hub_job *job) {
  enum trb_status status = trb_fail(&job->error, TRB_PEER, "the site has no key");
  for (size_t i = 0; i < job->sign_key_count; i++) {
    status = batch_open(job->sealed, job->sign_keys[i], &job->arena, &job->batch, job->hash, &job->error);
    if (status != TRB_PEER) break; /* another key may fit */
  }
  if (status != TRB_OK) return status;
  if (!trb_slice_equal(job->batch.header.site, trb_slice_str(job->site_name)))
    return trb_fail(&job->error, TRB_PEER, "the batch names another site");
  return TRB_OK;
}

/* The acknowledgement the branch sent along: believed only when we signed it for exactly these bytes. */
static void open_ack(struct hub_job *job, const struct worker_keys *hub) {
  if (!job->sent_ack.len) return;
  const struct trb_batch_header *header = &job->batch.header;
  for (size_t i = 0; i < hub->count; i++) {
    struct trb_ack ack;
    if (ack_open(job->sent_ack, hub->sign_public[i], &job->arena, &ack, NULL) != TRB_OK) continue;
    job->has_acceptance = trb_slice_equal(ack.site, header->site) && ack.sequence == header->sequence &&
                          memcmp(ack.incarnation, header->incarnation, TRB_INCARNATION_BYTES) == 0 &&
                          memcmp(ack.hash, job->hash, TRB_HASH_BYTES) == 0 &&
                          ack.acceptance.segment_count == header->segment_count;
    if (job->has_acceptance) job->acceptance = ack.acceptance;
    return;
  }
}

static const struct trb_value *cell_value(const struct trb_change *change, uint16_t column) {
  for (size_t i = 0; i < change->cell_count; i++)
    if (change->cells[i].column == column) return &change->cells[i].value;
  return NULL;
}

/* Keys of the column that identifies, when the change names it and says what kind it is. */
static enum trb_status normalise(struct hub_job *job, size_t index) {
  const struct trb_change *change = &job->batch.changes[index];
  uint16_t value_column, kind_column;
  enum trb_kind kind;
  if (change->op != TRB_OP_PUT || !unify_key_columns(change->table, &value_column, &kind_column, &kind)) return TRB_OK;
  const struct trb_value *value = cell_value(change, value_column);
  const struct trb_value *kind_value = kind_column ? cell_value(change, kind_column) : NULL;
  if (!value || value->type != TRB_TEXT || (kind_column && (!kind_value || kind_value->type != TRB_TEXT)))
    return TRB_OK;
  struct trb_slice name = kind_value ? kind_value->s : trb_slice_of(NULL, 0);
  struct trb_keys keys;
  key_normalise(kind_value ? kind_of(name) : kind, name, value->s, &job->key_context, &keys);
  size_t bytes = offsetof(struct trb_keys, key) + keys.count * sizeof keys.key[0];
  struct trb_keys *copy = trb_arena_alloc(&job->arena, bytes);
  if (!copy) return trb_fail(&job->error, TRB_NOMEM, "out of memory");
  memcpy(copy, &keys, bytes);
  job->made[index].keys = copy;
  return TRB_OK;
}

static enum trb_status cut_grams(struct hub_job *job, size_t index) {
  const struct trb_change *change = &job->batch.changes[index];
  if (change->op != TRB_OP_PUT || change->table != TRB_T_customer) return TRB_OK;
  struct trb_slice texts[SEARCH_NAMES + 1] = {{0}};
  for (size_t i = 0; i <= SEARCH_NAMES; i++) {
    const struct trb_value *value = cell_value(change, search_columns[i]);
    if (value && value->type == TRB_TEXT) texts[i] = value->s;
  }
  struct search_grams grams;
  search_grams_of_card(texts, &grams);
  size_t bytes = offsetof(struct search_grams, gram) + grams.count * sizeof grams.gram[0];
  struct search_grams *copy = trb_arena_alloc(&job->arena, bytes);
  if (!copy) return trb_fail(&job->error, TRB_NOMEM, "out of memory");
  memcpy(copy, &grams, bytes);
  job->made[index].grams = copy;
  return TRB_OK;
}

static uint64_t sum_digest(const struct trb_change *change) {
  if (change->op != TRB_OP_PUT) return 0;
  uint64_t sum = digest_cell(change->table, change->id, 0, trb_null());
  for (size_t i = 0; i < change->cell_count; i++)
    sum += digest_cell(change->table, change->id, change->cells[i].column, change->cells[i].value);
  return sum;
}

void worker_canonical(const struct trb_catalogue *catalogue, struct trb_change *change) {
  const struct trb_table *table = catalogue_table(catalogue, change->table);
  for (size_t i = 0; table && i < change->cell_count; i++) {
    struct trb_value *value = &change->cells[i].value;
    const struct trb_column *column = value->type == TRB_INT ? table_column(table, change->cells[i].column) : NULL;
    if (column && column->type == TRB_COL_REAL) *value = trb_real((double)value->i);
  }
}

static enum trb_status check_changes(struct hub_job *job) {
  size_t count = job->batch.change_count, texts = 0;
  job->refusals = trb_arena_alloc(&job->arena, count * sizeof *job->refusals);
  job->reasons = trb_arena_alloc(&job->arena, count * sizeof *job->reasons);
  job->made = trb_arena_alloc(&job->arena, count * sizeof *job->made);
  if (!job->refusals || !job->reasons || !job->made) return trb_fail(&job->error, TRB_NOMEM, "out of memory");
  for (size_t i = 0; i < count; i++) {
    struct trb_error why = {0};
    worker_canonical(job->catalogue, &job->batch.changes[i]);
    enum trb_refusal refusal = change_check(job->catalogue, &job->batch.changes[i], job->site == TRB_HQ_SITE_NO, &why);
    job->refusals[i] = (uint8_t)refusal;
    if (refusal == TRB_REFUSED_NONE) {
      enum trb_status status = normalise(job, i);
      if (status == TRB_OK) status = cut_grams(job, i);
      job->made[i].digest = sum_digest(&job->batch.changes[i]);
      if (status != TRB_OK) return status;
    } else if (why.text[0] && texts++ < WORKER_REASONS_MAX) {
      job->reasons[i] = trb_arena_str(&job->arena, trb_slice_str(why.text));
    }
  }
  return TRB_OK;
}

void worker_verify(struct hub_job *job, const struct worker_keys *hub) {
  job->status = open_batch(job);
  if (job->status != TRB_OK) return;
  job->sequence = job->batch.header.sequence;
  open_ack(job, hub);
  job->status = check_changes(job);
}
