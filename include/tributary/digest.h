/* digest: order-independent digest of a table's live rows (additive multiset hash), kept incrementally.
 *
 * Pure. Each live cell that is not NULL adds XXH64(seed 0) of: table u16be, column u16be, id length u16be, id bytes,
 * canonical msgpack of the value; each live row adds the same with column 0 and no value (so an empty row counts). The
 * sum is modulo 2^64. Both sides add and subtract cell hashes as values change; equal sums and row counts mean equal
 * tables (it detects accidents, not attacks: a branch only digests its own rows). Times are no part of it. */
#ifndef TRIBUTARY_DIGEST_H
#define TRIBUTARY_DIGEST_H

#include "tributary/value.h"

/* Hash of one cell; a NULL value hashes to 0. column 0 is the row itself (value ignored). Never 0 otherwise (0 becomes
 * 1). */
uint64_t digest_cell(uint16_t table, struct trb_slice id, uint16_t column, struct trb_value value);

#endif
