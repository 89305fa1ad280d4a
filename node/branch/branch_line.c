/* branch_line: the uplink core's actions, done; and the connection. See node.h. */
#include <string.h>

#include "node.h"

#define FRAMES_A_TURN 64 /* received before the other work has its turn */
#define ACTIONS_A_TURN 256

enum trb_status line_start(struct node *node, struct trb_error *err) {
  struct uplink_position position = {0};
  struct trb_clock_reading now;
  const struct outbox_state *s = &node->outbox->state;
  uint64_t seed;
  enum trb_status status = clock_read(&now);
  if (status != TRB_OK) return trb_fail(err, status, "cannot read the clock");
  replica_position(&node->replica, position.down_epoch, &position.down_version);
  node->rotate_sent = false;
  node->answered = true; /* begins with the current key */
  node->next_curve = false;
  memcpy(position.incarnation, s->incarnation, TRB_INCARNATION_BYTES);
  memcpy(position.last_hash, s->hash, TRB_HASH_BYTES);
  position.last_sequence = s->sequence;
  position.acked_sequence = s->acked;
  position.safe_sequence = s->safe;
  crypto_random(&seed, sizeof seed);
  status = uplink_new(node->keyset.root_public, node->keyset.version, node->keyset.endpoint_count, &position, seed,
                      &node->uplink);
  if (status != TRB_OK) return trb_fail(err, status, "out of memory");
  uplink_tick(node->uplink, &now);
  return TRB_OK;
}

static void hang_up(struct node *node) {
  link_client_close(&node->client);
  node->connected = false;
}

void line_stop(struct node *node) {
  hang_up(node);
  uplink_free(&node->uplink);
  node->replica.applying = false;
  node->stream_pending = false;
}

void line_sealed(struct node *node) {
  if (node->uplink) uplink_sealed(node->uplink, node->outbox->state.sequence, node->outbox->state.hash);
}

void line_down_applied(struct node *node) {
  uint8_t epoch[16];
  uint64_t version = 0;
  node->down_frames++;
  replica_position(&node->replica, epoch, &version);
  uplink_down_applied(node->uplink, epoch, version);
}

/* The hub may have gone over to its next key while we were away: the two take turns until one is answered. */
static const uint8_t *hub_key(struct node *node) {
  if (!node->answered) node->next_curve = !node->next_curve;
  if (!node->keyset.has_next) node->next_curve = false;
  node->answered = false;
  return node->next_curve ? node->keyset.curve_next : node->keyset.curve_public;
}

static enum trb_status dial(struct node *node, uint64_t number, const struct trb_clock_reading *now,
                            struct trb_error *err) {
  struct link_client_keys keys;
  struct trb_error why;
  hang_up(node);
  memcpy(keys.server_public, hub_key(node), TRB_KEY_BYTES);
  memcpy(keys.public_key, node->keys.curve_public, TRB_KEY_BYTES);
  memcpy(keys.secret, node->keys.curve_secret, TRB_KEY_BYTES);
  const char *endpoint =
      node->conf.via[0] ? node->conf.via : node->keyset.endpoints[number % node->keyset.endpoint_count];
  enum trb_status status = link_client_open(node->context, endpoint, &keys, &node->client, &why);
  crypto_wipe(&keys, sizeof keys);
  if (status == TRB_NOMEM) return trb_fail(err, status, "out of memory");
  if (status != TRB_OK)
    uplink_disconnected(node->uplink, false, now); /* a bad address: the next one after the back-off */
  return TRB_OK;
}

static void send_frame(struct node *node, struct trb_slice frame, const struct trb_clock_reading *now) {
  if (node->client && link_client_send(node->client, frame) == TRB_OK) return;
  hang_up(node);
  uplink_disconnected(node->uplink, false, now);
}

static enum trb_status load_batch(struct node *node, uint64_t sequence, struct trb_error *err) {
  TRB_BUF_AUTO sealed = {0}, ack = {0};
  enum trb_status status = outbox_load(node->outbox, sequence, &sealed, &ack, err);
  if (status == TRB_NOMEM) return status;
  if (status != TRB_OK) { /* gone or damaged: the core asks for a new stream, in which the rows are sealed again */
    node_log(3, "%s; the rows are sent again in a new stream", err->text);
    trb_buf_clear(&sealed);
  }
  uplink_loaded(node->uplink, sequence, trb_buf_slice(&sealed), trb_buf_slice(&ack));
  return TRB_OK;
}

static enum trb_status store_acks(struct node *node, const struct uplink_action *action, struct trb_error *err) {
  uint32_t bad = 0;
  uint64_t before = node->outbox->state.acked;
  enum trb_status status =
      outbox_acked(node->outbox, action->sequence, action->safe, action->bytes, node->keyset.sign_public, &bad, err);
  if (status == TRB_FULL ||
      status == TRB_AGAIN) { /* the core would wait for ever: from the files again, after a pause */
    node_alarm(node, "disk_full", "the disk is full: acknowledgements cannot be stored; make room");
    line_stop(node);
    return line_start(node, err);
  }
  if (status != TRB_OK) return status;
  node->bad_acks += bad;
  if (node->outbox->state.acked != before) node->acked_ms = node_wall_ms();
  uplink_acks_stored(node->uplink, action->sequence);
  int64_t trim = seal_now_us() + 200 * 1000;
  if (node->due.trim > trim) node->due.trim = trim;
  return TRB_OK;
}

