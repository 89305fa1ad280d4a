/* log: priorities, one line an event, limits. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include <cmocka.h>

#include "../node/hub/log.h"

static char *text;
static size_t len;
static FILE *out;

static int start(void **state) {
  (void)state;
  out = open_memstream(&text, &len);
  log_to(out);
  return out ? 0 : -1;
}
static int stop(void **state) {
  (void)state;
  log_to(NULL);
  fclose(out);
  free(text);
  return 0;
}
static size_t lines(void) {
  size_t count = 0;
  fflush(out);
  for (const char *p = text; (p = strchr(p, '\n')) != NULL; p++) count++;
  return count;
}

static void line_has_its_priority_and_stays_one_line(void **state) {
  (void)state;
  log_line(LOG_FORK, LOG_ERROR, "north: fork at batch %d", 7);
  log_line(LOG_FORK, LOG_WARN, "%s", "a\nb\033[1m总部");
  fflush(out);
  assert_string_equal(text, "<3>north: fork at batch 7\n<4>a?b?[1m总部\n");
  char *huge = malloc(100001);
  memset(huge, 'x', 100000);
  huge[100000] = 0;
  log_line(LOG_FORK, LOG_WARN, "%s", huge);
  free(huge);
  assert_int_equal(lines(), 3);
  assert_true(len < 2000);
}

static void line_is_limited_by_kind_and_counts_what_it_left_out(void **state) {
  (void)state;
  for (int i = 0; i < 1000; i++) log_line(LOG_BAD_BATCH, LOG_WARN, "north: damaged");
  assert_in_range(lines(), LOG_BURST, LOG_BURST + 2);
  log_line(LOG_STORE, LOG_ERROR, "the disk is full"); /* another kind is heard */
  fflush(out);
  assert_non_null(strstr(text, "<3>the disk is full\n"));
  struct timespec wait = {1, 100000000};
  nanosleep(&wait, NULL);
  log_line(LOG_BAD_BATCH, LOG_WARN, "north: damaged");
  fflush(out);
  assert_non_null(strstr(text, " such lines were left out before)\n"));
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test_setup_teardown(line_has_its_priority_and_stays_one_line, start, stop),
      cmocka_unit_test_setup_teardown(line_is_limited_by_kind_and_counts_what_it_left_out, start, stop),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
