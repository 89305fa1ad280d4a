/* journal: see journal.h. */
#include "journal.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "tributary/crypto.h"
#include "tributary/mp.h"

static const char MAGIC[8] = {'T', 'R', 'B', 'J', 'R', 'N', 'L', '1'};
enum { HEAD_BYTES = 12, CHECK_BYTES = 8 };

struct journal {
  char path[PATH_MAX];
  int fd;
  uint64_t end; /* of the last whole record */
};

static enum trb_status failed(const struct journal *j, const char *what, struct trb_error *err) {
  return trb_fail(err, errno == ENOSPC || errno == EDQUOT ? TRB_FULL : TRB_STORE, "cannot %s the journal %s: %m", what,
                  j->path);
}

static enum trb_status read_exactly(const struct journal *j, uint64_t at, void *data, size_t len, bool *ret_short,
                                    struct trb_error *err) {
  size_t done = 0;
  while (done < len) {
    ssize_t n = pread(j->fd, (uint8_t *)data + done, len - done, (off_t)(at + done));
    if (n < 0 && errno == EINTR) continue;
    if (n < 0) return failed(j, "read", err);
    if (n == 0) {
      *ret_short = true;
      return TRB_OK;
    }
    done += (size_t)n;
  }
  *ret_short = false;
  return TRB_OK;
}

static enum trb_status damaged(const struct journal *j, uint64_t at, struct trb_error *err) {
  return trb_fail(err, TRB_STORE, "the journal %s is damaged at byte %llu: restore it from its copy", j->path,
                  (unsigned long long)at);
}

/* One record at `at` into *body. *ret_end: the file ends here, or holds a torn record (`at` of it stays). */
static enum trb_status read_record(const struct journal *j, uint64_t at, struct trb_buf *body, bool *ret_end,
                                   struct trb_error *err) {
  uint8_t head[HEAD_BYTES];
  bool cut = false;
  enum trb_status status = read_exactly(j, at, head, sizeof head, &cut, err);
  if (status != TRB_OK) return status;
  *ret_end = cut;
  if (cut) return TRB_OK;
  uint32_t len = trb_get_u32(head);
  if (len > JOURNAL_RECORD_MAX) return damaged(j, at, err);
  trb_buf_clear(body);
  uint8_t *data = malloc(len ? len : 1);
  if (!data) return trb_fail(err, TRB_NOMEM, "out of memory");
  status = read_exactly(j, at + HEAD_BYTES, data, len, &cut, err);
  uint8_t hash[TRB_HASH_BYTES];
  if (status == TRB_OK && !cut) {
    crypto_hash(trb_slice_of(data, len), hash);
    trb_buf_append(body, data, len);
    if (body->failed) status = trb_fail(err, TRB_NOMEM, "out of memory");
  }
  free(data);
  *ret_end = cut;
  if (status != TRB_OK || cut) return status;
  if (memcmp(hash, head + 4, CHECK_BYTES) == 0) return TRB_OK;
  struct stat st; /* the last record may be torn inside: its length was written, its bytes were not */
  if (fstat(j->fd, &st) == 0 && at + HEAD_BYTES + len >= (uint64_t)st.st_size) {
    *ret_end = true;
    return TRB_OK;
  }
  return damaged(j, at, err);
}

static enum trb_status decode(const struct journal *j, uint64_t at, struct trb_slice body, struct journal_record *ret,
                              struct trb_error *err) {
  if (mp_check(body, NULL) != TRB_OK) return damaged(j, at, err);
  struct mp_reader r = mp_reader(body);
  size_t count = mp_get_array(&r);
  *ret = (struct journal_record){.type = (enum journal_type)mp_get_uint(&r)};
  if (ret->type == JOURNAL_BATCH && count == 3) {
    ret->sealed = mp_get_bin(&r);
    ret->ack = mp_get_bin(&r);
  } else if (ret->type == JOURNAL_START && count == 2) {
    ret->starts = mp_get_uint(&r);
  } else {
    r.failed = true;
  }
  return r.failed || !mp_at_end(&r) ? damaged(j, at, err) : TRB_OK;
}

enum trb_status journal_each(struct journal *j, journal_visit *visit, void *context, struct trb_error *err) {
  TRB_BUF_AUTO body = {0};
  for (uint64_t at = sizeof MAGIC; at < j->end;) {
    bool end = false;
    struct journal_record record;
    enum trb_status status = read_record(j, at, &body, &end, err);
    if (status == TRB_OK && end) status = damaged(j, at, err);
    if (status == TRB_OK) status = decode(j, at, trb_buf_slice(&body), &record, err);
    if (status == TRB_OK) status = visit(context, &record, err);
    if (status != TRB_OK) return status;
    at += HEAD_BYTES + body.len;
  }
  return TRB_OK;
}

static enum trb_status find_end(struct journal *j, struct trb_error *err) {
  TRB_BUF_AUTO body = {0};
  uint64_t at = sizeof MAGIC;
  for (;;) {
    bool end = false;
    enum trb_status status = read_record(j, at, &body, &end, err);
    if (status != TRB_OK) return status;
    if (end) break;
    at += HEAD_BYTES + body.len;
  }
  j->end = at;
  return ftruncate(j->fd, (off_t)at) == 0 ? TRB_OK : failed(j, "cut", err);
}

