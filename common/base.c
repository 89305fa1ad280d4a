/* base: see include/tributary/base.h. */
#include "tributary/base.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "tributary/value.h"

enum { ARENA_BLOCK_BYTES = 64 << 10, ARENA_ALIGN = 16, BUF_FIRST_BYTES = 64 };

struct trb_arena_block {
  struct trb_arena_block *next;
  size_t used, cap;
  max_align_t padding; /* keeps data[] 16-aligned */
  uint8_t data[];
};

enum trb_status(trb_fail)(struct trb_error *err, enum trb_status status, const char *format, ...) {
  if (err) {
    va_list args;
    va_start(args, format);
    char text[sizeof err->text]; /* arguments may point into err->text */
    vsnprintf(text, sizeof text, format, args);
    va_end(args);
    memcpy(err->text, text, sizeof text);
    err->status = status;
  }
  return status;
}

const char *trb_status_name(enum trb_status status) {
  static const char *const names[] = {"ok", "again", "full", "peer", "denied", "absent", "store", "nomem"};
  return (unsigned)status < sizeof names / sizeof *names ? names[status] : "unknown";
}

void trb_bug(const char *what, const char *file, int line) {
  fprintf(stderr, "<2>tributary: bug: %s at %s:%d\n", what, file, line);
  abort();
}

struct trb_slice trb_slice_of(const void *data, size_t len) {
  return (struct trb_slice){.data = data, .len = len};
}

struct trb_slice trb_slice_str(const char *s) {
  return trb_slice_of(s, s ? strlen(s) : 0);
}

bool trb_slice_equal(struct trb_slice a, struct trb_slice b) {
  return a.len == b.len && (a.len == 0 || memcmp(a.data, b.data, a.len) == 0);
}

int trb_slice_compare(struct trb_slice a, struct trb_slice b) {
  size_t shared = a.len < b.len ? a.len : b.len;
  int order = shared ? memcmp(a.data, b.data, shared) : 0;
  return order ? order : (a.len > b.len) - (a.len < b.len);
}

static bool buf_reserve(struct trb_buf *buf, size_t extra) {
  if (buf->failed) return false;
  size_t need = buf->len + extra;
  if (need < extra || (buf->limit && need > buf->limit)) {
    buf->failed = true;
    return false;
  }
  if (need <= buf->cap) return true;
  size_t cap = buf->cap ? buf->cap : BUF_FIRST_BYTES;
  while (cap < need) cap *= 2;
  uint8_t *data = realloc(buf->data, cap);
  if (!data) {
    buf->failed = true;
    return false;
  }
  buf->data = data;
  buf->cap = cap;
  return true;
}

void trb_buf_append(struct trb_buf *buf, const void *data, size_t len) {
  if (!len || !buf_reserve(buf, len)) return;
  memcpy(buf->data + buf->len, data, len);
  buf->len += len;
}

void trb_buf_append_slice(struct trb_buf *buf, struct trb_slice s) { trb_buf_append(buf, s.data, s.len); }
void trb_buf_append_str(struct trb_buf *buf, const char *s) { trb_buf_append(buf, s, strlen(s)); }
void trb_buf_append_byte(struct trb_buf *buf, uint8_t byte) { trb_buf_append(buf, &byte, 1); }

uint8_t *trb_buf_extend(struct trb_buf *buf, size_t len) {
  if (!buf_reserve(buf, len)) return NULL;
  if (!buf->data) return (uint8_t *)buf; /* len 0 of nothing: any address that is not NULL */
  buf->len += len;
  return buf->data + buf->len - len;
}

void trb_buf_printf(struct trb_buf *buf, const char *format, ...) {
  va_list args, again;
  va_start(args, format);
  va_copy(again, args);
  int len = vsnprintf(NULL, 0, format, args);
  va_end(args);
  if (len >= 0 && buf_reserve(buf, (size_t)len + 1)) {
    vsnprintf((char *)buf->data + buf->len, (size_t)len + 1, format, again);
    buf->len += (size_t)len;
  }
  va_end(again);
}

