/* batch: sealed, peeked at and opened; see include/tributary/change.h and proto/PROTOCOL.md.
 *
 * A sealed batch is a msgpack array [header bin, signature bin, body bin]. The signature and the hash cover the header
 * bytes; the header holds the hash of the body as it travels, so both cover everything, and neither needs the body in
 * one piece with the header. */
#include <string.h>

#include "change_read.h"
#include "tributary/change.h"
#include "tributary/mp.h"
#include "tributary/zip.h"

#define DOMAIN "tributary batch v1"
enum {
  ENVELOPE_ITEMS = 3,
  HEADER_ITEMS = 13,
  SEGMENT_ITEMS = 5,
  DIGEST_ITEMS = 3,
  BODY_ITEMS = 2,
  ZIP_BYTES_MIN = 512, /* below it zstd saves too little to be worth its work */
  KNOWN_FLAGS = TRB_BATCH_CONTINUES | TRB_BATCH_ZSTD | TRB_BATCH_BASELINE,
};

/* ---- sealing ---- */

static void put_fixed(struct trb_buf *out, const void *bytes, size_t len) { mp_put_bin(out, trb_slice_of(bytes, len)); }

static void put_segment(struct trb_buf *out, const struct trb_segment *s) {
  mp_put_array(out, SEGMENT_ITEMS);
  mp_put_uint(out, s->first_mark);
  mp_put_int(out, s->at.wall_ms);
  mp_put_int(out, s->at.boot_ms);
  put_fixed(out, s->at.boot_id, sizeof s->at.boot_id);
  if (s->measured)
    mp_put_int(out, s->hub_minus_boot_ms);
  else
    mp_put_nil(out);
}

static void put_header(struct trb_buf *out, const struct trb_batch_header *h) {
  mp_put_array(out, HEADER_ITEMS);
  mp_put_uint(out, TRB_BATCH_VERSION);
  mp_put_str(out, h->site);
  put_fixed(out, h->incarnation, sizeof h->incarnation);
  mp_put_uint(out, h->sequence);
  put_fixed(out, h->previous, sizeof h->previous);
  mp_put_uint(out, h->flags);
  mp_put_uint(out, h->last_mark);
  mp_put_uint(out, h->change_count);
  mp_put_uint(out, h->raw_bytes);
  put_fixed(out, h->body_hash, sizeof h->body_hash);
  mp_put_int(out, h->sealed_ms);
  mp_put_array(out, h->segment_count);
  for (size_t i = 0; i < h->segment_count; i++) put_segment(out, &h->segments[i]);
  mp_put_array(out, h->digest_count);
  for (size_t i = 0; i < h->digest_count; i++) {
    mp_put_array(out, DIGEST_ITEMS);
    mp_put_uint(out, h->digests[i].table);
    mp_put_uint(out, h->digests[i].rows);
    mp_put_uint(out, h->digests[i].sum);
  }
}

/* Marks as differences from the mark before: small numbers, most of one byte. Modulo 2^64, so that any wall time
 * survives. */
static void put_body(struct trb_buf *out, const struct trb_batch *batch) {
  mp_put_array(out, BODY_ITEMS);
  mp_put_array(out, 2 * batch->mark_count);
  struct trb_mark_time last = {0};
  for (size_t i = 0; i < batch->mark_count; i++) {
    mp_put_uint(out, batch->marks[i].number - last.number);
    mp_put_int(out, (int64_t)((uint64_t)batch->marks[i].wall_ms - (uint64_t)last.wall_ms));
    last = batch->marks[i];
  }
  mp_put_array(out, batch->change_count);
  for (size_t i = 0; i < batch->change_count; i++) change_encode(&batch->changes[i], out);
}

static enum trb_status check_limits(const struct trb_batch *batch, struct trb_error *err) {
  const struct trb_batch_header *h = &batch->header;
  if (batch->change_count > TRB_BATCH_CHANGES_MAX || h->segment_count > TRB_SEGMENTS_MAX ||
      h->digest_count > TRB_BATCH_CHANGES_MAX)
    return trb_fail(err, TRB_FULL, "A batch has more than %d changes or %d clock segments.", TRB_BATCH_CHANGES_MAX,
                    TRB_SEGMENTS_MAX);
  TRB_ASSERT(h->sequence >= 1 && h->site.len);
  return TRB_OK;
}

