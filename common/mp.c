/* mp: see include/tributary/mp.h.
 *
 * Writing uses msgpack-c's packer, which always takes the shortest form. Reading does not use msgpack-c's unpacker: it
 * trusts container sizes (a five-byte frame asks malloc for gigabytes) and builds objects of about
 * 24 times the input. A cursor over the bytes in place allocates nothing, so a megabyte of hostile input costs a
 * megabyte. mp_check() proves the shape once; the cursor still checks every bound itself, so that a caller's mistake
 * is a failed read and never a wild one. */
#include "tributary/mp.h"

#include <msgpack.h>
#include <string.h>

static int write_buf(void *data, const char *bytes, size_t len) {
  trb_buf_append(data, bytes, len);
  return 0;
}

static msgpack_packer packer(struct trb_buf *out) { return (msgpack_packer){.data = out, .callback = write_buf}; }

void mp_put_nil(struct trb_buf *out) { trb_buf_append_byte(out, 0xc0); }
void mp_put_bool(struct trb_buf *out, bool v) { trb_buf_append_byte(out, v ? 0xc3 : 0xc2); }

void mp_put_uint(struct trb_buf *out, uint64_t v) {
  msgpack_packer pk = packer(out);
  msgpack_pack_uint64(&pk, v);
}

void mp_put_int(struct trb_buf *out, int64_t v) {
  msgpack_packer pk = packer(out);
  msgpack_pack_int64(&pk, v);
}

void mp_put_real(struct trb_buf *out, double v) {
  msgpack_packer pk = packer(out);
  msgpack_pack_double(&pk, v);
}

void mp_put_str(struct trb_buf *out, struct trb_slice s) {
  msgpack_packer pk = packer(out);
  msgpack_pack_str(&pk, s.len);
  trb_buf_append_slice(out, s);
}

void mp_put_bin(struct trb_buf *out, struct trb_slice s) {
  msgpack_packer pk = packer(out);
  msgpack_pack_bin(&pk, s.len);
  trb_buf_append_slice(out, s);
}

void mp_put_array(struct trb_buf *out, size_t count) {
  msgpack_packer pk = packer(out);
  msgpack_pack_array(&pk, count);
}

void mp_put_map(struct trb_buf *out, size_t count) {
  msgpack_packer pk = packer(out);
  msgpack_pack_map(&pk, count);
}

void mp_put_value(struct trb_buf *out, struct trb_value value) {
  switch (value.type) {
    case TRB_NULL: mp_put_nil(out); break;
    case TRB_INT: mp_put_int(out, value.i); break;
    case TRB_REAL: mp_put_real(out, value.r); break;
    case TRB_TEXT: mp_put_str(out, value.s); break;
    case TRB_BLOB: mp_put_bin(out, value.s); break;
  }
}

struct head {
  uint8_t *at;
  size_t len;
};

static int write_head(void *data, const char *bytes, size_t len) {
  struct head *head = data;
  TRB_ASSERT(head->len + len <= TRB_MP_HEAD_MAX);
  memcpy(head->at + head->len, bytes, len);
  head->len += len;
  return 0;
}

size_t mp_value_head(struct trb_value value, uint8_t ret[TRB_MP_HEAD_MAX]) {
  struct head head = {.at = ret};
  msgpack_packer pk = {.data = &head, .callback = write_head};
  switch (value.type) {
    case TRB_NULL: msgpack_pack_nil(&pk); break;
    case TRB_INT: msgpack_pack_int64(&pk, value.i); break;
    case TRB_REAL: msgpack_pack_double(&pk, value.r); break;
    case TRB_TEXT: msgpack_pack_str(&pk, value.s.len); break;
    case TRB_BLOB: msgpack_pack_bin(&pk, value.s.len); break;
  }
  return head.len;
}

/* One value's first bytes. */
enum shape {
  SHAPE_BAD,
  SHAPE_NIL,
  SHAPE_BOOL,
  SHAPE_UINT,
  SHAPE_INT,
  SHAPE_REAL,
  SHAPE_STR,
  SHAPE_BIN,
  SHAPE_ARRAY,
  SHAPE_MAP
};
struct token {
  enum shape shape;
  uint64_t n; /* UINT value; INT: two's complement; REAL: bits; STR, BIN: bytes; ARRAY, MAP: count; BOOL: 0, 1 */
  const uint8_t *content; /* just behind the head */
};

static uint64_t big_endian(const uint8_t *p, size_t len) {
  switch (len) {
    case 1: return p[0];
    case 2: return trb_get_u16(p);
    case 4: return trb_get_u32(p);
    default: return trb_get_u64(p);
  }
}

/* Heads 0xc0 to 0xdf: shape, and how many bytes of number follow. Extension types (0xc7..0xc9, 0xd4..0xd8) and the
 * never used 0xc1 are refused: Tributary has no use for them. */
