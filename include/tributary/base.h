/* base: status, errors, slices, growable buffers and arenas.
 *
 * Pure; any thread (each object belongs to one thread at a time).
 * Every fallible function returns enum trb_status and, where a person may read the reason, takes a
 * `struct trb_error *err` (may be NULL). Outputs named ret_* are untouched on failure. */
#ifndef TRIBUTARY_BASE_H
#define TRIBUTARY_BASE_H

#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* Classed by what the caller does about it, not by what went wrong. */
enum trb_status {
  TRB_OK = 0,
  TRB_AGAIN,  /* nothing now: call again later (would block, busy, not yet in the asked state) */
  TRB_FULL,   /* a limit or a disk is full: back off, nothing was changed */
  TRB_PEER,   /* the input is wrong (frame, file, row, token, argument): reject it or set it aside */
  TRB_DENIED, /* not authorised, or refused by policy */
  TRB_ABSENT, /* what was asked for does not exist */
  TRB_STORE,  /* our own files or system calls fail: stop and say so */
  TRB_NOMEM,
};

struct trb_error {
  enum trb_status status;
  char text[480]; /* for people; never holds personal data */
};

/* Sets *err (when not NULL) and returns `status`. A later call overwrites an earlier text. */
enum trb_status trb_fail(struct trb_error *err, enum trb_status status, const char *format, ...)
    __attribute__((format(printf, 3, 4)));
#ifdef __clang_analyzer__ /* it does not see that what comes back is what went in */
#define trb_fail(err, status, ...) ((void)(err), (status))
#endif
const char *trb_status_name(enum trb_status status); /* for failing tests and debuggers */

/* Bugs stop the program in every build. */
#define TRB_ASSERT(x) ((x) ? (void)0 : trb_bug(#x, __FILE__, __LINE__))
void trb_bug(const char *what, const char *file, int line) __attribute__((noreturn));

/* Borrowed bytes. data may be NULL when len is 0. Not NUL-terminated. */
struct trb_slice {
  const uint8_t *data;
  size_t len;
};
struct trb_slice trb_slice_of(const void *data, size_t len);
struct trb_slice trb_slice_str(const char *s); /* NULL gives the empty slice */
bool trb_slice_equal(struct trb_slice a, struct trb_slice b);
int trb_slice_compare(struct trb_slice a, struct trb_slice b); /* memcmp order, shorter first */

/* Growable bytes, owned. After a failed allocation or past `limit` every append is a no-op and `failed` stays set
 * until trb_buf_clear: encoders append freely and check once. Zero-initialised is valid; limit 0 means none. */
struct trb_buf {
  uint8_t *data;
  size_t len, cap, limit;
  bool failed;
};
void trb_buf_append(struct trb_buf *buf, const void *data, size_t len);
void trb_buf_append_slice(struct trb_buf *buf, struct trb_slice s);
void trb_buf_append_str(struct trb_buf *buf, const char *s);
void trb_buf_append_byte(struct trb_buf *buf, uint8_t byte);
uint8_t *trb_buf_extend(struct trb_buf *buf, size_t len); /* len more bytes, to be filled in; NULL on failure */
void trb_buf_printf(struct trb_buf *buf, const char *format, ...) __attribute__((format(printf, 2, 3)));
const char *trb_buf_cstr(struct trb_buf *buf); /* NUL-terminates (not counted in len); "" if failed */
struct trb_slice trb_buf_slice(const struct trb_buf *buf);
void trb_buf_clear(struct trb_buf *buf); /* keeps the memory */
void trb_buf_free(struct trb_buf *buf);
#define TRB_BUF_AUTO __attribute__((cleanup(trb_buf_free))) struct trb_buf

/* Bump allocator: freed all at once. Zero-initialised is valid; limit 0 means none (bytes handed out in all). */
struct trb_arena_block;
struct trb_arena {
  struct trb_arena_block *blocks; /* owned */
  size_t used, limit;
};
void *trb_arena_alloc(struct trb_arena *arena, size_t size); /* zeroed, 16-aligned; NULL: no memory or limit */
struct trb_slice trb_arena_copy(struct trb_arena *arena, struct trb_slice s, bool *ok); /* clears *ok on failure */
char *trb_arena_str(struct trb_arena *arena, struct trb_slice s); /* NUL-terminated copy, NULL on failure */
void trb_arena_reset(struct trb_arena *arena);                    /* keeps the first block */
void trb_arena_free(struct trb_arena *arena);
#define TRB_ARENA_AUTO __attribute__((cleanup(trb_arena_free))) struct trb_arena

/* Big-endian integers and hex. */
void trb_put_u16(uint8_t *p, uint16_t v);
void trb_put_u32(uint8_t *p, uint32_t v);
void trb_put_u64(uint8_t *p, uint64_t v);
uint16_t trb_get_u16(const uint8_t *p);
uint32_t trb_get_u32(const uint8_t *p);
uint64_t trb_get_u64(const uint8_t *p);
void trb_hex(const uint8_t *data, size_t len, char *ret_text);   /* 2*len+1 bytes */
bool trb_unhex(const char *text, uint8_t *ret_data, size_t len); /* exactly 2*len lower or upper hex digits */
void trb_base64url(struct trb_slice data, struct trb_buf *out);  /* RFC 4648 section 5, no padding */
bool trb_unbase64url(struct trb_slice text, struct trb_buf *out);

bool trb_utf8_valid(struct trb_slice s); /* RFC 3629: no surrogates, no overlong forms; NUL is valid here */

#endif
