/* fuzz_token: any text as an invitation, with and without a right checksum, and any payload as a signed keyset. */
#include "codec_fixture.h"
#include "tributary/mp.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void decode(struct trb_slice text) {
  struct trb_token token, again;
  struct trb_error err = {0};
  enum trb_status status = token_decode(text, &token, &err);
  TRB_ASSERT(status == TRB_OK || (status == TRB_PEER && err.text[0]));
  if (status) return;
  TRB_BUF_AUTO made = {0};
  token_encode(&token, &made);
  TRB_ASSERT(token_decode(trb_buf_slice(&made), &again, &err) == TRB_OK && strcmp(token.site, again.site) == 0);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
  static struct crypto_signer *root;
  if (!root) root = fixture_signer(FIXTURE_ROOT_SEED);
  struct trb_slice bytes = trb_slice_of(data, size);
  decode(bytes);
  uint8_t hash[TRB_HASH_BYTES], signature[TRB_SIGNATURE_BYTES];
  TRB_BUF_AUTO payload = {0};
  TRB_BUF_AUTO text = {0};
  crypto_hash(bytes, hash);
  trb_buf_append_slice(&payload, bytes);
  trb_buf_append(&payload, hash, 4);
  trb_buf_append_str(&text, "trb1.");
  trb_base64url(trb_buf_slice(&payload), &text);
  decode(trb_buf_slice(&text));
  struct trb_keyset keyset;
  TRB_BUF_AUTO sealed = {0};
  keyset_open(bytes, crypto_signer_public(root), &keyset, NULL);
  crypto_sign(root, "tributary keyset v1", bytes, signature);
  mp_put_array(&sealed, 2);
  mp_put_bin(&sealed, bytes);
  mp_put_bin(&sealed, trb_slice_of(signature, sizeof signature));
  keyset_open(trb_buf_slice(&sealed), crypto_signer_public(root), &keyset, NULL);
  return 0;
}
