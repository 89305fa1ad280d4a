/* clock_os: the one place that asks the machine for the time; see include/tributary/clock.h. */
#include <fcntl.h>
#include <pthread.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "tributary/clock.h"

static pthread_once_t once = PTHREAD_ONCE_INIT;
static uint8_t boot_id[TRB_BOOT_ID_BYTES];
static bool boot_id_known;

/* "0f6c1a2e-....\n": 32 hex digits with four dashes; it cannot change while we run. */
static void read_boot_id(void) {
  char text[64], hex[2 * TRB_BOOT_ID_BYTES + 1];
  int fd = open("/proc/sys/kernel/random/boot_id", O_RDONLY | O_CLOEXEC);
  if (fd < 0) return;
  ssize_t got = read(fd, text, sizeof text);
  close(fd);
  size_t len = 0;
  for (ssize_t i = 0; i < got && len < sizeof hex - 1; i++)
    if (text[i] != '-') hex[len++] = text[i];
  hex[len] = 0;
  boot_id_known = trb_unhex(hex, boot_id, sizeof boot_id);
}

static enum trb_status read_ms(clockid_t id, int64_t *ret) {
  struct timespec t;
  if (clock_gettime(id, &t) != 0) return TRB_STORE;
  *ret = (int64_t)t.tv_sec * 1000 + t.tv_nsec / 1000000;
  return TRB_OK;
}

enum trb_status clock_read(struct trb_clock_reading *ret) {
  struct trb_clock_reading now;
  pthread_once(&once, read_boot_id);
  if (!boot_id_known || read_ms(CLOCK_REALTIME, &now.wall_ms) || read_ms(CLOCK_BOOTTIME, &now.boot_ms))
    return TRB_STORE;
  memcpy(now.boot_id, boot_id, sizeof now.boot_id);
  *ret = now;
  return TRB_OK;
}
