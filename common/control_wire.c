/* control_wire: see control_wire.h. */
#include "control_wire.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "tributary/mp.h"

enum trb_status control_address(const char *dir, struct sockaddr_un *ret, int *ret_dir_fd, struct trb_error *err) {
  int fd = open(dir, O_PATH | O_DIRECTORY | O_CLOEXEC);
  if (fd < 0)
    return trb_fail(err, errno == ENOENT ? TRB_ABSENT : TRB_STORE, "%s cannot be opened: %s.", dir, strerror(errno));
  *ret = (struct sockaddr_un){.sun_family = AF_UNIX};
  snprintf(ret->sun_path, sizeof ret->sun_path, "/proc/self/fd/%d/control.sock", fd);
  *ret_dir_fd = fd;
  return TRB_OK;
}

int control_socket(void) { return socket(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0); }

static void put_framed(struct trb_buf *out, const struct trb_buf *body) {
  uint8_t length[CONTROL_LENGTH_BYTES];
  trb_put_u32(length, (uint32_t)body->len);
  trb_buf_append(out, length, sizeof length);
  trb_buf_append_slice(out, trb_buf_slice(body));
  if (body->failed) out->failed = true;
}

void control_put_words(struct trb_buf *out, size_t count, const char *const *words) {
  TRB_BUF_AUTO body = {.limit = TRB_CONTROL_BYTES_MAX};
  mp_put_array(&body, count);
  for (size_t i = 0; i < count; i++) mp_put_str(&body, trb_slice_str(words[i]));
  put_framed(out, &body);
}

void control_put_answer(struct trb_buf *out, enum trb_status status, struct trb_slice text) {
  TRB_BUF_AUTO body = {.limit = TRB_CONTROL_BYTES_MAX};
  mp_put_array(&body, 2);
  mp_put_uint(&body, status);
  mp_put_str(&body, text);
  if (!body.failed) {
    put_framed(out, &body);
  } else { /* short, so it cannot fail for its length */
    control_put_answer(out, TRB_FULL, trb_slice_str("The answer is too long: ask for less at a time."));
  }
}

enum trb_status control_read_answer(struct trb_slice body, enum trb_status *ret, struct trb_slice *ret_text) {
  if (mp_check(body, NULL)) return TRB_PEER;
  struct mp_reader r = mp_reader(body);
  size_t items = mp_get_array(&r);
  uint64_t status = mp_get_uint(&r);
  struct trb_slice text = mp_get_str(&r);
  if (r.failed || items != 2 || status > TRB_NOMEM) return TRB_PEER;
  *ret = (enum trb_status)status;
  *ret_text = text;
  return TRB_OK;
}

enum trb_status control_read_words(struct trb_slice body, struct trb_arena *arena, size_t *ret_count,
                                   const char *const **ret_words) {
  if (mp_check(body, NULL)) return TRB_PEER;
  struct mp_reader r = mp_reader(body);
  size_t count = mp_get_array(&r);
  if (r.failed || count < 1 || count > TRB_CONTROL_WORDS_MAX) return TRB_PEER;
  const char **words = trb_arena_alloc(arena, (count + 1) * sizeof *words); /* ended by NULL, like argv */
  if (!words) return TRB_NOMEM;
  for (size_t i = 0; i < count; i++) {
    struct trb_slice s = mp_get_str(&r);
    if (r.failed || (s.len && memchr(s.data, 0, s.len)) || !trb_utf8_valid(s)) return TRB_PEER;
    words[i] = trb_arena_str(arena, s);
    if (!words[i]) return TRB_NOMEM;
  }
  *ret_count = count;
  *ret_words = words;
  return TRB_OK;
}
