/* envelope: [payload bin, signature bin], the form of what the hub signs (acks, keysets). Pure. */
#ifndef TRIBUTARY_COMMON_ENVELOPE_H
#define TRIBUTARY_COMMON_ENVELOPE_H

#include "tributary/crypto.h"
#include "tributary/mp.h"

static inline void envelope_seal(const struct trb_buf *payload, const struct crypto_signer *signer, const char *domain,
                                 struct trb_buf *out) {
  uint8_t signature[TRB_SIGNATURE_BYTES];
  crypto_sign(signer, domain, trb_buf_slice(payload), signature);
  mp_put_array(out, 2);
  mp_put_bin(out, trb_buf_slice(payload));
  mp_put_bin(out, trb_slice_of(signature, sizeof signature));
  if (payload->failed) out->failed = true;
}

/* The payload, checked to be one msgpack value. PEER: no envelope; DENIED: not signed by `public_key`. */
static inline enum trb_status envelope_open(struct trb_slice sealed, const uint8_t public_key[TRB_KEY_BYTES],
                                            const char *domain, struct trb_slice *ret) {
  struct mp_reader r = mp_reader(sealed);
  size_t items = mp_get_array(&r);
  struct trb_slice payload = mp_get_bin(&r), signature = mp_get_bin(&r);
  if (r.failed || items != 2 || !mp_at_end(&r) || signature.len != TRB_SIGNATURE_BYTES) return TRB_PEER;
  if (!crypto_verify(public_key, domain, payload, signature.data)) return TRB_DENIED;
  if (mp_check(payload, NULL)) return TRB_PEER;
  *ret = payload;
  return TRB_OK;
}

#endif
