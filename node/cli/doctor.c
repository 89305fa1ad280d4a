/* doctor: looks at a node from outside and says what is wrong and what to do next. Changes nothing. Each check is one
 * function, in the order of the table at the end; a check that cannot be made says so and the rest go on. */
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <netdb.h>
#include <poll.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/statvfs.h>
#include <sys/timex.h>
#include <time.h>
#include <unistd.h>

#include "commands.h"
#include "node_status.h"
#include "tributary/db.h"
#include "tributary/schema.h"

enum {
  DISK_FAIL_BYTES = 100 << 20, /* a large group of batches, its journal and the log of one transaction */
  DISK_WARN_BYTES = 1 << 30,   /* days of an office's work */
  CLOCK_WARN_MS = 2000,        /* more than an ordinary office PC with time synchronisation shows */
  CLOCK_YEAR_MIN = 1735689600, /* 2025-01-01: before it the clock was never set */
  CONNECT_MS = 3000,
  BACKUP_WARN_HOURS = 36,           /* nightly, and one that was late */
  QUICK_CHECK_BYTES_MAX = 64 << 20, /* larger files take seconds: that is what `verify` is for */
  DB_BUSY_MS = 2000,
  PATH_BYTES = 4200,
};

enum result { DOCTOR_OK, DOCTOR_WARN, DOCTOR_FAIL };
struct doctor {
  struct cli *cli;
  const char *dir;
  struct trb_conf conf;
  bool conf_ok, db_ok;
  json_t *checks;    /* owned */
  json_t *status;    /* owned, NULL when the node does not answer */
  struct trb_db *db; /* owned, NULL when it cannot be opened */
  int failed, warned;
};

/* next: what to do, "" for nothing. */
static void say(struct doctor *d, enum result result, const char *check, const char *next, const char *format, ...)
    __attribute__((format(printf, 5, 6)));
static void say(struct doctor *d, enum result result, const char *check, const char *next, const char *format, ...) {
  static const char *const names[] = {"OK", "WARN", "FAIL"};
  char text[1200];
  va_list args;
  va_start(args, format);
  vsnprintf(text, sizeof text, format, args);
  va_end(args);
  d->failed += result == DOCTOR_FAIL;
  d->warned += result == DOCTOR_WARN;
  if (d->cli->json) {
    json_array_append_new(d->checks, json_pack("{s:s, s:s, s:s, s:s}", "check", check, "result", names[result], "text",
                                               text, "next", next));
    return;
  }
  if (result == DOCTOR_OK && d->cli->quiet) return;
  fprintf(d->cli->out, "%-5s %-14s ", names[result], check);
  cli_print_text(d->cli->out, trb_slice_str(text));
  fputc('\n', d->cli->out);
  if (next[0]) fprintf(d->cli->out, "%-20s -> %s\n", "", next);
}

static bool is_hub(const struct doctor *d) { return d->conf.role == TRB_ROLE_HUB; }
static void path_of(const struct doctor *d, const char *name, char ret_path[PATH_BYTES]) {
  snprintf(ret_path, PATH_BYTES, "%s/%s", d->dir, name);
}

static void check_configuration(struct doctor *d) {
  struct trb_error err = {0};
  if (conf_load(d->dir, &d->conf, &err)) {
    say(d, DOCTOR_FAIL, "configuration", "put node.ini back from a copy; see deploy/sample/node.ini for what it holds",
        "%s", err.text);
    return;
  }
  d->conf_ok = true;
  say(d, DOCTOR_OK, "configuration", "", "%s %s", is_hub(d) ? "hub" : "branch",
      is_hub(d) ? d->conf.name : d->conf.site);
}

static void check_versions(struct doctor *d) {
  say(d, DOCTOR_OK, "versions", "", "tributary " TRB_VERSION ", SQLite %s", db_library_version());
}

