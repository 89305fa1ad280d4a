/* control: commands over the socket, and clients that misbehave; notify without and with a service manager. */
#include "tributary/control.h"

#include <poll.h>
#include <pthread.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <time.h>
#include <unistd.h>

#include <cmocka.h>

#include "tributary/mp.h"
#include "tributary/notify.h"

static char dir[64];
static struct control_server *server;

static int start(void **state) {
  (void)state;
  strcpy(dir, "/tmp/trb-control-XXXXXX");
  return mkdtemp(dir) && control_listen(dir, &server, NULL) == TRB_OK ? 0 : -1;
}

static int stop(void **state) {
  (void)state;
  char command[128];
  control_close(&server);
  assert_null(server);
  snprintf(command, sizeof command, "rm -rf %s", dir);
  return system(command);
}

static int64_t now_ms(void) {
  struct timespec t;
  clock_gettime(CLOCK_MONOTONIC, &t);
  return (int64_t)t.tv_sec * 1000 + t.tv_nsec / 1000000;
}

/* One turn of a daemon's loop: waits on the descriptors, answers one command with its words joined by '|'. */
static bool turn(int timeout_ms) {
  int fds[4], client;
  size_t words;
  const char *const *word;
  struct pollfd p[4];
  size_t count = control_fds(server, fds, 4);
  for (size_t i = 0; i < count; i++) p[i] = (struct pollfd){.fd = fds[i], .events = POLLIN};
  if (poll(p, count, timeout_ms) <= 0) return false;
  if (control_next(server, &client, &words, &word) != TRB_OK) return true;
  TRB_BUF_AUTO text = {0};
  for (size_t i = 0; i < words; i++) {
    if (i) trb_buf_append_byte(&text, '|');
    trb_buf_append_str(&text, word[i]);
  }
  assert_null(word[words]);
  enum trb_status status = strcmp(word[0], "refuse") == 0 ? TRB_DENIED : TRB_OK;
  if (strcmp(word[0], "large") == 0)
    while (text.len < (3u << 20)) trb_buf_append_str(&text, "0123456789abcdef");
  if (strcmp(word[0], "too-large") == 0)
    while (text.len < (5u << 20)) trb_buf_append_str(&text, "0123456789abcdef");
  control_answer(server, client, status, trb_buf_slice(&text));
  return true;
}

struct asked {
  const char *words[4];
  size_t count;
  int timeout_ms;
  enum trb_status status;
  struct trb_buf text;
  struct trb_error err;
  bool done;
};

static void *ask_in_a_thread(void *arg) {
  struct asked *a = arg;
  a->status = control_call(dir, a->count, a->words, a->timeout_ms, &a->text, &a->err);
  __atomic_store_n(&a->done, true, __ATOMIC_RELEASE);
  return NULL;
}

static void ask(struct asked *a) {
  pthread_t thread;
  if (!a->timeout_ms) a->timeout_ms = 20000;
  assert_int_equal(pthread_create(&thread, NULL, ask_in_a_thread, a), 0);
  while (!__atomic_load_n(&a->done, __ATOMIC_ACQUIRE)) turn(20);
  pthread_join(thread, NULL);
}

static int dial(void) {
  struct sockaddr_un address = {.sun_family = AF_UNIX};
  snprintf(address.sun_path, sizeof address.sun_path, "%s/control.sock", dir);
  int fd = socket(AF_UNIX, SOCK_STREAM, 0);
  assert_int_equal(connect(fd, (struct sockaddr *)&address, sizeof address), 0);
  return fd;
}

static void call_gets_the_daemons_answer(void **state) {
  (void)state;
  struct asked a = {.words = {"find", "张三", "--kind=mobile"}, .count = 3};
  ask(&a);
  assert_int_equal(a.status, TRB_OK);
  assert_string_equal(trb_buf_cstr(&a.text), "find|张三|--kind=mobile");
  trb_buf_free(&a.text);
  struct asked b = {.words = {"refuse", ""}, .count = 2};
  ask(&b);
  assert_int_equal(b.status, TRB_DENIED);
  assert_string_equal(b.err.text, "refuse|");
  trb_buf_free(&b.text);
}

static void call_says_absent_without_a_daemon(void **state) {
  (void)state;
  const char *const words[] = {"status"};
  TRB_BUF_AUTO text = {0};
  struct trb_error err = {0};
  assert_int_equal(control_call("/tmp", 1, words, 1000, &text, &err), TRB_ABSENT);
  assert_int_equal(control_call("/nowhere/at/all", 1, words, 1000, &text, &err), TRB_ABSENT);
}

