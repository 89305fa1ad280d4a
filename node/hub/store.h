/* store: hub.db as the writer holds it: the connection, the catalogue with its statements, the caches, the unified
 * view.
 *
 * Writer thread (or the one thread of a command that works on the files). Everything cached here is what the database
 * says: store_commit writes the caches before COMMIT, store_rollback forgets them. */
#ifndef TRIBUTARY_HUB_STORE_H
#define TRIBUTARY_HUB_STORE_H

#include "digests.h"
#include "rows.h"
#include "tributary/change.h"
#include "tributary/unify.h"

/* The end of one site's current stream. */
struct stream {
  int64_t no, site;
  uint8_t incarnation[TRB_INCARNATION_BYTES];
  uint64_t sequence, safe;
  uint8_t hash[TRB_HASH_BYTES];
  trb_hlc base;
  int64_t heard_ms, changes;
  bool used, dirty;
};

struct site_facts { /* what lets the common path skip a look-up */
  bool known;
  bool set_aside, tombstones; /* the site may have some; false: surely none */
};

struct store {
  struct trb_db *db;               /* owned */
  struct trb_catalogue *catalogue; /* owned reference: built in and custom */
  struct rows *rows;               /* owned */
  struct digests *digests;         /* owned */
  struct unify *unify;             /* owned; NULL without the unified view (tests of the lower rooms) */
  struct stream *streams;          /* owned, by site number */
  struct site_facts *facts;        /* owned, by site number */
  size_t site_cap;
  trb_hlc last_commit; /* highest commit HLC given out */
  uint8_t epoch[16];   /* of the replicas; new whenever this file turned out to be older than what was told */
  int64_t *dirty;      /* owned: sites with new down entries since the writer last told them */
  size_t dirty_count, dirty_cap;
  bool roster_changed, catalogue_changed; /* since the writer last told the net thread */
  bool definitions, notes; /* by this transaction: custom definitions changed; unify has something to finish */
  uint16_t grown[64];      /* tables that gained columns since promote_grown */
  size_t grown_count;
  int64_t set_aside_count, fork_count; /* by this process, for the metrics */
  struct trb_arena scratch;            /* of one change */
  struct trb_buf times, extra;         /* the row being written */
};

enum {
  STORE_BUSY_MS = 5000,     /* only readers and backups of others can be in the way */
  STORE_SITES_MAX = 100000, /* site numbers are array indexes */
};

/* create: makes the file and its tables. The writer's pragmas: WAL, synchronous FULL, no automatic checkpoints. */
enum trb_status store_open(const char *path, bool create, bool with_unify, struct store *ret, struct trb_error *err);
void store_close(struct store *s); /* zeroed or half built allowed */

enum trb_status store_begin(struct store *s, struct trb_error *err);
/* Finishes the unified view, writes caches and commits; on any failure everything is rolled back. ret_dirty: see
 * unify_finish. */
enum trb_status store_commit(struct store *s, struct unify_sites *ret_dirty, struct trb_error *err);
void store_rollback(struct store *s);

/* hub_state. Absent: *ret stays as it was. */
enum trb_status store_state_int(struct store *s, const char *name, int64_t *ret, struct trb_error *err);
enum trb_status store_set_state(struct store *s, const char *name, struct trb_value value, struct trb_error *err);
/* A row of the table `setting`. TRB_ABSENT when there is none. */
enum trb_status store_setting(struct trb_db *db, const char *name, struct trb_buf *out, struct trb_error *err);
int64_t store_setting_int(struct trb_db *db, const char *name, int64_t otherwise);

/* Number of a site, made when unknown (in the transaction). */
enum trb_status store_site_no(struct store *s, struct trb_slice name, int64_t *ret, struct trb_error *err);
/* The site's current stream, cached; TRB_ABSENT when it never had one. Valid until a site with a higher number is met.
 */
enum trb_status store_stream(struct store *s, int64_t site, struct stream **ret, struct trb_error *err);
/* A granted stream becomes the site's current one. */
enum trb_status store_stream_start(struct store *s, int64_t site, const uint8_t incarnation[TRB_INCARNATION_BYTES],
                                   const uint8_t *parent, uint64_t parent_sequence, struct trb_error *err);
enum trb_status store_facts(struct store *s, int64_t site, struct site_facts **ret, struct trb_error *err);

/* promote.c: values that were kept raw go to the columns their tables gained; in a transaction of the caller's. */
enum trb_status promote_grown(struct store *s, struct trb_error *err);

/* Built in plus the rows of custom_table and custom_column, as this connection sees them. */
enum trb_status store_load_catalogue(struct trb_db *db, struct trb_catalogue **ret, struct trb_error *err);
/* The same with further definitions laid over those rows (same number: replaced). */
enum trb_status store_merge_catalogue(struct trb_db *db, const struct trb_custom_table *tables, size_t table_count,
                                      const struct trb_custom_column *columns, size_t column_count,
                                      struct trb_catalogue **ret, struct trb_error *err);
/* After such rows changed: new catalogue, missing tables and columns made, all in the open transaction. TRB_PEER: the
 * definitions clash; roll back. */
enum trb_status store_refresh_catalogue(struct store *s, struct trb_error *err);

#endif
