/* parties: see parties.h. Union-find whose roots are always the earliest stamp, over claims sorted by class and key. */
#include "parties.h"

#include <stdlib.h>

static size_t root_of(size_t *parent, size_t i) {
  while (parent[i] != i) i = parent[i] = parent[parent[i]];
  return i;
}

static int by_class_and_key(const void *a, const void *b, void *records_p) {
  const struct party_claim *x = a, *y = b;
  const struct party_record *records = records_p;
  int64_t cx = records[x->record].class, cy = records[y->record].class;
  if (cx != cy) return cx < cy ? -1 : 1;
  return trb_slice_compare(x->key, y->key);
}

static void join(const struct party_record *records, size_t *parent, size_t a, size_t b) {
  a = root_of(parent, a);
  b = root_of(parent, b);
  if (a == b) return;
  if (party_stamp_before(records[b].stamp, records[a].stamp))
    parent[a] = b;
  else
    parent[b] = a;
}

enum trb_status parties_resolve(const struct party_record *records, size_t record_count, struct party_claim *claims,
                                size_t claim_count, size_t *ret_anchor, struct trb_error *err) {
  (void)err;
  for (size_t i = 0; i < record_count; i++) ret_anchor[i] = i;
  if (claim_count) qsort_r(claims, claim_count, sizeof *claims, by_class_and_key, (void *)records);
  for (size_t i = 1; i < claim_count; i++) {
    const struct party_claim *x = &claims[i - 1], *y = &claims[i];
    if (records[x->record].class == 0 || records[x->record].class != records[y->record].class) continue;
    if (trb_slice_equal(x->key, y->key)) join(records, ret_anchor, x->record, y->record);
  }
  for (size_t i = 0; i < record_count; i++) ret_anchor[i] = root_of(ret_anchor, i);
  return TRB_OK;
}

int64_t party_class(struct trb_slice kind) {
  static const struct trb_slice person = {(const uint8_t *)"person", 6},
                                organisation = {(const uint8_t *)"organisation", 12};
  if (trb_slice_equal(kind, person)) return 1;
  if (trb_slice_equal(kind, organisation)) return 2;
  uint32_t h = 2166136261u; /* FNV-1a */
  for (size_t i = 0; i < kind.len; i++) h = (h ^ kind.data[i]) * 16777619u;
  return 3 + (int64_t)(h >> 1);
}
