/* timeline: source rows as events of a customer, in plain words. One row of booking, booking_event, payment, invoice,
 * contract, activity, ticket, ticket_event, survey_answer or points_entry is one event; the lines of a booking are told
 * in its detail.
 *
 * An event belongs to the record its row names: by customer_id, else through its booking or ticket. Reads one snapshot;
 * any thread with its own connection. */
#ifndef TRIBUTARY_HUB_TIMELINE_H
#define TRIBUTARY_HUB_TIMELINE_H

#include "tributary/catalogue.h"
#include "tributary/db.h"

#define TIMELINE_TITLE_BYTES 256 /* the columns' limits; longer texts are cut at a character */
#define TIMELINE_DETAIL_BYTES 4096

struct timeline_event { /* texts borrowed for the call */
  uint16_t table;
  int64_t rid, site_no; /* the row and the site that wrote it */
  struct trb_slice id;
  int64_t owner_site; /* number of the record's site; 0: the row names no customer */
  struct trb_slice owner_id;
  int64_t at_ms;
  const char *kind;
  struct trb_slice title, detail, currency;
  bool has_amount;
  double amount;
};
typedef enum trb_status (*timeline_visit)(void *context, const struct timeline_event *event, struct trb_error *err);

bool timeline_has(uint16_t table);
/* Events of one record, table by table (not by time). The visitor must not ask for a timeline itself. */
enum trb_status timeline_of_record(struct trb_db *db, int64_t site_no, const char *site, struct trb_slice id,
                                   timeline_visit visit, void *context, struct trb_error *err);
/* The event of one row. TRB_ABSENT: no such row. */
enum trb_status timeline_of_row(struct trb_db *db, uint16_t table, int64_t rid, timeline_visit visit, void *context,
                                struct trb_error *err);
/* Rows whose event goes through this booking or ticket: (table, _rid). */
typedef enum trb_status (*timeline_dependent)(void *context, uint16_t table, int64_t rid, struct trb_error *err);
enum trb_status timeline_dependents(struct trb_db *db, uint16_t table, int64_t site_no, const char *site,
                                    struct trb_slice id, timeline_dependent visit, void *context,
                                    struct trb_error *err);

/* The view unified_event over all of it, for headquarters' staff: made anew, so that it follows this program. */
enum trb_status timeline_view(struct trb_db *writer, struct trb_error *err);

#endif