static void check_directory(struct doctor *d) {
  struct stat st;
  const char *network = NULL;
  if (stat(d->dir, &st) != 0) {
    say(d, DOCTOR_FAIL, "directory", "", "%s: %s", d->dir, strerror(errno));
    return;
  }
  if (file_on_network(d->dir, &network))
    say(d, DOCTOR_FAIL, "directory", "move DIR to a local disk: SQLite's locks do not hold over a network",
        "%s is on a network file system (%s)", d->dir, network);
  else if (st.st_mode & S_IWOTH)
    say(d, DOCTOR_WARN, "directory", "chmod o-w DIR", "everybody on this machine may write in %s", d->dir);
  else
    say(d, DOCTOR_OK, "directory", "", "%s, local file system, mode %04o", d->dir, (unsigned)(st.st_mode & 07777));
}

static void check_disk(struct doctor *d) {
  struct statvfs fs;
  if (statvfs(d->dir, &fs) != 0) {
    say(d, DOCTOR_WARN, "disk", "", "free space cannot be read: %s", strerror(errno));
    return;
  }
  unsigned long long free_bytes = (unsigned long long)fs.f_bavail * fs.f_frsize;
  enum result result = free_bytes < DISK_FAIL_BYTES   ? DOCTOR_FAIL
                       : free_bytes < DISK_WARN_BYTES ? DOCTOR_WARN
                                                      : DOCTOR_OK;
  say(d, result, "disk", result ? "make room: with a full disk nothing more can be saved" : "", "%llu MiB free",
      free_bytes >> 20);
}

/* ---- keys ---- */

static void check_key(struct doctor *d, const char *name) {
  char path[PATH_BYTES], next[PATH_BYTES + 80];
  struct stat st;
  snprintf(path, sizeof path, "%s/keys/%s", d->dir, name);
  if (lstat(path, &st) != 0) {
    say(d, DOCTOR_FAIL, "keys",
        is_hub(d) ? "put it back from your copy: without it this hub cannot prove who it is"
                  : "put it back from a copy, or have headquarters revoke this machine and invite the site again",
        "keys/%s: %s", name, strerror(errno));
  } else if (!S_ISREG(st.st_mode) || st.st_size == 0) {
    say(d, DOCTOR_FAIL, "keys", "put it back from your copy", "keys/%s is empty or no file", name);
  } else if (st.st_mode & 077) {
    snprintf(next, sizeof next, "chmod 600 %s; if others may have read it: tributary rotate DIR", path);
    say(d, DOCTOR_FAIL, "keys", next, "keys/%s can be read by others (mode %04o)", name,
        (unsigned)(st.st_mode & 07777));
  }
}

static void check_keys(struct doctor *d) {
  static const char *const hub_keys[] = {"root", "sign", "curve", NULL};
  static const char *const branch_keys[] = {"sign", "curve", "hub.root", "hub.keyset", NULL};
  int failed_before = d->failed;
  for (const char *const *name = is_hub(d) ? hub_keys : branch_keys; *name; ++name) check_key(d, *name);
  if (d->failed == failed_before) say(d, DOCTOR_OK, "keys", "", "present, readable by their owner only");
}

/* ---- the daemon ---- */

static void check_daemon(struct doctor *d) {
  char path[PATH_BYTES];
  struct trb_error err = {0};
  path_of(d, "lock", path);
  int fd = open(path, O_RDONLY | O_CLOEXEC);
  bool runs = fd >= 0 && flock(fd, LOCK_SH | LOCK_NB) != 0 && errno == EWOULDBLOCK;
  if (fd >= 0) close(fd);
  enum trb_status status = node_ask(d->dir, "status", NULL, &d->status, &err);
  char next[PATH_BYTES];
  snprintf(next, sizeof next, "tributary %s run %s (or: systemctl start tributary-%s@NAME)",
           is_hub(d) ? "hub" : "branch", d->dir, is_hub(d) ? "hub" : "branch");
  if (status)
    say(d, DOCTOR_FAIL, "daemon", runs ? "it holds the lock and does not answer: look at its log, restart it" : next,
        "%s", err.text);
  else if (!runs)
    say(d, DOCTOR_WARN, "daemon", next, "does not run: nothing is %s", is_hub(d) ? "received" : "sent to headquarters");
  else
    say(d, DOCTOR_OK, "daemon", "", "runs and answers");
}