static void call_gives_up_when_the_daemon_does_not_answer(void **state) {
  (void)state;
  const char *const words[] = {"status"};
  TRB_BUF_AUTO text = {0};
  int64_t begin = now_ms();
  assert_int_equal(control_call(dir, 1, words, 100, &text, NULL), TRB_AGAIN);
  assert_true(now_ms() - begin < 5000);
  while (turn(0)) continue; /* the answer to one who left */
}

static void large_commands_and_answers_pass_and_larger_ones_are_refused(void **state) {
  (void)state;
  char *word = malloc(TRB_CONTROL_BYTES_MAX + 1);
  memset(word, 'x', TRB_CONTROL_BYTES_MAX);
  word[TRB_CONTROL_BYTES_MAX - 100] = 0;
  struct asked a = {.words = {"load", word}, .count = 2};
  ask(&a);
  assert_int_equal(a.status, TRB_OK);
  assert_int_equal(a.text.len, TRB_CONTROL_BYTES_MAX - 100 + 5);
  trb_buf_free(&a.text);
  word[TRB_CONTROL_BYTES_MAX - 100] = 'x';
  word[TRB_CONTROL_BYTES_MAX] = 0;
  const char *const words[] = {word};
  assert_int_equal(control_call(dir, 1, words, 1000, &a.text, NULL), TRB_PEER);
  free(word);
  struct asked b = {.words = {"large"}, .count = 1};
  ask(&b);
  assert_int_equal(b.status, TRB_OK);
  assert_true(b.text.len >= 3u << 20);
  trb_buf_free(&b.text);
  struct asked c = {.words = {"too-large"}, .count = 1};
  ask(&c);
  assert_int_equal(c.status, TRB_FULL);
  trb_buf_free(&c.text);
}

static void hostile_clients_get_an_answer_or_nothing(void **state) {
  (void)state;
  static const char *const cases[] = {
      "ffffffff", /* 4 GiB promised */
      "00400001", /* one byte over */
      "00000000",       "0000000190",         "00000001c0", "0000000291c0", "0000000391a100" /* a NUL */,
      "0000000391a1ff", "00000005ddffffffff", "0000000181",
  };
  for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
    uint8_t bytes[64], answer[512];
    size_t len = strlen(cases[i]) / 2;
    assert_true(trb_unhex(cases[i], bytes, len));
    int fd = dial();
    assert_int_equal(send(fd, bytes, len, 0), len);
    for (int n = 0; n < 20; n++) turn(0);
    ssize_t got = recv(fd, answer, sizeof answer, MSG_DONTWAIT);
    assert_true(got > 6);
    assert_int_equal(trb_get_u32(answer), got - 4);
    assert_int_equal(answer[5], TRB_PEER);
    assert_int_equal(recv(fd, answer, sizeof answer, MSG_DONTWAIT), 0); /* and it is closed */
    close(fd);
  }
}

static void too_many_words_are_refused(void **state) {
  (void)state;
  TRB_BUF_AUTO body = {0};
  uint8_t length[4], answer[512];
  mp_put_array(&body, TRB_CONTROL_WORDS_MAX + 1);
  for (int i = 0; i <= TRB_CONTROL_WORDS_MAX; i++) mp_put_str(&body, trb_slice_str("w"));
  trb_put_u32(length, (uint32_t)body.len);
  int fd = dial();
  assert_int_equal(send(fd, length, 4, 0), 4);
  assert_int_equal(send(fd, body.data, body.len, 0), body.len);
  for (int n = 0; n < 20; n++) turn(0);
  assert_true(recv(fd, answer, sizeof answer, MSG_DONTWAIT) > 6);
  assert_int_equal(answer[5], TRB_PEER);
  close(fd);
}

static void slow_and_silent_clients_do_not_stall_the_others(void **state) {
  (void)state;
  int fds[TRB_CONTROL_CLIENTS_MAX - 1];
  uint8_t half[5] = {0, 0, 1, 0, 0x91};
  for (size_t i = 0; i < TRB_CONTROL_CLIENTS_MAX - 1; i++) {
    fds[i] = dial();
    if (i % 2) assert_int_equal(send(fds[i], half, sizeof half, 0), sizeof half);
  }
  int64_t begin = now_ms();
  struct asked a = {.words = {"status"}, .count = 1};
  ask(&a);
  assert_int_equal(a.status, TRB_OK);
  assert_true(now_ms() - begin < 2000);
  trb_buf_free(&a.text);
  int last = dial(); /* the last place */
  while (turn(0)) continue;
  struct asked b = {.words = {"status"}, .count = 1};
  ask(&b);
  assert_int_equal(b.status, TRB_AGAIN); /* told to try again, at once */
  trb_buf_free(&b.text);
  close(last);
  for (size_t i = 0; i < TRB_CONTROL_CLIENTS_MAX - 1; i++) close(fds[i]);
  while (turn(0)) continue;
  struct asked c = {.words = {"status"}, .count = 1};
  ask(&c);
  assert_int_equal(c.status, TRB_OK);
  trb_buf_free(&c.text);
}

