/* link_zmq: what common/link*.c share; nobody else includes it (test_link.c does, to break things on purpose). */
#ifndef TRIBUTARY_LINK_ZMQ_H
#define TRIBUTARY_LINK_ZMQ_H

#include <stdatomic.h>
#include <zmq.h>

#include "tributary/link.h"
#include "tributary/wire.h"

enum {
  /* The cores keep fewer frames than this on their way, so a full queue means a peer that does not read. */
  LINK_SEND_FRAMES_MAX = 256,
  /* Of one connection, waiting for our thread: 16 of the largest frames are 18 MB, and TCP holds back the rest. */
  LINK_RECEIVE_FRAMES_MAX = 16,
  LINK_BACKLOG = 1024, /* a thousand branches come back at once after an outage */
  LINK_CONNECT_MS = 10000,
  LINK_NONCE_BYTES = 16,
  LINK_GONE_MAX = 64, /* ended connections not asked for yet; more are forgotten */
};

struct link_context {
  void *zmq;
  atomic_uint monitors; /* numbers the inproc names */
};

struct link_server {
  void *zap; /* bound before the router, closed after it (Z1) */
  void *router, *monitor;
  char endpoint[256];
  struct link_context *context; /* borrowed */
  link_authorise_fn *authorise;
  void *arg;
  char nonce[2 * LINK_NONCE_BYTES + 1]; /* opens every User-Id of ours: a peer cannot name itself */
  zmq_msg_t body;
  struct link_counters counters;
  int gone[LINK_GONE_MAX];
  size_t gone_count;
};

struct link_client {
  void *socket, *monitor;
  bool connected, ended;
  zmq_msg_t body;
};

enum trb_status link_fail(struct trb_error *err, const char *what);
/* 0 or -1, like zmq_setsockopt. */
int link_set_int(void *socket, int option, int value);
/* Limits, heartbeats and time limits of both sides; set before bind or connect (959a1335). */
bool link_set_common(void *socket, const char *endpoint, int heartbeat_timeout_ms);
/* A PAIR that hears `events` of the socket, or NULL. Never fills up: it would stop the I/O thread. */
void *link_monitor_open(struct link_context *context, void *socket, int events);
/* Next event of a monitor: its number, 0 when there is none. ret_value (NULL allowed): of the event. */
int link_monitor_next(void *monitor, int *ret_value);
void link_close_socket(void **socket_p);

#endif