static void check_alarms(struct doctor *d) {
  size_t i, said = 0;
  json_t *alarm;
  if (!d->status) return;
  json_array_foreach(json_object_get(d->status, "alarms"), i, alarm) {
    const char *name = node_text(alarm, "name"), *site = node_text(alarm, "site");
    if (strcmp(name, "backup_stale") == 0) continue; /* check_backup's */
    say(d, DOCTOR_WARN, "alarm", "", "%s%s%s: %s", name, site[0] ? " " : "", site, node_text(alarm, "text"));
    ++said;
  }
  int64_t refused = node_int(d->status, is_hub(d) ? "rejected" : "refused");
  if (refused)
    say(d, DOCTOR_WARN, "refused", "tributary rejected DIR", "%lld changes were set aside", (long long)refused);
  if (said == 0 && !refused) say(d, DOCTOR_OK, "alarms", "", "none, and nothing is set aside");
}

static void check_backup(struct doctor *d) {
  if (!d->status || !is_hub(d)) return;
  int64_t then_ms = node_int(d->status, "last_backup_ms");
  char ago[32];
  node_ago(then_ms, ago);
  if (then_ms == 0 || node_now_ms() - then_ms > (int64_t)BACKUP_WARN_HOURS * 3600 * 1000)
    say(d, DOCTOR_WARN, "backup",
        "tributary hub backup DIR FILE (nightly: systemctl enable --now tributary-backup@NAME.timer)",
        "last verified backup: %s; branches keep every batch until two backups cover it", ago);
  else
    say(d, DOCTOR_OK, "backup", "", "last verified backup %s", ago);
}

/* ---- time ---- */

static void check_clock(struct doctor *d) {
  static const char next[] = "turn time synchronisation on: timedatectl set-ntp true";
  struct timex clock = {0};
  int state = adjtimex(&clock);
  if (time(NULL) < CLOCK_YEAR_MIN) {
    say(d, DOCTOR_FAIL, "clock", next, "this machine's clock was never set: it is before 2025");
    return;
  }
  const json_t *offset = d->status ? json_object_get(d->status, "clock_offset_ms") : NULL;
  long long offset_ms = json_integer_value(offset);
  if (json_is_integer(offset) && llabs(offset_ms) > CLOCK_WARN_MS)
    say(d, DOCTOR_WARN, "clock", next, "differs from headquarters' clock by %lld ms (changes are corrected for it)",
        offset_ms);
  else if (state == TIME_ERROR)
    say(d, DOCTOR_WARN, "clock", next, "the kernel says that nothing keeps this clock right");
  else if (json_is_integer(offset))
    say(d, DOCTOR_OK, "clock", "", "kept right, %lld ms from headquarters'", offset_ms);
  else
    say(d, DOCTOR_OK, "clock", "", "kept right");
}

/* ---- the database ---- */

/* Who holds a lock of SQLite's on the file (https://www.sqlite.org/lockingv3.html: PENDING at 1 GiB, RESERVED, SHARED)?
 * Asked before this process opens the database: closing a second descriptor would drop its own locks. */
