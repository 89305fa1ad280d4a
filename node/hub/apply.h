/* apply: one change to its row. Per column the later effective time wins, a tie goes to the later arrival; deletes
 * leave a tombstone; unknown columns are kept raw; what cannot be applied is set aside (setaside.h) and later changes
 * of that row join it.
 *
 * Writer thread, inside a transaction. Invariant: digests equal the sum over rows and set-aside changes. */
#ifndef TRIBUTARY_HUB_APPLY_H
#define TRIBUTARY_HUB_APPLY_H

#include "job.h"
#include "store.h"

struct apply_context { /* of one batch */
  int64_t site;
  uint64_t sequence;
  trb_hlc accepted; /* commit HLC */
  int64_t now_ms;
  const trb_hlc *times; /* effective time of each mark of the batch */
};
struct apply_input {
  const struct trb_change *change;
  uint32_t position;
  enum trb_refusal refusal; /* by change_check or the hold on mass deletes; NONE: apply it */
  const char *reason;       /* for people; NULL: the refusal's own text */
  struct job_made made;     /* zeros: none of it */
  bool retry; /* comes from set_aside: neither joined to what stands there nor counted in the digest again */
};
/* *ret_refusal (may be NULL): NONE, or why it was set aside. Statuses are our own troubles only (STORE, FULL, NOMEM
 * ...). */
enum trb_status apply_change(struct store *s, const struct apply_context *context, const struct apply_input *input,
                             enum trb_refusal *ret_refusal, struct trb_error *err);

#endif
