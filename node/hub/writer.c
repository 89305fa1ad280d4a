/* writer: see writer.h. */
#include "writer.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "history.h"
#include "roster.h"
#include "stream.h"

int64_t writer_now_ms(void) {
  struct timespec t;
  clock_gettime(CLOCK_REALTIME, &t);
  return (int64_t)t.tv_sec * 1000 + t.tv_nsec / 1000000;
}

static int64_t monotonic_us(void) {
  struct timespec t;
  clock_gettime(CLOCK_MONOTONIC, &t);
  return (int64_t)t.tv_sec * 1000000 + t.tv_nsec / 1000;
}

/* ---- open, close ---- */

enum trb_status writer_open(const char *dir, const struct trb_conf *conf, bool start, struct writer *ret,
                            struct trb_error *err) {
  char path[4096], journal[4096];
  struct writer *w = ret;
  *w = (struct writer){.dir = dir, .conf = *conf};
  snprintf(path, sizeof path, "%s/hub.db", dir);
  snprintf(journal, sizeof journal, "%s%s", conf->journal[0] ? conf->journal : dir, conf->journal[0] ? "" : "/journal");
  enum trb_status status = hubkeys_load(dir, conf, &w->keys, err);
  if (status == TRB_OK) status = store_open(path, false, true, &w->store, err);
  if (status == TRB_OK) status = hq_open(&w->store, journal, w->keys.sign, start, &w->keys.accepted, &w->hq, err);
  if (status != TRB_OK) writer_close(w);
  return status;
}

static void drop_pass(struct writer *w, int64_t site) {
  if (site < 0 || (size_t)site >= w->pass_cap) return;
  struct pass *pass = &w->passes[site];
  for (size_t i = 0; i < pass->count; i++) job_free(&pass->jobs[i]);
  w->held_bytes -= pass->bytes;
  pass->count = pass->bytes = pass->raw_bytes = 0;
}

void writer_close(struct writer *w) {
  backup_abort(w);
  for (size_t i = 0; i < w->pass_cap; i++) {
    drop_pass(w, (int64_t)i);
    free(w->passes[i].jobs);
  }
  free(w->passes);
  w->passes = NULL;
  w->pass_cap = 0;
  hq_close(&w->hq);
  store_close(&w->store);
  hubkeys_free(&w->keys);
}

void writer_answer(struct writer *w, struct hub_job *job) {
  if (!w->out || !queue_push(w->out, job, 0)) job_free(&job); /* out has no limit: this never waits */
}

/* ---- passes ---- */

static struct pass *pass_of(struct writer *w, int64_t site) {
  if (site <= 0 || site > STORE_SITES_MAX) return NULL;
  if ((size_t)site >= w->pass_cap) {
    size_t cap = w->pass_cap ? w->pass_cap : 64;
    while (cap <= (size_t)site) cap *= 2;
    struct pass *passes = realloc(w->passes, cap * sizeof *passes);
    if (!passes) return NULL;
    memset(passes + w->pass_cap, 0, (cap - w->pass_cap) * sizeof *passes);
    w->passes = passes;
    w->pass_cap = cap;
  }
  return &w->passes[site];
}

static bool pass_add(struct writer *w, struct pass *pass, struct hub_job *job) {
  if (pass->count == pass->cap) {
    size_t cap = pass->cap ? 2 * pass->cap : 8;
    struct hub_job **jobs = realloc(pass->jobs, cap * sizeof(struct hub_job *));
    if (!jobs) return false;
    pass->jobs = jobs;
    pass->cap = cap;
  }
  pass->jobs[pass->count++] = job;
  pass->bytes += job->weight;
  pass->raw_bytes += job->batch.header.raw_bytes;
  w->held_bytes += job->weight;
  return true;
}

/* ---- one group ---- */

struct group { /* jobs answered when the transaction is through */
  size_t count;
  struct hub_job **jobs; /* room for all of them and those of their passes */
  size_t cap;
  bool open; /* a transaction is open */
};

static bool group_reserve(struct group *g, size_t more) {
  if (g->count + more <= g->cap) return true;
  size_t cap = 2 * (g->count + more) + 64;
  struct hub_job **jobs = realloc(g->jobs, cap * sizeof(struct hub_job *));
  if (!jobs) return false;
  g->jobs = jobs;
  g->cap = cap;
  return true;
}

