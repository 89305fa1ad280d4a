/* text: Unicode services. The ICU room: common/text.c is the only file that includes ICU headers.
 *
 * Pure apart from ICU's read-only data, which is mapped at first use (so an idle node never pays for it). Any thread.
 */
#ifndef TRIBUTARY_TEXT_H
#define TRIBUTARY_TEXT_H

#include "tributary/base.h"

/* Each appends to *out and gives TRB_PEER for input that is not valid UTF-8, TRB_NOMEM on memory. Cost linear. */
enum trb_status text_nfkc(struct trb_slice in, struct trb_buf *out, struct trb_error *err);          /* UAX #15 */
enum trb_status text_nfkc_casefold(struct trb_slice in, struct trb_buf *out, struct trb_error *err); /* for comparing */
enum trb_status text_simplified(struct trb_slice in, struct trb_buf *out,
                                struct trb_error *err); /* Traditional-Simplified */
/* For finding names by their sound (not a key: it takes different people for one). */
enum trb_status text_pinyin(struct trb_slice in, struct trb_buf *out,
                            struct trb_error *err); /* Han-Latin, ASCII, lower case */
/* A host name to its ASCII form (UTS #46, non-transitional). */
enum trb_status text_idna_ascii(struct trb_slice domain, struct trb_buf *out, struct trb_error *err);

/* GB18030 (superset of GBK, GB2312) to UTF-8; TRB_PEER with the byte offset on a broken sequence. For a whole text,
 * such as a value that a branch's old program wrote; files go through the streaming form below. */
enum trb_status text_from_gb18030(struct trb_slice in, struct trb_buf *out, struct trb_error *err);

/* For streams. The longest prefix that does not end inside a sequence: convert that much, keep the rest (up to 3
 * bytes). */
size_t text_gb18030_complete(struct trb_slice in);
/* As text_from_gb18030, but a broken byte becomes TEXT_BROKEN_BYTE, which no valid UTF-8 holds: the reader refuses the
 * record it stands in and goes on with the next. */
#define TEXT_BROKEN_BYTE 0xFF
enum trb_status text_from_gb18030_marking(struct trb_slice in, struct trb_buf *out, struct trb_error *err);

/* Number of terminal columns a UTF-8 text takes (UAX #11 wide = 2); control characters count as 1, combining marks 0.
 */
size_t text_width(struct trb_slice in);

#endif
