/* log: see log.h. */
#include "log.h"

#include <pthread.h>
#include <stdarg.h>
#include <string.h>
#include <time.h>

struct limit {
  bool used;
  int tokens;
  int64_t refilled_ms;
  unsigned left_out;
};

static pthread_mutex_t mutex = PTHREAD_MUTEX_INITIALIZER;
static struct limit limits[LOG_EVENTS]; /* of the process, as stderr is */
static FILE *lines;

enum { LINE_BYTES = 1024 };

static int64_t now_ms(void) {
  struct timespec t;
  clock_gettime(CLOCK_MONOTONIC, &t);
  return (int64_t)t.tv_sec * 1000 + t.tv_nsec / 1000000;
}

static bool allowed(struct limit *l) {
  int64_t now = now_ms(), earned = (now - l->refilled_ms) / LOG_REFILL_MS;
  if (!l->used || earned >= LOG_BURST - l->tokens) {
    l->tokens = LOG_BURST;
    l->refilled_ms = now;
  } else {
    l->tokens += (int)earned;
    l->refilled_ms += earned * LOG_REFILL_MS;
  }
  l->used = true;
  if (l->tokens <= 0) {
    l->left_out++;
    return false;
  }
  l->tokens--;
  return true;
}

/* One line stays one: texts may have come over the line. */
static void flatten(char *text) {
  for (; *text; text++)
    if ((unsigned char)*text < ' ' || *text == 0x7f) *text = '?';
}

void log_line(enum log_event event, enum log_level level, const char *format, ...) {
  TRB_ASSERT(event < LOG_EVENTS);
  char text[LINE_BYTES], more[48] = "";
  va_list args;
  va_start(args, format);
  vsnprintf(text, sizeof text, format, args);
  va_end(args);
  flatten(text);
  pthread_mutex_lock(&mutex);
  struct limit *l = &limits[event];
  if (allowed(l)) {
    if (l->left_out) snprintf(more, sizeof more, " (%u such lines were left out before)", l->left_out);
    l->left_out = 0;
    fprintf(lines ? lines : stderr, "<%d>%s%s\n", (int)level, text, more);
  }
  pthread_mutex_unlock(&mutex);
}

void log_to(FILE *out) {
  pthread_mutex_lock(&mutex);
  lines = out;
  memset(limits, 0, sizeof limits);
  pthread_mutex_unlock(&mutex);
}
