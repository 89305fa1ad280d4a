/* clock: segments, corrections and effective times. */
#include "tributary/clock.h"

#include <setjmp.h>
#include <stdarg.h>
#include <string.h>

#include <cmocka.h>

#define HUB INT64_C(1790000000000) /* true time when the branch's boot clock showed 0 */
#define YEAR_MS (INT64_C(365) * 86400000)

static struct trb_clock_reading reading(int64_t wall_ms, int64_t boot_ms, uint8_t boot) {
  struct trb_clock_reading r = {.wall_ms = wall_ms, .boot_ms = boot_ms};
  memset(r.boot_id, boot, sizeof r.boot_id);
  return r;
}

static struct trb_segment segment(uint64_t first_mark, int64_t wall_ms, int64_t boot_ms, uint8_t boot) {
  return (struct trb_segment){.first_mark = first_mark, .at = reading(wall_ms, boot_ms, boot)};
}

static void segment_breaks_at_a_jump_or_a_boot_only(void **state) {
  (void)state;
  struct trb_segment last = segment(1, 1000000, 5000, 1);
  struct trb_clock_reading now = reading(1000000 + 3600000, 5000 + 3600000, 1);
  assert_false(clock_segment_breaks(&last, &now));
  now.wall_ms += TRB_CLOCK_JUMP_MS;
  assert_false(clock_segment_breaks(&last, &now));
  now.wall_ms += 1;
  assert_true(clock_segment_breaks(&last, &now));
  now.wall_ms -= 2 * TRB_CLOCK_JUMP_MS + 2;
  assert_true(clock_segment_breaks(&last, &now));
  now = reading(1000000, 5000, 2);
  assert_true(clock_segment_breaks(&last, &now));
  now = reading(INT64_MIN, INT64_MAX, 1); /* no overflow */
  assert_true(clock_segment_breaks(&last, &now));
}

static void correct_uses_the_session_then_the_measurement_then_nothing(void **state) {
  (void)state;
  struct trb_segment segments[3] = {
      segment(1, HUB + 1000 - YEAR_MS, 1000, 1), /* this boot: a year slow */
      segment(9, 12345, 2000, 2),                /* an earlier boot in which the offset was measured */
      segment(20, HUB + 5, 10, 3),               /* an earlier boot, never online */
  };
  segments[1].measured = true;
  segments[1].hub_minus_boot_ms = HUB - 500;
  struct trb_clock_reading session = reading(0, 7000, 1);
  struct trb_acceptance a = {0};
  clock_correct(segments, 3, &session, HUB + 7000, &a);
  assert_int_equal(a.segment_count, 3);
  assert_int_equal(a.correction_ms[0], YEAR_MS);
  assert_int_equal(a.correction_ms[1], 2000 + HUB - 500 - 12345);
  assert_int_equal(a.correction_ms[2], 0);
  assert_true(a.verified[0] && a.verified[1] && !a.verified[2]);
  clock_correct(segments, 3, NULL, HUB, &a); /* by file: no session */
  assert_int_equal(a.correction_ms[0], 0);
  assert_false(a.verified[0]);
  assert_true(a.verified[1]);
}

static void correct_survives_any_reading(void **state) {
  (void)state;
  struct trb_segment s = segment(1, INT64_MIN, INT64_MAX, 1);
  struct trb_clock_reading session = reading(0, INT64_MIN, 1);
  struct trb_acceptance a = {0};
  clock_correct(&s, 1, &session, INT64_MAX, &a);
  assert_true(a.correction_ms[0] == INT64_MAX);
  s = segment(1, INT64_MAX, INT64_MIN, 1);
  session.boot_ms = INT64_MAX;
  clock_correct(&s, 1, &session, INT64_MIN, &a);
  assert_true(a.correction_ms[0] == INT64_MIN);
}

/* The rule that matters: whatever the branch's clock shows, the times are those of a run with a right clock. */
static void effective_is_the_same_with_a_wrong_and_a_jumping_clock(void **state) {
  (void)state;
  enum { N = 6 };
  trb_hlc right[N], wrong[N];
  struct trb_mark_time marks[N], bad[N];
  for (int i = 0; i < N; i++) marks[i] = bad[i] = (struct trb_mark_time){(uint64_t)(10 + i), HUB + 1000 + 100 * i};
  struct trb_segment one = segment(10, HUB + 1000, 1000, 1);
  struct trb_segment two[2] = {segment(10, HUB + 1000 + 4 * YEAR_MS, 1000, 1),
                               segment(13, HUB + 1300 - 9 * YEAR_MS, 1300, 1)};
  for (int i = 0; i < N; i++) bad[i].wall_ms += i < 3 ? 4 * YEAR_MS : -9 * YEAR_MS;
  struct trb_clock_reading session = reading(0, 5000, 1);
  struct trb_acceptance a = {.limit = trb_hlc_of_ms(HUB + 5000)}, b = a;
  clock_correct(&one, 1, &session, HUB + 5000, &a);
  clock_correct(two, 2, &session, HUB + 5000, &b);
  clock_effective(marks, N, &one, &a, right);
  clock_effective(bad, N, two, &b, wrong);
  assert_memory_equal(right, wrong, sizeof right);
  assert_true(right[0] == trb_hlc_of_ms(HUB + 1000));
}