static void a_reader_who_stops_reading_does_not_stall_the_daemon(void **state) {
  (void)state;
  TRB_BUF_AUTO body = {0};
  uint8_t length[4];
  mp_put_array(&body, 1);
  mp_put_str(&body, trb_slice_str("large"));
  trb_put_u32(length, (uint32_t)body.len);
  int fd = dial();
  assert_int_equal(send(fd, length, 4, 0), 4);
  assert_int_equal(send(fd, body.data, body.len, 0), body.len);
  int64_t begin = now_ms();
  for (int n = 0; n < 20; n++) turn(0); /* 3 MiB do not fit in the socket */
  struct asked a = {.words = {"status"}, .count = 1};
  ask(&a);
  assert_int_equal(a.status, TRB_OK);
  assert_true(now_ms() - begin < 2000);
  trb_buf_free(&a.text);
  assert_false(turn(0)); /* and the loop is not woken for nothing */
  size_t total = 0;
  static uint8_t chunk[65536];
  for (ssize_t got; total < (3u << 20); total += (size_t)got) {
    turn(0);
    got = recv(fd, chunk, sizeof chunk, MSG_DONTWAIT);
    if (got <= 0) got = 0;
  }
  close(fd);
}

/* A client whose connection waits while the process has no descriptor left; ends with the limit lifted. */
static int dial_without_descriptors(rlim_t limit, struct rlimit *ret_before) {
  struct rlimit none;
  assert_int_equal(getrlimit(RLIMIT_NOFILE, ret_before), 0);
  none = *ret_before;
  none.rlim_cur = limit;
  int fd = dial();
  assert_int_equal(setrlimit(RLIMIT_NOFILE, &none), 0);
  return fd;
}

static void a_client_without_a_descriptor_left_is_told_so(void **state) {
  (void)state;
  struct rlimit before;
  uint8_t answer[512];
  int fd = dial_without_descriptors(64, &before), taken[64], count = 0;
  while (count < 64 && (taken[count] = dup(fd)) >= 0) count++;
  for (int n = 0; n < 5; n++) turn(0);
  ssize_t got = recv(fd, answer, sizeof answer, MSG_DONTWAIT);
  bool again = turn(0);
  while (count) close(taken[--count]);
  assert_int_equal(setrlimit(RLIMIT_NOFILE, &before), 0);
  assert_true(got > 6);
  assert_int_equal(answer[5], TRB_AGAIN);
  assert_false(again);
  close(fd);
}

static void the_loop_does_not_spin_while_nothing_can_be_accepted(void **state) {
  (void)state;
  struct rlimit before;
  int turns = 0, fd = dial_without_descriptors(3, &before); /* not even the spare one's number is free */
  for (int64_t end = now_ms() + 300; now_ms() < end;) turns += turn(20);
  assert_int_equal(setrlimit(RLIMIT_NOFILE, &before), 0);
  assert_in_range(turns, 1, 12);
  close(fd);
  usleep(120000);
  struct asked a = {.words = {"status"}, .count = 1};
  while (turn(0)) continue;
  int client;
  size_t count;
  const char *const *words;
  assert_int_equal(control_next(server, &client, &count, &words), TRB_AGAIN); /* a tick of the daemon ends the pause */
  ask(&a);
  assert_int_equal(a.status, TRB_OK);
  trb_buf_free(&a.text);
}

static void a_client_who_leaves_while_busy_is_no_trouble(void **state) {
  (void)state;
  int client;
  size_t count;
  const char *const *words;
  uint8_t request[] = {0, 0, 0, 3, 0x91, 0xa1, 'x'};
  int fd = dial();
  assert_int_equal(send(fd, request, sizeof request, 0), sizeof request);
  enum trb_status status = TRB_AGAIN;
  for (int n = 0; n < 20 && status; n++) status = control_next(server, &client, &count, &words);
  assert_int_equal(status, TRB_OK);
  close(fd);
  assert_int_equal(control_next(server, &client, &count, &words), TRB_AGAIN);
  assert_false(turn(0)); /* its hang-up does not wake the loop again and again */
  assert_string_equal(words[0], "x");
  control_answer(server, client, TRB_OK, trb_slice_str(words[0])); /* a word may be the answer */
}

