/* unify: from applied source rows to the unified view: claims, parties, golden records, timeline, and the down entries
 * for the branches concerned. Owned by the writer thread; all its tables (node/sql/unify.sql) are in hub.db and change
 * in the writer's transaction. The decisions (who is one party, which value survives) are pure cores in
 * node/hub/identity/ and node/hub/golden.c over plain structs; this module feeds them from SQLite and stores what they
 * say.
 *
 * Invariant: after unify_finish the stored parties and golden rows equal the from-nothing answer over the same rows
 * (unify_verify), whatever the order in which they arrived. */
#ifndef TRIBUTARY_UNIFY_H
#define TRIBUTARY_UNIFY_H

#include "tributary/catalogue.h"
#include "tributary/clock.h"
#include "tributary/db.h"
#include "tributary/key.h"

/* Site numbers: hub.db's table `site_no(no INTEGER PRIMARY KEY, name TEXT UNIQUE)`, number 1 is `hq`. */
#define TRB_HQ_SITE_NO 1

struct unify;
struct search_grams; /* node/hub/search.h */
/* Makes its tables when absent. The catalogue is referenced. */
enum trb_status unify_open(struct trb_db *writer, struct trb_catalogue *catalogue, struct unify **ret,
                           struct trb_error *err);
void unify_close(struct unify **u_p);
void unify_set_catalogue(struct unify *u, struct trb_catalogue *catalogue);

/* The record number of customer (site, id), made when unknown: the `_rid` of its row in `customer`, and the handle that
 * contacts and sales hang on even when the customer row itself has not come (orphans are normal). */
enum trb_status record_intern(struct trb_db *db, int64_t site, struct trb_slice id, int64_t *ret_record,
                              struct trb_error *err);
/* The same answer, cheaper when the record is most likely new. */
enum trb_status record_add(struct trb_db *db, int64_t site, struct trb_slice id, int64_t *ret_record,
                           struct trb_error *err);

/* One row as it was and as it is now, already written to its table by apply (in the same transaction). */
struct unify_row {
  const struct trb_table *table;
  int64_t site; /* site number */
  int64_t rid;  /* _rid in the table */
  struct trb_slice id;
  const struct trb_value *before; /* column_count values in catalogue order; NULL: there was no row */
  const struct trb_value *after;  /* NULL: deleted */
  trb_hlc accepted;               /* commit HLC of the batch, and the position in it: the acceptance stamp (unique) */
  uint32_t position;
  bool first;                       /* the first change of this row ever accepted: the stamp that anchors a record */
  const struct trb_keys *keys;      /* of contact.value / identity_document.number / customer.tax_no of `after`, when a
                                       worker normalised it already; else NULL */
  const struct search_grams *grams; /* of the names of a new customer, when a worker cut them already; else NULL */
};
/* Notes the row; cheap. HQ policy tables are noted too (a policy change re-resolves what it touches). */
enum trb_status unify_row(struct unify *u, const struct unify_row *row, struct trb_error *err);
/* Which column of which table makes a key, for the workers: returns the key kind text column too. False when the table
 * makes none. */
bool unify_key_columns(uint16_t table, uint16_t *ret_value_column, uint16_t *ret_kind_column /* 0: fixed */,
                       enum trb_kind *ret_kind);

struct unify_sites { /* sites that have new down entries, ascending; owned by unify, valid until the next call */
  size_t count;
  const int64_t *site;
};
/* Before COMMIT: resolves the components touched, recomputes their golden rows and timeline entries, writes down
 * entries. */
enum trb_status unify_finish(struct unify *u, struct unify_sites *ret_dirty, struct trb_error *err);
/* After a rollback: forgets what was noted. */
void unify_forget(struct unify *u);

/* ---- down entries: (site, kind, number) -> version, coalesced; what an entry renders to is decided when it is sent
 * ---- */

/* Everything the site is to hold, anew (one transaction with the caller's); the rendered frames carry the snapshot
 * flags of messages.def. */
enum trb_status down_snapshot(struct trb_db *writer, int64_t site, struct trb_error *err);
/* Entries above after_version in version order, rendered from the current state into a msgpack array of rows
 * (messages.def, down), at most max_bytes (one row may exceed it alone). Any read snapshot will do. *ret_version: the
 * last version covered (after_version when there is none). */
enum trb_status down_render(struct trb_db *reader, const struct trb_catalogue *catalogue, int64_t site,
                            uint64_t after_version, size_t max_bytes, struct trb_buf *ret_rows, uint64_t *ret_version,
                            bool *ret_more, uint32_t *ret_flags, struct trb_error *err);
enum trb_status down_clear(struct trb_db *writer, int64_t site, uint64_t version, struct trb_error *err);
enum trb_status down_pending(struct trb_db *db, int64_t site, int64_t *ret_count, struct trb_error *err);
/* rejected_change rows are rendered from the view rejected_change_of of node/sql/hub.sql (rid = set_aside.no). */
/* A row of a table that flows down to one site (rejected_change) or to all sites (site 0, HQ tables) changed: note it.
 * unify_row does this for HQ tables. */
enum trb_status down_note(struct unify *u, int64_t site, uint16_t table, int64_t rid, struct trb_error *err);

/* ---- checks ---- */
struct unify_report {
  int64_t records, claims, parties, golden_differences, party_differences, claim_differences;
};
/* Recomputes claims, parties and golden rows from the source rows alone and compares. Read only; memory linear in
 * records. */
enum trb_status unify_verify(struct trb_db *reader, const struct trb_catalogue *catalogue, struct unify_report *ret,
                             struct trb_error *err);

#endif
