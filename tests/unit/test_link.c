/* Real sockets on loopback. Hostile peers are raw ZeroMQ sockets: this test and common/link*.c are the only ones that
 * name it. */
// clang-format off
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>
// clang-format on
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <time.h>
#include <unistd.h>

#include "../../common/link_zmq.h"

struct keys {
  uint8_t public_key[TRB_KEY_BYTES], secret[TRB_KEY_BYTES];
};
struct hub {
  struct link_context *context;
  struct link_server *server;
  struct keys keys;
  uint8_t known[TRB_KEY_BYTES], banned[TRB_KEY_BYTES];
  unsigned asked;
  bool all_known;
};

static struct keys make_keys(void) {
  struct keys keys;
  crypto_curve_keypair(keys.public_key, keys.secret);
  return keys;
}

static bool authorise(void *arg, const uint8_t key[TRB_KEY_BYTES], const char *address, char user[TRB_LINK_USER_MAX]) {
  struct hub *hub = arg;
  hub->asked++;
  assert_string_equal(address, "127.0.0.1");
  if (memcmp(key, hub->banned, TRB_KEY_BYTES) == 0) return false;
  bool known = hub->all_known || memcmp(key, hub->known, TRB_KEY_BYTES) == 0;
  snprintf(user, TRB_LINK_USER_MAX, "%s", known ? "shanghai" : TRB_LINK_GUEST);
  return true;
}

static int64_t now_ms(void) {
  struct timespec t;
  clock_gettime(CLOCK_MONOTONIC, &t);
  return (int64_t)t.tv_sec * 1000 + t.tv_nsec / 1000000;
}

static int setup(void **state) {
  struct hub *hub = calloc(1, sizeof *hub);
  hub->keys = make_keys();
  memset(hub->known, 1, sizeof hub->known);
  memset(hub->banned, 2, sizeof hub->banned);
  assert_int_equal(link_context_new(&hub->context, NULL), TRB_OK);
  assert_int_equal(
      link_server_open(hub->context, "tcp://127.0.0.1:*", hub->keys.secret, authorise, hub, &hub->server, NULL),
      TRB_OK);
  *state = hub;
  return 0;
}

static int teardown(void **state) {
  struct hub *hub = *state;
  link_server_close(&hub->server);
  link_context_free(&hub->context);
  free(hub);
  return 0;
}

static struct link_client *client_open(struct hub *hub, const struct keys *mine, const struct keys *server) {
  struct link_client_keys keys;
  memcpy(keys.server_public, server->public_key, TRB_KEY_BYTES);
  memcpy(keys.public_key, mine->public_key, TRB_KEY_BYTES);
  memcpy(keys.secret, mine->secret, TRB_KEY_BYTES);
  struct link_client *client;
  assert_int_equal(link_client_open(hub->context, link_server_endpoint(hub->server), &keys, &client, NULL), TRB_OK);
  return client;
}

/* Runs the server until the client has an event; messages meanwhile are an error. */
static enum link_event client_event(struct hub *hub, struct link_client *client, int limit_ms) {
  struct link_frame frame;
  for (int64_t end = now_ms() + limit_ms; now_ms() < end;) {
    enum link_event event = link_client_event(client);
    if (event != LINK_NONE) return event;
    if (hub->server) assert_int_equal(link_server_receive(hub->server, &frame, NULL), TRB_AGAIN);
    assert_int_equal(link_wait(hub->server, client, NULL, NULL, 0, 20, NULL), TRB_OK);
  }
  return LINK_NONE;
}

static struct link_client *client_online(struct hub *hub, const struct keys *mine) {
  struct link_client *client = client_open(hub, mine, &hub->keys);
  assert_int_equal(client_event(hub, client, 5000), LINK_CONNECTED);
  return client;
}

static bool server_receive(struct hub *hub, struct link_frame *frame, int limit_ms) {
  for (int64_t end = now_ms() + limit_ms; now_ms() < end;) {
    if (link_server_receive(hub->server, frame, NULL) == TRB_OK) return true;
    link_wait(hub->server, NULL, NULL, NULL, 0, 10, NULL);
  }
  return false;
}

