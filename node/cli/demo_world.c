/* demo_world: see demo_world.h. */
#include "demo_world.h"

#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <ftw.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

enum {
  READY_MS = 20000,
  END_MS = 8000, /* a daemon drains within this; then it is killed */
  STEP_MS = 20,
  LINE_PAIRS_MAX = 16,
  LINE_BYTES = 64 << 10,
  REMOVE_FDS = 16,
};

static volatile sig_atomic_t stopped;
static void on_signal(int number) { stopped = number; }
bool demo_world_stopped(void) { return stopped != 0; }

static int64_t now_ms(void) {
  struct timespec t;
  clock_gettime(CLOCK_MONOTONIC, &t);
  return (int64_t)t.tv_sec * 1000 + t.tv_nsec / 1000000;
}
static void pause_ms(int ms) {
  struct timespec t = {.tv_sec = ms / 1000, .tv_nsec = (ms % 1000) * 1000000L};
  nanosleep(&t, NULL);
}

static bool fail(struct demo_world *world, const char *what, const char *name) {
  if (!stopped) fprintf(world->cli->err, "tributary: demo: %s %s: %s\n", what, name, strerror(errno));
  return false;
}

bool demo_world_begin(struct demo_world *world, struct cli *cli, const char *keep) {
  *world = (struct demo_world){.cli = cli, .keep = keep != NULL};
  struct sigaction action = {.sa_handler = on_signal}; /* without SA_RESTART: waits end early */
  sigaction(SIGINT, &action, NULL);
  sigaction(SIGTERM, &action, NULL);
  sigaction(SIGHUP, &action, NULL);
  ssize_t len = readlink("/proc/self/exe", world->program, sizeof world->program - 1);
  if (len < 0) return fail(world, "cannot find", "this program");
  char made[DEMO_PATH_BYTES];
  const char *tmp = getenv("TMPDIR");
  snprintf(made, sizeof made, "%s/tributary-demo-XXXXXX", tmp && tmp[0] == '/' ? tmp : "/tmp");
  if (keep && mkdir(keep, 0700) != 0) return fail(world, "cannot make", keep);
  if (!keep && !mkdtemp(made)) return fail(world, "cannot make", made);
  if (chdir(keep ? keep : made) != 0 || !getcwd(world->dir, sizeof world->dir))
    return fail(world, "cannot enter", made);
  return true;
}

/* ---- the end ---- */

static void end_process(pid_t pid) {
  if (pid <= 0) return;
  kill(pid, SIGTERM);
  for (int64_t until = now_ms() + END_MS; now_ms() < until; pause_ms(STEP_MS))
    if (waitpid(pid, NULL, WNOHANG) == pid) return;
  kill(pid, SIGKILL);
  waitpid(pid, NULL, 0);
}

static int remove_entry(const char *path, const struct stat *st, int type, struct FTW *ftw) {
  (void)st, (void)type, (void)ftw;
  remove(path);
  return 0;
}

void demo_world_end(struct demo_world *world) {
  demo_line_cut(world);
  for (size_t i = world->daemon_count; i-- > 0;) /* told all at once, then awaited one by one */
    kill(world->daemons[i].pid, SIGTERM);
  for (size_t i = world->daemon_count; i-- > 0;) end_process(world->daemons[i].pid);
  world->daemon_count = 0;
  if (!world->keep && world->dir[0]) {
    if (chdir("/") == 0) nftw(world->dir, remove_entry, REMOVE_FDS, FTW_DEPTH | FTW_PHYS | FTW_MOUNT);
  }
  world->dir[0] = 0;
}

/* ---- commands ---- */

void demo_show(struct demo_world *world, const char *const *words) {
  FILE *out = world->cli->out;
  fputs("   $", out);
  for (; *words; ++words) {
    bool plain =
        (*words)[0] &&
        strspn(*words, "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789_-./:=,@") == strlen(*words);
    bool is_token = strncmp(*words, "trb1.", 5) == 0 && strlen(*words) > 20;
    if (is_token)
      fprintf(out, " %.12s...", *words);
    else if (plain)
      fprintf(out, " %s", *words);
    else
      fprintf(out, " \"%s\"", *words); /* the demo's own words: no quotes or dollars inside */
  }
  fputc('\n', out);
  fflush(out);
}

