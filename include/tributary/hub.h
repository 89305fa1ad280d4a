/* hub: headquarters' daemon and the commands that act on its directory.
 *
 * Threads: net (ROUTER, ZAP, sessions, control socket: this one), workers (verify and decode), writer (the only
 * read-write connection), down (read-only rendering). They talk through bounded queues (queue.h) and eventfds; no other
 * state is shared but the catalogue (reference counted) and counters (atomics).
 *
 * Files of DIR: node.ini, lock, control.sock, keys/{root,sign,curve,curve-next} (0600), hub.db (WAL, one read-write
 * connection); the journal of headquarters' own batches is in node.ini's `journal` (default DIR/journal; put it on
 * another disk). */
#ifndef TRIBUTARY_HUB_H
#define TRIBUTARY_HUB_H

#include "tributary/clock.h"
#include "tributary/conf.h"
#include "tributary/db.h"

struct hub_options {
  const char *name, *listen, *advertise, *journal;
};
enum trb_status hub_init(const char *dir, const struct hub_options *options, struct trb_error *err);
/* Until SIGTERM/SIGINT (drains: what was received is committed and acknowledged). */
enum trb_status hub_run(const char *dir, struct trb_error *err);

/* What `status` answers (JSON; times unix ms, 0 for never):
 *   role "hub", name, listen, in_sync (bool: every active site is), records, parties, rejected, held (bool: waits for
 * `go`), last_backup_ms, epoch (hex), sites: array of {site, state (invited, active, suspended, revoked), connected
 * (bool), in_sync (bool: online, everything saved at the branch is here, held or set aside, digests equal, nothing
 * waits to go down; what is set aside is an alarm), version, last_heard_ms,
 * acked_sequence, safe_sequence, backlog (batches the branch says it has), down_pending, rejected, digests_equal
 * (bool), digests: as in branch.h}, alarms: array of {name, site (or ""), text} (name: branch_silent, backup_stale,
 * fork, cloned, digest_differs, rejected, held ...). What `metrics` answers: one flat JSON object, name -> number;
 * names of counters end in _total. */
/* A command that changes the hub: through control.sock when the daemon runs, else directly on the files under the lock.
 * words[0]: invite, suspend, resume, revoke, policy-load, policy-set, policy-get, rejected-retry, backup,
 * backup-verified, rotate, go, access-log (PARTY WHY: somebody was shown what is masked), status, metrics. Appends the
 * answer to *out (JSON object or text as the command documents). */
enum trb_status hub_command(const char *dir, size_t count, const char *const *words, struct trb_buf *out,
                            struct trb_error *err);

#endif
