/* clock: hybrid logical clocks, clock segments and effective times.
 *
 * Pure: readings come in, times go out; only clock_read() (clock_os.c) asks the machine. Any thread.
 *
 * A branch records raw wall time on each mark. The effective time of a change is fixed once, by the hub at first
 * durable acceptance, from signed clock segments; both sides compute it with clock_effective() from the same acked
 * numbers, so time is data and a rebuilt hub answers the same. HLC after Kulkarni et al., "Logical Physical Clocks"
 * (2014): 48 bits of milliseconds since the Unix epoch, 16 bits of counter. */
#ifndef TRIBUTARY_CLOCK_H
#define TRIBUTARY_CLOCK_H

#include "tributary/base.h"

typedef uint64_t trb_hlc;
#define TRB_HLC_COUNTER_BITS 16
static inline trb_hlc trb_hlc_of_ms(int64_t ms) { return ms <= 0 ? 0 : (trb_hlc)ms << TRB_HLC_COUNTER_BITS; }
static inline int64_t trb_hlc_ms(trb_hlc t) { return (int64_t)(t >> TRB_HLC_COUNTER_BITS); }

#define TRB_BOOT_ID_BYTES 16

struct trb_clock_reading {
  int64_t wall_ms; /* CLOCK_REALTIME: display and raw mark times */
  int64_t boot_ms; /* CLOCK_BOOTTIME: never jumps while the machine runs */
  uint8_t boot_id[TRB_BOOT_ID_BYTES];
};
enum trb_status clock_read(struct trb_clock_reading *ret); /* the only impure function */

/* A stretch of marks during which wall - boot stayed put: marks numbered >= first_mark up to the next segment. */
struct trb_segment {
  uint64_t first_mark;
  struct trb_clock_reading at; /* readings when the segment began */
  bool measured;               /* hub_minus_boot_ms was measured in this boot */
  int64_t hub_minus_boot_ms;   /* hub time minus CLOCK_BOOTTIME */
};

/* Wall-minus-boot drift below this is slewing, not a jump: no new segment. */
#define TRB_CLOCK_JUMP_MS 250
/* True when `now` must open a new segment after `last` (other boot, or the wall clock jumped). */
bool clock_segment_breaks(const struct trb_segment *last, const struct trb_clock_reading *now);

#define TRB_SEGMENTS_MAX 64 /* a batch; the sealer ends the batch before a 65th */

/* The numbers of one batch's acceptance, chosen by the hub, signed in the ack, kept by both sides. */
struct trb_acceptance {
  trb_hlc commit; /* unique per batch over the whole hub: the acceptance stamp with the position in the batch */
  trb_hlc limit;  /* no effective time of this batch is later: HLC of receipt */
  trb_hlc base;   /* last effective time of the stream before this batch (0 for the first, and for baselines) */
  size_t segment_count;
  int64_t correction_ms[TRB_SEGMENTS_MAX]; /* added to raw wall times, one a segment */
  bool verified[TRB_SEGMENTS_MAX];         /* false: no offset was ever measured in that boot; raw time trusted */
};

/* Hub: fills correction_ms/verified/segment_count of *ret. `session` is the branch clock as told in HELLO or PING at
 * hub time `hub_ms` (NULL when the batch came by file). commit, limit and base are the caller's. */
void clock_correct(const struct trb_segment *segments, size_t count, const struct trb_clock_reading *session,
                   int64_t hub_ms, struct trb_acceptance *ret);

struct trb_mark_time {
  uint64_t number; /* mark number, ascending in an array */
  int64_t wall_ms;
};

/* Both sides: effective time of each mark, in mark order:
 * t[i] = min(limit, max(corrected(i) << 16, previous + 1)), previous = base for i = 0. */
void clock_effective(const struct trb_mark_time *marks, size_t count, const struct trb_segment *segments,
                     const struct trb_acceptance *acceptance, trb_hlc *ret_times);

/* Hub clock: next HLC after *last for wall time now_ms; never goes back. Updates *last. */
trb_hlc clock_tick(trb_hlc *last, int64_t now_ms);

#endif
