/* sealer_store: marks of replica.db become batches of outbox.db, in passes.
 *
 * Impure (SQLite); the daemon's thread. A pass only reads replica.db, in one short read transaction; it never writes
 * there. Before the outbox commits, replica.db is synced: what is sealed cannot be lost by a power cut at the client.
 * Invariant: after a pass everything up to the cursor is sealed or gave nothing; a failed pass changes nothing. */
#ifndef TRIBUTARY_SEALER_STORE_H
#define TRIBUTARY_SEALER_STORE_H

#include "tributary/outbox.h"

struct seal_sql; /* statement texts of a table, made once */
struct sealing {
  struct trb_db *replica; /* borrowed, as all of these */
  struct outbox *outbox;
  struct trb_catalogue *catalogue; /* after a change call seal_forget */
  const struct crypto_signer *signer;
  const char *site;
  int64_t schema_version; /* the one capture was last checked at: a pass on another one does nothing but say so */
  size_t sql_count;       /* owned from here */
  struct seal_sql *sql;
  struct packer *packer;
};
void seal_forget(struct sealing *sealing); /* frees what is owned */

struct seal_result {
  bool schema_changed; /* run capture_check, then pass again */
  bool rolled_back;    /* the last sealed mark is not the one that was sealed: state.want is set */
  bool more;           /* more can be sealed now */
  uint32_t batches, changes, marks;
  uint32_t oversized;  /* rows larger than a batch: not sent */
  uint16_t lost_table; /* a table with marks is missing in replica.db: its rows are not sent; 0: none */
  int64_t reading_us;  /* how long the read transaction lasted */
};
struct seal_limits {
  int64_t read_us; /* about so much reading (one row at least) */
  size_t marks;    /* looked at; at most SEAL_MARKS_MAX */
};
#define SEAL_MARKS_MAX \
  4000 /* bounds memory and the time the first reading takes; a bulk import goes in several passes */
/* One pass: at most TRB_CONTINUES_BYTES_MAX and what `limits` says. now: for sealed_ms. TRB_AGAIN: replica.db
 * is locked. */
enum trb_status seal_pass(struct sealing *sealing, struct seal_limits limits, const struct trb_clock_reading *now,
                          struct seal_result *ret, struct trb_error *err);
/* One slice of the baseline (state.baseline), until it is done. */
enum trb_status seal_baseline(struct sealing *sealing, int64_t read_ms_max, const struct trb_clock_reading *now,
                              struct seal_result *ret, struct trb_error *err);

/* Highest mark and its nonce (0, 0: none), and the first mark after `after` that was made since wall time from_ms (last
 * + 1: none). */
enum trb_status seal_last_mark(struct trb_db *replica, uint64_t *ret_mark, int64_t *ret_nonce, struct trb_error *err);
enum trb_status seal_mark_since(struct trb_db *replica, uint64_t after, int64_t from_ms, uint64_t *ret_mark,
                                struct trb_error *err);
enum trb_status seal_unsealed(struct trb_db *replica, uint64_t after, int64_t *ret_count, struct trb_error *err);

/* Tables whose rows go up, in sealing order (late ones last), after table `number` (0: the first); NULL: none. */
const struct trb_table *seal_table_after(const struct trb_catalogue *catalogue, uint16_t number);
bool seal_table_up(const struct trb_table *table);

/* Sealed and acknowledged marks that are no longer needed, a bounded number; 'acked_mark' is written too. One small
 * write transaction on replica.db; TRB_AGAIN when a client has it. *ret_more: call again when idle. */
enum trb_status seal_trim(struct sealing *sealing, bool *ret_more, struct trb_error *err);

/* ---- recover.c ---- */
/* Writes back what a rolled back replica.db lost, from the batch after *after (then moved); small write transactions.
 * Before outbox_start_stream, which drops the batches. *written counts. TRB_AGAIN: locked, call again. */
enum trb_status seal_recover(struct sealing *sealing, uint64_t *after, uint32_t *written, bool *ret_done,
                             struct trb_error *err);

/* ---- scrub.c ---- */
struct scrub_result {
  bool done, pending /* unsealed marks: seal first */;
  uint32_t missed; /* rows whose change had no mark: marked now */
  uint16_t
      emptied_table; /* so many rows are gone without a mark that it is no ordinary deletion: not marked; 0: none */
  int64_t emptied_rows;
  bool made_anew;      /* the slice's table was made anew (capture_made_anew) */
  uint16_t table_done; /* the slice was the last of this table; 0: more of it come */
};
/* Starts over at the first table (state.scrub). */
enum trb_status scrub_start(struct outbox *outbox, struct trb_error *err);
/* One slice: compares rows with shadows, inserts marks for what was missed. */
enum trb_status scrub_slice(struct sealing *sealing, int64_t read_ms_max, const struct trb_clock_reading *now,
                            struct scrub_result *ret, struct trb_error *err);

/* Shared with scrub.c and baseline.c. */
const char *seal_row_sql(struct sealing *sealing, const struct trb_table *table);
const char *seal_page_sql(struct sealing *sealing, const struct trb_table *table);
/* column_count values of the row the statement stands on (column 0 is the id), copied; *ret_bytes grows by their size.
 */
enum trb_status seal_values(struct trb_stmt *stmt, const struct trb_table *table, struct trb_arena *arena,
                            struct trb_value **ret, size_t *ret_bytes, struct trb_error *err);
/* Batches out of changes: begins empty, digests loaded; `take` seals a batch whenever one is full. */
struct seal_writer {
  struct sealing *sealing;
  struct packer *packer;
  struct sealer_digests digests;
  struct trb_arena *arena;
  const struct trb_clock_reading *now;
  uint64_t last_mark; /* stated by the last batch; the others state what was true before the pass */
  uint32_t flags, batches, changes;
  size_t bytes; /* of raw bodies, in all */
};
enum trb_status seal_writer_begin(struct seal_writer *w, struct sealing *sealing, const struct sealer_mark *marks,
                                  struct trb_arena *arena, const struct trb_clock_reading *now, struct trb_error *err);
/* *ret_full: the pass has its 16 MiB; the change was not taken. */
enum trb_status seal_writer_take(struct seal_writer *w, const struct trb_change *change, const struct shadow *old,
                                 uint64_t shadow_mark /* 0: the change's own */, bool *ret_full, struct trb_error *err);
/* Seals what is left, writes the digests. last_mark: see above. */
enum trb_status seal_writer_end(struct seal_writer *w, uint64_t last_mark, struct trb_error *err);
int64_t seal_now_us(void); /* CLOCK_MONOTONIC: only to keep read transactions short */

#define REPLICA_FILE "replica.db"
#endif