static struct trb_slice client_receive(struct hub *hub, struct link_client *client) {
  struct trb_slice body = {0};
  for (int64_t end = now_ms() + 3000; now_ms() < end;) {
    if (link_client_receive(client, &body, NULL) == TRB_OK) return body;
    link_wait(hub->server, client, NULL, NULL, 0, 10, NULL);
  }
  fail_msg("nothing received");
  return body;
}

/* --- who gets in --- */

static void server_receive_names_the_authorised_user_and_its_key(void **state) {
  struct hub *hub = *state;
  struct keys mine = make_keys();
  memcpy(hub->known, mine.public_key, TRB_KEY_BYTES);
  struct link_client *client = client_online(hub, &mine);
  struct link_frame frame;
  assert_int_equal(link_client_send(client, trb_slice_str("你好")), TRB_OK);
  assert_true(server_receive(hub, &frame, 3000));
  assert_string_equal(frame.user, "shanghai");
  assert_string_equal(frame.address, "127.0.0.1");
  assert_memory_equal(frame.curve_public, mine.public_key, TRB_KEY_BYTES);
  assert_true(trb_slice_equal(frame.body, trb_slice_str("你好")));
  assert_int_equal(link_server_send(hub->server, &frame.route, trb_slice_str("answer")), TRB_OK);
  assert_true(trb_slice_equal(client_receive(hub, client), trb_slice_str("answer")));
  assert_int_equal(hub->asked, 1);
  link_client_close(&client);
}

static void server_receive_calls_an_unknown_key_guest(void **state) {
  struct hub *hub = *state;
  struct keys mine = make_keys();
  struct link_client *client = client_online(hub, &mine);
  struct link_frame frame;
  assert_int_equal(link_client_send(client, trb_slice_str("join")), TRB_OK);
  assert_true(server_receive(hub, &frame, 3000));
  assert_string_equal(frame.user, TRB_LINK_GUEST);
  link_client_close(&client);
}

static void server_gone_names_the_connection_that_ended(void **state) {
  struct hub *hub = *state;
  struct keys first = make_keys(), second = make_keys();
  struct link_client *goes = client_online(hub, &first), *stays = client_online(hub, &second);
  struct link_frame a, b, unused;
  int gone = -1;
  assert_int_equal(link_client_send(goes, trb_slice_str("a")), TRB_OK);
  assert_true(server_receive(hub, &a, 3000));
  assert_int_equal(link_client_send(stays, trb_slice_str("b")), TRB_OK);
  assert_true(server_receive(hub, &b, 3000));
  assert_true(a.connection >= 0 && b.connection >= 0 && a.connection != b.connection);
  assert_false(link_server_gone(hub->server, &gone));
  link_client_close(&goes);
  for (int i = 0; i < 30 && !link_server_gone(hub->server, &gone); i++) server_receive(hub, &unused, 100);
  assert_int_equal(gone, a.connection);
  assert_false(link_server_gone(hub->server, &gone));
  link_client_close(&stays);
}

static void client_event_tells_that_the_hub_refused_and_asks_anew_when_opened_again(void **state) {
  struct hub *hub = *state;
  struct keys mine = make_keys();
  memcpy(hub->banned, mine.public_key, TRB_KEY_BYTES);
  struct link_client *client = client_open(hub, &mine, &hub->keys);
  assert_int_equal(client_event(hub, client, 5000), LINK_REFUSED);
  assert_int_equal(link_client_send(client, trb_slice_str("x")), TRB_AGAIN);
  assert_int_equal(link_client_event(client), LINK_NONE);
  link_client_close(&client);
  struct link_counters counters;
  link_server_counters(hub->server, &counters);
  assert_int_equal(counters.refused, 1);
  memset(hub->banned, 2, TRB_KEY_BYTES);
  client = client_online(hub, &mine); /* Z3: libzmq alone would never have asked again */
  assert_int_equal(hub->asked, 2);
  link_client_close(&client);
}

static void client_event_ends_the_attempt_when_the_server_key_is_wrong(void **state) {
  struct hub *hub = *state;
  struct keys mine = make_keys(), other = make_keys();
  struct link_client *client = client_open(hub, &mine, &other);
  enum link_event event = client_event(hub, client, 8000);
  assert_true(event == LINK_REFUSED || event == LINK_DISCONNECTED);
  assert_int_equal(hub->asked, 0);
  link_client_close(&client);
}