const char *trb_buf_cstr(struct trb_buf *buf) {
  size_t limit = buf->limit;
  buf->limit = 0; /* the terminator does not count */
  bool ok = buf_reserve(buf, 1);
  buf->limit = limit;
  if (!ok) return "";
  buf->data[buf->len] = 0;
  return (const char *)buf->data;
}

struct trb_slice trb_buf_slice(const struct trb_buf *buf) {
  return trb_slice_of(buf->data, buf->len);
}

void trb_buf_clear(struct trb_buf *buf) {
  buf->len = 0;
  buf->failed = false;
}

void trb_buf_free(struct trb_buf *buf) {
  free(buf->data);
  *buf = (struct trb_buf){.limit = buf->limit};
}

void *trb_arena_alloc(struct trb_arena *arena, size_t size) {
  size_t rounded = (size + ARENA_ALIGN - 1) & ~(size_t)(ARENA_ALIGN - 1);
  if (rounded < size) return NULL;
  if (rounded == 0) rounded = ARENA_ALIGN;
  if (arena->limit && (rounded > arena->limit || arena->used > arena->limit - rounded)) return NULL;
  struct trb_arena_block *block = arena->blocks;
  if (!block || block->cap - block->used < rounded) {
    size_t cap = rounded > ARENA_BLOCK_BYTES ? rounded : ARENA_BLOCK_BYTES;
    block = malloc(sizeof *block + cap);
    if (!block) return NULL;
    block->next = arena->blocks;
    block->used = 0;
    block->cap = cap;
    arena->blocks = block;
  }
  void *p = block->data + block->used;
  block->used += rounded;
  arena->used += rounded;
  memset(p, 0, rounded);
  return p;
}

struct trb_slice trb_arena_copy(struct trb_arena *arena, struct trb_slice s, bool *ok) {
  if (!s.len) return trb_slice_of(NULL, 0);
  void *p = trb_arena_alloc(arena, s.len);
  if (!p) {
    *ok = false;
    return trb_slice_of(NULL, 0);
  }
  memcpy(p, s.data, s.len);
  return trb_slice_of(p, s.len);
}

char *trb_arena_str(struct trb_arena *arena, struct trb_slice s) {
  char *p = s.len < SIZE_MAX ? trb_arena_alloc(arena, s.len + 1) : NULL;
  if (p && s.len) memcpy(p, s.data, s.len);
  return p;
}

void trb_arena_reset(struct trb_arena *arena) {
  struct trb_arena_block *block = arena->blocks;
  while (block && block->next) {
    struct trb_arena_block *next = block->next;
    free(block);
    block = next;
  }
  if (block) block->used = 0;
  arena->blocks = block;
  arena->used = 0;
}

void trb_arena_free(struct trb_arena *arena) {
  trb_arena_reset(arena);
  free(arena->blocks);
  *arena = (struct trb_arena){.limit = arena->limit};
}

void trb_put_u16(uint8_t *p, uint16_t v) {
  p[0] = (uint8_t)(v >> 8);
  p[1] = (uint8_t)v;
}

void trb_put_u32(uint8_t *p, uint32_t v) {
  trb_put_u16(p, (uint16_t)(v >> 16));
  trb_put_u16(p + 2, (uint16_t)v);
}

void trb_put_u64(uint8_t *p, uint64_t v) {
  trb_put_u32(p, (uint32_t)(v >> 32));
  trb_put_u32(p + 4, (uint32_t)v);
}

uint16_t trb_get_u16(const uint8_t *p) { return (uint16_t)((unsigned)p[0] << 8 | p[1]); }
uint32_t trb_get_u32(const uint8_t *p) { return (uint32_t)trb_get_u16(p) << 16 | trb_get_u16(p + 2); }
uint64_t trb_get_u64(const uint8_t *p) { return (uint64_t)trb_get_u32(p) << 32 | trb_get_u32(p + 4); }

