/* batch and ack: sealed, opened, and never accepted damaged. */
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "codec_fixture.h"
#include "tributary/mp.h"

static uint8_t site_public[TRB_KEY_BYTES], hub_public[TRB_KEY_BYTES];

static int setup(void **state) {
  (void)state;
  fixture_public(FIXTURE_SITE_SEED, site_public);
  fixture_public(FIXTURE_HUB_SEED, hub_public);
  return 0;
}

static void expect_change(const struct trb_change *a, const struct trb_change *b) {
  assert_int_equal(a->table, b->table);
  assert_int_equal(a->op, b->op);
  assert_int_equal(a->mark, b->mark);
  assert_true(trb_slice_equal(a->id, b->id));
  assert_int_equal(a->cell_count, b->cell_count);
  for (size_t i = 0; i < a->cell_count; i++) {
    assert_int_equal(a->cells[i].column, b->cells[i].column);
    assert_int_equal(a->cells[i].mark, b->cells[i].mark);
    assert_true(trb_value_equal(a->cells[i].value, b->cells[i].value));
  }
}

static void expect_header(const struct trb_batch_header *a, const struct trb_batch_header *b) {
  assert_true(trb_slice_equal(a->site, b->site));
  assert_memory_equal(a->incarnation, b->incarnation, sizeof a->incarnation);
  assert_int_equal(a->sequence, b->sequence);
  assert_memory_equal(a->previous, b->previous, sizeof a->previous);
  assert_int_equal(a->flags, b->flags);
  assert_int_equal(a->last_mark, b->last_mark);
  assert_int_equal(a->change_count, b->change_count);
  assert_int_equal(a->raw_bytes, b->raw_bytes);
  assert_memory_equal(a->body_hash, b->body_hash, sizeof a->body_hash);
  assert_int_equal(a->sealed_ms, b->sealed_ms);
  assert_int_equal(a->segment_count, b->segment_count);
  for (size_t i = 0; i < a->segment_count; i++) {
    assert_int_equal(a->segments[i].first_mark, b->segments[i].first_mark);
    assert_int_equal(a->segments[i].at.wall_ms, b->segments[i].at.wall_ms);
    assert_int_equal(a->segments[i].at.boot_ms, b->segments[i].at.boot_ms);
    assert_memory_equal(a->segments[i].at.boot_id, b->segments[i].at.boot_id, TRB_BOOT_ID_BYTES);
    assert_int_equal(a->segments[i].measured, b->segments[i].measured);
    assert_int_equal(a->segments[i].hub_minus_boot_ms, b->segments[i].hub_minus_boot_ms);
  }
  assert_int_equal(a->digest_count, b->digest_count);
  for (size_t i = 0; i < a->digest_count; i++) {
    assert_int_equal(a->digests[i].table, b->digests[i].table);
    assert_int_equal(a->digests[i].rows, b->digests[i].rows);
    assert_true(a->digests[i].sum == b->digests[i].sum);
  }
}

static void batch_open_gives_back_what_was_sealed(void **state) {
  (void)state;
  struct fixture f;
  struct trb_batch_header peeked;
  struct trb_batch opened;
  uint8_t sealed_hash[TRB_HASH_BYTES], peek_hash[TRB_HASH_BYTES], open_hash[TRB_HASH_BYTES];
  TRB_BUF_AUTO sealed = {0};
  TRB_ARENA_AUTO arena = {0};
  struct trb_error err = {0};
  fixture_seal(&f, &sealed, sealed_hash);
  assert_int_equal(batch_peek(trb_buf_slice(&sealed), &arena, &peeked, peek_hash, &err), TRB_OK);
  assert_int_equal(batch_open(trb_buf_slice(&sealed), site_public, &arena, &opened, open_hash, &err), TRB_OK);
  assert_memory_equal(sealed_hash, peek_hash, TRB_HASH_BYTES);
  assert_memory_equal(sealed_hash, open_hash, TRB_HASH_BYTES);
  expect_header(&f.batch.header, &peeked);
  expect_header(&f.batch.header, &opened.header);
  assert_int_equal(opened.mark_count, FIXTURE_MARKS);
  for (size_t i = 0; i < FIXTURE_MARKS; i++) {
    assert_int_equal(opened.marks[i].number, f.marks[i].number);
    assert_int_equal(opened.marks[i].wall_ms, f.marks[i].wall_ms);
  }
  assert_int_equal(opened.change_count, FIXTURE_CHANGES);
  for (size_t i = 0; i < FIXTURE_CHANGES; i++) expect_change(&opened.changes[i], &f.changes[i]);
}

