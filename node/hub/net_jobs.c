/* net_jobs: from session actions, guests and operators to jobs, and from their results back. Net thread. See daemon.h.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "daemon.h"
#include "jout.h"
#include "log.h"

/* What finds the queue full waits at its site for the next tick, one job of each kind: a later one says all that the
 * earlier one said. Batches do not wait so (the branch is told BUSY, and sends them again), nor do guests and operators
 * (they are told to try again). */
static void push(struct net_site *site, struct queue *q, struct hub_job *job) {
  struct hub_job **late = &site->late[job->kind];
  job_free(late);
  if (!queue_try_push(q, job, job->weight)) *late = job;
}

void jobs_drop_late(struct net_site *site) {
  for (size_t kind = 0; kind < JOB_KINDS; kind++) job_free(&site->late[kind]);
}

static void push_late(struct daemon *d, struct net_site *site) {
  for (size_t kind = 0; kind < JOB_KINDS; kind++) {
    struct hub_job *job = site->late[kind];
    site->late[kind] = NULL;
    if (job) push(site, job->kind == JOB_RENDER ? d->to_down : d->to_writer, job);
  }
}

/* ---- sessions ---- */

static void send_batch(struct daemon *d, struct net_site *site, const struct session_action *action) {
  const struct roster_site *known = roster_numbered(&d->roster, site->no);
  struct hub_job *job = known ? job_new(JOB_BATCH, site->no, site->name) : NULL;
  bool ok = job != NULL;
  if (ok) {
    job->received_ms = net_now_ms();
    job->sequence = action->sequence;
    job->sealed = trb_arena_copy(&job->arena, action->bytes, &ok);
    job->sent_ack = trb_arena_copy(&job->arena, action->ack, &ok);
    job->clock = action->clock;
    job->clock_hub_ms = action->clock_hub_ms;
    job->clock_known = action->clock_hub_ms != 0;
    job->sign_key_count = known->sign_count;
    memcpy(job->sign_keys, known->sign, sizeof job->sign_keys);
    snprintf(job->key_context.region, sizeof job->key_context.region, "%.2s", known->region[0] ? known->region : "CN");
    snprintf(job->key_context.area_code, sizeof job->key_context.area_code, "%s", known->area_code);
    job->catalogue = catalogue_ref(d->catalogue);
    job->weight = job->arena.used;
  }
  struct queue *q = d->workers[(size_t)site->no % d->worker_count].in;
  if (ok && queue_try_push(q, job, job->weight)) return;
  job_free(&job);
  session_held(site->session, TRB_HOLD_BUSY, action->sequence,
               "headquarters has too much to do: it will be sent again");
}

static void ask_writer(struct daemon *d, struct net_site *site, enum job_kind kind,
                       const struct session_action *action) {
  struct hub_job *job = job_new(kind, site->no, site->name);
  if (!job) { /* no memory: asked for again as after a failure */
    if (kind == JOB_ATTACH) site->attach_retry_ms = net_now_ms() + DAEMON_RETRY_MS;
    return;
  }
  job->received_ms = net_now_ms();
  if (kind == JOB_NEW_STREAM) job->new_stream = *action->new_stream;
  if (kind == JOB_ROTATE) job->rotate = *action->rotate;
  job->version = action ? action->version : 0;
  push(site, d->to_writer, job);
}

static void ask_down(struct daemon *d, struct net_site *site, uint64_t version) {
  struct hub_job *job = job_new(JOB_RENDER, site->no, site->name);
  if (!job) return;
  job->after = job->version = version;
  job->catalogue = catalogue_ref(d->catalogue);
  push(site, d->to_down, job);
}

