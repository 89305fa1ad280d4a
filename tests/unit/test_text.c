/* text: normal forms, scripts, domains, GB18030, widths; hostile bytes; many threads at once. */
#include "tributary/text.h"

#include <pthread.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
/* after the others */
#include <cmocka.h>

typedef enum trb_status (*text_function)(struct trb_slice in, struct trb_buf *out, struct trb_error *err);

static void check(text_function f, const char *in, const char *want) {
  TRB_BUF_AUTO out = {0};
  struct trb_error err;
  trb_buf_append_str(&out, ">"); /* results are appended */
  assert_int_equal(f(trb_slice_str(in), &out, &err), TRB_OK);
  assert_string_equal(trb_buf_cstr(&out) + 1, want);
}

static void nfkc_brings_forms_together(void **state) {
  (void)state;
  check(text_nfkc, "", "");
  check(text_nfkc, "plain ASCII", "plain ASCII");
  check(text_nfkc, "１３９ＡＢｃ", "139ABc");
  check(text_nfkc, "ｶﾞ", "ガ");
  check(text_nfkc, "e\u0301", "é");
  check(text_nfkc, "\uFB01", "fi");
  check(text_nfkc, "張偉", "張偉");
  check(text_nfkc, "𠮷野家", "𠮷野家");
  check(text_nfkc_casefold, "ＡＢＣ ß İ", "abc ss i\u0307");
  check(text_nfkc_casefold, "HELLO", "hello");
  check(text_nfkc_casefold, "zero\u200Bwidth", "zerowidth");
}

static void simplified_and_pinyin(void **state) {
  (void)state;
  check(text_simplified, "張偉", "张伟");
  check(text_simplified, "劉德華", "刘德华");
  check(text_simplified, "张伟 abc", "张伟 abc");
  check(text_simplified, "abc", "abc");
  check(text_pinyin, "张伟", "zhang wei");
  check(text_pinyin, "Zhang Wei", "zhang wei");
  check(text_pinyin, "吕布", "lu bu");
  check(text_pinyin, "😀", "");
}

static void long_texts_keep_their_words(void **state) {
  (void)state;
  TRB_BUF_AUTO in = {0};
  TRB_BUF_AUTO out = {0};
  TRB_BUF_AUTO pinyin = {0};
  for (int i = 0; i < 100000; i++) trb_buf_append_str(&in, "張偉");
  assert_int_equal(text_simplified(trb_buf_slice(&in), &out, NULL), TRB_OK);
  assert_int_equal(out.len, in.len);
  for (size_t i = 0; i < out.len; i += 6) assert_memory_equal(out.data + i, "张伟", 6);
  in.len = 6000; /* a thousand names in one run of characters: no syllable may stick to the next */
  assert_int_equal(text_pinyin(trb_buf_slice(&in), &pinyin, NULL), TRB_OK);
  size_t words = 1;
  for (size_t i = 0; i < pinyin.len; i++) words += pinyin.data[i] == ' ';
  assert_int_equal(words, 2000);
}

static void bad_bytes_are_refused(void **state) {
  (void)state;
  static const char *const bad[] = {"\xff", "abc\x80", "\xe4\xbd", "\xed\xa0\x80", "\xc0\xaf", "\xf5\x80\x80\x80"};
  static const text_function functions[] = {text_nfkc, text_nfkc_casefold, text_simplified, text_pinyin,
                                            text_idna_ascii};
  for (size_t i = 0; i < sizeof bad / sizeof *bad; i++)
    for (size_t k = 0; k < sizeof functions / sizeof *functions; k++) {
      TRB_BUF_AUTO out = {0};
      struct trb_error err = {0};
      assert_int_equal(functions[k](trb_slice_str(bad[i]), &out, &err), TRB_PEER);
      assert_int_not_equal(err.text[0], 0);
      assert_int_equal(out.len, 0);
    }
}

static void nul_bytes_pass_through(void **state) {
  (void)state;
  TRB_BUF_AUTO out = {0};
  assert_int_equal(text_nfkc(trb_slice_of("a\0\xef\xbc\xa1", 5), &out, NULL), TRB_OK);
  assert_int_equal(out.len, 3);
  assert_memory_equal(out.data, "a\0A", 3);
}

static void megabytes_are_bounded(void **state) {
  (void)state;
  size_t size = (size_t)1 << 20;
  char *big = malloc(size);
  assert_non_null(big);
  for (size_t i = 0; i + 3 <= size; i += 3) memcpy(big + i, "\xef\xbc\x91", 3); /* full-width 1 */
  size_t used = size / 3 * 3;
  TRB_BUF_AUTO out = {0};
  assert_int_equal(text_nfkc(trb_slice_of(big, used), &out, NULL), TRB_OK);
  assert_int_equal(out.len, used / 3);
  TRB_BUF_AUTO small = {.limit = 100};
  assert_int_equal(text_nfkc(trb_slice_of(big, used), &small, NULL), TRB_NOMEM); /* a buffer's limit holds */
  assert_true(small.len <= 100);
  TRB_BUF_AUTO domain = {0};
  assert_int_equal(text_idna_ascii(trb_slice_of(big, used), &domain, NULL), TRB_PEER);
  free(big);
}