/* In the child: only what is async-signal-safe, since a library may have threads. */
static void child_exec(const struct demo_world *world, const char *const *words) __attribute__((noreturn));
static void child_exec(const struct demo_world *world, const char *const *words) {
  char *argv[DEMO_WORDS_MAX + 1];
  size_t n = 0;
  TRB_ASSERT(words[0]);
  for (; n < DEMO_WORDS_MAX && words[n]; ++n) argv[n] = (char *)words[n];
  argv[n] = NULL;
  prctl(PR_SET_PDEATHSIG, SIGTERM); /* a killed demo leaves no daemon behind */
  if (strcmp(words[0], "tributary") == 0)
    execv(world->program, argv);
  else
    execvp(words[0], argv);
  _exit(127);
}

static bool read_all(int fd, struct trb_buf *out) {
  char bytes[8192];
  for (;;) {
    ssize_t n = read(fd, bytes, sizeof bytes);
    if (n == 0) return true;
    if (n < 0 && errno == EINTR && !stopped) continue;
    if (n < 0) return false;
    if (out) trb_buf_append(out, bytes, (size_t)n);
  }
}

static bool wait_code(pid_t pid, int *ret_code) {
  int status;
  while (waitpid(pid, &status, 0) != pid) {
    if (errno == EINTR && stopped) kill(pid, SIGTERM);
    if (errno != EINTR) return false;
  }
  *ret_code = WIFEXITED(status) ? WEXITSTATUS(status) : 128 + WTERMSIG(status);
  return true;
}

bool demo_run(struct demo_world *world, const char *const *words, struct trb_buf *out, int *ret_code) {
  int pipe_fds[2], code = 0;
  if (stopped || pipe2(pipe_fds, O_CLOEXEC) != 0) return fail(world, "cannot run", words[0]);
  int said = open(".", O_TMPFILE | O_RDWR | O_CLOEXEC, 0600); /* what it says on stderr, shown only when it fails */
  pid_t pid = fork();
  if (pid == 0) {
    dup2(pipe_fds[1], STDOUT_FILENO);
    if (said >= 0) dup2(said, STDERR_FILENO);
    child_exec(world, words);
  }
  close(pipe_fds[1]);
  bool ok = pid > 0 && read_all(pipe_fds[0], out);
  close(pipe_fds[0]);
  if (pid > 0 && !ok) kill(pid, SIGTERM);
  if (pid > 0) ok = wait_code(pid, &code) && ok && !stopped;
  if (ok && code != CLI_DONE && code != CLI_NOT_YET) {
    TRB_BUF_AUTO text = {0};
    if (said >= 0 && lseek(said, 0, SEEK_SET) == 0) read_all(said, &text);
    fprintf(world->cli->err, "tributary: demo: %s %s ended with %d\n%s", words[0], words[1] ? words[1] : "", code,
            trb_buf_cstr(&text));
    ok = false;
  }
  if (said >= 0) close(said);
  if (ret_code) *ret_code = code;
  return ok;
}

/* ---- daemons ---- */

static bool await_ready(struct demo_world *world, int notify, const struct demo_daemon *daemon) {
  int64_t until = now_ms() + READY_MS;
  while (now_ms() < until && !stopped) {
    struct pollfd wait = {.fd = notify, .events = POLLIN};
    char message[256] = "";
    if (poll(&wait, 1, STEP_MS) == 1 && recv(notify, message, sizeof message - 1, 0) > 0 && strstr(message, "READY=1"))
      return true;
    if (waitpid(daemon->pid, NULL, WNOHANG) == daemon->pid) break;
  }
  if (!stopped) fprintf(world->cli->err, "tributary: demo: %s did not start; its log:\n", daemon->name);
  char path[64];
  snprintf(path, sizeof path, "%s.log", daemon->name);
  TRB_BUF_AUTO log = {0};
  int fd = open(path, O_RDONLY | O_CLOEXEC);
  if (fd >= 0 && !stopped && read_all(fd, &log)) fputs(trb_buf_cstr(&log), world->cli->err);
  if (fd >= 0) close(fd);
  return false;
}

bool demo_daemon(struct demo_world *world, const char *name, const char *const *words) {
  if (stopped || world->daemon_count == DEMO_DAEMONS_MAX) return false;
  struct sockaddr_un address = {.sun_family = AF_UNIX};
  snprintf(address.sun_path + 1, sizeof address.sun_path - 1, "tributary-demo-%d-%s", (int)getpid(),
           name); /* abstract: no file */
  socklen_t len = (socklen_t)(offsetof(struct sockaddr_un, sun_path) + 1 + strlen(address.sun_path + 1));
  int notify = socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC, 0);
  char notify_name[sizeof address.sun_path], log_name[64];
  snprintf(notify_name, sizeof notify_name, "@%.100s", address.sun_path + 1);
  snprintf(log_name, sizeof log_name, "%s.log", name);
  int log = open(log_name, O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0600);
  bool ok = notify >= 0 && log >= 0 && bind(notify, (struct sockaddr *)&address, len) == 0;
  if (!ok) fail(world, "cannot start", name);
  setenv("NOTIFY_SOCKET", notify_name, 1);
  pid_t pid = ok ? fork() : -1;
  if (pid == 0) {
    dup2(log, STDOUT_FILENO);
    dup2(log, STDERR_FILENO);
    child_exec(world, words);
  }
  unsetenv("NOTIFY_SOCKET");
  if (pid > 0) {
    struct demo_daemon *daemon = &world->daemons[world->daemon_count++];
    daemon->pid = pid;
    snprintf(daemon->name, sizeof daemon->name, "%s", name);
    ok = await_ready(world, notify, daemon);
  }
  if (notify >= 0) close(notify);
  if (log >= 0) close(log);
  return ok && pid > 0;
}

