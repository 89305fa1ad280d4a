/* hubkeys: see hubkeys.h. */
#include "hubkeys.h"

#include <errno.h>
#include <limits.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

enum { KEYSET_BYTES_MAX = 4096 };

static void key_path(const char *dir, const char *name, char ret[PATH_MAX]) {
  snprintf(ret, PATH_MAX, "%s/keys/%s", dir, name);
}

static enum trb_status read_key(const char *dir, const char *name, uint8_t ret[TRB_KEY_BYTES], struct trb_error *err) {
  char path[PATH_MAX];
  TRB_BUF_AUTO bytes = {0};
  key_path(dir, name, path);
  enum trb_status status = file_read(path, TRB_KEY_BYTES + 1, &bytes, err);
  if (status == TRB_OK && bytes.len != TRB_KEY_BYTES)
    status = trb_fail(err, TRB_STORE, "%s is damaged (it must hold %d bytes): restore it from its copy", path,
                      TRB_KEY_BYTES);
  if (status == TRB_OK) memcpy(ret, bytes.data, TRB_KEY_BYTES);
  if (bytes.len) crypto_wipe(bytes.data, bytes.len);
  return status;
}

static enum trb_status write_file(const char *dir, const char *name, struct trb_slice bytes, struct trb_error *err) {
  char path[PATH_MAX];
  key_path(dir, name, path);
  return file_write(path, bytes, err);
}

static bool exists(const char *dir, const char *name) {
  char path[PATH_MAX];
  key_path(dir, name, path);
  return access(path, F_OK) == 0;
}

static enum trb_status read_signer(const char *dir, const char *name, struct crypto_signer **ret,
                                   struct trb_error *err) {
  uint8_t seed[TRB_KEY_BYTES];
  enum trb_status status = read_key(dir, name, seed, err);
  if (status == TRB_OK) status = crypto_signer_new(seed, ret, err);
  crypto_wipe(seed, sizeof seed);
  return status;
}

static void set_endpoints(const struct trb_conf *conf, struct trb_keyset *set) {
  set->endpoint_count = 0;
  const char *at = conf->advertise[0] ? conf->advertise : conf->listen;
  while (*at && set->endpoint_count < TRB_ENDPOINTS_MAX) {
    size_t len = strcspn(at, ", ");
    if (len > TRB_ENDPOINT_BYTES_MAX) len = TRB_ENDPOINT_BYTES_MAX;
    if (len) {
      memcpy(set->endpoints[set->endpoint_count], at, len);
      set->endpoints[set->endpoint_count++][len] = 0;
    }
    at += len;
    at += strspn(at, ", ");
  }
}

static enum trb_status seal_keyset(const char *dir, const struct trb_keyset *set, struct trb_error *err) {
  struct crypto_signer *root = NULL;
  TRB_BUF_AUTO sealed = {0};
  enum trb_status status = read_signer(dir, "root", &root, err);
  if (status != TRB_OK) return status;
  keyset_seal(set, root, &sealed);
  crypto_signer_free(&root);
  if (sealed.failed) return trb_fail(err, TRB_NOMEM, "out of memory");
  return write_file(dir, "keyset", trb_buf_slice(&sealed), err);
}

enum trb_status hubkeys_make(const char *dir, const struct trb_conf *conf, struct trb_error *err) {
  char path[PATH_MAX];
  snprintf(path, sizeof path, "%s/keys", dir);
  if (mkdir(path, 0700) != 0 && errno != EEXIST) return trb_fail(err, TRB_STORE, "cannot make %s: %m", path);
  uint8_t secret[3][TRB_KEY_BYTES];
  struct trb_keyset set = {.version = 1};
  crypto_sign_keypair(set.root_public, secret[0]);
  crypto_sign_keypair(set.sign_public, secret[1]);
  crypto_curve_keypair(set.curve_public, secret[2]);
  set_endpoints(conf, &set);
  static const char *const names[] = {"root", "sign", "curve"};
  enum trb_status status = TRB_OK;
  for (int i = 0; status == TRB_OK && i < 3; i++)
    status = write_file(dir, names[i], trb_slice_of(secret[i], TRB_KEY_BYTES), err);
  crypto_wipe(secret, sizeof secret);
  if (status == TRB_OK) status = write_file(dir, "root.pub", trb_slice_of(set.root_public, TRB_KEY_BYTES), err);
  return status == TRB_OK ? seal_keyset(dir, &set, err) : status;
}

static enum trb_status read_keyset(const char *dir, struct hub_keys *keys, struct trb_error *err) {
  char path[PATH_MAX];
  uint8_t root[TRB_KEY_BYTES];
  trb_buf_clear(&keys->sealed);
  key_path(dir, "keyset", path);
  enum trb_status status = read_key(dir, "root.pub", root, err);
  if (status == TRB_OK) status = file_read(path, KEYSET_BYTES_MAX, &keys->sealed, err);
  if (status != TRB_OK) return status;
  status = keyset_open(trb_buf_slice(&keys->sealed), root, &keys->set, NULL);
  return status == TRB_OK ? status : trb_fail(err, TRB_STORE, "%s is damaged: restore it from its copy", path);
}