static enum trb_status make_body(const struct trb_batch *batch, struct trb_buf *raw, struct trb_buf *zipped,
                                 struct trb_slice *ret, struct trb_error *err) {
  raw->limit = TRB_BATCH_RAW_MAX;
  put_body(raw, batch);
  if (raw->failed) return trb_fail(err, TRB_FULL, "A batch is larger than %u bytes.", TRB_BATCH_RAW_MAX);
  *ret = trb_buf_slice(raw);
  if (raw->len < ZIP_BYTES_MIN) return TRB_OK;
  if (zip_compress(*ret, zipped)) return trb_fail(err, TRB_NOMEM, "Out of memory while sealing a batch.");
  if (zipped->len < raw->len) *ret = trb_buf_slice(zipped);
  return TRB_OK;
}

enum trb_status batch_seal(struct trb_batch *batch, const struct crypto_signer *signer, struct trb_buf *out,
                           uint8_t ret_hash[TRB_HASH_BYTES], struct trb_error *err) {
  TRB_BUF_AUTO raw = {0};
  TRB_BUF_AUTO zipped = {0};
  TRB_BUF_AUTO header = {0};
  struct trb_slice body = {0};
  struct trb_batch_header *h = &batch->header;
  enum trb_status status = check_limits(batch, err);
  if (!status) status = make_body(batch, &raw, &zipped, &body, err);
  if (status) return status;
  h->change_count = (uint32_t)batch->change_count;
  h->raw_bytes = (uint32_t)raw.len;
  h->flags = (h->flags & ~(uint32_t)TRB_BATCH_ZSTD) | (body.data == raw.data ? 0 : TRB_BATCH_ZSTD);
  crypto_hash(body, h->body_hash);
  put_header(&header, h);
  uint8_t signature[TRB_SIGNATURE_BYTES];
  crypto_sign(signer, DOMAIN, trb_buf_slice(&header), signature);
  mp_put_array(out, ENVELOPE_ITEMS);
  mp_put_bin(out, trb_buf_slice(&header));
  put_fixed(out, signature, sizeof signature);
  mp_put_bin(out, body);
  if (header.failed || out->failed) return trb_fail(err, TRB_NOMEM, "Out of memory while sealing a batch.");
  crypto_hash(trb_buf_slice(&header), ret_hash);
  return TRB_OK;
}

/* ---- reading ---- */

static enum trb_status bad(struct trb_error *err, const char *why) {
  return trb_fail(err, TRB_PEER, "The batch cannot be accepted: %s.", why);
}

struct envelope {
  struct trb_slice header, signature, body;
};

static enum trb_status split(struct trb_slice sealed, struct envelope *ret, struct trb_error *err) {
  if (sealed.len > TRB_BATCH_BYTES_MAX) return bad(err, "it is larger than the limit");
  struct mp_reader r = mp_reader(sealed);
  size_t items = mp_get_array(&r);
  ret->header = mp_get_bin(&r);
  ret->signature = mp_get_bin(&r);
  ret->body = mp_get_bin(&r);
  if (r.failed || items != ENVELOPE_ITEMS || !mp_at_end(&r) || ret->signature.len != TRB_SIGNATURE_BYTES)
    return bad(err, "it is cut short or is no batch");
  return TRB_OK;
}

/* Numbers that end up in SQLite are at most INT64_MAX. */
static uint64_t get_count(struct mp_reader *r, uint64_t max) {
  uint64_t v = mp_get_uint(r);
  if (v > max) r->failed = true;
  return v;
}

static void get_segments(struct mp_reader *r, struct trb_batch_header *h) {
  h->segment_count = mp_get_array(r);
  if (h->segment_count > TRB_SEGMENTS_MAX) {
    h->segment_count = 0;
    r->failed = true;
  }
  for (size_t i = 0; i < h->segment_count && !r->failed; i++) {
    struct trb_segment *s = &h->segments[i];
    bool shape = mp_get_array(r) == SEGMENT_ITEMS;
    s->first_mark = get_count(r, INT64_MAX);
    s->at.wall_ms = mp_get_int(r);
    s->at.boot_ms = mp_get_int(r);
    mp_get_fixed(r, s->at.boot_id, sizeof s->at.boot_id);
    s->measured = !mp_try_nil(r);
    s->hub_minus_boot_ms = s->measured ? mp_get_int(r) : 0;
    if (!shape || (i && s->first_mark <= h->segments[i - 1].first_mark)) r->failed = true;
  }
}

