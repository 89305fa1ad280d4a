/* hub: the daemon's life, and commands on the files when none runs. See include/tributary/hub.h. */
#include "tributary/hub.h"

#include <limits.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/signalfd.h>
#include <unistd.h>

#include "daemon.h"
#include "log.h"
#include "tributary/notify.h"

enum { COMMAND_TIMEOUT_MS = 30000, BACKUP_TIMEOUT_MS = 6 * 3600 * 1000 };

/* ---- threads ---- */

static void *worker_main(void *arg) {
  struct worker *worker = arg;
  struct daemon *d = worker->daemon;
  struct worker_keys keys = {0};
  uint64_t version = UINT64_MAX;
  for (struct hub_job *job;;) {
    job = queue_pop(worker->in, -1);
    if (!job) return NULL; /* closed and drained */
    uint64_t now = atomic_load(&d->accepted_version);
    if (now != version) {
      pthread_mutex_lock(&d->accepted_mutex);
      keys = d->accepted;
      pthread_mutex_unlock(&d->accepted_mutex);
      version = now;
    }
    worker_verify(job, &keys);
    job->weight = job->arena.used;
    if (!queue_push(d->to_writer, job, job->weight)) job_free(&job);
  }
}

static void render(struct trb_db *reader, struct hub_job *job) {
  uint64_t version = job->after;
  job->status = db_begin_read(reader, &job->error);
  if (job->status != TRB_OK) return;
  job->status = down_render(reader, job->catalogue, job->site, job->after, TRB_DOWN_BYTES_MAX, &job->rows, &version,
                            &job->more, &job->flags, &job->error);
  db_rollback(reader);
  if (job->status == TRB_OK)
    job->version = version;
  else
    trb_buf_clear(&job->rows);
}

static void *down_main(void *arg) {
  struct daemon *d = arg;
  char path[PATH_MAX];
  struct trb_db *reader = NULL;
  struct trb_error err = {0};
  snprintf(path, sizeof path, "%s/hub.db", d->dir);
  if (db_open(path, TRB_DB_READ, STORE_BUSY_MS, &reader, &err) != TRB_OK)
    log_line(LOG_STORE, LOG_ERROR, "nothing can go down: %s", err.text);
  for (struct hub_job *job; (job = queue_pop(d->to_down, -1)) != NULL;) {
    if (reader)
      render(reader, job);
    else
      job->status = TRB_STORE;
    if (!queue_push(d->to_net, job, 0)) job_free(&job);
  }
  db_close(&reader);
  return NULL;
}

static enum trb_status start_thread(pthread_t *thread, void *(*run)(void *), void *arg, struct trb_error *err) {
  return pthread_create(thread, NULL, run, arg) == 0 ? TRB_OK : trb_fail(err, TRB_STORE, "cannot start a thread");
}

static enum trb_status start_threads(struct daemon *d, struct trb_error *err) {
  d->writer.in = d->to_writer;
  d->writer.out = d->to_net;
  enum trb_status status = start_thread(&d->writer_thread, writer_main, &d->writer, err);
  d->writer_runs = status == TRB_OK;
  if (status == TRB_OK) status = start_thread(&d->down_thread, down_main, d, err);
  d->down_runs = status == TRB_OK;
  long cores = sysconf(_SC_NPROCESSORS_ONLN);
  size_t wanted = cores > DAEMON_WORKERS_MAX ? DAEMON_WORKERS_MAX : cores > 2 ? (size_t)cores - 1 : 1;
  while (status == TRB_OK && d->worker_count < wanted) {
    struct worker *worker = &d->workers[d->worker_count];
    worker->daemon = d;
    status = queue_new(DAEMON_QUEUE_JOBS, DAEMON_WORKER_BYTES / wanted, &worker->in, err);
    if (status == TRB_OK) status = start_thread(&worker->thread, worker_main, worker, err);
    if (status != TRB_OK) {
      queue_free(&worker->in);
      break;
    }
    d->worker_count++;
  }
  return status;
}

/* In the direction of the flow, so that everything received is committed and answered. */
static void stop_threads(struct daemon *d) {
  for (size_t i = 0; i < d->worker_count; i++) queue_close(d->workers[i].in);
  for (size_t i = 0; i < d->worker_count; i++) {
    pthread_join(d->workers[i].thread, NULL);
    queue_free(&d->workers[i].in);
  }
  d->worker_count = 0;
  if (d->to_writer) queue_close(d->to_writer);
  if (d->writer_runs) pthread_join(d->writer_thread, NULL);
  backup_abort(&d->writer);
  if (d->to_down) queue_close(d->to_down);
  if (d->down_runs) pthread_join(d->down_thread, NULL);
  d->writer_runs = d->down_runs = false;
}