void jobs_from_session(struct daemon *d, struct net_site *site, const struct session_action *action) {
  switch (action->what) {
    case SESSION_VERIFY: send_batch(d, site, action); break;
    case SESSION_ATTACH: ask_writer(d, site, JOB_ATTACH, action); break;
    case SESSION_CLEAR_DOWN: ask_writer(d, site, JOB_CLEAR_DOWN, action); break;
    case SESSION_SNAPSHOT: ask_writer(d, site, JOB_SNAPSHOT, action); break;
    case SESSION_NEW_STREAM: ask_writer(d, site, JOB_NEW_STREAM, action); break;
    case SESSION_ROTATE: ask_writer(d, site, JOB_ROTATE, action); break;
    case SESSION_RENDER_DOWN: ask_down(d, site, action->version); break;
    case SESSION_IDLE:
    case SESSION_SEND: break;
  }
}

void jobs_retry(struct daemon *d, struct net_site *site, int64_t now_ms) {
  push_late(d, site);
  if (site->attach_retry_ms && now_ms >= site->attach_retry_ms) {
    site->attach_retry_ms = 0;
    ask_writer(d, site, JOB_ATTACH, NULL);
  }
  if (site->snapshot_retry_ms && now_ms >= site->snapshot_retry_ms) {
    site->snapshot_retry_ms = 0;
    ask_writer(d, site, JOB_SNAPSHOT, NULL);
  }
  if (site->down_retry_ms && now_ms >= site->down_retry_ms) {
    site->down_retry_ms = 0;
    session_down_ready(site->session);
  }
}

/* ---- guests ---- */

static void send_to(struct daemon *d, const struct link_route *route, const struct wire_message *message) {
  TRB_BUF_AUTO out = {0};
  wire_encode(message, &out);
  if (!out.failed) link_server_send(d->server, route, trb_buf_slice(&out));
}

static void fault(struct daemon *d, const struct link_route *route, enum trb_fault code, uint64_t retry_ms,
                  const char *text) {
  struct wire_message message = {.type = WIRE_fault,
                                 .fault = {.code = code, .retry_ms = retry_ms, .text = trb_slice_str(text)}};
  d->joins_refused++;
  send_to(d, route, &message);
}

/* First the address's own share: one that asks for too much must not use up what is there for all. */
static bool join_allowed(struct daemon *d, const char *address) {
  int64_t now_ms = net_now_ms();
  if (!buckets_take(d->joiners, address, now_ms)) return false;
  if (now_ms - d->joins_since_ms >= 1000 || now_ms < d->joins_since_ms) {
    d->joins_since_ms = now_ms;
    d->joins = 0;
  }
  return d->joins++ < DAEMON_JOINS_PER_SECOND;
}

static bool join_proved(const struct wire_join *join) {
  TRB_BUF_AUTO signed_part = {0};
  wire_join_signed(join, &signed_part);
  return !signed_part.failed &&
         crypto_verify(join->sign_public, "tributary join v1", trb_buf_slice(&signed_part), join->proof);
}

static void send_join(struct daemon *d, const struct link_frame *frame, const struct wire_join *join) {
  struct hub_job *job = job_new(JOB_JOIN, 0, NULL);
  if (!job) return;
  job->join = *join;
  job->join.software = trb_slice_of(NULL, 0);
  memcpy(job->route.data, frame->route.data, frame->route.len);
  job->route.len = frame->route.len;
  if (queue_try_push(d->to_writer, job, 0)) return;
  job_free(&job);
  netlog_join_refused(TRB_FAULT_RATE, "", "headquarters has too much to do");
  fault(d, &frame->route, TRB_FAULT_RATE, 5000, "headquarters has too much to do: try again in a moment");
}

static void refuse_guest(struct daemon *d, const struct link_route *route, enum trb_fault code, uint64_t retry_ms,
                         const char *text) {
  netlog_join_refused(code, "", text);
  fault(d, route, code, retry_ms, text);
}