static void hold_job(struct hub_job *job, enum trb_hold code, const char *text) {
  job->hold = code;
  if (!job->sequence) job->sequence = job->batch.header.sequence;
  snprintf(job->text, sizeof job->text, "%s", text);
}

/* A pass is complete: accepted whole; its jobs join the group's answers. */
static enum trb_status take_pass(struct writer *w, struct group *g, struct pass *pass, int64_t now_ms,
                                 struct trb_error *err) {
  if (!group_reserve(g, pass->count)) return trb_fail(err, TRB_NOMEM, "out of memory");
  enum trb_status status = stream_accept(&w->store, w->keys.sign, pass->jobs, pass->count, now_ms, err);
  memcpy(g->jobs + g->count, pass->jobs, pass->count * sizeof(struct hub_job *));
  for (size_t i = 0; i < pass->count; i++) {
    atomic_fetch_add(&w->counters.batches, 1);
    atomic_fetch_add(&w->counters.changes, (int64_t)pass->jobs[i]->batch.change_count);
  }
  g->count += pass->count;
  w->held_bytes -= pass->bytes;
  pass->count = pass->bytes = pass->raw_bytes = 0;
  return status;
}

/* Not accepted now. After a hold the session forgets what was not committed: what was on its way behind it is dropped
 * here without a word, or its gap would hide the reason. */
static enum trb_status answer_batch(struct writer *w, struct group *g, struct pass *pass, struct hub_job *job,
                                    bool repeated, enum trb_status status) {
  atomic_fetch_add(repeated ? &w->counters.repeated : &w->counters.held, 1);
  bool echo = !repeated && pass && pass->stopped && (job->hold == TRB_HOLD_GAP || job->hold == TRB_HOLD_INCARNATION);
  if (!repeated) drop_pass(w, job->site);
  if (!repeated && pass) pass->stopped = true;
  if (echo)
    job_free(&job);
  else
    g->jobs[g->count++] = job;
  return status;
}

static enum trb_status take_batch(struct writer *w, struct group *g, struct hub_job *job, int64_t now_ms,
                                  struct trb_error *err) {
  if (!group_reserve(g, 1)) { /* no room even for its answer */
    job_free(&job);
    return trb_fail(err, TRB_NOMEM, "out of memory");
  }
  struct pass *pass = pass_of(w, job->site);
  enum stream_place place = STREAM_HELD;
  enum trb_status status = TRB_OK;
  if (!pass) {
    hold_job(job, TRB_HOLD_BUSY, "headquarters is out of memory");
    status = trb_fail(err, TRB_NOMEM, "out of memory");
  } else if (job->status != TRB_OK && job->status != TRB_PEER) {
    hold_job(job, TRB_HOLD_BUSY, "headquarters cannot check batches now");
  } else if (job->status == TRB_PEER) {
    status = stream_bad(&w->store, job, now_ms, err);
  } else if (w->hq.held) {
    hold_job(job, TRB_HOLD_BUSY, "headquarters was restored and waits for its operator");
  } else {
    status = stream_place(&w->store, job, pass->count ? pass->jobs[pass->count - 1] : NULL, now_ms, &place, err);
  }
  if (status == TRB_OK && place == STREAM_NEXT) {
    pass->stopped = false;
    bool last = !(job->batch.header.flags & TRB_BATCH_CONTINUES);
    if (!last && w->held_bytes + job->weight > WRITER_HELD_BYTES)
      hold_job(job, TRB_HOLD_BUSY, "headquarters holds too many unfinished groups");
    else if (!pass_add(w, pass, job))
      hold_job(job, TRB_HOLD_BUSY, "headquarters is out of memory");
    else
      return last || pass->raw_bytes > TRB_GROUP_BYTES_MAX ? take_pass(w, g, pass, now_ms, err) : TRB_OK;
  }
  return answer_batch(w, g, pass, job, place == STREAM_REPEATED, status);
}

