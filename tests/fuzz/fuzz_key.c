/* libFuzzer: contacts from anybody. Whatever the bytes: a key or a reason, valid UTF-8 without control characters,
 * within its bounds, and stable: what a telephone key says is itself a telephone with that key. */
#include <string.h>

#include "tributary/key.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void check_again(const struct trb_key *key, const struct trb_key_context *context) {
  struct trb_keys again;
  if (strncmp(key->text, "tel:", 4) != 0) return;
  key_normalise(TRB_KIND_MOBILE, trb_slice_str("mobile"), trb_slice_str(key->text + 4), context, &again);
  TRB_ASSERT(again.count == 1 && strcmp(again.key[0].text, key->text) == 0);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
  static const struct trb_key_context contexts[2] = {{.region = "CN", .area_code = "021"},
                                                     {.region = "US", .area_code = "312"}};
  struct trb_keys keys;
  if (!size) return 0;
  const struct trb_key_context *context = &contexts[data[0] & 1];
  enum trb_kind kind = (enum trb_kind)(data[0] / 2 % (TRB_KIND_OTHER + 1));
  struct trb_slice value = trb_slice_of(data + 1, size - 1);
  key_normalise(kind, trb_slice_str("kind"), value, context, &keys);
  TRB_ASSERT(keys.count <= TRB_KEYS_PER_VALUE_MAX && (keys.count || keys.reason));
  for (size_t i = 0; i < keys.count; i++) {
    TRB_ASSERT(strlen(keys.key[i].text) <= TRB_KEY_BYTES_MAX && trb_utf8_valid(trb_slice_str(keys.key[i].text)));
    for (const char *c = keys.key[i].text; *c; c++) TRB_ASSERT((unsigned char)*c >= ' ');
    check_again(&keys.key[i], context);
  }
  TRB_BUF_AUTO mask = {0};
  key_mask(kind, value, &mask);
  return 0;
}
