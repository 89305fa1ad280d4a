/* wire: every message of messages.def, and what is refused. */
#include "tributary/wire.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "codec_fixture.h"
#include "tributary/conf.h"
#include "tributary/mp.h"

static enum trb_status decode_copy(const uint8_t *bytes, size_t len, struct trb_error *err) {
  uint8_t *exact = malloc(len ? len : 1);
  memcpy(exact, bytes, len);
  struct wire_message message;
  enum trb_status status = wire_decode(trb_slice_of(exact, len), &message, err);
  free(exact);
  return status;
}

static void decode_gives_back_every_message(void **state) {
  (void)state;
  for (size_t i = 0; i < FIXTURE_TYPES; i++) {
    TRB_BUF_AUTO frame = {0};
    TRB_BUF_AUTO again = {0};
    struct wire_message message, back;
    fixture_message(fixture_types[i], trb_slice_str("opaque \xff"), &message);
    wire_encode(&message, &frame);
    assert_false(frame.failed);
    assert_int_equal(wire_decode(trb_buf_slice(&frame), &back, NULL), TRB_OK);
    assert_int_equal(back.type, fixture_types[i]);
    wire_encode(&back, &again);
    assert_true(trb_slice_equal(trb_buf_slice(&frame), trb_buf_slice(&again)));
    for (size_t len = 0; len < frame.len; len++) assert_int_equal(decode_copy(frame.data, len, NULL), TRB_PEER);
    for (size_t bit = 0; bit < 8 * frame.len; bit++) { /* no signature here: it must only survive */
      frame.data[bit / 8] ^= (uint8_t)(1u << bit % 8);
      decode_copy(frame.data, frame.len, NULL);
      frame.data[bit / 8] ^= (uint8_t)(1u << bit % 8);
    }
  }
}

static void decode_takes_more_fields_than_it_knows_and_refuses_fewer(void **state) {
  (void)state;
  TRB_BUF_AUTO frame = {0};
  struct trb_error err = {0};
  mp_put_array(&frame, 5);
  mp_put_uint(&frame, WIRE_pong);
  mp_put_int(&frame, -5);
  mp_put_int(&frame, 7);
  mp_put_uint(&frame, 9);
  mp_put_str(&frame, trb_slice_str("of a newer peer"));
  struct wire_message m;
  assert_int_equal(wire_decode(trb_buf_slice(&frame), &m, &err), TRB_OK);
  assert_int_equal(m.pong.boot_ms, -5);
  assert_int_equal(m.pong.safe_sequence, 9);
  uint8_t few[] = {0x92, WIRE_down_ack, 0xc4};
  assert_int_equal(decode_copy(few, sizeof few, &err), TRB_PEER);
  uint8_t pong[] = {0x93, WIRE_pong, 1, 2};
  assert_int_equal(decode_copy(pong, sizeof pong, &err), TRB_PEER);
  assert_non_null(strstr(err.text, "pong"));
}

static void decode_names_the_message_and_the_field(void **state) {
  (void)state;
  struct trb_error err = {0};
  uint8_t text_bad[] = {0x94, WIRE_hold, 1, 2, 0xa2, 0xff, 0xfe};
  assert_int_equal(decode_copy(text_bad, sizeof text_bad, &err), TRB_PEER);
  assert_non_null(strstr(err.text, "hold"));
  assert_non_null(strstr(err.text, "text"));
  assert_non_null(strstr(err.text, "UTF-8"));
  uint8_t type_bad[] = {0x94, WIRE_hold, 0xc0, 2, 0xa0};
  assert_int_equal(decode_copy(type_bad, sizeof type_bad, &err), TRB_PEER);
  assert_non_null(strstr(err.text, "code"));
  uint8_t negative[] = {0x94, WIRE_hold, 0xff, 2, 0xa0};
  assert_int_equal(decode_copy(negative, sizeof negative, &err), TRB_PEER);
  uint8_t large[] = {0x94, WIRE_hold, 1, 0xcf, 0x80, 0, 0, 0, 0, 0, 0, 0, 0xa0};
  assert_int_equal(decode_copy(large, sizeof large, &err), TRB_PEER);
  assert_non_null(strstr(err.text, "sequence"));
}

static void decode_refuses_what_is_no_message(void **state) {
  (void)state;
  static const char *const cases[] = {"",     "c0",     "90",         "9100",
                                      "91c0", "91a161", "91cd7fff",   "91cf7fffffffffffffff",
                                      "91ff", "8101c0", "ddffffffff", "9112"};
  for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
    uint8_t bytes[32];
    assert_true(trb_unhex(cases[i], bytes, strlen(cases[i]) / 2));
    assert_int_equal(decode_copy(bytes, strlen(cases[i]) / 2, NULL), TRB_PEER);
  }
  uint8_t *large = calloc(1, TRB_FRAME_BYTES_MAX + 1);
  assert_int_equal(decode_copy(large, TRB_FRAME_BYTES_MAX + 1, NULL), TRB_PEER);
  free(large);
}