static void socket_is_for_its_owner_and_survives_a_killed_daemon(void **state) {
  (void)state;
  char path[128];
  struct stat st;
  snprintf(path, sizeof path, "%s/control.sock", dir);
  assert_int_equal(stat(path, &st), 0);
  assert_true(S_ISSOCK(st.st_mode));
  assert_int_equal(st.st_mode & 0777, 0600);
  control_close(&server);
  assert_int_equal(access(path, F_OK), -1);
  /* What a killed daemon leaves behind. */
  struct sockaddr_un address = {.sun_family = AF_UNIX};
  snprintf(address.sun_path, sizeof address.sun_path, "%s/control.sock", dir);
  int fd = socket(AF_UNIX, SOCK_STREAM, 0);
  assert_int_equal(bind(fd, (struct sockaddr *)&address, sizeof address), 0);
  close(fd);
  assert_int_equal(control_listen(dir, &server, NULL), TRB_OK);
  struct asked a = {.words = {"status"}, .count = 1};
  ask(&a);
  assert_int_equal(a.status, TRB_OK);
  trb_buf_free(&a.text);
}

static void long_paths_work(void **state) {
  (void)state;
  char deep[300], command[400];
  snprintf(deep, sizeof deep, "%s/%0150d", dir, 7);
  assert_int_equal(mkdir(deep, 0700), 0);
  struct control_server *other = NULL;
  assert_int_equal(control_listen(deep, &other, NULL), TRB_OK);
  snprintf(command, sizeof command, "test -S %s/control.sock", deep);
  assert_int_equal(system(command), 0);
  control_close(&other);
}

static void notify_tells_the_service_manager(void **state) {
  (void)state;
  unsetenv("NOTIFY_SOCKET");
  notify_ready(); /* nobody listens */
  struct sockaddr_un address = {.sun_family = AF_UNIX};
  snprintf(address.sun_path, sizeof address.sun_path, "%s/notify", dir);
  int fd = socket(AF_UNIX, SOCK_DGRAM, 0);
  char text[256] = "";
  assert_int_equal(bind(fd, (struct sockaddr *)&address, sizeof address), 0);
  setenv("NOTIFY_SOCKET", address.sun_path, 1);
  notify_status("%d branches\nWATCHDOG=1", 3);
  assert_true(recv(fd, text, sizeof text - 1, MSG_DONTWAIT) > 0);
  assert_string_equal(text, "STATUS=3 branches WATCHDOG=1");
  memset(text, 0, sizeof text);
  notify_stopping();
  assert_true(recv(fd, text, sizeof text - 1, MSG_DONTWAIT) > 0);
  assert_string_equal(text, "STOPPING=1");
  unsetenv("WATCHDOG_USEC");
  assert_int_equal(notify_watchdog_ms(), 0);
  setenv("WATCHDOG_USEC", "30000000", 1);
  assert_int_equal(notify_watchdog_ms(), 15000);
  unsetenv("WATCHDOG_USEC");
  unsetenv("NOTIFY_SOCKET");
  close(fd);
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(call_gets_the_daemons_answer),
      cmocka_unit_test(call_says_absent_without_a_daemon),
      cmocka_unit_test(call_gives_up_when_the_daemon_does_not_answer),
      cmocka_unit_test(large_commands_and_answers_pass_and_larger_ones_are_refused),
      cmocka_unit_test(hostile_clients_get_an_answer_or_nothing),
      cmocka_unit_test(too_many_words_are_refused),
      cmocka_unit_test(slow_and_silent_clients_do_not_stall_the_others),
      cmocka_unit_test(a_reader_who_stops_reading_does_not_stall_the_daemon),
      cmocka_unit_test(a_client_without_a_descriptor_left_is_told_so),
      cmocka_unit_test(the_loop_does_not_spin_while_nothing_can_be_accepted),
      cmocka_unit_test(a_client_who_leaves_while_busy_is_no_trouble),
      cmocka_unit_test(socket_is_for_its_owner_and_survives_a_killed_daemon),
      cmocka_unit_test(long_paths_work),
      cmocka_unit_test(notify_tells_the_service_manager),
  };
  return cmocka_run_group_tests_name("control", tests, start, stop);
}
