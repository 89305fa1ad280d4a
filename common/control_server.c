/* control_server: the daemon's end of DIR/control.sock; see include/tributary/control.h.
 *
 * One epoll object watches the listener and the clients, so the daemon's loop waits on a single descriptor, also for
 * room to write. A client is READING until its request stands, BUSY until the daemon answers (not watched: a client
 * that hangs up meanwhile is noticed when it is answered), WRITING until the answer is gone. Nothing ever waits for a
 * client: reads and writes are non-blocking, a turn reads at most TURN_BYTES from each, and who is slower than a
 * deadline is dropped. */
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include "control_wire.h"
#include "tributary/control.h"

enum {
  TURN_BYTES = 256 << 10,
  READ_DEADLINE_MS = 10000,           /* for a whole request */
  WRITE_DEADLINE_MS = 30000,          /* for a whole answer: a pager may sit behind it */
  LISTENER = TRB_CONTROL_CLIENTS_MAX, /* its number among the events */
  PAUSE_MS = 100,                     /* the listener is not watched while nothing can be accepted */
  BACKLOG = 64,
};

enum state { FREE = 0, READING, BUSY, WRITING };
struct client {
  enum state state;
  int fd;
  int64_t since_ms;
  struct trb_buf in, out;
  size_t sent;
  struct trb_arena arena; /* the words */
};
struct control_server {
  int dir_fd, listen_fd, epoll_fd;
  int spare_fd;         /* given up for a moment to tell a client so when no descriptor is left; -1: none */
  int64_t paused_at_ms; /* of the listener; 0: it is watched */
  struct client clients[TRB_CONTROL_CLIENTS_MAX];
};

static int64_t now_ms(void) {
  struct timespec t;
  clock_gettime(CLOCK_MONOTONIC, &t);
  return (int64_t)t.tv_sec * 1000 + t.tv_nsec / 1000000;
}

static void drop(struct client *c) {
  if (c->fd >= 0) close(c->fd); /* leaves the epoll object by itself */
  trb_buf_free(&c->in);
  trb_buf_free(&c->out);
  trb_arena_free(&c->arena);
  *c = (struct client){.fd = -1};
}

static bool watch(struct control_server *s, int op, int fd, uint32_t events, uint32_t number) {
  struct epoll_event event = {.events = events, .data.u32 = number};
  return epoll_ctl(s->epoll_fd, op, fd, &event) == 0;
}

static enum trb_status fail_errno(struct trb_error *err, const char *dir) {
  return trb_fail(err, TRB_STORE, "%s/control.sock cannot be opened: %s.", dir, strerror(errno));
}

static int spare(void) { return open("/dev/null", O_RDONLY | O_CLOEXEC); }

enum trb_status control_listen(const char *dir, struct control_server **ret, struct trb_error *err) {
  struct sockaddr_un address;
  struct control_server *s = calloc(1, sizeof *s);
  if (!s) return trb_fail(err, TRB_NOMEM, "Out of memory.");
  s->dir_fd = s->listen_fd = s->epoll_fd = -1;
  s->spare_fd = spare();
  for (size_t i = 0; i < TRB_CONTROL_CLIENTS_MAX; i++) s->clients[i].fd = -1;
  enum trb_status status = control_address(dir, &address, &s->dir_fd, err);
  if (status) goto out;
  s->epoll_fd = epoll_create1(EPOLL_CLOEXEC);
  s->listen_fd = control_socket();
  unlinkat(s->dir_fd, "control.sock", 0); /* left by a daemon that was killed: we hold the directory's lock */
  /* On Linux the mode of the descriptor becomes the mode of the file: there is no moment at which others may connect.
   */
  if (s->epoll_fd < 0 || s->listen_fd < 0 || fchmod(s->listen_fd, 0600) != 0 ||
      bind(s->listen_fd, (struct sockaddr *)&address, sizeof address) != 0 || listen(s->listen_fd, BACKLOG) != 0 ||
      !watch(s, EPOLL_CTL_ADD, s->listen_fd, EPOLLIN, LISTENER))
    status = fail_errno(err, dir);
out:
  if (status)
    control_close(&s);
  else
    *ret = s;
  return status;
}

