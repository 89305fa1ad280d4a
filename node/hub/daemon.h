/* daemon: what the parts of the running hub share. Only hub.c, net*.c and hub_*.c include it.
 *
 * Everything here belongs to the net thread but for the queues, the atomics and what each thread is given. */
#ifndef TRIBUTARY_HUB_DAEMON_H
#define TRIBUTARY_HUB_DAEMON_H

#include <pthread.h>

#include "buckets.h"
#include "roster.h"
#include "tributary/control.h"
#include "tributary/link.h"
#include "writer.h"

enum {
  DAEMON_WORKERS_MAX = 16,
  DAEMON_WORKER_BYTES = 256 << 20, /* sealed batches that wait for all workers together */
  DAEMON_WRITER_BYTES = 256 << 20, /* decoded batches that wait for the writer */
  DAEMON_QUEUE_JOBS = 65536,
  DAEMON_TICK_MS = 1000,
  DAEMON_RETRY_MS = 2000,        /* jobs of sessions that could not be done */
  DAEMON_FRAMES_PER_TURN = 500,  /* before other inputs get their turn */
  DAEMON_FLIPS_MAX = 20,         /* lines of one site taking turns within a minute: a clone */
  DAEMON_ADDRESSES = 1024,       /* remembered for each of the limits below; the one not heard of for longest goes */
  DAEMON_GUEST_BURST = 10,       /* connections of unknown keys from one address at once .. */
  DAEMON_GUEST_REFILL_MS = 2000, /* .. and one more each so often */
  DAEMON_JOIN_BURST = 10,        /* messages of unknown keys from one address; a town's branches may share one */
  DAEMON_JOIN_REFILL_MS = 1000,
  DAEMON_JOINS_PER_SECOND = 20, /* over all addresses: each costs a signature and a commit */
};

struct net_site { /* one enrolled site, by number */
  int64_t no;
  char name[TRB_SITE_BYTES_MAX + 1];
  struct session *session; /* owned */
  struct link_route route; /* the latest */
  bool routed, told_revoked;
  int connection; /* of the route */
  bool gone;      /* that connection ended, and nothing came since */
  int flips;
  int64_t flips_since_ms;
  bool cloned;                     /* two lines take turns */
  bool up, differs;                /* as the log last said: the session, a digest */
  struct hub_job *late[JOB_KINDS]; /* owned: what found a queue full, the latest of its kind; pushed at the next tick */
  int64_t down_retry_ms, attach_retry_ms, snapshot_retry_ms; /* 0: none due */
};
struct worker {
  pthread_t thread;
  struct queue *in; /* owned */
  struct daemon *daemon;
};
struct daemon {
  const char *dir;
  struct trb_conf conf;
  struct hub_keys keys;            /* owned */
  struct trb_db *reader;           /* owned: the net thread's read-only connection */
  struct trb_catalogue *catalogue; /* owned reference: what batches are checked against */
  struct roster roster;
  uint8_t epoch[16];
  bool held; /* waits for go; as of the last roster load */

  struct link_context *context;
  struct link_server *server;
  struct control_server *control;
  int signal_fd;
  bool stopping, rebind; /* rebind: the served CURVE key changed */

  struct net_site **sites; /* owned, by number */
  size_t site_cap;
  struct buckets *guests, *joiners; /* owned: connections, and messages, of unknown keys */
  int joins;
  int64_t joins_since_ms, ticked_ms;

  struct writer writer;
  pthread_t writer_thread, down_thread;
  bool writer_runs, down_runs;
  struct queue *to_writer, *to_down, *to_net; /* owned */
  size_t worker_count;
  struct worker workers[DAEMON_WORKERS_MAX];
  _Atomic(uint64_t) accepted_version; /* of `accepted`, read by workers */
  pthread_mutex_t accepted_mutex;
  struct worker_keys accepted;

  bool store_failing; /* as the log last said */
  uint64_t guest_frames, joins_refused, control_commands;
};

/* net.c */
enum trb_status net_open(struct daemon *d, struct trb_error *err);
enum trb_status net_loop(struct daemon *d, struct trb_error *err);
enum trb_status net_reload_roster(struct daemon *d, struct trb_error *err);
struct net_site *net_site_of(struct daemon *d, int64_t no);
void net_pump(struct daemon *d, struct net_site *site); /* does what the session wants */
int64_t net_now_ms(void);
/* net_jobs.c */
void jobs_from_session(struct daemon *d, struct net_site *site, const struct session_action *action);
void jobs_result(struct daemon *d, struct hub_job *job); /* takes it */
void jobs_guest(struct daemon *d, const struct link_frame *frame);
void jobs_command(struct daemon *d, int client, size_t count, const char *const *words);
void jobs_drop_late(struct net_site *site);
void jobs_retry(struct daemon *d, struct net_site *site, int64_t now_ms);

/* net_log.c: what came of a job, told once; sessions that came and went since the last tick */
void netlog_result(struct daemon *d, const struct hub_job *job);
void netlog_join_refused(enum trb_fault fault, const char *site, const char *why); /* site empty: not known */
void netlog_cloned(const struct net_site *site);
void netlog_tick(struct daemon *d);

/* hub_status.c: daemon NULL means that no daemon runs; `db` any connection. */
struct status_source {
  struct trb_db *db;
  const struct roster *roster;
  const struct trb_conf *conf;
  const char *dir;
  struct daemon *daemon;
};
enum trb_status hub_status(const struct status_source *source, struct trb_buf *out, struct trb_error *err);
/* hub_metrics.c */
enum trb_status hub_metrics(const struct status_source *source, struct trb_buf *out, struct trb_error *err);

#endif