static void client_event_tells_that_nobody_listens(void **state) {
  struct hub *hub = *state;
  struct keys mine = make_keys();
  struct link_client_keys keys = {.server_public = {0}};
  memcpy(keys.server_public, hub->keys.public_key, TRB_KEY_BYTES);
  memcpy(keys.public_key, mine.public_key, TRB_KEY_BYTES);
  memcpy(keys.secret, mine.secret, TRB_KEY_BYTES);
  struct link_client *client;
  assert_int_equal(link_client_open(hub->context, "tcp://127.0.0.1:1", &keys, &client, NULL), TRB_OK);
  assert_int_equal(client_event(hub, client, 5000), LINK_DISCONNECTED);
  link_client_close(&client);
}

static void client_open_says_what_an_address_looks_like(void **state) {
  struct hub *hub = *state;
  struct link_client_keys keys = {0};
  struct link_client *client = NULL;
  struct trb_error err;
  assert_int_equal(link_client_open(hub->context, "ftp://上海", &keys, &client, &err), TRB_PEER);
  assert_non_null(strstr(err.text, "tcp://host:port"));
  assert_null(client);
}

/* --- fail closed --- */

static void server_open_fails_when_another_admission_handler_is_bound(void **state) {
  struct hub *hub = *state;
  struct link_server *second = NULL;
  struct trb_error err;
  assert_int_equal(link_server_open(hub->context, "tcp://127.0.0.1:*", hub->keys.secret, authorise, hub, &second, &err),
                   TRB_STORE);
  assert_null(second);
}

static void *raw_dealer(struct hub *hub, const struct keys *mine) {
  void *socket = zmq_socket(hub->context->zmq, ZMQ_DEALER);
  assert_non_null(socket);
  link_set_int(socket, ZMQ_LINGER, 0);
  link_set_int(socket, ZMQ_RCVHWM, 1);
  link_set_int(socket, ZMQ_RCVBUF, 4096);
  zmq_setsockopt(socket, ZMQ_CURVE_SERVERKEY, hub->keys.public_key, TRB_KEY_BYTES);
  zmq_setsockopt(socket, ZMQ_CURVE_PUBLICKEY, mine->public_key, TRB_KEY_BYTES);
  zmq_setsockopt(socket, ZMQ_CURVE_SECRETKEY, mine->secret, TRB_KEY_BYTES);
  return socket;
}

static void server_receive_drops_everything_when_the_handler_is_gone(void **state) {
  struct hub *hub = *state;
  struct keys mine = make_keys();
  hub->all_known = true;
  link_close_socket(&hub->server->zap); /* the handler dies; libzmq now admits anybody (Z1) */
  usleep(50000);
  void *socket = raw_dealer(hub, &mine);
  assert_int_equal(zmq_connect(socket, link_server_endpoint(hub->server)), 0);
  assert_int_equal(zmq_send(socket, "let me in", 9, 0), 9);
  struct link_frame frame;
  struct link_counters counters;
  assert_false(server_receive(hub, &frame, 500));
  link_server_counters(hub->server, &counters);
  assert_int_equal(counters.received, 0);
  assert_int_equal(counters.dropped_no_user, 1); /* it did arrive, and it was dropped */
  zmq_close(socket);
}

/* --- shapes --- */

static void server_receive_drops_multi_part_messages(void **state) {
  struct hub *hub = *state;
  struct keys mine = make_keys();
  void *socket = raw_dealer(hub, &mine);
  zmq_connect(socket, link_server_endpoint(hub->server));
  for (int i = 0; i < 100; i++) zmq_send(socket, "part", 4, ZMQ_SNDMORE);
  zmq_send(socket, "end", 3, 0);
  zmq_send(socket, "", 0, ZMQ_SNDMORE); /* as a REQ would */
  zmq_send(socket, "body", 4, 0);
  zmq_send(socket, "good", 4, 0);
  struct link_frame frame;
  assert_true(server_receive(hub, &frame, 3000));
  assert_true(trb_slice_equal(frame.body, trb_slice_str("good")));
  struct link_counters counters;
  link_server_counters(hub->server, &counters);
  assert_int_equal(counters.dropped_shape, 2);
  zmq_close(socket);
}