void control_close(struct control_server **server_p) {
  struct control_server *s = *server_p;
  *server_p = NULL;
  if (!s) return;
  for (size_t i = 0; i < TRB_CONTROL_CLIENTS_MAX; i++) drop(&s->clients[i]);
  if (s->listen_fd >= 0) {
    unlinkat(s->dir_fd, "control.sock", 0);
    close(s->listen_fd);
  }
  if (s->epoll_fd >= 0) close(s->epoll_fd);
  if (s->dir_fd >= 0) close(s->dir_fd);
  if (s->spare_fd >= 0) close(s->spare_fd);
  free(s);
}

size_t control_fds(const struct control_server *server, int *ret_fds, size_t max) {
  if (max < 1) return 0;
  ret_fds[0] = server->epoll_fd;
  return 1;
}

/* Writes what the socket takes. The client is dropped when all is gone or it has left. */
static void flush(struct control_server *s, struct client *c) {
  while (c->sent < c->out.len) {
    ssize_t put = send(c->fd, c->out.data + c->sent, c->out.len - c->sent, MSG_NOSIGNAL);
    if (put > 0) {
      c->sent += (size_t)put;
      continue;
    }
    if (put < 0 && errno == EINTR) continue;
    uint32_t number = (uint32_t)(c - s->clients);
    if (put < 0 && errno == EAGAIN &&
        (watch(s, EPOLL_CTL_MOD, c->fd, EPOLLOUT, number) || watch(s, EPOLL_CTL_ADD, c->fd, EPOLLOUT, number)))
      return;
    break;
  }
  drop(c);
}

static void answer(struct control_server *s, struct client *c, enum trb_status status, struct trb_slice text) {
  c->state = WRITING;
  c->since_ms = now_ms();
  control_put_answer(&c->out, status, text); /* the text may be one of the words */
  trb_buf_free(&c->in);
  trb_arena_free(&c->arena);
  if (c->out.failed)
    drop(c);
  else
    flush(s, c);
}

void control_answer(struct control_server *server, int client, enum trb_status status, struct trb_slice text) {
  TRB_ASSERT(client >= 0 && client < TRB_CONTROL_CLIENTS_MAX && server->clients[client].state == BUSY);
  answer(server, &server->clients[client], status, text);
}

static struct client *free_client(struct control_server *s) {
  for (size_t i = 0; i < TRB_CONTROL_CLIENTS_MAX; i++)
    if (s->clients[i].state == FREE) return &s->clients[i];
  return NULL;
}

/* A client too many gets its answer if the socket takes it at once, which a fresh one does. */
static void turn_away(int fd) {
  TRB_BUF_AUTO out = {0};
  control_put_answer(&out, TRB_AGAIN, trb_slice_str("The daemon is busy with other commands: try again."));
  ssize_t put = send(fd, out.data, out.len, MSG_NOSIGNAL);
  (void)put;
  shutdown(fd, SHUT_WR);
  close(fd);
}

static int accept_one(const struct control_server *s) {
  int fd;
  do fd = accept4(s->listen_fd, NULL, NULL, SOCK_NONBLOCK | SOCK_CLOEXEC);
  while (fd < 0 && (errno == EINTR || errno == ECONNABORTED));
  return fd;
}

/* No descriptor or no memory: who waits is told so with the spare one. Without it the listener, which stays readable,
 * would keep the daemon's loop spinning: it rests for a while. False: nothing more now. */
static bool accept_failed(struct control_server *s, int why) {
  if (why != EMFILE && why != ENFILE && why != ENOBUFS && why != ENOMEM) return false;
  int fd = -1;
  if (s->spare_fd >= 0) {
    close(s->spare_fd);
    fd = accept_one(s);
    int error = errno;
    if (fd >= 0) turn_away(fd);
    s->spare_fd = spare();
    if (fd < 0 && error == EAGAIN) return false; /* nobody waits: accept says so only with a descriptor in hand */
  }
  if (fd < 0 && watch(s, EPOLL_CTL_MOD, s->listen_fd, 0, LISTENER)) s->paused_at_ms = now_ms();
  return fd >= 0;
}

static void end_pause(struct control_server *s) {
  if (!s->paused_at_ms || now_ms() - s->paused_at_ms < PAUSE_MS) return;
  if (s->spare_fd < 0) s->spare_fd = spare();
  if (watch(s, EPOLL_CTL_MOD, s->listen_fd, EPOLLIN, LISTENER)) s->paused_at_ms = 0;
}