static const struct {
  uint8_t shape, bytes;
} heads[32] = {
    [0x00] = {SHAPE_NIL, 0},   [0x02] = {SHAPE_BOOL, 0}, [0x03] = {SHAPE_BOOL, 0}, [0x04] = {SHAPE_BIN, 1},
    [0x05] = {SHAPE_BIN, 2},   [0x06] = {SHAPE_BIN, 4},  [0x0a] = {SHAPE_REAL, 4}, [0x0b] = {SHAPE_REAL, 8},
    [0x0c] = {SHAPE_UINT, 1},  [0x0d] = {SHAPE_UINT, 2}, [0x0e] = {SHAPE_UINT, 4}, [0x0f] = {SHAPE_UINT, 8},
    [0x10] = {SHAPE_INT, 1},   [0x11] = {SHAPE_INT, 2},  [0x12] = {SHAPE_INT, 4},  [0x13] = {SHAPE_INT, 8},
    [0x19] = {SHAPE_STR, 1},   [0x1a] = {SHAPE_STR, 2},  [0x1b] = {SHAPE_STR, 4},  [0x1c] = {SHAPE_ARRAY, 2},
    [0x1d] = {SHAPE_ARRAY, 4}, [0x1e] = {SHAPE_MAP, 2},  [0x1f] = {SHAPE_MAP, 4},
};

static struct token fixed_token(const uint8_t *at, enum shape shape, uint64_t n) {
  return (struct token){.shape = shape, .n = n, .content = at + 1};
}

static uint64_t sign_extend(uint64_t n, unsigned bytes) {
  unsigned shift = 64 - 8 * bytes;
  return (uint64_t)((int64_t)(n << shift) >> shift);
}

static uint64_t widen_float(uint64_t n) {
  uint32_t bits = (uint32_t)n;
  float narrow;
  memcpy(&narrow, &bits, sizeof narrow);
  double wide = (double)narrow;
  memcpy(&n, &wide, sizeof n);
  return n;
}

/* Reads the head at `at`; SHAPE_BAD when it, its number, or the content of a str or bin does not fit before `end`. */
static inline struct token read_token(const uint8_t *at, const uint8_t *end) {
  const struct token bad = {.shape = SHAPE_BAD};
  if (at >= end) return bad;
  uint8_t b = *at;
  struct token t;
  if (b < 0x80) return fixed_token(at, SHAPE_UINT, b);
  if (b >= 0xe0) return fixed_token(at, SHAPE_INT, sign_extend(b, 1));
  if (b < 0x90) {
    t = fixed_token(at, SHAPE_MAP, b & 0x0fu);
  } else if (b < 0xa0) {
    t = fixed_token(at, SHAPE_ARRAY, b & 0x0fu);
  } else if (b < 0xc0) {
    t = fixed_token(at, SHAPE_STR, b & 0x1fu);
  } else {
    enum shape shape = heads[b - 0xc0].shape;
    unsigned bytes = heads[b - 0xc0].bytes;
    if (shape == SHAPE_BAD || (size_t)(end - at - 1) < bytes) return bad;
    t = (struct token){.shape = shape, .n = bytes ? big_endian(at + 1, bytes) : b & 1u, .content = at + 1 + bytes};
    if (shape == SHAPE_INT) t.n = sign_extend(t.n, bytes);
    if (shape == SHAPE_REAL && bytes == 4) t.n = widen_float(t.n);
  }
  uint64_t left = (uint64_t)(end - t.content);
  if ((t.shape == SHAPE_STR || t.shape == SHAPE_BIN || t.shape == SHAPE_ARRAY) && t.n > left) return bad;
  if (t.shape == SHAPE_MAP && t.n > left / 2) return bad;
  return t;
}

static const uint8_t *token_end(const struct token *t) {
  return t->shape == SHAPE_STR || t->shape == SHAPE_BIN ? t->content + t->n : t->content;
}

/* Walks one whole value without recursion; its end, or NULL. Every element takes a byte, so the walk is O(bytes). */
static const uint8_t *walk(const uint8_t *at, const uint8_t *end, const char **ret_why) {
  uint64_t left[TRB_MP_DEPTH_MAX];
  size_t depth = 0;
  for (;;) {
    struct token t = read_token(at, end);
    *ret_why = at >= end ? "it is cut short" : "it holds a value of unknown type or larger than what is left";
    if (t.shape == SHAPE_BAD) return NULL;
    at = token_end(&t);
    if (t.shape == SHAPE_ARRAY || t.shape == SHAPE_MAP) {
      *ret_why = "it is nested too deeply";
      if (depth == TRB_MP_DEPTH_MAX) return NULL;
      left[depth++] = t.shape == SHAPE_MAP ? 2 * t.n : t.n;
    } else if (depth) {
      left[depth - 1]--;
    }
    while (depth && left[depth - 1] == 0)
      if (--depth) left[depth - 1]--;
    if (!depth) return at;
  }
}

