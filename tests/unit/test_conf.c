/* conf and whole-file helpers. */
#include "tributary/conf.h"

#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cmocka.h>

static char dir[64];

static int make_dir(void **state) {
  (void)state;
  strcpy(dir, "/tmp/trb-conf-XXXXXX");
  return mkdtemp(dir) ? 0 : -1;
}

static int remove_dir(void **state) {
  (void)state;
  char command[128];
  snprintf(command, sizeof command, "rm -rf %s", dir);
  return system(command);
}

static const char *in_dir(const char *name) {
  static char path[128];
  snprintf(path, sizeof path, "%s/%s", dir, name);
  return path;
}

static enum trb_status load_text(const char *text, struct trb_conf *ret, struct trb_error *err) {
  assert_int_equal(file_write(in_dir("node.ini"), trb_slice_str(text), NULL), TRB_OK);
  return conf_load(dir, ret, err);
}

static void save_and_load_keep_every_setting(void **state) {
  (void)state;
  struct trb_conf conf = {.role = TRB_ROLE_BRANCH,
                          .site = "site1",
                          .name = "上海南京路营业部",
                          .endpoints = "tcp://hub.example.com:7600,tcp://10.0.0.1:7600",
                          .region = "CN",
                          .area_code = "021"};
  struct trb_conf back;
  struct trb_error err = {0};
  struct stat st;
  assert_int_equal(conf_save(dir, &conf, &err), TRB_OK);
  assert_int_equal(stat(in_dir("node.ini"), &st), 0);
  assert_int_equal(st.st_mode & 0777, 0600);
  assert_int_equal(conf_load(dir, &back, &err), TRB_OK);
  assert_memory_equal(&conf, &back, sizeof conf);
  strcpy(conf.name, "another");
  assert_int_equal(conf_save(dir, &conf, &err), TRB_OK);
  assert_int_equal(conf_load(dir, &back, &err), TRB_OK);
  assert_string_equal(back.name, "another");
  assert_int_equal(access(in_dir("node.ini.new"), F_OK), -1);
}

static void load_reads_what_a_person_writes(void **state) {
  (void)state;
  struct trb_conf conf;
  struct trb_error err = {0};
  assert_int_equal(
      load_text("; our hub\n\n[node]\nrole=hub\r\n  name =  总部  ; main\nlisten: tcp://0.0.0.0:7600\n", &conf, &err),
      TRB_PEER); /* an indented line continues the value before it */
  assert_int_equal(
      load_text("\xef\xbb\xbf; our hub\n\n[node]\nrole=hub\r\nname =  总部  ; main\nlisten: tcp://0.0.0.0:7600\n",
                &conf, &err),
      TRB_OK);
  assert_int_equal(conf.role, TRB_ROLE_HUB);
  assert_string_equal(conf.name, "总部");
  assert_string_equal(conf.listen, "tcp://0.0.0.0:7600");
}

static void load_refuses_a_damaged_file_with_its_line(void **state) {
  (void)state;
  static const struct {
    const char *text, *line;
  } cases[] = {
      {"[node]\nrole = hub\nrole = hub\n", "line 3"},
      {"[node]\nrole = hub\nname = a\nname = b\n", "line 4"},
      {"[node]\nrole = king\n", "line 2"},
      {"[node]\nrole = hub\ncolour = red\n", "line 3"},
      {"[other]\nrole = hub\n", "line 2"},
      {"[node\nrole = hub\n", "line 1"},
      {"[node]\nrole hub\n", "line 2"},
      {"role = hub\n", "line 1"},
      {"[node]\nrole = hub\nregion = CHINAAAA\n", "line 3"},
      {"[node]\nname = nothing\n", "role"},
      {"", "role"},
  };
  struct trb_conf conf;
  for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
    struct trb_error err = {0};
    assert_int_equal(load_text(cases[i].text, &conf, &err), TRB_PEER);
    assert_non_null(strstr(err.text, cases[i].line));
    assert_non_null(strstr(err.text, "node.ini"));
  }
}

static void load_refuses_long_lines_and_large_files(void **state) {
  (void)state;
  struct trb_conf conf;
  struct trb_error err = {0};
  char text[400] = "[node]\nrole = hub\nname = ";
  memset(text + strlen(text), 'x', 300);
  assert_int_equal(load_text(text, &conf, &err), TRB_PEER);
  assert_non_null(strstr(err.text, "line 3"));
  char *large = malloc(100001);
  memset(large, '\n', 100000);
  large[100000] = 0;
  assert_int_equal(load_text(large, &conf, &err), TRB_PEER);
  free(large);
  assert_int_equal(file_write(in_dir("node.ini"), trb_slice_of("[node]\nrole = hub\n\0", 19), NULL), TRB_OK);
  assert_int_equal(conf_load(dir, &conf, &err), TRB_PEER);
}

static void load_says_absent_where_there_is_no_node(void **state) {
  (void)state;
  struct trb_conf conf;
  struct trb_error err = {0};
  unlink(in_dir("node.ini"));
  assert_int_equal(conf_load(dir, &conf, &err), TRB_ABSENT);
  assert_int_equal(conf_load("/nowhere/at/all", &conf, &err), TRB_ABSENT);
}

