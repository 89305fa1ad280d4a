/* zip: see include/tributary/zip.h. The zstd room. */
#include "tributary/zip.h"

#include <pthread.h>
#include <zstd.h>

/* Level 3 is zstd's default: 200 MB/s and within a few per cent of what slower levels reach on rows. */
enum { LEVEL = 3 };

struct contexts {
  ZSTD_CCtx *compress;
  ZSTD_DCtx *expand;
};
static pthread_once_t once = PTHREAD_ONCE_INIT;
static pthread_key_t key;
static _Thread_local struct contexts contexts;

static void free_contexts(void *unused) {
  (void)unused;
  ZSTD_freeCCtx(contexts.compress);
  ZSTD_freeDCtx(contexts.expand);
}

static void start(void) { TRB_ASSERT(pthread_key_create(&key, free_contexts) == 0); }

static struct contexts *thread_contexts(void) {
  TRB_ASSERT(pthread_once(&once, start) == 0);
  if (!contexts.compress) contexts.compress = ZSTD_createCCtx();
  if (!contexts.expand) contexts.expand = ZSTD_createDCtx();
  pthread_setspecific(key, &contexts); /* only for its destructor */
  return contexts.compress && contexts.expand ? &contexts : NULL;
}

enum trb_status zip_compress(struct trb_slice in, struct trb_buf *out) {
  struct contexts *c = thread_contexts();
  size_t start_len = out->len, bound = ZSTD_compressBound(in.len);
  uint8_t *to = c ? trb_buf_extend(out, bound) : NULL;
  if (!to) return TRB_NOMEM;
  size_t len = ZSTD_compressCCtx(c->compress, to, bound, in.data, in.len, LEVEL);
  out->len = start_len;
  if (ZSTD_isError(len)) return TRB_NOMEM; /* with room for the bound there is no other reason */
  out->len = start_len + len;
  return TRB_OK;
}

enum trb_status zip_expand_into(struct trb_slice in, uint8_t *to, size_t raw_bytes, struct trb_error *err) {
  static const uint8_t magic[4] = {0x28, 0xb5, 0x2f, 0xfd}; /* RFC 8878: a frame, not a skippable one */
  struct contexts *c = thread_contexts();
  if (!c) return trb_fail(err, TRB_NOMEM, "Out of memory while expanding compressed data.");
  if (in.len < sizeof magic || !trb_slice_equal(trb_slice_of(in.data, sizeof magic), trb_slice_of(magic, sizeof magic)))
    return trb_fail(err, TRB_PEER, "The compressed data is not a zstd frame.");
  if (ZSTD_findFrameCompressedSize(in.data, in.len) != in.len)
    return trb_fail(err, TRB_PEER, "The compressed data is not exactly one zstd frame.");
  /* Expands straight into `to`: no window is allocated whatever size the frame claims, and no byte goes past it. */
  uint8_t none[1];
  size_t len = ZSTD_decompressDCtx(c->expand, raw_bytes ? to : none, raw_bytes, in.data, in.len);
  if (ZSTD_isError(len) || len != raw_bytes)
    return trb_fail(err, TRB_PEER, "The compressed data is damaged or does not have the size it promises.");
  return TRB_OK;
}

enum trb_status zip_expand(struct trb_slice in, size_t raw_bytes, size_t max, struct trb_buf *out,
                           struct trb_error *err) {
  if (raw_bytes > max)
    return trb_fail(err, TRB_PEER, "The compressed data promises more than the limit of %zu bytes.", max);
  size_t start_len = out->len;
  uint8_t *to = trb_buf_extend(out, raw_bytes);
  if (!to) return trb_fail(err, TRB_NOMEM, "Out of memory while expanding compressed data.");
  enum trb_status status = zip_expand_into(in, to, raw_bytes, err);
  if (status) out->len = start_len;
  return status;
}
