/* branch: the daemon's loop, and the commands. See include/tributary/branch.h and node.h. */
#include "tributary/branch.h"

#include <errno.h>
#include <signal.h>
#include <string.h>
#include <sys/inotify.h>
#include <sys/signalfd.h>
#include <sys/timerfd.h>
#include <time.h>
#include <unistd.h>

#include "node.h"
#include "tributary/notify.h"

#define CALL_TIMEOUT_MS 30000
#define BURST_MS 4
#define SYNC_QUIET_US (300 * 1000) /* nothing came down for so long after all was acknowledged: that was all */

/* ---- what wakes the loop ---- */

static enum trb_status watch_files(struct node *node, struct trb_error *err) {
  node->inotify_fd = inotify_init1(IN_NONBLOCK | IN_CLOEXEC);
  if (node->inotify_fd < 0) return trb_fail(err, TRB_STORE, "cannot watch files: %m");
  uint32_t events = IN_MODIFY | IN_DELETE | IN_MOVED_TO | IN_CREATE;
  if (inotify_add_watch(node->inotify_fd, node->dir, events) < 0)
    return trb_fail(err, TRB_STORE, "cannot watch %s: %m (see fs.inotify.max_user_watches)", node->dir);
  return TRB_OK;
}

/* Wakes when the wall clock is set, so that the marks before and after it can be told apart. */
static enum trb_status watch_clock(struct node *node, struct trb_error *err) {
  struct itimerspec never = {.it_value = {.tv_sec = INT64_C(1) << 40}};
  node->timer_fd = timerfd_create(CLOCK_REALTIME, TFD_NONBLOCK | TFD_CLOEXEC);
  if (node->timer_fd < 0 ||
      timerfd_settime(node->timer_fd, TFD_TIMER_ABSTIME | TFD_TIMER_CANCEL_ON_SET, &never, NULL) != 0)
    return trb_fail(err, TRB_STORE, "cannot watch the clock: %m");
  return TRB_OK;
}

static enum trb_status watch_signals(struct node *node, struct trb_error *err) {
  sigset_t set;
  sigemptyset(&set);
  sigaddset(&set, SIGTERM);
  sigaddset(&set, SIGINT);
  if (sigprocmask(SIG_BLOCK, &set, NULL) != 0) return trb_fail(err, TRB_STORE, "cannot block signals: %m");
  node->signal_fd = signalfd(-1, &set, SFD_NONBLOCK | SFD_CLOEXEC);
  return node->signal_fd < 0 ? trb_fail(err, TRB_STORE, "cannot watch signals: %m") : TRB_OK;
}

static void read_files(struct node *node) {
  _Alignas(struct inotify_event) char bytes[4096];
  uint32_t touched = 0;
  for (ssize_t len; (len = read(node->inotify_fd, bytes, sizeof bytes)) > 0;)
    for (char *at = bytes; at < bytes + len;) {
      const struct inotify_event *event = (const struct inotify_event *)(const void *)at;
      at += sizeof *event + event->len;
      bool ours = (event->mask & IN_Q_OVERFLOW) ||
                  (event->len && strncmp(event->name, REPLICA_FILE, sizeof REPLICA_FILE - 1) == 0);
      if (!ours) continue;
      touched++;
    }
  if (touched) work_woken(node, touched);
}

static void read_clock(struct node *node) {
  uint64_t ticks;
  if (read(node->timer_fd, &ticks, sizeof ticks) < 0 && errno != ECANCELED) return;
  struct trb_error err;
  if (work_clock(node, &err) == TRB_AGAIN) work_woken(node, 0); /* locked: the next pass looks */
}

static void read_signal(struct node *node) {
  struct signalfd_siginfo info;
  while (read(node->signal_fd, &info, sizeof info) == sizeof info) node->stop = true;
}

/* ---- commands ---- */

static enum trb_status answer(struct node *node, const char *word, struct trb_buf *out, struct trb_error *err) {
  if (strcmp(word, "status") == 0) return status_print(node, out, err);
  if (strcmp(word, "metrics") == 0) return status_metrics(node, out, err);
  if (strcmp(word, "seal") == 0) {
    work_woken(node, 0);
    trb_buf_append_str(out, "{\"sealing\":true}");
    return TRB_OK;
  }
  if (strcmp(word, "rotate") == 0) {
    enum trb_status status = rotate_begin(node, err);
    trb_buf_append_str(out, "{\"rotating\":true}");
    return status;
  }
  return trb_fail(err, TRB_PEER, "a branch does not know the command '%.40s'", word);
}

