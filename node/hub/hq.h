/* hq: headquarters' own writes. They are a stream like any (site `hq`, batches sealed with the hub's signing key),
 * journaled before they are answered, applied by the same code. Sites, keys, invitations, orders, settings and policy
 * are rows of it.
 *
 * Writer thread (or a command on the files). Invariant: hub.db is never ahead of the journal; when it is behind (a
 * restored backup, a full disk after the journal took the write) hq_catch_up applies what is missing. */
#ifndef TRIBUTARY_HUB_HQ_H
#define TRIBUTARY_HUB_HQ_H

#include "job.h"
#include "journal.h"
#include "store.h"
#include "worker.h"

struct hq {
  struct store *store;                /* borrowed */
  struct journal *journal;            /* owned */
  const struct crypto_signer *signer; /* borrowed: the hub's signing key */
  struct worker_keys keys;            /* public signing keys of the hub, current first */
  uint64_t journal_end;               /* how far hub.db follows the journal */
  bool journal_new;                   /* this start made the file */
  int64_t replayed;                   /* batches taken back from the journal at start */
  bool restored;                      /* hub.db turned out to be a copy or behind: the epoch is new */
  bool held;                          /* writes may be lost: sites wait until an operator says go */
};

/* Opens the journal, replays what hub.db misses, notices a restored or older hub.db (new epoch) and lost writes (held).
 * start false: a command on the files, which is no start of a daemon. */
enum trb_status hq_open(struct store *store, const char *journal_path, const struct crypto_signer *signer, bool start,
                        const struct worker_keys *keys, struct hq *ret, struct trb_error *err);
void hq_close(struct hq *hq);

/* Changes in the making: a list of rows of headquarters' tables. Values are borrowed until hq_write. */
struct hq_changes {
  struct trb_arena arena;
  size_t count, cap;
  struct trb_change *changes;
  bool failed;
};
/* Adds a PUT, SET or DELETE; cells follow by hq_cell. id is copied. */
void hq_change(struct hq_changes *list, uint16_t table, enum trb_op op, struct trb_slice id);
/* To the last change; values are copied; columns in any order. */
void hq_cell(struct hq_changes *list, uint16_t column, struct trb_value value);
void hq_changes_free(struct hq_changes *list);
#define HQ_CHANGES_AUTO __attribute__((cleanup(hq_changes_free))) struct hq_changes

/* Everything or nothing, in a transaction of its own: checked, applied, journaled, committed. TRB_PEER names the first
 * change that does not fit the catalogue. When it fails after the journal took it (TRB_FULL, TRB_STORE) the text says
 * that it will be applied later. */
enum trb_status hq_write(struct hq *hq, struct hq_changes *list, int64_t now_ms, struct unify_sites *ret_dirty,
                         struct trb_error *err);
/* A row of the table `setting`. */
enum trb_status hq_set(struct hq *hq, const char *name, const char *value, int64_t now_ms, struct trb_error *err);
/* The operator says go. */
enum trb_status hq_go(struct hq *hq, struct trb_error *err);

#endif