static void save_refuses_what_it_could_not_read_back(void **state) {
  (void)state;
  static const char *const names[] = {"two\nlines", "a ; b", " leads", "trails ", "line\rback"};
  struct trb_conf conf = {.role = TRB_ROLE_HUB};
  unlink(in_dir("node.ini"));
  for (size_t i = 0; i < sizeof names / sizeof *names; i++) {
    strcpy(conf.name, names[i]);
    enum trb_status status = conf_save(dir, &conf, NULL);
    assert_int_equal(status, TRB_PEER);
  }
  memset(conf.name, 'x', sizeof conf.name - 1);
  assert_int_equal(conf_save(dir, &conf, NULL), TRB_PEER);
  conf = (struct trb_conf){.name = "no role"};
  assert_int_equal(conf_save(dir, &conf, NULL), TRB_PEER);
  assert_int_equal(access(in_dir("node.ini"), F_OK), -1);
}

static void file_read_keeps_its_limit_and_the_output(void **state) {
  (void)state;
  TRB_BUF_AUTO out = {0};
  assert_int_equal(file_write(in_dir("f"), trb_slice_str("0123456789"), NULL), TRB_OK);
  trb_buf_append_str(&out, "kept");
  assert_int_equal(file_read(in_dir("f"), 9, &out, NULL), TRB_PEER);
  assert_string_equal(trb_buf_cstr(&out), "kept");
  assert_int_equal(file_read(in_dir("f"), 10, &out, NULL), TRB_OK);
  assert_string_equal(trb_buf_cstr(&out), "kept0123456789");
  assert_int_equal(file_read(dir, 10, &out, NULL), TRB_STORE); /* a directory */
  assert_int_equal(file_read("/dev/zero", 100000, &out, NULL), TRB_PEER);
}

static void file_write_leaves_the_old_file_when_it_fails(void **state) {
  (void)state;
  TRB_BUF_AUTO out = {0};
  assert_int_equal(file_write(in_dir("g"), trb_slice_str("old"), NULL), TRB_OK);
  assert_int_equal(mkdir(in_dir("g.new"), 0700), 0); /* in the way */
  struct trb_error err = {0};
  assert_int_equal(file_write(in_dir("g"), trb_slice_str("new"), &err), TRB_STORE);
  assert_int_equal(file_read(in_dir("g"), 10, &out, NULL), TRB_OK);
  assert_string_equal(trb_buf_cstr(&out), "old");
  assert_int_equal(file_write("/nowhere/at/all/f", trb_slice_str("x"), &err), TRB_ABSENT);
}

static void file_lock_names_who_holds_it(void **state) {
  (void)state;
  int fd = -1, other = -1;
  struct trb_error err = {0};
  char pid[32];
  assert_int_equal(file_lock(dir, &fd, &err), TRB_OK);
  assert_int_equal(file_lock(dir, &other, &err), TRB_AGAIN);
  assert_int_equal(other, -1);
  snprintf(pid, sizeof pid, "pid %ld", (long)getpid());
  assert_non_null(strstr(err.text, pid));
  pid_t child = fork();
  if (child == 0) _exit(file_lock(dir, &other, NULL) == TRB_AGAIN ? 0 : 1);
  int status = -1;
  waitpid(child, &status, 0);
  assert_int_equal(status, 0);
  close(fd);
  assert_int_equal(file_lock(dir, &fd, &err), TRB_OK);
  close(fd);
  assert_int_equal(file_lock("/nowhere/at/all", &fd, &err), TRB_ABSENT);
}

static void file_lock_waits_for_a_command_that_is_soon_done(void **state) {
  (void)state;
  int held = -1, fd = -1, ready[2], status = -1;
  char byte;
  assert_int_equal(pipe(ready), 0);
  pid_t child = fork();
  if (child == 0) { /* holds it while the parent begins to wait */
    bool ok = file_lock(dir, &held, NULL) == TRB_OK && write(ready[1], "x", 1) == 1;
    usleep(100000);
    _exit(ok ? 0 : 1);
  }
  assert_int_equal(read(ready[0], &byte, 1), 1);
  assert_int_equal(file_lock(dir, &fd, NULL), TRB_OK);
  close(fd);
  waitpid(child, &status, 0);
  assert_int_equal(status, 0);
  close(ready[0]);
  close(ready[1]);
}

static void file_on_network_knows_local_disks(void **state) {
  (void)state;
  const char *name = NULL;
  assert_false(file_on_network("/proc", &name));
  assert_false(file_on_network("/dev/shm/not/yet/made", &name));
  assert_false(file_on_network("not-made-either", &name) && !name);
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(save_and_load_keep_every_setting),
      cmocka_unit_test(load_reads_what_a_person_writes),
      cmocka_unit_test(load_refuses_a_damaged_file_with_its_line),
      cmocka_unit_test(load_refuses_long_lines_and_large_files),
      cmocka_unit_test(load_says_absent_where_there_is_no_node),
      cmocka_unit_test(save_refuses_what_it_could_not_read_back),
      cmocka_unit_test(file_read_keeps_its_limit_and_the_output),
      cmocka_unit_test(file_write_leaves_the_old_file_when_it_fails),
      cmocka_unit_test(file_lock_names_who_holds_it),
      cmocka_unit_test(file_lock_waits_for_a_command_that_is_soon_done),
      cmocka_unit_test(file_on_network_knows_local_disks),
  };
  return cmocka_run_group_tests_name("conf", tests, make_dir, remove_dir);
}
