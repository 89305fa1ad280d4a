/* token: invitations a person copies, keysets the root signs. */
#include "tributary/token.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "codec_fixture.h"

static void token_decode_gives_back_what_was_encoded(void **state) {
  (void)state;
  struct trb_token token, back;
  TRB_BUF_AUTO text = {0};
  fixture_token(&token);
  trb_buf_append_str(&text, " \t\r\n");
  token_encode(&token, &text);
  trb_buf_append_str(&text, "\r\n ");
  assert_true(text.len < TRB_TOKEN_CHARS_MAX);
  memset(&back, 0, sizeof back);
  assert_int_equal(token_decode(trb_buf_slice(&text), &back, NULL), TRB_OK);
  assert_memory_equal(&token, &back, sizeof token);
}

static void token_decode_takes_the_longest(void **state) {
  (void)state;
  struct trb_token token, back;
  TRB_BUF_AUTO text = {0};
  fixture_token(&token);
  memset(token.site, 's', 32);
  token.endpoint_count = TRB_ENDPOINTS_MAX;
  for (size_t i = 0; i < TRB_ENDPOINTS_MAX; i++) {
    memset(token.endpoints[i], 'h', TRB_ENDPOINT_BYTES_MAX);
    memcpy(token.endpoints[i], "tcp://", 6);
    memcpy(token.endpoints[i] + TRB_ENDPOINT_BYTES_MAX - 6, ":65535", 6);
  }
  token_encode(&token, &text);
  assert_true(text.len <= TRB_TOKEN_CHARS_MAX);
  assert_int_equal(token_decode(trb_buf_slice(&text), &back, NULL), TRB_OK);
}

static void token_decode_refuses_every_mistyped_and_cut_text(void **state) {
  (void)state;
  struct trb_token token, back;
  struct trb_error err = {0};
  TRB_BUF_AUTO text = {0};
  fixture_token(&token);
  token_encode(&token, &text);
  for (size_t len = 0; len < text.len; len++)
    assert_int_equal(token_decode(trb_slice_of(text.data, len), &back, &err), TRB_PEER);
  assert_non_null(strstr(err.text, "copy the whole line"));
  for (size_t i = 0; i < text.len; i++) {
    uint8_t right = text.data[i];
    for (const char *wrong = "Aa0-. \xe4"; *wrong; wrong++) {
      if ((uint8_t)*wrong == right) continue;
      text.data[i] = (uint8_t)*wrong;
      assert_int_equal(token_decode(trb_buf_slice(&text), &back, &err), TRB_PEER);
    }
    text.data[i] = right;
  }
  assert_int_equal(token_decode(trb_slice_str("张三"), &back, &err), TRB_PEER);
  assert_non_null(strstr(err.text, "not an invitation"));
  assert_int_equal(token_decode(trb_slice_of(NULL, 0), &back, &err), TRB_PEER);
  TRB_BUF_AUTO large = {0};
  trb_buf_append_str(&large, "trb1.");
  for (int i = 0; i < 5000; i++) trb_buf_append_byte(&large, 'A');
  assert_int_equal(token_decode(trb_buf_slice(&large), &back, &err), TRB_PEER);
}

static void token_decode_refuses_odd_endpoints_and_sites(void **state) {
  (void)state;
  static const char *const endpoints[] = {"",
                                          "tcp://",
                                          "tcp://host",
                                          "tcp://:7600",
                                          "ipc:///tmp/x",
                                          "tcp://h:76000000",
                                          "tcp://h o:1",
                                          "tcp://h;e:1",
                                          "tcp://a:1,b:2",
                                          "tcp://h\n:1",
                                          "tcp://主机:1"};
  struct trb_token token, back;
  for (size_t i = 0; i < sizeof endpoints / sizeof *endpoints; i++) {
    TRB_BUF_AUTO text = {0};
    fixture_token(&token);
    strcpy(token.endpoints[1], endpoints[i]);
    token_encode(&token, &text);
    assert_int_equal(token_decode(trb_buf_slice(&text), &back, NULL), TRB_PEER);
  }
  TRB_BUF_AUTO none = {0};
  fixture_token(&token);
  token.endpoint_count = 0;
  token_encode(&token, &none);
  assert_int_equal(token_decode(trb_buf_slice(&none), &back, NULL), TRB_PEER);
  TRB_BUF_AUTO site = {0};
  fixture_token(&token);
  strcpy(token.site, "../site");
  token_encode(&token, &site);
  assert_int_equal(token_decode(trb_buf_slice(&site), &back, NULL), TRB_PEER);
}

