/* crypto: hashes, signatures, random, key pairs. The OpenSSL room (common/crypto.c). Pure except crypto_random. Any
 * thread. */
#ifndef TRIBUTARY_CRYPTO_H
#define TRIBUTARY_CRYPTO_H

#include "tributary/base.h"

#define TRB_HASH_BYTES 32      /* SHA-256 */
#define TRB_SIGNATURE_BYTES 64 /* Ed25519, RFC 8032 */
#define TRB_KEY_BYTES 32       /* Ed25519 seed or public key, X25519 = CURVE secret or public key */

void crypto_hash(struct trb_slice data, uint8_t ret[TRB_HASH_BYTES]);
void crypto_hash2(struct trb_slice a, struct trb_slice b, uint8_t ret[TRB_HASH_BYTES]); /* of a followed by b */
/* The same over bytes that come in pieces. */
struct crypto_hasher;
struct crypto_hasher *crypto_hasher_new(void); /* NULL: no memory */
void crypto_hasher_add(struct crypto_hasher *hasher, struct trb_slice data);
void crypto_hasher_end(struct crypto_hasher **hasher_p,
                       uint8_t ret[TRB_HASH_BYTES]);         /* takes and nulls; ret may be NULL */
void crypto_random(void *ret, size_t len);                   /* the kernel's generator; failure is a bug (abort) */
bool crypto_equal(const void *a, const void *b, size_t len); /* constant time */
void crypto_wipe(void *p, size_t len);

/* Ed25519. A signer holds the parsed private key: signing many batches does not parse it again. */
struct crypto_signer;
void crypto_sign_keypair(uint8_t ret_public[TRB_KEY_BYTES], uint8_t ret_seed[TRB_KEY_BYTES]);
enum trb_status crypto_signer_new(const uint8_t seed[TRB_KEY_BYTES], struct crypto_signer **ret, struct trb_error *err);
void crypto_signer_free(struct crypto_signer **signer_p);
const uint8_t *crypto_signer_public(const struct crypto_signer *signer); /* 32 bytes, borrowed */
/* Signs domain || data; `domain` is a fixed text ended by its NUL (included), so that a signature for one use never
 * serves another. */
void crypto_sign(const struct crypto_signer *signer, const char *domain, struct trb_slice data,
                 uint8_t ret[TRB_SIGNATURE_BYTES]);
bool crypto_verify(const uint8_t public_key[TRB_KEY_BYTES], const char *domain, struct trb_slice data,
                   const uint8_t signature[TRB_SIGNATURE_BYTES]);

/* X25519 key pair, valid as a CURVE key pair (raw 32 bytes each; Z85 is only ZeroMQ's text form). */
void crypto_curve_keypair(uint8_t ret_public[TRB_KEY_BYTES], uint8_t ret_secret[TRB_KEY_BYTES]);
bool crypto_curve_public(const uint8_t secret[TRB_KEY_BYTES], uint8_t ret_public[TRB_KEY_BYTES]);

#endif
