/* branch_node: the files of a branch's directory. See node.h. */
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include "node.h"

enum trb_status node_path(const char *dir, const char *name, char ret[NODE_PATH_MAX], struct trb_error *err) {
  int len = snprintf(ret, NODE_PATH_MAX, "%s/%s", dir, name);
  return len > 0 && len < NODE_PATH_MAX ? TRB_OK : trb_fail(err, TRB_PEER, "the path of the directory is too long");
}

int64_t node_wall_ms(void) {
  struct timespec ts;
  clock_gettime(CLOCK_REALTIME, &ts);
  return (int64_t)ts.tv_sec * 1000 + ts.tv_nsec / 1000000;
}

void node_log(int level, const char *format, ...) {
  char text[600];
  va_list args;
  va_start(args, format);
  vsnprintf(text, sizeof text, format, args);
  va_end(args);
  fprintf(stderr, "<%d>branch: %s\n", level, text);
}

void node_alarm(struct node *node, const char *kind, const char *format, ...) {
  char text[480];
  va_list args;
  va_start(args, format);
  vsnprintf(text, sizeof text, format, args);
  va_end(args);
  struct trb_error err;
  if (outbox_alarm(node->outbox, kind, text, node_wall_ms(), &err) != TRB_OK) node_log(4, "%s: %s", kind, text);
}

void node_calm(struct node *node, const char *kind) { outbox_alarm(node->outbox, kind, NULL, 0, NULL); }

/* ---- keys ---- */

static enum trb_status read_key(const char *dir, const char *name, const char *tail, uint8_t ret[TRB_KEY_BYTES],
                                struct trb_error *err) {
  char file[64], path[NODE_PATH_MAX];
  TRB_BUF_AUTO bytes = {0};
  snprintf(file, sizeof file, "keys/%s%s", name, tail);
  enum trb_status status = node_path(dir, file, path, err);
  if (status == TRB_OK) status = file_read(path, TRB_KEY_BYTES + 1, &bytes, err);
  if (status == TRB_OK && bytes.len != TRB_KEY_BYTES)
    status = trb_fail(err, TRB_PEER, "%s is damaged: restore it from a backup, or join again in a new directory", path);
  if (status == TRB_OK) memcpy(ret, bytes.data, TRB_KEY_BYTES);
  if (bytes.data) crypto_wipe(bytes.data, bytes.len);
  return status;
}

static enum trb_status derive(struct node_keys *keys, struct trb_error *err) {
  struct crypto_signer *signer = NULL;
  enum trb_status status = crypto_signer_new(keys->sign_seed, &signer, err);
  if (status != TRB_OK) return status;
  memcpy(keys->sign_public, crypto_signer_public(signer), TRB_KEY_BYTES);
  crypto_signer_free(&signer);
  if (!crypto_curve_public(keys->curve_secret, keys->curve_public))
    return trb_fail(err, TRB_PEER, "keys/curve is damaged: restore it from a backup, or join again in a new directory");
  return TRB_OK;
}

enum trb_status node_load_keys(const char *dir, const char *tail, struct node_keys *ret, struct trb_error *err) {
  struct node_keys keys;
  enum trb_status status = read_key(dir, "sign", tail, keys.sign_seed, err);
  if (status == TRB_OK) status = read_key(dir, "curve", tail, keys.curve_secret, err);
  if (status == TRB_OK) status = derive(&keys, err);
  if (status == TRB_OK) *ret = keys;
  crypto_wipe(&keys, sizeof keys);
  return status;
}

static enum trb_status write_key(const char *dir, const char *name, const char *tail, const uint8_t key[TRB_KEY_BYTES],
                                 struct trb_error *err) {
  char file[64], path[NODE_PATH_MAX];
  snprintf(file, sizeof file, "keys/%s%s", name, tail);
  enum trb_status status = node_path(dir, file, path, err);
  return status == TRB_OK ? file_write(path, trb_slice_of(key, TRB_KEY_BYTES), err) : status;
}

/* The signing key last: both are there when it is. */
enum trb_status node_make_keys(const char *dir, const char *tail, struct node_keys *ret, struct trb_error *err) {
  char path[NODE_PATH_MAX];
  struct node_keys keys;
  enum trb_status status = node_path(dir, "keys", path, err);
  if (status == TRB_OK && mkdir(path, 0700) != 0 && access(path, W_OK) != 0)
    status = trb_fail(err, TRB_STORE, "cannot make %s: %m", path);
  if (status != TRB_OK) return status;
  crypto_sign_keypair(keys.sign_public, keys.sign_seed);
  crypto_curve_keypair(keys.curve_public, keys.curve_secret);
  status = write_key(dir, "curve", tail, keys.curve_secret, err);
  if (status == TRB_OK) status = write_key(dir, "sign", tail, keys.sign_seed, err);
  if (status == TRB_OK) *ret = keys;
  crypto_wipe(&keys, sizeof keys);
  return status;
}

