/* codec_fixture: fixed keys and one small batch that the unit tests, the golden vectors and the fuzz seeds share.
 * Changing anything here changes proto/vectors: they are part of the specification. */
#ifndef TESTS_CODEC_FIXTURE_H
#define TESTS_CODEC_FIXTURE_H

#include <string.h>

#include "tributary/change.h"
#include "tributary/digest.h"
#include "tributary/token.h"
#include "tributary/wire.h"

enum { FIXTURE_MARKS = 6, FIXTURE_CHANGES = 4, FIXTURE_SEGMENTS = 2 };
#define FIXTURE_ID "0190f3c2-7a11-7c3e-9d10-3f5a6b7c8d9e"
#define FIXTURE_CONTACT_ID "c-001"
#define FIXTURE_OLD_ID "客户-0007"

/* 32 bytes first, first + 1, ... */
static inline void fixture_bytes(uint8_t *ret, size_t len, uint8_t first) {
  for (size_t i = 0; i < len; i++) ret[i] = (uint8_t)(first + i);
}

static inline struct crypto_signer *fixture_signer(uint8_t first) {
  uint8_t seed[TRB_KEY_BYTES];
  struct crypto_signer *signer = NULL;
  fixture_bytes(seed, sizeof seed, first);
  TRB_ASSERT(crypto_signer_new(seed, &signer, NULL) == TRB_OK);
  return signer;
}
#define FIXTURE_SITE_SEED 0x01
#define FIXTURE_HUB_SEED 0x21
#define FIXTURE_ROOT_SEED 0x41

struct fixture {
  struct trb_batch batch;
  struct trb_mark_time marks[FIXTURE_MARKS];
  struct trb_change changes[FIXTURE_CHANGES];
  struct trb_cell customer[5], contact[5], set[2];
  struct trb_digest digests[2];
};

static inline struct trb_cell fixture_cell(uint16_t column, uint32_t mark, struct trb_value value) {
  return (struct trb_cell){.column = column, .mark = mark, .value = value};
}

static inline uint64_t fixture_digest(const struct trb_change *change) {
  uint64_t sum = digest_cell(change->table, change->id, 0, trb_null());
  for (size_t i = 0; i < change->cell_count; i++)
    sum += digest_cell(change->table, change->id, change->cells[i].column, change->cells[i].value);
  return sum;
}

static inline void fixture_segments(struct trb_batch_header *h) {
  h->segment_count = FIXTURE_SEGMENTS;
  h->segments[0] = (struct trb_segment){.first_mark = 38, .at = {.wall_ms = 1893456000000, .boot_ms = 50000}};
  fixture_bytes(h->segments[0].at.boot_id, TRB_BOOT_ID_BYTES, 0x70);
  h->segments[1] = (struct trb_segment){.first_mark = 44,
                                        .at = {.wall_ms = 1790000005000, .boot_ms = 61000},
                                        .measured = true,
                                        .hub_minus_boot_ms = 1789999944500};
  fixture_bytes(h->segments[1].at.boot_id, TRB_BOOT_ID_BYTES, 0x80);
}

static inline void fixture_changes(struct fixture *f) {
  static const struct trb_mark_time marks[FIXTURE_MARKS] = {{41, 1893456000100}, {42, 1893456000100},
                                                            {43, 1893456000150}, {44, 1790000005020},
                                                            {45, 1790000005010}, {47, 1790000009000}};
  memcpy(f->marks, marks, sizeof marks);
  f->customer[0] = fixture_cell(TRB_C_customer_created_at, 0, trb_int(1893456000100));
  f->customer[1] = fixture_cell(TRB_C_customer_kind, 0, trb_text("person"));
  f->customer[2] = fixture_cell(TRB_C_customer_name, 2, trb_text("张三"));
  f->customer[3] = fixture_cell(TRB_C_customer_birthday, 0, trb_text("1990-02-28"));
  f->customer[4] = fixture_cell(TRB_C_customer_credit_limit, 0, trb_real(1234.5));
  f->contact[0] = fixture_cell(TRB_C_contact_created_at, 1, trb_int(1893456000100));
  f->contact[1] = fixture_cell(TRB_C_contact_customer_id, 1, trb_text(FIXTURE_ID));
  f->contact[2] = fixture_cell(TRB_C_contact_kind, 1, trb_text("mobile"));
  f->contact[3] = fixture_cell(TRB_C_contact_value, 1, trb_text("１３９ 1111 2222"));
  f->contact[4] = fixture_cell(TRB_C_contact_main, 1, trb_int(1));
  f->set[0] = fixture_cell(TRB_C_customer_name, 3, trb_text("李四"));
  f->set[1] = fixture_cell(TRB_C_customer_remark, 4, trb_null());
  f->changes[0] = (struct trb_change){TRB_T_customer, TRB_OP_PUT, 2, trb_slice_str(FIXTURE_ID), 5, f->customer};
  f->changes[1] = (struct trb_change){TRB_T_contact, TRB_OP_PUT, 1, trb_slice_str(FIXTURE_CONTACT_ID), 5, f->contact};
  f->changes[2] = (struct trb_change){TRB_T_customer, TRB_OP_SET, 4, trb_slice_str("C001"), 2, f->set};
  f->changes[3] = (struct trb_change){TRB_T_contact, TRB_OP_DELETE, 5, trb_slice_str(FIXTURE_OLD_ID), 0, NULL};
}