static void check_lock_holder(struct doctor *d) {
  char path[PATH_BYTES], name[64] = "", proc[64];
  if (is_hub(d)) return;
  path_of(d, "replica.db", path);
  int fd = open(path, O_RDWR | O_CLOEXEC);
  if (fd < 0) return;
  struct flock lock = {.l_type = F_WRLCK, .l_whence = SEEK_SET, .l_start = 0x40000000, .l_len = 512};
  bool held = fcntl(fd, F_GETLK, &lock) == 0 && lock.l_type != F_UNLCK;
  close(fd);
  if (!held) {
    say(d, DOCTOR_OK, "locks", "", "nobody holds replica.db at this moment");
    return;
  }
  snprintf(proc, sizeof proc, "/proc/%d/comm", (int)lock.l_pid);
  FILE *comm = fopen(proc, "re");
  if (comm) {
    if (fgets(name, sizeof name, comm)) name[strcspn(name, "\n")] = 0;
    fclose(comm);
  }
  say(d, DOCTOR_WARN, "locks",
      "ask again; when it is still there, end that program's transaction (COMMIT) or that program",
      "process %d (%s) holds replica.db %s at this moment", (int)lock.l_pid, name[0] ? name : "unknown",
      lock.l_type == F_WRLCK ? "for writing" : "for reading");
}

static void check_database(struct doctor *d) {
  const char *name = is_hub(d) ? "hub.db" : "replica.db";
  char path[PATH_BYTES];
  struct stat st;
  struct trb_error err = {0};
  TRB_BUF_AUTO mode = {0};
  path_of(d, name, path);
  if (stat(path, &st) != 0) {
    say(d, DOCTOR_FAIL, "database",
        is_hub(d) ? "restore it from a backup (README, Recovery)" : "restore it from a copy, or join again", "%s: %s",
        name, strerror(errno));
    return;
  }
  if (db_open(path, TRB_DB_READ, DB_BUSY_MS, &d->db, &err) ||
      db_get_bytes(d->db, &err, &mode, "PRAGMA journal_mode", "")) {
    say(d, DOCTOR_FAIL, "database", err.status == TRB_AGAIN ? "see 'locks'" : "tributary verify DIR", "%s: %s", name,
        err.text);
    return;
  }
  bool wal = strcmp(trb_buf_cstr(&mode), "wal") == 0;
  if (is_hub(d) != wal) {
    say(d, DOCTOR_FAIL, "database",
        is_hub(d) ? "end other programs that write hub.db; the daemon sets the mode when it starts"
                  : "close other programs, then: sqlite3 DIR/replica.db 'PRAGMA journal_mode=DELETE'",
        "%s is in journal mode %s", name, trb_buf_cstr(&mode));
    return;
  }
  d->db_ok = true;
  if (st.st_size <= QUICK_CHECK_BYTES_MAX) {
    TRB_BUF_AUTO answer = {0};
    if (db_get_bytes(d->db, &err, &answer, "PRAGMA quick_check(1)", "") || strcmp(trb_buf_cstr(&answer), "ok") != 0) {
      say(d, DOCTOR_FAIL, "database", "stop the daemon, keep a copy of DIR, then restore it (README, Recovery)",
          "%s is damaged: %s", name, answer.len ? trb_buf_cstr(&answer) : err.text);
      return;
    }
  }
  say(d, DOCTOR_OK, "database", "", "%s, %lld KiB, journal mode %s", name, (long long)(st.st_size >> 10),
      trb_buf_cstr(&mode));
}

struct trigger_count {
  struct trb_db *db;
  int wanted, missing, altered;
  char first[80];
};

static enum trb_status visit_trigger(void *context, const struct trb_schema_object *object, struct trb_error *err) {
  struct trigger_count *count = context;
  TRB_BUF_AUTO sql = {0};
  if (object->kind != TRB_SCHEMA_TRIGGER) return TRB_OK;
  ++count->wanted;
  enum trb_status status = db_get_bytes(
      count->db, err, &sql, "SELECT sql FROM sqlite_master WHERE type = 'trigger' AND name = ?1", "t", object->name);
  if (status && status != TRB_ABSENT) return status;
  bool same = !status && strcmp(trb_buf_cstr(&sql), object->sql) == 0;
  count->missing += status == TRB_ABSENT;
  count->altered += !status && !same;
  if (!same && !count->first[0]) snprintf(count->first, sizeof count->first, "%s", object->name);
  return TRB_OK;
}