static void server_receive_drops_a_routing_id_longer_than_ours(void **state) {
  struct hub *hub = *state;
  struct keys mine = make_keys();
  void *socket = raw_dealer(hub, &mine);
  char name[200];
  memset(name, 'n', sizeof name);
  zmq_setsockopt(socket, ZMQ_ROUTING_ID, name, sizeof name);
  zmq_connect(socket, link_server_endpoint(hub->server));
  zmq_send(socket, "x", 1, 0);
  struct link_frame frame;
  assert_false(server_receive(hub, &frame, 400));
  struct link_counters counters;
  link_server_counters(hub->server, &counters);
  assert_int_equal(counters.dropped_shape, 1);
  zmq_close(socket);
}

static void sends_refuse_a_frame_over_the_limit_and_the_server_drops_one(void **state) {
  struct hub *hub = *state;
  struct keys mine = make_keys();
  uint8_t *big = calloc(1, TRB_FRAME_BYTES_MAX + 1);
  struct link_client *client = client_online(hub, &mine);
  struct link_frame frame;
  assert_int_equal(link_client_send(client, trb_slice_of(big, TRB_FRAME_BYTES_MAX + 1)), TRB_PEER);
  assert_int_equal(link_client_send(client, trb_slice_of(big, TRB_FRAME_BYTES_MAX - 64)), TRB_OK);
  assert_true(server_receive(hub, &frame, 3000));
  assert_int_equal(frame.body.len, TRB_FRAME_BYTES_MAX - 64);
  assert_int_equal(link_server_send(hub->server, &frame.route, trb_slice_of(big, TRB_FRAME_BYTES_MAX + 1)), TRB_PEER);
  void *socket = raw_dealer(hub, &mine);
  zmq_connect(socket, link_server_endpoint(hub->server));
  zmq_send(socket, big, TRB_FRAME_BYTES_MAX + 1, 0);
  assert_false(server_receive(hub, &frame, 500));
  zmq_close(socket);
  link_client_close(&client);
  free(big);
}

static void server_receive_keeps_user_names_apart_when_a_guest_takes_anothers_routing_id(void **state) {
  struct hub *hub = *state;
  struct keys mine = make_keys(), thief = make_keys();
  memcpy(hub->known, mine.public_key, TRB_KEY_BYTES);
  void *first = raw_dealer(hub, &mine), *second = raw_dealer(hub, &thief);
  zmq_setsockopt(first, ZMQ_ROUTING_ID, "branch", 6);
  zmq_setsockopt(second, ZMQ_ROUTING_ID, "branch", 6);
  struct link_frame frame;
  zmq_connect(first, link_server_endpoint(hub->server));
  zmq_send(first, "one", 3, 0);
  assert_true(server_receive(hub, &frame, 3000));
  zmq_connect(second, link_server_endpoint(hub->server));
  zmq_send(second, "two", 3, 0);
  assert_false(server_receive(hub, &frame, 400)); /* no handover (Z4) */
  zmq_send(first, "three", 5, 0);
  assert_true(server_receive(hub, &frame, 3000));
  assert_string_equal(frame.user, "shanghai");
  zmq_close(first);
  zmq_close(second);
}

/* --- lines that break --- */

static void client_comes_back_after_the_server_was_restarted(void **state) {
  struct hub *hub = *state;
  struct keys mine = make_keys();
  struct link_client *client = client_online(hub, &mine);
  char endpoint[256];
  snprintf(endpoint, sizeof endpoint, "%s", link_server_endpoint(hub->server));
  link_server_close(&hub->server);
  assert_int_equal(client_event(hub, client, 3000), LINK_DISCONNECTED);
  assert_int_equal(link_client_send(client, trb_slice_str("x")), TRB_AGAIN);
  link_client_close(&client);
  for (int i = 0; i < 5; i++) { /* at once, as a rotation of the hub's key does */
    assert_int_equal(link_server_open(hub->context, endpoint, hub->keys.secret, authorise, hub, &hub->server, NULL),
                     TRB_OK);
    if (i < 4) link_server_close(&hub->server);
  }
  client = client_online(hub, &mine);
  link_client_close(&client);
}

