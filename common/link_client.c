/* link_client: the branch's DEALER (see include/tributary/link.h). libzmq's own reconnecting is off: a refused client
 * would never ask again (Z3) and its back-off starts anew with each TCP connect, so we watch the socket and the core
 * decides. */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "link_zmq.h"

static bool set_options(void *socket, const char *endpoint, const struct link_client_keys *keys) {
  int failures = !link_set_common(socket, endpoint, TRB_HEARTBEAT_BRANCH_MS);
  failures += link_set_int(socket, ZMQ_IMMEDIATE, 1);
  failures += link_set_int(socket, ZMQ_RECONNECT_IVL, -1);
  failures += link_set_int(socket, ZMQ_CONNECT_TIMEOUT, LINK_CONNECT_MS);
  failures += zmq_setsockopt(socket, ZMQ_CURVE_SERVERKEY, keys->server_public, TRB_KEY_BYTES);
  failures += zmq_setsockopt(socket, ZMQ_CURVE_PUBLICKEY, keys->public_key, TRB_KEY_BYTES);
  failures += zmq_setsockopt(socket, ZMQ_CURVE_SECRETKEY, keys->secret, TRB_KEY_BYTES);
  return failures == 0;
}

enum trb_status link_client_open(struct link_context *context, const char *endpoint,
                                 const struct link_client_keys *keys, struct link_client **ret, struct trb_error *err) {
  struct link_client *client = calloc(1, sizeof *client);
  if (!client) return trb_fail(err, TRB_NOMEM, "out of memory");
  zmq_msg_init(&client->body);
  enum trb_status status;
  client->socket = zmq_socket(context->zmq, ZMQ_DEALER);
  if (!client->socket || !set_options(client->socket, endpoint, keys)) {
    status = link_fail(err, "cannot open a connection");
    goto fail;
  }
  int events = ZMQ_EVENT_HANDSHAKE_SUCCEEDED | ZMQ_EVENT_HANDSHAKE_FAILED_AUTH | ZMQ_EVENT_HANDSHAKE_FAILED_PROTOCOL |
               ZMQ_EVENT_HANDSHAKE_FAILED_NO_DETAIL | ZMQ_EVENT_DISCONNECTED | ZMQ_EVENT_CLOSED;
  client->monitor = link_monitor_open(context, client->socket, events);
  if (!client->monitor) {
    status = link_fail(err, "cannot watch the connection");
    goto fail;
  }
  if (zmq_connect(client->socket, endpoint) != 0) {
    status = zmq_errno() == EINVAL || zmq_errno() == EPROTONOSUPPORT
                 ? trb_fail(err, TRB_PEER, "'%s' is no address: tcp://host:port is expected", endpoint)
                 : link_fail(err, endpoint);
    goto fail;
  }
  *ret = client;
  return TRB_OK;
fail:
  link_client_close(&client);
  return status;
}

void link_client_close(struct link_client **client_p) {
  struct link_client *client = *client_p;
  *client_p = NULL;
  if (!client) return;
  if (client->socket) zmq_socket_monitor(client->socket, NULL, 0);
  link_close_socket(&client->monitor);
  link_close_socket(&client->socket);
  zmq_msg_close(&client->body);
  free(client);
}

static enum link_event event_of(int number) {
  switch (number) {
    case ZMQ_EVENT_HANDSHAKE_SUCCEEDED: return LINK_CONNECTED;
    case ZMQ_EVENT_HANDSHAKE_FAILED_AUTH:
    case ZMQ_EVENT_HANDSHAKE_FAILED_PROTOCOL: return LINK_REFUSED;
    case ZMQ_EVENT_HANDSHAKE_FAILED_NO_DETAIL:
    case ZMQ_EVENT_DISCONNECTED:
    case ZMQ_EVENT_CLOSED: return LINK_DISCONNECTED;
    default: return LINK_NONE;
  }
}

/* One CONNECTED at most, and one end: DISCONNECTED or REFUSED. */
enum link_event link_client_event(struct link_client *client) {
  for (int number; (number = link_monitor_next(client->monitor, NULL)) != 0;) {
    enum link_event event = event_of(number);
    if (event == LINK_NONE || client->ended) continue;
    client->connected = event == LINK_CONNECTED;
    client->ended = event != LINK_CONNECTED;
    return event;
  }
  return LINK_NONE;
}

static bool drop_rest(struct link_client *client) {
  bool extra = false;
  while (zmq_msg_more(&client->body)) {
    extra = true;
    if (zmq_msg_recv(&client->body, client->socket, ZMQ_DONTWAIT) < 0) break;
  }
  return extra;
}

enum trb_status link_client_receive(struct link_client *client, struct trb_slice *ret_body, struct trb_error *err) {
  for (;;) {
    if (zmq_msg_recv(&client->body, client->socket, ZMQ_DONTWAIT) < 0) {
      int code = zmq_errno();
      return code == EAGAIN || code == EINTR ? TRB_AGAIN : link_fail(err, "cannot receive");
    }
    if (drop_rest(client)) continue; /* the hub sends single frames */
    *ret_body = trb_slice_of(zmq_msg_data(&client->body), zmq_msg_size(&client->body));
    return TRB_OK;
  }
}

enum trb_status link_client_send(struct link_client *client, struct trb_slice body) {
  if (!client->connected) return TRB_AGAIN;
  if (body.len > TRB_FRAME_BYTES_MAX) return TRB_PEER; /* libzmq would lose it without a word (Z7) */
  if (zmq_send(client->socket, body.data, body.len, ZMQ_DONTWAIT) >= 0) return TRB_OK;
  return zmq_errno() == ENOMEM ? TRB_NOMEM : TRB_AGAIN;
}