static void domains(void **state) {
  (void)state;
  check(text_idna_ascii, "example.com", "example.com");
  check(text_idna_ascii, "EXAMPLE.com", "example.com");
  check(text_idna_ascii, "例子.中国", "xn--fsqu00a.xn--fiqs8s");
  check(text_idna_ascii, "例子。中国", "xn--fsqu00a.xn--fiqs8s");
  check(text_idna_ascii, "straße.de", "xn--strae-oqa.de");
  check(text_idna_ascii, "xn--fsqu00a.cn", "xn--fsqu00a.cn");
  static const char *const bad[] = {"", ".", "a..b", "-a.com", "a-.com", "a_b.com", "a b.com", "xn--\xe4\xbe\x8b.cn"};
  for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
    TRB_BUF_AUTO out = {0};
    assert_int_equal(text_idna_ascii(trb_slice_str(bad[i]), &out, NULL), TRB_PEER);
  }
  char label[80];
  TRB_BUF_AUTO out = {0};
  memset(label, 'a', 64);
  strcpy(label + 64, ".com");
  assert_int_equal(text_idna_ascii(trb_slice_str(label), &out, NULL), TRB_PEER);
}

static void gb18030(void **state) {
  (void)state;
  TRB_BUF_AUTO out = {0};
  struct trb_error err;
  check(text_from_gb18030, "\xd5\xc5\xce\xb0,abc", "张伟,abc");
  check(text_from_gb18030, "", "");
  check(text_from_gb18030, "\x95\x32\x82\x36", "𠀀"); /* four bytes */
  assert_int_equal(text_from_gb18030(trb_slice_str("ab\xd5"), &out, &err), TRB_PEER);
  assert_non_null(strstr(err.text, "byte 2"));
  assert_int_equal(text_from_gb18030(trb_slice_str("\xff"), &out, &err), TRB_PEER);
}

static void gb18030_in_pieces(void **state) {
  (void)state;
  assert_int_equal(text_gb18030_complete(trb_slice_str("abc")), 3);
  assert_int_equal(text_gb18030_complete(trb_slice_str("ab\xd5")), 2);
  assert_int_equal(text_gb18030_complete(trb_slice_str("ab\xd5\xc5")), 4);
  assert_int_equal(text_gb18030_complete(trb_slice_str("\x95\x32")), 0);
  assert_int_equal(text_gb18030_complete(trb_slice_str("\x95\x32\x82")), 0);
  assert_int_equal(text_gb18030_complete(trb_slice_str("\x95\x32\x82\x36")), 4);
  assert_int_equal(text_gb18030_complete(trb_slice_str("\xff"
                                                       "a")),
                   2);
  TRB_BUF_AUTO out = {0};
  assert_int_equal(text_from_gb18030_marking(trb_slice_str("\xd5\xc5\xff\xce\xb0"), &out, NULL), TRB_OK);
  assert_string_equal(trb_buf_cstr(&out), "张\xff伟");
}

static void widths(void **state) {
  (void)state;
  assert_int_equal(text_width(trb_slice_str("abc")), 3);
  assert_int_equal(text_width(trb_slice_str("张伟")), 4);
  assert_int_equal(text_width(trb_slice_str("Ａ")), 2);
  assert_int_equal(text_width(trb_slice_str("e\u0301")), 1);
  assert_int_equal(text_width(trb_slice_str("\t")), 1);
  assert_int_equal(text_width(trb_slice_str("\xff\xfe")), 2);
  assert_int_equal(text_width(trb_slice_of(NULL, 0)), 0);
}

static void *thread_work(void *p) {
  bool *ok = p;
  for (int i = 0; i < 200 && *ok; i++) {
    TRB_BUF_AUTO out = {0};
    *ok = text_simplified(trb_slice_str("劉德華"), &out, NULL) == TRB_OK && strcmp(trb_buf_cstr(&out), "刘德华") == 0;
    trb_buf_clear(&out);
    *ok = *ok && text_pinyin(trb_slice_str("德华"), &out, NULL) == TRB_OK && strcmp(trb_buf_cstr(&out), "de hua") == 0;
    trb_buf_clear(&out);
    *ok = *ok && text_idna_ascii(trb_slice_str("例子.cn"), &out, NULL) == TRB_OK;
  }
  return NULL;
}

static void threads_share_nothing(void **state) {
  (void)state;
  enum { THREADS = 4 };
  pthread_t thread[THREADS];
  bool ok[THREADS];
  for (int i = 0; i < THREADS; i++) {
    ok[i] = true;
    assert_int_equal(pthread_create(&thread[i], NULL, thread_work, &ok[i]), 0);
  }
  for (int i = 0; i < THREADS; i++) {
    pthread_join(thread[i], NULL);
    assert_true(ok[i]);
  }
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(threads_share_nothing), /* first, so that the opening races too */
      cmocka_unit_test(nfkc_brings_forms_together),
      cmocka_unit_test(simplified_and_pinyin),
      cmocka_unit_test(long_texts_keep_their_words),
      cmocka_unit_test(bad_bytes_are_refused),
      cmocka_unit_test(nul_bytes_pass_through),
      cmocka_unit_test(megabytes_are_bounded),
      cmocka_unit_test(domains),
      cmocka_unit_test(gb18030),
      cmocka_unit_test(gb18030_in_pieces),
      cmocka_unit_test(widths),
  };
  return cmocka_run_group_tests_name("text", tests, NULL, NULL);
}