/* Opens an exact copy, so that the address sanitizer sees every read past the end. */
static enum trb_status open_copy(const uint8_t *bytes, size_t len, const uint8_t key[TRB_KEY_BYTES]) {
  uint8_t *exact = malloc(len ? len : 1), hash[TRB_HASH_BYTES];
  TRB_ARENA_AUTO arena = {0};
  struct trb_batch opened;
  struct trb_batch_header header;
  memcpy(exact, bytes, len);
  batch_peek(trb_slice_of(exact, len), &arena, &header, hash, NULL); /* may accept; must not crash */
  enum trb_status status = batch_open(trb_slice_of(exact, len), key, &arena, &opened, hash, NULL);
  free(exact);
  return status;
}

static void batch_open_refuses_every_truncation(void **state) {
  (void)state;
  struct fixture f;
  uint8_t hash[TRB_HASH_BYTES];
  TRB_BUF_AUTO sealed = {0};
  fixture_seal(&f, &sealed, hash);
  for (size_t len = 0; len < sealed.len; len++) assert_int_equal(open_copy(sealed.data, len, site_public), TRB_PEER);
  trb_buf_append_byte(&sealed, 0);
  assert_int_equal(open_copy(sealed.data, sealed.len, site_public), TRB_PEER);
}

static void batch_open_refuses_every_flipped_bit(void **state) {
  (void)state;
  struct fixture f;
  uint8_t hash[TRB_HASH_BYTES];
  TRB_BUF_AUTO sealed = {0};
  fixture_seal(&f, &sealed, hash);
  for (size_t bit = 0; bit < 8 * sealed.len; bit++) {
    sealed.data[bit / 8] ^= (uint8_t)(1u << bit % 8);
    assert_int_equal(open_copy(sealed.data, sealed.len, site_public), TRB_PEER);
    sealed.data[bit / 8] ^= (uint8_t)(1u << bit % 8);
  }
  assert_int_equal(open_copy(sealed.data, sealed.len, site_public), TRB_OK);
}

static void batch_open_refuses_another_sites_key(void **state) {
  (void)state;
  struct fixture f;
  uint8_t hash[TRB_HASH_BYTES], zeros[TRB_KEY_BYTES] = {0};
  TRB_BUF_AUTO sealed = {0};
  fixture_seal(&f, &sealed, hash);
  assert_int_equal(open_copy(sealed.data, sealed.len, hub_public), TRB_PEER);
  assert_int_equal(open_copy(sealed.data, sealed.len, zeros), TRB_PEER);
}

/* Seals a header and a body given as they are: what an enrolled but hostile branch could sign. */
static enum trb_status open_forged(const struct trb_buf *header, struct trb_slice body) {
  struct crypto_signer *signer = fixture_signer(FIXTURE_SITE_SEED);
  uint8_t signature[TRB_SIGNATURE_BYTES];
  TRB_BUF_AUTO sealed = {0};
  crypto_sign(signer, "tributary batch v1", trb_buf_slice(header), signature);
  crypto_signer_free(&signer);
  mp_put_array(&sealed, 3);
  mp_put_bin(&sealed, trb_buf_slice(header));
  mp_put_bin(&sealed, trb_slice_of(signature, sizeof signature));
  mp_put_bin(&sealed, body);
  return open_copy(sealed.data, sealed.len, site_public);
}

struct forged {
  uint64_t version, sequence, flags, last_mark, changes, raw_bytes;
  uint8_t previous;
  const char *site;
  size_t segments;
  uint64_t first_mark, mark_step;
};
static const struct forged honest = {1, 2, 0, 100, 1, 0, 9, "site1", 1, 1, 1};