/* ---- the line ---- */

static int loopback_listen(int port, int *ret_port) {
  struct sockaddr_in address = {.sin_family = AF_INET, .sin_port = htons((uint16_t)port)};
  address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
  socklen_t len = sizeof address;
  int on = 1, fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
  if (fd < 0) return -1;
  setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &on, sizeof on);
  if (bind(fd, (struct sockaddr *)&address, len) != 0 || listen(fd, LINE_PAIRS_MAX) != 0 ||
      getsockname(fd, (struct sockaddr *)&address, &len) != 0) {
    close(fd);
    return -1;
  }
  *ret_port = ntohs(address.sin_port);
  return fd;
}

bool demo_port(struct demo_world *world, int *ret_port) {
  int fd = loopback_listen(0, ret_port);
  if (fd < 0) return fail(world, "cannot find", "a free port");
  close(fd);
  return true;
}

static int connect_to(int port) {
  struct sockaddr_in address = {.sin_family = AF_INET, .sin_port = htons((uint16_t)port)};
  address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
  int on = 1, fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
  if (fd >= 0 && connect(fd, (struct sockaddr *)&address, sizeof address) != 0) {
    close(fd);
    return -1;
  }
  setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on);
  return fd;
}

static bool pass_on(int from, int to) {
  static char bytes[LINE_BYTES];
  ssize_t n = recv(from, bytes, sizeof bytes, 0);
  for (ssize_t sent = 0; n > 0 && sent < n;) {
    ssize_t m = send(to, bytes + sent, (size_t)(n - sent), MSG_NOSIGNAL);
    if (m <= 0) return false;
    sent += m;
  }
  return n > 0;
}

/* fds[0] listens; then pairs: a client and its connection to the hub. Ends with its process. */
static void forward(int listener, int to_port) __attribute__((noreturn));
static void forward(int listener, int to_port) {
  struct pollfd fds[1 + 2 * LINE_PAIRS_MAX] = {{.fd = listener, .events = POLLIN}};
  nfds_t count = 1;
  for (;;) {
    if (poll(fds, count, -1) < 0) continue;
    for (nfds_t i = 1; i < count; i += 2) {
      bool up = !(fds[i].revents) || pass_on(fds[i].fd, fds[i + 1].fd);
      bool down = !(fds[i + 1].revents) || pass_on(fds[i + 1].fd, fds[i].fd);
      if (up && down) continue;
      close(fds[i].fd);
      close(fds[i + 1].fd);
      count -= 2; /* the last pair takes the place */
      fds[i] = fds[count];
      fds[i + 1] = fds[count + 1];
      i -= 2;
    }
    if (!fds[0].revents || count + 2 > sizeof fds / sizeof *fds) continue;
    int client = accept4(listener, NULL, NULL, SOCK_CLOEXEC);
    int hub = client >= 0 ? connect_to(to_port) : -1;
    if (hub < 0) {
      if (client >= 0) close(client);
      continue;
    }
    fds[count++] = (struct pollfd){.fd = client, .events = POLLIN};
    fds[count++] = (struct pollfd){.fd = hub, .events = POLLIN};
  }
}

bool demo_line_begin(struct demo_world *world, int from_port, int to_port) {
  int got, listener = loopback_listen(from_port, &got);
  if (listener < 0) return fail(world, "cannot begin", "the line");
  pid_t pid = fork();
  if (pid == 0) {
    signal(SIGTERM, SIG_DFL);
    signal(SIGHUP, SIG_DFL);
    prctl(PR_SET_PDEATHSIG, SIGTERM);
    forward(listener, to_port);
  }
  close(listener);
  world->line = pid > 0 ? pid : 0;
  return pid > 0;
}

void demo_line_cut(struct demo_world *world) {
  end_process(world->line);
  world->line = 0;
}
