/* branch_join: enrolment. See include/tributary/branch.h.
 *
 * Order of what becomes durable: keys (before the first attempt, so that a repeated attempt is the same machine), then
 * what JOINED brought (root, keyset), replica.db, outbox.db with the granted incarnation, and last node.ini, which
 * makes DIR a node. A crash anywhere before is repaired by the same command: the hub answers the same keys and the same
 * token in the same way. */
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "node.h"

#define DIAL_MS 5000 /* one address */
#define SYNC_MS_MAX 20000

struct join {
  const char *dir;
  const struct trb_token *token;
  struct node_keys keys;
  int64_t until_us;
  bool reached; /* the hub's machine answered at all */
  bool open;    /* a JOIN was sent and no refusal came: the token may be redeemed, only these keys can repeat it */
  bool made_folder, made_lock, made_keys; /* by this attempt: taken away when it fails before that */
  /* JOINED */
  bool joined;
  char site[TRB_SITE_BYTES_MAX + 1], region[9], area_code[9], endpoint[TRB_ENDPOINT_BYTES_MAX + 1];
  uint8_t incarnation[TRB_INCARNATION_BYTES];
  struct trb_buf keyset; /* owned */
};

/* ---- the directory ---- */

static enum trb_status make_folder(struct join *join, struct trb_error *err) {
  const char *network = NULL, *dir = join->dir;
  join->made_folder = mkdir(dir, 0700) == 0;
  if (!join->made_folder && errno != EEXIST) return trb_fail(err, TRB_STORE, "cannot make %s: %m", dir);
  if (access(dir, W_OK | X_OK) != 0) return trb_fail(err, TRB_STORE, "cannot write in %s: %m", dir);
  if (file_on_network(dir, &network))
    return trb_fail(err, TRB_DENIED,
                    "%s is on a network file system (%s), where SQLite's locks do not hold: use a local disk", dir,
                    network);
  return TRB_OK;
}

static enum trb_status refuse_node(const char *dir, struct trb_error *err) {
  char path[NODE_PATH_MAX];
  enum trb_status status = node_path(dir, "node.ini", path, err);
  if (status == TRB_OK && access(path, F_OK) == 0)
    return trb_fail(err, TRB_DENIED,
                    "%s is a node already: choose another directory, or start it with `tributary branch run %s`", dir,
                    dir);
  return status;
}

static enum trb_status keys_for(struct join *join, struct trb_error *err) {
  enum trb_status status = node_load_keys(join->dir, "", &join->keys, err);
  if (status != TRB_ABSENT) return status;
  join->made_keys = true;
  return node_make_keys(join->dir, "", &join->keys, err);
}

static enum trb_status lock_folder(struct join *join, int *ret_fd, struct trb_error *err) {
  char path[NODE_PATH_MAX];
  enum trb_status status = node_path(join->dir, "lock", path, err);
  bool absent = status == TRB_OK && access(path, F_OK) != 0;
  if (status == TRB_OK) status = file_lock(join->dir, ret_fd, err);
  join->made_lock = absent && status == TRB_OK;
  return status;
}

static void take_away(const struct join *join, const char *name) {
  char path[NODE_PATH_MAX];
  if (node_path(join->dir, name, path, NULL) == TRB_OK) remove(path); /* a folder goes only when it is empty */
}

/* DIR as it was before. While the lock is held. */
static void undo(const struct join *join) {
  if (join->made_keys) {
    take_away(join, "keys/sign");
    take_away(join, "keys/curve");
    take_away(join, "keys");
  }
  if (join->made_lock) take_away(join, "lock");
  if (join->made_folder) rmdir(join->dir);
}

/* ---- the conversation ---- */

