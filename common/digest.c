/* digest: see include/tributary/digest.h. The xxhash room. */
#include "tributary/digest.h"

#include <string.h>

#define XXH_INLINE_ALL /* the state on the stack, and short inputs without a call */
#include <xxhash.h>

#include "tributary/mp.h"

enum { PREFIX_BYTES = 6, SMALL_BYTES = 512 };

/* Short cells, nearly all, are hashed from one flat buffer: half the time of the streaming form. */
static uint64_t hash_parts(const struct trb_slice *parts, size_t count, size_t total) {
  if (total <= SMALL_BYTES) {
    uint8_t flat[SMALL_BYTES];
    size_t len = 0;
    for (size_t i = 0; i < count; i++) {
      if (parts[i].len) memcpy(flat + len, parts[i].data, parts[i].len);
      len += parts[i].len;
    }
    return XXH64(flat, len, 0);
  }
  XXH64_state_t state;
  XXH64_reset(&state, 0);
  for (size_t i = 0; i < count; i++)
    if (parts[i].len) XXH64_update(&state, parts[i].data, parts[i].len);
  return XXH64_digest(&state);
}

uint64_t digest_cell(uint16_t table, struct trb_slice id, uint16_t column, struct trb_value value) {
  if (column && value.type == TRB_NULL) return 0;
  TRB_ASSERT(id.len <= UINT16_MAX); /* ids are checked before they are digested */
  uint8_t prefix[PREFIX_BYTES], head[TRB_MP_HEAD_MAX];
  trb_put_u16(prefix, table);
  trb_put_u16(prefix + 2, column);
  trb_put_u16(prefix + 4, (uint16_t)id.len);
  struct trb_slice parts[4] = {trb_slice_of(prefix, sizeof prefix), id};
  if (column) {
    parts[2] = trb_slice_of(head, mp_value_head(value, head));
    if (value.type == TRB_TEXT || value.type == TRB_BLOB) parts[3] = value.s;
  }
  uint64_t hash = hash_parts(parts, 4, parts[0].len + parts[1].len + parts[2].len + parts[3].len);
  return hash ? hash : 1;
}
