/* link_server: the hub's ROUTER and the ZAP handler in front of it (see include/tributary/link.h).
 *
 * libzmq fails open: without a handler CURVE admits any key (Z1), and then a peer's own handshake properties, even one
 * that it calls User-Id, show up on its messages. So the User-Id that our handler gives is "NONCE KEY USER" with a
 * nonce of this server, and a message whose User-Id does not start so is dropped: no handler, no messages. */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "link_zmq.h"

#define ZAP_ENDPOINT "inproc://zeromq.zap.01"

enum {
  BIND_TRIES = 200,  /* of 10 ms: a server just closed still holds its port for a moment */
  ZAP_TURN = 32,     /* handshakes answered before the next message is looked at */
  DROP_TURN = 64,    /* bad messages dropped before the caller gets its turn */
  ZAP_PARTS = 7,     /* version, request, domain, address, routing id, mechanism, key: RFC 27 */
  ZAP_PART_MAX = 256 /* all of ours are shorter */
};

static void server_free(struct link_server *server) {
  if (server->router) zmq_socket_monitor(server->router, NULL, 0);
  link_close_socket(&server->monitor);
  link_close_socket(&server->router);
  /* zmq_close only begins to close: without this the next server would not get the name. */
  if (server->zap) zmq_unbind(server->zap, ZAP_ENDPOINT);
  link_close_socket(&server->zap);
  zmq_msg_close(&server->body);
  free(server);
}

static enum trb_status zap_open(struct link_server *server, struct trb_error *err) {
  server->zap = zmq_socket(server->context->zmq, ZMQ_REP);
  if (!server->zap || link_set_int(server->zap, ZMQ_LINGER, 0) != 0)
    return link_fail(err, "cannot open the admission handler");
  if (zmq_bind(server->zap, ZAP_ENDPOINT) != 0)
    return link_fail(err, "cannot bind the admission handler: nobody can be let in safely");
  return TRB_OK;
}

static bool set_options(void *socket, const char *endpoint, const uint8_t curve_secret[TRB_KEY_BYTES]) {
  int failures = !link_set_common(socket, endpoint, TRB_HEARTBEAT_HUB_MS);
  failures += link_set_int(socket, ZMQ_CURVE_SERVER, 1);
  failures += zmq_setsockopt(socket, ZMQ_CURVE_SECRETKEY, curve_secret, TRB_KEY_BYTES);
  failures += zmq_setsockopt(socket, ZMQ_ZAP_DOMAIN, "tributary", 9);
  failures += link_set_int(socket, ZMQ_ROUTER_MANDATORY, 1); /* else frames vanish (Z6); always with DONTWAIT */
  failures += link_set_int(socket, ZMQ_ROUTER_HANDOVER, 0);  /* Z4 */
  failures += link_set_int(socket, ZMQ_BACKLOG, LINK_BACKLOG);
  return failures == 0;
}

static int bind_patiently(void *socket, const char *endpoint) {
  const struct timespec pause = {.tv_nsec = 10 * 1000 * 1000};
  for (int i = 0; zmq_bind(socket, endpoint) != 0; i++) {
    if (zmq_errno() != EADDRINUSE || i == BIND_TRIES) return -1;
    nanosleep(&pause, NULL);
  }
  return 0;
}

static enum trb_status router_open(struct link_server *server, const char *endpoint,
                                   const uint8_t curve_secret[TRB_KEY_BYTES], struct trb_error *err) {
  size_t size = sizeof server->endpoint;
  int events = ZMQ_EVENT_HANDSHAKE_FAILED_NO_DETAIL | ZMQ_EVENT_HANDSHAKE_FAILED_PROTOCOL |
               ZMQ_EVENT_HANDSHAKE_FAILED_AUTH | ZMQ_EVENT_DISCONNECTED;
  server->router = zmq_socket(server->context->zmq, ZMQ_ROUTER);
  if (!server->router || !set_options(server->router, endpoint, curve_secret))
    return link_fail(err, "cannot open the server socket");
  server->monitor = link_monitor_open(server->context, server->router, events);
  if (!server->monitor) return link_fail(err, "cannot watch the server socket");
  if (bind_patiently(server->router, endpoint) != 0) return link_fail(err, endpoint);
  if (zmq_getsockopt(server->router, ZMQ_LAST_ENDPOINT, server->endpoint, &size) != 0)
    return link_fail(err, "cannot read the endpoint");
  return TRB_OK;
}

