/* crypto: against published vectors, and what must be refused. */
#include "tributary/crypto.h"

#include <pthread.h>
#include <setjmp.h>
#include <stdarg.h>
#include <string.h>

#include <cmocka.h>

static void expect_hex(const uint8_t *data, size_t len, const char *hex) {
  char text[200];
  trb_hex(data, len, text);
  assert_string_equal(text, hex);
}

static void hash_matches_fips_180(void **state) {
  (void)state;
  uint8_t hash[TRB_HASH_BYTES];
  crypto_hash(trb_slice_str("abc"), hash);
  expect_hex(hash, sizeof hash, "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad");
  crypto_hash2(trb_slice_str("a"), trb_slice_str("bc"), hash);
  expect_hex(hash, sizeof hash, "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad");
  crypto_hash(trb_slice_of(NULL, 0), hash);
  expect_hex(hash, sizeof hash, "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855");
}

/* RFC 8032, 7.1, TEST 2. Signatures have a domain before the data, so they are checked against python3-cryptography
 * (tests/integration/test_vectors.py) rather than against the published ones. */
static void signer_derives_the_public_key_of_rfc_8032(void **state) {
  (void)state;
  uint8_t seed[TRB_KEY_BYTES];
  struct crypto_signer *signer = NULL;
  assert_true(trb_unhex("4ccd089b28ff96da9db6c346ec114e0f5b8a319f35aba624da8cf6ed4fb8a6fb", seed, sizeof seed));
  assert_int_equal(crypto_signer_new(seed, &signer, NULL), TRB_OK);
  expect_hex(crypto_signer_public(signer), TRB_KEY_BYTES,
             "3d4017c3e843895a92b70aa74d1b7ebc9c982ccf2ec4968cc0cd55f12af4660c");
  crypto_signer_free(&signer);
  assert_null(signer);
  crypto_signer_free(&signer);
}

/* Expected value computed with python3-cryptography for the secret 01 02 .. 20. */
static void curve_public_matches_another_implementation(void **state) {
  (void)state;
  uint8_t secret[TRB_KEY_BYTES], public_key[TRB_KEY_BYTES];
  for (size_t i = 0; i < sizeof secret; i++) secret[i] = (uint8_t)(i + 1);
  assert_true(crypto_curve_public(secret, public_key));
  expect_hex(public_key, sizeof public_key, "07a37cbc142093c8b755dc1b10e86cb426374ad16aa853ed0bdfc0b2b86d1c7c");
}

static void verify_takes_only_its_key_domain_data_and_signature(void **state) {
  (void)state;
  uint8_t key[TRB_KEY_BYTES], seed[TRB_KEY_BYTES], other[TRB_KEY_BYTES], signature[TRB_SIGNATURE_BYTES];
  struct crypto_signer *signer = NULL;
  struct trb_slice data = trb_slice_str("data");
  crypto_sign_keypair(other, seed);
  crypto_sign_keypair(key, seed);
  assert_int_equal(crypto_signer_new(seed, &signer, NULL), TRB_OK);
  assert_memory_equal(crypto_signer_public(signer), key, TRB_KEY_BYTES);
  crypto_sign(signer, "domain", data, signature);
  assert_true(crypto_verify(key, "domain", data, signature));
  assert_false(crypto_verify(other, "domain", data, signature));
  assert_false(crypto_verify(key, "domaim", data, signature));
  assert_false(crypto_verify(key, "domain", trb_slice_str("datA"), signature));
  /* The domain's end is part of what is signed. */
  assert_false(crypto_verify(key, "domai", trb_slice_str("n\0data"), signature));
  for (size_t bit = 0; bit < 8 * sizeof signature; bit++) {
    signature[bit / 8] ^= (uint8_t)(1u << bit % 8);
    assert_false(crypto_verify(key, "domain", data, signature));
    signature[bit / 8] ^= (uint8_t)(1u << bit % 8);
  }
  uint8_t zeros[TRB_SIGNATURE_BYTES] = {0};
  assert_false(crypto_verify(zeros, "domain", data, zeros));
  crypto_signer_free(&signer);
}

static void sign_takes_large_and_empty_data(void **state) {
  (void)state;
  static uint8_t large[100000];
  uint8_t key[TRB_KEY_BYTES], seed[TRB_KEY_BYTES], signature[TRB_SIGNATURE_BYTES];
  struct crypto_signer *signer = NULL;
  crypto_sign_keypair(key, seed);
  assert_int_equal(crypto_signer_new(seed, &signer, NULL), TRB_OK);
  crypto_sign(signer, "d", trb_slice_of(large, sizeof large), signature);
  assert_true(crypto_verify(key, "d", trb_slice_of(large, sizeof large), signature));
  assert_false(crypto_verify(key, "d", trb_slice_of(large, sizeof large - 1), signature));
  crypto_sign(signer, "d", trb_slice_of(NULL, 0), signature);
  assert_true(crypto_verify(key, "d", trb_slice_of(NULL, 0), signature));
  crypto_signer_free(&signer);
}

static void curve_keypair_belongs_together_and_never_repeats(void **state) {
  (void)state;
  uint8_t a[TRB_KEY_BYTES], b[TRB_KEY_BYTES], secret[TRB_KEY_BYTES], again[TRB_KEY_BYTES];
  crypto_curve_keypair(a, secret);
  assert_true(crypto_curve_public(secret, again));
  assert_memory_equal(a, again, TRB_KEY_BYTES);
  crypto_curve_keypair(b, secret);
  assert_memory_not_equal(a, b, TRB_KEY_BYTES);
  assert_true(crypto_equal(a, again, TRB_KEY_BYTES));
  assert_false(crypto_equal(a, b, TRB_KEY_BYTES));
}

static void *hash_in_a_thread(void *arg) {
  uint8_t hash[TRB_HASH_BYTES];
  bool *same = arg;
  for (int i = 0; i < 2000; i++) {
    crypto_hash(trb_slice_str("abc"), hash);
    *same = *same && hash[0] == 0xba && hash[31] == 0xad;
  }
  return NULL;
}

static void hash_serves_several_threads(void **state) {
  (void)state;
  pthread_t threads[4];
  bool same[4] = {true, true, true, true};
  for (int i = 0; i < 4; i++) assert_int_equal(pthread_create(&threads[i], NULL, hash_in_a_thread, &same[i]), 0);
  for (int i = 0; i < 4; i++) {
    pthread_join(threads[i], NULL);
    assert_true(same[i]);
  }
}

static void wipe_clears(void **state) {
  (void)state;
  uint8_t secret[4] = {1, 2, 3, 4};
  crypto_wipe(secret, sizeof secret);
  assert_memory_equal(secret, "\0\0\0\0", 4);
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(hash_matches_fips_180),
      cmocka_unit_test(signer_derives_the_public_key_of_rfc_8032),
      cmocka_unit_test(curve_public_matches_another_implementation),
      cmocka_unit_test(verify_takes_only_its_key_domain_data_and_signature),
      cmocka_unit_test(sign_takes_large_and_empty_data),
      cmocka_unit_test(curve_keypair_belongs_together_and_never_repeats),
      cmocka_unit_test(hash_serves_several_threads),
      cmocka_unit_test(wipe_clears),
  };
  return cmocka_run_group_tests_name("crypto", tests, NULL, NULL);
}
