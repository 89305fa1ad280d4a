/* queue: see queue.h. A growable ring: most queues stay short, the limits are for the worst day. */
#include "queue.h"

#include <errno.h>
#include <pthread.h>
#include <stdlib.h>
#include <sys/eventfd.h>
#include <time.h>
#include <unistd.h>

struct queue_item {
  void *item;
  size_t bytes;
};
struct queue {
  pthread_mutex_t mutex;
  pthread_cond_t changed; /* pushed, popped or closed */
  struct queue_item *ring;
  size_t cap, first, count, bytes, count_max, bytes_max;
  bool closed;
  int fd;
};

enum { RING_FIRST = 64 };

enum trb_status queue_new(size_t count_max, size_t bytes_max, struct queue **ret, struct trb_error *err) {
  struct queue *q = calloc(1, sizeof *q);
  if (!q || !(q->ring = calloc(RING_FIRST, sizeof *q->ring))) {
    free(q);
    return trb_fail(err, TRB_NOMEM, "out of memory");
  }
  q->cap = RING_FIRST;
  q->count_max = count_max;
  q->bytes_max = bytes_max;
  q->fd = eventfd(0, EFD_NONBLOCK | EFD_CLOEXEC);
  if (q->fd < 0) {
    free(q->ring);
    free(q);
    return trb_fail(err, TRB_STORE, "cannot make an eventfd: %m");
  }
  pthread_condattr_t attr;
  pthread_condattr_init(&attr);
  pthread_condattr_setclock(&attr, CLOCK_MONOTONIC);
  pthread_cond_init(&q->changed, &attr);
  pthread_condattr_destroy(&attr);
  pthread_mutex_init(&q->mutex, NULL);
  *ret = q;
  return TRB_OK;
}

void queue_free(struct queue **queue_p) {
  struct queue *q = *queue_p;
  if (!q) return;
  *queue_p = NULL;
  close(q->fd);
  pthread_cond_destroy(&q->changed);
  pthread_mutex_destroy(&q->mutex);
  free(q->ring);
  free(q);
}

static bool has_room(const struct queue *q, size_t bytes) {
  if (q->count == 0) return true; /* one item may be over the byte limit alone */
  return q->count < q->count_max && q->bytes + bytes <= q->bytes_max;
}

static bool grow(struct queue *q) {
  TRB_ASSERT(q->cap > 0);
  if (q->count < q->cap) return true;
  struct queue_item *ring = malloc(2 * q->cap * sizeof *ring);
  if (!ring) return false;
  for (size_t i = 0; i < q->count; i++) ring[i] = q->ring[(q->first + i) % q->cap];
  free(q->ring);
  q->ring = ring;
  q->first = 0;
  q->cap *= 2;
  return true;
}

static bool push_locked(struct queue *q, void *item, size_t bytes) {
  if (q->closed || !grow(q)) return false;
  q->ring[(q->first + q->count++) % q->cap] = (struct queue_item){item, bytes};
  q->bytes += bytes;
  uint64_t one = 1;
  if (write(q->fd, &one, sizeof one) < 0) { /* EAGAIN: already readable */
  }
  pthread_cond_broadcast(&q->changed);
  return true;
}

bool queue_push(struct queue *q, void *item, size_t bytes) {
  pthread_mutex_lock(&q->mutex);
  while (!q->closed && !has_room(q, bytes)) pthread_cond_wait(&q->changed, &q->mutex);
  bool pushed = push_locked(q, item, bytes);
  pthread_mutex_unlock(&q->mutex);
  return pushed;
}

bool queue_try_push(struct queue *q, void *item, size_t bytes) {
  pthread_mutex_lock(&q->mutex);
  bool pushed = !q->closed && has_room(q, bytes) && push_locked(q, item, bytes);
  pthread_mutex_unlock(&q->mutex);
  return pushed;
}

static struct timespec after_ms(int ms) {
  struct timespec t;
  clock_gettime(CLOCK_MONOTONIC, &t);
  t.tv_sec += ms / 1000;
  t.tv_nsec += (long)(ms % 1000) * 1000000;
  if (t.tv_nsec >= 1000000000) {
    t.tv_sec++;
    t.tv_nsec -= 1000000000;
  }
  return t;
}

void *queue_pop(struct queue *q, int timeout_ms) {
  struct timespec until = timeout_ms > 0 ? after_ms(timeout_ms) : (struct timespec){0};
  void *item = NULL;
  pthread_mutex_lock(&q->mutex);
  while (q->count == 0 && !q->closed && timeout_ms != 0) {
    if (timeout_ms < 0)
      pthread_cond_wait(&q->changed, &q->mutex);
    else if (pthread_cond_timedwait(&q->changed, &q->mutex, &until) == ETIMEDOUT)
      break;
  }
  if (q->count) {
    item = q->ring[q->first].item;
    q->bytes -= q->ring[q->first].bytes;
    q->first = (q->first + 1) % q->cap;
    q->count--;
    pthread_cond_broadcast(&q->changed);
  }
  pthread_mutex_unlock(&q->mutex);
  return item;
}

void queue_close(struct queue *q) {
  pthread_mutex_lock(&q->mutex);
  q->closed = true;
  pthread_cond_broadcast(&q->changed);
  pthread_mutex_unlock(&q->mutex);
}

bool queue_closed(struct queue *q) {
  pthread_mutex_lock(&q->mutex);
  bool closed = q->closed;
  pthread_mutex_unlock(&q->mutex);
  return closed;
}

size_t queue_count(struct queue *q) {
  pthread_mutex_lock(&q->mutex);
  size_t count = q->count;
  pthread_mutex_unlock(&q->mutex);
  return count;
}

int queue_fd(const struct queue *q) { return q->fd; }

void queue_quiet(struct queue *q) {
  uint64_t count;
  if (read(q->fd, &count, sizeof count) < 0) { /* EAGAIN: nothing was signalled */
  }
}