enum trb_status link_server_open(struct link_context *context, const char *endpoint,
                                 const uint8_t curve_secret[TRB_KEY_BYTES], link_authorise_fn *authorise, void *arg,
                                 struct link_server **ret, struct trb_error *err) {
  struct link_server *server = calloc(1, sizeof *server);
  if (!server) return trb_fail(err, TRB_NOMEM, "out of memory");
  uint8_t nonce[LINK_NONCE_BYTES];
  crypto_random(nonce, sizeof nonce);
  trb_hex(nonce, sizeof nonce, server->nonce);
  server->context = context;
  server->authorise = authorise;
  server->arg = arg;
  zmq_msg_init(&server->body);
  enum trb_status status = zap_open(server, err);
  if (status == TRB_OK) status = router_open(server, endpoint, curve_secret, err);
  if (status == TRB_OK)
    *ret = server;
  else
    server_free(server);
  return status;
}

void link_server_close(struct link_server **server_p) {
  if (*server_p) server_free(*server_p);
  *server_p = NULL;
}

const char *link_server_endpoint(const struct link_server *server) { return server->endpoint; }

/* --- admission (ZAP, RFC 27) --- */

struct zap_request {
  size_t parts;
  size_t len[ZAP_PARTS];
  char text[ZAP_PARTS][ZAP_PART_MAX];
};

static bool zap_receive(void *zap, struct zap_request *ret) {
  zmq_msg_t part;
  zmq_msg_init(&part);
  bool more = true;
  for (ret->parts = 0; more; ret->parts++) {
    if (zmq_msg_recv(&part, zap, ZMQ_DONTWAIT) < 0) break; /* only ever before the first part */
    size_t i = ret->parts, len = zmq_msg_size(&part);
    if (i < ZAP_PARTS && len < ZAP_PART_MAX) {
      memcpy(ret->text[i], zmq_msg_data(&part), len);
      ret->text[i][len] = 0;
      ret->len[i] = len;
    } else if (i < ZAP_PARTS) {
      ret->len[i] = SIZE_MAX; /* too long: fits no check below */
      ret->text[i][0] = 0;
    }
    more = zmq_msg_more(&part);
  }
  zmq_msg_close(&part);
  return ret->parts > 0;
}

static bool zap_decide(struct link_server *server, const struct zap_request *request, char *ret_user_id, size_t size) {
  const uint8_t *key = (const uint8_t *)request->text[6];
  if (request->parts != ZAP_PARTS || strcmp(request->text[0], "1.0") != 0) return false;
  if (strcmp(request->text[5], "CURVE") != 0 || request->len[6] != TRB_KEY_BYTES) return false;
  char user[TRB_LINK_USER_MAX] = "";
  if (!server->authorise(server->arg, key, request->text[3], user)) return false;
  user[sizeof user - 1] = 0;
  char hex[2 * TRB_KEY_BYTES + 1];
  trb_hex(key, TRB_KEY_BYTES, hex);
  struct trb_buf text = {.limit = size - 1};
  trb_buf_printf(&text, "%s %s %s", server->nonce, hex, user);
  bool ok = user[0] && !text.failed;
  if (ok) memcpy(ret_user_id, trb_buf_cstr(&text), text.len + 1);
  trb_buf_free(&text);
  return ok;
}

static void zap_answer(struct link_server *server) {
  for (int turn = 0; turn < ZAP_TURN && server->zap; turn++) {
    struct zap_request request = {0};
    if (!zap_receive(server->zap, &request)) return;
    char user_id[ZAP_PART_MAX] = "";
    bool yes = zap_decide(server, &request, user_id, sizeof user_id);
    server->counters.refused += !yes;
    size_t id_len = request.len[1] < ZAP_PART_MAX ? request.len[1] : 0;
    zmq_send(server->zap, "1.0", 3, ZMQ_SNDMORE);
    zmq_send(server->zap, request.text[1], id_len, ZMQ_SNDMORE);
    zmq_send(server->zap, yes ? "200" : "400", 3, ZMQ_SNDMORE);
    zmq_send(server->zap, yes ? "OK" : "refused", yes ? 2 : 7, ZMQ_SNDMORE);
    zmq_send(server->zap, user_id, yes ? strlen(user_id) : 0, ZMQ_SNDMORE);
    zmq_send(server->zap, NULL, 0, 0);
  }
}

/* --- messages --- */

