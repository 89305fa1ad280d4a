/* cli: options, arguments, durations and safe text. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "tributary/cli.h"

enum { WORDS_MAX = 12 };
struct line {
  struct cli cli;
  char *words[WORDS_MAX];
  char *said; /* what went to err */
  size_t said_len;
};

static void line_init(struct line *line, int count, const char *const *words) {
  memset(line, 0, sizeof *line);
  for (int i = 0; i < count; ++i) line->words[i] = strdup(words[i]);
  line->cli = (struct cli){.argc = count, .argv = line->words, .out = stdout};
  line->cli.err = open_memstream(&line->said, &line->said_len);
}
static void line_done(struct line *line) {
  fclose(line->cli.err);
  free(line->said);
  for (int i = 0; i < line->cli.argc; ++i) free(line->words[i]);
}
#define LINE(line, ...)                         \
  const char *const line##_w[] = {__VA_ARGS__}; \
  line_init(&line, (int)(sizeof line##_w / sizeof *line##_w), line##_w)

static void cli_flag_takes_the_flag_out_and_leaves_the_rest(void **state) {
  (void)state;
  struct line line;
  LINE(line, "DIR", "--once", "x");
  char *once = line.words[1];
  assert_true(cli_flag(&line.cli, "--once"));
  free(once);
  assert_false(cli_flag(&line.cli, "--once"));
  assert_int_equal(line.cli.argc, 2);
  assert_string_equal(line.cli.argv[1], "x");
  assert_int_equal(cli_args(&line.cli, 2, 2, "u"), 0);
  line_done(&line);
}

static void cli_option_reads_both_spellings(void **state) {
  (void)state;
  struct line line;
  LINE(line, "--name", "总部", "DIR", "--listen=tcp://*:1");
  char *gone[3] = {line.words[0], line.words[1], line.words[3]};
  assert_string_equal(cli_option(&line.cli, "--name"), "总部");
  assert_string_equal(cli_option(&line.cli, "--listen"), "tcp://*:1");
  assert_null(cli_option(&line.cli, "--name"));
  assert_int_equal(line.cli.argc, 1);
  assert_null(line.cli.argv[1]);
  for (size_t i = 0; i < 3; ++i) free(gone[i]);
  line_done(&line);
}

static void cli_args_refuses_an_option_without_value(void **state) {
  (void)state;
  struct line line;
  LINE(line, "DIR", "--name");
  assert_null(cli_option(&line.cli, "--name"));
  assert_int_equal(cli_args(&line.cli, 1, 9, "tributary x DIR"), CLI_USAGE);
  fflush(line.cli.err);
  assert_non_null(strstr(line.said, "--name"));
  assert_non_null(strstr(line.said, "usage: tributary x DIR"));
  line_done(&line);
}

static void cli_args_names_what_is_missing_and_shows_the_usage(void **state) {
  (void)state;
  static const struct {
    int words;
    const char *usage, *said;
  } cases[] = {
      {0, "metrics DIR", "tributary: DIR is missing\nusage: tributary metrics DIR\n"},
      {1, "hub invite DIR SITE [--region CN]",
       "tributary: SITE is missing\nusage: tributary hub invite DIR SITE [--region CN]\n"},
      {1, "x DIR --name NAME FILE", "tributary: FILE is missing\nusage: tributary x DIR --name NAME FILE\n"},
      {1, "show DIR PARTY|RECORD", "tributary: PARTY|RECORD is missing\nusage: tributary show DIR PARTY|RECORD\n"},
      {1, "policy DIR dump | load FILE",
       "tributary: an argument is missing\nusage: tributary policy DIR dump | load FILE\n"},
      {1, "a DIR\nb DIR SITE", "tributary: an argument is missing\nusage: tributary a DIR\nb DIR SITE\n"},
  };
  for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
    struct line line;
    LINE(line, "DIR", "more");
    for (int word = cases[i].words; word < 2; word++) free(line.words[word]);
    line.cli.argc = cases[i].words;
    assert_int_equal(cli_args(&line.cli, 5, 9, cases[i].usage), CLI_USAGE);
    fflush(line.cli.err);
    assert_string_equal(line.said, cases[i].said);
    line_done(&line);
  }
}

static void cli_args_counts_words_and_knows_the_double_dash(void **state) {
  (void)state;
  struct line line;
  LINE(line, "a", "b");
  assert_int_equal(cli_args(&line.cli, 3, 4, "u"), CLI_USAGE);
  assert_int_equal(cli_args(&line.cli, 0, 1, "u"), CLI_USAGE);
  assert_int_equal(cli_args(&line.cli, 2, 2, "u"), 0);
  line_done(&line);
  struct line dashed;
  LINE(dashed, "DIR", "--", "--once");
  char *dashes = dashed.words[1];
  assert_false(cli_flag(&dashed.cli, "--once"));
  assert_int_equal(cli_args(&dashed.cli, 2, 2, "u"), 0);
  assert_string_equal(dashed.cli.argv[1], "--once");
  free(dashes);
  line_done(&dashed);
}

static void cli_failed_maps_statuses_to_exit_codes(void **state) {
  (void)state;
  struct line line;
  LINE(line, "DIR");
  struct trb_error error = {.status = TRB_DENIED, .text = "no\x1b[2J"};
  assert_int_equal(cli_failed(&line.cli, &error), CLI_REFUSED);
  fflush(line.cli.err);
  assert_non_null(strstr(line.said, "no\\x1b[2J"));
  error.status = TRB_AGAIN;
  assert_int_equal(cli_failed(&line.cli, &error), CLI_NOT_YET);
  error.status = TRB_STORE;
  assert_int_equal(cli_failed(&line.cli, &error), CLI_FAILED);
  line_done(&line);
}

static void cli_duration_reads_units_and_refuses_the_rest(void **state) {
  (void)state;
  int64_t seconds = -1;
  assert_true(cli_duration("90s", &seconds) && seconds == 90);
  assert_true(cli_duration("15m", &seconds) && seconds == 900);
  assert_true(cli_duration("7d", &seconds) && seconds == 604800);
  const char *const wrong[] = {"", "s", "15", "0s", "-1s", "1w", "1 s", "1.5h", "9999999999s", "99999d", "１h"};
  for (size_t i = 0; i < sizeof wrong / sizeof *wrong; ++i) {
    seconds = 7;
    assert_false(cli_duration(wrong[i], &seconds));
    assert_int_equal(seconds, 7);
  }
}

static void cli_print_text_shows_what_could_fool_a_terminal(void **state) {
  (void)state;
  static const struct {
    const char *in, *out;
  } cases[] = {{"张三 ok", "张三 ok"},
               {"a\nb\t", "a\\x0ab\\x09"},
               {"\x1b]0;x\x07", "\\x1b]0;x\\x07"},
               {"\xff\xe5\xbc", "\\xff\\xe5\\xbc"},
               {"\xc2\x9b", "\\xc2\\x9b"},
               {"a\xe2\x80\xae"
                "b",
                "a\\xe2\\x80\\xae"
                "b"}};
  for (size_t i = 0; i < sizeof cases / sizeof *cases; ++i) {
    char *text;
    size_t len;
    FILE *out = open_memstream(&text, &len);
    cli_print_text(out, trb_slice_str(cases[i].in));
    fclose(out);
    assert_string_equal(text, cases[i].out);
    free(text);
  }
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(cli_flag_takes_the_flag_out_and_leaves_the_rest),
      cmocka_unit_test(cli_option_reads_both_spellings),
      cmocka_unit_test(cli_args_refuses_an_option_without_value),
      cmocka_unit_test(cli_args_names_what_is_missing_and_shows_the_usage),
      cmocka_unit_test(cli_args_counts_words_and_knows_the_double_dash),
      cmocka_unit_test(cli_failed_maps_statuses_to_exit_codes),
      cmocka_unit_test(cli_duration_reads_units_and_refuses_the_rest),
      cmocka_unit_test(cli_print_text_shows_what_could_fool_a_terminal),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
