/* node: the branch daemon's own parts, shared by the files of node/branch that make it up. Not a contract for others.
 *
 *   branch_node.c   files of DIR: open, close, keys, keyset
 *   branch_work.c   what is done with the files: wake-up, seal, baseline, scrub, apply, trim, clock
 *   branch_line.c   the uplink core's actions and the connection
 *   branch_rotate.c new keys
 *   branch_status.c status and metrics
 *   branch.c        the loop and the commands
 *   branch_join.c   enrolment */
#ifndef NODE_BRANCH_NODE_H
#define NODE_BRANCH_NODE_H

#include "tributary/branch.h"
#include "tributary/control.h"
#include "tributary/link.h"
#include "tributary/outbox.h"
#include "tributary/replica.h"
#include "tributary/sealer_store.h"
#include "tributary/uplink.h"

#define NODE_PATH_MAX 4096

struct node_keys {
  uint8_t sign_seed[TRB_KEY_BYTES], sign_public[TRB_KEY_BYTES];
  uint8_t curve_secret[TRB_KEY_BYTES], curve_public[TRB_KEY_BYTES];
};

/* When things are to be done: microseconds of CLOCK_MONOTONIC; INT64_MAX: not. */
struct node_due {
  int64_t look;  /* look for marks */
  int64_t apply; /* next slice of a DOWN frame */
  int64_t trim;
  int64_t scrub;
  int64_t check; /* the slow round: schema, clock, file replaced, alarms */
};

/* What was last read of replica.db. */
struct node_known {
  int64_t unsealed, differing, down_rows, refused;
};

struct node {
  char dir[NODE_PATH_MAX];
  int lock_fd;
  struct trb_conf conf;
  struct trb_keyset keyset;
  struct node_keys keys;
  struct crypto_signer *signer;
  struct outbox *outbox;
  struct replica replica;
  struct sealing sealing;

  struct link_context *context;
  struct link_client *client;
  struct uplink *uplink;
  bool connected;
  bool answered, next_curve;  /* the latest line came up; it was dialled with the hub's next CURVE key */
  int64_t heard_ms, acked_ms; /* wall */
  enum { NODE_REFUSED_UNKNOWN, NODE_REFUSED_NO, NODE_REFUSED_YES } refused; /* as the alarm key_refused says */

  bool rotating, on_next_keys; /* new keys stand beside the old; they are the ones in use */
  bool rotate_sent, rotate_tried;
  bool replica_gone;   /* replica.db was taken away while the daemon runs: waits for it */
  bool stream_pending; /* a granted incarnation waits for replica.db to be readable */
  uint8_t stream_incarnation[TRB_INCARNATION_BYTES];
  uint64_t recovered_sequence; /* batches up to here were looked through for what the replica lost */
  uint32_t recovered;

  struct node_due due;
  int64_t burst_us;        /* when somebody began to write after ALONE_US of silence */
  int64_t event_us;        /* last sign of a write by somebody else (or us) */
  int64_t waiting_us;      /* writes wait to be sealed since; 0: none */
  int64_t checked_us;      /* last slow round */
  uint32_t events;         /* signs of writes since the last pass */
  int64_t sealed_us;       /* when the last pass that found marks ended */
  int64_t locked_since_us; /* replica.db is locked by a client since; 0: it is not */
  bool lock_shown;         /* the alarm about it stands */
  int64_t apply_from_us;   /* the next slice of what came down not before: clients have their turn */
  int64_t data_version;    /* of replica.db when a slice was last begun: another one means that a client wrote */
  int64_t client_us;       /* when that was last seen */
  int64_t apply_wait_us;   /* a slice waits for a moment in which no client writes since; 0: none */
  int64_t down_us;         /* when the last DOWN frame was applied */
  bool scrub_emptied;      /* the table that the scrub is at */
  int64_t scrub_begun_us;  /* when the last one began: rows sealed since may stand in a table it had passed */
  int64_t scrubbed_us;     /* when the last whole scrub ended */
  int64_t offset_ms;       /* last measured offset that was stored */
  bool offset_known;
  int retry_ms;
  struct node_known known; /* of replica.db, for status while it is locked */
  uint64_t passes, trimmed_passes, batches, changes, down_frames, bad_acks, locked;

