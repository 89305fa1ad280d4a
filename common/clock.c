/* clock: see include/tributary/clock.h. */
#include "tributary/clock.h"

#include <string.h>

/* The year 6429: an HLC also fits a signed 64-bit integer, SQLite's. */
#define HLC_MS_MAX ((INT64_C(1) << (63 - TRB_HLC_COUNTER_BITS)) - 1)
#define HLC_MAX ((trb_hlc)INT64_MAX)

/* Readings come from another machine and may be anything: sums are made in 128 bits and brought back in range, so that
 * every implementation gets the same answer. */
static int64_t clamp(__int128 v, int64_t low, int64_t high) { return v < low ? low : v > high ? high : (int64_t)v; }

bool clock_segment_breaks(const struct trb_segment *last, const struct trb_clock_reading *now) {
  if (memcmp(last->at.boot_id, now->boot_id, TRB_BOOT_ID_BYTES) != 0) return true;
  __int128 drift = ((__int128)now->wall_ms - now->boot_ms) - ((__int128)last->at.wall_ms - last->at.boot_ms);
  return drift > TRB_CLOCK_JUMP_MS || drift < -TRB_CLOCK_JUMP_MS;
}

void clock_correct(const struct trb_segment *segments, size_t count, const struct trb_clock_reading *session,
                   int64_t hub_ms, struct trb_acceptance *ret) {
  TRB_ASSERT(count <= TRB_SEGMENTS_MAX);
  ret->segment_count = count;
  for (size_t i = 0; i < count; i++) {
    const struct trb_segment *s = &segments[i];
    bool here = session && memcmp(session->boot_id, s->at.boot_id, TRB_BOOT_ID_BYTES) == 0;
    __int128 offset = here ? (__int128)hub_ms - session->boot_ms : s->hub_minus_boot_ms;
    ret->verified[i] = here || s->measured;
    ret->correction_ms[i] = ret->verified[i] ? clamp(offset + s->at.boot_ms - s->at.wall_ms, INT64_MIN, INT64_MAX) : 0;
  }
}

void clock_effective(const struct trb_mark_time *marks, size_t count, const struct trb_segment *segments,
                     const struct trb_acceptance *acceptance, trb_hlc *ret_times) {
  trb_hlc previous = acceptance->base;
  size_t segment = 0;
  for (size_t i = 0; i < count; i++) {
    while (segment + 1 < acceptance->segment_count && segments[segment + 1].first_mark <= marks[i].number) segment++;
    int64_t correction = acceptance->segment_count ? acceptance->correction_ms[segment] : 0;
    trb_hlc t = trb_hlc_of_ms(clamp((__int128)marks[i].wall_ms + correction, 0, HLC_MS_MAX));
    trb_hlc next = previous >= HLC_MAX ? HLC_MAX : previous + 1;
    if (t < next) t = next;
    if (t > acceptance->limit) t = acceptance->limit;
    ret_times[i] = previous = t;
  }
}

trb_hlc clock_tick(trb_hlc *last, int64_t now_ms) {
  trb_hlc now = trb_hlc_of_ms(clamp(now_ms, 0, HLC_MS_MAX));
  *last = now > *last ? now : *last + 1;
  return *last;
}