/* False: no memory. */
static bool get_digests(struct mp_reader *r, struct trb_arena *arena, struct trb_batch_header *h) {
  h->digests = NULL;
  h->digest_count = mp_get_array(r);
  if (h->digest_count > TRB_BATCH_CHANGES_MAX) r->failed = true;
  if (r->failed || !h->digest_count) return true;
  h->digests = trb_arena_alloc(arena, h->digest_count * sizeof *h->digests);
  if (!h->digests) return false;
  for (size_t i = 0; i < h->digest_count && !r->failed; i++) {
    struct trb_digest *d = &h->digests[i];
    bool shape = mp_get_array(r) == DIGEST_ITEMS;
    d->table = (uint16_t)get_count(r, UINT16_MAX);
    d->rows = get_count(r, INT64_MAX);
    d->sum = mp_get_uint(r);
    if (!shape || (i && d->table <= h->digests[i - 1].table)) r->failed = true;
  }
  return true;
}

static void get_header_numbers(struct mp_reader *r, struct trb_batch_header *h) {
  h->site = mp_get_str(r);
  mp_get_fixed(r, h->incarnation, sizeof h->incarnation);
  h->sequence = get_count(r, INT64_MAX);
  mp_get_fixed(r, h->previous, sizeof h->previous);
  h->flags = (uint32_t)get_count(r, KNOWN_FLAGS);
  h->last_mark = get_count(r, INT64_MAX);
  h->change_count = (uint32_t)get_count(r, TRB_BATCH_CHANGES_MAX);
  h->raw_bytes = (uint32_t)get_count(r, TRB_BATCH_RAW_MAX);
  mp_get_fixed(r, h->body_hash, sizeof h->body_hash);
  h->sealed_ms = mp_get_int(r);
}

static enum trb_status read_header(struct trb_slice bytes, struct trb_arena *arena, struct trb_batch_header *ret,
                                   struct trb_error *err) {
  if (mp_check(bytes, NULL)) return bad(err, "its header is damaged");
  struct mp_reader r = mp_reader(bytes);
  size_t items = mp_get_array(&r);
  uint64_t version = mp_get_uint(&r);
  if (!r.failed && version != TRB_BATCH_VERSION)
    return trb_fail(err, TRB_PEER,
                    "The batch is of version %llu, this program reads version %d: upgrade headquarters first.",
                    (unsigned long long)version, TRB_BATCH_VERSION);
  get_header_numbers(&r, ret);
  get_segments(&r, ret);
  if (!get_digests(&r, arena, ret)) return trb_fail(err, TRB_NOMEM, "Out of memory while reading a batch.");
  if (r.failed || items != HEADER_ITEMS || !mp_at_end(&r)) return bad(err, "its header is damaged");
  if (!trb_site_valid(ret->site)) return bad(err, "its site name is not valid");
  static const uint8_t zeros[TRB_HASH_BYTES];
  bool first = memcmp(ret->previous, zeros, sizeof zeros) == 0;
  if (ret->sequence == 0 || first != (ret->sequence == 1)) return bad(err, "its place in the chain is not possible");
  return TRB_OK;
}

enum trb_status batch_peek(struct trb_slice sealed, struct trb_arena *arena, struct trb_batch_header *ret,
                           uint8_t ret_hash[TRB_HASH_BYTES], struct trb_error *err) {
  struct envelope envelope;
  struct trb_batch_header header = {0};
  enum trb_status status = split(sealed, &envelope, err);
  if (!status) status = read_header(envelope.header, arena, &header, err);
  if (status) return status;
  crypto_hash(envelope.header, ret_hash);
  *ret = header;
  return TRB_OK;
}

static enum trb_status expand(const struct trb_batch_header *h, struct trb_slice body, struct trb_arena *arena,
                              struct trb_slice *ret, struct trb_error *err) {
  uint8_t hash[TRB_HASH_BYTES];
  crypto_hash(body, hash);
  if (memcmp(hash, h->body_hash, sizeof hash) != 0) return bad(err, "its content is damaged");
  if (!(h->flags & TRB_BATCH_ZSTD)) {
    *ret = body;
    return body.len == h->raw_bytes ? TRB_OK : bad(err, "its content does not have the size it states");
  }
  uint8_t *raw = trb_arena_alloc(arena, h->raw_bytes);
  if (!raw) return trb_fail(err, TRB_NOMEM, "Out of memory while opening a batch.");
  enum trb_status status = zip_expand_into(body, raw, h->raw_bytes, NULL);
  if (status == TRB_NOMEM) return trb_fail(err, TRB_NOMEM, "Out of memory while opening a batch.");
  if (status) return bad(err, "its content cannot be expanded");
  *ret = trb_slice_of(raw, h->raw_bytes);
  return TRB_OK;
}

