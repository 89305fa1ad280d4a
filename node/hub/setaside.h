/* setaside: changes that could not be applied, kept in order with their reason until they are retried. Writer thread,
 * inside a transaction.
 *
 * What a branch believes of a row is the row here with the set-aside changes of that row laid over it in order: digests
 * are taken over that, so a set-aside change makes no difference of digests. */
#ifndef TRIBUTARY_HUB_SETASIDE_H
#define TRIBUTARY_HUB_SETASIDE_H

#include "apply.h"

#define SETASIDE_DIGEST 100 /* reason code: the digests differ */

/* `text`: for people. The change joins those of its row and enters the digest. */
enum trb_status setaside_add(struct store *s, const struct apply_context *context, const struct apply_input *input,
                             enum trb_refusal reason, const char *text, struct trb_error *err);
enum trb_status setaside_has(struct store *s, int64_t site, uint16_t table, struct trb_slice id, bool *ret,
                             struct trb_error *err);
/* The digest of (site, table) after batch `sequence` is not what the branch says, or is again. */
enum trb_status setaside_digest(struct store *s, int64_t site, uint16_t table, uint64_t sequence, bool differs,
                                int64_t now_ms, struct trb_error *err);

struct setaside_outcome {
  int64_t applied, refused; /* changes */
};
/* Tries again, row by row and in order, everything that belongs to the row of `no` (0: every row of every site; tables
 * the catalogue does not know are left). release: held deletes are applied. */
enum trb_status setaside_retry(struct store *s, int64_t no, bool release, int64_t now_ms, struct setaside_outcome *ret,
                               struct trb_error *err);
/* After the catalogue learned tables: what waited for them. */
enum trb_status setaside_retry_tables(struct store *s, int64_t now_ms, struct setaside_outcome *ret,
                                      struct trb_error *err);

/* Rows and digest of (site, table) from the rows and set-aside changes alone, for verify. Any connection. */
struct setaside_sum {
  int64_t rows;
  uint64_t sum;
};
enum trb_status setaside_table_digest(struct trb_db *db, struct rows *rows, const struct trb_catalogue *catalogue,
                                      int64_t site, uint16_t table, struct setaside_sum *ret, struct trb_error *err);

#endif