static void accept_clients(struct control_server *s) {
  for (int i = 0; i < TRB_CONTROL_CLIENTS_MAX; i++) { /* bounded a turn */
    int fd = accept_one(s);
    if (fd < 0 && accept_failed(s, errno)) continue;
    if (fd < 0) return;
    struct client *c = free_client(s);
    if (!c) {
      turn_away(fd);
      continue;
    }
    *c = (struct client){.state = READING, .fd = fd, .since_ms = now_ms()};
    c->in.limit = CONTROL_LENGTH_BYTES + TRB_CONTROL_BYTES_MAX;
    if (!watch(s, EPOLL_CTL_ADD, fd, EPOLLIN, (uint32_t)(c - s->clients))) drop(c);
  }
}

static void refuse(struct control_server *s, struct client *c, const char *text) {
  answer(s, c, TRB_PEER, trb_slice_str(text));
}

/* Bytes of the whole request, 0 while its length is not known. */
static size_t wanted(const struct client *c) {
  return c->in.len < CONTROL_LENGTH_BYTES ? 0 : CONTROL_LENGTH_BYTES + (size_t)trb_get_u32(c->in.data);
}

/* Takes what is there, never past the request. False when the client is gone or refused. */
static bool read_some(struct control_server *s, struct client *c) {
  for (size_t turn = 0; turn < TURN_BYTES;) {
    uint8_t chunk[16 << 10];
    size_t want = wanted(c);
    if (want > CONTROL_LENGTH_BYTES + TRB_CONTROL_BYTES_MAX) {
      refuse(s, c, "The command is too long.");
      return false;
    }
    size_t room = (want ? want : CONTROL_LENGTH_BYTES) - c->in.len;
    if (!room) return true;
    ssize_t got = recv(c->fd, chunk, room < sizeof chunk ? room : sizeof chunk, 0);
    if (got < 0 && errno == EINTR) continue;
    if (got < 0 && errno == EAGAIN) return true;
    if (got > 0) trb_buf_append(&c->in, chunk, (size_t)got); /* memory follows what came, not what was promised */
    if (got <= 0 || c->in.failed) {
      drop(c);
      return false;
    }
    turn += (size_t)got;
  }
  return true;
}

/* True when a whole, well-formed request stands: the client is BUSY then. */
static bool take_request(struct control_server *s, struct client *c, size_t *ret_count, const char *const **ret_words) {
  size_t want = wanted(c);
  if (!want || c->in.len < want) return false;
  struct trb_slice body = trb_slice_of(c->in.data + CONTROL_LENGTH_BYTES, want - CONTROL_LENGTH_BYTES);
  enum trb_status status = control_read_words(body, &c->arena, ret_count, ret_words);
  if (status) {
    refuse(s, c, status == TRB_NOMEM ? "Out of memory." : "The command cannot be read.");
    return false;
  }
  epoll_ctl(s->epoll_fd, EPOLL_CTL_DEL, c->fd, NULL);
  c->state = BUSY;
  return true;
}

static void drop_late(struct control_server *s) {
  int64_t now = now_ms();
  for (size_t i = 0; i < TRB_CONTROL_CLIENTS_MAX; i++) {
    struct client *c = &s->clients[i];
    if ((c->state == READING && now - c->since_ms > READ_DEADLINE_MS) ||
        (c->state == WRITING && now - c->since_ms > WRITE_DEADLINE_MS))
      drop(c);
  }
}

enum trb_status control_next(struct control_server *server, int *ret_client, size_t *ret_count,
                             const char *const **ret_words) {
  struct epoll_event events[TRB_CONTROL_CLIENTS_MAX + 1];
  drop_late(server);
  end_pause(server);
  int count = epoll_wait(server->epoll_fd, events, TRB_CONTROL_CLIENTS_MAX + 1, 0);
  for (int i = 0; i < count; i++) {
    if (events[i].data.u32 == LISTENER) {
      accept_clients(server);
      continue;
    }
    struct client *c = &server->clients[events[i].data.u32];
    if (c->state == WRITING) {
      flush(server, c);
    } else if (c->state == READING && read_some(server, c) && take_request(server, c, ret_count, ret_words)) {
      *ret_client = (int)(c - server->clients);
      return TRB_OK; /* the others are still ready at the next call: level triggered */
    }
  }
  return TRB_AGAIN;
}