static void fill_join(const struct join *join, const struct crypto_signer *signer, struct trb_buf *frame) {
  TRB_BUF_AUTO covered = {0};
  struct wire_message message = {.type = WIRE_join};
  message.join = (struct wire_join){
      .proto_min = TRB_PROTO_MIN, .proto_max = TRB_PROTO_MAX, .software = trb_slice_str("tributary " TRB_VERSION)};
  memcpy(message.join.invitation, join->token->invitation, sizeof message.join.invitation);
  memcpy(message.join.secret, join->token->secret, sizeof message.join.secret);
  memcpy(message.join.curve_public, join->keys.curve_public, TRB_KEY_BYTES);
  memcpy(message.join.sign_public, join->keys.sign_public, TRB_KEY_BYTES);
  wire_join_signed(&message.join, &covered);
  crypto_sign(signer, TRB_DOMAIN_JOIN, trb_buf_slice(&covered), message.join.proof);
  wire_encode(&message, frame);
}

static void copy_text(struct trb_slice s, char *ret, size_t size) {
  size_t len = s.len < size - 1 ? s.len : size - 1;
  if (len) memcpy(ret, s.data, len);
  ret[len] = '\0';
}

static enum trb_status on_joined(struct join *join, const struct wire_joined *joined, struct trb_error *err) {
  struct trb_keyset keyset;
  enum trb_status status = keyset_open(joined->keys, join->token->root_public, &keyset, err);
  if (status != TRB_OK)
    return trb_fail(err, TRB_DENIED,
                    "the hub that answers is not the one that made this token: its keys are not signed by the root "
                    "in the token. Nothing was stored");
  if (!trb_site_valid(joined->site)) return trb_fail(err, TRB_PEER, "the hub answered with a site name that is none");
  copy_text(joined->site, join->site, sizeof join->site);
  copy_text(joined->region, join->region, sizeof join->region);
  copy_text(joined->area_code, join->area_code, sizeof join->area_code);
  memcpy(join->incarnation, joined->incarnation, TRB_INCARNATION_BYTES);
  trb_buf_append_slice(&join->keyset, joined->keys);
  join->joined = !join->keyset.failed;
  return join->joined ? TRB_OK : trb_fail(err, TRB_NOMEM, "out of memory");
}

static enum trb_status on_fault(struct join *join, const struct wire_fault *fault, struct trb_error *err) {
  int len = fault->text.len < 300 ? (int)fault->text.len : 300;
  const char *text = fault->text.len ? (const char *)fault->text.data : "";
  join->open &= fault->code == TRB_FAULT_RATE; /* the hub would have answered these keys as before */
  switch (fault->code) {
    case TRB_FAULT_TOKEN_UNKNOWN:
      return trb_fail(err, TRB_DENIED, "headquarters does not know this token (%.*s): ask for a new one", len, text);
    case TRB_FAULT_TOKEN_EXPIRED:
      return trb_fail(err, TRB_DENIED, "the token is no longer good (%.*s): ask headquarters for a new one", len, text);
    case TRB_FAULT_TOKEN_USED:
      return trb_fail(err, TRB_DENIED,
                      "the token cannot be used again (%.*s): ask headquarters for a new one, and who used it", len,
                      text);
    case TRB_FAULT_RATE:
      return trb_fail(err, TRB_FULL, "too many attempts: try again in %llu seconds",
                      (unsigned long long)(fault->retry_ms + 999) / 1000);
    case TRB_FAULT_PROTOCOL:
      return trb_fail(err, TRB_PEER, "headquarters speaks another version of the protocol (%.*s): update this program",
                      len, text);
    default: return trb_fail(err, TRB_DENIED, "headquarters refused: %.*s", len, text);
  }
}

/* TRB_AGAIN: nothing yet. */
static enum trb_status on_frame(struct join *join, struct trb_slice frame, struct trb_error *err) {
  struct wire_message message;
  if (wire_decode(frame, &message, NULL) != TRB_OK) return TRB_AGAIN;
  if (message.type == WIRE_joined) return on_joined(join, &message.joined, err);
  return message.type == WIRE_fault ? on_fault(join, &message.fault, err) : TRB_AGAIN;
}

static int left_ms(int64_t until_us) {
  int64_t left = (until_us - seal_now_us() + 999) / 1000;
  return left < 0 ? 0 : left > 1000 ? 1000 : (int)left;
}