static void forge_header(const struct forged *o, struct trb_slice body, struct trb_buf *h) {
  uint8_t bytes[32] = {0}, previous[32] = {o->previous};
  uint8_t body_hash[TRB_HASH_BYTES];
  crypto_hash(body, body_hash);
  mp_put_array(h, 13);
  mp_put_uint(h, o->version);
  mp_put_str(h, trb_slice_str(o->site));
  mp_put_bin(h, trb_slice_of(bytes, 16));
  mp_put_uint(h, o->sequence);
  mp_put_bin(h, trb_slice_of(previous, 32));
  mp_put_uint(h, o->flags);
  mp_put_uint(h, o->last_mark);
  mp_put_uint(h, o->changes);
  mp_put_uint(h, o->raw_bytes ? o->raw_bytes : body.len);
  mp_put_bin(h, trb_slice_of(body_hash, sizeof body_hash));
  mp_put_int(h, 0);
  mp_put_array(h, o->segments);
  for (size_t i = 0; i < o->segments; i++) {
    mp_put_array(h, 5);
    mp_put_uint(h, o->first_mark + i * o->mark_step);
    mp_put_int(h, 0);
    mp_put_int(h, 0);
    mp_put_bin(h, trb_slice_of(bytes, 16));
    mp_put_nil(h);
  }
  mp_put_array(h, 0);
}

static enum trb_status open_with(struct forged o, struct trb_slice body) {
  TRB_BUF_AUTO header = {0};
  forge_header(&o, body, &header);
  return open_forged(&header, body);
}

/* [[5, 0, 2, 0], [[1, op, 0, "x", ...]]] built from hex of the changes. */
static struct trb_slice body_of(struct trb_buf *buf, const char *marks_hex, const char *changes_hex) {
  uint8_t bytes[512];
  trb_buf_clear(buf);
  mp_put_array(buf, 2);
  assert_true(trb_unhex(marks_hex, bytes, strlen(marks_hex) / 2));
  trb_buf_append(buf, bytes, strlen(marks_hex) / 2);
  assert_true(trb_unhex(changes_hex, bytes, strlen(changes_hex) / 2));
  trb_buf_append(buf, bytes, strlen(changes_hex) / 2);
  return trb_buf_slice(buf);
}
#define MARKS "9405000200" /* marks 5 and 7 */
#define PUT \
  "91"      \
  "97"      \
  "010101"  \
  "a178"    \
  "0400a161" /* one PUT of table 1, mark 1, id x, column 4, mark 0, "a" */

static void batch_open_refuses_a_signed_header_that_lies(void **state) {
  (void)state;
  TRB_BUF_AUTO buf = {0};
  struct trb_slice body = body_of(&buf, MARKS, PUT);
  struct forged o;
  assert_int_equal(open_with(honest, body), TRB_OK);
#define REFUSED(field, value) o = honest, o.field = (value), assert_int_equal(open_with(o, body), TRB_PEER)
  REFUSED(version, 2);
  REFUSED(sequence, 0);
  REFUSED(sequence, 1); /* with a batch before it */
  REFUSED(sequence, (uint64_t)INT64_MAX + 1);
  REFUSED(previous, 0); /* sequence 2 with none before it */
  REFUSED(flags, 8);
  REFUSED(flags, TRB_BATCH_ZSTD);
  REFUSED(last_mark, 6); /* mark 7 is in it */
  REFUSED(changes, 0);
  REFUSED(changes, 2);
  REFUSED(changes, TRB_BATCH_CHANGES_MAX + 1);
  REFUSED(raw_bytes, body.len + 1);
  REFUSED(raw_bytes, TRB_BATCH_RAW_MAX + 1);
  REFUSED(site, "");
  REFUSED(site, "Site 1");
  REFUSED(segments, 0);
  REFUSED(segments, TRB_SEGMENTS_MAX + 1);
  REFUSED(first_mark, 6); /* mark 5 is before it */
  o = honest, o.segments = TRB_SEGMENTS_MAX;
  assert_int_equal(open_with(o, body), TRB_OK);
  o.mark_step = 0; /* not ascending */
  assert_int_equal(open_with(o, body), TRB_PEER);
}

