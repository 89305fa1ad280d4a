/* down: what is noted for a site, and the numbers of entries. Notes name a row, never its content.
 *
 * RECORD   num record: its golden row if it is an anchor (else withdrawn), party_of at its own site, its first
 * DOWN_CONTACTS_MAX contacts. Noted when a record enters, leaves or changes party, beside ROW entries for everything
 * else that hangs on it: a new customer with its contacts is one entry. GOLDEN   num record: the same without the
 * contacts. ROW      num (table, _rid): the unified row the source row stands for (contact -> unified_contact, booking
 * -> unified_event, ..), or a row of headquarters' tables and of rejected_change. A source row that stands for none is
 * withdrawn. GONE     num table, gone the id: the source row is deleted; withdrawn, unless the id stands for a row
 * again. Every entry renders to a bounded number of rows, so a frame always has room for the next. */
#ifndef TRIBUTARY_HUB_DOWN_H
#define TRIBUTARY_HUB_DOWN_H

#include "tributary/catalogue.h"
#include "tributary/db.h"

enum down_kind { DOWN_RECORD = 1, DOWN_GOLDEN = 2, DOWN_ROW = 3, DOWN_GONE = 4 };
#define DOWN_CONTACTS_MAX 200 /* contacts a RECORD entry renders; those beyond have ROW entries */
#define DOWN_ALL_SITES 0

#define DOWN_RID_BITS 40
static inline int64_t down_num(uint16_t table, int64_t rid) { return ((int64_t)table << DOWN_RID_BITS) | rid; }
static inline uint16_t down_num_table(int64_t num) { return (uint16_t)(num >> DOWN_RID_BITS); }
static inline int64_t down_num_rid(int64_t num) { return num & (((int64_t)1 << DOWN_RID_BITS) - 1); }

/* The counter of versions, read and written inside the writer's transaction. */
enum trb_status down_version_read(struct trb_db *db, int64_t *ret, struct trb_error *err);
enum trb_status down_version_write(struct trb_db *db, int64_t version, struct trb_error *err);
/* One entry under the next version. `gone` empty unless kind is GONE. */
enum trb_status down_put(struct trb_db *db, int64_t site, enum down_kind kind, int64_t num, struct trb_slice gone,
                         int64_t *version, struct trb_error *err);
/* Everything but the RECORD entry that hangs on a record: calls visit for each (table, _rid) that has a ROW entry of
 * its own. */
typedef enum trb_status (*down_visit)(void *context, uint16_t table, int64_t rid, struct trb_error *err);
/* Only those found by their keys: contacts past those of the RECORD entry, preferences, tags. */
enum trb_status down_keyed_of_record(struct trb_db *db, int64_t rec, down_visit visit, void *context,
                                     struct trb_error *err);
enum trb_status down_rows_of_record(struct trb_db *db, int64_t rec, down_visit visit, void *context,
                                    struct trb_error *err);

/* Notes every row of every party in which the site holds a live record (a new snapshot, a change of what it may see).
 */
enum trb_status down_put_parties(struct trb_db *db, int64_t site, int64_t *version, struct trb_error *err);

#endif