/* The built-in tables only: a custom column changes its table's triggers, so those are counted when missing but not as
 * altered. */
static void check_triggers(struct doctor *d) {
  if (is_hub(d) || !d->db_ok) return;
  struct trigger_count count = {.db = d->db};
  struct trb_error err = {0};
  struct trb_catalogue *catalogue = catalogue_builtin();
  int64_t custom = 0;
  enum trb_status status = schema_branch_each(catalogue, visit_trigger, &count, &err);
  catalogue_unref(&catalogue);
  if (!status) status = db_get_int(d->db, &err, &custom, "SELECT count(*) FROM custom_column", "");
  static const char next[] = "start the daemon: it restores them and looks for changes that were missed";
  if (status)
    say(d, DOCTOR_WARN, "triggers", "", "cannot be read: %s", err.text);
  else if (count.missing || (count.altered && !custom))
    say(d, DOCTOR_FAIL, "triggers", next, "%d of %d capture triggers are missing, %d altered (first: %s)",
        count.missing, count.wanted, count.altered, count.first);
  else
    say(d, DOCTOR_OK, "triggers", "", "%d capture triggers and guards are in place", count.wanted);
}

/* ---- the line ---- */

/* A ZeroMQ peer greets with 0xFF, eight bytes, 0x7F (ZMTP 3, rfc.zeromq.org/spec/23). NULL when it did, else what went
 * wrong. */
static const char *greeting(int fd) {
  unsigned char hello[10];
  size_t have = 0;
  struct pollfd wait = {.fd = fd, .events = POLLIN};
  while (have < sizeof hello && poll(&wait, 1, CONNECT_MS) == 1) {
    ssize_t n = recv(fd, hello + have, sizeof hello - have, 0);
    if (n <= 0) return "the connection was closed at once";
    have += (size_t)n;
  }
  if (have < sizeof hello) return "nothing was said: is something else listening there, or a proxy between?";
  return hello[0] == 0xff && hello[9] == 0x7f ? NULL : "what listens there is no Tributary hub";
}