/* Batch 2 of site1. Borrowed from *f. */
static inline void fixture_make(struct fixture *f) {
  memset(f, 0, sizeof *f);
  fixture_changes(f);
  struct trb_batch_header *h = &f->batch.header;
  h->site = trb_slice_str("site1");
  fixture_bytes(h->incarnation, sizeof h->incarnation, 0xa0);
  h->sequence = 2;
  fixture_bytes(h->previous, sizeof h->previous, 0x10);
  h->flags = TRB_BATCH_CONTINUES;
  h->last_mark = 47;
  h->sealed_ms = 1790000009100;
  fixture_segments(h);
  f->digests[0] =
      (struct trb_digest){TRB_T_customer, 2, fixture_digest(&f->changes[0]) + fixture_digest(&f->changes[2])};
  f->digests[1] = (struct trb_digest){TRB_T_contact, 1, fixture_digest(&f->changes[1])};
  h->digest_count = 2;
  h->digests = f->digests;
  f->batch.mark_count = FIXTURE_MARKS;
  f->batch.marks = f->marks;
  f->batch.change_count = FIXTURE_CHANGES;
  f->batch.changes = f->changes;
}

static inline void fixture_seal(struct fixture *f, struct trb_buf *out, uint8_t ret_hash[TRB_HASH_BYTES]) {
  struct crypto_signer *signer = fixture_signer(FIXTURE_SITE_SEED);
  fixture_make(f);
  TRB_ASSERT(batch_seal(&f->batch, signer, out, ret_hash, NULL) == TRB_OK);
  crypto_signer_free(&signer);
}

static inline void fixture_public(uint8_t first, uint8_t ret[TRB_KEY_BYTES]) {
  struct crypto_signer *signer = fixture_signer(first);
  memcpy(ret, crypto_signer_public(signer), TRB_KEY_BYTES);
  crypto_signer_free(&signer);
}

/* The hub took it at 1790000010000 in a session whose clock it measured; the first segment's boot is gone and was never
 * measured. */
static inline void fixture_ack(const struct fixture *f, const uint8_t hash[TRB_HASH_BYTES], struct trb_ack *ret) {
  struct trb_clock_reading session = {.wall_ms = 1790000009900, .boot_ms = 65900};
  fixture_bytes(session.boot_id, sizeof session.boot_id, 0x80);
  *ret = (struct trb_ack){.site = trb_slice_str("site1"), .sequence = 2};
  memcpy(ret->incarnation, f->batch.header.incarnation, sizeof ret->incarnation);
  memcpy(ret->hash, hash, TRB_HASH_BYTES);
  clock_correct(f->batch.header.segments, f->batch.header.segment_count, &session, 1790000010500, &ret->acceptance);
  ret->acceptance.commit = trb_hlc_of_ms(1790000010600) + 3;
  ret->acceptance.limit = trb_hlc_of_ms(1790000010500);
  ret->acceptance.base = trb_hlc_of_ms(1790000001000);
}

static inline void fixture_token(struct trb_token *ret) {
  *ret = (struct trb_token){.site = "site1", .expires_ms = 1790086400000, .endpoint_count = 2};
  fixture_public(FIXTURE_ROOT_SEED, ret->root_public);
  fixture_bytes(ret->curve_public, TRB_KEY_BYTES, 0x61);
  fixture_bytes(ret->invitation, sizeof ret->invitation, 0xb0);
  fixture_bytes(ret->secret, sizeof ret->secret, 0xc0);
  strcpy(ret->endpoints[0], "tcp://hub.example.com:7600");
  strcpy(ret->endpoints[1], "tcp://[2001:db8::1]:7600");
}

static inline void fixture_keyset(struct trb_keyset *ret) {
  *ret = (struct trb_keyset){.version = 3, .has_next = true, .endpoint_count = 1};
  fixture_public(FIXTURE_ROOT_SEED, ret->root_public);
  fixture_public(FIXTURE_HUB_SEED, ret->sign_public);
  fixture_bytes(ret->curve_public, TRB_KEY_BYTES, 0x61);
  fixture_bytes(ret->curve_next, TRB_KEY_BYTES, 0x62);
  strcpy(ret->endpoints[0], "tcp://hub.example.com:7600");
}

/* Every field of a message filled with something told apart from its neighbours. `opaque` goes into every bytes field.
 */
static inline void fixture_message(enum wire_type type, struct trb_slice opaque, struct wire_message *ret) {
  memset(ret, 0, sizeof *ret);
  ret->type = type;
  uint8_t n = 0;
  switch (type) {
#define TRB_MESSAGE(name, number, from) \
  case number: {                        \
    struct wire_##name *m = &ret->name;
#define U(name) m->name = (uint64_t)++n * 1000;
#define I(name) m->name = ++n % 2 ? (int64_t)n * -100 : (int64_t)n * 1000000007;
#define S(name, max) ++n, m->name = trb_slice_str("文a1");
#define B(name, max) ++n, m->name = opaque;
#define F(name, len) fixture_bytes(m->name, len, (uint8_t)(++n * 16));
#define TRB_END \
  break;        \
  }
#include "messages.def"
#undef TRB_MESSAGE
#undef TRB_END
#undef U
#undef I
#undef S
#undef B
#undef F
    default: break;
  }
}

static const enum wire_type fixture_types[] = {
#define TRB_MESSAGE(name, number, from) WIRE_##name,
#define U(name)
#define I(name)
#define S(name, max)
#define B(name, max)
#define F(name, len)
#define TRB_END
#include "messages.def"
#undef TRB_MESSAGE
#undef TRB_END
#undef U
#undef I
#undef S
#undef B
#undef F
};
enum { FIXTURE_TYPES = sizeof fixture_types / sizeof *fixture_types };

#endif
