/* bench_locked: how often a client without a busy timeout, inserting without pause, meets 'database is locked', with
 * and without the branch's daemon; and what the idle daemon costs. One JSON object a line.
 *
 *   bench_locked [SECONDS]      a run of each kind lasts so long (default 5) */
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "../../node/branch/node.h"

#define CHECK(call)                                              \
  do {                                                           \
    struct trb_error e_ = {0};                                   \
    struct trb_error *err = &e_;                                 \
    if ((call) != TRB_OK) {                                      \
      fprintf(stderr, "bench_locked: %s: %s\n", #call, e_.text); \
      exit(1);                                                   \
    }                                                            \
    (void)err;                                                   \
  } while (0)

/* A branch whose hub cannot be reached. */
static void make_node(const char *dir) {
  struct crypto_signer *root = NULL;
  struct node_keys keys;
  struct outbox *outbox = NULL;
  uint8_t public_key[TRB_KEY_BYTES], seed[TRB_KEY_BYTES], incarnation[TRB_INCARNATION_BYTES] = {1};
  char path[NODE_PATH_MAX];
  TRB_BUF_AUTO sealed = {0};
  struct trb_conf conf = {.role = TRB_ROLE_BRANCH};
  struct trb_keyset keyset = {.version = 1, .endpoint_count = 1};
  crypto_sign_keypair(public_key, seed);
  CHECK(crypto_signer_new(seed, &root, err));
  memcpy(keyset.root_public, public_key, TRB_KEY_BYTES);
  memcpy(keyset.sign_public, public_key, TRB_KEY_BYTES);
  crypto_curve_keypair(keyset.curve_public, seed);
  strcpy(keyset.endpoints[0], "tcp://127.0.0.1:9");
  keyset_seal(&keyset, root, &sealed);
  crypto_signer_free(&root);
  CHECK(node_make_keys(dir, "", &keys, err));
  CHECK(node_path(dir, "keys/hub.root", path, err));
  CHECK(file_write(path, trb_slice_of(public_key, TRB_KEY_BYTES), err));
  CHECK(node_path(dir, "keys/hub.keyset", path, err));
  CHECK(file_write(path, trb_buf_slice(&sealed), err));
  CHECK(replica_make(dir, err));
  CHECK(outbox_create(dir, incarnation, &outbox, err));
  outbox_close(&outbox);
  strcpy(conf.site, "bench");
  strcpy(conf.endpoints, keyset.endpoints[0]);
  CHECK(conf_save(dir, &conf, err));
}

static pid_t start_daemon(const char *dir) {
  pid_t pid = fork();
  if (pid != 0) {
    usleep(500000);
    return pid;
  }
  struct trb_error err;
  fclose(stderr);
  _exit(branch_run(dir, false, &err) == TRB_OK ? 0 : 1);
}

static void stop_daemon(pid_t pid) {
  kill(pid, SIGTERM);
  waitpid(pid, NULL, 0);
}

static void run_client(const char *dir, const char *journal, const char *synchronous, bool daemon, double seconds) {
  char path[NODE_PATH_MAX], pragma[128];
  struct trb_db *db = NULL;
  CHECK(node_path(dir, "replica.db", path, err));
  CHECK(db_open(path, TRB_DB_WRITE, 2000, &db, err));
  snprintf(pragma, sizeof pragma, "PRAGMA journal_mode=%s; PRAGMA synchronous=%s; PRAGMA busy_timeout=0", journal,
           synchronous);
  CHECK(db_exec(db, pragma, err));
  int64_t tries = 0, locked = 0, end = seal_now_us() + (int64_t)(seconds * 1e6);
  int64_t start = seal_now_us();
  while (seal_now_us() < end) {
    struct trb_error err;
    enum trb_status status = db_run(db, &err, "INSERT INTO customer(kind, name) VALUES('person', '张伟')", "");
    tries++;
    if (status == TRB_AGAIN)
      locked++;
    else if (status != TRB_OK) {
      fprintf(stderr, "bench_locked: %s\n", err.text);
      exit(1);
    }
  }
  double took = (double)(seal_now_us() - start) / 1e6;
  printf(
      "{\"name\":\"locked_%s\",\"value\":%.3f,\"unit\":\"%% of writes\",\"conditions\":\"%s, synchronous=%s, no busy "
      "timeout, %lld writes without pause (%.0f/s), %lld locked\"}\n",
      daemon ? "with_daemon" : "alone", tries ? 100.0 * (double)locked / (double)tries : 0, journal, synchronous,
      (long long)tries, (double)tries / took, (long long)locked);
  fflush(stdout);
  db_close(&db);
}

static double cpu_seconds(pid_t pid) {
  char path[64], text[1024];
  snprintf(path, sizeof path, "/proc/%d/stat", (int)pid);
  FILE *file = fopen(path, "r");
  size_t len = file ? fread(text, 1, sizeof text - 1, file) : 0;
  if (file) fclose(file);
  text[len] = '\0';
  unsigned long user = 0, system_time = 0;
  char *at = strrchr(text, ')');
  if (at) sscanf(at + 2, "%*c %*d %*d %*d %*d %*d %*u %*u %*u %*u %*u %lu %lu", &user, &system_time);
  return (double)(user + system_time) / (double)sysconf(_SC_CLK_TCK);
}

static long rss_anon_kb(pid_t pid) {
  char path[64], line[256];
  long kb = -1;
  snprintf(path, sizeof path, "/proc/%d/status", (int)pid);
  FILE *file = fopen(path, "r");
  while (file && fgets(line, sizeof line, file))
    if (sscanf(line, "RssAnon: %ld", &kb) == 1) break;
  if (file) fclose(file);
  return kb;
}

static void run_idle(const char *dir, double seconds) {
  pid_t pid = start_daemon(dir);
  static const char *const words[] = {"status"};
  for (int i = 0; i < 100; i++) { /* what the runs left, and the scrub of the start */
    TRB_BUF_AUTO text = {0};
    sleep(1);
    if (branch_command(dir, 1, words, &text, NULL) == TRB_OK && strstr(trb_buf_cstr(&text), "\"marks_unsealed\":0"))
      break;
  }
  sleep(15);
  double before = cpu_seconds(pid);
  int64_t start = seal_now_us();
  usleep((useconds_t)(seconds * 1e6));
  double used = cpu_seconds(pid) - before, took = (double)(seal_now_us() - start) / 1e6;
  printf("{\"name\":\"branch_idle_cpu\",\"value\":%.3f,\"unit\":\"%% of a core\",\"conditions\":\"%.0f s\"}\n",
         100.0 * used / took, took);
  printf(
      "{\"name\":\"branch_idle_memory\",\"value\":%.1f,\"unit\":\"MB RssAnon\",\"conditions\":\"after the runs "
      "above\"}\n",
      (double)rss_anon_kb(pid) / 1024);
  fflush(stdout);
  stop_daemon(pid);
}

int main(int argc, char **argv) {
  static const char *const kinds[][2] = {
      {"DELETE", "FULL"}, {"DELETE", "NORMAL"}, {"TRUNCATE", "NORMAL"}, {"DELETE", "OFF"}};
  double seconds = argc > 1 ? atof(argv[1]) : 5;
  char dir[] = "./trb-locked-XXXXXX", command[64];
  if (seconds <= 0 || !mkdtemp(dir)) return 2;
  make_node(dir);
  for (size_t i = 0; i < sizeof kinds / sizeof kinds[0]; i++) {
    run_client(dir, kinds[i][0], kinds[i][1], false, seconds / 2);
    pid_t pid = start_daemon(dir);
    run_client(dir, kinds[i][0], kinds[i][1], true, seconds);
    stop_daemon(pid);
  }
  run_idle(dir, 10);
  snprintf(command, sizeof command, "rm -rf %s", dir);
  return system(command) == 0 ? 0 : 1;
}