enum trb_status mp_check(struct trb_slice bytes, struct trb_error *err) {
  if (!bytes.len) return trb_fail(err, TRB_PEER, "The msgpack data is empty.");
  const char *why;
  const uint8_t *end = bytes.data + bytes.len;
  const uint8_t *at = walk(bytes.data, end, &why);
  if (!at) return trb_fail(err, TRB_PEER, "The msgpack data cannot be read: %s.", why);
  if (at != end) return trb_fail(err, TRB_PEER, "The msgpack data has bytes behind its end.");
  return TRB_OK;
}

struct mp_reader mp_reader(struct trb_slice checked) {
  static const uint8_t none[1];
  const uint8_t *at = checked.data ? checked.data : none;
  return (struct mp_reader){.at = at, .end = at + checked.len};
}

bool mp_at_end(const struct mp_reader *r) { return r->at == r->end; }

/* Takes the next head; SHAPE_BAD (and failed) when there is none. */
static inline struct token take(struct mp_reader *r) {
  struct token t = {.shape = SHAPE_BAD};
  if (!r->failed) t = read_token(r->at, r->end);
  if (t.shape == SHAPE_BAD)
    r->failed = true;
  else
    r->at = token_end(&t);
  return t;
}

static inline uint64_t take_only(struct mp_reader *r, enum shape shape) {
  struct token t = take(r);
  if (t.shape == shape) return t.n;
  r->failed = true;
  return 0;
}

uint64_t mp_get_uint(struct mp_reader *r) {
  struct token t = take(r);
  if (t.shape == SHAPE_UINT || (t.shape == SHAPE_INT && (int64_t)t.n >= 0)) return t.n;
  r->failed = true;
  return 0;
}

int64_t mp_get_int(struct mp_reader *r) {
  struct token t = take(r);
  if (t.shape == SHAPE_INT || (t.shape == SHAPE_UINT && t.n <= INT64_MAX)) return (int64_t)t.n;
  r->failed = true;
  return 0;
}

bool mp_get_bool(struct mp_reader *r) { return take_only(r, SHAPE_BOOL) != 0; }

static struct trb_slice take_bytes(struct mp_reader *r, enum shape shape) {
  struct token t = take(r);
  if (t.shape == shape) return trb_slice_of(t.content, (size_t)t.n);
  r->failed = true;
  return trb_slice_of(NULL, 0);
}

struct trb_slice mp_get_str(struct mp_reader *r) {
  return take_bytes(r, SHAPE_STR);
}
struct trb_slice mp_get_bin(struct mp_reader *r) {
  return take_bytes(r, SHAPE_BIN);
}

void mp_get_fixed(struct mp_reader *r, void *ret, size_t len) {
  struct trb_slice s = mp_get_bin(r);
  if (!r->failed && s.len == len) {
    memcpy(ret, s.data, len);
  } else {
    r->failed = true;
    memset(ret, 0, len);
  }
}

size_t mp_get_array(struct mp_reader *r) { return (size_t)take_only(r, SHAPE_ARRAY); }
size_t mp_get_map(struct mp_reader *r) { return (size_t)take_only(r, SHAPE_MAP); }

struct trb_value mp_get_value(struct mp_reader *r) {
  struct token t = take(r);
  switch (t.shape) {
    case SHAPE_NIL: return trb_null();
    case SHAPE_INT: return trb_int((int64_t)t.n);
    case SHAPE_UINT:
      if (t.n <= INT64_MAX) return trb_int((int64_t)t.n);
      break;
    case SHAPE_REAL: {
      struct trb_value value = {.type = TRB_REAL};
      memcpy(&value.r, &t.n, sizeof value.r);
      return value;
    }
    case SHAPE_STR: return trb_text_slice(trb_slice_of(t.content, (size_t)t.n));
    case SHAPE_BIN: return trb_blob(trb_slice_of(t.content, (size_t)t.n));
    default: break;
  }
  r->failed = true;
  return trb_null();
}

bool mp_try_nil(struct mp_reader *r) {
  if (r->failed || r->at >= r->end || *r->at != 0xc0) return false;
  r->at++;
  return true;
}

struct trb_slice mp_get_raw(struct mp_reader *r) {
  const char *why;
  const uint8_t *end = r->failed ? NULL : walk(r->at, r->end, &why);
  if (!end) {
    r->failed = true;
    return trb_slice_of(NULL, 0);
  }
  struct trb_slice raw = trb_slice_of(r->at, (size_t)(end - r->at));
  r->at = end;
  return raw;
}
