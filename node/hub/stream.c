/* stream: see stream.h. */
#include "stream.h"

#include <stdio.h>
#include <string.h>

#include "apply.h"
#include "setaside.h"

static void hold(struct hub_job *job, enum trb_hold code, uint64_t sequence, const char *text) {
  job->hold = code;
  job->sequence = sequence;
  snprintf(job->text, sizeof job->text, "%s", text);
}

/* ---- place ---- */

static enum trb_status keep_fork(struct store *s, struct hub_job *job, int64_t now_ms, struct trb_error *err) {
  int64_t kept = 0;
  s->fork_count++;
  enum trb_status status = db_get_int(s->db, err, &kept, "SELECT count(*) FROM fork WHERE site=?1", "i", job->site);
  if (status != TRB_OK || kept >= STREAM_FORKS_MAX) return status;
  return db_run(s->db, err,
                "INSERT OR IGNORE INTO fork(site,incarnation,sequence,hash,bytes,at) VALUES(?1,?2,?3,?4,?5,?6)",
                "ibibbi", job->site, trb_slice_of(job->batch.header.incarnation, TRB_INCARNATION_BYTES),
                (int64_t)job->batch.header.sequence, trb_slice_of(job->hash, TRB_HASH_BYTES), job->sealed, now_ms);
}

static enum trb_status forked(struct store *s, struct hub_job *job, int64_t now_ms, struct trb_error *err) {
  hold(job, TRB_HOLD_FORK, job->batch.header.sequence,
       "this batch does not follow what headquarters holds of the stream: another machine or a restored copy wrote "
       "under the same name; it is set aside, ask headquarters");
  return keep_fork(s, job, now_ms, err);
}

static enum trb_status repeated(struct store *s, struct stream *stream, struct hub_job *job, int64_t now_ms,
                                enum stream_place *ret, struct trb_error *err) {
  TRB_STMT_AUTO *stmt = NULL;
  bool row = false;
  enum trb_status status =
      db_queryf(s->db, err, &stmt, "SELECT hash, ack FROM batch_hash WHERE stream=?1 AND sequence=?2", "ii", stream->no,
                (int64_t)job->batch.header.sequence);
  if (status == TRB_OK) status = stmt_step(stmt, &row, err);
  if (status != TRB_OK) return status;
  if (!row)
    return trb_fail(err, TRB_STORE, "hub.db: the hash of batch %llu of %s is missing",
                    (unsigned long long)job->batch.header.sequence, job->site_name);
  if (trb_slice_equal(stmt_slice(stmt, 0), trb_slice_of(job->hash, TRB_HASH_BYTES))) {
    trb_buf_append_slice(&job->ack, stmt_slice(stmt, 1));
    *ret = STREAM_REPEATED;
    return TRB_OK;
  }
  *ret = STREAM_HELD;
  return forked(s, job, now_ms, err);
}

enum trb_status stream_place(struct store *s, struct hub_job *job, const struct hub_job *before, int64_t now_ms,
                             enum stream_place *ret, struct trb_error *err) {
  const struct trb_batch_header *header = &job->batch.header;
  struct stream *stream;
  *ret = STREAM_HELD;
  enum trb_status status = store_stream(s, job->site, &stream, err);
  if (status != TRB_OK && status != TRB_ABSENT) return status;
  if (status == TRB_ABSENT || memcmp(stream->incarnation, header->incarnation, TRB_INCARNATION_BYTES) != 0) {
    hold(job, TRB_HOLD_INCARNATION, header->sequence, "this is not the site's current stream: ask for a new one");
    return TRB_OK;
  }
  uint64_t last = before ? before->batch.header.sequence : stream->sequence;
  const uint8_t *last_hash = before ? before->hash : stream->hash;
  if (header->sequence <= stream->sequence) return repeated(s, stream, job, now_ms, ret, err);
  if (header->sequence != last + 1) {
    hold(job, TRB_HOLD_GAP, stream->sequence + 1, "a batch is missing before this one");
    return TRB_OK;
  }
  if (memcmp(header->previous, last_hash, TRB_HASH_BYTES) != 0) return forked(s, job, now_ms, err);
  *ret = STREAM_NEXT;
  return TRB_OK;
}

