/* fuzz_change: any bytes as one change. What decodes is checked against the catalogue, and encodes to canonical bytes
 * that decode to the same. */
#include "tributary/change.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
  static struct trb_catalogue *catalogue;
  if (!catalogue) catalogue = catalogue_builtin();
  TRB_ARENA_AUTO arena = {0};
  struct trb_change change, again;
  struct trb_error err = {0};
  enum trb_status status = change_decode(trb_slice_of(data, size), &arena, &change, &err);
  TRB_ASSERT(status == TRB_OK || (status == TRB_PEER && err.text[0]));
  TRB_ASSERT(arena.used <= 64 * (size + 1)); /* memory is bounded by the input */
  if (status) return 0;
  for (int hq = 0; hq < 2; hq++) {
    struct trb_error why = {0};
    enum trb_refusal refusal = change_check(catalogue, &change, hq, &why);
    TRB_ASSERT(refusal == TRB_REFUSED_NONE || why.text[0]);
  }
  TRB_BUF_AUTO first = {0};
  TRB_BUF_AUTO second = {0};
  change_encode(&change, &first);
  TRB_ASSERT(first.len == change_size(&change));
  TRB_ASSERT(change_decode(trb_buf_slice(&first), &arena, &again, &err) == TRB_OK);
  change_encode(&again, &second);
  TRB_ASSERT(trb_slice_equal(trb_buf_slice(&first), trb_buf_slice(&second)));
  return 0;
}
