/* down_row: one entry of `down` as rows of messages.def for one site, from the current state. Used by down_render.c
 * alone. */
#ifndef TRIBUTARY_HUB_DOWN_ROW_H
#define TRIBUTARY_HUB_DOWN_ROW_H

#include "down.h"
#include "tributary/mp.h"
#include "view.h"
#include "visibility.h"

struct down_renderer {
  struct trb_db *db;
  const struct trb_catalogue *catalogue;
  struct sitebook sites;
  const struct sitebook_entry *viewer;
  struct visibility_policy visibility;
  struct party_view view;    /* of the party looked at last: entries of one party stand together */
  enum visibility_lock lock; /* of that party for the viewer */
  bool watched;              /* the viewer holds a live record of it */
  bool lists_loaded;
  struct view_group *preferences, *tags;
  struct view_relation *relations;
  size_t preference_count, tag_count, relation_count;
  struct trb_buf rows; /* of the entry at hand */
  size_t row_count;
  int64_t version;
};
enum trb_status down_renderer_init(struct down_renderer *r, struct trb_db *db, const struct trb_catalogue *catalogue,
                                   int64_t site, struct trb_error *err);
void down_renderer_done(struct down_renderer *r);
/* Fills rows and row_count (cleared first). */
enum trb_status down_renderer_entry(struct down_renderer *r, enum down_kind kind, int64_t num, struct trb_slice gone,
                                    int64_t version, struct trb_error *err);

/* Parts, shared by down_row.c and down_party.c. */
enum trb_status down_party(struct down_renderer *r, int64_t party,
                           struct trb_error *err); /* loads the view unless it is the last one */
void down_withdraw(struct down_renderer *r, uint16_t table, struct trb_slice id);
struct down_row { /* a put being built: columns must come in ascending order */
  struct trb_buf cells;
  size_t count;
};
void down_cell(struct down_row *row, uint16_t column, struct trb_value value); /* NULL values are left out */
void down_put_row(struct down_renderer *r, uint16_t table, struct trb_slice id, struct down_row *row); /* frees it */
struct trb_slice down_row_id(struct trb_arena *arena, const char *table, const char *site, struct trb_slice id,
                             int64_t part);
enum trb_status down_golden(struct down_renderer *r, int64_t rec, struct trb_error *err);
enum trb_status down_contacts_of_record(struct down_renderer *r, int64_t rec, struct trb_error *err);
enum trb_status down_contact(struct down_renderer *r, int64_t rid, struct trb_error *err);
enum trb_status down_listed(struct down_renderer *r, uint16_t source, int64_t rid,
                            struct trb_error *err); /* preference, tag_on, relation */
/* The party of record (site, id): 0 when it is no live record. */
enum trb_status down_party_of(struct down_renderer *r, int64_t site_no, struct trb_slice id, int64_t *ret_rec,
                              int64_t *ret_party, struct trb_error *err);

#endif
