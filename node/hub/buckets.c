/* buckets: see buckets.h. The table is searched from end to end: a thousand comparisons of hashes cost a microsecond,
 * which a connection or a JOIN outweighs by far. */
#include "buckets.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

struct bucket {
  char address[BUCKETS_ADDRESS_BYTES];
  int tokens;
  int64_t refilled_ms;
  uint64_t used; /* turn it was last asked for; 0: free */
};
struct buckets {
  size_t max;
  int burst;
  int64_t refill_ms;
  uint64_t turn;
  uint32_t *hashes; /* owned, beside `all` so that a search reads little */
  struct bucket *all;
};

struct buckets *buckets_new(size_t max, int burst, int64_t refill_ms) {
  TRB_ASSERT(max > 0 && burst > 0 && refill_ms > 0);
  struct buckets *b = calloc(1, sizeof *b);
  if (!b) return NULL;
  *b = (struct buckets){.max = max, .burst = burst, .refill_ms = refill_ms};
  b->hashes = calloc(max, sizeof *b->hashes);
  b->all = calloc(max, sizeof *b->all);
  if (!b->hashes || !b->all) buckets_free(&b);
  return b;
}

void buckets_free(struct buckets **buckets_p) {
  struct buckets *b = *buckets_p;
  if (!b) return;
  *buckets_p = NULL;
  free(b->hashes);
  free(b->all);
  free(b);
}

static uint32_t hash_of(const char *address) {
  uint32_t h = 2166136261u;
  for (; *address; address++) h = (h ^ (uint8_t)*address) * 16777619u;
  return h;
}

static struct bucket *bucket_of(struct buckets *b, const char *address, int64_t now_ms) {
  uint32_t hash = hash_of(address);
  size_t oldest = 0;
  for (size_t i = 0; i < b->max; i++) {
    if (b->hashes[i] == hash && b->all[i].used && strcmp(b->all[i].address, address) == 0) return &b->all[i];
    if (b->all[i].used < b->all[oldest].used) oldest = i;
  }
  struct bucket *bucket = &b->all[oldest];
  b->hashes[oldest] = hash;
  *bucket = (struct bucket){.tokens = b->burst, .refilled_ms = now_ms};
  snprintf(bucket->address, sizeof bucket->address, "%s", address);
  return bucket;
}

bool buckets_take(struct buckets *b, const char *address, int64_t now_ms) {
  char name[BUCKETS_ADDRESS_BYTES];
  snprintf(name, sizeof name, "%s", address);
  struct bucket *bucket = bucket_of(b, name, now_ms);
  int64_t earned = (now_ms - bucket->refilled_ms) / b->refill_ms;
  bucket->used = ++b->turn;
  if (earned < 0 || earned >= b->burst - bucket->tokens) { /* the clock was set back, or all of it is earned again */
    bucket->tokens = b->burst;
    bucket->refilled_ms = now_ms;
  } else {
    bucket->tokens += (int)earned;
    bucket->refilled_ms += earned * b->refill_ms;
  }
  if (bucket->tokens <= 0) return false;
  bucket->tokens--;
  return true;
}
