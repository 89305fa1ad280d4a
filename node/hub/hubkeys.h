/* hubkeys: headquarters' keys in DIR/keys (0700, files 0600): root (certifies the others; may be kept elsewhere between
 * rotations), sign (acks and headquarters' own batches), sign-previous (public halves of earlier ones), curve,
 * curve-next (announced, not yet served), keyset (what the root signed).
 *
 * Loaded once; the struct is the net thread's, the writer holds its own signer. */
#ifndef TRIBUTARY_HUB_HUBKEYS_H
#define TRIBUTARY_HUB_HUBKEYS_H

#include "tributary/conf.h"
#include "tributary/token.h"
#include "worker.h"

struct hub_keys {
  uint8_t curve_secret[TRB_KEY_BYTES];
  struct trb_keyset set;
  struct trb_buf sealed;       /* the keyset as it is sent */
  struct crypto_signer *sign;  /* owned */
  struct worker_keys accepted; /* signing keys of acks that are believed, current first */
};
/* New keys for a new hub. DIR must exist. */
enum trb_status hubkeys_make(const char *dir, const struct trb_conf *conf, struct trb_error *err);
/* A damaged or missing file is named. A keyset whose endpoints are not node.ini's is sealed anew when the root is
 * there. */
enum trb_status hubkeys_load(const char *dir, const struct trb_conf *conf, struct hub_keys *ret, struct trb_error *err);
void hubkeys_free(struct hub_keys *keys);
/* First call: a new signing key from now on, the next CURVE key announced. Second call: the next CURVE key becomes the
 * one served
 * (*ret_switched). The struct is not changed: load again. */
enum trb_status hubkeys_rotate(const char *dir, const struct trb_conf *conf, bool *ret_switched, struct trb_error *err);

#endif