static void effective_ascends_from_base_and_never_passes_limit(void **state) {
  (void)state;
  struct trb_mark_time marks[5] = {{1, 100}, {2, 90}, {3, 90}, {4, 5000}, {5, INT64_MAX}};
  struct trb_segment s = segment(1, 0, 0, 1);
  struct trb_acceptance a = {.base = trb_hlc_of_ms(200), .limit = trb_hlc_of_ms(1000), .segment_count = 1};
  trb_hlc t[5];
  clock_effective(marks, 5, &s, &a, t);
  assert_true(t[0] == a.base + 1 && t[1] == a.base + 2 && t[2] == a.base + 3);
  assert_true(t[3] == a.limit && t[4] == a.limit);
  a.base = INT64_MAX;
  a.limit = INT64_MAX;
  clock_effective(marks, 5, &s, &a, t);
  assert_true(t[4] == INT64_MAX); /* no wrap */
  a = (struct trb_acceptance){.limit = INT64_MAX, .segment_count = 1, .correction_ms = {INT64_MIN}};
  clock_effective(marks, 5, &s, &a, t);
  assert_true(t[0] == 1 && t[4] == 5); /* before 1970: just in order */
  a.correction_ms[0] = INT64_MAX;
  clock_effective(marks, 5, &s, &a, t);
  assert_true(trb_hlc_ms(t[0]) == (INT64_C(1) << 47) - 1 && t[4] <= INT64_MAX);
}

static void effective_uses_the_segment_of_each_mark(void **state) {
  (void)state;
  struct trb_mark_time marks[4] = {{5, 100}, {9, 100}, {10, 100}, {30, 100}};
  struct trb_segment s[3] = {segment(5, 0, 0, 1), segment(10, 0, 0, 1), segment(20, 0, 0, 1)};
  struct trb_acceptance a = {.limit = INT64_MAX, .segment_count = 3, .correction_ms = {1000, 2000, 3000}};
  trb_hlc t[4];
  clock_effective(marks, 4, s, &a, t);
  assert_true(trb_hlc_ms(t[0]) == 1100 && t[1] == t[0] + 1 && trb_hlc_ms(t[2]) == 2100 && trb_hlc_ms(t[3]) == 3100);
}

static void tick_never_goes_back(void **state) {
  (void)state;
  trb_hlc last = 0, before;
  assert_true(clock_tick(&last, 5000) == trb_hlc_of_ms(5000));
  before = last;
  assert_true(clock_tick(&last, 5000) == before + 1);
  assert_true(clock_tick(&last, 1) == before + 2);
  assert_true(clock_tick(&last, -7) == before + 3);
  assert_true(clock_tick(&last, 5001) == trb_hlc_of_ms(5001));
  assert_true(clock_tick(&last, INT64_MAX) <= INT64_MAX);
}

static void read_gives_this_boot_and_moves_on(void **state) {
  (void)state;
  struct trb_clock_reading a, b;
  uint8_t zeros[TRB_BOOT_ID_BYTES] = {0};
  assert_int_equal(clock_read(&a), TRB_OK);
  assert_int_equal(clock_read(&b), TRB_OK);
  assert_true(a.wall_ms > INT64_C(1577836800000) && b.boot_ms >= a.boot_ms);
  assert_memory_equal(a.boot_id, b.boot_id, TRB_BOOT_ID_BYTES);
  assert_memory_not_equal(a.boot_id, zeros, TRB_BOOT_ID_BYTES);
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(segment_breaks_at_a_jump_or_a_boot_only),
      cmocka_unit_test(correct_uses_the_session_then_the_measurement_then_nothing),
      cmocka_unit_test(correct_survives_any_reading),
      cmocka_unit_test(effective_is_the_same_with_a_wrong_and_a_jumping_clock),
      cmocka_unit_test(effective_ascends_from_base_and_never_passes_limit),
      cmocka_unit_test(effective_uses_the_segment_of_each_mark),
      cmocka_unit_test(tick_never_goes_back),
      cmocka_unit_test(read_gives_this_boot_and_moves_on),
  };
  return cmocka_run_group_tests_name("clock", tests, NULL, NULL);
}