/* One address: until an answer, an end, or the time is up. TRB_AGAIN: no answer. */
static enum trb_status talk(struct join *join, struct link_client *client, struct trb_slice hello, int64_t until_us,
                            struct trb_error *err) {
  struct trb_slice frame;
  bool before = join->open;
  for (bool sent = false; seal_now_us() < until_us;) {
    for (enum link_event event; (event = link_client_event(client)) != LINK_NONE;) {
      if (event == LINK_REFUSED)
        return trb_fail(err, TRB_AGAIN,
                        "the hub does not let this machine in: either it is not the hub of this token, or it takes no "
                        "more newcomers now. Try again in a minute");
      if (event == LINK_DISCONNECTED) return trb_fail(err, TRB_AGAIN, "the connection to the hub ended");
      join->reached = true;
      before = join->open;
      sent = link_client_send(client, hello) == TRB_OK;
      join->open |= sent;
      if (!sent) return trb_fail(err, TRB_AGAIN, "the connection to the hub ended");
    }
    enum trb_status status = TRB_AGAIN;
    while (status == TRB_AGAIN && link_client_receive(client, &frame, NULL) == TRB_OK)
      status = on_frame(join, frame, err);
    if (status == TRB_FULL) join->open = before; /* this one was not looked at */
    if (status != TRB_AGAIN) return status;
    if (link_wait(NULL, client, NULL, NULL, 0, left_ms(until_us), err) != TRB_OK) return TRB_STORE;
  }
  return trb_fail(err, TRB_AGAIN, "no answer from the hub");
}

static enum trb_status try_address(struct join *join, struct link_context *context, const char *endpoint,
                                   struct trb_slice hello, struct trb_error *err) {
  struct link_client *client = NULL;
  struct link_client_keys keys;
  int64_t until_us = seal_now_us() + DIAL_MS * 1000;
  if (until_us > join->until_us) until_us = join->until_us;
  memcpy(keys.server_public, join->token->curve_public, TRB_KEY_BYTES);
  memcpy(keys.public_key, join->keys.curve_public, TRB_KEY_BYTES);
  memcpy(keys.secret, join->keys.curve_secret, TRB_KEY_BYTES);
  enum trb_status status = link_client_open(context, endpoint, &keys, &client, err);
  crypto_wipe(&keys, sizeof keys);
  if (status == TRB_OK) status = talk(join, client, hello, until_us, err);
  link_client_close(&client);
  if (status == TRB_OK) snprintf(join->endpoint, sizeof join->endpoint, "%s", endpoint);
  return status;
}

static enum trb_status ask_hub(struct join *join, struct trb_error *err) {
  struct link_context *context = NULL;
  struct crypto_signer *signer = NULL;
  TRB_BUF_AUTO hello = {0};
  enum trb_status status = crypto_signer_new(join->keys.sign_seed, &signer, err);
  if (status != TRB_OK) return status;
  fill_join(join, signer, &hello);
  crypto_signer_free(&signer);
  status = link_context_new(&context, err);
  if (status != TRB_OK) return status;
  status = TRB_AGAIN;
  while (status == TRB_AGAIN && seal_now_us() < join->until_us) {
    for (size_t i = 0; i < join->token->endpoint_count && status == TRB_AGAIN; i++)
      status = try_address(join, context, join->token->endpoints[i], trb_buf_slice(&hello), err);
    if (status == TRB_AGAIN)
      link_wait(NULL, NULL, NULL, NULL, 0, left_ms(join->until_us) < 500 ? left_ms(join->until_us) : 500, NULL);
  }
  link_context_free(&context);
  if (status == TRB_FULL) return TRB_AGAIN; /* the hub says when */
  if (status == TRB_AGAIN && !join->reached && join->token->endpoint_count)
    return trb_fail(err, TRB_AGAIN,
                    "headquarters cannot be reached at %s: is the address right and the hub running? The same command "
                    "may be given again",
                    join->token->endpoints[0]);
  return status;
}

/* ---- what JOINED brought ---- */

static enum trb_status store_file(const struct join *join, const char *name, struct trb_slice bytes,
                                  struct trb_error *err) {
  char path[NODE_PATH_MAX];
  enum trb_status status = node_path(join->dir, name, path, err);
  return status == TRB_OK ? file_write(path, bytes, err) : status;
}

