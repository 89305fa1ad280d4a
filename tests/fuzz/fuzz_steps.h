/* fuzz_steps: what fuzz_session.c and fuzz_uplink.c share: bytes taken one by one, and batches sealed once. */
#ifndef FUZZ_STEPS_H
#define FUZZ_STEPS_H

#include "line_kit.h"

enum { FUZZ_BATCHES = 12 };

struct fuzz_input {
  const uint8_t *data;
  size_t len;
};

static inline uint8_t take(struct fuzz_input *in) {
  if (!in->len) return 0;
  in->len--;
  return *in->data++;
}
static inline int64_t take_int(struct fuzz_input *in) {
  static const int64_t odd[] = {0, 1, -1, INT64_MAX, INT64_MIN, (int64_t)1 << 52, 1700000000000, 50000};
  uint8_t b = take(in);
  return b < 8 ? odd[b] : (int64_t)b * 1000 - 64000;
}
static inline struct trb_slice take_slice(struct fuzz_input *in) {
  size_t len = take(in);
  if (len > in->len) len = in->len;
  struct trb_slice s = trb_slice_of(in->data, len);
  in->data += len;
  in->len -= len;
  return s;
}

static struct trb_buf fuzz_batches[FUZZ_BATCHES + 1];
static uint8_t fuzz_hashes[FUZZ_BATCHES + 1][TRB_HASH_BYTES];

static inline struct line_kit *fuzz_kit(void) {
  static struct line_kit kit;
  if (kit.root) return &kit;
  kit_init(&kit);
  for (uint64_t n = 1; n <= FUZZ_BATCHES; n++) /* some are large, some go together */
    kit_batch(&kit, "shanghai", 1, n, fuzz_hashes[n - 1], n % 3 ? TRB_BATCH_CONTINUES : 0, n % 4 ? 10 : 900000,
              &fuzz_batches[n], fuzz_hashes[n]);
  return &kit;
}
static inline struct trb_slice fuzz_batch(uint8_t choice) {
  return trb_buf_slice(&fuzz_batches[choice % (FUZZ_BATCHES + 1)]);
}

#endif