static enum trb_status sync_folder(const struct journal *j, struct trb_error *err) {
  char folder[PATH_MAX];
  snprintf(folder, sizeof folder, "%s", j->path);
  char *slash = strrchr(folder, '/');
  if (slash) *slash = 0;
  int fd = open(slash ? (folder[0] ? folder : "/") : ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
  if (fd < 0) return failed(j, "sync", err);
  int rc = fsync(fd);
  close(fd);
  return rc == 0 ? TRB_OK : failed(j, "sync", err);
}

static enum trb_status start(struct journal *j, bool *ret_new, struct trb_error *err) {
  struct stat st;
  if (fstat(j->fd, &st) != 0) return failed(j, "look at", err);
  *ret_new = st.st_size < (off_t)sizeof MAGIC;
  if (*ret_new) {
    if (ftruncate(j->fd, 0) != 0 || pwrite(j->fd, MAGIC, sizeof MAGIC, 0) != sizeof MAGIC || fsync(j->fd) != 0)
      return failed(j, "write", err);
    j->end = sizeof MAGIC;
    return sync_folder(j, err);
  }
  char magic[sizeof MAGIC];
  bool cut;
  enum trb_status status = read_exactly(j, 0, magic, sizeof magic, &cut, err);
  if (status == TRB_OK && (cut || memcmp(magic, MAGIC, sizeof magic) != 0))
    return trb_fail(err, TRB_STORE, "%s is not a journal of headquarters", j->path);
  return status == TRB_OK ? find_end(j, err) : status;
}

enum trb_status journal_open(const char *path, struct journal **ret, bool *ret_new, struct trb_error *err) {
  struct journal *j = calloc(1, sizeof *j);
  if (!j) return trb_fail(err, TRB_NOMEM, "out of memory");
  struct stat st;
  bool folder = stat(path, &st) == 0 && S_ISDIR(st.st_mode);
  snprintf(j->path, sizeof j->path, "%s%s", path, folder ? "/journal" : "");
  j->fd = open(j->path, O_RDWR | O_CREAT | O_CLOEXEC, 0600);
  enum trb_status status = j->fd < 0 ? failed(j, "open", err) : start(j, ret_new, err);
  if (status != TRB_OK) {
    journal_close(&j);
    return status;
  }
  *ret = j;
  return TRB_OK;
}

void journal_close(struct journal **j_p) {
  if (!*j_p) return;
  if ((*j_p)->fd >= 0) close((*j_p)->fd);
  free(*j_p);
  *j_p = NULL;
}

static void encode(const struct journal_record *record, struct trb_buf *out) {
  mp_put_array(out, record->type == JOURNAL_BATCH ? 3 : 2);
  mp_put_uint(out, record->type);
  if (record->type == JOURNAL_BATCH) {
    mp_put_bin(out, record->sealed);
    mp_put_bin(out, record->ack);
  } else {
    mp_put_uint(out, record->starts);
  }
}

enum trb_status journal_append(struct journal *j, const struct journal_record *record, struct trb_error *err) {
  TRB_BUF_AUTO body = {0};
  TRB_BUF_AUTO out = {0};
  encode(record, &body);
  uint8_t head[HEAD_BYTES], hash[TRB_HASH_BYTES];
  crypto_hash(trb_buf_slice(&body), hash);
  trb_put_u32(head, (uint32_t)body.len);
  memcpy(head + 4, hash, CHECK_BYTES);
  trb_buf_append(&out, head, sizeof head);
  trb_buf_append_slice(&out, trb_buf_slice(&body));
  if (body.failed || out.failed) return trb_fail(err, TRB_NOMEM, "out of memory");
  if (body.len > JOURNAL_RECORD_MAX) return trb_fail(err, TRB_FULL, "too much for one record of the journal");
  size_t done = 0;
  while (done < out.len) {
    ssize_t n = pwrite(j->fd, out.data + done, out.len - done, (off_t)(j->end + done));
    if (n < 0 && errno == EINTR) continue;
    if (n <= 0) goto undo;
    done += (size_t)n;
  }
  if (fdatasync(j->fd) != 0) goto undo;
  j->end += out.len;
  return TRB_OK;
undo:;
  enum trb_status status = failed(j, "write", err);
  if (ftruncate(j->fd, (off_t)j->end) != 0) { /* a torn tail is dropped at the next open */
  }
  return status;
}

enum trb_status journal_retire(struct journal *j, struct trb_error *err) {
  char kept[PATH_MAX + 16];
  struct stat st;
  int n = 1;
  do snprintf(kept, sizeof kept, "%s.%d", j->path, n++);
  while (stat(kept, &st) == 0);
  if (rename(j->path, kept) != 0) return failed(j, "rename", err);
  int fd = open(j->path, O_RDWR | O_CREAT | O_EXCL | O_CLOEXEC, 0600);
  if (fd < 0) return failed(j, "open", err);
  close(j->fd);
  j->fd = fd;
  bool fresh;
  return start(j, &fresh, err);
}

uint64_t journal_bytes(const struct journal *j) { return j->end; }
