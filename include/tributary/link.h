/* link: ZeroMQ. Only common/link*.c name zmq_*. What was found by experiment with libzmq 4.3.4, and what is done about
 * it (the numbers are cited in the code):
 *
 *   Z1  Without a live ZAP handler CURVE admits any key. The handler is bound before the ROUTER and lives in its
 * thread: if it dies nothing is served; a message without our handler's User-Id is dropped. Z2  User-Id cannot be read
 * from the routing-id frame after a poll: it is read from the body. Z3  A refused client never asks again by itself:
 * the socket is watched, and the owner reconnects after its back-off. Z4  Routing ids are not authenticated: none is
 * set, HANDOVER is off, the latest route of a user counts. Z5  ZAP asks once a connection: whether a key may still
 * speak is checked by the caller for every message. Z6  A ROUTER drops silently, or blocks with MANDATORY: MANDATORY
 * with DONTWAIT, and queues of our own. Z7  The size limit is one frame's: messages of more frames are refused; a send
 * over the limit is lost, so is refused. Z8  Out of descriptors accept() spins: LimitNOFILE is high in the unit, what
 * is logged is limited. Z9  The socket's descriptor is edge-triggered: only zmq_poll waits on it, and readers drain it.
 *
 * Impure. One thread owns a server or client. */
#ifndef TRIBUTARY_LINK_H
#define TRIBUTARY_LINK_H

#include "tributary/crypto.h"

#define TRB_LINK_USER_MAX 33        /* site name, or "guest" */
#define TRB_LINK_GUEST "guest"      /* no site may have this name */
#define TRB_LINK_ROUTE_BYTES_MAX 32 /* libzmq's own routing ids are 5 bytes */
#define TRB_HEARTBEAT_IVL_MS 5000
/* A peer of which nothing *whole* came for so long is dropped (libzmq counts whole frames only), so these also say how
 * slow a line may be: the largest DOWN at 70 kbit/s, the largest batch at 75 kbit/s. */
#define TRB_HEARTBEAT_BRANCH_MS 30000
#define TRB_HEARTBEAT_HUB_MS 120000
#define TRB_LINK_WAIT_FDS_MAX 16
#define TRB_HANDSHAKE_IVL_MS 5000 /* a silent connection is cut */

struct link_context; /* one a process: libzmq crashed at exit with more (its fix bcb659e0 came after 4.3.4) */
enum trb_status link_context_new(struct link_context **ret, struct trb_error *err);
void link_context_free(struct link_context **context_p); /* after all sockets are closed */

/* Asked once a connection: fills ret_user ("guest" for an unknown key). False refuses the connection (rate limit). */
typedef bool link_authorise_fn(void *arg, const uint8_t curve_public[TRB_KEY_BYTES], const char *address,
                               char ret_user[TRB_LINK_USER_MAX]);

struct link_server;
struct link_route {
  uint8_t data[TRB_LINK_ROUTE_BYTES_MAX];
  size_t len;
};
struct link_frame {
  struct link_route route;
  char user[TRB_LINK_USER_MAX]; /* given when the connection was let in: revocation is checked by the caller, per frame
                                   (Z5) */
  uint8_t curve_public[TRB_KEY_BYTES]; /* of the connection, for guests and rotation (ZAP metadata) */
  char address[64];                    /* of the peer, as text; empty where there is none */
  int connection;                      /* its number as long as it lasts, for link_server_gone; -1: not known */
  struct trb_slice body;               /* borrowed until the next receive */
};
/* Binds inproc://zeromq.zap.01 and then the endpoint; "tcp://...:0" or ":*" chooses a port (see link_server_endpoint).
 */
enum trb_status link_server_open(struct link_context *context, const char *endpoint,
                                 const uint8_t curve_secret[TRB_KEY_BYTES], link_authorise_fn *authorise, void *arg,
                                 struct link_server **ret, struct trb_error *err);
const char *link_server_endpoint(const struct link_server *server);
void link_server_close(struct link_server **server_p);
/* Call until TRB_AGAIN after every link_wait: admission runs in here, so a server that is not received from lets nobody
 * in. One message; answers pending ZAP requests on the way. TRB_AGAIN: none. Multi-part or oversized messages are
 * dropped and counted. */
enum trb_status link_server_receive(struct link_server *server, struct link_frame *ret, struct trb_error *err);
/* A connection that ended since, for people who ask who is there: its number may be another's already, so nothing but a
 * display may depend on it. False: none. */
bool link_server_gone(struct link_server *server, int *ret_connection);
/* Never blocks. TRB_AGAIN: that peer does not read, its queue is full, the frame is lost (session_routed when it comes
 * back); TRB_ABSENT: no such route any more; TRB_PEER: over TRB_FRAME_BYTES_MAX. */
enum trb_status link_server_send(struct link_server *server, const struct link_route *route, struct trb_slice body);
struct link_counters {
  uint64_t received, sent, dropped_no_user, dropped_shape, refused, handshakes_failed;
};
void link_server_counters(const struct link_server *server, struct link_counters *ret);

struct link_client;
struct link_client_keys {
  uint8_t server_public[TRB_KEY_BYTES], public_key[TRB_KEY_BYTES], secret[TRB_KEY_BYTES];
};
enum link_event { LINK_NONE, LINK_CONNECTED, LINK_DISCONNECTED, LINK_REFUSED /* by ZAP, or wrong server key */ };
/* Connects in the background; nothing is sent before the handshake is done (IMMEDIATE). The caller reconnects by
 * closing and opening after its back-off. */
enum trb_status link_client_open(struct link_context *context, const char *endpoint,
                                 const struct link_client_keys *keys, struct link_client **ret, struct trb_error *err);
void link_client_close(struct link_client **client_p);
/* Next event, LINK_NONE when there is none. One CONNECTED at most and one end (DISCONNECTED or REFUSED), after which
 * the client is closed and opened anew. A name that cannot be resolved gives no event: the core's own time limit ends
 * the attempt. */
enum link_event link_client_event(struct link_client *client);
enum trb_status link_client_receive(struct link_client *client, struct trb_slice *ret_body, struct trb_error *err);
/* TRB_AGAIN: not connected, or the queue is full (then close: the core's window never fills it on a living line). */
enum trb_status link_client_send(struct link_client *client, struct trb_slice body);

/* Waits until something can be read on the server, the client (each may be NULL) or one of the fds, at most timeout_ms
 * (-1: for ever). ret_ready (NULL allowed) tells which fds. A signal ends the wait early with TRB_OK. */
enum trb_status link_wait(struct link_server *server, struct link_client *client, const int *fds, bool *ret_ready,
                          size_t fd_count, int timeout_ms, struct trb_error *err);

#endif