void trb_hex(const uint8_t *data, size_t len, char *ret_text) {
  static const char digits[] = "0123456789abcdef";
  for (size_t i = 0; i < len; i++) {
    ret_text[2 * i] = digits[data[i] >> 4];
    ret_text[2 * i + 1] = digits[data[i] & 15];
  }
  ret_text[2 * len] = 0;
}

static int hex_digit(char c) {
  if (c >= '0' && c <= '9') return c - '0';
  if (c >= 'a' && c <= 'f') return c - 'a' + 10;
  if (c >= 'A' && c <= 'F') return c - 'A' + 10;
  return -1;
}

bool trb_unhex(const char *text, uint8_t *ret_data, size_t len) {
  if (strlen(text) != 2 * len) return false;
  for (size_t i = 0; i < 2 * len; i++)
    if (hex_digit(text[i]) < 0) return false;
  for (size_t i = 0; i < len; i++)
    ret_data[i] = (uint8_t)((unsigned)hex_digit(text[2 * i]) << 4 | (unsigned)hex_digit(text[2 * i + 1]));
  return true;
}

static const char base64url_digits[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_";

void trb_base64url(struct trb_slice data, struct trb_buf *out) {
  uint32_t bits = 0;
  unsigned have = 0;
  for (size_t i = 0; i < data.len; i++) {
    bits = bits << 8 | data.data[i];
    for (have += 8; have >= 6; have -= 6) trb_buf_append_byte(out, (uint8_t)base64url_digits[bits >> (have - 6) & 63]);
  }
  if (have) trb_buf_append_byte(out, (uint8_t)base64url_digits[bits << (6 - have) & 63]);
}

bool trb_unbase64url(struct trb_slice text, struct trb_buf *out) {
  uint32_t bits = 0;
  unsigned have = 0;
  for (size_t i = 0; i < text.len; i++) {
    const char *digit = text.data[i] ? strchr(base64url_digits, text.data[i]) : NULL;
    if (!digit) return false;
    bits = bits << 6 | (uint32_t)(digit - base64url_digits);
    have += 6;
    if (have >= 8) {
      have -= 8;
      trb_buf_append_byte(out, (uint8_t)(bits >> have));
    }
  }
  /* Left-over bits must be zero and fewer than a digit's worth: one text for one value. */
  return have < 6 && (bits & ((1u << have) - 1)) == 0 && !out->failed;
}

/* Bytes of the well-formed sequence at p (Unicode 15, table 3-7), 0 when ill-formed. */
static size_t utf8_sequence(const uint8_t *p, size_t left) {
  uint8_t b = p[0];
  if (b < 0x80) return 1;
  size_t len = b >= 0xC2 && b <= 0xDF ? 2 : (b & 0xF0) == 0xE0 ? 3 : b >= 0xF0 && b <= 0xF4 ? 4 : 0;
  if (!len || left < len) return 0;
  uint8_t low = b == 0xE0 ? 0xA0 : b == 0xF0 ? 0x90 : 0x80;
  uint8_t high = b == 0xED ? 0x9F : b == 0xF4 ? 0x8F : 0xBF;
  if (p[1] < low || p[1] > high) return 0;
  for (size_t i = 2; i < len; i++)
    if ((p[i] & 0xC0) != 0x80) return 0;
  return len;
}

bool trb_utf8_valid(struct trb_slice s) {
  for (size_t i = 0; i < s.len;) {
    size_t len = utf8_sequence(s.data + i, s.len - i);
    if (!len) return false;
    i += len;
  }
  return true;
}

bool trb_value_equal(struct trb_value a, struct trb_value b) {
  if (a.type != b.type) return false;
  switch (a.type) {
    case TRB_NULL: return true;
    case TRB_INT: return a.i == b.i;
    case TRB_REAL: return memcmp(&a.r, &b.r, sizeof a.r) == 0; /* NOLINT: the bits, so that NaN equals itself */
    case TRB_TEXT:
    case TRB_BLOB: return trb_slice_equal(a.s, b.s);
  }
  return false;
}