/* A frame that cannot be applied: away with the line, so that it comes again only after the back-off. */
void line_refuse_down(struct node *node, const struct trb_clock_reading *now, const char *why) {
  node_alarm(node, "down_refused", "headquarters sent something that cannot be stored: %s", why);
  hang_up(node);
  uplink_disconnected(node->uplink, false, now);
  line_down_applied(node);
}

static enum trb_status take_down(struct node *node, const struct wire_down *down, const struct trb_clock_reading *now,
                                 struct trb_error *err) {
  struct trb_error why;
  enum trb_status status = replica_apply(&node->replica, down, &why);
  if (status == TRB_OK) {
    work_down(node);
    return TRB_OK;
  }
  if (status == TRB_NOMEM || status == TRB_STORE) return trb_fail(err, status, "%s", why.text);
  if (status == TRB_PEER)
    line_refuse_down(node, now, why.text);
  else
    line_down_applied(node); /* does not follow: says where the replica is */
  return TRB_OK;
}

static enum trb_status store_keyset(struct node *node, struct trb_slice sealed, struct trb_error *err) {
  char path[NODE_PATH_MAX];
  enum trb_status status = node_path(node->dir, "keys/hub.keyset", path, err);
  if (status == TRB_OK) status = file_write(path, sealed, err);
  if (status == TRB_FULL) return TRB_OK; /* comes again with the next WELCOME after a restart */
  if (status == TRB_OK) status = node_load_keyset(node, err);
  if (status == TRB_OK)
    node_log(5, "headquarters' keys or addresses changed: version %llu is stored",
             (unsigned long long)node->keyset.version);
  return status;
}

static enum trb_status act(struct node *node, const struct uplink_action *action, enum uplink_do what,
                           const struct trb_clock_reading *now, struct trb_error *err) {
  switch (what) {
    case UPLINK_IDLE: return TRB_OK;
    case UPLINK_CONNECT: return dial(node, action->sequence, now, err);
    case UPLINK_DISCONNECT: hang_up(node); return TRB_OK;
    case UPLINK_SEND: send_frame(node, action->bytes, now); return TRB_OK;
    case UPLINK_LOAD: return load_batch(node, action->sequence, err);
    case UPLINK_STORE_ACKS: return store_acks(node, action, err);
    case UPLINK_APPLY_DOWN: return take_down(node, action->down, now, err);
    case UPLINK_NEW_STREAM:
      memcpy(node->stream_incarnation, action->incarnation, TRB_INCARNATION_BYTES);
      node->stream_pending = true;
      return work_start_stream(node, err);
    case UPLINK_STORE_KEYS: return store_keyset(node, action->bytes, err);
    case UPLINK_ROTATED: return rotate_confirmed(node, err);
  }
  return TRB_OK;
}

static void take_events(struct node *node, const struct trb_clock_reading *now) {
  for (enum link_event event; node->client && (event = link_client_event(node->client)) != LINK_NONE;) {
    if (event == LINK_CONNECTED) {
      node->connected = node->answered = true;
      uplink_connected(node->uplink, now);
    } else {
      hang_up(node);
      uplink_disconnected(node->uplink, event == LINK_REFUSED, now);
    }
  }
}

/* The alarm outlives the daemon: a node that was turned away is not in sync because it was started anew. */
static void show_refusal(struct node *node) {
  struct uplink_status line;
  uplink_status(node->uplink, &line);
  bool yes = line.refused_code != 0;
  if (!yes && line.state != UPLINK_ONLINE) return;
  if (node->refused == (yes ? NODE_REFUSED_YES : NODE_REFUSED_NO)) return;
  node->refused = yes ? NODE_REFUSED_YES : NODE_REFUSED_NO;
  if (!yes) {
    node_calm(node, "key_refused");
    return;
  }
  bool unknown = line.refused_code == TRB_FAULT_REVOKED || line.refused_code == TRB_FAULT_GUEST;
  const char *text = unknown ? "headquarters does not know this node's key (revoked?): ask headquarters; join again "
                               "with a new token"
                             : line.text;
  node_alarm(node, "key_refused", "%s", text);
  node_log(3, "refused: %s", text);
}

static void take_frames(struct node *node, const struct trb_clock_reading *now) {
  struct trb_slice frame;
  for (int i = 0; i < FRAMES_A_TURN && node->client; i++) {
    if (link_client_receive(node->client, &frame, NULL) != TRB_OK) return;
    node->heard_ms = now->wall_ms;
    uplink_receive(node->uplink, frame, now);
    show_refusal(node);
  }
}

enum trb_status line_run(struct node *node, struct trb_error *err) {
  struct trb_clock_reading now;
  struct uplink_action action;
  enum trb_status status = clock_read(&now);
  if (status != TRB_OK) return trb_fail(err, status, "cannot read the clock");
  take_events(node, &now);
  take_frames(node, &now);
  if (now.boot_ms >= uplink_deadline_ms(node->uplink)) uplink_tick(node->uplink, &now);
  for (int i = 0; i < ACTIONS_A_TURN && status == TRB_OK; i++) {
    enum uplink_do what = uplink_next(node->uplink, &action);
    if (what == UPLINK_IDLE) break;
    status = act(node, &action, what, &now, err);
  }
  return status;
}
