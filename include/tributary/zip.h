/* zip: zstd (common/zip.c). Pure, any thread (contexts are kept per thread or made per call). */
#ifndef TRIBUTARY_ZIP_H
#define TRIBUTARY_ZIP_H

#include "tributary/base.h"

enum trb_status zip_compress(struct trb_slice in, struct trb_buf *out);
/* For callers whose bound is not yet in their hands (files, exports). `raw_bytes` is the promised size: the output must
 * be exactly it, and at most `max`. One frame, nothing behind it. */
enum trb_status zip_expand(struct trb_slice in, size_t raw_bytes, size_t max, struct trb_buf *out,
                           struct trb_error *err);
/* The same into memory of exactly raw_bytes that the caller has bounded. */
enum trb_status zip_expand_into(struct trb_slice in, uint8_t *to, size_t raw_bytes, struct trb_error *err);

#endif
