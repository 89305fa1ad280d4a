/* fuzz_batch: a sealed batch as it comes, and, since a signature stops nearly every mutation, a header and a body that
 * are signed here as an enrolled but hostile branch would. Input: first byte 0: the bytes are a sealed batch or an ack;
 * 1: header length u16be, header, body; 2: a body, put behind an honest header. */
#include "codec_fixture.h"
#include "tributary/mp.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static struct crypto_signer *signer;
enum { ARENA_MAX = 80 << 20 }; /* what a worker's arena must hold for the largest batch */

static void open_it(struct trb_slice sealed) {
  TRB_ARENA_AUTO arena = {.limit = ARENA_MAX};
  struct trb_batch batch;
  struct trb_batch_header header;
  struct trb_ack ack;
  uint8_t hash[TRB_HASH_BYTES], peek_hash[TRB_HASH_BYTES];
  struct trb_error err = {0};
  enum trb_status peeked = batch_peek(sealed, &arena, &header, peek_hash, &err);
  enum trb_status status = batch_open(sealed, crypto_signer_public(signer), &arena, &batch, hash, &err);
  TRB_ASSERT(status == TRB_OK || (status == TRB_PEER && err.text[0]));
  TRB_ASSERT(status != TRB_OK || (peeked == TRB_OK && memcmp(hash, peek_hash, sizeof hash) == 0));
  ack_open(sealed, crypto_signer_public(signer), &arena, &ack, &err);
  if (status != TRB_OK || !batch.mark_count) return;
  struct trb_acceptance acceptance = {.limit = INT64_MAX};
  clock_correct(batch.header.segments, batch.header.segment_count, &batch.header.segments[0].at, 1790000000000,
                &acceptance);
  trb_hlc *times = trb_arena_alloc(&arena, batch.mark_count * sizeof *times);
  if (!times) return;
  clock_effective(batch.marks, batch.mark_count, batch.header.segments, &acceptance, times);
  for (size_t i = 1; i < batch.mark_count; i++) TRB_ASSERT(times[i] >= times[i - 1]);
}

static void sign_and_open(struct trb_slice header, struct trb_slice body) {
  uint8_t signature[TRB_SIGNATURE_BYTES];
  TRB_BUF_AUTO sealed = {0};
  crypto_sign(signer, "tributary batch v1", header, signature);
  mp_put_array(&sealed, 3);
  mp_put_bin(&sealed, header);
  mp_put_bin(&sealed, trb_slice_of(signature, sizeof signature));
  mp_put_bin(&sealed, body);
  open_it(trb_buf_slice(&sealed));
}

/* change_count is read off the body, so that mutated bodies are not all refused for their count. */
static uint32_t count_changes(struct trb_slice body) {
  if (mp_check(body, NULL)) return 0;
  struct mp_reader r = mp_reader(body);
  mp_get_array(&r);
  mp_get_raw(&r);
  size_t count = mp_get_array(&r);
  return count > TRB_BATCH_CHANGES_MAX ? TRB_BATCH_CHANGES_MAX : (uint32_t)count;
}

static void honest_header(struct trb_slice body, struct trb_buf *h) {
  uint8_t zeros[32] = {0}, hash[TRB_HASH_BYTES];
  crypto_hash(body, hash);
  mp_put_array(h, 13);
  mp_put_uint(h, 1);
  mp_put_str(h, trb_slice_str("site1"));
  mp_put_bin(h, trb_slice_of(zeros, 16));
  mp_put_uint(h, 1);
  mp_put_bin(h, trb_slice_of(zeros, 32));
  mp_put_uint(h, 0);
  mp_put_uint(h, INT64_MAX);
  mp_put_uint(h, count_changes(body));
  mp_put_uint(h, body.len);
  mp_put_bin(h, trb_slice_of(hash, sizeof hash));
  mp_put_int(h, 0);
  mp_put_array(h, 1);
  mp_put_array(h, 5);
  mp_put_uint(h, 0);
  mp_put_int(h, 0);
  mp_put_int(h, 0);
  mp_put_bin(h, trb_slice_of(zeros, 16));
  mp_put_nil(h);
  mp_put_array(h, 0);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
  if (!signer) signer = fixture_signer(FIXTURE_SITE_SEED);
  if (size < 3) return 0;
  if (data[0] % 3 == 0) {
    open_it(trb_slice_of(data + 1, size - 1));
  } else if (data[0] % 3 == 1) {
    size_t len = trb_get_u16(data + 1), left = size - 3;
    if (len > left) len = left;
    sign_and_open(trb_slice_of(data + 3, len), trb_slice_of(data + 3 + len, left - len));
  } else {
    TRB_BUF_AUTO header = {0};
    struct trb_slice body = trb_slice_of(data + 1, size - 1);
    honest_header(body, &header);
    sign_and_open(trb_buf_slice(&header), body);
  }
  return 0;
}