static enum trb_status store_conf(const struct join *join, struct trb_error *err) {
  struct trb_conf conf = {.role = TRB_ROLE_BRANCH};
  struct trb_keyset keyset;
  enum trb_status status = keyset_open(trb_buf_slice(&join->keyset), join->token->root_public, &keyset, err);
  if (status != TRB_OK) return status;
  snprintf(conf.site, sizeof conf.site, "%s", join->site);
  snprintf(conf.region, sizeof conf.region, "%.7s", join->region);
  snprintf(conf.area_code, sizeof conf.area_code, "%.7s", join->area_code);
  size_t len = 0;
  for (size_t i = 0; i < keyset.endpoint_count; i++) { /* for people; the daemon uses the keyset */
    size_t need = strlen(keyset.endpoints[i]) + (len ? 1 : 0);
    if (len + need >= sizeof conf.endpoints) break;
    len += (size_t)snprintf(conf.endpoints + len, sizeof conf.endpoints - len, "%s%s", len ? "," : "",
                            keyset.endpoints[i]);
  }
  return conf_save(join->dir, &conf, err);
}

/* An outbox of an earlier attempt with another incarnation holds nothing: no daemon has run here. */
static enum trb_status store_outbox(const struct join *join, struct trb_error *err) {
  struct outbox *outbox = NULL;
  enum trb_status status = outbox_create(join->dir, join->incarnation, &outbox, err);
  if (status == TRB_DENIED || status == TRB_STORE) {
    static const char *const names[] = {OUTBOX_FILE, OUTBOX_FILE "-wal", OUTBOX_FILE "-shm"};
    char path[NODE_PATH_MAX];
    for (size_t i = 0; i < 3; i++)
      if (node_path(join->dir, names[i], path, NULL) == TRB_OK) unlink(path);
    status = outbox_create(join->dir, join->incarnation, &outbox, err);
  }
  outbox_close(&outbox);
  return status;
}

static enum trb_status store(const struct join *join, struct trb_error *err) {
  enum trb_status status =
      store_file(join, "keys/hub.root", trb_slice_of(join->token->root_public, TRB_KEY_BYTES), err);
  if (status == TRB_OK) status = store_file(join, "keys/hub.keyset", trb_buf_slice(&join->keyset), err);
  if (status == TRB_OK) status = replica_make(join->dir, err);
  if (status == TRB_OK) status = store_outbox(join, err);
  return status == TRB_OK ? store_conf(join, err) : status;
}

static enum trb_status enrol(struct join *join, struct trb_error *err) {
  int lock = -1;
  enum trb_status status = make_folder(join, err);
  if (status == TRB_OK) status = refuse_node(join->dir, err);
  if (status == TRB_OK) status = lock_folder(join, &lock, err);
  if (status == TRB_OK) status = keys_for(join, err);
  if (status == TRB_OK) status = ask_hub(join, err);
  if (status == TRB_OK) status = store(join, err);
  if (status != TRB_OK && !join->open) undo(join);
  if (lock >= 0) close(lock);
  return status;
}

enum trb_status branch_join(const char *dir, const struct trb_token *token, int timeout_ms,
                            struct branch_join_result *ret, struct trb_error *err) {
  struct trb_error local;
  if (!err) err = &local;
  struct join join = {.dir = dir, .token = token, .until_us = seal_now_us() + (int64_t)timeout_ms * 1000};
  enum trb_status status = enrol(&join, err);
  trb_buf_free(&join.keyset);
  crypto_wipe(&join.keys, sizeof join.keys);
  if (status != TRB_OK) return status;
  snprintf(ret->site, sizeof ret->site, "%s", join.site);
  snprintf(ret->endpoint, sizeof ret->endpoint, "%s", join.endpoint);
  int64_t left = (join.until_us - seal_now_us()) / 1000;
  if (left > SYNC_MS_MAX) left = SYNC_MS_MAX;
  struct trb_error unused; /* enrolled all the same: the daemon goes on with it */
  if (left > 0) branch_sync(dir, (int)left, &unused);
  return TRB_OK;
}