static void batch_open_refuses_a_signed_body_that_is_malformed(void **state) {
  (void)state;
  static const struct {
    const char *marks, *changes;
  } cases[] = {
      {"93050002", PUT},                               /* odd number of marks' items */
      {"9405000000", PUT},                             /* the same mark twice */
      {"9405006000", PUT},                             /* beyond last_mark */
      {"94050002ff", "9197010501a1780400a161"},        /* operation 5 */
      {MARKS, "9197010001a1780400a161"},               /* operation 0 */
      {MARKS, "9197010102a1780400a161"},               /* mark 2 of two */
      {MARKS, "9197010101a1780402a161"},               /* a cell's mark 2 of two */
      {MARKS, "9197010101a1780000a161"},               /* column 0 */
      {MARKS, "919a010101a1780400a1610400a161"},       /* the same column twice */
      {MARKS, "919a010101a1780500a1610400a161"},       /* not ascending */
      {MARKS, "9197010301a1780400a161"},               /* a delete with a column */
      {MARKS, "9197010101c401780400a161"},             /* the id as bytes */
      {MARKS, "9197010101a178040090"},                 /* an array as a value */
      {MARKS, "9197010101a1780400c3"},                 /* a boolean as a value */
      {MARKS, "9197010101a1780400cfffffffffffffffff"}, /* beyond an SQL integer */
      {MARKS, "9196010101a1780400"},                   /* a cell without a value */
      {MARKS, "9197ce000100000101a1780400a161"},       /* table 65536 */
      {MARKS, "91c0"},
      {"c0", PUT},
  };
  TRB_BUF_AUTO buf = {0};
  for (size_t i = 0; i < sizeof cases / sizeof *cases; i++)
    assert_int_equal(open_with(honest, body_of(&buf, cases[i].marks, cases[i].changes)), TRB_PEER);
  struct trb_slice body = body_of(&buf, MARKS, PUT);
  trb_buf_append_byte(&buf, 0);
  body = trb_buf_slice(&buf);
  assert_int_equal(open_with(honest, body), TRB_PEER);
  uint8_t bomb[] = {0x92, 0x90, 0xdd, 0xff, 0xff, 0xff, 0xff};
  assert_int_equal(open_with(honest, trb_slice_of(bomb, sizeof bomb)), TRB_PEER);
  uint8_t deep[64];
  memset(deep, 0x91, sizeof deep);
  assert_int_equal(open_with(honest, trb_slice_of(deep, sizeof deep)), TRB_PEER);
}

static void batch_open_keeps_text_that_is_not_utf8(void **state) {
  (void)state;
  TRB_BUF_AUTO buf = {0};
  assert_int_equal(open_with(honest, body_of(&buf, MARKS, "9197010101a1ff0400a2fffe")), TRB_OK);
}

static void batch_open_refuses_a_zstd_bomb(void **state) {
  (void)state;
  /* 1 GiB of zeros in a few kB: promised as 1 MiB, and promised as it is. */
  struct forged o = honest;
  TRB_BUF_AUTO frame = {0};
  uint8_t head[] = {0x28, 0xb5, 0x2f, 0xfd, 0xa0, 0, 0, 0, 0x40, 0x50, 0, 0}; /* content size 2^30 */
  trb_buf_append(&frame, head, 9);
  for (int i = 0; i < 8192; i++) { /* RLE blocks of 128 KiB */
    uint32_t block = (uint32_t)(128u << 10) << 3 | 1u << 1 | (i == 8191);
    uint8_t bytes[4] = {(uint8_t)block, (uint8_t)(block >> 8), (uint8_t)(block >> 16), 0};
    trb_buf_append(&frame, bytes, 4);
  }
  o.flags = TRB_BATCH_ZSTD;
  o.raw_bytes = TRB_BATCH_RAW_MAX;
  assert_int_equal(open_with(o, trb_buf_slice(&frame)), TRB_PEER);
  o.raw_bytes = 1u << 30;
  assert_int_equal(open_with(o, trb_buf_slice(&frame)), TRB_PEER);
}

