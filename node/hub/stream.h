/* stream: the order of one site's batches, and the acceptance of those whose turn it is. Writer thread, in a
 * transaction.
 *
 * Invariants: a sequence is accepted once; its hash stays for ever; an effective time never goes back within a stream;
 * commit HLCs are unique over the hub. */
#ifndef TRIBUTARY_HUB_STREAM_H
#define TRIBUTARY_HUB_STREAM_H

#include "job.h"
#include "store.h"

enum {
  STREAM_MASS_DELETE_MIN = 20,     /* deletes of one table in one pass that are never held; the
                                       setting mass_delete_min overrides */
  STREAM_MASS_DELETE_PER_CENT = 1, /* nor are these of the site's rows */
  STREAM_FORKS_MAX = 1000,         /* kept a site; more are only counted */
};

enum stream_place {
  STREAM_NEXT,     /* its turn */
  STREAM_REPEATED, /* taken before with the same hash: job->ack is the acknowledgement to send again */
  STREAM_HELD,     /* job->hold, job->sequence and job->text say why not */
};
/* Where does the batch stand? `before`: the last batch of the site that waits for its pass to complete, or NULL. Forks
 * are kept. */
enum trb_status stream_place(struct store *s, struct hub_job *job, const struct hub_job *before, int64_t now_ms,
                             enum stream_place *ret, struct trb_error *err);
/* A batch that could not be opened: counted, answered with a hold. */
enum trb_status stream_bad(struct store *s, struct hub_job *job, int64_t now_ms, struct trb_error *err);

/* A whole pass, in order: each batch is accepted (or takes the acceptance that was sent along), applied, compared by
 * digest and acknowledged into job->ack. Anything but TRB_OK: roll back. */
enum trb_status stream_accept(struct store *s, const struct crypto_signer *signer, struct hub_job *const *jobs,
                              size_t count, int64_t now_ms, struct trb_error *err);

#endif
