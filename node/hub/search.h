/* search: finding parties by a piece of a name, a contact, an id. Reads one snapshot of one connection.
 *
 * Names are folded (NFKC, case, Traditional to Simplified) and cut into grams: a run of letters or digits of an
 * alphabet is one word (found by its beginning); of Chinese, Japanese or Korean every two adjacent characters and the
 * last one alone (so any piece is found, FTS5's trigrams cannot do two characters). A query costs one range of `search`
 * for its rarest-looking gram and a check of each candidate's names, never a scan of all customers. */
#ifndef TRIBUTARY_HUB_SEARCH_H
#define TRIBUTARY_HUB_SEARCH_H

#include "tributary/catalogue.h"
#include "tributary/db.h"
#include "tributary/key.h"

#define SEARCH_GRAMS_MAX 64 /* of one record */
#define SEARCH_GRAM_BYTES 32
struct search_grams {
  size_t count;
  char gram[SEARCH_GRAMS_MAX][SEARCH_GRAM_BYTES + 1]; /* distinct */
};
/* Of a card: its three names and the external reference. */
enum { SEARCH_NAMES = 3 };
extern const uint16_t search_columns[SEARCH_NAMES + 1]; /* of customer: these, in this order */
void search_grams_of_card(const struct trb_slice texts[SEARCH_NAMES + 1], struct search_grams *ret);
void search_grams_of(struct trb_slice name, struct search_grams *grams); /* adds */
/* The folded text a query is looked for in; empty for text that is not UTF-8. */
enum trb_status search_fold(struct trb_slice text, struct trb_buf *out);

enum trb_status search_update(struct trb_db *db, const struct trb_table *customer, int64_t rec,
                              const struct trb_value *before, const struct trb_value *after, struct trb_error *err);
/* The same for a new card whose grams are cut already. */
enum trb_status search_add(struct trb_db *db, int64_t rec, const struct search_grams *grams, struct trb_error *err);

struct search_hits { /* anchors, in order of the records' acceptance (earliest first), distinct */
  size_t count;
  bool more;      /* there are more than were asked for */
  int64_t *party; /* caller's, room for max */
  size_t max;
};
/* Anything: party id, record id (site/id or the id alone), external reference, contact of any kind, piece of a name; in
 * this order, the first that finds something. */
enum trb_status search_any(struct trb_db *db, struct trb_slice text, const struct trb_key_context *context,
                           struct search_hits *hits, struct trb_error *err);
enum trb_status search_contact(struct trb_db *db, struct trb_slice kind, struct trb_slice value,
                               const struct trb_key_context *context, struct search_hits *hits, struct trb_error *err);
enum trb_status search_name(struct trb_db *db, struct trb_slice text, struct search_hits *hits, struct trb_error *err);
/* "site/id" or an id alone (of any site). */
enum trb_status search_id(struct trb_db *db, struct trb_slice text, struct search_hits *hits, struct trb_error *err);

#endif
