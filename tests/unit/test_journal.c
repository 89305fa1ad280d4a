/* The journal of headquarters' writes: torn ends, damage, a full disk. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "../node/hub/journal.h"

struct fx {
  char dir[64], path[80];
  struct journal *j;
  struct trb_error err;
};

static int setup(void **state) {
  struct fx *fx = calloc(1, sizeof *fx);
  bool fresh = false;
  snprintf(fx->dir, sizeof fx->dir, "/tmp/trb_journal_XXXXXX");
  assert_non_null(mkdtemp(fx->dir));
  snprintf(fx->path, sizeof fx->path, "%s/journal", fx->dir);
  assert_int_equal(journal_open(fx->dir, &fx->j, &fresh, &fx->err), TRB_OK); /* a folder is taken too */
  assert_true(fresh);
  *state = fx;
  return 0;
}
static int teardown(void **state) {
  struct fx *fx = *state;
  char command[96];
  journal_close(&fx->j);
  snprintf(command, sizeof command, "rm -rf '%s'", fx->dir);
  free(fx);
  return system(command) == 0 ? 0 : -1;
}

static void append(struct fx *fx, const char *text) {
  struct journal_record record = {JOURNAL_BATCH, trb_slice_str(text), trb_slice_str("ack"), 0};
  if (journal_append(fx->j, &record, &fx->err) != TRB_OK) fail_msg("%s", fx->err.text);
}
static enum trb_status reopen(struct fx *fx) {
  bool fresh = false;
  journal_close(&fx->j);
  enum trb_status status = journal_open(fx->path, &fx->j, &fresh, &fx->err);
  if (status == TRB_OK) assert_false(fresh);
  return status;
}
static enum trb_status collect(void *context, const struct journal_record *record, struct trb_error *err) {
  (void)err;
  if (record->type == JOURNAL_START)
    trb_buf_printf(context, "<%llu>", (unsigned long long)record->starts);
  else
    trb_buf_append_slice(context, record->sealed);
  trb_buf_append_byte(context, ' ');
  return TRB_OK;
}
static void expect(struct fx *fx, const char *text) {
  TRB_BUF_AUTO out = {0};
  if (journal_each(fx->j, collect, &out, &fx->err) != TRB_OK) fail_msg("%s", fx->err.text);
  assert_string_equal(trb_buf_cstr(&out), text);
}

static void journal_gives_back_what_was_appended(void **state) {
  struct fx *fx = *state;
  append(fx, "eins");
  assert_int_equal(journal_append(fx->j, &(struct journal_record){.type = JOURNAL_START, .starts = 7}, NULL), TRB_OK);
  append(fx, "zwei");
  expect(fx, "eins <7> zwei ");
  assert_int_equal(reopen(fx), TRB_OK);
  append(fx, "drei");
  expect(fx, "eins <7> zwei drei ");
}

static void journal_drops_a_torn_record_at_every_length(void **state) {
  struct fx *fx = *state;
  append(fx, "eins");
  uint64_t whole = journal_bytes(fx->j);
  append(fx, "zwei");
  uint64_t end = journal_bytes(fx->j);
  for (uint64_t cut = end - 1; cut > whole; cut--) {
    assert_int_equal(truncate(fx->path, (off_t)cut), 0);
    assert_int_equal(reopen(fx), TRB_OK);
    expect(fx, "eins ");
    append(fx, "zwei");
    assert_int_equal(journal_bytes(fx->j), end);
  }
}

static void flip(const struct fx *fx, off_t at) {
  int fd = open(fx->path, O_RDWR);
  uint8_t byte = 0;
  assert_int_equal(pread(fd, &byte, 1, at), 1);
  byte ^= 0x40;
  assert_int_equal(pwrite(fd, &byte, 1, at), 1);
  close(fd);
}

static void journal_names_the_place_of_damage_before_the_end(void **state) {
  struct fx *fx = *state;
  append(fx, "eins");
  append(fx, "zwei");
  flip(fx, 24);
  assert_int_equal(reopen(fx), TRB_STORE);
  assert_non_null(strstr(fx->err.text, "damaged at byte 8"));
}

static void journal_refuses_a_file_that_is_none(void **state) {
  struct fx *fx = *state;
  append(fx, "eins");
  flip(fx, 0);
  assert_int_equal(reopen(fx), TRB_STORE);
  assert_non_null(strstr(fx->err.text, "not a journal"));
}

static void journal_is_whole_again_after_a_failed_append(void **state) {
  struct fx *fx = *state;
  append(fx, "eins");
  static uint8_t large[JOURNAL_RECORD_MAX + 1];
  struct journal_record record = {JOURNAL_BATCH, trb_slice_of(large, sizeof large), trb_slice_str(""), 0};
  assert_int_equal(journal_append(fx->j, &record, &fx->err), TRB_FULL);
  append(fx, "zwei");
  assert_int_equal(reopen(fx), TRB_OK);
  expect(fx, "eins zwei ");
}

static void journal_retire_keeps_the_old_file_and_starts_anew(void **state) {
  struct fx *fx = *state;
  char kept[96];
  struct stat st;
  append(fx, "eins");
  assert_int_equal(journal_retire(fx->j, &fx->err), TRB_OK);
  expect(fx, "");
  append(fx, "zwei");
  snprintf(kept, sizeof kept, "%s.1", fx->path);
  assert_int_equal(stat(kept, &st), 0);
  assert_int_equal(reopen(fx), TRB_OK);
  expect(fx, "zwei ");
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)
int main(void) {
  const struct CMUnitTest tests[] = {
      TEST(journal_gives_back_what_was_appended),
      TEST(journal_drops_a_torn_record_at_every_length),
      TEST(journal_names_the_place_of_damage_before_the_end),
      TEST(journal_refuses_a_file_that_is_none),
      TEST(journal_is_whole_again_after_a_failed_append),
      TEST(journal_retire_keeps_the_old_file_and_starts_anew),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
