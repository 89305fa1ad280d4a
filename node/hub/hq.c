/* hq: see hq.h. */
#include "hq.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "roster.h"
#include "setaside.h"
#include "stream.h"
#include "worker.h"

/* ---- lists of changes ---- */

enum { CELLS_FIRST = 64 };

void hq_change(struct hq_changes *list, uint16_t table, enum trb_op op, struct trb_slice id) {
  if (list->count == list->cap) {
    size_t cap = list->cap ? 2 * list->cap : 16;
    struct trb_change *changes = realloc(list->changes, cap * sizeof *changes);
    if (!changes) {
      list->failed = true;
      return;
    }
    list->changes = changes;
    list->cap = cap;
  }
  bool ok = true;
  struct trb_change change = {.table = table, .op = op, .id = trb_arena_copy(&list->arena, id, &ok)};
  list->changes[list->count++] = change;
  if (!ok) list->failed = true;
}

void hq_cell(struct hq_changes *list, uint16_t column, struct trb_value value) {
  if (list->failed) return;
  struct trb_change *change = &list->changes[list->count - 1];
  size_t count = change->cell_count;
  if (count == 0 || (count >= CELLS_FIRST && (count & (count - 1)) == 0)) { /* room doubles */
    size_t cap = count ? 2 * count : CELLS_FIRST;
    struct trb_cell *cells = trb_arena_alloc(&list->arena, cap * sizeof *cells);
    if (!cells) {
      list->failed = true;
      return;
    }
    if (count) memcpy(cells, change->cells, count * sizeof *cells);
    change->cells = cells;
  }
  bool ok = true;
  if (value.type == TRB_TEXT || value.type == TRB_BLOB) value.s = trb_arena_copy(&list->arena, value.s, &ok);
  size_t at = count;
  while (at > 0 && change->cells[at - 1].column > column) at--;
  memmove(change->cells + at + 1, change->cells + at, (count - at) * sizeof *change->cells);
  change->cells[at] = (struct trb_cell){.column = column, .value = value};
  change->cell_count++;
  if (!ok) list->failed = true;
}

void hq_changes_free(struct hq_changes *list) {
  trb_arena_free(&list->arena);
  free(list->changes);
  *list = (struct hq_changes){0};
}

/* ---- one batch ---- */

static void own_clock(int64_t now_ms, struct trb_segment *ret) {
  *ret = (struct trb_segment){.measured = true};
  if (clock_read(&ret->at) != TRB_OK) ret->at = (struct trb_clock_reading){.wall_ms = now_ms};
  ret->at.wall_ms = now_ms; /* the hub's time is the time */
  ret->hub_minus_boot_ms = now_ms - ret->at.boot_ms;
}

static enum trb_status batch_arrays(struct hub_job *job, size_t count, struct trb_error *err) {
  job->refusals = trb_arena_alloc(&job->arena, count * sizeof *job->refusals);
  job->reasons = trb_arena_alloc(&job->arena, count * sizeof *job->reasons);
  job->made = trb_arena_alloc(&job->arena, count * sizeof *job->made);
  return job->refusals && job->reasons && job->made ? TRB_OK : trb_fail(err, TRB_NOMEM, "out of memory");
}

static enum trb_status check_all(struct store *s, struct hq_changes *list, size_t first, size_t count,
                                 struct trb_error *err) {
  for (size_t i = first; i < first + count; i++) {
    struct trb_error why = {0};
    worker_canonical(s->catalogue, &list->changes[i]);
    enum trb_refusal refusal = change_check(s->catalogue, &list->changes[i], true, &why);
    if (refusal != TRB_REFUSED_NONE)
      return trb_fail(err, TRB_PEER, "row %zu: %s", i + 1, why.text[0] ? why.text : refusal_text(refusal));
  }
  return TRB_OK;
}

