/* history: see history.h. */
#include "history.h"

#include "tributary/mp.h"

void history_note(struct history_list *list, uint16_t column, struct trb_value value, trb_hlc time) {
  mp_put_uint(&list->body, column);
  mp_put_value(&list->body, value);
  mp_put_uint(&list->body, time);
  list->count++;
}

enum trb_status history_add(struct store *s, const struct history_change *change, struct history_list *list,
                            struct trb_error *err) {
  if (list->count == 0) return TRB_OK;
  TRB_BUF_AUTO old = {0};
  mp_put_array(&old, 3 * list->count);
  trb_buf_append_slice(&old, trb_buf_slice(&list->body));
  if (old.failed || list->body.failed) return trb_fail(err, TRB_NOMEM, "out of memory");
  return db_run(s->db, err,
                "INSERT INTO history(site,tbl,row_id,op,time,old,accepted,pos) VALUES(?1,?2,?3,?4,?5,?6,?7,?8)",
                "iisiibii", change->site, (int64_t)change->table, change->id, (int64_t)change->op,
                (int64_t)change->time, trb_buf_slice(&old), (int64_t)change->accepted, (int64_t)change->position);
}

enum trb_status history_trim(struct store *s, bool *ret_more, struct trb_error *err) {
  int64_t first = 0, last = -1;
  enum trb_status status = db_get_int(s->db, err, &first, "SELECT coalesce(min(no),0) FROM history", "");
  if (status == TRB_OK) status = db_get_int(s->db, err, &last, "SELECT coalesce(max(no),-1) FROM history", "");
  if (status != TRB_OK) return status;
  int64_t surplus = last - first + 1 - store_setting_int(s->db, "history_rows_max", HISTORY_ROWS_MAX);
  *ret_more = surplus > HISTORY_TRIM_SLICE;
  if (surplus <= 0) return TRB_OK;
  int64_t slice = surplus < HISTORY_TRIM_SLICE ? surplus : HISTORY_TRIM_SLICE;
  return db_run(s->db, err, "DELETE FROM history WHERE no < ?1", "i", first + slice);
}
