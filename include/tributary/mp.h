/* mp: msgpack. The msgpack-c room (common/mp.c). Pure, any thread.
 *
 * Writing is canonical (shortest integers, str for TEXT, bin for BLOB, float64), so equal values give equal bytes.
 * Reading is a cursor over bytes that were first checked by mp_check(): every container's count fits in the bytes that
 * are left and depth is at most TRB_MP_DEPTH_MAX (msgpack-c trusts container sizes), so reading never allocates. */
#ifndef TRIBUTARY_MP_H
#define TRIBUTARY_MP_H

#include "tributary/value.h"

#define TRB_MP_DEPTH_MAX 16

void mp_put_nil(struct trb_buf *out);
void mp_put_bool(struct trb_buf *out, bool v);
void mp_put_uint(struct trb_buf *out, uint64_t v);
void mp_put_int(struct trb_buf *out, int64_t v);
void mp_put_real(struct trb_buf *out, double v);
void mp_put_str(struct trb_buf *out, struct trb_slice s);
void mp_put_bin(struct trb_buf *out, struct trb_slice s);
void mp_put_array(struct trb_buf *out, size_t count);
void mp_put_map(struct trb_buf *out, size_t count);
void mp_put_value(struct trb_buf *out, struct trb_value value);
/* The encoding of a value without the content of a TEXT or BLOB; its length. For hashing a value without copying it. */
#define TRB_MP_HEAD_MAX 9
size_t mp_value_head(struct trb_value value, uint8_t ret[TRB_MP_HEAD_MAX]);

/* TRB_PEER unless `bytes` is exactly one well-formed value (nothing behind it). O(bytes), no recursion, no memory.
 * Extension types are refused; integers of any width and float32 are read though they are never written. */
enum trb_status mp_check(struct trb_slice bytes, struct trb_error *err);

/* A cursor with a sticky failure: after the first wrong type every get gives zero and `failed` stays; check once at the
 * end. */
struct mp_reader {
  const uint8_t *at, *end;
  bool failed;
};
struct mp_reader mp_reader(struct trb_slice checked);
bool mp_at_end(const struct mp_reader *r);
uint64_t mp_get_uint(struct mp_reader *r);
int64_t mp_get_int(struct mp_reader *r);
bool mp_get_bool(struct mp_reader *r);
struct trb_slice mp_get_str(struct mp_reader *r);
struct trb_slice mp_get_bin(struct mp_reader *r);
/* bin of exactly len bytes copied to ret */
void mp_get_fixed(struct mp_reader *r, void *ret, size_t len);
size_t mp_get_array(struct mp_reader *r);
size_t mp_get_map(struct mp_reader *r);
struct trb_value mp_get_value(struct mp_reader *r); /* nil int real str bin; bool and containers fail */
bool mp_try_nil(struct mp_reader *r);               /* takes a nil if one stands */
struct trb_slice mp_get_raw(struct mp_reader *r);   /* skips one whole value, giving its bytes */

#endif