/* Who sent the message in server->body: from its metadata, never from its content. */
static bool frame_sender(struct link_server *server, struct link_frame *ret) {
  const char *id = zmq_msg_gets(&server->body, "User-Id");
  size_t nonce_len = 2 * LINK_NONCE_BYTES, key_len = 2 * TRB_KEY_BYTES;
  if (!id || strlen(id) < nonce_len + 1 + key_len + 2 || !crypto_equal(id, server->nonce, nonce_len)) return false;
  if (id[nonce_len] != ' ' || id[nonce_len + 1 + key_len] != ' ') return false;
  char hex[2 * TRB_KEY_BYTES + 1] = "";
  memcpy(hex, id + nonce_len + 1, key_len);
  const char *user = id + nonce_len + 1 + key_len + 1;
  if (!trb_unhex(hex, ret->curve_public, TRB_KEY_BYTES) || strlen(user) >= sizeof ret->user) return false;
  memcpy(ret->user, user, strlen(user) + 1);
  /* libzmq's own, from the socket: of what a peer calls itself in its handshake nothing takes its place. */
  const char *address = zmq_msg_gets(&server->body, "Peer-Address");
  snprintf(ret->address, sizeof ret->address, "%s", address ? address : "");
  return true;
}

/* Routing id, then exactly one body frame. TRB_PEER: dropped. */
static enum trb_status receive_one(struct link_server *server, struct link_frame *ret, struct trb_error *err) {
  if (zmq_msg_recv(&server->body, server->router, ZMQ_DONTWAIT) < 0) {
    int code = zmq_errno();
    return code == EAGAIN || code == EINTR ? TRB_AGAIN : link_fail(err, "cannot receive");
  }
  size_t len = zmq_msg_size(&server->body);
  bool ok = len <= sizeof ret->route.data && zmq_msg_more(&server->body);
  if (ok) {
    memcpy(ret->route.data, zmq_msg_data(&server->body), len);
    ret->route.len = len;
  }
  size_t frames = 0;
  for (; zmq_msg_more(&server->body); frames++)
    if (zmq_msg_recv(&server->body, server->router, ZMQ_DONTWAIT) < 0) break; /* messages arrive whole */
  if (!ok || frames != 1) {
    server->counters.dropped_shape++;
    return TRB_PEER;
  }
  if (!frame_sender(server, ret)) {
    server->counters.dropped_no_user++;
    return TRB_PEER;
  }
  ret->connection = zmq_msg_get(&server->body, ZMQ_SRCFD);
  ret->body = trb_slice_of(zmq_msg_data(&server->body), zmq_msg_size(&server->body));
  server->counters.received++;
  return TRB_OK;
}

static void take_events(struct link_server *server) {
  int value = -1;
  for (int event; (event = link_monitor_next(server->monitor, &value)) != 0;) {
    if (event != ZMQ_EVENT_DISCONNECTED)
      server->counters.handshakes_failed++;
    else if (server->gone_count < LINK_GONE_MAX)
      server->gone[server->gone_count++] = value;
  }
}

bool link_server_gone(struct link_server *server, int *ret_connection) {
  if (!server->gone_count) return false;
  *ret_connection = server->gone[--server->gone_count];
  return true;
}

enum trb_status link_server_receive(struct link_server *server, struct link_frame *ret, struct trb_error *err) {
  zap_answer(server);
  take_events(server);
  for (int turn = 0; turn < DROP_TURN; turn++) {
    enum trb_status status = receive_one(server, ret, err);
    if (status != TRB_PEER) return status;
  }
  return TRB_AGAIN;
}

enum trb_status link_server_send(struct link_server *server, const struct link_route *route, struct trb_slice body) {
  if (body.len > TRB_FRAME_BYTES_MAX) return TRB_PEER;
  if (!route->len) return TRB_ABSENT;
  if (zmq_send(server->router, route->data, route->len, ZMQ_SNDMORE | ZMQ_DONTWAIT) < 0)
    return zmq_errno() == EAGAIN || zmq_errno() == EINTR ? TRB_AGAIN : TRB_ABSENT;
  if (zmq_send(server->router, body.data, body.len, ZMQ_DONTWAIT) < 0)
    return TRB_ABSENT; /* the pipe is chosen: never full here */
  server->counters.sent++;
  return TRB_OK;
}

void link_server_counters(const struct link_server *server, struct link_counters *ret) { *ret = server->counters; }