/* Seals changes [first, first + count) as the next batch of the stream into *job. */
static enum trb_status seal(struct hq *hq, struct hq_changes *list, size_t first, size_t count, int64_t now_ms,
                            struct hub_job *job, struct trb_buf *out, struct trb_error *err) {
  struct stream *stream;
  enum trb_status status = store_stream(hq->store, TRB_HQ_SITE_NO, &stream, err);
  if (status == TRB_OK) status = batch_arrays(job, count, err);
  if (status != TRB_OK) return status;
  struct trb_batch *b = &job->batch;
  b->header.site = trb_slice_str(TRB_HQ_SITE);
  memcpy(b->header.incarnation, stream->incarnation, TRB_INCARNATION_BYTES);
  b->header.sequence = job->sequence = stream->sequence + 1;
  memcpy(b->header.previous, stream->hash, TRB_HASH_BYTES);
  b->header.flags = TRB_BATCH_ZSTD;
  b->header.sealed_ms = now_ms;
  b->header.segment_count = 1;
  own_clock(now_ms, &b->header.segments[0]);
  b->header.segments[0].first_mark = stream->sequence + 1; /* one mark a batch: its number is the batch's */
  b->header.last_mark = stream->sequence + 1;
  b->mark_count = 1;
  b->marks = trb_arena_alloc(&job->arena, sizeof *b->marks);
  if (!b->marks) return trb_fail(err, TRB_NOMEM, "out of memory");
  b->marks[0] = (struct trb_mark_time){stream->sequence + 1, now_ms};
  b->changes = list->changes + first;
  b->change_count = count;
  job->catalogue = catalogue_ref(hq->store->catalogue);
  return batch_seal(b, hq->signer, out, job->hash, err);
}

/* Definitions that came with the batch, and what waited for them. */
static enum trb_status after_apply(struct store *s, int64_t now_ms, struct trb_error *err) {
  if (!s->definitions) return TRB_OK;
  struct setaside_outcome outcome;
  enum trb_status status = store_refresh_catalogue(s, err);
  return status == TRB_OK ? setaside_retry_tables(s, now_ms, &outcome, err) : status;
}

static enum trb_status accept(struct hq *hq, struct hub_job *job, int64_t now_ms, struct trb_error *err) {
  enum trb_status status = stream_accept(hq->store, hq->signer, &job, 1, now_ms, err);
  if (status == TRB_OK) status = roster_applied(hq->store, &job->batch, err);
  return status == TRB_OK ? after_apply(hq->store, now_ms, err) : status;
}

/* The first refused change: nothing of headquarters' own is ever set aside. */
static enum trb_status refuse_set_aside(struct store *s, int64_t before, struct trb_error *err) {
  if (s->set_aside_count == before) return TRB_OK;
  s->set_aside_count = before;
  TRB_BUF_AUTO text = {0};
  db_get_bytes(s->db, NULL, &text,
               "SELECT reason_text FROM set_aside WHERE site=1 AND row_id<>'' ORDER BY no DESC LIMIT 1", "");
  return trb_fail(err, TRB_PEER, "a row does not fit: %.200s", trb_buf_cstr(&text));
}

static enum trb_status write_batch(struct hq *hq, struct hq_changes *list, size_t first, size_t count, int64_t now_ms,
                                   struct trb_error *err) {
  struct hub_job *job = job_new(JOB_BATCH, TRB_HQ_SITE_NO, TRB_HQ_SITE);
  TRB_BUF_AUTO sealed = {0};
  if (!job) return trb_fail(err, TRB_NOMEM, "out of memory");
  int64_t set_aside = hq->store->set_aside_count;
  enum trb_status status = seal(hq, list, first, count, now_ms, job, &sealed, err);
  if (status == TRB_OK) status = accept(hq, job, now_ms, err);
  if (status == TRB_OK) status = refuse_set_aside(hq->store, set_aside, err);
  if (status == TRB_OK) {
    struct journal_record record = {JOURNAL_BATCH, trb_buf_slice(&sealed), trb_buf_slice(&job->ack), 0};
    status = journal_append(hq->journal, &record, err);
  }
  job_free(&job);
  return status;
}

static enum trb_status catch_up(struct hq *hq, struct trb_error *err);

enum trb_status hq_write(struct hq *hq, struct hq_changes *list, int64_t now_ms, struct unify_sites *ret_dirty,
                         struct trb_error *err) {
  *ret_dirty = (struct unify_sites){0};
  if (list->failed) return trb_fail(err, TRB_NOMEM, "out of memory");
  if (list->count == 0) return TRB_OK;
  enum trb_status status = catch_up(hq, err);
  if (status == TRB_OK) status = check_all(hq->store, list, 0, list->count, err);
  if (status == TRB_OK) status = store_begin(hq->store, err);
  if (status != TRB_OK) return status;
  uint64_t journaled = journal_bytes(hq->journal);
  /* Slices small enough for any batch: rows of headquarters are at most 256 KiB, most are tiny. */
  for (size_t first = 0; status == TRB_OK && first < list->count;) {
    size_t count = 0, bytes = 0;
    while (first + count < list->count && count < TRB_BATCH_CHANGES_MAX) {
      bytes += change_size(&list->changes[first + count]);
      if (count && bytes > TRB_BATCH_RAW_MAX / 2) break;
      count++;
    }
    status = write_batch(hq, list, first, count, now_ms, err);
    first += count;
  }
  if (status != TRB_OK) {
    store_rollback(hq->store);
    if (journal_bytes(hq->journal) != journaled && status == TRB_PEER)
      return catch_up(hq, NULL) == TRB_OK ? status : TRB_STORE; /* its first part stands */
    return status;
  }
  struct trb_error why = {0};
  status = store_commit(hq->store, ret_dirty, &why);
  if (status == TRB_OK) {
    hq->journal_end = journal_bytes(hq->journal);
    return TRB_OK;
  }
  return trb_fail(err, status, "written to the journal, and applied as soon as hub.db can be written: %.300s",
                  why.text);
}

