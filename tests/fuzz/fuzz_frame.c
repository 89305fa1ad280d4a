/* fuzz_frame: any bytes as a frame. What decodes must encode to a frame that decodes to the same. */
#include "tributary/mp.h"
#include "tributary/wire.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
  struct wire_message message, again;
  struct trb_error err = {0};
  enum trb_status status = wire_decode(trb_slice_of(data, size), &message, &err);
  TRB_ASSERT(status == TRB_OK || (status == TRB_PEER && err.text[0]));
  if (status) return 0;
  TRB_BUF_AUTO first = {0};
  TRB_BUF_AUTO second = {0};
  wire_encode(&message, &first);
  TRB_ASSERT(!first.failed && wire_decode(trb_buf_slice(&first), &again, &err) == TRB_OK);
  wire_encode(&again, &second);
  TRB_ASSERT(trb_slice_equal(trb_buf_slice(&first), trb_buf_slice(&second)));
  return 0;
}
