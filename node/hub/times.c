/* times: see include/tributary/times.h. */
#include "tributary/times.h"

enum { COMMON_BYTES = 8, ENTRY_BYTES = 10 };

static size_t entry_count(struct trb_slice times) {
  return times.len < COMMON_BYTES ? 0 : (times.len - COMMON_BYTES) / ENTRY_BYTES;
}
static const uint8_t *entry(struct trb_slice times, size_t i) { return times.data + COMMON_BYTES + i * ENTRY_BYTES; }
static trb_hlc common(struct trb_slice times) { return times.len < COMMON_BYTES ? 0 : trb_get_u64(times.data); }

trb_hlc times_get(struct trb_slice times, uint16_t column) {
  size_t count = entry_count(times);
  for (size_t i = 0; i < count; i++)
    if (trb_get_u16(entry(times, i)) == column) return trb_get_u64(entry(times, i) + 2);
  return common(times);
}

trb_hlc times_latest(struct trb_slice times) {
  trb_hlc latest = common(times);
  size_t count = entry_count(times);
  for (size_t i = 0; i < count; i++) {
    trb_hlc t = trb_get_u64(entry(times, i) + 2);
    if (t > latest) latest = t;
  }
  return latest;
}

static void put_u64(struct trb_buf *out, trb_hlc t) {
  uint8_t bytes[8];
  trb_put_u64(bytes, t);
  trb_buf_append(out, bytes, sizeof bytes);
}

/* A column at the common time needs no entry. */
static void put_entry(struct trb_buf *out, trb_hlc common_time, uint16_t column, trb_hlc t) {
  if (t == common_time) return;
  uint8_t number[2];
  trb_put_u16(number, column);
  trb_buf_append(out, number, sizeof number);
  put_u64(out, t);
}

void times_set(struct trb_slice old, trb_hlc all, size_t count, const uint16_t *columns, const trb_hlc *times,
               struct trb_buf *out) {
  trb_buf_clear(out);
  size_t old_count = all ? 0 : entry_count(old);
  trb_hlc common_time = all ? all : common(old);
  put_u64(out, common_time);
  size_t i = 0, j = 0; /* merge of two ascending lists, the new one winning */
  while (i < old_count || j < count) {
    uint16_t old_column = i < old_count ? trb_get_u16(entry(old, i)) : UINT16_MAX;
    if (j < count && (i >= old_count || columns[j] <= old_column)) {
      if (i < old_count && columns[j] == old_column) i++;
      put_entry(out, common_time, columns[j], times[j]);
      j++;
    } else {
      put_entry(out, common_time, old_column, trb_get_u64(entry(old, i) + 2));
      i++;
    }
  }
}