/* ---- life ---- */

static enum trb_status check_folder(const char *dir, struct trb_conf *conf, struct trb_error *err) {
  const char *network = NULL;
  enum trb_status status = conf_load(dir, conf, err);
  if (status != TRB_OK) return status;
  if (conf->role != TRB_ROLE_HUB) return trb_fail(err, TRB_PEER, "%s is a branch's folder, not a hub's", dir);
  if (file_on_network(dir, &network))
    return trb_fail(
        err, TRB_DENIED,
        "%s is on a network file system (%s), where SQLite's locks cannot be trusted: move it to a local disk", dir,
        network);
  return TRB_OK;
}

static enum trb_status open_files(struct daemon *d, struct trb_error *err) {
  char path[PATH_MAX];
  snprintf(path, sizeof path, "%s/hub.db", d->dir);
  enum trb_status status = writer_open(d->dir, &d->conf, true, &d->writer, err);
  if (status == TRB_OK) status = hubkeys_load(d->dir, &d->conf, &d->keys, err);
  if (status == TRB_OK) status = db_open(path, TRB_DB_READ, STORE_BUSY_MS, &d->reader, err);
  if (status != TRB_OK) return status;
  d->catalogue = catalogue_ref(d->writer.store.catalogue);
  memcpy(d->epoch, d->writer.store.epoch, sizeof d->epoch);
  d->accepted = d->keys.accepted;
  status = queue_new(DAEMON_QUEUE_JOBS, DAEMON_WRITER_BYTES, &d->to_writer, err);
  if (status == TRB_OK) status = queue_new(DAEMON_QUEUE_JOBS, SIZE_MAX, &d->to_down, err);
  if (status == TRB_OK) status = queue_new(SIZE_MAX, SIZE_MAX, &d->to_net, err); /* the writer never waits for net */
  return status;
}

static enum trb_status block_signals(struct daemon *d, struct trb_error *err) {
  sigset_t set;
  sigemptyset(&set);
  sigaddset(&set, SIGTERM);
  sigaddset(&set, SIGINT);
  signal(SIGPIPE, SIG_IGN);
  pthread_sigmask(SIG_BLOCK, &set, NULL); /* before the threads: they inherit it */
  d->signal_fd = signalfd(-1, &set, SFD_NONBLOCK | SFD_CLOEXEC);
  return d->signal_fd >= 0 ? TRB_OK : trb_fail(err, TRB_STORE, "cannot make a signalfd: %m");
}

static void say_start(const struct daemon *d) {
  log_line(LOG_LIFE, LOG_TELL, "hub %s listens on %s, %zu sites", d->conf.name, link_server_endpoint(d->server),
           d->roster.count);
  if (d->writer.hq.replayed)
    log_line(LOG_LIFE, LOG_SAY, "took back %lld of headquarters' writes from the journal",
             (long long)d->writer.hq.replayed);
  if (d->writer.hq.restored) log_line(LOG_LIFE, LOG_SAY, "hub.db was restored: branches are asked for what it lacks");
  if (d->writer.hq.held)
    log_line(LOG_LIFE, LOG_CRITICAL,
             "headquarters' own writes since the backup are lost (no journal): sites are held until `tributary hub "
             "go`");
  notify_ready();
  notify_status("%zu sites", d->roster.count);
}

static void drain(struct daemon *d) {
  notify_stopping();
  log_line(LOG_LIFE, LOG_TELL, "hub stops");
  stop_threads(d);
  queue_close(d->to_net);
  for (struct hub_job *job; (job = queue_pop(d->to_net, 0)) != NULL;) jobs_result(d, job);
}

static void close_all(struct daemon *d) {
  stop_threads(d);
  control_close(&d->control);
  link_server_close(&d->server);
  link_context_free(&d->context);
  for (size_t i = 0; i < d->site_cap; i++) {
    if (!d->sites[i]) continue;
    session_free(&d->sites[i]->session);
    jobs_drop_late(d->sites[i]);
    free(d->sites[i]);
  }
  free(d->sites);
  buckets_free(&d->guests);
  buckets_free(&d->joiners);
  roster_free(&d->roster);
  if (d->to_net) {
    queue_close(d->to_net);
    for (struct hub_job *job; (job = queue_pop(d->to_net, 0)) != NULL;) job_free(&job);
  }
  queue_free(&d->to_net);
  queue_free(&d->to_writer);
  queue_free(&d->to_down);
  db_close(&d->reader);
  catalogue_unref(&d->catalogue);
  hubkeys_free(&d->keys);
  writer_close(&d->writer);
  if (d->signal_fd >= 0) close(d->signal_fd);
  pthread_mutex_destroy(&d->accepted_mutex);
}

