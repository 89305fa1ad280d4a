/* base: buffers, arenas, encodings, UTF-8. */
#include "tributary/base.h"

#include <setjmp.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "tributary/value.h"

static void fail_keeps_status_and_text(void **state) {
  (void)state;
  struct trb_error err = {0};
  assert_int_equal(trb_fail(&err, TRB_PEER, "line %d", 7), TRB_PEER);
  assert_string_equal(err.text, "line 7");
  /* A text built from the previous text is safe. */
  trb_fail(&err, TRB_STORE, "file: %s", err.text);
  assert_string_equal(err.text, "file: line 7");
  assert_int_equal(err.status, TRB_STORE);
  assert_int_equal(trb_fail(NULL, TRB_FULL, "nobody listens"), TRB_FULL);
}

static void fail_truncates_a_long_text(void **state) {
  (void)state;
  struct trb_error err;
  char text[2000];
  memset(text, 'x', sizeof text - 1);
  text[sizeof text - 1] = 0;
  trb_fail(&err, TRB_PEER, "%s", text);
  assert_int_equal(strlen(err.text), sizeof err.text - 1);
}

static void buf_extend_gives_room_within_the_limit(void **state) {
  (void)state;
  TRB_BUF_AUTO buf = {.limit = 10};
  assert_non_null(trb_buf_extend(&buf, 0));
  assert_int_equal(buf.len, 0);
  memcpy(trb_buf_extend(&buf, 4), "abcd", 4);
  memcpy(trb_buf_extend(&buf, 6), "efghij", 6);
  assert_string_equal(trb_buf_cstr(&buf), "abcdefghij");
  assert_null(trb_buf_extend(&buf, 1));
  assert_true(buf.failed);
}

static void buf_fails_at_its_limit_and_stays_failed(void **state) {
  (void)state;
  TRB_BUF_AUTO buf = {.limit = 10};
  trb_buf_append_str(&buf, "0123456789");
  assert_false(buf.failed);
  assert_string_equal(trb_buf_cstr(&buf), "0123456789"); /* the terminator does not count */
  trb_buf_append_byte(&buf, 'x');
  assert_true(buf.failed);
  assert_int_equal(buf.len, 10);
  trb_buf_clear(&buf);
  trb_buf_printf(&buf, "%d", 42);
  assert_string_equal(trb_buf_cstr(&buf), "42");
}

static void buf_refuses_a_length_that_wraps(void **state) {
  (void)state;
  TRB_BUF_AUTO buf = {0};
  trb_buf_append_str(&buf, "x");
  trb_buf_append(&buf, "y", SIZE_MAX);
  assert_true(buf.failed);
  assert_int_equal(buf.len, 1);
}

static void arena_keeps_to_its_limit_and_zeroes(void **state) {
  (void)state;
  TRB_ARENA_AUTO arena = {.limit = 200 << 10};
  uint8_t *a = trb_arena_alloc(&arena, 100);
  uint8_t *big = trb_arena_alloc(&arena, 150 << 10);
  assert_non_null(a);
  assert_non_null(big);
  assert_int_equal((uintptr_t)a % 16, 0);
  assert_int_equal((uintptr_t)big % 16, 0);
  assert_int_equal(big[0] | big[(150 << 10) - 1], 0);
  assert_null(trb_arena_alloc(&arena, 60 << 10));
  assert_null(trb_arena_alloc(&arena, SIZE_MAX));
  memset(big, 1, 150 << 10);
  trb_arena_reset(&arena);
  a = trb_arena_alloc(&arena, 1000);
  for (size_t i = 0; i < 1000; i++) assert_int_equal(a[i], 0);
}

static void arena_copies(void **state) {
  (void)state;
  TRB_ARENA_AUTO arena = {0};
  bool ok = true;
  struct trb_slice s = trb_arena_copy(&arena, trb_slice_str("张三"), &ok);
  assert_true(ok && trb_slice_equal(s, trb_slice_str("张三")));
  assert_string_equal(trb_arena_str(&arena, s), "张三");
  assert_string_equal(trb_arena_str(&arena, trb_slice_str(NULL)), "");
}

static void slices_compare_as_memcmp_shorter_first(void **state) {
  (void)state;
  assert_true(trb_slice_compare(trb_slice_str("a"), trb_slice_str("ab")) < 0);
  assert_true(trb_slice_compare(trb_slice_str("b"), trb_slice_str("ab")) > 0);
  assert_int_equal(trb_slice_compare(trb_slice_str(""), trb_slice_str(NULL)), 0);
  assert_true(trb_slice_equal(trb_slice_str(""), trb_slice_str(NULL)));
}

static void integers_are_big_endian(void **state) {
  (void)state;
  uint8_t p[8];
  trb_put_u64(p, 0x0102030405060708u);
  assert_memory_equal(p, "\1\2\3\4\5\6\7\10", 8);
  assert_int_equal(trb_get_u64(p), 0x0102030405060708u);
  assert_int_equal(trb_get_u32(p), 0x01020304);
  assert_int_equal(trb_get_u16(p), 0x0102);
}