static void serve(struct node *node) {
  int client;
  size_t count;
  const char *const *words;
  while (control_next(node->control, &client, &count, &words) == TRB_OK) {
    TRB_BUF_AUTO out = {0};
    struct trb_error err = {0};
    enum trb_status status = count ? answer(node, words[0], &out, &err) : trb_fail(&err, TRB_PEER, "no command");
    control_answer(node->control, client, status, status == TRB_OK ? trb_buf_slice(&out) : trb_slice_str(err.text));
  }
}

/* ---- the loop ---- */

static int timeout_ms(struct node *node, int64_t until_us) {
  struct trb_clock_reading now;
  int64_t us = seal_now_us(), due = work_due_us(node);
  if (until_us < due) due = until_us;
  int64_t ms = due == INT64_MAX ? 60000 : due <= us ? 0 : (due - us + 999) / 1000;
  if (clock_read(&now) == TRB_OK) {
    int64_t line = uplink_deadline_ms(node->uplink);
    int64_t left = line <= now.boot_ms ? 0 : line == INT64_MAX ? 60000 : line - now.boot_ms;
    if (left < ms) ms = left;
  }
  int64_t watchdog = (int64_t)notify_watchdog_ms();
  if (watchdog && watchdog < ms) ms = watchdog;
  return ms > 60000 ? 60000 : (int)ms;
}

/* In a burst of writes the files are not listened to for some milliseconds: each of them would wake us several times.
 */
static enum trb_status wait_for_work(struct node *node, int64_t until_us, struct trb_error *err) {
  int fds[TRB_LINK_WAIT_FDS_MAX] = {node->timer_fd, node->signal_fd};
  bool ready[TRB_LINK_WAIT_FDS_MAX] = {false};
  size_t count = 2;
  int timeout = timeout_ms(node, until_us);
  bool burst = seal_now_us() - node->event_us < BURST_MS * 1000;
  if (burst && timeout > BURST_MS) timeout = BURST_MS;
  if (!burst) fds[count++] = node->inotify_fd;
  if (node->control) count += control_fds(node->control, fds + count, TRB_LINK_WAIT_FDS_MAX - count);
  enum trb_status status = link_wait(NULL, node->client, fds, ready, count, timeout, err);
  if (status != TRB_OK) return status;
  read_files(node);
  if (ready[0]) read_clock(node);
  if (ready[1]) read_signal(node);
  if (node->control) serve(node);
  return TRB_OK;
}

static bool synced(struct node *node) {
  struct uplink_status line;
  struct node_sync sync;
  uplink_status(node->uplink, &line);
  if (line.state != UPLINK_ONLINE || !work_sealed_all(node) || node->replica.applying || node->rotating) return false;
  int64_t quiet = node->down_us ? node->down_us : node->sealed_us;
  if (node->replica.held_version == 0 && node->down_us == 0)
    return false; /* the first rows and the policy are on their way */
  if (seal_now_us() - quiet < SYNC_QUIET_US) return false;
  return status_sync(node, &sync, NULL) == TRB_OK && sync.in_sync;
}

static enum trb_status turn(struct node *node, struct trb_error *err) {
  enum trb_status status = work_run(node, err);
  if (status == TRB_OK) status = line_run(node, err);
  if (status == TRB_OK) status = rotate_run(node, err);
  return status;
}

enum trb_status node_loop(struct node *node, bool once, int64_t until_us, struct trb_error *err) {
  enum trb_status status = TRB_OK;
  while (status == TRB_OK && !node->stop) {
    notify_watchdog();
    status = turn(node, err);
    if (once && status == TRB_OK && (synced(node) || seal_now_us() >= until_us)) break;
    int64_t wake = once && seal_now_us() + 100000 < until_us ? seal_now_us() + 100000 : until_us;
    if (status == TRB_OK && !node->stop) status = wait_for_work(node, wake, err);
  }
  return status;
}

