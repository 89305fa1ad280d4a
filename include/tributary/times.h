/* times: the effective time of each column of a hub's source row, as stored in its `_times` column. Pure.
 *
 * Layout: 8 bytes big-endian HLC that holds for every column, then, ascending by column, (u16 column, u64 HLC) for the
 * columns whose time differs. A row written once costs 8 bytes. An empty blob means 0 for all. */
#ifndef TRIBUTARY_TIMES_H
#define TRIBUTARY_TIMES_H

#include "tributary/clock.h"

trb_hlc times_get(struct trb_slice times, uint16_t column); /* O(columns that differ) */
trb_hlc times_latest(struct trb_slice times);
/* Writes to *out (cleared first) the blob of `old` with `count` columns (ascending) set. `all` != 0 resets the common
 * time first (a whole-row put). */
void times_set(struct trb_slice old, trb_hlc all, size_t count, const uint16_t *columns, const trb_hlc *times,
               struct trb_buf *out);
#endif
