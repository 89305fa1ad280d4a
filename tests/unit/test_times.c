/* Effective times of a row's columns. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <string.h>

#include "tributary/times.h"

static void times_get_gives_0_for_nothing_and_the_common_time_otherwise(void **state) {
  (void)state;
  TRB_BUF_AUTO out = {0};
  assert_int_equal(times_get(trb_slice_of(NULL, 0), 5), 0);
  times_set(trb_slice_of(NULL, 0), 100, 0, NULL, NULL, &out);
  assert_int_equal(out.len, 8); /* a row written once costs 8 bytes */
  assert_int_equal(times_get(trb_buf_slice(&out), 5), 100);
  assert_int_equal(times_latest(trb_buf_slice(&out)), 100);
}

static void times_set_keeps_columns_that_differ_and_merges_in_order(void **state) {
  (void)state;
  TRB_BUF_AUTO a = {0};
  TRB_BUF_AUTO b = {0};
  const uint16_t first[] = {3, 9}, second[] = {1, 9, 200};
  const trb_hlc first_times[] = {50, 60}, second_times[] = {70, 80, 90};
  times_set(trb_slice_of(NULL, 0), 100, 2, first, first_times, &a);
  times_set(trb_buf_slice(&a), 0, 3, second, second_times, &b);
  const struct {
    uint16_t column;
    trb_hlc time;
  } expected[] = {{1, 70}, {2, 100}, {3, 50}, {9, 80}, {200, 90}, {201, 100}};
  for (size_t i = 0; i < sizeof expected / sizeof *expected; i++)
    assert_int_equal(times_get(trb_buf_slice(&b), expected[i].column), expected[i].time);
  assert_int_equal(times_latest(trb_buf_slice(&b)), 100);
}

static void times_set_drops_a_column_that_is_back_at_the_common_time(void **state) {
  (void)state;
  TRB_BUF_AUTO a = {0};
  TRB_BUF_AUTO b = {0};
  const uint16_t column[] = {3};
  const trb_hlc other[] = {50}, same[] = {100};
  times_set(trb_slice_of(NULL, 0), 100, 1, column, other, &a);
  assert_int_equal(a.len, 18);
  times_set(trb_buf_slice(&a), 0, 1, column, same, &b);
  assert_int_equal(b.len, 8);
}

static void times_set_with_a_whole_row_forgets_the_old_columns(void **state) {
  (void)state;
  TRB_BUF_AUTO a = {0};
  TRB_BUF_AUTO b = {0};
  const uint16_t column[] = {3};
  const trb_hlc other[] = {500};
  times_set(trb_slice_of(NULL, 0), 100, 1, column, other, &a);
  times_set(trb_buf_slice(&a), 200, 0, NULL, NULL, &b);
  assert_int_equal(times_get(trb_buf_slice(&b), 3), 200);
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(times_get_gives_0_for_nothing_and_the_common_time_otherwise),
      cmocka_unit_test(times_set_keeps_columns_that_differ_and_merges_in_order),
      cmocka_unit_test(times_set_drops_a_column_that_is_back_at_the_common_time),
      cmocka_unit_test(times_set_with_a_whole_row_forgets_the_old_columns),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
