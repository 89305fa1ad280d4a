/* crypto: see include/tributary/crypto.h.
 *
 * OpenSSL 3 looks an algorithm up by name on every use unless it was fetched: SHA-256 is fetched once and each thread
 * keeps one digest context. What can only fail for want of memory or by a broken library stops the program: a hash or
 * a signature that is not there must never be mistaken for one. */
#include "tributary/crypto.h"

#include <errno.h>
#include <openssl/crypto.h>
#include <openssl/evp.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>

struct crypto_signer {
  EVP_PKEY *key; /* owned */
  uint8_t public_key[TRB_KEY_BYTES];
};

static pthread_once_t once = PTHREAD_ONCE_INIT;
static pthread_key_t context_key;
static EVP_MD *sha256; /* fetched once, for the life of the process */
static _Thread_local EVP_MD_CTX *context;

static void free_context(void *p) { EVP_MD_CTX_free(p); }

static void start(void) {
  sha256 = EVP_MD_fetch(NULL, "SHA256", NULL);
  TRB_ASSERT(sha256 != NULL);
  TRB_ASSERT(pthread_key_create(&context_key, free_context) == 0);
}

static EVP_MD_CTX *thread_context(void) {
  if (context) return context;
  TRB_ASSERT(pthread_once(&once, start) == 0);
  context = EVP_MD_CTX_new();
  TRB_ASSERT(context != NULL);
  pthread_setspecific(context_key, context); /* only for its destructor */
  return context;
}

void crypto_hash2(struct trb_slice a, struct trb_slice b, uint8_t ret[TRB_HASH_BYTES]) {
  EVP_MD_CTX *ctx = thread_context();
  TRB_ASSERT(EVP_DigestInit_ex2(ctx, sha256, NULL) == 1);
  TRB_ASSERT(!a.len || EVP_DigestUpdate(ctx, a.data, a.len) == 1);
  TRB_ASSERT(!b.len || EVP_DigestUpdate(ctx, b.data, b.len) == 1);
  TRB_ASSERT(EVP_DigestFinal_ex(ctx, ret, NULL) == 1);
}

void crypto_hash(struct trb_slice data, uint8_t ret[TRB_HASH_BYTES]) { crypto_hash2(data, trb_slice_of(NULL, 0), ret); }

struct crypto_hasher {
  EVP_MD_CTX *ctx;
};

struct crypto_hasher *crypto_hasher_new(void) {
  struct crypto_hasher *hasher = calloc(1, sizeof *hasher);
  if (hasher) hasher->ctx = EVP_MD_CTX_new();
  if (hasher && hasher->ctx && EVP_DigestInit_ex(hasher->ctx, EVP_sha256(), NULL) == 1) return hasher;
  crypto_hasher_end(&hasher, NULL);
  return NULL;
}

void crypto_hasher_add(struct crypto_hasher *hasher, struct trb_slice data) {
  TRB_ASSERT(!data.len || EVP_DigestUpdate(hasher->ctx, data.data, data.len) == 1);
}

void crypto_hasher_end(struct crypto_hasher **hasher_p, uint8_t ret[TRB_HASH_BYTES]) {
  struct crypto_hasher *hasher = *hasher_p;
  *hasher_p = NULL;
  if (!hasher) return;
  if (ret) TRB_ASSERT(EVP_DigestFinal_ex(hasher->ctx, ret, NULL) == 1);
  EVP_MD_CTX_free(hasher->ctx);
  free(hasher);
}

void crypto_random(void *ret, size_t len) {
  uint8_t *at = ret;
  while (len) {
    ssize_t got = getrandom(at, len, 0);
    TRB_ASSERT(got > 0 || errno == EINTR);
    if (got > 0) at += got, len -= (size_t)got;
  }
}

bool crypto_equal(const void *a, const void *b, size_t len) { return CRYPTO_memcmp(a, b, len) == 0; }
void crypto_wipe(void *p, size_t len) { OPENSSL_cleanse(p, len); }

static void free_pkey(EVP_PKEY **key_p) { EVP_PKEY_free(*key_p); }
#define PKEY_AUTO __attribute__((cleanup(free_pkey))) EVP_PKEY

static void raw_public(const EVP_PKEY *key, uint8_t ret[TRB_KEY_BYTES]) {
  size_t len = TRB_KEY_BYTES;
  TRB_ASSERT(EVP_PKEY_get_raw_public_key(key, ret, &len) == 1 && len == TRB_KEY_BYTES);
}

/* Both Ed25519 and X25519 take any 32 random bytes as a private key. */
static void keypair(int type, uint8_t ret_public[TRB_KEY_BYTES], uint8_t ret_private[TRB_KEY_BYTES]) {
  crypto_random(ret_private, TRB_KEY_BYTES);
  PKEY_AUTO *key = EVP_PKEY_new_raw_private_key(type, NULL, ret_private, TRB_KEY_BYTES);
  TRB_ASSERT(key != NULL);
  raw_public(key, ret_public);
}

