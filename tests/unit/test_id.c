/* id: UUIDv7 as RFC 9562 section 5.7 lays it out. */
#include "tributary/id.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <string.h>
/* after the others */
#include <cmocka.h>

static void id_uuid7_lays_out_time_version_and_variant(void **state) {
  (void)state;
  char text[TRB_UUID_TEXT_BYTES], later[TRB_UUID_TEXT_BYTES];
  static const uint8_t random[TRB_UUID_RANDOM_BYTES] = {0xff, 0xc3, 0x98, 0xc4, 0xdc, 0x0c, 0x0c, 0x07, 0x39, 0x8f};
  id_uuid7(0x017F22E279B0, random, text); /* the RFC's own time */
  assert_string_equal(text, "017f22e2-79b0-7fc3-98c4-dc0c0c07398f");
  id_uuid7(0x017F22E279B1, random, later);
  assert_true(strcmp(text, later) < 0);
  id_uuid7(-1, random, text);
  assert_memory_equal(text, "00000000-0000-7", 15);
}

int main(void) {
  const struct CMUnitTest tests[] = {cmocka_unit_test(id_uuid7_lays_out_time_version_and_variant)};
  return cmocka_run_group_tests_name("id", tests, NULL, NULL);
}