static void seal_fixture(struct trb_keyset *keyset, uint8_t signer_seed, struct trb_buf *out) {
  struct crypto_signer *signer = fixture_signer(signer_seed);
  keyset_seal(keyset, signer, out);
  crypto_signer_free(&signer);
}

static void keyset_open_gives_back_what_the_root_signed(void **state) {
  (void)state;
  struct trb_keyset keyset, back;
  uint8_t root[TRB_KEY_BYTES];
  fixture_public(FIXTURE_ROOT_SEED, root);
  for (int next = 0; next < 2; next++) {
    TRB_BUF_AUTO sealed = {0};
    fixture_keyset(&keyset);
    keyset.has_next = next;
    if (!next) memset(keyset.curve_next, 0, sizeof keyset.curve_next);
    seal_fixture(&keyset, FIXTURE_ROOT_SEED, &sealed);
    memset(&back, 0, sizeof back);
    assert_int_equal(keyset_open(trb_buf_slice(&sealed), root, &back, NULL), TRB_OK);
    assert_int_equal(back.version, 3);
    assert_int_equal(back.has_next, next);
    assert_memory_equal(back.root_public, root, TRB_KEY_BYTES);
    assert_memory_equal(back.sign_public, keyset.sign_public, TRB_KEY_BYTES);
    assert_memory_equal(back.curve_public, keyset.curve_public, TRB_KEY_BYTES);
    assert_memory_equal(back.curve_next, keyset.curve_next, TRB_KEY_BYTES);
    assert_int_equal(back.endpoint_count, 1);
    assert_string_equal(back.endpoints[0], "tcp://hub.example.com:7600");
  }
}

static void keyset_open_refuses_another_root_and_every_damage(void **state) {
  (void)state;
  struct trb_keyset keyset, back;
  uint8_t root[TRB_KEY_BYTES], hub[TRB_KEY_BYTES];
  TRB_BUF_AUTO sealed = {0};
  TRB_BUF_AUTO forged = {0};
  fixture_public(FIXTURE_ROOT_SEED, root);
  fixture_public(FIXTURE_HUB_SEED, hub);
  fixture_keyset(&keyset);
  seal_fixture(&keyset, FIXTURE_HUB_SEED, &forged); /* by a key that is not the root */
  assert_int_equal(keyset_open(trb_buf_slice(&forged), root, &back, NULL), TRB_DENIED);
  assert_int_equal(keyset_open(trb_buf_slice(&forged), hub, &back, NULL), TRB_DENIED); /* names another root */
  seal_fixture(&keyset, FIXTURE_ROOT_SEED, &sealed);
  for (size_t len = 0; len < sealed.len; len++)
    assert_int_not_equal(keyset_open(trb_slice_of(sealed.data, len), root, &back, NULL), TRB_OK);
  for (size_t bit = 0; bit < 8 * sealed.len; bit++) {
    sealed.data[bit / 8] ^= (uint8_t)(1u << bit % 8);
    assert_int_not_equal(keyset_open(trb_buf_slice(&sealed), root, &back, NULL), TRB_OK);
    sealed.data[bit / 8] ^= (uint8_t)(1u << bit % 8);
  }
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(token_decode_gives_back_what_was_encoded),
      cmocka_unit_test(token_decode_takes_the_longest),
      cmocka_unit_test(token_decode_refuses_every_mistyped_and_cut_text),
      cmocka_unit_test(token_decode_refuses_odd_endpoints_and_sites),
      cmocka_unit_test(keyset_open_gives_back_what_the_root_signed),
      cmocka_unit_test(keyset_open_refuses_another_root_and_every_damage),
  };
  return cmocka_run_group_tests_name("token", tests, NULL, NULL);
}
