/* rows: source rows in the catalogue's tables of hub.db, whatever the table. Statements are made from the catalogue
 * once a table and kept. Writer thread (reading: any connection of its own).
 *
 * Invariant: a row is found under its (_site, id); customer's _rid is its record number (record_intern). */
#ifndef TRIBUTARY_HUB_ROWS_H
#define TRIBUTARY_HUB_ROWS_H

#include "tributary/catalogue.h"
#include "tributary/clock.h"
#include "tributary/db.h"

struct row {
  int64_t rid;
  struct trb_value *values; /* column_count, catalogue order */
  struct trb_slice times, extra;
  trb_hlc accepted; /* stamp of the first change ever accepted of this row */
  uint32_t position;
};

struct rows; /* opaque, owned */
enum trb_status rows_new(struct trb_db *db, struct trb_catalogue *catalogue, struct rows **ret, struct trb_error *err);
void rows_free(struct rows **rows_p);

/* Copies into the arena. rid 0: looked up by (site, id). *ret_found false: no such row. */
enum trb_status rows_find(struct rows *rows, const struct trb_table *table, int64_t site, int64_t rid,
                          struct trb_slice id, struct trb_arena *arena, struct row *ret, bool *ret_found,
                          struct trb_error *err);
/* A new row; *ret_new false: it stood there already and nothing was written. row->rid 0: chosen and set. NULL values
 * need not be bound. */
enum trb_status rows_insert(struct rows *rows, const struct trb_table *table, int64_t site, struct trb_slice id,
                            struct row *row, bool *ret_new, struct trb_error *err);
enum trb_status rows_replace(struct rows *rows, const struct trb_table *table, int64_t site, struct trb_slice id,
                             const struct row *row, struct trb_error *err);
enum trb_status rows_delete(struct rows *rows, const struct trb_table *table, int64_t rid, struct trb_error *err);

/* _extra: columns this version does not know, a msgpack map of column number to value, ascending. */
struct extra {
  size_t count;
  uint16_t *columns;
  struct trb_value *values; /* borrowed from the bytes */
};
/* TRB_STORE when the bytes are damaged. */
enum trb_status extra_read(struct trb_slice bytes, struct trb_arena *arena, struct extra *ret, struct trb_error *err);
void extra_write(const struct extra *extra,
                 struct trb_buf *out); /* NULL values are left out; nothing at all when none is left */

#endif
