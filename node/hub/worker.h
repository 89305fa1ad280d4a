/* worker: verifies and decodes one batch: signature, chain fields, body, decode, each change against the catalogue, the
 * contacts' identity keys. worker_verify is pure given the job; the threads around it are in hub.c (each has its own
 * queue, and the batches of one site always go to the same worker, so they stay in order). A bad batch is a status in
 * the job, never an end. */
#ifndef TRIBUTARY_HUB_WORKER_H
#define TRIBUTARY_HUB_WORKER_H

#include "job.h"

#define WORKER_REASONS_MAX 64 /* texts kept a batch; further refusals say their reason's own text */

struct worker_keys { /* signing keys of the hub whose acks are believed: current first */
  size_t count;
  uint8_t sign_public[JOB_SIGN_KEYS][TRB_KEY_BYTES];
};
void worker_verify(struct hub_job *job, const struct worker_keys *hub);

/* INT values of REAL columns become REAL, as SQLite's column affinity would make them (digests are taken over that). */
void worker_canonical(const struct trb_catalogue *catalogue, struct trb_change *change);

#endif
