/* branch: a branch office's daemon and the commands that act on its directory.
 *
 * One loop, one thread: wake-up (inotify, data_version), seal, session, apply down. Files of DIR: node.ini, lock, control.sock,
 * keys/{sign,curve,hub.keyset} (0600), replica.db (anyone's; rollback journal), outbox.db (the daemon's alone; WAL). */
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
/* Makes DIR and keys, redeems the token (again with the same keys after a crash in between), writes node.ini, installs replica.db and outbox.db. Waits at most timeout_ms. */
enum trb_status branch_join(const char *dir, const struct trb_token *token, int timeout_ms, struct branch_join_result *ret,
                            struct trb_error *err);
/* Until SIGTERM/SIGINT (seals what is committed, stops cleanly). once: until in sync with the hub, then ends. */
enum trb_status branch_run(const char *dir, bool once, struct trb_error *err);
/* words[0]: status, seal, rotate, metrics. Through control.sock when the daemon runs, else directly on the files. status answers a JSON object. */
enum trb_status branch_command(const char *dir, size_t count, const char *const *words, struct trb_buf *out,
                               struct trb_error *err);

#endif
