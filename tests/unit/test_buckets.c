/* buckets: how often one address may, whatever others do. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>

#include <cmocka.h>

#include "../node/hub/buckets.h"

enum { T0 = 1000000 };

static int taken(struct buckets *b, const char *address, int64_t now_ms, int tries) {
  int count = 0;
  for (int i = 0; i < tries; i++) count += buckets_take(b, address, now_ms);
  return count;
}

static void take_gives_a_burst_and_then_one_each_time(void **state) {
  (void)state;
  struct buckets *b = buckets_new(8, 5, 1000);
  assert_int_equal(taken(b, "192.0.2.1", T0, 9), 5);
  assert_int_equal(taken(b, "192.0.2.1", T0 + 999, 9), 0);
  assert_int_equal(taken(b, "192.0.2.1", T0 + 1000, 9), 1);
  assert_int_equal(taken(b, "192.0.2.1", T0 + 3500, 9), 2);
  assert_int_equal(taken(b, "192.0.2.1", T0 + 4000, 9), 1); /* the half second counted */
  assert_int_equal(taken(b, "192.0.2.1", T0 + 1000000, 9), 5);
  buckets_free(&b);
  assert_null(b);
}

static void take_of_one_address_leaves_the_others_alone(void **state) {
  (void)state;
  struct buckets *b = buckets_new(8, 5, 1000);
  assert_int_equal(taken(b, "192.0.2.1", T0, 10000), 5);
  assert_int_equal(taken(b, "192.0.2.2", T0, 5), 5);
  assert_int_equal(taken(b, "", T0, 9), 5); /* an address that is not known is one too */
  assert_int_equal(taken(b, "192.0.2.1", T0, 1), 0);
  buckets_free(&b);
}

static void take_forgets_the_oldest_when_the_table_is_full(void **state) {
  (void)state;
  struct buckets *b = buckets_new(4, 2, 1000000);
  char address[32];
  for (int i = 0; i < 4; i++) {
    snprintf(address, sizeof address, "10.0.0.%d", i);
    assert_int_equal(taken(b, address, T0, 5), 2);
  }
  assert_int_equal(taken(b, "10.0.0.0", T0, 1), 0); /* asked again: not the oldest now */
  assert_int_equal(taken(b, "10.0.0.9", T0, 1), 1); /* takes the place of 10.0.0.1 */
  assert_int_equal(taken(b, "10.0.0.0", T0, 1), 0);
  assert_int_equal(taken(b, "10.0.0.2", T0, 1), 0);
  assert_int_equal(taken(b, "10.0.0.1", T0, 1), 1);
  buckets_free(&b);
}

static void take_stands_a_clock_set_back_and_long_addresses(void **state) {
  (void)state;
  struct buckets *b = buckets_new(4, 2, 1000);
  assert_int_equal(taken(b, "a", T0, 5), 2);
  assert_int_equal(taken(b, "a", T0 - 500000, 5), 2);
  assert_int_equal(taken(b, "a", INT64_MAX, 5), 2);
  char longer[300];
  for (size_t i = 0; i < sizeof longer - 1; i++) longer[i] = 'x';
  longer[sizeof longer - 1] = 0;
  assert_int_equal(taken(b, longer, T0, 5), 2);
  buckets_free(&b);
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(take_gives_a_burst_and_then_one_each_time),
      cmocka_unit_test(take_of_one_address_leaves_the_others_alone),
      cmocka_unit_test(take_forgets_the_oldest_when_the_table_is_full),
      cmocka_unit_test(take_stands_a_clock_set_back_and_long_addresses),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
