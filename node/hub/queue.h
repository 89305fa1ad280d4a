/* queue: how the hub's threads hand jobs to one another.
 *
 * A bounded FIFO of pointers behind a mutex and a condition, with an eventfd for a consumer that waits in poll (the net
 * thread's link_wait). Instead of the inproc sockets first planned: simpler, the sanitizers see the synchronisation,
 * and a limit in bytes can be kept. Any number of producers and consumers. Items are owned by the queue between push
 * and pop; what is left at the end is the owner's to pop and free.
 *
 * Invariant: count <= count_max, and bytes <= bytes_max unless the queue holds a single item. */
#ifndef TRIBUTARY_HUB_QUEUE_H
#define TRIBUTARY_HUB_QUEUE_H

#include "tributary/base.h"

struct queue; /* opaque, owned */
enum trb_status queue_new(size_t count_max, size_t bytes_max, struct queue **ret, struct trb_error *err);
void queue_free(struct queue **queue_p);

/* Waits for room; false when the queue was closed (the item stays the caller's). */
bool queue_push(struct queue *q, void *item, size_t bytes);
/* Never waits: false when full or closed. */
bool queue_try_push(struct queue *q, void *item, size_t bytes);
/* Waits at most timeout_ms (-1: for ever) for an item; NULL: none in time, or closed and drained. */
void *queue_pop(struct queue *q, int timeout_ms);
/* No more pushes; poppers drain what is there. */
void queue_close(struct queue *q);
bool queue_closed(struct queue *q);
size_t queue_count(struct queue *q);
/* Readable while items wait. The consumer calls queue_quiet before it pops until NULL. */
int queue_fd(const struct queue *q);
void queue_quiet(struct queue *q);

#endif