static const char *try_address(const struct addrinfo *address) {
  int fd = socket(address->ai_family, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
  if (fd < 0) return strerror(errno);
  const char *wrong = NULL;
  struct pollfd wait = {.fd = fd, .events = POLLOUT};
  int error = 0;
  socklen_t len = sizeof error;
  if (connect(fd, address->ai_addr, address->ai_addrlen) != 0 && errno != EINPROGRESS)
    wrong = strerror(errno);
  else if (poll(&wait, 1, CONNECT_MS) != 1)
    wrong = "no answer in 3 seconds";
  else if (getsockopt(fd, SOL_SOCKET, SO_ERROR, &error, &len) == 0 && error)
    wrong = strerror(error);
  if (!wrong) wrong = greeting(fd);
  close(fd);
  return wrong;
}

/* endpoint: tcp://HOST:PORT, HOST perhaps in brackets. NULL when a hub speaks there. */
static const char *try_endpoint(const char *endpoint) {
  char host[TRB_CONF_VALUE_MAX];
  const char *port = strrchr(endpoint, ':');
  if (strncmp(endpoint, "tcp://", 6) != 0 || !port || port < endpoint + 6) return "is not of the form tcp://HOST:PORT";
  snprintf(host, sizeof host, "%.*s", (int)(port - endpoint - 6), endpoint + 6);
  size_t len = strlen(host);
  char *name = host;
  if (len > 1 && host[0] == '[' && host[len - 1] == ']') {
    host[len - 1] = 0;
    ++name;
  }
  struct addrinfo hints = {.ai_socktype = SOCK_STREAM}, *found = NULL;
  int rc = getaddrinfo(name, port + 1, &hints, &found);
  if (rc != 0) return gai_strerror(rc);
  const char *wrong = "no address";
  for (const struct addrinfo *a = found; a && wrong; a = a->ai_next) wrong = try_address(a);
  freeaddrinfo(found);
  return wrong;
}

static void check_reach(struct doctor *d) {
  char endpoints[TRB_CONF_VALUE_MAX], *rest = NULL;
  snprintf(endpoints, sizeof endpoints, "%s",
           is_hub(d)        ? d->conf.advertise
           : d->conf.via[0] ? d->conf.via
                            : d->conf.endpoints);
  int reached = 0, tried = 0;
  for (char *e = strtok_r(endpoints, ", ", &rest); e; e = strtok_r(NULL, ", ", &rest)) {
    const char *wrong = try_endpoint(e);
    ++tried;
    reached += !wrong;
    if (wrong)
      say(d, DOCTOR_WARN, "reach",
          is_hub(d) ? "is the daemon running, the port forwarded, the name in DNS?"
                    : "is the line up? does a firewall forbid it?",
          "%s: %s", e, wrong);
    else
      say(d, DOCTOR_OK, "reach", "", "a hub answers at %s", e);
  }
  if (tried == 0) say(d, DOCTOR_FAIL, "reach", "put it into node.ini", "no endpoint is configured");
  if (!is_hub(d) && d->status && strcmp(node_text(d->status, "state"), "refused") == 0)
    say(d, DOCTOR_FAIL, "session", "ask headquarters: tributary hub sites DIR; join again with a new token",
        "headquarters does not let this node in: %s", node_text(d->status, "connection"));
  else if (!is_hub(d) && reached && d->status && !node_bool(d->status, "connected"))
    say(d, DOCTOR_WARN, "session", "look at the daemon's log; headquarters: tributary hub sites DIR",
        "the hub can be reached, but no session is open");
}

/* ---- advice ---- */

static void check_clients(struct doctor *d) {
  if (is_hub(d)) return;
  say(d, DOCTOR_OK, "other programs", "",
      "any SQLite program may write replica.db; let it wait for a lock instead of failing (busy_timeout):");
  if (d->cli->json || d->cli->quiet) return;
  fprintf(d->cli->out,
          "%20s sqlite3 shell  sqlite3 -cmd '.timeout 5000' %s/replica.db\n"
          "%20s Python         sqlite3.connect('%s/replica.db', timeout=5)\n"
          "%20s ODBC           Driver=SQLite3;Database=%s/replica.db;Timeout=5000\n"
          "%20s Keep transactions short, leave journal_mode alone (never WAL), and write no unified_* table.\n",
          "", d->dir, "", d->dir, "", d->dir, "");
}

int cmd_doctor(struct cli *cli) {
  static void (*const node_checks[])(struct doctor *) = {
      check_keys,  check_lock_holder, check_database, check_versions, check_triggers, check_daemon,
      check_clock, check_alarms,      check_backup,   check_reach,    check_clients};
  int code = cli_args(cli, 1, 1, "tributary doctor DIR [--json]");
  if (code) return code;
  struct doctor d = {.cli = cli, .dir = cli->argv[0], .checks = json_array()};
  check_directory(&d);
  check_disk(&d);
  check_configuration(&d);
  for (size_t i = 0; d.conf_ok && i < sizeof node_checks / sizeof *node_checks; ++i) node_checks[i](&d);
  if (cli->json) {
    json_t *all = json_pack("{s:i, s:i, s:O}", "failed", d.failed, "warned", d.warned, "checks", d.checks);
    json_dumpf(all, cli->out, JSON_COMPACT);
    fputc('\n', cli->out);
    json_decref(all);
  } else {
    fprintf(cli->out, "%d failed, %d warnings\n", d.failed, d.warned);
  }
  db_close(&d.db);
  json_decref(d.status);
  json_decref(d.checks);
  return d.failed ? CLI_FAILED : CLI_DONE;
}