static void hex_goes_both_ways_and_refuses_the_rest(void **state) {
  (void)state;
  char text[9];
  uint8_t data[4] = {0, 0x7f, 0xff, 0xa5}, back[4];
  trb_hex(data, 4, text);
  assert_string_equal(text, "007fffa5");
  assert_true(trb_unhex("007FffA5", back, 4));
  assert_memory_equal(data, back, 4);
  assert_false(trb_unhex("007fffa", back, 4));
  assert_false(trb_unhex("007fffag", back, 4));
  assert_false(trb_unhex("007fffa500", back, 4));
}

static void base64url_goes_both_ways(void **state) {
  (void)state;
  /* RFC 4648 section 10, without padding. */
  static const char *const cases[][2] = {
      {"", ""},           {"f", "Zg"},          {"fo", "Zm8"},         {"foo", "Zm9v"},
      {"foob", "Zm9vYg"}, {"fooba", "Zm9vYmE"}, {"foobar", "Zm9vYmFy"}};
  for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
    TRB_BUF_AUTO text = {0}, data = {0};
    trb_base64url(trb_slice_str(cases[i][0]), &text);
    assert_string_equal(trb_buf_cstr(&text), cases[i][1]);
    assert_true(trb_unbase64url(trb_buf_slice(&text), &data));
    assert_string_equal(trb_buf_cstr(&data), cases[i][0]);
  }
  TRB_BUF_AUTO all = {0}, text = {0}, back = {0};
  for (int i = 0; i < 256; i++) trb_buf_append_byte(&all, (uint8_t)i);
  trb_base64url(trb_buf_slice(&all), &text);
  assert_true(trb_unbase64url(trb_buf_slice(&text), &back));
  assert_true(trb_slice_equal(trb_buf_slice(&all), trb_buf_slice(&back)));
}

static void base64url_refuses_what_has_another_spelling(void **state) {
  (void)state;
  static const char *const bad[] = {"Z", "Zh", "Zg==", "Zm9+", "Zm9/", "Zm 9v", "Zm9\xe5"};
  for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
    TRB_BUF_AUTO out = {0};
    assert_false(trb_unbase64url(trb_slice_str(bad[i]), &out));
  }
  TRB_BUF_AUTO out = {0};
  assert_false(trb_unbase64url(trb_slice_of("Zm9v\0Zm", 7), &out));
}

static void utf8_is_checked_to_the_letter(void **state) {
  (void)state;
  static const struct {
    const char *text;
    bool valid;
  } cases[] = {
      {"", true},
      {"张三", true},
      {"\xf0\x9f\x98\x80", true},
      {"\xf4\x8f\xbf\xbf", true},
      {"\xed\x9f\xbf", true},
      {"\xc0\xaf", false},
      {"\xe0\x80\xaf", false},
      {"\xed\xa0\x80", false},
      {"\xf4\x90\x80\x80", false},
      {"\xf5\x80\x80\x80", false},
      {"\xe5\xbc", false},
      {"\x80", false},
      {"a\xff", false},
      {"\xf0\x8f\xbf\xbf", false},
  };
  for (size_t i = 0; i < sizeof cases / sizeof *cases; i++)
    assert_int_equal(trb_utf8_valid(trb_slice_str(cases[i].text)), cases[i].valid);
  assert_true(trb_utf8_valid(trb_slice_of("a\0b", 3)));
}

static void values_compare_by_type_and_bytes(void **state) {
  (void)state;
  assert_true(trb_value_equal(trb_null(), trb_null()));
  assert_false(trb_value_equal(trb_int(1), trb_real(1)));
  assert_false(trb_value_equal(trb_text("1"), trb_blob(trb_slice_str("1"))));
  assert_true(trb_value_equal(trb_text("张三"), trb_text("张三")));
  assert_false(trb_value_equal(trb_real(0.0), trb_real(-0.0)));
  assert_true(trb_value_equal(trb_text(NULL), trb_null()));
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(fail_keeps_status_and_text),
      cmocka_unit_test(fail_truncates_a_long_text),
      cmocka_unit_test(buf_extend_gives_room_within_the_limit),
      cmocka_unit_test(buf_fails_at_its_limit_and_stays_failed),
      cmocka_unit_test(buf_refuses_a_length_that_wraps),
      cmocka_unit_test(arena_keeps_to_its_limit_and_zeroes),
      cmocka_unit_test(arena_copies),
      cmocka_unit_test(slices_compare_as_memcmp_shorter_first),
      cmocka_unit_test(integers_are_big_endian),
      cmocka_unit_test(hex_goes_both_ways_and_refuses_the_rest),
      cmocka_unit_test(base64url_goes_both_ways),
      cmocka_unit_test(base64url_refuses_what_has_another_spelling),
      cmocka_unit_test(utf8_is_checked_to_the_letter),
      cmocka_unit_test(values_compare_by_type_and_bytes),
  };
  return cmocka_run_group_tests_name("base", tests, NULL, NULL);
}