static void decode_and_encode_keep_the_limits_of_fields(void **state) {
  (void)state;
  char *bytes = calloc(1, 2000000);
  struct wire_message m = {.type = WIRE_batch};
  {
    TRB_BUF_AUTO frame = {0};
    m.batch.sealed = trb_slice_of(bytes, TRB_BATCH_BYTES_MAX); /* the largest batch fits in its message and its frame */
    m.batch.ack = trb_slice_of(bytes, 4096);
    wire_encode(&m, &frame);
    assert_false(frame.failed);
    assert_true(frame.len <= TRB_FRAME_BYTES_MAX);
    assert_int_equal(decode_copy(frame.data, frame.len, NULL), TRB_OK);
  }
  {
    TRB_BUF_AUTO frame = {0};
    m.batch.ack = trb_slice_of(bytes, 4097);
    wire_encode(&m, &frame);
    assert_true(frame.failed);
    frame.failed = false;
    assert_int_equal(decode_copy(frame.data, frame.len, NULL), TRB_PEER);
  }
  {
    TRB_BUF_AUTO frame = {0};
    struct wire_message back;
    memset(bytes, 'x', 398);
    memcpy(bytes + 398, "张", 4); /* its end is beyond the 400th byte */
    m = (struct wire_message){.type = WIRE_hold, .hold = {.text = trb_slice_str(bytes)}};
    wire_encode(&m, &frame);
    assert_int_equal(wire_decode(trb_buf_slice(&frame), &back, NULL), TRB_OK);
    assert_int_equal(back.hold.text.len, 398);
  }
  free(bytes);
}

static void encode_fails_for_no_message(void **state) {
  (void)state;
  TRB_BUF_AUTO frame = {0};
  struct wire_message m = {.type = WIRE_NONE};
  wire_encode(&m, &frame);
  assert_true(frame.failed);
}

static void sender_and_name_follow_the_definition(void **state) {
  (void)state;
  assert_string_equal(wire_name(WIRE_hello), "hello");
  assert_string_equal(wire_name((enum wire_type)999), "unknown");
  assert_int_equal(wire_sender(WIRE_hello), 'B');
  assert_int_equal(wire_sender(WIRE_join), 'G');
  assert_int_equal(wire_sender(WIRE_down), 'H');
  assert_int_equal(wire_sender((enum wire_type)999), 0);
}

static void signed_parts_are_what_protocol_md_says(void **state) {
  (void)state;
  struct wire_message m;
  TRB_BUF_AUTO frame = {0};
  TRB_BUF_AUTO part = {0};
  fixture_message(WIRE_join, trb_slice_of(NULL, 0), &m);
  wire_encode(&m, &frame);
  wire_join_signed(&m.join, &part);
  assert_memory_equal(part.data + 1, frame.data + 2, part.len - 1); /* the number is not signed */
  assert_int_equal(part.len, frame.len - 1 - 66);                   /* nor is the proof: a bin 8 of 64 bytes */
  trb_buf_clear(&frame);
  trb_buf_clear(&part);
  fixture_message(WIRE_rotate, trb_slice_of(NULL, 0), &m);
  wire_rotate_signed(&m.rotate, &part);
  assert_int_equal(part.len, 64);
  assert_memory_equal(part.data, m.rotate.curve_public, 32);
  assert_memory_equal(part.data + 32, m.rotate.sign_public, 32);
}

/* Every message stands in PROTOCOL.md as "### NAME (NUMBER, from X)" and under it its fields, in order, as table rows.
 */
static void protocol_md_lists_every_message_and_field(void **state) {
  (void)state;
  TRB_BUF_AUTO text = {0};
  TRB_BUF_AUTO want = {0};
  assert_int_equal(file_read("proto/PROTOCOL.md", 1 << 20, &text, NULL), TRB_OK);
  const char *who, *at = trb_buf_cstr(&text);
  size_t headings = 0;
  for (const char *p = at; (p = strstr(p, "\n### ")) != NULL; p++)
    headings += strstr(p, ", from ") != NULL && strstr(p, ", from ") < strchr(p + 1, '\n');
  assert_int_equal(headings, FIXTURE_TYPES);
  int n;
#define EXPECT(...)                                         \
  trb_buf_clear(&want), trb_buf_printf(&want, __VA_ARGS__); \
  at = strstr(at, trb_buf_cstr(&want));                     \
  if (!at) fail_msg("PROTOCOL.md lacks, or has in another order: %s", trb_buf_cstr(&want))
#define TRB_MESSAGE(name, number, from)                                       \
  who = (from) == 'B' ? "the branch" : (from) == 'H' ? "the hub" : "a guest"; \
  n = 0;                                                                      \
  EXPECT("\n### %s (%d, from %s)\n", #name, number, who);
#define U(name) EXPECT("\n| %d | `%s` | uint |", ++n, #name);
#define I(name) EXPECT("\n| %d | `%s` | int |", ++n, #name);
#define S(name, max) EXPECT("\n| %d | `%s` | str, at most %d bytes |", ++n, #name, max);
#define B(name, max) EXPECT("\n| %d | `%s` | bin, at most %d bytes |", ++n, #name, max);
#define F(name, len) EXPECT("\n| %d | `%s` | bin of %d |", ++n, #name, len);
#define TRB_END
#include "messages.def"
#undef TRB_MESSAGE
#undef TRB_END
#undef U
#undef I
#undef S
#undef B
#undef F
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(decode_gives_back_every_message),
      cmocka_unit_test(decode_takes_more_fields_than_it_knows_and_refuses_fewer),
      cmocka_unit_test(decode_names_the_message_and_the_field),
      cmocka_unit_test(decode_refuses_what_is_no_message),
      cmocka_unit_test(decode_and_encode_keep_the_limits_of_fields),
      cmocka_unit_test(encode_fails_for_no_message),
      cmocka_unit_test(sender_and_name_follow_the_definition),
      cmocka_unit_test(signed_parts_are_what_protocol_md_says),
      cmocka_unit_test(protocol_md_lists_every_message_and_field),
  };
  return cmocka_run_group_tests_name("wire", tests, NULL, NULL);
}
