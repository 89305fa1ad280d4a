/* branch: a branch office's daemon and the commands that act on its directory.
 *
 * One loop, one thread: wake-up (inotify), seal, session, apply down. Files of DIR: node.ini, lock,
 * control.sock, keys/{sign,curve,hub.keyset} (0600), replica.db (anyone's; rollback journal), outbox.db (the daemon's
 * alone; WAL). */
#ifndef TRIBUTARY_BRANCH_H
#define TRIBUTARY_BRANCH_H

#include "tributary/clock.h"
#include "tributary/conf.h"
#include "tributary/db.h"
#include "tributary/token.h"

struct branch_join_result {
  char site[33];
  char endpoint[121];
};
/* Makes DIR and keys, redeems the token (again with the same keys after a crash in between), writes node.ini, installs
 * replica.db and outbox.db. Waits at most timeout_ms. */
enum trb_status branch_join(const char *dir, const struct trb_token *token, int timeout_ms,
                            struct branch_join_result *ret, struct trb_error *err);
/* Until SIGTERM/SIGINT (seals what is committed, stops cleanly). once: until in sync with the hub, then ends. */
enum trb_status branch_run(const char *dir, bool once, struct trb_error *err);
/* What `status` answers (JSON; numbers are integers, times unix ms, 0 for never):
 *   role "branch", site, endpoint, connected (bool), suspended (bool), in_sync (bool: everything
 * saved here is at headquarters, held or set aside there, digests equal, no row missing here, not held or refused; what
 * is set aside is an alarm), replica_locked (bool: a client keeps others out; what is read of
 * replica.db is as last known), marks_unsealed, sealed_sequence, acked_sequence, safe_sequence, waiting_batches,
 * waiting_changes, waiting_bytes, refused (rows), last_heard_ms, last_acked_ms, down_version, down_rows, digests_equal
 * (bool), digests: object of table name -> {rows, sum (16 hex digits)} of live rows at acked_sequence, hold: {code,
 * text} when the hub holds the stream, alarms: array of {name, text} (name: capture_damaged, outbox_growing, lock_held,
 *   clock_unsure, stream_held, disk_full ...).
 * What `metrics` answers: one flat JSON object, name -> number; names of counters end in _total. node/cli/metrics.c
 * makes Prometheus text of it. */
/* words[0]: status, seal, rotate, metrics. Through control.sock when the daemon runs, else directly on the files.
 * status answers a JSON object. */
enum trb_status branch_command(const char *dir, size_t count, const char *const *words, struct trb_buf *out,
                               struct trb_error *err);

struct branch_report {
  int64_t batches, tables, rows;
  int64_t integrity_errors; /* files that fail SQLite's integrity check */
  int64_t chain_errors;     /* batches damaged, missing, wrongly signed or not following the one before */
  int64_t ack_errors;       /* acknowledgements that are not headquarters' for these bytes */
  int64_t digest_errors;    /* stored digests that are not those of the shadows */
  int64_t row_differences;  /* rows unlike their shadows with no mark waiting: a scrub would seal them */
  char first[300];          /* the first thing found wrong, for people */
};
/* Recomputes from DIR's files what can be recomputed and compares; reads only, with or without the daemon, holding read
 * snapshots for a slice of rows at a time. TRB_OK also when something differs: see branch_report_good. Cost: reads both
 * files once; memory flat. */
enum trb_status branch_verify(const char *dir, struct branch_report *ret, struct trb_error *err);
bool branch_report_good(const struct branch_report *report);

#endif
