/* jout: JSON text into a buffer. Pure. Commas are the writer's care: each function puts one before itself unless the
 * last byte opens an object or array. (Reading JSON is policy.c's, with jansson.) */
#ifndef TRIBUTARY_HUB_JOUT_H
#define TRIBUTARY_HUB_JOUT_H

#include "tributary/base.h"

void jout_open(struct trb_buf *out, const char *key, char bracket);          /* '{' or '['; key NULL inside an array */
void jout_close(struct trb_buf *out, char bracket);                          /* '}' or ']' */
void jout_text(struct trb_buf *out, const char *key, struct trb_slice text); /* invalid UTF-8 becomes '?' */
void jout_str(struct trb_buf *out, const char *key, const char *text);
void jout_int(struct trb_buf *out, const char *key, int64_t value);
void jout_bool(struct trb_buf *out, const char *key, bool value);

#endif
