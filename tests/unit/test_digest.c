/* digest: cells against fixed values, and the properties the sums rely on. */
#include "tributary/digest.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#define ID trb_slice_str("C001")

static void digest_cell_is_what_the_specification_says(void **state) {
  (void)state;
  /* python3-xxhash: xxh64(00 01 00 05 00 04 "C001" a6 e5bca0e4b889), and the row itself. */
  assert_true(digest_cell(1, ID, 5, trb_text("张三")) == UINT64_C(0x75441b159e653bad));
  assert_true(digest_cell(1, ID, 0, trb_text("ignored")) == UINT64_C(0x814b132fe5fa7d3b));
}

static void digest_cell_tells_every_part_apart(void **state) {
  (void)state;
  const uint64_t cells[] = {
      digest_cell(1, ID, 4, trb_text("1")),
      digest_cell(2, ID, 4, trb_text("1")),
      digest_cell(1, ID, 5, trb_text("1")),
      digest_cell(1, trb_slice_str("C0011"), 4, trb_text("")),
      digest_cell(1, trb_slice_str("C002"), 4, trb_text("1")),
      digest_cell(1, ID, 4, trb_int(1)),
      digest_cell(1, ID, 4, trb_real(1)),
      digest_cell(1, ID, 4, trb_blob(trb_slice_str("1"))),
      digest_cell(1, ID, 0, trb_null()),
      digest_cell(1, ID, 4, trb_text("")),
  };
  size_t count = sizeof cells / sizeof *cells;
  for (size_t i = 0; i < count; i++)
    for (size_t j = i + 1; j < count; j++) assert_true(cells[i] != cells[j]);
}

static void digest_cell_of_null_is_zero_and_of_anything_else_is_not(void **state) {
  (void)state;
  assert_true(digest_cell(1, ID, 4, trb_null()) == 0);
  for (int i = 0; i < 10000; i++) assert_true(digest_cell(1, ID, 4, trb_int(i)) != 0);
}

static void digest_cell_is_the_same_for_short_and_long_ways(void **state) {
  (void)state;
  /* Around the size at which hashing changes from one buffer to a stream: no value may repeat. */
  char *text = malloc(2000);
  memset(text, 'x', 2000);
  uint64_t last = 0;
  for (size_t len = 480; len < 520; len++) {
    uint64_t hash = digest_cell(1, ID, 4, trb_text_slice(trb_slice_of(text, len)));
    assert_true(hash != last);
    last = hash;
  }
  assert_true(digest_cell(1, ID, 4, trb_text_slice(trb_slice_of(text, 2000))) == UINT64_C(0xaa3ae5a40ae9e69c));
  free(text);
}

static void sums_do_not_depend_on_order(void **state) {
  (void)state;
  uint64_t up = 0, down = 0;
  for (int i = 0; i < 100; i++) up += digest_cell(1, ID, 4, trb_int(i));
  for (int i = 99; i >= 0; i--) down += digest_cell(1, ID, 4, trb_int(i));
  assert_true(up == down);
  for (int i = 0; i < 100; i++) up -= digest_cell(1, ID, 4, trb_int(i));
  assert_true(up == 0);
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(digest_cell_is_what_the_specification_says),
      cmocka_unit_test(digest_cell_tells_every_part_apart),
      cmocka_unit_test(digest_cell_of_null_is_zero_and_of_anything_else_is_not),
      cmocka_unit_test(digest_cell_is_the_same_for_short_and_long_ways),
      cmocka_unit_test(sums_do_not_depend_on_order),
  };
  return cmocka_run_group_tests_name("digest", tests, NULL, NULL);
}
