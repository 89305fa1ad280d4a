/* token: the invitation (one line of text) and the keyset (what the hub's signing root certifies). Pure, any thread. */
#ifndef TRIBUTARY_TOKEN_H
#define TRIBUTARY_TOKEN_H

#include "tributary/crypto.h"

#define TRB_TOKEN_CHARS_MAX 1024
#define TRB_ENDPOINTS_MAX 4
#define TRB_ENDPOINT_BYTES_MAX 120

/* Certified by the root: CURVE keys of the hub (current, and next during a rotation), its signing key for acks, its
 * endpoints. */
struct trb_keyset {
  uint64_t version; /* a higher one replaces a lower */
  uint8_t root_public[TRB_KEY_BYTES];
  uint8_t sign_public[TRB_KEY_BYTES]; /* signs acks and the hub's own batches */
  uint8_t curve_public[TRB_KEY_BYTES];
  bool has_next;
  uint8_t curve_next[TRB_KEY_BYTES];
  size_t endpoint_count;
  char endpoints[TRB_ENDPOINTS_MAX][TRB_ENDPOINT_BYTES_MAX + 1]; /* tcp://host:port */
};
void keyset_seal(const struct trb_keyset *keyset, const struct crypto_signer *root, struct trb_buf *out);
/* TRB_DENIED when it is not signed by `root_public`. */
enum trb_status keyset_open(struct trb_slice sealed, const uint8_t root_public[TRB_KEY_BYTES], struct trb_keyset *ret,
                            struct trb_error *err);

struct trb_token {
  uint8_t root_public[TRB_KEY_BYTES];
  uint8_t curve_public[TRB_KEY_BYTES]; /* to connect to; the keyset that follows must be signed by the root */
  uint8_t invitation[16];
  uint8_t secret[32];
  char site[33];
  int64_t expires_ms;
  size_t endpoint_count;
  char endpoints[TRB_ENDPOINTS_MAX][TRB_ENDPOINT_BYTES_MAX + 1];
};
/* "trb1." + base64url(msgpack || first 4 bytes of its SHA-256): a mistyped character is noticed before anything is
 * sent. */
void token_encode(const struct trb_token *token, struct trb_buf *out);
/* Leading and trailing white space allowed. TRB_PEER says what is wrong (not a token, cut short, mistyped). Does not
 * look at the clock. */
enum trb_status token_decode(struct trb_slice text, struct trb_token *ret, struct trb_error *err);

#endif
