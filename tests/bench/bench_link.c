/* bench_link: what idle branches cost the hub's net thread: memory of a server with 1,000 CURVE sessions, and how fast
 * they come back after an outage. The clients live in processes of their own, so that only the server is measured.
 *
 * Usage: bench_link [BRANCHES]. Prints one JSON object a line: name, value, unit, conditions. */
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "tributary/link.h"

enum { CLIENTS_MAX = 250 /* of one process: libzmq's 1,023 sockets, three a client */, PROCESSES_MAX = 40 };

static unsigned admitted;

static bool authorise(void *arg, const uint8_t key[TRB_KEY_BYTES], const char *address, char user[TRB_LINK_USER_MAX]) {
  (void)arg, (void)key, (void)address;
  snprintf(user, TRB_LINK_USER_MAX, "branch%u", ++admitted);
  return true;
}

static double now_ms(void) {
  struct timespec t;
  clock_gettime(CLOCK_MONOTONIC, &t);
  return (double)t.tv_sec * 1e3 + (double)t.tv_nsec / 1e6;
}

static double resident_kb(void) {
  long pages = 0, ignored;
  FILE *f = fopen("/proc/self/statm", "r");
  if (!f || fscanf(f, "%ld %ld", &ignored, &pages) != 2) pages = 0;
  if (f) fclose(f);
  return (double)pages * (double)sysconf(_SC_PAGESIZE) / 1024;
}

static void must(bool ok, const char *what) {
  if (ok) return;
  fprintf(stderr, "bench_link: %s\n", what);
  exit(2);
}

/* One process of clients: waits for the server's endpoint and key, connects, says hello, stays. */
static _Noreturn void run_clients(int from, unsigned count) {
  struct {
    char endpoint[256];
    uint8_t server_public[TRB_KEY_BYTES];
  } hub;
  if (read(from, &hub, sizeof hub) != (ssize_t)sizeof hub) exit(0);
  static struct link_client *clients[CLIENTS_MAX];
  struct link_context *context;
  must(link_context_new(&context, NULL) == TRB_OK, "no context");
  for (unsigned i = 0; i < count; i++) {
    struct link_client_keys keys;
    memcpy(keys.server_public, hub.server_public, TRB_KEY_BYTES);
    crypto_curve_keypair(keys.public_key, keys.secret);
    must(link_client_open(context, hub.endpoint, &keys, &clients[i], NULL) == TRB_OK, "no client");
  }
  for (unsigned said = 0;;) {
    for (unsigned i = 0; i < count; i++)
      if (link_client_event(clients[i]) == LINK_CONNECTED)
        said += link_client_send(clients[i], trb_slice_str("hello")) == TRB_OK;
    link_wait(NULL, clients[0], NULL, NULL, 0, said < count ? 20 : 1000, NULL);
  }
}

static pid_t processes[PROCESSES_MAX];
static int pipes[PROCESSES_MAX];

static unsigned fork_clients(unsigned branches) {
  unsigned n = 0;
  for (unsigned left = branches; left && n < PROCESSES_MAX; n++) { /* before libzmq has threads */
    unsigned count = left < CLIENTS_MAX ? left : CLIENTS_MAX;
    left -= count;
    int ends[2];
    must(pipe(ends) == 0 && (processes[n] = fork()) >= 0, "cannot fork");
    if (!processes[n]) {
      close(ends[1]);
      run_clients(ends[0], count);
    }
    close(ends[0]);
    pipes[n] = ends[1];
  }
  return n;
}

static void report(const char *name, double value, const char *unit, unsigned branches) {
  printf(
      "{\"name\":\"%s\",\"value\":%.2f,\"unit\":\"%s\",\"conditions\":\"%u CURVE sessions over loopback, clients on "
      "the "
      "same machine\"}\n",
      name, value, unit, branches);
}

/* Until every branch was heard once. */
static void hear(struct link_server *server, unsigned branches) {
  struct link_frame frame;
  double end = now_ms() + 120000;
  for (unsigned heard = 0; heard < branches;) {
    must(now_ms() < end, "not all branches came within two minutes");
    link_wait(server, NULL, NULL, NULL, 0, 100, NULL);
    while (link_server_receive(server, &frame, NULL) == TRB_OK) heard++;
  }
}

/* Heartbeats only. */
static void idle(struct link_server *server, double for_ms) {
  struct link_frame frame;
  for (double end = now_ms() + for_ms; now_ms() < end;) {
    link_wait(server, NULL, NULL, NULL, 0, 1000, NULL);
    while (link_server_receive(server, &frame, NULL) == TRB_OK) {
    }
  }
}

static double cpu_ms(void) {
  struct rusage use;
  getrusage(RUSAGE_SELF, &use);
  return (double)(use.ru_utime.tv_sec + use.ru_stime.tv_sec) * 1e3 +
         (double)(use.ru_utime.tv_usec + use.ru_stime.tv_usec) / 1e3;
}

int main(int argc, char **argv) {
  unsigned branches = argc > 1 ? (unsigned)strtoul(argv[1], NULL, 10) : 1000;
  must(branches > 0 && branches <= CLIENTS_MAX * PROCESSES_MAX, "1 to 10,000 branches");
  struct rlimit files;
  getrlimit(RLIMIT_NOFILE, &files);
  files.rlim_cur = files.rlim_max;
  setrlimit(RLIMIT_NOFILE, &files);
  unsigned process_count = fork_clients(branches);

  struct {
    char endpoint[256];
    uint8_t server_public[TRB_KEY_BYTES];
  } hub = {.endpoint = ""};
  uint8_t secret[TRB_KEY_BYTES];
  crypto_curve_keypair(hub.server_public, secret);
  struct link_context *context;
  struct link_server *server;
  must(link_context_new(&context, NULL) == TRB_OK, "no context");
  must(link_server_open(context, "tcp://127.0.0.1:*", secret, authorise, NULL, &server, NULL) == TRB_OK, "no server");
  snprintf(hub.endpoint, sizeof hub.endpoint, "%s", link_server_endpoint(server));
  double before = resident_kb(), start = now_ms();
  for (unsigned i = 0; i < process_count; i++)
    must(write(pipes[i], &hub, sizeof hub) == (ssize_t)sizeof hub, "cannot write");
  hear(server, branches);
  report("link_all_connected", now_ms() - start, "ms", branches);
  double cpu = cpu_ms();
  idle(server, 10000);
  report("link_idle_cpu", (cpu_ms() - cpu) / 10000 * 100, "% of a core", branches);
  report("link_idle_memory", (resident_kb() - before) / branches, "KB a session", branches);
  report("link_server_memory", resident_kb() / 1024, "MB", branches);
  for (unsigned i = 0; i < process_count; i++) {
    kill(processes[i], SIGKILL);
    waitpid(processes[i], NULL, 0);
  }
  link_server_close(&server);
  link_context_free(&context);
  return 0;
}