enum trb_status node_use_keys(struct node *node, const struct node_keys *keys, struct trb_error *err) {
  struct crypto_signer *signer = NULL;
  enum trb_status status = crypto_signer_new(keys->sign_seed, &signer, err);
  if (status != TRB_OK) return status;
  crypto_signer_free(&node->signer);
  node->signer = signer;
  node->keys = *keys;
  node->sealing.signer = signer;
  return TRB_OK;
}

/* The root was pinned by the invitation; the keyset may be replaced by a newer one that the root signed. */
enum trb_status node_load_keyset(struct node *node, struct trb_error *err) {
  char path[NODE_PATH_MAX];
  uint8_t root[TRB_KEY_BYTES];
  TRB_BUF_AUTO bytes = {0};
  enum trb_status status = read_key(node->dir, "hub.root", "", root, err);
  if (status == TRB_OK) status = node_path(node->dir, "keys/hub.keyset", path, err);
  if (status == TRB_OK) status = file_read(path, 4096, &bytes, err);
  if (status == TRB_OK) status = keyset_open(trb_buf_slice(&bytes), root, &node->keyset, err);
  if (status == TRB_OK && node->keyset.endpoint_count == 0)
    status = trb_fail(err, TRB_PEER, "keys/hub.keyset names no address of the hub");
  return status;
}

/* ---- opening ---- */

static enum trb_status check_folder(const char *dir, struct trb_error *err) {
  const char *name = NULL;
  struct stat st;
  if (stat(dir, &st) != 0 || !S_ISDIR(st.st_mode)) return trb_fail(err, TRB_ABSENT, "%s is not a directory", dir);
  if (file_on_network(dir, &name))
    return trb_fail(err, TRB_DENIED,
                    "%s is on a network file system (%s), where SQLite's locks do not hold: use a local disk", dir,
                    name);
  return TRB_OK;
}

static enum trb_status load_conf(struct node *node, struct trb_error *err) {
  enum trb_status status = conf_load(node->dir, &node->conf, err);
  if (status == TRB_ABSENT)
    return trb_fail(err, TRB_ABSENT, "%s is not a node yet: run `tributary branch join %s TOKEN`", node->dir,
                    node->dir);
  if (status == TRB_OK && node->conf.role != TRB_ROLE_BRANCH)
    status = trb_fail(err, TRB_PEER, "%s is not a branch", node->dir);
  if (status == TRB_OK && !trb_site_valid(trb_slice_str(node->conf.site)))
    status = trb_fail(err, TRB_PEER, "%s/node.ini: the site's name is damaged", node->dir);
  return status;
}

static enum trb_status open_stores(struct node *node, struct trb_error *err) {
  bool lost = false;
  enum trb_status status = outbox_open(node->dir, node_wall_ms(), &node->outbox, &lost, err);
  if (status == TRB_OK && lost)
    node_log(3, "outbox.db was missing or damaged; a new one was made, all rows are sent again in a new stream");
  if (status == TRB_OK) status = replica_open(node->dir, &node->replica, err);
  return status;
}

enum trb_status node_open(const char *dir, struct node *node, struct trb_error *err) {
  memset(node, 0, sizeof *node);
  node->lock_fd = node->inotify_fd = node->timer_fd = node->signal_fd = -1;
  if ((size_t)snprintf(node->dir, sizeof node->dir, "%s", dir) >= sizeof node->dir)
    return trb_fail(err, TRB_PEER, "the path of the directory is too long");
  struct node_keys keys;
  enum trb_status status = check_folder(dir, err);
  if (status == TRB_OK) status = load_conf(node, err);
  if (status == TRB_OK) status = file_lock(dir, &node->lock_fd, err);
  if (status == TRB_OK) status = node_load_keyset(node, err);
  if (status == TRB_OK) status = node_load_keys(dir, "", &keys, err);
  if (status == TRB_OK) status = open_stores(node, err);
  if (status == TRB_OK) status = node_use_keys(node, &keys, err);
  crypto_wipe(&keys, sizeof keys);
  node->sealing.replica = node->replica.db;
  node->sealing.outbox = node->outbox;
  node->sealing.catalogue = node->replica.catalogue;
  node->sealing.site = node->conf.site;
  node->sealing.schema_version = -1;
  node->due = (struct node_due){INT64_MAX, INT64_MAX, INT64_MAX, INT64_MAX, INT64_MAX};
  if (status != TRB_OK) node_close(node);
  return status;
}

void node_close(struct node *node) {
  seal_forget(&node->sealing);
  replica_close(&node->replica);
  outbox_close(&node->outbox);
  crypto_signer_free(&node->signer);
  crypto_wipe(&node->keys, sizeof node->keys);
  if (node->lock_fd >= 0) close(node->lock_fd);
  node->lock_fd = -1;
}
