#include "tributary/id.h"

#include <string.h>

#include "tributary/base.h"

void id_uuid7(int64_t now_ms, const uint8_t random[TRB_UUID_RANDOM_BYTES], char ret_text[TRB_UUID_TEXT_BYTES]) {
  uint8_t id[16];
  char hex[33];
  uint64_t ms = now_ms < 0 ? 0 : (uint64_t)now_ms;
  for (int i = 0; i < 6; i++) id[i] = (uint8_t)(ms >> (40 - 8 * i));
  memcpy(id + 6, random, TRB_UUID_RANDOM_BYTES);
  id[6] = (uint8_t)((id[6] & 0x0F) | 0x70); /* version 7 */
  id[8] = (uint8_t)((id[8] & 0x3F) | 0x80); /* variant of RFC 9562 */
  trb_hex(id, sizeof id, hex);
  char *to = ret_text;
  for (int i = 0; i < 32; i++) {
    if (i == 8 || i == 12 || i == 16 || i == 20) *to++ = '-';
    *to++ = hex[i];
  }
  *to = '\0';
}