void crypto_sign_keypair(uint8_t ret_public[TRB_KEY_BYTES], uint8_t ret_seed[TRB_KEY_BYTES]) {
  keypair(EVP_PKEY_ED25519, ret_public, ret_seed);
}

void crypto_curve_keypair(uint8_t ret_public[TRB_KEY_BYTES], uint8_t ret_secret[TRB_KEY_BYTES]) {
  keypair(EVP_PKEY_X25519, ret_public, ret_secret);
}

bool crypto_curve_public(const uint8_t secret[TRB_KEY_BYTES], uint8_t ret_public[TRB_KEY_BYTES]) {
  PKEY_AUTO *key = EVP_PKEY_new_raw_private_key(EVP_PKEY_X25519, NULL, secret, TRB_KEY_BYTES);
  if (!key) return false;
  raw_public(key, ret_public);
  return true;
}

enum trb_status crypto_signer_new(const uint8_t seed[TRB_KEY_BYTES], struct crypto_signer **ret,
                                  struct trb_error *err) {
  struct crypto_signer *signer = calloc(1, sizeof *signer);
  if (signer) signer->key = EVP_PKEY_new_raw_private_key(EVP_PKEY_ED25519, NULL, seed, TRB_KEY_BYTES);
  if (!signer || !signer->key) {
    free(signer);
    return trb_fail(err, TRB_NOMEM, "The signing key cannot be loaded: out of memory.");
  }
  raw_public(signer->key, signer->public_key);
  *ret = signer;
  return TRB_OK;
}

void crypto_signer_free(struct crypto_signer **signer_p) {
  struct crypto_signer *signer = *signer_p;
  *signer_p = NULL;
  if (!signer) return;
  EVP_PKEY_free(signer->key); /* OpenSSL wipes the private key */
  free(signer);
}

const uint8_t *crypto_signer_public(const struct crypto_signer *signer) { return signer->public_key; }

/* Ed25519 in OpenSSL takes its message in one piece. What is signed is a header of some hundred bytes. */
struct message {
  uint8_t *bytes; /* small, or owned */
  size_t len;
  uint8_t small[2048];
};

static bool message_make(struct message *m, const char *domain, struct trb_slice data) {
  size_t domain_len = strlen(domain) + 1;
  m->len = domain_len + data.len;
  m->bytes = m->len <= sizeof m->small ? m->small : malloc(m->len);
  if (!m->bytes) return false;
  memcpy(m->bytes, domain, domain_len);
  if (data.len) memcpy(m->bytes + domain_len, data.data, data.len);
  return true;
}

static void message_done(struct message *m) {
  if (m->bytes != m->small) free(m->bytes);
}

static void free_ctx(EVP_MD_CTX **ctx_p) { EVP_MD_CTX_free(*ctx_p); }
#define CTX_AUTO __attribute__((cleanup(free_ctx))) EVP_MD_CTX

void crypto_sign(const struct crypto_signer *signer, const char *domain, struct trb_slice data,
                 uint8_t ret[TRB_SIGNATURE_BYTES]) {
  struct message m;
  TRB_ASSERT(message_make(&m, domain, data));
  CTX_AUTO *ctx = EVP_MD_CTX_new();
  size_t len = TRB_SIGNATURE_BYTES;
  TRB_ASSERT(ctx && EVP_DigestSignInit(ctx, NULL, NULL, NULL, signer->key) == 1);
  TRB_ASSERT(EVP_DigestSign(ctx, ret, &len, m.bytes, m.len) == 1 && len == TRB_SIGNATURE_BYTES);
  message_done(&m);
}

bool crypto_verify(const uint8_t public_key[TRB_KEY_BYTES], const char *domain, struct trb_slice data,
                   const uint8_t signature[TRB_SIGNATURE_BYTES]) {
  PKEY_AUTO *key = EVP_PKEY_new_raw_public_key(EVP_PKEY_ED25519, NULL, public_key, TRB_KEY_BYTES);
  CTX_AUTO *ctx = EVP_MD_CTX_new();
  struct message m;
  /* Out of memory is not 'forged': that would end the stream of a site that did nothing wrong. */
  TRB_ASSERT(key && ctx && message_make(&m, domain, data));
  bool ok = EVP_DigestVerifyInit(ctx, NULL, NULL, NULL, key) == 1 &&
            EVP_DigestVerify(ctx, signature, TRB_SIGNATURE_BYTES, m.bytes, m.len) == 1;
  message_done(&m);
  return ok;
}