static enum trb_status fresh_endpoints(const char *dir, const struct trb_conf *conf, struct hub_keys *keys,
                                       struct trb_error *err) {
  struct trb_keyset wanted = keys->set;
  memset(wanted.endpoints, 0, sizeof wanted.endpoints);
  set_endpoints(conf, &wanted);
  bool same = wanted.endpoint_count == keys->set.endpoint_count;
  for (size_t i = 0; same && i < wanted.endpoint_count; i++)
    same = strcmp(wanted.endpoints[i], keys->set.endpoints[i]) == 0;
  if (same || !exists(dir, "root")) return TRB_OK;
  wanted.version++;
  enum trb_status status = seal_keyset(dir, &wanted, err);
  return status == TRB_OK ? read_keyset(dir, keys, err) : status;
}

static enum trb_status read_accepted(const char *dir, struct hub_keys *keys, struct trb_error *err) {
  memcpy(keys->accepted.sign_public[0], crypto_signer_public(keys->sign), TRB_KEY_BYTES);
  keys->accepted.count = 1;
  if (!exists(dir, "sign-previous")) return TRB_OK;
  char path[PATH_MAX];
  TRB_BUF_AUTO bytes = {0};
  key_path(dir, "sign-previous", path);
  enum trb_status status = file_read(path, (size_t)1 << 16, &bytes, err);
  if (status != TRB_OK) return status;
  if (bytes.len % TRB_KEY_BYTES) return trb_fail(err, TRB_STORE, "%s is damaged: restore it from its copy", path);
  for (size_t i = 0; i < bytes.len / TRB_KEY_BYTES && keys->accepted.count < JOB_SIGN_KEYS; i++)
    memcpy(keys->accepted.sign_public[keys->accepted.count++], bytes.data + i * TRB_KEY_BYTES, TRB_KEY_BYTES);
  return TRB_OK;
}

enum trb_status hubkeys_load(const char *dir, const struct trb_conf *conf, struct hub_keys *ret,
                             struct trb_error *err) {
  struct hub_keys keys = {0};
  enum trb_status status = read_key(dir, "curve", keys.curve_secret, err);
  if (status == TRB_OK) status = read_signer(dir, "sign", &keys.sign, err);
  if (status == TRB_OK) status = read_keyset(dir, &keys, err);
  if (status == TRB_OK && memcmp(keys.set.sign_public, crypto_signer_public(keys.sign), TRB_KEY_BYTES) != 0)
    status =
        trb_fail(err, TRB_STORE, "%s/keys/sign does not belong to keys/keyset: restore both from their copies", dir);
  if (status == TRB_OK) status = fresh_endpoints(dir, conf, &keys, err);
  if (status == TRB_OK) status = read_accepted(dir, &keys, err);
  if (status != TRB_OK) {
    hubkeys_free(&keys);
    return status;
  }
  *ret = keys;
  return TRB_OK;
}

void hubkeys_free(struct hub_keys *keys) {
  crypto_signer_free(&keys->sign);
  crypto_wipe(keys->curve_secret, sizeof keys->curve_secret);
  trb_buf_free(&keys->sealed);
  *keys = (struct hub_keys){0};
}

/* ---- rotation ---- */

static enum trb_status announce(const char *dir, const struct hub_keys *old, struct trb_error *err) {
  struct trb_keyset set = old->set;
  uint8_t sign[TRB_KEY_BYTES], curve[TRB_KEY_BYTES];
  TRB_BUF_AUTO previous = {0};
  for (size_t i = 0; i < old->accepted.count; i++) /* the current one first */
    trb_buf_append(&previous, old->accepted.sign_public[i], TRB_KEY_BYTES);
  if (previous.failed) return trb_fail(err, TRB_NOMEM, "out of memory");
  crypto_sign_keypair(set.sign_public, sign);
  crypto_curve_keypair(set.curve_next, curve);
  set.has_next = true;
  set.version++;
  enum trb_status status = write_file(dir, "sign-previous", trb_buf_slice(&previous), err);
  if (status == TRB_OK) status = write_file(dir, "curve-next", trb_slice_of(curve, sizeof curve), err);
  if (status == TRB_OK) status = write_file(dir, "sign", trb_slice_of(sign, sizeof sign), err);
  if (status == TRB_OK) status = seal_keyset(dir, &set, err);
  crypto_wipe(sign, sizeof sign);
  crypto_wipe(curve, sizeof curve);
  return status;
}

static enum trb_status serve_next(const char *dir, const struct hub_keys *old, struct trb_error *err) {
  uint8_t curve[TRB_KEY_BYTES];
  struct trb_keyset set = old->set;
  memcpy(set.curve_public, set.curve_next, TRB_KEY_BYTES);
  set.has_next = false;
  memset(set.curve_next, 0, sizeof set.curve_next);
  set.version++;
  enum trb_status status = read_key(dir, "curve-next", curve, err);
  if (status == TRB_OK) status = write_file(dir, "curve", trb_slice_of(curve, sizeof curve), err);
  if (status == TRB_OK) status = seal_keyset(dir, &set, err);
  char path[PATH_MAX];
  key_path(dir, "curve-next", path);
  if (status == TRB_OK) unlink(path);
  crypto_wipe(curve, sizeof curve);
  return status;
}

enum trb_status hubkeys_rotate(const char *dir, const struct trb_conf *conf, bool *ret_switched,
                               struct trb_error *err) {
  struct hub_keys old;
  if (!exists(dir, "root"))
    return trb_fail(err, TRB_ABSENT, "%s/keys/root is not there: bring it back for the rotation, it signs the new keys",
                    dir);
  enum trb_status status = hubkeys_load(dir, conf, &old, err);
  if (status != TRB_OK) return status;
  *ret_switched = old.set.has_next;
  status = old.set.has_next ? serve_next(dir, &old, err) : announce(dir, &old, err);
  hubkeys_free(&old);
  return status;
}
