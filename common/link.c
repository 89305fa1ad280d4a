/* link: see include/tributary/link.h. Here: the context, what both sides share, and the wait. */
#include <errno.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "link_zmq.h"

enum trb_status link_fail(struct trb_error *err, const char *what) {
  int code = zmq_errno();
  return trb_fail(err, code == ENOMEM ? TRB_NOMEM : TRB_STORE, "%s: %s", what, zmq_strerror(code));
}

enum trb_status link_context_new(struct link_context **ret, struct trb_error *err) {
  struct link_context *context = calloc(1, sizeof *context);
  if (!context) return trb_fail(err, TRB_NOMEM, "out of memory");
  context->zmq = zmq_ctx_new();
  if (!context->zmq) {
    free(context);
    return link_fail(err, "cannot start ZeroMQ");
  }
  zmq_ctx_set(context->zmq, ZMQ_BLOCKY, 0); /* LINGER is 0 unless said otherwise */
  *ret = context;
  return TRB_OK;
}

void link_context_free(struct link_context **context_p) {
  struct link_context *context = *context_p;
  *context_p = NULL;
  if (!context) return;
  while (zmq_ctx_term(context->zmq) != 0 && zmq_errno() == EINTR) {
  }
  free(context);
}

int link_set_int(void *socket, int option, int value) { return zmq_setsockopt(socket, option, &value, sizeof value); }

bool link_set_common(void *socket, const char *endpoint, int heartbeat_timeout_ms) {
  int64_t frame_max = TRB_FRAME_BYTES_MAX; /* of one frame only (Z7): extra frames are refused by the reader */
  int failures = 0;
  failures += link_set_int(socket, ZMQ_LINGER, 0);
  failures += link_set_int(socket, ZMQ_SNDHWM, LINK_SEND_FRAMES_MAX);
  failures += link_set_int(socket, ZMQ_RCVHWM, LINK_RECEIVE_FRAMES_MAX);
  failures += link_set_int(socket, ZMQ_HANDSHAKE_IVL, TRB_HANDSHAKE_IVL_MS);
  failures += link_set_int(socket, ZMQ_HEARTBEAT_IVL, TRB_HEARTBEAT_IVL_MS);
  failures += link_set_int(socket, ZMQ_HEARTBEAT_TIMEOUT, heartbeat_timeout_ms);
  failures += link_set_int(socket, ZMQ_HEARTBEAT_TTL, 0); /* each side sets its own limit */
  failures += zmq_setsockopt(socket, ZMQ_MAXMSGSIZE, &frame_max, sizeof frame_max);
  if (strchr(endpoint, '[')) failures += link_set_int(socket, ZMQ_IPV6, 1);
  return failures == 0;
}

void *link_monitor_open(struct link_context *context, void *socket, int events) {
  char name[64];
  snprintf(name, sizeof name, "inproc://tributary-monitor-%u", atomic_fetch_add(&context->monitors, 1));
  if (zmq_socket_monitor(socket, name, events) != 0) return NULL;
  void *monitor = zmq_socket(context->zmq, ZMQ_PAIR);
  if (!monitor) return NULL;
  if (link_set_int(monitor, ZMQ_LINGER, 0) || link_set_int(monitor, ZMQ_RCVHWM, 0) || zmq_connect(monitor, name)) {
    link_close_socket(&monitor);
    return NULL;
  }
  return monitor;
}

int link_monitor_next(void *monitor, int *ret_value) {
  zmq_msg_t part;
  zmq_msg_init(&part);
  int event = 0;
  if (zmq_msg_recv(&part, monitor, ZMQ_DONTWAIT) >= 6) { /* 16 bits of number, 32 of value */
    uint16_t number;
    int32_t value;
    memcpy(&number, zmq_msg_data(&part), sizeof number);
    memcpy(&value, (const uint8_t *)zmq_msg_data(&part) + sizeof number, sizeof value);
    event = number;
    if (ret_value) *ret_value = value;
  }
  while (zmq_msg_more(&part))
    if (zmq_msg_recv(&part, monitor, 0) < 0 && zmq_errno() != EINTR) break; /* the address */
  zmq_msg_close(&part);
  return event;
}

void link_close_socket(void **socket_p) {
  if (*socket_p) zmq_close(*socket_p);
  *socket_p = NULL;
}

static void wait_for(zmq_pollitem_t *items, size_t *count, void *socket) {
  if (socket) items[(*count)++] = (zmq_pollitem_t){.socket = socket, .events = ZMQ_POLLIN};
}

enum trb_status link_wait(struct link_server *server, struct link_client *client, const int *fds, bool *ret_ready,
                          size_t fd_count, int timeout_ms, struct trb_error *err) {
  zmq_pollitem_t items[TRB_LINK_WAIT_FDS_MAX + 5];
  size_t count = 0;
  if (fd_count > TRB_LINK_WAIT_FDS_MAX)
    return trb_fail(err, TRB_PEER, "cannot wait for more than %d files", TRB_LINK_WAIT_FDS_MAX);
  for (size_t i = 0; i < fd_count; i++) items[count++] = (zmq_pollitem_t){.fd = fds[i], .events = ZMQ_POLLIN};
  if (server) {
    wait_for(items, &count, server->zap);
    wait_for(items, &count, server->router);
    wait_for(items, &count, server->monitor);
  }
  if (client) {
    wait_for(items, &count, client->socket);
    wait_for(items, &count, client->monitor);
  }
  int ready = zmq_poll(items, (int)count, timeout_ms);
  if (ready < 0 && zmq_errno() != EINTR) return link_fail(err, "cannot wait for the network");
  for (size_t i = 0; i < fd_count && ret_ready; i++) ret_ready[i] = ready > 0 && items[i].revents != 0;
  return TRB_OK;
}
