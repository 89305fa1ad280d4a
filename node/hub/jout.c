/* jout: see jout.h. */
#include "jout.h"

#include <string.h>

static void quoted(struct trb_buf *out, struct trb_slice text) {
  bool valid = trb_utf8_valid(text);
  trb_buf_append_byte(out, '"');
  for (size_t i = 0; i < text.len; i++) {
    uint8_t c = text.data[i];
    if (c == '"' || c == '\\')
      trb_buf_printf(out, "\\%c", c);
    else if (c < 0x20 || c == 0x7f)
      trb_buf_printf(out, "\\u%04x", c);
    else
      trb_buf_append_byte(out, c >= 0x80 && !valid ? '?' : c);
  }
  trb_buf_append_byte(out, '"');
}

static void before(struct trb_buf *out, const char *key) {
  if (out->len && !memchr("{[:\n", out->data[out->len - 1], 4)) trb_buf_append_byte(out, ',');
  if (!key) return;
  quoted(out, trb_slice_str(key));
  trb_buf_append_byte(out, ':');
}

void jout_open(struct trb_buf *out, const char *key, char bracket) {
  before(out, key);
  trb_buf_append_byte(out, (uint8_t)bracket);
}
void jout_close(struct trb_buf *out, char bracket) { trb_buf_append_byte(out, (uint8_t)bracket); }
void jout_text(struct trb_buf *out, const char *key, struct trb_slice text) {
  before(out, key);
  quoted(out, text);
}
void jout_str(struct trb_buf *out, const char *key, const char *text) { jout_text(out, key, trb_slice_str(text)); }
void jout_int(struct trb_buf *out, const char *key, int64_t value) {
  before(out, key);
  trb_buf_printf(out, "%lld", (long long)value);
}
void jout_bool(struct trb_buf *out, const char *key, bool value) {
  before(out, key);
  trb_buf_append_str(out, value ? "true" : "false");
}
