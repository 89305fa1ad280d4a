/* digests: what each branch should hold, table by table, kept incrementally (digest.h). A cache over the table
 * `digest`: changed in memory while a group is applied, written before its commit, forgotten after a rollback. Writer
 * thread. */
#ifndef TRIBUTARY_HUB_DIGESTS_H
#define TRIBUTARY_HUB_DIGESTS_H

#include "tributary/db.h"
#include "tributary/digest.h"

struct digest_entry {
  int64_t site;
  uint16_t table;
  bool used, dirty;
  int64_t rows;
  uint64_t sum;
};
struct digests; /* opaque, owned */
enum trb_status digests_new(struct trb_db *db, struct digests **ret, struct trb_error *err);
void digests_free(struct digests **d_p);
/* The entry to change (set dirty); valid until the next call. */
enum trb_status digests_get(struct digests *d, int64_t site, uint16_t table, struct digest_entry **ret,
                            struct trb_error *err);
enum trb_status digests_flush(struct digests *d, struct trb_error *err);
void digests_forget(struct digests *d);

#endif