static void make_large(struct trb_batch *batch, struct trb_arena *arena, size_t changes, size_t text_bytes) {
  memset(batch, 0, sizeof *batch);
  char *text = trb_arena_alloc(arena, text_bytes + 1);
  uint32_t random = 12345;
  for (size_t i = 0; i < text_bytes; i++)
    text[i] = (char)('!' + (random = random * 1664525u + 1013904223u) / 50000000u);
  batch->marks = trb_arena_alloc(arena, changes * sizeof *batch->marks);
  batch->changes = trb_arena_alloc(arena, changes * sizeof *batch->changes);
  for (size_t i = 0; i < changes; i++) {
    char id[32];
    snprintf(id, sizeof id, "row-%zu", i);
    bool ok = true;
    struct trb_cell *cells = trb_arena_alloc(arena, 2 * sizeof *cells);
    cells[0] = fixture_cell(4, (uint32_t)i, trb_text("person"));
    cells[1] = fixture_cell(5, (uint32_t)i, trb_text(text));
    batch->marks[i] = (struct trb_mark_time){i + 1, i % 2 ? INT64_MIN : INT64_MAX};
    batch->changes[i] =
        (struct trb_change){1, TRB_OP_PUT, (uint32_t)i, trb_arena_copy(arena, trb_slice_str(id), &ok), 2, cells};
  }
  batch->mark_count = batch->change_count = changes;
  batch->header.site = trb_slice_str("site1");
  batch->header.sequence = 1;
  batch->header.last_mark = changes;
  batch->header.segment_count = 1;
  batch->header.segments[0].first_mark = 1;
}

static void batch_seal_keeps_its_limits(void **state) {
  (void)state;
  struct crypto_signer *signer = fixture_signer(FIXTURE_SITE_SEED);
  uint8_t hash[TRB_HASH_BYTES];
  struct trb_batch batch, opened;
  TRB_ARENA_AUTO arena = {0};
  TRB_BUF_AUTO sealed = {0};
  make_large(&batch, &arena, TRB_BATCH_CHANGES_MAX, 900);
  assert_int_equal(batch_seal(&batch, signer, &sealed, hash, NULL), TRB_OK);
  assert_true(batch.header.flags & TRB_BATCH_ZSTD);
  assert_true(batch.header.raw_bytes > 900000 &&
              sealed.len < batch.header.raw_bytes / 4); /* the same text in every row */
  assert_int_equal(batch_open(trb_buf_slice(&sealed), site_public, &arena, &opened, hash, NULL), TRB_OK);
  assert_true(opened.marks[1].wall_ms == INT64_MIN && opened.marks[998].wall_ms == INT64_MAX);
  expect_change(&opened.changes[999], &batch.changes[999]);
  trb_buf_clear(&sealed);
  make_large(&batch, &arena, TRB_BATCH_CHANGES_MAX, 1100);
  assert_int_equal(batch_seal(&batch, signer, &sealed, hash, NULL), TRB_FULL); /* over 1 MiB */
  make_large(&batch, &arena, TRB_BATCH_CHANGES_MAX + 1, 10);
  assert_int_equal(batch_seal(&batch, signer, &sealed, hash, NULL), TRB_FULL);
  assert_int_equal(sealed.len, 0);
  crypto_signer_free(&signer);
}

static void batch_open_stops_at_the_arenas_limit(void **state) {
  (void)state;
  struct fixture f;
  uint8_t hash[TRB_HASH_BYTES];
  struct trb_batch opened;
  TRB_BUF_AUTO sealed = {0};
  fixture_seal(&f, &sealed, hash);
  enum trb_status status = TRB_NOMEM;
  for (size_t limit = 16; status; limit += 16) {
    TRB_ARENA_AUTO arena = {.limit = limit};
    status = batch_open(trb_buf_slice(&sealed), site_public, &arena, &opened, hash, NULL);
    assert_true(status == TRB_NOMEM || (status == TRB_OK && limit > 200));
  }
}