void jobs_guest(struct daemon *d, const struct link_frame *frame) {
  struct wire_message message;
  d->guest_frames++;
  if (!join_allowed(d, frame->address)) { /* silence would look like a broken line */
    refuse_guest(d, &frame->route, TRB_FAULT_RATE, 5000, "too many attempts at once: try again in a moment");
    return;
  }
  enum trb_status status = wire_decode(frame->body, &message, NULL);
  if (status != TRB_OK || message.type != WIRE_join) {
    refuse_guest(d, &frame->route, TRB_FAULT_GUEST, 0,
                 "headquarters does not know this key: join with an invitation first");
  } else if (message.join.proto_max < TRB_PROTO_MIN || message.join.proto_min > TRB_PROTO_MAX) {
    refuse_guest(d, &frame->route, TRB_FAULT_PROTOCOL, 0, "no protocol version in common: upgrade the older side");
  } else if (memcmp(message.join.curve_public, frame->curve_public, TRB_KEY_BYTES) != 0 ||
             !join_proved(&message.join)) {
    refuse_guest(d, &frame->route, TRB_FAULT_MESSAGE, 0, "the keys are not the ones this message was sent with");
  } else {
    send_join(d, frame, &message.join);
  }
}

static void join_result(struct daemon *d, struct hub_job *job) {
  struct link_route route = {.len = job->route.len};
  memcpy(route.data, job->route.data, job->route.len);
  if (job->status != TRB_OK) {
    if (job->fault)
      fault(d, &route, job->fault, 0, job->text);
    else
      fault(d, &route, TRB_FAULT_RATE, 5000, "headquarters cannot write now: try again in a moment");
    return;
  }
  struct wire_message message = {.type = WIRE_joined,
                                 .joined = {.site = trb_slice_str(job->site_name),
                                            .hub_ms = net_now_ms(),
                                            .keys = trb_buf_slice(&d->keys.sealed),
                                            .region = trb_slice_str(job->region),
                                            .area_code = trb_slice_str(job->area_code)}};
  memcpy(message.joined.incarnation, job->stream.incarnation, TRB_INCARNATION_BYTES);
  send_to(d, &route, &message);
}

/* ---- operators ---- */

static struct status_source source_of(struct daemon *d) {
  return (struct status_source){d->reader, &d->roster, &d->conf, d->dir, d};
}

void jobs_command(struct daemon *d, int client, size_t count, const char *const *words) {
  struct trb_error err = {0};
  TRB_BUF_AUTO out = {0};
  struct status_source source = source_of(d);
  d->control_commands++;
  if (count == 0 || strcmp(words[0], "status") == 0 || strcmp(words[0], "metrics") == 0) {
    bool metrics = count && words[0][0] == 'm';
    enum trb_status status = metrics ? hub_metrics(&source, &out, &err) : hub_status(&source, &out, &err);
    control_answer(d->control, client, status, status == TRB_OK ? trb_buf_slice(&out) : trb_slice_str(err.text));
    return;
  }
  struct hub_job *job = job_new(JOB_COMMAND, 0, NULL);
  bool ok = job != NULL;
  if (ok) {
    job->client = client;
    job->word_count = count;
    job->words = trb_arena_alloc(&job->arena, count * sizeof *job->words);
    for (size_t i = 0; job->words && i < count; i++)
      ok = (job->words[i] = trb_arena_str(&job->arena, trb_slice_str(words[i]))) != NULL && ok;
    ok = ok && job->words;
  }
  if (ok && queue_try_push(d->to_writer, job, 0)) return;
  job_free(&job);
  control_answer(d->control, client, TRB_AGAIN, trb_slice_str("headquarters has too much to do: try again"));
}

static void command_result(struct daemon *d, struct hub_job *job) {
  struct trb_slice text = job->status == TRB_OK ? trb_buf_slice(&job->answer) : trb_slice_str(job->error.text);
  control_answer(d->control, job->client, job->status, text);
}

/* ---- results ---- */