enum trb_status hub_run(const char *dir, struct trb_error *err) {
  struct daemon *d = calloc(1, sizeof *d);
  if (!d) return trb_fail(err, TRB_NOMEM, "out of memory");
  d->dir = dir;
  d->signal_fd = -1;
  pthread_mutex_init(&d->accepted_mutex, NULL);
  int lock = -1;
  enum trb_status status = check_folder(dir, &d->conf, err);
  if (status == TRB_OK) status = file_lock(dir, &lock, err);
  if (status == TRB_OK) status = block_signals(d, err);
  if (status == TRB_OK) status = open_files(d, err);
  if (status == TRB_OK) status = start_threads(d, err);
  if (status == TRB_OK) status = net_open(d, err);
  if (status == TRB_OK) {
    say_start(d);
    status = net_loop(d, err);
    drain(d);
  }
  close_all(d);
  free(d);
  if (lock >= 0) close(lock);
  return status;
}

/* ---- commands on the files ---- */

static enum trb_status status_offline(const char *dir, const struct trb_conf *conf, bool metrics, struct trb_buf *out,
                                      struct trb_error *err) {
  char path[PATH_MAX];
  struct trb_db *db = NULL;
  struct roster roster = {0};
  snprintf(path, sizeof path, "%s/hub.db", dir);
  enum trb_status status = db_open(path, TRB_DB_READ, STORE_BUSY_MS, &db, err);
  if (status == TRB_OK) status = roster_load(db, &roster, err);
  struct status_source source = {db, &roster, conf, dir, NULL};
  if (status == TRB_OK) status = metrics ? hub_metrics(&source, out, err) : hub_status(&source, out, err);
  roster_free(&roster);
  db_close(&db);
  return status;
}

static enum trb_status run_offline(const char *dir, const struct trb_conf *conf, size_t count, const char *const *words,
                                   struct trb_buf *out, struct trb_error *err) {
  struct writer *w = calloc(1, sizeof *w);
  struct hub_job *job = job_new(JOB_COMMAND, 0, NULL);
  struct queue *answers = NULL;
  enum trb_status status =
      w && job ? queue_new(SIZE_MAX, SIZE_MAX, &answers, err) : trb_fail(err, TRB_NOMEM, "out of memory");
  if (status == TRB_OK) status = writer_open(dir, conf, false, w, err);
  if (status == TRB_OK) {
    const char *copy[TRB_CONTROL_WORDS_MAX];
    memcpy(copy, words, count * sizeof *copy);
    job->words = copy;
    job->word_count = count;
    w->out = answers;
    status = writer_command(w, job, &job->error);
    if (status == TRB_AGAIN && strcmp(words[0], "backup") == 0) {
      while (backup_step(w)) continue;
      job = NULL;
      for (struct hub_job *answer; !job && (answer = queue_pop(answers, 0)) != NULL;) job = answer;
      status = job ? job->status : TRB_STORE;
    }
    if (job && status == TRB_OK) trb_buf_append_slice(out, trb_buf_slice(&job->answer));
    if (job && status != TRB_OK && err) *err = job->error;
    if (job) job->words = NULL;
    writer_close(w);
  }
  for (struct hub_job *left; answers && (left = queue_pop(answers, 0)) != NULL;) job_free(&left);
  queue_free(&answers);
  job_free(&job);
  free(w);
  return status;
}

enum trb_status hub_command(const char *dir, size_t count, const char *const *words, struct trb_buf *out,
                            struct trb_error *err) {
  struct trb_conf conf;
  enum trb_status status = check_folder(dir, &conf, err);
  if (status != TRB_OK) return status;
  if (count == 0 || count > TRB_CONTROL_WORDS_MAX) return trb_fail(err, TRB_PEER, "no command, or too many words");
  int timeout = strcmp(words[0], "backup") == 0 ? BACKUP_TIMEOUT_MS : COMMAND_TIMEOUT_MS;
  struct trb_error called = {0};
  status = control_call(dir, count, words, timeout, out, &called);
  bool none = status == TRB_ABSENT &&
              strncmp(called.text, "No daemon", 9) == 0; /* control.c's words; an answer may be ABSENT too */
  if (!none) {
    if (status != TRB_OK && err) *err = called;
    return status;
  }
  bool metrics = strcmp(words[0], "metrics") == 0;
  if (metrics || strcmp(words[0], "status") == 0) return status_offline(dir, &conf, metrics, out, err);
  int lock = -1;
  status = file_lock(dir, &lock, err);
  if (status == TRB_OK) status = run_offline(dir, &conf, count, words, out, err);
  if (lock >= 0) close(lock);
  return status;
}