static void ack_open_gives_back_what_was_sealed_and_refuses_damage(void **state) {
  (void)state;
  struct fixture f;
  struct trb_ack ack, opened;
  uint8_t hash[TRB_HASH_BYTES];
  TRB_BUF_AUTO sealed = {0};
  TRB_BUF_AUTO bytes = {0};
  TRB_ARENA_AUTO arena = {0};
  struct crypto_signer *hub = fixture_signer(FIXTURE_HUB_SEED);
  fixture_seal(&f, &sealed, hash);
  fixture_ack(&f, hash, &ack);
  ack_seal(&ack, hub, &bytes);
  crypto_signer_free(&hub);
  assert_int_equal(ack_open(trb_buf_slice(&bytes), hub_public, &arena, &opened, NULL), TRB_OK);
  assert_true(trb_slice_equal(opened.site, ack.site));
  assert_int_equal(opened.sequence, 2);
  assert_memory_equal(opened.hash, hash, sizeof hash);
  assert_memory_equal(opened.incarnation, ack.incarnation, sizeof ack.incarnation);
  assert_true(opened.acceptance.commit == ack.acceptance.commit && opened.acceptance.limit == ack.acceptance.limit);
  assert_true(opened.acceptance.base == ack.acceptance.base);
  assert_int_equal(opened.acceptance.segment_count, 2);
  assert_false(opened.acceptance.verified[0]);
  assert_true(opened.acceptance.verified[1]);
  assert_int_equal(opened.acceptance.correction_ms[1], ack.acceptance.correction_ms[1]);
  assert_int_equal(ack_open(trb_buf_slice(&bytes), site_public, &arena, &opened, NULL), TRB_PEER);
  for (size_t bit = 0; bit < 8 * bytes.len; bit++) {
    bytes.data[bit / 8] ^= (uint8_t)(1u << bit % 8);
    assert_int_equal(ack_open(trb_buf_slice(&bytes), hub_public, &arena, &opened, NULL), TRB_PEER);
    bytes.data[bit / 8] ^= (uint8_t)(1u << bit % 8);
  }
  for (size_t len = 0; len < bytes.len; len++)
    assert_int_equal(ack_open(trb_slice_of(bytes.data, len), hub_public, &arena, &opened, NULL), TRB_PEER);
}

static void a_batchs_signature_does_not_serve_as_an_acks(void **state) {
  (void)state;
  struct crypto_signer *hub = fixture_signer(FIXTURE_HUB_SEED);
  uint8_t signature[TRB_SIGNATURE_BYTES];
  struct trb_slice data = trb_slice_str("the same bytes");
  crypto_sign(hub, "tributary batch v1", data, signature);
  assert_true(crypto_verify(hub_public, "tributary batch v1", data, signature));
  assert_false(crypto_verify(hub_public, "tributary ack v1", data, signature));
  crypto_signer_free(&hub);
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(batch_open_gives_back_what_was_sealed),
      cmocka_unit_test(batch_open_refuses_every_truncation),
      cmocka_unit_test(batch_open_refuses_every_flipped_bit),
      cmocka_unit_test(batch_open_refuses_another_sites_key),
      cmocka_unit_test(batch_open_refuses_a_signed_header_that_lies),
      cmocka_unit_test(batch_open_refuses_a_signed_body_that_is_malformed),
      cmocka_unit_test(batch_open_keeps_text_that_is_not_utf8),
      cmocka_unit_test(batch_open_refuses_a_zstd_bomb),
      cmocka_unit_test(batch_seal_keeps_its_limits),
      cmocka_unit_test(batch_open_stops_at_the_arenas_limit),
      cmocka_unit_test(ack_open_gives_back_what_was_sealed_and_refuses_damage),
      cmocka_unit_test(a_batchs_signature_does_not_serve_as_an_acks),
  };
  return cmocka_run_group_tests_name("batch", tests, setup, NULL);
}