/* What is committed is sealed before the end, but a client that holds the file is not waited for. */
static void seal_last(struct node *node) {
  struct trb_error err;
  const struct outbox_state *s = &node->outbox->state;
  for (int i = 0; i < 20 && !s->want && !s->baseline && !node->stream_pending && !node->rotating; i++) {
    struct trb_clock_reading now;
    struct seal_result result = {0};
    if (clock_read(&now) != TRB_OK ||
        seal_pass(&node->sealing, (struct seal_limits){20000, SEAL_MARKS_MAX}, &now, &result, &err) != TRB_OK ||
        !result.more)
      return;
  }
}

static void close_all(struct node *node) {
  control_close(&node->control);
  line_stop(node);
  link_context_free(&node->context);
  const int fds[] = {node->inotify_fd, node->timer_fd, node->signal_fd};
  for (size_t i = 0; i < 3; i++)
    if (fds[i] >= 0) close(fds[i]);
  node_close(node);
}

static bool rotation_stands(struct node *node) {
  char path[NODE_PATH_MAX];
  return node_path(node->dir, "keys/sign.next", path, NULL) == TRB_OK && access(path, F_OK) == 0;
}

static enum trb_status open_all(struct node *node, bool control, struct trb_error *err) {
  enum trb_status status = watch_files(node, err);
  if (status == TRB_OK) status = watch_clock(node, err);
  if (status == TRB_OK) status = watch_signals(node, err);
  if (status == TRB_OK && control) status = control_listen(node->dir, &node->control, err);
  if (status == TRB_OK) status = link_context_new(&node->context, err);
  if (status == TRB_OK) status = work_start(node, err);
  if (status == TRB_OK) status = line_start(node, err);
  node->rotating = rotation_stands(node);
  return status;
}

static enum trb_status run(const char *dir, bool once, int64_t until_us, struct trb_error *err) {
  struct node node;
  enum trb_status status = node_open(dir, &node, err);
  if (status != TRB_OK) return status;
  status = open_all(&node, !once, err);
  if (status == TRB_OK) {
    if (!once) {
      notify_ready();
      node_log(6, "%s serves %s", node.conf.site, dir);
    }
    status = node_loop(&node, once, until_us, err);
    notify_stopping();
    if (status == TRB_OK && !once) seal_last(&node);
    if (status == TRB_OK && once && !synced(&node)) status = trb_fail(err, TRB_AGAIN, "not in sync yet");
  }
  close_all(&node);
  return status;
}

enum trb_status branch_run(const char *dir, bool once, struct trb_error *err) { return run(dir, once, INT64_MAX, err); }

enum trb_status branch_sync(const char *dir, int timeout, struct trb_error *err) {
  return run(dir, true, seal_now_us() + (int64_t)timeout * 1000, err);
}

/* ---- commands without the daemon ---- */

static enum trb_status seal_now(struct node *node, struct trb_buf *out, struct trb_error *err) {
  struct trb_clock_reading now;
  struct seal_result result = {.more = true};
  const struct outbox_state *s = &node->outbox->state;
  if (s->want || s->baseline) return trb_fail(err, TRB_AGAIN, "a new stream is wanted: start the daemon first");
  enum trb_status status = work_start(node, err);
  while (status == TRB_OK && result.more && !result.rolled_back) {
    status = clock_read(&now) == TRB_OK ? work_clock(node, err) : trb_fail(err, TRB_STORE, "cannot read the clock");
    if (status == TRB_OK)
      status = seal_pass(&node->sealing, (struct seal_limits){20000, SEAL_MARKS_MAX}, &now, &result, err);
  }
  trb_buf_printf(out, "{\"sealed_sequence\":%llu}", (unsigned long long)s->sequence);
  return status;
}

static enum trb_status on_files(const char *dir, const char *word, struct trb_buf *out, struct trb_error *err) {
  struct node node;
  enum trb_status status = node_open(dir, &node, err);
  if (status != TRB_OK) return status;
  if (strcmp(word, "seal") == 0)
    status = seal_now(&node, out, err);
  else
    status = answer(&node, word, out, err);
  node_close(&node);
  return status;
}

enum trb_status branch_command(const char *dir, size_t count, const char *const *words, struct trb_buf *out,
                               struct trb_error *err) {
  if (count == 0) return trb_fail(err, TRB_PEER, "no command");
  enum trb_status status = control_call(dir, count, words, CALL_TIMEOUT_MS, out, err);
  return status == TRB_ABSENT ? on_files(dir, words[0], out, err) : status;
}