  int inotify_fd, timer_fd, signal_fd;
  struct control_server *control;
  bool stop;
};

/* ---- branch_node.c ---- */
enum trb_status node_path(const char *dir, const char *name, char ret[NODE_PATH_MAX], struct trb_error *err);
/* Takes the lock and opens everything but the line; seals nothing yet. */
enum trb_status node_open(const char *dir, struct node *node, struct trb_error *err);
void node_close(struct node *node);
enum trb_status node_load_keyset(struct node *node, struct trb_error *err);
/* tail "" or ".next". TRB_ABSENT: not there. */
enum trb_status node_load_keys(const char *dir, const char *tail, struct node_keys *ret, struct trb_error *err);
/* New keys, written and fsynced before anybody hears of them. */
enum trb_status node_make_keys(const char *dir, const char *tail, struct node_keys *ret, struct trb_error *err);
enum trb_status node_use_keys(struct node *node, const struct node_keys *keys, struct trb_error *err);
int64_t node_wall_ms(void);
void node_alarm(struct node *node, const char *kind, const char *format, ...) __attribute__((format(printf, 3, 4)));
void node_calm(struct node *node, const char *kind);
void node_log(int level, const char *format, ...)
    __attribute__((format(printf, 2, 3))); /* stderr, `<level>` in front */

/* ---- branch_work.c ---- */
enum trb_status work_start(struct node *node, struct trb_error *err); /* schema, clock, rollback; schedules */
void work_down(struct node *node);                                    /* a frame is to be applied */
void work_woken(struct node *node, uint32_t events);                  /* somebody wrote to replica.db */
bool work_quiet(const struct node *node);                             /* nobody did for a while */
/* Everything that is due. TRB_STORE and the like: the daemon ends. */
enum trb_status work_run(struct node *node, struct trb_error *err);
int64_t work_due_us(const struct node *node);
enum trb_status work_clock(struct node *node, struct trb_error *err); /* opens a segment if the clock broke */
enum trb_status work_start_stream(struct node *node, struct trb_error *err);
bool work_sealed_all(struct node *node); /* as far as is known without a look at the file */

/* Rows that the shadows hold are gone from replica.db without having been deleted: the alarm about them stands. */
bool work_rows_lost(struct node *node);
bool work_alarm_stands(struct node *node, const char *kind);

/* replica.db could not be read now: the alarm names the process that keeps it locked. */
void work_lock_seen(struct node *node);

/* ---- branch_line.c ---- */
enum trb_status line_start(struct node *node, struct trb_error *err);
void line_stop(struct node *node);
/* Receives what is there, ticks, and does what the core asks until it is idle. */
enum trb_status line_run(struct node *node, struct trb_error *err);
void line_down_applied(struct node *node);
/* A DOWN that cannot be stored: the line is given up, so that it comes again only after the back-off. */
void line_refuse_down(struct node *node, const struct trb_clock_reading *now, const char *why);
void line_sealed(struct node *node);

/* ---- branch_rotate.c ---- */
enum trb_status rotate_begin(struct node *node, struct trb_error *err);
enum trb_status rotate_run(struct node *node, struct trb_error *err); /* at every turn of the loop */
enum trb_status rotate_confirmed(struct node *node, struct trb_error *err);

/* ---- branch_status.c ---- */
struct node_sync {
  int64_t unsealed;
  bool all_sealed, all_acked, held, digests_equal, rows_lost, refused, in_sync;
  bool locked; /* replica.db could not be read: what is said of it is as last known */
};
enum trb_status status_sync(struct node *node, struct node_sync *ret, struct trb_error *err);
enum trb_status status_print(struct node *node, struct trb_buf *out, struct trb_error *err);
enum trb_status status_metrics(struct node *node, struct trb_buf *out, struct trb_error *err);

/* ---- branch.c ---- */
/* The daemon without its control socket until in sync: TRB_AGAIN after timeout_ms. */
enum trb_status branch_sync(const char *dir, int timeout_ms, struct trb_error *err);
enum trb_status node_loop(struct node *node, bool once, int64_t until_us, struct trb_error *err);

#endif