static enum trb_status take_job(struct writer *w, struct group *g, struct hub_job *job, int64_t now_ms,
                                struct trb_error *err) {
  if (job->kind == JOB_BATCH) return take_batch(w, g, job, now_ms, err);
  if (!group_reserve(g, 1)) {
    job_free(&job);
    return trb_fail(err, TRB_NOMEM, "out of memory");
  }
  g->jobs[g->count++] = job;
  if (job->kind == JOB_CLEAR_DOWN) return down_clear(w->store.db, job->site, job->version, err);
  TRB_ASSERT(job->kind == JOB_SNAPSHOT);
  return down_snapshot(w->store.db, job->site, err);
}

/* What the net thread has to know after a commit. */
static void give_notice(struct writer *w) {
  struct store *s = &w->store;
  bool any = s->dirty_count || s->roster_changed || s->catalogue_changed || w->keys_changed;
  struct hub_job *notice = any && w->out ? job_new(JOB_NOTICE, 0, NULL) : NULL;
  if (!notice) return;
  notice->roster_changed = s->roster_changed;
  notice->keys_changed = w->keys_changed;
  if (s->catalogue_changed) notice->new_catalogue = catalogue_ref(s->catalogue);
  notice->dirty = trb_arena_alloc(&notice->arena, s->dirty_count * sizeof *notice->dirty);
  if (notice->dirty && s->dirty_count) {
    memcpy(notice->dirty, s->dirty, s->dirty_count * sizeof *notice->dirty);
    notice->dirty_count = s->dirty_count;
  }
  s->dirty_count = 0;
  s->roster_changed = s->catalogue_changed = w->keys_changed = false;
  writer_answer(w, notice);
}

static void fail_group(struct writer *w, struct group *g, const struct trb_error *err) {
  atomic_fetch_add(&w->counters.failures, 1);
  atomic_store(&w->counters.failing, true);
  w->cautious = WRITER_CAUTIOUS_GROUPS;
  for (size_t i = 0; i < g->count; i++) {
    struct hub_job *job = g->jobs[i];
    job->status = err->status;
    job->error = *err;
    if (job->kind != JOB_BATCH) continue;
    drop_pass(w, job->site);
    trb_buf_clear(&job->ack);
    if (job->site > 0 && (size_t)job->site < w->pass_cap) w->passes[job->site].stopped = true;
    hold_job(job, TRB_HOLD_BUSY, "headquarters cannot store now; nothing is lost, it will be sent again");
  }
}

static void end_group(struct writer *w, struct group *g, enum trb_status status, struct trb_error *err) {
  struct unify_sites dirty = {0};
  if (g->open) {
    int64_t start = monotonic_us();
    if (status == TRB_OK)
      status = store_commit(&w->store, &dirty, err);
    else
      store_rollback(&w->store);
    atomic_store(&w->counters.commit_us, monotonic_us() - start);
    if (status == TRB_OK) {
      atomic_fetch_add(&w->counters.groups, 1);
      atomic_store(&w->counters.failing, false);
      if (w->cautious) w->cautious--;
    }
  }
  if (status != TRB_OK) fail_group(w, g, err);
  atomic_store(&w->counters.set_aside, w->store.set_aside_count);
  atomic_store(&w->counters.forks, w->store.fork_count);
  for (size_t i = 0; i < g->count; i++) writer_answer(w, g->jobs[i]);
  if (status == TRB_OK) give_notice(w);
  g->count = 0;
  g->open = false;
}

/* ---- jobs with a transaction of their own, or none ---- */

static void attach(struct writer *w, struct hub_job *job) {
  struct stream *stream;
  drop_pass(w, job->site);
  if (job->site > 0 && (size_t)job->site < w->pass_cap) w->passes[job->site].stopped = false;
  job->status = store_stream(&w->store, job->site, &stream, &job->error);
  if (job->status == TRB_OK && w->hq.held)
    job->status = trb_fail(&job->error, TRB_AGAIN, "headquarters was restored and waits for its operator");
  if (job->status != TRB_OK) return;
  job->stream = (struct session_stream){.acked_sequence = stream->sequence, .safe_sequence = stream->safe};
  memcpy(job->stream.incarnation, stream->incarnation, TRB_INCARNATION_BYTES);
  memcpy(job->stream.acked_hash, stream->hash, TRB_HASH_BYTES);
}

static bool goes_alone(enum job_kind kind) {
  return kind != JOB_BATCH && kind != JOB_CLEAR_DOWN && kind != JOB_SNAPSHOT;
}

