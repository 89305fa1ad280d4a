/* The stored golden vectors are what the codec makes today, byte for byte; a zstd batch sealed once still opens. */
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "tributary/conf.h"
#include "vectors.h"

static void stored_vectors_are_what_the_codec_makes(void **state) {
  (void)state;
  for (size_t i = 0; i < VECTOR_COUNT; i++) {
    TRB_BUF_AUTO made = {0};
    TRB_BUF_AUTO stored = {0};
    char path[128];
    snprintf(path, sizeof path, "proto/vectors/%s.json", vectors[i].name);
    vectors[i].render(&made);
    assert_false(made.failed);
    assert_int_equal(file_read(path, 1 << 20, &stored, NULL), TRB_OK);
    if (!trb_slice_equal(trb_buf_slice(&made), trb_buf_slice(&stored)))
      fail_msg("%s is not what the codec makes: the protocol changed", path);
  }
}

/* Not compared byte for byte with what is sealed today: another zstd may compress otherwise. */
static void stored_zstd_batch_opens(void **state) {
  (void)state;
  TRB_BUF_AUTO hex = {0};
  TRB_ARENA_AUTO arena = {0};
  struct trb_batch batch;
  struct trb_error err = {0};
  uint8_t key[TRB_KEY_BYTES], hash[TRB_HASH_BYTES];
  assert_int_equal(file_read("proto/vectors/batch_zstd.hex", 1 << 20, &hex, NULL), TRB_OK);
  size_t len = (hex.len - 1) / 2;
  uint8_t *sealed = malloc(len);
  hex.data[hex.len - 1] = 0; /* the line end */
  assert_true(trb_unhex((const char *)hex.data, sealed, len));
  fixture_public(FIXTURE_SITE_SEED, key);
  assert_int_equal(batch_open(trb_slice_of(sealed, len), key, &arena, &batch, hash, &err), TRB_OK);
  assert_true(batch.header.flags & TRB_BATCH_ZSTD);
  assert_int_equal(batch.change_count, 200);
  for (size_t i = 0; i < batch.change_count; i++)
    assert_true(trb_value_equal(batch.changes[i].cells[1].value, trb_text("张三 Zhang San, 上海市黄浦区南京东路")));
  free(sealed);
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(stored_vectors_are_what_the_codec_makes),
      cmocka_unit_test(stored_zstd_batch_opens),
  };
  return cmocka_run_group_tests_name("vectors", tests, NULL, NULL);
}
