/* journal: headquarters' own batches, on a second path, appended and fsynced before they are answered. From it a hub
 * restored from a backup takes back its own writes since (decisions, policy, sites, revocations).
 *
 * File: 8 bytes "TRBJRNL1", then records: length of the payload (u32be), first 8 bytes of its SHA-256, payload =
 * msgpack array [type, ...]: [1, sealed batch (bin), signed ack (bin)] or [2, starts (uint)], one at each start of a
 * daemon. A torn last record (cut short by a crash, so never answered) is dropped at open; damage before the end is an
 * error that names the place.
 *
 * One owner (the writer thread). Invariant: after journal_append returned TRB_OK the record is on disk. */
#ifndef TRIBUTARY_HUB_JOURNAL_H
#define TRIBUTARY_HUB_JOURNAL_H

#include "tributary/base.h"

#define JOURNAL_RECORD_MAX (4u << 20) /* a batch and its ack, with room */

enum journal_type { JOURNAL_BATCH = 1, JOURNAL_START = 2 };
struct journal_record {
  enum journal_type type;
  struct trb_slice sealed, ack; /* BATCH */
  uint64_t starts;              /* START */
};

struct journal; /* opaque, owned */
/* Makes the file when absent (*ret_new). path may be a folder: the file is then `journal` in it. */
enum trb_status journal_open(const char *path, struct journal **ret, bool *ret_new, struct trb_error *err);
void journal_close(struct journal **j_p);
enum trb_status journal_append(struct journal *j, const struct journal_record *record, struct trb_error *err);
/* All records from the start; anything but TRB_OK from visit ends it. Slices live for the call. */
typedef enum trb_status journal_visit(void *context, const struct journal_record *record, struct trb_error *err);
enum trb_status journal_each(struct journal *j, journal_visit *visit, void *context, struct trb_error *err);
/* Keeps the file under another name (.1, .2 ...) and starts an empty one. */
enum trb_status journal_retire(struct journal *j, struct trb_error *err);
uint64_t journal_bytes(const struct journal *j);

#endif
