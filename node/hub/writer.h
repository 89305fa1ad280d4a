/* writer: the one owner of hub.db's read-write connection. Takes jobs in the order of its queue, commits what waits in
 * groups, and only after the COMMIT (synchronous=FULL) hands the answers on: nothing is acknowledged that is not on
 * disk.
 *
 * writer_group and writer_idle need no thread (tests and commands on the files call them); writer_main is the thread.
 *
 * Invariants: answers leave in the order of decisions. A pass of 'continues' batches is committed whole. After a failed
 * commit nothing of the group stands, its sites are told BUSY, and the next groups are single jobs, so that one
 * poisoned batch does not hold up other sites. */
#ifndef TRIBUTARY_HUB_WRITER_H
#define TRIBUTARY_HUB_WRITER_H

#include <stdatomic.h>

#include "hq.h"
#include "hubkeys.h"
#include "queue.h"

enum {
  WRITER_GROUP_JOBS = 256,
  WRITER_GROUP_CHANGES = 20000, /* bounds a commit, and so the wait of the next group */
  WRITER_GROUP_BYTES = 32 << 20,
  WRITER_HELD_BYTES = 256 << 20,          /* incomplete passes of all sites; beyond: BUSY */
  WRITER_CHECKPOINT_BYTES = 64 << 20,     /* of WAL, between groups */
  WRITER_IDLE_CHECKPOINT_BYTES = 1 << 20, /* of WAL, when nothing waits */
  WRITER_IDLE_MS = 500,
  WRITER_BACKUP_PAGES = 256,   /* copied between two groups: about a millisecond */
  WRITER_CAUTIOUS_GROUPS = 64, /* single jobs after a failure */
};

struct pass { /* batches of one site that wait for the end of their pass */
  size_t count, cap;
  struct hub_job **jobs;   /* owned */
  size_t bytes, raw_bytes; /* of memory; of bodies */
  bool stopped;            /* the site was told a hold since its last attach or accepted batch */
};
struct writer_counters { /* read by the net thread */
  atomic_int_least64_t groups, batches, changes, failures, repeated, held, set_aside, forks, wal_bytes, commit_us;
  atomic_bool failing; /* the last group could not be committed */
};
struct backup;

struct writer {
  const char *dir;      /* borrowed */
  struct store store;   /* owned */
  struct hq hq;         /* owned */
  struct hub_keys keys; /* owned: its own copy */
  struct trb_conf conf;
  struct pass *passes; /* owned, by site number */
  size_t pass_cap, held_bytes;
  struct queue *in, *out; /* borrowed; out NULL: answers are freed */
  struct backup *backup;  /* owned, NULL when none runs */
  int cautious;
  bool keys_changed; /* by the command just run */
  int64_t trimmed_at_ms;
  struct writer_counters counters;
};

/* Opens DIR's hub.db, keys and journal. start: as a daemon (counted; see hq_open). */
enum trb_status writer_open(const char *dir, const struct trb_conf *conf, bool start, struct writer *ret,
                            struct trb_error *err);
void writer_close(struct writer *w);

/* Takes the jobs (each is handed to `out`, kept in its pass, or freed). */
void writer_group(struct writer *w, struct hub_job **jobs, size_t count);
/* Checkpoint, history, backup: what is done when nothing waits. idle false: between two groups. */
void writer_idle(struct writer *w, bool idle);
void *writer_main(void *writer); /* until the queue is closed and drained */

int64_t writer_now_ms(void);

/* commands.c: words of JOB_COMMAND. TRB_AGAIN: goes on in the background, the job is kept and answered later (backup).
 */
enum trb_status writer_command(struct writer *w, struct hub_job *job, struct trb_error *err);
/* backup.c */
enum trb_status backup_begin(struct writer *w, struct hub_job *job, struct trb_error *err);
bool backup_step(struct writer *w); /* true while one runs */
void backup_abort(struct writer *w);
enum trb_status backup_verified(struct writer *w, const char *path, int64_t number, int64_t now_ms, struct trb_buf *out,
                                struct trb_error *err);
/* The copy did not verify: it is removed. */
enum trb_status backup_refused(struct writer *w, const char *path, int64_t number, struct trb_buf *out,
                               struct trb_error *err);
void writer_answer(struct writer *w, struct hub_job *job); /* hands it on, or frees it */

#endif