enum trb_status hq_set(struct hq *hq, const char *name, const char *value, int64_t now_ms, struct trb_error *err) {
  HQ_CHANGES_AUTO list = {0};
  struct unify_sites dirty;
  hq_change(&list, TRB_T_setting, TRB_OP_PUT, trb_slice_str(name));
  hq_cell(&list, TRB_C_setting_name, trb_text(name));
  hq_cell(&list, TRB_C_setting_value, trb_text(value));
  hq_cell(&list, TRB_C_setting_updated_at, trb_int(now_ms));
  return hq_write(hq, &list, now_ms, &dirty, err);
}

/* ---- replay ---- */

struct replay {
  struct hq *hq;
  int64_t starts; /* of the last START record */
  bool any, gap;  /* gap: the journal lacks batches between hub.db's end and its own first */
  uint64_t last;  /* sequence of its last batch */
  int64_t applied;
};

static enum trb_status replay_batch(struct replay *r, const struct journal_record *record, struct trb_error *err) {
  struct store *s = r->hq->store;
  struct hub_job *job = job_new(JOB_BATCH, TRB_HQ_SITE_NO, TRB_HQ_SITE);
  if (!job) return trb_fail(err, TRB_NOMEM, "out of memory");
  const struct worker_keys *keys = &r->hq->keys;
  struct unify_sites dirty;
  memcpy(job->sign_keys, keys->sign_public, sizeof job->sign_keys);
  job->sign_key_count = keys->count;
  job->catalogue = catalogue_ref(s->catalogue);
  bool ok = true;
  job->sealed = trb_arena_copy(&job->arena, record->sealed, &ok);
  job->sent_ack = trb_arena_copy(&job->arena, record->ack, &ok);
  enum trb_status status = ok ? TRB_OK : trb_fail(err, TRB_NOMEM, "out of memory");
  if (status == TRB_OK) {
    worker_verify(job, keys);
    status = job->status;
    if (status != TRB_OK && err) *err = job->error;
    if (status == TRB_PEER)
      status = trb_fail(err, TRB_STORE, "the journal holds a damaged batch: %.300s", job->error.text);
  }
  int64_t now_ms = job->batch.header.sealed_ms;
  if (status == TRB_OK) status = store_begin(s, err);
  if (status == TRB_OK) status = accept(r->hq, job, now_ms, err);
  if (status == TRB_OK)
    status = store_commit(s, &dirty, err);
  else
    store_rollback(s);
  if (status == TRB_OK) r->applied++;
  job_free(&job);
  return status;
}

static enum trb_status replay_record(void *context, const struct journal_record *record, struct trb_error *err) {
  struct replay *r = context;
  if (record->type == JOURNAL_START) {
    r->starts = (int64_t)record->starts;
    return TRB_OK;
  }
  TRB_ARENA_AUTO arena = {0};
  struct trb_batch_header header;
  uint8_t hash[TRB_HASH_BYTES];
  enum trb_status status = batch_peek(record->sealed, &arena, &header, hash, err);
  if (status != TRB_OK) return status == TRB_PEER ? TRB_STORE : status;
  struct stream *stream;
  status = store_stream(r->hq->store, TRB_HQ_SITE_NO, &stream, err);
  if (status != TRB_OK) return status;
  if (memcmp(header.incarnation, stream->incarnation, TRB_INCARNATION_BYTES) != 0)
    return trb_fail(err, TRB_STORE, "the journal belongs to another hub.db");
  r->any = true;
  r->last = header.sequence;
  if (header.sequence <= stream->sequence) return TRB_OK;
  if (header.sequence != stream->sequence + 1) {
    r->gap = true;
    return TRB_OK;
  }
  return replay_batch(r, record, err);
}