static enum trb_status read_marks(struct mp_reader *r, struct trb_arena *arena, struct trb_batch *batch,
                                  struct trb_error *err) {
  const struct trb_batch_header *h = &batch->header;
  size_t items = mp_get_array(r);
  batch->mark_count = items / 2;
  if (r->failed || items % 2) return bad(err, "its marks are damaged");
  if (!batch->mark_count) return TRB_OK;
  batch->marks = trb_arena_alloc(arena, batch->mark_count * sizeof *batch->marks);
  if (!batch->marks) return trb_fail(err, TRB_NOMEM, "Out of memory while opening a batch.");
  struct trb_mark_time last = {0};
  for (size_t i = 0; i < batch->mark_count; i++) {
    uint64_t step = mp_get_uint(r);
    uint64_t wall = (uint64_t)mp_get_int(r);
    if (r->failed || step == 0 || step > h->last_mark - last.number)
      return bad(err, "its marks are not in ascending order");
    last.number += step;
    last.wall_ms = (int64_t)((uint64_t)last.wall_ms + wall);
    batch->marks[i] = last;
  }
  if (!h->segment_count || h->segments[0].first_mark > batch->marks[0].number)
    return bad(err, "its clock segments do not cover its marks");
  return TRB_OK;
}

static bool marks_within(const struct trb_change *change, size_t mark_count) {
  bool ok = change->mark < mark_count;
  for (size_t i = 0; i < change->cell_count; i++) ok = ok && change->cells[i].mark < mark_count;
  return ok;
}

static enum trb_status read_changes(struct mp_reader *r, struct trb_arena *arena, struct trb_batch *batch,
                                    struct trb_error *err) {
  batch->change_count = mp_get_array(r);
  if (r->failed || batch->change_count != batch->header.change_count) return bad(err, "its changes are miscounted");
  if (!batch->change_count) return TRB_OK;
  batch->changes = trb_arena_alloc(arena, batch->change_count * sizeof *batch->changes);
  if (!batch->changes) return trb_fail(err, TRB_NOMEM, "Out of memory while opening a batch.");
  for (size_t i = 0; i < batch->change_count; i++) {
    const char *why = change_read(r, arena, &batch->changes[i]);
    if (why == change_read_nomem) return trb_fail(err, TRB_NOMEM, "Out of memory while opening a batch.");
    if (!why && !marks_within(&batch->changes[i], batch->mark_count)) why = "it names a mark that is not there";
    if (why) return trb_fail(err, TRB_PEER, "The batch cannot be accepted: change %zu: %s.", i + 1, why);
  }
  return TRB_OK;
}

static enum trb_status read_body(struct trb_slice raw, struct trb_arena *arena, struct trb_batch *batch,
                                 struct trb_error *err) {
  if (mp_check(raw, NULL)) return bad(err, "its content is not well formed");
  struct mp_reader r = mp_reader(raw);
  if (mp_get_array(&r) != BODY_ITEMS) return bad(err, "its content is not well formed");
  enum trb_status status = read_marks(&r, arena, batch, err);
  if (!status) status = read_changes(&r, arena, batch, err);
  return status; /* one checked array of two, both taken: nothing can be left */
}

enum trb_status batch_open(struct trb_slice sealed, const uint8_t sign_public[TRB_KEY_BYTES], struct trb_arena *arena,
                           struct trb_batch *ret, uint8_t ret_hash[TRB_HASH_BYTES], struct trb_error *err) {
  struct envelope envelope;
  struct trb_batch batch = {0};
  struct trb_slice raw = {0};
  enum trb_status status = split(sealed, &envelope, err);
  if (status) return status;
  /* The signature first: nothing else of a stranger's bytes is looked at. */
  if (!crypto_verify(sign_public, DOMAIN, envelope.header, envelope.signature.data))
    return bad(err, "its signature is not the site's");
  status = read_header(envelope.header, arena, &batch.header, err);
  if (!status) status = expand(&batch.header, envelope.body, arena, &raw, err);
  if (!status) status = read_body(raw, arena, &batch, err);
  if (status) return status;
  crypto_hash(envelope.header, ret_hash);
  *ret = batch;
  return TRB_OK;
}
