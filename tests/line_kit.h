/* line_kit: keys, sealed batches and frames for the tests of uplink and session. */
#ifndef LINE_KIT_H
#define LINE_KIT_H

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "tributary/mp.h"
#include "tributary/token.h"
#include "tributary/wire.h"

struct line_kit {
  struct crypto_signer *root, *site, *hub;
  struct trb_buf keyset;
};

static inline struct crypto_signer *kit_signer(uint8_t fill) {
  uint8_t seed[TRB_KEY_BYTES];
  memset(seed, fill, sizeof seed);
  struct crypto_signer *signer;
  TRB_ASSERT(crypto_signer_new(seed, &signer, NULL) == TRB_OK);
  return signer;
}

static inline void kit_keyset(struct line_kit *kit, uint64_t version, struct trb_buf *out) {
  struct trb_keyset keyset = {.version = version, .endpoint_count = 2};
  memcpy(keyset.root_public, crypto_signer_public(kit->root), TRB_KEY_BYTES);
  memcpy(keyset.sign_public, crypto_signer_public(kit->hub), TRB_KEY_BYTES);
  memset(keyset.curve_public, 9, TRB_KEY_BYTES);
  snprintf(keyset.endpoints[0], sizeof keyset.endpoints[0], "tcp://hub.example:7400");
  snprintf(keyset.endpoints[1], sizeof keyset.endpoints[1], "tcp://backup.example:7400");
  keyset_seal(&keyset, kit->root, out);
}

static inline void kit_init(struct line_kit *kit) {
  kit->root = kit_signer(1);
  kit->site = kit_signer(2);
  kit->hub = kit_signer(3);
  kit->keyset = (struct trb_buf){0};
  kit_keyset(kit, 1, &kit->keyset);
}

static inline void kit_done(struct line_kit *kit) {
  crypto_signer_free(&kit->root);
  crypto_signer_free(&kit->site);
  crypto_signer_free(&kit->hub);
  trb_buf_free(&kit->keyset);
}

/* One batch with `payload` bytes that do not compress. */
static inline void kit_batch(struct line_kit *kit, const char *site, uint8_t incarnation, uint64_t sequence,
                             const uint8_t previous[TRB_HASH_BYTES], uint32_t flags, size_t payload,
                             struct trb_buf *out, uint8_t ret_hash[TRB_HASH_BYTES]) {
  uint8_t *noise = malloc(payload + 1);
  uint64_t state = sequence * 77 + incarnation + 1;
  for (size_t i = 0; i < payload; i++) {
    state = state * 6364136223846793005u + 1442695040888963407u;
    noise[i] = (uint8_t)(state >> 56);
  }
  struct trb_cell cell = {.column = 1, .value = {.type = TRB_BLOB, .s = {noise, payload}}};
  struct trb_change change = {
      .table = 1, .op = TRB_OP_PUT, .id = trb_slice_str("客户-1"), .cell_count = payload ? 1 : 0, .cells = &cell};
  struct trb_mark_time mark = {.number = sequence, .wall_ms = 1700000000000};
  struct trb_batch batch = {.mark_count = 1, .marks = &mark, .change_count = 1, .changes = &change};
  batch.header.site = trb_slice_str(site);
  memset(batch.header.incarnation, incarnation, TRB_INCARNATION_BYTES);
  batch.header.sequence = sequence;
  memcpy(batch.header.previous, previous, TRB_HASH_BYTES);
  batch.header.flags = flags;
  batch.header.last_mark = sequence;
  batch.header.segment_count = 1;
  batch.header.segments[0] = (struct trb_segment){.first_mark = 1};
  struct trb_error err;
  if (batch_seal(&batch, kit->site, out, ret_hash, &err) != TRB_OK) {
    fprintf(stderr, "%s\n", err.text);
    abort();
  }
  free(noise);
}

/* The text that stands for the signed ack of a batch: enough to see that the right one arrived. */
static inline void kit_ack(uint8_t incarnation, uint64_t sequence, const uint8_t hash[TRB_HASH_BYTES], char ret[64]) {
  snprintf(ret, 64, "ack %u/%llu %02x%02x%02x%02x", incarnation, (unsigned long long)sequence, hash[0], hash[1],
           hash[2], hash[3]);
}

#endif