static void a_second_connection_of_a_user_works_while_the_first_is_half_open(void **state) {
  struct hub *hub = *state;
  struct keys mine = make_keys();
  memcpy(hub->known, mine.public_key, TRB_KEY_BYTES);
  struct link_client *first = client_online(hub, &mine), *second = client_online(hub, &mine);
  struct link_frame frame;
  assert_int_equal(link_client_send(second, trb_slice_str("hello")), TRB_OK);
  assert_true(server_receive(hub, &frame, 3000));
  assert_string_equal(frame.user, "shanghai");
  assert_int_equal(link_server_send(hub->server, &frame.route, trb_slice_str("to the latest")), TRB_OK);
  assert_true(trb_slice_equal(client_receive(hub, second), trb_slice_str("to the latest")));
  link_client_close(&first);
  link_client_close(&second);
}

static void server_send_tells_that_a_route_is_gone(void **state) {
  struct hub *hub = *state;
  struct keys mine = make_keys();
  struct link_client *client = client_online(hub, &mine);
  struct link_frame frame;
  link_client_send(client, trb_slice_str("x"));
  assert_true(server_receive(hub, &frame, 3000));
  struct link_route route = frame.route;
  link_client_close(&client);
  enum trb_status status = TRB_OK;
  for (int i = 0; i < 100 && status != TRB_ABSENT; i++, usleep(10000)) {
    link_server_receive(hub->server, &frame, NULL);
    status = link_server_send(hub->server, &route, trb_slice_str("y"));
  }
  assert_int_equal(status, TRB_ABSENT);
  assert_int_equal(link_server_send(hub->server, &(struct link_route){.len = 0}, trb_slice_str("y")), TRB_ABSENT);
  assert_int_equal(link_server_send(hub->server, &(struct link_route){.data = {1, 2}, .len = 2}, trb_slice_str("y")),
                   TRB_ABSENT);
}

static void server_send_never_blocks_on_a_peer_that_does_not_read(void **state) {
  struct hub *hub = *state;
  struct keys mine = make_keys();
  void *socket = raw_dealer(hub, &mine);
  zmq_connect(socket, link_server_endpoint(hub->server));
  zmq_send(socket, "x", 1, 0);
  struct link_frame frame;
  assert_true(server_receive(hub, &frame, 3000));
  static uint8_t body[256 << 10];
  int64_t start = now_ms();
  int sent = 0;
  enum trb_status status;
  while ((status = link_server_send(hub->server, &frame.route, trb_slice_of(body, sizeof body))) == TRB_OK) sent++;
  assert_int_equal(status, TRB_AGAIN);
  assert_true(sent >= LINK_SEND_FRAMES_MAX && sent < 2 * LINK_SEND_FRAMES_MAX);
  assert_true(now_ms() - start < 5000);
  zmq_close(socket);
}

/* --- rotation, waiting, many --- */

static void server_opened_anew_at_its_endpoint_serves_the_next_key_only(void **state) {
  struct hub *hub = *state;
  struct keys next = make_keys(), mine = make_keys(), before = hub->keys;
  char endpoint[256];
  snprintf(endpoint, sizeof endpoint, "%s", link_server_endpoint(hub->server));
  struct link_client *old = client_online(hub, &mine);
  link_server_close(&hub->server);
  assert_int_equal(link_server_open(hub->context, endpoint, next.secret, authorise, hub, &hub->server, NULL), TRB_OK);
  assert_string_equal(link_server_endpoint(hub->server), endpoint);
  assert_int_equal(client_event(hub, old, 3000), LINK_DISCONNECTED);
  link_client_close(&old);
  struct link_client *late = client_open(hub, &mine, &before);
  assert_int_not_equal(client_event(hub, late, 1000), LINK_CONNECTED);
  link_client_close(&late);
  hub->keys = next;
  struct link_client *client = client_online(hub, &mine);
  struct link_frame frame;
  link_client_send(client, trb_slice_str("x"));
  assert_true(server_receive(hub, &frame, 3000));
  assert_int_equal(link_server_send(hub->server, &frame.route, trb_slice_str("y")), TRB_OK);
  client_receive(hub, client);
  link_client_close(&client);
}

