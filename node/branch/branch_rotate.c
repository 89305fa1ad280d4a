/* branch_rotate: new CURVE and signing keys of this branch. See node.h.
 *
 * 1. New keys are written beside the old (keys/sign.next, keys/curve.next) and synced. Nothing more is sealed.
 * 2. When everything sealed is acknowledged, ROTATE goes out, signed by the old and the new signing key.
 * 3. On ROTATED the new files take the old ones' names (the signing key last) and sealing goes on with them.
 * After a crash the .next files say that a rotation is under way. The hub may have taken the new keys without our
 * hearing of it: when it does not let the old ones in, the new ones are tried. */
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "node.h"

enum trb_status rotate_begin(struct node *node, struct trb_error *err) {
  struct node_keys next;
  enum trb_status status = node_load_keys(node->dir, ".next", &next, NULL);
  if (status != TRB_OK) status = node_make_keys(node->dir, ".next", &next, err);
  crypto_wipe(&next, sizeof next);
  node->rotating |= status == TRB_OK;
  node->rotate_sent = node->rotate_tried = false;
  return status;
}

static enum trb_status rename_key(struct node *node, const char *from, const char *to, struct trb_error *err) {
  char a[NODE_PATH_MAX], b[NODE_PATH_MAX];
  enum trb_status status = node_path(node->dir, from, a, err);
  if (status == TRB_OK) status = node_path(node->dir, to, b, err);
  if (status == TRB_OK && rename(a, b) != 0 && access(a, F_OK) == 0)
    status = trb_fail(err, TRB_STORE, "cannot rename %s: %m", a);
  return status;
}

/* A crash between the two renames leaves sign.next alone: rotate_run then goes on with it. */
enum trb_status rotate_confirmed(struct node *node, struct trb_error *err) {
  struct node_keys keys;
  enum trb_status status = rename_key(node, "keys/curve.next", "keys/curve", err);
  if (status == TRB_OK) status = rename_key(node, "keys/sign.next", "keys/sign", err);
  if (status == TRB_OK) status = node_load_keys(node->dir, "", &keys, err);
  if (status == TRB_OK) status = node_use_keys(node, &keys, err);
  if (status != TRB_OK) return status;
  crypto_wipe(&keys, sizeof keys);
  node->rotating = node->on_next_keys = false;
  node_log(5, "this branch has new keys; headquarters knows them");
  line_stop(node); /* the CURVE key belongs to the connection */
  node->due.look = seal_now_us();
  return line_start(node, err);
}

static enum trb_status send_rotate(struct node *node, struct trb_error *err) {
  struct node_keys next;
  struct crypto_signer *signer = NULL;
  struct wire_rotate rotate;
  TRB_BUF_AUTO covered = {0};
  enum trb_status status = node_load_keys(node->dir, ".next", &next, err);
  if (status == TRB_OK) status = crypto_signer_new(next.sign_seed, &signer, err);
  if (status != TRB_OK) return status;
  memcpy(rotate.curve_public, next.curve_public, TRB_KEY_BYTES);
  memcpy(rotate.sign_public, next.sign_public, TRB_KEY_BYTES);
  wire_rotate_signed(&rotate, &covered);
  crypto_sign(node->signer, TRB_DOMAIN_ROTATE, trb_buf_slice(&covered), rotate.signature_old);
  crypto_sign(signer, TRB_DOMAIN_ROTATE, trb_buf_slice(&covered), rotate.signature_new);
  uplink_rotate(node->uplink, &rotate);
  crypto_signer_free(&signer);
  crypto_wipe(&next, sizeof next);
  return TRB_OK;
}

/* The hub knows only one of the two pairs: the other one is tried when one is not let in. */
static enum trb_status try_other_keys(struct node *node, struct trb_error *err) {
  struct node_keys keys;
  enum trb_status status = node_load_keys(node->dir, node->on_next_keys ? "" : ".next", &keys, err);
  if (status == TRB_OK) status = node_use_keys(node, &keys, err);
  crypto_wipe(&keys, sizeof keys);
  if (status != TRB_OK) return status;
  node->on_next_keys = !node->on_next_keys;
  line_stop(node);
  return line_start(node, err);
}

/* curve.next was renamed already, sign.next not: the hub had confirmed. */
static bool half_renamed(struct node *node) {
  char curve[NODE_PATH_MAX], sign[NODE_PATH_MAX];
  if (node_path(node->dir, "keys/curve.next", curve, NULL) != TRB_OK) return false;
  if (node_path(node->dir, "keys/sign.next", sign, NULL) != TRB_OK) return false;
  return access(sign, F_OK) == 0 && access(curve, F_OK) != 0;
}

enum trb_status rotate_run(struct node *node, struct trb_error *err) {
  struct uplink_status line;
  const struct outbox_state *s = &node->outbox->state;
  if (!node->rotating) return TRB_OK;
  uplink_status(node->uplink, &line);
  if (half_renamed(node)) return rotate_confirmed(node, err);
  if (node->on_next_keys && line.state == UPLINK_ONLINE) return rotate_confirmed(node, err);
  if (line.state == UPLINK_REFUSED && !node->rotate_tried) {
    node->rotate_tried = true; /* once a start: two refusals are a revocation */
    return try_other_keys(node, err);
  }
  if (node->rotate_sent || line.state != UPLINK_ONLINE || s->acked < s->sequence || s->want || s->baseline)
    return TRB_OK;
  node->rotate_sent = true;
  return send_rotate(node, err);
}
