/* control: the client's end of DIR/control.sock; see include/tributary/control.h. */
#include "tributary/control.h"

#include <errno.h>
#include <poll.h>
#include <string.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

#include "control_wire.h"

enum { CONNECT_RETRY_MS = 20 };

static void close_fd(int *fd) {
  if (*fd >= 0) close(*fd);
}
#define FD_AUTO __attribute__((cleanup(close_fd))) int

static int64_t now_ms(void) {
  struct timespec t;
  clock_gettime(CLOCK_MONOTONIC, &t);
  return (int64_t)t.tv_sec * 1000 + t.tv_nsec / 1000000;
}

struct call {
  int fd;
  int64_t deadline_ms; /* INT64_MAX: none */
};

static enum trb_status lost(struct trb_error *err) {
  return trb_fail(err, TRB_STORE, "The daemon closed the connection before it answered.");
}

/* Waits until the socket is ready for `events` or time is up. */
static enum trb_status wait_ready(const struct call *call, short events, struct trb_error *err) {
  for (;;) {
    int64_t left = call->deadline_ms == INT64_MAX ? -1 : call->deadline_ms - now_ms();
    if (left < 0 && call->deadline_ms != INT64_MAX)
      return trb_fail(err, TRB_AGAIN, "The daemon did not answer in time. What was asked may still be done.");
    struct pollfd p = {.fd = call->fd, .events = events};
    int ready = poll(&p, 1, left > INT32_MAX ? INT32_MAX : (int)left);
    if (ready > 0) return TRB_OK;
    if (ready < 0 && errno != EINTR) return trb_fail(err, TRB_STORE, "poll: %s.", strerror(errno));
  }
}

static enum trb_status connect_to(struct call *call, const char *dir, struct trb_error *err) {
  struct sockaddr_un address;
  FD_AUTO dir_fd = -1;
  enum trb_status status = control_address(dir, &address, &dir_fd, err);
  if (status) return status;
  call->fd = control_socket();
  if (call->fd < 0) return trb_fail(err, TRB_STORE, "A socket cannot be made: %s.", strerror(errno));
  while (connect(call->fd, (struct sockaddr *)&address, sizeof address) != 0) {
    if (errno == ENOENT || errno == ECONNREFUSED) return trb_fail(err, TRB_ABSENT, "No daemon is running in %s.", dir);
    if (errno != EAGAIN && errno != EINTR)
      return trb_fail(err, TRB_STORE, "%s/control.sock: %s.", dir, strerror(errno));
    if (now_ms() >= call->deadline_ms) return trb_fail(err, TRB_AGAIN, "The daemon in %s is busy: try again.", dir);
    poll(NULL, 0, CONNECT_RETRY_MS); /* its queue is full */
  }
  return TRB_OK;
}

static enum trb_status send_all(const struct call *call, struct trb_slice bytes, struct trb_error *err) {
  while (bytes.len) {
    ssize_t put = send(call->fd, bytes.data, bytes.len, MSG_NOSIGNAL);
    if (put >= 0) {
      bytes = trb_slice_of(bytes.data + put, bytes.len - (size_t)put);
    } else if (errno == EAGAIN) {
      enum trb_status status = wait_ready(call, POLLOUT, err);
      if (status) return status;
    } else if (errno == EPIPE || errno == ECONNRESET) {
      return TRB_OK; /* it may have answered and closed, e.g. when too many ask at once: read that */
    } else if (errno != EINTR) {
      return lost(err);
    }
  }
  return TRB_OK;
}

static enum trb_status receive_all(const struct call *call, uint8_t *to, size_t len, struct trb_error *err) {
  while (len) {
    ssize_t got = recv(call->fd, to, len, 0);
    if (got > 0) {
      to += got;
      len -= (size_t)got;
    } else if (got < 0 && errno == EAGAIN) {
      enum trb_status status = wait_ready(call, POLLIN, err);
      if (status) return status;
    } else if (got == 0 || errno != EINTR) {
      return lost(err);
    }
  }
  return TRB_OK;
}

static enum trb_status receive_answer(const struct call *call, struct trb_buf *ret_text, struct trb_error *err) {
  uint8_t length[CONTROL_LENGTH_BYTES];
  TRB_BUF_AUTO body = {0};
  enum trb_status answer = TRB_OK, status = receive_all(call, length, sizeof length, err);
  if (status) return status;
  struct trb_slice text;
  size_t len = trb_get_u32(length);
  if (len > TRB_CONTROL_BYTES_MAX) return trb_fail(err, TRB_STORE, "The daemon's answer is not readable.");
  uint8_t *to = trb_buf_extend(&body, len);
  if (!to) return trb_fail(err, TRB_NOMEM, "Out of memory.");
  status = receive_all(call, to, len, err);
  if (status) return status;
  if (control_read_answer(trb_buf_slice(&body), &answer, &text))
    return trb_fail(err, TRB_STORE, "The daemon's answer is not readable.");
  trb_buf_append_slice(ret_text, text);
  return answer ? trb_fail(err, answer, "%.*s", (int)(text.len > 400 ? 400 : text.len), (const char *)text.data)
                : TRB_OK;
}

enum trb_status control_call(const char *dir, size_t count, const char *const *words, int timeout_ms,
                             struct trb_buf *ret_text, struct trb_error *err) {
  FD_AUTO fd = -1;
  TRB_BUF_AUTO request = {0};
  TRB_ASSERT(count >= 1 && count <= TRB_CONTROL_WORDS_MAX);
  control_put_words(&request, count, words);
  if (request.failed) return trb_fail(err, TRB_PEER, "The command is longer than %u bytes.", TRB_CONTROL_BYTES_MAX);
  struct call call = {.fd = -1, .deadline_ms = timeout_ms < 0 ? INT64_MAX : now_ms() + timeout_ms};
  enum trb_status status = connect_to(&call, dir, err);
  fd = call.fd;
  if (!status) status = send_all(&call, trb_buf_slice(&request), err);
  return status ? status : receive_answer(&call, ret_text, err);
}
