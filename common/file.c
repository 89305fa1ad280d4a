/* file: whole files, the lock of a node's directory, and what file system a path is on; see include/tributary/conf.h.
 */
#include <errno.h>
#include <fcntl.h>
#include <libgen.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <sys/vfs.h>
#include <time.h>
#include <unistd.h>

#include "tributary/conf.h"

static void close_fd(int *fd) {
  if (*fd >= 0) close(*fd);
}
#define LOCK_LOOK_MS 20
#define FD_AUTO __attribute__((cleanup(close_fd))) int

static enum trb_status fail_errno(struct trb_error *err, const char *path, const char *what) {
  int code = errno;
  enum trb_status status = code == ENOENT                     ? TRB_ABSENT
                           : code == ENOSPC || code == EDQUOT ? TRB_FULL
                           : code == ENOMEM                   ? TRB_NOMEM
                                                              : TRB_STORE;
  return trb_fail(err, status, "%s cannot be %s: %s.", path, what, strerror(code));
}

enum trb_status file_read(const char *path, size_t max, struct trb_buf *out, struct trb_error *err) {
  FD_AUTO fd = open(path, O_RDONLY | O_CLOEXEC);
  if (fd < 0) return fail_errno(err, path, "read");
  size_t start = out->len;
  for (;;) {
    uint8_t chunk[16 << 10];
    ssize_t got = read(fd, chunk, sizeof chunk);
    if (got < 0 && errno == EINTR) continue;
    enum trb_status status = TRB_OK;
    if (got < 0)
      status = fail_errno(err, path, "read");
    else if (out->len - start + (size_t)got > max)
      status =
          trb_fail(err, TRB_PEER, "%s is larger than %zu bytes: it is not the file that belongs there.", path, max);
    else if (trb_buf_append(out, chunk, (size_t)got), out->failed)
      status = trb_fail(err, TRB_NOMEM, "Out of memory while reading %s.", path);
    if (status) out->len = start;
    if (status || got == 0) return status;
  }
}

static bool write_all(int fd, struct trb_slice bytes) {
  while (bytes.len) {
    ssize_t put = write(fd, bytes.data, bytes.len);
    if (put < 0 && errno == EINTR) continue;
    if (put < 0) return false;
    bytes = trb_slice_of(bytes.data + put, bytes.len - (size_t)put);
  }
  return true;
}

/* A rename is durable only when the directory is synced too. */
static bool sync_dir_of(const char *path) {
  char copy[PATH_MAX];
  snprintf(copy, sizeof copy, "%s", path);
  FD_AUTO fd = open(dirname(copy), O_RDONLY | O_DIRECTORY | O_CLOEXEC);
  return fd >= 0 && fsync(fd) == 0;
}

static bool write_new(const char *path, struct trb_slice bytes) {
  FD_AUTO fd = open(path, O_WRONLY | O_CREAT | O_TRUNC | O_NOFOLLOW | O_CLOEXEC, 0600);
  return fd >= 0 && fchmod(fd, 0600) == 0 && write_all(fd, bytes) && fsync(fd) == 0;
}

enum trb_status file_write(const char *path, struct trb_slice bytes, struct trb_error *err) {
  char temporary[PATH_MAX];
  int len = snprintf(temporary, sizeof temporary, "%s.new", path);
  if (len < 0 || (size_t)len >= sizeof temporary) return trb_fail(err, TRB_PEER, "The path of a file is too long.");
  if (write_new(temporary, bytes) && rename(temporary, path) == 0 && sync_dir_of(path)) return TRB_OK;
  enum trb_status status = fail_errno(err, path, "written");
  unlink(temporary);
  return status;
}

enum trb_status file_rename_new(const char *from, const char *to, struct trb_error *err) {
  if (renameat2(AT_FDCWD, from, AT_FDCWD, to, RENAME_NOREPLACE) == 0)
    return sync_dir_of(to) ? TRB_OK : fail_errno(err, to, "written");
  if (errno == EEXIST) return trb_fail(err, TRB_DENIED, "%s exists: nothing is overwritten", to);
  /* A file system without that flag: a link is not made over a file either. */
  if (errno != EINVAL || link(from, to) != 0) return fail_errno(err, to, "written");
  unlink(from);
  return sync_dir_of(to) ? TRB_OK : fail_errno(err, to, "written");
}

static long read_pid(int fd) {
  char text[32] = "";
  ssize_t got = pread(fd, text, sizeof text - 1, 0);
  return got > 0 ? strtol(text, NULL, 10) : 0;
}

enum trb_status file_lock(const char *dir, int *ret_fd, struct trb_error *err) {
  char path[PATH_MAX], pid[32];
  int len = snprintf(path, sizeof path, "%s/lock", dir);
  if (len < 0 || (size_t)len >= sizeof path) return trb_fail(err, TRB_PEER, "The path of the directory is too long.");
  FD_AUTO fd = open(path, O_RDWR | O_CREAT | O_NOFOLLOW | O_CLOEXEC, 0600);
  if (fd < 0) return fail_errno(err, path, "opened");
  for (int waited_ms = 0; flock(fd, LOCK_EX | LOCK_NB) != 0; waited_ms += LOCK_LOOK_MS) {
    if (errno != EWOULDBLOCK && errno != EINTR) return fail_errno(err, path, "locked");
    if (waited_ms >= TRB_LOCK_WAIT_MS)
      return trb_fail(err, TRB_AGAIN, "%s is in use by another tributary process (pid %ld).", dir, read_pid(fd));
    nanosleep(&(struct timespec){.tv_nsec = LOCK_LOOK_MS * 1000000L}, NULL);
  }
  len = snprintf(pid, sizeof pid, "%ld\n", (long)getpid()); /* only for the message above */
  if (ftruncate(fd, 0) != 0 || pwrite(fd, pid, (size_t)len, 0) != len) return fail_errno(err, path, "written");
  *ret_fd = fd;
  fd = -1;
  return TRB_OK;
}

/* Magic numbers of statfs(2); some are in no header. */
static const struct {
  unsigned long magic;
  const char *name;
} network_kinds[] = {
    {0x6969, "NFS"},       {0xFF534D42, "CIFS"},   {0xFE534D42, "SMB2"}, {0x517B, "SMB"},        {0x65735546, "FUSE"},
    {0x01021997, "9p"},    {0x5346414F, "AFS"},    {0x73757245, "Coda"}, {0x00C36400, "Ceph"},   {0x01161970, "GFS2"},
    {0x7461636F, "OCFS2"}, {0x0BD00BD0, "Lustre"}, {0x564C, "NCP"},      {0x786F4256, "vboxsf"},
};

bool file_on_network(const char *path, const char **ret_name) {
  char at[PATH_MAX];
  struct statfs fs;
  snprintf(at, sizeof at, "%s", path);
  while (statfs(at, &fs) != 0) { /* not made yet: where it would be */
    if (errno != ENOENT || !strcmp(at, "/") || !strcmp(at, ".")) return false;
    char *parent = dirname(at);
    memmove(at, parent, strlen(parent) + 1);
  }
  for (size_t i = 0; i < sizeof network_kinds / sizeof *network_kinds; i++)
    if (((unsigned long)fs.f_type & 0xffffffffUL) == network_kinds[i].magic) {
      *ret_name = network_kinds[i].name;
      return true;
    }
  return false;
}
