/* zip: expands only what was promised, in bounded memory. */
#include "tributary/zip.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

enum { MAX = 1 << 20 };

static void fill(struct trb_buf *buf, size_t len) {
  for (size_t i = 0; i < len; i++) trb_buf_append_byte(buf, (uint8_t)("张三,李四;"[i % 14] + (int)(i / 1000)));
}

static void zip_expand_gives_back_what_was_compressed(void **state) {
  (void)state;
  static const size_t sizes[] = {0, 1, 255, 4096, 100000, MAX};
  for (size_t i = 0; i < sizeof sizes / sizeof *sizes; i++) {
    TRB_BUF_AUTO raw = {0};
    TRB_BUF_AUTO zipped = {0};
    TRB_BUF_AUTO back = {0};
    fill(&raw, sizes[i]);
    trb_buf_append_str(&zipped, "before");
    trb_buf_append_str(&back, "kept");
    assert_int_equal(zip_compress(trb_buf_slice(&raw), &zipped), TRB_OK);
    struct trb_slice frame = trb_slice_of(zipped.data + 6, zipped.len - 6);
    assert_int_equal(zip_expand(frame, raw.len, MAX, &back, NULL), TRB_OK);
    assert_int_equal(back.len, raw.len + 4);
    if (raw.len) assert_memory_equal(back.data + 4, raw.data, raw.len);
  }
}

static void zip_expand_refuses_another_size_and_leaves_the_output(void **state) {
  (void)state;
  TRB_BUF_AUTO raw = {0};
  TRB_BUF_AUTO zipped = {0};
  TRB_BUF_AUTO back = {0};
  struct trb_error err = {0};
  fill(&raw, 5000);
  trb_buf_append_str(&back, "kept");
  assert_int_equal(zip_compress(trb_buf_slice(&raw), &zipped), TRB_OK);
  assert_int_equal(zip_expand(trb_buf_slice(&zipped), 4999, MAX, &back, &err), TRB_PEER);
  assert_int_equal(zip_expand(trb_buf_slice(&zipped), 5001, MAX, &back, &err), TRB_PEER);
  assert_int_equal(zip_expand(trb_buf_slice(&zipped), 0, MAX, &back, &err), TRB_PEER);
  assert_int_equal(zip_expand(trb_buf_slice(&zipped), 5000, 4999, &back, &err), TRB_PEER);
  assert_true(strlen(err.text) > 10);
  assert_string_equal(trb_buf_cstr(&back), "kept");
}

static void zip_expand_refuses_every_truncation_and_what_follows(void **state) {
  (void)state;
  TRB_BUF_AUTO raw = {0};
  TRB_BUF_AUTO zipped = {0};
  TRB_BUF_AUTO back = {0};
  fill(&raw, 300);
  assert_int_equal(zip_compress(trb_buf_slice(&raw), &zipped), TRB_OK);
  for (size_t len = 0; len < zipped.len; len++) {
    uint8_t *exact = malloc(len ? len : 1);
    memcpy(exact, zipped.data, len);
    assert_int_equal(zip_expand(trb_slice_of(exact, len), raw.len, MAX, &back, NULL), TRB_PEER);
    free(exact);
  }
  TRB_BUF_AUTO twice = {0};
  trb_buf_append_slice(&twice, trb_buf_slice(&zipped));
  trb_buf_append_slice(&twice, trb_buf_slice(&zipped));
  assert_int_equal(zip_expand(trb_buf_slice(&twice), 2 * raw.len, MAX, &back, NULL), TRB_PEER); /* two frames */
  assert_int_equal(zip_expand(trb_buf_slice(&twice), raw.len, MAX, &back, NULL), TRB_PEER);
}

static void zip_expand_survives_every_flipped_bit(void **state) {
  (void)state;
  TRB_BUF_AUTO raw = {0};
  TRB_BUF_AUTO zipped = {0};
  TRB_BUF_AUTO back = {0};
  fill(&raw, 300);
  assert_int_equal(zip_compress(trb_buf_slice(&raw), &zipped), TRB_OK);
  for (size_t bit = 0; bit < 8 * zipped.len; bit++) { /* zstd has no checksum here: the batch's hash stands before it */
    zipped.data[bit / 8] ^= (uint8_t)(1u << bit % 8);
    enum trb_status status = zip_expand(trb_buf_slice(&zipped), raw.len, MAX, &back, NULL);
    assert_true(status == TRB_PEER || status == TRB_OK);
    assert_int_equal(back.len, status ? 0 : raw.len);
    back.len = 0;
    zipped.data[bit / 8] ^= (uint8_t)(1u << bit % 8);
  }
}

static void zip_expand_refuses_a_skippable_frame(void **state) {
  (void)state;
  uint8_t frame[] = {0x50, 0x2a, 0x4d, 0x18, 0, 0, 0, 0};
  TRB_BUF_AUTO back = {0};
  assert_int_equal(zip_expand(trb_slice_of(frame, sizeof frame), 0, MAX, &back, NULL), TRB_PEER);
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(zip_expand_gives_back_what_was_compressed),
      cmocka_unit_test(zip_expand_refuses_another_size_and_leaves_the_output),
      cmocka_unit_test(zip_expand_refuses_every_truncation_and_what_follows),
      cmocka_unit_test(zip_expand_survives_every_flipped_bit),
      cmocka_unit_test(zip_expand_refuses_a_skippable_frame),
  };
  return cmocka_run_group_tests_name("zip", tests, NULL, NULL);
}