enum trb_status stream_bad(struct store *s, struct hub_job *job, int64_t now_ms, struct trb_error *err) {
  char reason[JOB_TEXT_BYTES];
  snprintf(reason, sizeof reason, "the batch is damaged: %.300s", job->error.text);
  hold(job, TRB_HOLD_BAD_BATCH, job->sequence, reason);
  return db_run(s->db, err,
                "INSERT INTO bad_batch(site,count,sequence,reason,at) VALUES(?1,1,?2,?3,?4) ON CONFLICT DO UPDATE SET "
                "count=count+1, sequence=excluded.sequence, reason=excluded.reason, at=excluded.at",
                "iiti", job->site, (int64_t)job->sequence, job->error.text, now_ms);
}

/* ---- the hold on mass deletes ---- */

struct delete_count {
  uint16_t table;
  int64_t count, limit;
};
enum { TABLES_MAX = 256 }; /* tables with deletes in one pass; more are never held */

static struct delete_count *count_of(struct delete_count *counts, size_t *used, uint16_t table) {
  for (size_t i = 0; i < *used; i++)
    if (counts[i].table == table) return &counts[i];
  if (*used == TABLES_MAX) return NULL;
  counts[*used] = (struct delete_count){.table = table};
  return &counts[(*used)++];
}

static enum trb_status delete_limits(struct store *s, int64_t site, struct delete_count *counts, size_t used,
                                     struct trb_error *err) {
  int64_t least = store_setting_int(s->db, "mass_delete_min", STREAM_MASS_DELETE_MIN);
  for (size_t i = 0; i < used; i++) {
    struct digest_entry *entry;
    enum trb_status status = digests_get(s->digests, site, counts[i].table, &entry, err);
    if (status != TRB_OK) return status;
    counts[i].limit = entry->rows * STREAM_MASS_DELETE_PER_CENT / 100;
    if (counts[i].limit < least) counts[i].limit = least;
  }
  return TRB_OK;
}

static enum trb_status hold_mass_deletes(struct store *s, struct hub_job *const *jobs, size_t count,
                                         struct trb_error *err) {
  struct delete_count counts[TABLES_MAX];
  size_t used = 0;
  for (size_t i = 0; i < count; i++)
    for (size_t j = 0; j < jobs[i]->batch.change_count; j++) {
      const struct trb_change *change = &jobs[i]->batch.changes[j];
      if (change->op != TRB_OP_DELETE) continue;
      struct delete_count *c = count_of(counts, &used, change->table);
      if (c) c->count++;
    }
  if (!used) return TRB_OK;
  enum trb_status status = delete_limits(s, jobs[0]->site, counts, used, err);
  for (size_t i = 0; status == TRB_OK && i < count; i++)
    for (size_t j = 0; j < jobs[i]->batch.change_count; j++) {
      const struct trb_change *change = &jobs[i]->batch.changes[j];
      if (change->op != TRB_OP_DELETE || jobs[i]->refusals[j] != TRB_REFUSED_NONE) continue;
      struct delete_count *c = count_of(counts, &used, change->table);
      if (c && c->count > c->limit) jobs[i]->refusals[j] = TRB_REFUSED_MASS_DELETE;
    }
  return status;
}

/* ---- acceptance ---- */

/* A catalogue that changed between worker and writer: the checks are made again. */
static void recheck(struct store *s, struct hub_job *job) {
  if (job->catalogue == s->catalogue) return;
  bool hq = job->site == TRB_HQ_SITE_NO;
  for (size_t i = 0; i < job->batch.change_count; i++) {
    struct trb_error why = {0};
    job->refusals[i] = (uint8_t)change_check(s->catalogue, &job->batch.changes[i], hq, &why);
    job->reasons[i] = why.text[0] ? trb_arena_str(&job->arena, trb_slice_str(why.text)) : NULL;
  }
}

static void fix_times(struct store *s, const struct stream *stream, struct hub_job *job, int64_t now_ms) {
  struct trb_acceptance *a = &job->acceptance;
  if (job->has_acceptance) { /* fixed before this hub was restored */
    if (a->commit > s->last_commit) s->last_commit = a->commit;
    return;
  }
  const struct trb_batch_header *header = &job->batch.header;
  clock_correct(header->segments, header->segment_count, job->clock_known ? &job->clock : NULL, job->clock_hub_ms, a);
  a->commit = clock_tick(&s->last_commit, now_ms);
  a->limit = a->commit; /* receipt, by a clock that never goes back: else a later change could lose to an earlier one */
  /* A baseline's rows are in the order of their ids and carry times that were fixed before: none may push another. */
  a->base = header->flags & TRB_BATCH_BASELINE ? 0 : stream->base;
}

