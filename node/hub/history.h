/* history: values that were superseded, or that came too late and lost. For the timeline, audit and taking a site back.
 * Bounded by the setting history_rows_max (history_trim, a slice at a time, oldest first). Writer thread. */
#ifndef TRIBUTARY_HUB_HISTORY_H
#define TRIBUTARY_HUB_HISTORY_H

#include "store.h"

#define HISTORY_ROWS_MAX 20000000 /* unless the setting history_rows_max says otherwise: some 4 GB */
#define HISTORY_TRIM_SLICE 2000   /* rows deleted at once, between groups */

struct history_list { /* msgpack array under construction: column, value, effective time, ... */
  size_t count;
  struct trb_buf body;
};
void history_note(struct history_list *list, uint16_t column, struct trb_value value, trb_hlc time);

struct history_change {
  int64_t site;
  uint16_t table;
  struct trb_slice id;
  int op; /* enum trb_op; 0: the listed values lost against later ones */
  trb_hlc time, accepted;
  uint32_t position;
};
/* Writes nothing for an empty list. */
enum trb_status history_add(struct store *s, const struct history_change *change, struct history_list *list,
                            struct trb_error *err);
/* One slice; *ret_more: there is more to trim. In a transaction of the caller's. */
enum trb_status history_trim(struct store *s, bool *ret_more, struct trb_error *err);

#endif
