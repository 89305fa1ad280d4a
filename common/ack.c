/* ack: the hub's signed acknowledgement of one batch; see include/tributary/change.h. */
#include "envelope.h"
#include "tributary/change.h"

#define DOMAIN "tributary ack v1"
enum { ACK_VERSION = 1, ACK_ITEMS = 9, ACK_BYTES_MAX = 4096 };

void ack_seal(const struct trb_ack *ack, const struct crypto_signer *hub, struct trb_buf *out) {
  TRB_BUF_AUTO payload = {0};
  const struct trb_acceptance *a = &ack->acceptance;
  TRB_ASSERT(a->segment_count <= TRB_SEGMENTS_MAX);
  mp_put_array(&payload, ACK_ITEMS);
  mp_put_uint(&payload, ACK_VERSION);
  mp_put_str(&payload, ack->site);
  mp_put_bin(&payload, trb_slice_of(ack->incarnation, sizeof ack->incarnation));
  mp_put_uint(&payload, ack->sequence);
  mp_put_bin(&payload, trb_slice_of(ack->hash, sizeof ack->hash));
  mp_put_uint(&payload, a->commit);
  mp_put_uint(&payload, a->limit);
  mp_put_uint(&payload, a->base);
  mp_put_array(&payload, a->segment_count);
  for (size_t i = 0; i < a->segment_count; i++) {
    mp_put_array(&payload, 2);
    mp_put_int(&payload, a->correction_ms[i]);
    mp_put_bool(&payload, a->verified[i]);
  }
  envelope_seal(&payload, hub, DOMAIN, out);
}

static void get_segments(struct mp_reader *r, struct trb_acceptance *a) {
  a->segment_count = mp_get_array(r);
  if (a->segment_count > TRB_SEGMENTS_MAX) {
    a->segment_count = 0;
    r->failed = true;
  }
  for (size_t i = 0; i < a->segment_count; i++) {
    if (mp_get_array(r) != 2) r->failed = true;
    a->correction_ms[i] = mp_get_int(r);
    a->verified[i] = mp_get_bool(r);
  }
}

static bool read_ack(struct trb_slice payload, struct trb_ack *ret) {
  struct mp_reader r = mp_reader(payload);
  struct trb_acceptance *a = &ret->acceptance;
  size_t items = mp_get_array(&r);
  uint64_t version = mp_get_uint(&r);
  ret->site = mp_get_str(&r);
  mp_get_fixed(&r, ret->incarnation, sizeof ret->incarnation);
  ret->sequence = mp_get_uint(&r);
  mp_get_fixed(&r, ret->hash, sizeof ret->hash);
  a->commit = mp_get_uint(&r);
  a->limit = mp_get_uint(&r);
  a->base = mp_get_uint(&r);
  get_segments(&r, a);
  return !r.failed && mp_at_end(&r) && items == ACK_ITEMS && version == ACK_VERSION && trb_site_valid(ret->site) &&
         ret->sequence >= 1 && ret->sequence <= INT64_MAX && a->limit <= INT64_MAX && a->commit <= INT64_MAX &&
         a->base <= INT64_MAX;
}

enum trb_status ack_open(struct trb_slice sealed, const uint8_t hub_public[TRB_KEY_BYTES], struct trb_arena *arena,
                         struct trb_ack *ret, struct trb_error *err) {
  (void)arena; /* everything fits in *ret; the site borrows from `sealed` */
  struct trb_slice payload;
  struct trb_ack ack = {0};
  if (sealed.len > ACK_BYTES_MAX) return trb_fail(err, TRB_PEER, "The acknowledgement is larger than the limit.");
  enum trb_status status = envelope_open(sealed, hub_public, DOMAIN, &payload);
  if (status == TRB_DENIED) return trb_fail(err, TRB_PEER, "The acknowledgement is not signed by the hub.");
  if (status || !read_ack(payload, &ack)) return trb_fail(err, TRB_PEER, "The acknowledgement cannot be read.");
  *ret = ack;
  return TRB_OK;
}