static enum trb_status compare_digests(struct store *s, struct hub_job *job, int64_t now_ms, struct trb_error *err) {
  job->digests = job->batch.header.digest_count;
  job->digest_differences = 0;
  for (size_t i = 0; i < job->digests; i++) {
    const struct trb_digest *theirs = &job->batch.header.digests[i];
    struct digest_entry *ours;
    enum trb_status status = digests_get(s->digests, job->site, theirs->table, &ours, err);
    if (status != TRB_OK) return status;
    bool differs = (uint64_t)ours->rows != theirs->rows || ours->sum != theirs->sum;
    job->digest_differences += differs;
    status = setaside_digest(s, job->site, theirs->table, job->batch.header.sequence, differs, now_ms, err);
    if (status != TRB_OK) return status;
  }
  return TRB_OK;
}

static enum trb_status apply_changes(struct store *s, struct hub_job *job, const trb_hlc *times, int64_t now_ms,
                                     struct trb_error *err) {
  struct apply_context context = {.site = job->site,
                                  .sequence = job->batch.header.sequence,
                                  .accepted = job->acceptance.commit,
                                  .now_ms = now_ms,
                                  .times = times};
  job->set_aside = 0;
  for (size_t i = 0; i < job->batch.change_count; i++) {
    enum trb_refusal refusal = TRB_REFUSED_NONE;
    struct apply_input input = {.change = &job->batch.changes[i],
                                .position = (uint32_t)i,
                                .refusal = (enum trb_refusal)job->refusals[i],
                                .reason = job->reasons[i],
                                .made = job->made[i]};
    enum trb_status status = apply_change(s, &context, &input, &refusal, err);
    if (status != TRB_OK) return status;
    job->set_aside += refusal != TRB_REFUSED_NONE;
  }
  return TRB_OK;
}

static enum trb_status remember(struct store *s, const struct crypto_signer *signer, struct stream *stream,
                                struct hub_job *job, int64_t now_ms, struct trb_error *err) {
  const struct trb_batch_header *header = &job->batch.header;
  struct trb_ack ack = {.site = header->site, .sequence = header->sequence, .acceptance = job->acceptance};
  memcpy(ack.incarnation, header->incarnation, TRB_INCARNATION_BYTES);
  memcpy(ack.hash, job->hash, TRB_HASH_BYTES);
  trb_buf_clear(&job->ack);
  ack_seal(&ack, signer, &job->ack);
  if (job->ack.failed) return trb_fail(err, TRB_NOMEM, "out of memory");
  stream->sequence = header->sequence;
  memcpy(stream->hash, job->hash, TRB_HASH_BYTES);
  stream->heard_ms = now_ms;
  stream->changes += (int64_t)job->batch.change_count;
  stream->dirty = true;
  return db_run(s->db, err, "INSERT INTO batch_hash(stream,sequence,hash,ack) VALUES(?1,?2,?3,?4)", "iibb", stream->no,
                (int64_t)header->sequence, trb_slice_of(job->hash, TRB_HASH_BYTES), trb_buf_slice(&job->ack));
}

static enum trb_status accept_one(struct store *s, const struct crypto_signer *signer, struct hub_job *job,
                                  int64_t now_ms, struct trb_error *err) {
  struct stream *stream;
  enum trb_status status = store_stream(s, job->site, &stream, err);
  if (status != TRB_OK) return status;
  const struct trb_batch *batch = &job->batch;
  fix_times(s, stream, job, now_ms);
  trb_hlc *times = trb_arena_alloc(&job->arena, batch->mark_count * sizeof *times);
  if (!times) return trb_fail(err, TRB_NOMEM, "out of memory");
  clock_effective(batch->marks, batch->mark_count, batch->header.segments, &job->acceptance, times);
  if (batch->mark_count && times[batch->mark_count - 1] > stream->base) stream->base = times[batch->mark_count - 1];
  status = apply_changes(s, job, times, now_ms, err);
  if (status == TRB_OK) status = compare_digests(s, job, now_ms, err);
  return status == TRB_OK ? remember(s, signer, stream, job, now_ms, err) : status;
}

enum trb_status stream_accept(struct store *s, const struct crypto_signer *signer, struct hub_job *const *jobs,
                              size_t count, int64_t now_ms, struct trb_error *err) {
  for (size_t i = 0; i < count; i++) recheck(s, jobs[i]);
  enum trb_status status = TRB_OK;
  if (jobs[0]->site != TRB_HQ_SITE_NO) status = hold_mass_deletes(s, jobs, count, err);
  for (size_t i = 0; status == TRB_OK && i < count; i++) status = accept_one(s, signer, jobs[i], now_ms, err);
  return status;
}