static enum trb_status catch_up(struct hq *hq, struct trb_error *err) {
  struct stream *stream;
  enum trb_status status = store_stream(hq->store, TRB_HQ_SITE_NO, &stream, err);
  if (status != TRB_OK || hq->journal_end == journal_bytes(hq->journal)) return status;
  struct replay r = {.hq = hq};
  status = journal_each(hq->journal, replay_record, &r, err);
  if (status == TRB_OK) hq->journal_end = journal_bytes(hq->journal);
  return status;
}

/* ---- start ---- */

static enum trb_status new_epoch(struct hq *hq, int64_t now_ms, struct trb_error *err) {
  uint8_t epoch[16];
  char text[33];
  crypto_random(epoch, sizeof epoch);
  trb_hex(epoch, sizeof epoch, text);
  enum trb_status status = hq_set(hq, "epoch", text, now_ms, err);
  if (status == TRB_OK) memcpy(hq->store->epoch, epoch, sizeof epoch);
  return status;
}

static enum trb_status forget_copy(struct hq *hq, struct trb_error *err) {
  return db_run(hq->store->db, err, "DELETE FROM hub_state WHERE name='copy_of'", "");
}

/* A daemon's start is counted in hub.db and in the journal: if they disagree, one of the files is an older copy. */
static enum trb_status count_start(struct hq *hq, int64_t starts, struct trb_error *err) {
  struct journal_record record = {.type = JOURNAL_START, .starts = (uint64_t)starts};
  enum trb_status status = journal_append(hq->journal, &record, err);
  if (status == TRB_OK) status = store_set_state(hq->store, "starts", trb_int(starts), err);
  hq->journal_end = journal_bytes(hq->journal);
  return status;
}

static enum trb_status notice_restore(struct hq *hq, const struct replay *r, bool start, struct trb_error *err) {
  struct store *s = hq->store;
  int64_t starts = 0, copy = 0, held = 0;
  enum trb_status status = store_state_int(s, "starts", &starts, err);
  if (status == TRB_OK) status = store_state_int(s, "copy_of", &copy, err);
  if (status == TRB_OK) status = store_state_int(s, "hold", &held, err);
  struct stream *stream;
  if (status == TRB_OK) status = store_stream(s, TRB_HQ_SITE_NO, &stream, err);
  if (status != TRB_OK) return status;
  bool journal_lost = starts > 0 && (!r->any || r->last < stream->sequence || r->gap);
  bool older = starts > 0 && r->starts > starts;
  hq->restored = copy || older || r->applied > 0;
  /* Lost: this is an older hub.db and the journal does not say what headquarters wrote since. */
  bool lost = (copy || older) && journal_lost;
  hq->held = held || lost;
  if (r->gap) status = journal_retire(hq->journal, err); /* its numbers would clash with the ones to come */
  if (status == TRB_OK && lost && !held) status = store_set_state(s, "hold", trb_int(1), err);
  if (status == TRB_OK && copy) status = forget_copy(hq, err);
  int64_t next = (starts > r->starts ? starts : r->starts) + 1;
  if (status == TRB_OK && start) status = count_start(hq, next, err);
  struct trb_clock_reading now;
  if (status == TRB_OK && hq->restored) {
    status = clock_read(&now);
    if (status == TRB_OK) status = new_epoch(hq, now.wall_ms, err);
  }
  return status;
}

enum trb_status hq_open(struct store *store, const char *journal_path, const struct crypto_signer *signer, bool start,
                        const struct worker_keys *keys, struct hq *ret, struct trb_error *err) {
  struct hq hq = {.store = store, .signer = signer, .keys = *keys};
  struct replay r = {.hq = &hq};
  enum trb_status status = journal_open(journal_path, &hq.journal, &hq.journal_new, err);
  if (status == TRB_OK) status = journal_each(hq.journal, replay_record, &r, err);
  if (status == TRB_OK) hq.journal_end = journal_bytes(hq.journal);
  hq.replayed = r.applied;
  struct stream *stream;
  enum trb_status known = status == TRB_OK ? store_stream(store, TRB_HQ_SITE_NO, &stream, err) : status;
  if (known == TRB_OK) status = notice_restore(&hq, &r, start, err);
  if (status != TRB_OK) {
    hq_close(&hq);
    return status;
  }
  *ret = hq;
  return TRB_OK;
}

void hq_close(struct hq *hq) {
  journal_close(&hq->journal);
  *hq = (struct hq){0};
}

enum trb_status hq_go(struct hq *hq, struct trb_error *err) {
  if (!hq->held) return trb_fail(err, TRB_ABSENT, "nothing is held");
  enum trb_status status = db_run(hq->store->db, err, "DELETE FROM hub_state WHERE name='hold'", "");
  if (status == TRB_OK) hq->held = false;
  return status;
}
