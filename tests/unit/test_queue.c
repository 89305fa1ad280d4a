/* The hub's queues: order, limits, closing, many threads. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <poll.h>
#include <pthread.h>

#include "../node/hub/queue.h"

static struct queue *make(size_t count, size_t bytes) {
  struct queue *q = NULL;
  assert_int_equal(queue_new(count, bytes, &q, NULL), TRB_OK);
  return q;
}

static void queue_keeps_order_over_its_ring_growing(void **state) {
  (void)state;
  struct queue *q = make(1000, SIZE_MAX);
  static int items[300];
  for (int i = 0; i < 40; i++) assert_true(queue_try_push(q, &items[i], 1));
  for (int i = 0; i < 30; i++) assert_ptr_equal(queue_pop(q, 0), &items[i]);
  for (int i = 40; i < 300; i++) assert_true(queue_try_push(q, &items[i], 1));
  for (int i = 30; i < 300; i++) assert_ptr_equal(queue_pop(q, 0), &items[i]);
  assert_null(queue_pop(q, 0));
  queue_free(&q);
}

static void queue_try_push_refuses_over_a_limit_but_takes_one_large_item(void **state) {
  (void)state;
  struct queue *q = make(2, 100);
  int item;
  assert_true(queue_try_push(q, &item, 5000));
  assert_false(queue_try_push(q, &item, 1));
  assert_ptr_equal(queue_pop(q, 0), &item);
  assert_true(queue_try_push(q, &item, 1));
  assert_true(queue_try_push(q, &item, 1));
  assert_false(queue_try_push(q, &item, 1));
  assert_int_equal(queue_count(q), 2);
  queue_free(&q);
}

static void queue_pop_drains_a_closed_queue_and_then_gives_null(void **state) {
  (void)state;
  struct queue *q = make(10, 100);
  int item;
  assert_true(queue_push(q, &item, 1));
  queue_close(q);
  assert_false(queue_push(q, &item, 1));
  assert_ptr_equal(queue_pop(q, -1), &item);
  assert_null(queue_pop(q, -1));
  queue_free(&q);
}

static void queue_pop_gives_up_after_its_time(void **state) {
  (void)state;
  struct queue *q = make(10, 100);
  assert_null(queue_pop(q, 10));
  queue_free(&q);
}

static void queue_fd_is_readable_while_items_wait(void **state) {
  (void)state;
  struct queue *q = make(10, 100);
  int item;
  struct pollfd p = {.fd = queue_fd(q), .events = POLLIN};
  assert_int_equal(poll(&p, 1, 0), 0);
  queue_push(q, &item, 1);
  assert_int_equal(poll(&p, 1, 0), 1);
  queue_quiet(q);
  assert_int_equal(poll(&p, 1, 0), 0);
  queue_pop(q, 0);
  queue_free(&q);
}

enum { MANY = 20000 };
static void *push_many(void *arg) {
  static char item;
  for (int i = 0; i < MANY; i++) queue_push(arg, &item, 10);
  return NULL;
}

static void queue_push_waits_for_room_and_loses_nothing(void **state) {
  (void)state;
  struct queue *q = make(16, 100);
  pthread_t threads[2];
  for (int i = 0; i < 2; i++) pthread_create(&threads[i], NULL, push_many, q);
  for (int i = 0; i < 2 * MANY; i++) assert_non_null(queue_pop(q, -1));
  for (int i = 0; i < 2; i++) pthread_join(threads[i], NULL);
  assert_int_equal(queue_count(q), 0);
  queue_free(&q);
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(queue_keeps_order_over_its_ring_growing),
      cmocka_unit_test(queue_try_push_refuses_over_a_limit_but_takes_one_large_item),
      cmocka_unit_test(queue_pop_drains_a_closed_queue_and_then_gives_null),
      cmocka_unit_test(queue_pop_gives_up_after_its_time),
      cmocka_unit_test(queue_fd_is_readable_while_items_wait),
      cmocka_unit_test(queue_push_waits_for_room_and_loses_nothing),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