static enum trb_status serve_keys(struct daemon *d, struct trb_error *err) {
  struct hub_keys keys;
  enum trb_status status = hubkeys_load(d->dir, &d->conf, &keys, err);
  if (status != TRB_OK) return status;
  bool moved = memcmp(keys.curve_secret, d->keys.curve_secret, TRB_KEY_BYTES) != 0;
  struct hub_keys old = d->keys;
  d->keys = keys;
  pthread_mutex_lock(&d->accepted_mutex);
  d->accepted = keys.accepted;
  pthread_mutex_unlock(&d->accepted_mutex);
  atomic_fetch_add(&d->accepted_version, 1);
  for (size_t i = 0; i < d->site_cap; i++) {
    struct net_site *site = d->sites[i];
    if (!site || !site->session) continue;
    session_keys(site->session, trb_buf_slice(&d->keys.sealed));
    net_pump(d, site);
  }
  if (moved) d->rebind = true;
  hubkeys_free(&old); /* no session borrows it any more */
  return TRB_OK;
}

static void notice_result(struct daemon *d, struct hub_job *job) {
  struct trb_error err = {0};
  enum trb_status status = TRB_OK;
  if (job->new_catalogue) {
    catalogue_unref(&d->catalogue);
    d->catalogue = job->new_catalogue;
    job->new_catalogue = NULL;
  }
  if (job->keys_changed) status = serve_keys(d, &err);
  if (status == TRB_OK && job->roster_changed) status = net_reload_roster(d, &err);
  if (status != TRB_OK) log_line(LOG_STORE, LOG_ERROR, "cannot take over what changed at headquarters: %s", err.text);
  bool all = false; /* site 0: every site */
  for (size_t i = 0; i < job->dirty_count; i++) all |= job->dirty[i] == 0;
  for (size_t i = 0; i < (all ? d->site_cap : job->dirty_count); i++) {
    struct net_site *site = net_site_of(d, all ? (int64_t)i : job->dirty[i]);
    if (!site || !site->session) continue;
    session_down_ready(site->session);
    net_pump(d, site);
  }
}

static void batch_result(struct net_site *site, struct hub_job *job) {
  if (job->hold)
    session_held(site->session, job->hold, job->sequence, job->text);
  else
    session_committed(site->session, job->sequence, job->hash, trb_buf_slice(&job->ack));
}

static void site_result(struct daemon *d, struct net_site *site, struct hub_job *job) {
  bool ok = job->status == TRB_OK;
  int64_t later = net_now_ms() + DAEMON_RETRY_MS;
  switch (job->kind) {
    case JOB_BATCH: batch_result(site, job); break;
    case JOB_ATTACH:
      if (ok)
        session_attached(site->session, &job->stream);
      else
        site->attach_retry_ms = later;
      break;
    case JOB_NEW_STREAM:
      session_stream(site->session, &job->stream, ok,
                     ok             ? ""
                     : job->text[0] ? job->text
                                    : "headquarters cannot grant a stream now");
      break;
    case JOB_ROTATE: session_rotated(site->session, ok, &job->rotate); break;
    case JOB_SNAPSHOT:
      if (ok)
        session_snapshot_ready(site->session);
      else
        site->snapshot_retry_ms = later;
      break;
    case JOB_RENDER:
      if (ok) {
        session_down(site->session, job->after, job->version, job->more, job->flags, trb_buf_slice(&job->rows));
      } else {
        session_down(site->session, job->after, job->after, false, 0, trb_slice_of(NULL, 0));
        site->down_retry_ms = later;
      }
      break;
    default: break;
  }
  net_pump(d, site);
}

void jobs_result(struct daemon *d, struct hub_job *job) {
  netlog_result(d, job);
  switch (job->kind) {
    case JOB_JOIN: join_result(d, job); break;
    case JOB_COMMAND: command_result(d, job); break;
    case JOB_NOTICE: notice_result(d, job); break;
    default: {
      struct net_site *site = net_site_of(d, job->site);
      if (site && site->session) site_result(d, site, job); /* else revoked meanwhile */
    }
  }
  job_free(&job);
}