static void wait_tells_which_file_is_ready(void **state) {
  struct hub *hub = *state;
  int a[2], b[2];
  assert_int_equal(pipe(a) | pipe(b), 0);
  int fds[] = {a[0], b[0]}, many[TRB_LINK_WAIT_FDS_MAX + 1] = {0};
  bool ready[2] = {true, true};
  assert_int_equal(link_wait(hub->server, NULL, fds, ready, 2, 0, NULL), TRB_OK);
  assert_false(ready[0] || ready[1]);
  assert_int_equal(write(b[1], "x", 1), 1);
  assert_int_equal(link_wait(NULL, NULL, fds, ready, 2, 1000, NULL), TRB_OK);
  assert_true(!ready[0] && ready[1]);
  assert_int_equal(link_wait(NULL, NULL, many, NULL, TRB_LINK_WAIT_FDS_MAX + 1, 0, NULL), TRB_PEER);
  for (int i = 0; i < 2; i++) close(a[i]), close(b[i]);
}

static long resident_kb(void) {
  long pages = 0, ignored;
  FILE *f = fopen("/proc/self/statm", "r");
  if (f) {
    if (fscanf(f, "%ld %ld", &ignored, &pages) != 2) pages = 0;
    fclose(f);
  }
  return pages * (sysconf(_SC_PAGESIZE) / 1024);
}

static void a_thousand_branches_connect_and_speak(void **state) {
  struct hub *hub = *state;
  enum { PEERS = 1000 };
  struct rlimit files = {0};
  getrlimit(RLIMIT_NOFILE, &files);
  files.rlim_cur = files.rlim_max;
  setrlimit(RLIMIT_NOFILE, &files);
  static void *sockets[PEERS]; /* a DEALER connects to an endpoint only once */
  void *peers = zmq_ctx_new();
  zmq_ctx_set(peers, ZMQ_MAX_SOCKETS, PEERS + 10);
  struct link_context raw = {.zmq = peers};
  struct hub other = {.context = &raw, .keys = hub->keys};
  long before = resident_kb();
  int64_t start = now_ms();
  for (int i = 0; i < PEERS; i++) {
    struct keys mine = make_keys();
    sockets[i] = raw_dealer(&other, &mine);
    zmq_connect(sockets[i], link_server_endpoint(hub->server));
    zmq_send(sockets[i], "hello", 5, ZMQ_DONTWAIT);
  }
  struct link_frame frame;
  unsigned heard = 0;
  uint8_t *seen = calloc(1, 1 << 16); /* libzmq numbers the routes one after the other */
  for (int64_t end = now_ms() + 30000; heard < PEERS && now_ms() < end;)
    if (server_receive(hub, &frame, 100)) {
      uint16_t low = trb_get_u16(frame.route.data + frame.route.len - 2);
      assert_false(seen[low]++);
      heard++;
    }
  free(seen);
  long grown = resident_kb() - before;
  for (int i = 0; i < PEERS; i++) zmq_close(sockets[i]);
  zmq_ctx_term(peers);
  printf("          1,000 CURVE connections: %u admissions, %ld ms, both ends %ld KB\n", hub->asked,
         (long)(now_ms() - start), grown);
  assert_int_equal(heard, PEERS);
  assert_int_equal(hub->asked, PEERS);
}

#define T(name) cmocka_unit_test_setup_teardown(name, setup, teardown)
int main(void) {
  const struct CMUnitTest tests[] = {
      T(server_receive_names_the_authorised_user_and_its_key),
      T(server_receive_calls_an_unknown_key_guest),
      T(server_gone_names_the_connection_that_ended),
      T(client_event_tells_that_the_hub_refused_and_asks_anew_when_opened_again),
      T(client_event_ends_the_attempt_when_the_server_key_is_wrong),
      T(client_event_tells_that_nobody_listens),
      T(client_open_says_what_an_address_looks_like),
      T(server_open_fails_when_another_admission_handler_is_bound),
      T(server_receive_drops_everything_when_the_handler_is_gone),
      T(server_receive_drops_multi_part_messages),
      T(server_receive_drops_a_routing_id_longer_than_ours),
      T(sends_refuse_a_frame_over_the_limit_and_the_server_drops_one),
      T(server_receive_keeps_user_names_apart_when_a_guest_takes_anothers_routing_id),
      T(client_comes_back_after_the_server_was_restarted),
      T(a_second_connection_of_a_user_works_while_the_first_is_half_open),
      T(server_send_tells_that_a_route_is_gone),
      T(server_send_never_blocks_on_a_peer_that_does_not_read),
      T(server_opened_anew_at_its_endpoint_serves_the_next_key_only),
      T(wait_tells_which_file_is_ready),
      T(a_thousand_branches_connect_and_speak),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
