/* metrics: the Prometheus text that monitoring reads. */
#include "../../node/cli/metrics.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <stdlib.h>
#include <string.h>

static char *render(const char *status_text, const char *counters_text) {
  json_t *status = json_loads(status_text, 0, NULL), *counters = json_loads(counters_text, 0, NULL);
  assert_non_null(status);
  assert_non_null(counters);
  char *text = NULL;
  size_t len = 0;
  FILE *out = open_memstream(&text, &len);
  metrics_render(status, counters, out);
  fclose(out);
  json_decref(status);
  json_decref(counters);
  return text;
}

static size_t count(const char *text, const char *what) {
  size_t n = 0;
  for (const char *p = text; (p = strstr(p, what)); ++p) ++n;
  return n;
}

static void metrics_render_shows_a_branch(void **state) {
  (void)state;
  char *text = render(
      "{\"role\":\"branch\",\"site\":\"bund\",\"connected\":true,\"in_sync\":false,\"waiting_bytes\":9007199254740993,"
      "\"last_heard_ms\":1500}",
      "{\"batches_sealed_total\":7,\"in_sync\":1,\"forks_total\":3,\"BAD name\":1,\"locked_total\":\"x\"}");
  assert_non_null(strstr(text, "tributary_info{role=\"branch\",version=\"" TRB_VERSION "\",name=\"bund\"} 1\n"));
  assert_non_null(strstr(text, "# TYPE tributary_connected gauge\ntributary_connected 1\n"));
  assert_non_null(strstr(text, "\ntributary_in_sync 0\n"));
  assert_int_equal(count(text, "\ntributary_in_sync "), 1);
  assert_non_null(strstr(text, "\ntributary_waiting_bytes 9007199254740993\n"));
  assert_non_null(strstr(text, "\ntributary_last_heard_timestamp_seconds 1.500\n"));
  assert_non_null(strstr(text, "# TYPE tributary_batches_sealed_total counter\ntributary_batches_sealed_total 7\n"));
  assert_null(strstr(text, "BAD"));
  assert_null(strstr(text, "forks"));                     /* headquarters' */
  assert_null(strstr(text, "locked"));                    /* not a number */
  assert_null(strstr(text, "tributary_sealed_sequence")); /* absent is not zero */
  free(text);
}

static void metrics_render_shows_headquarters_in_base_units(void **state) {
  (void)state;
  char *text = render("{\"role\":\"hub\",\"name\":\"x\",\"in_sync\":true,\"last_backup_ms\":1790000000123}",
                      "{\"last_commit_us\":449,\"forks_total\":3,\"locked_total\":5}");
  assert_non_null(strstr(text, "\ntributary_last_backup_timestamp_seconds 1790000000.123\n"));
  assert_non_null(strstr(text, "# TYPE tributary_last_commit_seconds gauge\ntributary_last_commit_seconds 0.000449\n"));
  assert_non_null(strstr(text, "# TYPE tributary_forks_total counter\ntributary_forks_total 3\n"));
  assert_null(strstr(text, "locked"));
  free(text);
}

static void metrics_render_keeps_samples_of_a_metric_together_and_escapes_labels(void **state) {
  (void)state;
  char *text = render(
      "{\"role\":\"hub\",\"name\":\"总\\\"部\\\\\\n\",\"sites\":[{\"site\":\"a\",\"state\":\"active\",\"connected\":"
      "true},"
      "{\"site\":\"b\",\"state\":\"revoked\",\"connected\":false}],"
      "\"alarms\":[{\"name\":\"fork\",\"site\":\"a\",\"text\":\"x\"},{\"name\":\"fork\",\"site\":\"a\",\"text\":\"y\"}]"
      "}",
      "{}");
  assert_non_null(strstr(text, "name=\"总\\\"部\\\\\\n\"} 1\n"));
  assert_non_null(
      strstr(text, "tributary_site_connected{site=\"a\"} 1\ntributary_site_connected{site=\"b\"} 0\n# HELP"));
  assert_int_equal(count(text, "# TYPE tributary_site_connected "), 1);
  assert_non_null(strstr(text, "tributary_site_state{site=\"b\",state=\"revoked\"} 1\n"));
  assert_non_null(strstr(text, "\ntributary_alarms 2\n"));
  assert_int_equal(count(text, "tributary_alarm{name=\"fork\",site=\"a\"} 1\n"), 1); /* a series stands once */
  free(text);
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(metrics_render_shows_a_branch),
      cmocka_unit_test(metrics_render_shows_headquarters_in_base_units),
      cmocka_unit_test(metrics_render_keeps_samples_of_a_metric_together_and_escapes_labels),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