static void run_alone(struct writer *w, struct hub_job *job, int64_t now_ms) {
  switch (job->kind) {
    case JOB_ATTACH: attach(w, job); break;
    case JOB_NEW_STREAM:
      drop_pass(w, job->site);
      job->status = roster_new_stream(&w->hq, job, now_ms, &job->error);
      break;
    case JOB_ROTATE: job->status = roster_rotate(&w->hq, job, now_ms, &job->error); break;
    case JOB_JOIN: job->status = roster_join(&w->hq, job, now_ms, &job->error); break;
    case JOB_COMMAND:
      job->status = writer_command(w, job, &job->error);
      if (job->status == TRB_AGAIN && w->backup && strcmp(job->words[0], "backup") == 0)
        return; /* answered when done */
      break;
    default: break;
  }
  /* Orders of headquarters must be known to the net thread before their answer: revoke means now. */
  give_notice(w);
  writer_answer(w, job);
}

void writer_group(struct writer *w, struct hub_job **jobs, size_t count) {
  struct group g = {0};
  struct trb_error err = {0};
  enum trb_status status = TRB_OK;
  int64_t now_ms = writer_now_ms();
  for (size_t i = 0; i < count; i++) {
    if (goes_alone(jobs[i]->kind)) {
      end_group(w, &g, status, &err);
      status = TRB_OK;
      run_alone(w, jobs[i], now_ms);
      continue;
    }
    if (!g.open && status == TRB_OK) {
      status = store_begin(&w->store, &err);
      g.open = status == TRB_OK;
    }
    if (status == TRB_OK) {
      status = take_job(w, &g, jobs[i], now_ms, &err);
    } else if (group_reserve(&g, 1)) { /* the group failed: the rest is told so with it */
      g.jobs[g.count++] = jobs[i];
    } else {
      job_free(&jobs[i]);
    }
  }
  end_group(w, &g, status, &err);
  free(g.jobs);
}

/* ---- between groups ---- */

static void trim_history(struct writer *w) {
  int64_t now_ms = writer_now_ms();
  bool more = false;
  if (now_ms - w->trimmed_at_ms < 60000) return;
  struct unify_sites dirty;
  if (store_begin(&w->store, NULL) != TRB_OK) return;
  if (history_trim(&w->store, &more, NULL) != TRB_OK)
    store_rollback(&w->store);
  else
    store_commit(&w->store, &dirty, NULL);
  if (!more) w->trimmed_at_ms = now_ms;
}

void writer_idle(struct writer *w, bool idle) {
  int64_t bytes = 0;
  db_wal_bytes(w->store.db, &bytes, NULL);
  atomic_store(&w->counters.wal_bytes, bytes);
  if (bytes > (idle ? WRITER_IDLE_CHECKPOINT_BYTES : WRITER_CHECKPOINT_BYTES)) db_checkpoint(w->store.db, NULL);
  if (idle) trim_history(w);
}

static bool group_full(const struct writer *w, struct hub_job *const *jobs, size_t count, size_t changes,
                       size_t bytes) {
  (void)jobs;
  return count >= WRITER_GROUP_JOBS || changes >= WRITER_GROUP_CHANGES || bytes >= WRITER_GROUP_BYTES ||
         (w->cautious && count >= 1);
}

void *writer_main(void *writer) {
  struct writer *w = writer;
  struct hub_job *jobs[WRITER_GROUP_JOBS];
  bool was_idle = false;
  for (;;) {
    size_t count = 0, changes = 0, bytes = 0;
    struct hub_job *job = queue_pop(w->in, w->backup ? 0 : WRITER_IDLE_MS);
    while (job) { /* what waits goes together: an idle hub commits each batch at once */
      jobs[count++] = job;
      changes += job->batch.change_count;
      bytes += job->weight;
      job = group_full(w, jobs, count, changes, bytes) ? NULL : queue_pop(w->in, 0);
    }
    if (count) writer_group(w, jobs, count);
    bool copying = backup_step(w);
    if (count)
      writer_idle(w, false);
    else if (!was_idle && !copying)
      writer_idle(w, true);
    was_idle = !count && !copying;
    if (!count && queue_closed(w->in) && queue_count(w->in) == 0) break;
  }
  return NULL;
}
