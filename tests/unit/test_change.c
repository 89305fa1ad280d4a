/* change: encoded, decoded, checked against the catalogue. */
#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "codec_fixture.h"
#include "tributary/mp.h"

static void decode_gives_back_what_was_encoded(void **state) {
  (void)state;
  struct fixture f;
  fixture_make(&f);
  for (size_t i = 0; i < FIXTURE_CHANGES; i++) {
    TRB_BUF_AUTO bytes = {0};
    TRB_BUF_AUTO again = {0};
    TRB_ARENA_AUTO arena = {0};
    struct trb_change back;
    change_encode(&f.changes[i], &bytes);
    assert_int_equal(bytes.len, change_size(&f.changes[i]));
    assert_int_equal(change_decode(trb_buf_slice(&bytes), &arena, &back, NULL), TRB_OK);
    change_encode(&back, &again);
    assert_true(trb_slice_equal(trb_buf_slice(&bytes), trb_buf_slice(&again)));
    assert_int_equal(back.op, f.changes[i].op);
    assert_int_equal(back.cell_count, f.changes[i].cell_count);
    for (size_t len = 0; len < bytes.len; len++) {
      uint8_t *exact = malloc(len ? len : 1);
      memcpy(exact, bytes.data, len);
      assert_int_equal(change_decode(trb_slice_of(exact, len), &arena, &back, NULL), TRB_PEER);
      free(exact);
    }
  }
}

static void size_is_that_of_the_encoding_for_every_width(void **state) {
  (void)state;
  static const uint32_t marks[] = {0, 127, 128, 255, 256, 65535, 65536, UINT32_MAX};
  static const size_t lengths[] = {0, 31, 32, 255, 256, 65535, 65536, 100000};
  static const int64_t numbers[] = {0, -1, -33, 300, -70000, INT64_MAX, INT64_MIN, 127};
  char *text = calloc(1, 100000);
  for (size_t i = 0; i < 8; i++) {
    TRB_BUF_AUTO bytes = {0};
    struct trb_cell cells[3] = {fixture_cell(4, marks[i], trb_text_slice(trb_slice_of(text, lengths[i]))),
                                fixture_cell(200, 0, trb_blob(trb_slice_of(text, lengths[i]))),
                                fixture_cell(60000, 0, trb_int(numbers[i]))};
    struct trb_change change = {(uint16_t)marks[i % 6], TRB_OP_PUT, marks[i], trb_slice_of(text, lengths[i]), 3, cells};
    change_encode(&change, &bytes);
    assert_int_equal(bytes.len, change_size(&change));
  }
  struct trb_cell many[40];
  for (uint16_t i = 0; i < 40; i++) many[i] = fixture_cell((uint16_t)(i + 1), 0, trb_real(i));
  for (size_t count = 0; count < 40; count++) {
    TRB_BUF_AUTO bytes = {0};
    struct trb_change change = {1, TRB_OP_SET, 0, trb_slice_str("x"), count, many};
    change_encode(&change, &bytes);
    assert_int_equal(bytes.len, change_size(&change));
  }
  free(text);
}

static enum trb_status decode_hex(const char *hex) {
  uint8_t bytes[256];
  TRB_ARENA_AUTO arena = {0};
  struct trb_change change;
  assert_true(trb_unhex(hex, bytes, strlen(hex) / 2));
  return change_decode(trb_slice_of(bytes, strlen(hex) / 2), &arena, &change, NULL);
}

static void decode_refuses_malformed_changes(void **state) {
  (void)state;
  assert_int_equal(decode_hex("97010101a1780400a161"), TRB_OK);
  assert_int_equal(decode_hex("94010301a178"), TRB_OK);
  assert_int_equal(decode_hex("97010101a1780400a16100"), TRB_PEER);   /* bytes behind */
  assert_int_equal(decode_hex("9a010101a1780400c00400c0"), TRB_PEER); /* a column twice */
  assert_int_equal(decode_hex("9a010101a1780500c00400c0"), TRB_PEER); /* not ascending */
  assert_int_equal(decode_hex("97010301a1780400a161"), TRB_PEER);     /* a delete with a column */
  assert_int_equal(decode_hex("97010401a1780400a161"), TRB_PEER);
  assert_int_equal(decode_hex("97010501a1780400a161"), TRB_PEER); /* operation */
  assert_int_equal(decode_hex("94ff0301a178"), TRB_PEER);
  assert_int_equal(decode_hex("940103ffa178"), TRB_PEER);
  assert_int_equal(decode_hex("930103a178"), TRB_PEER);
  assert_int_equal(decode_hex("dd10000000"), TRB_PEER);
  assert_int_equal(decode_hex("c0"), TRB_PEER);
}

static struct trb_catalogue *catalogue;

static int open_catalogue(void **state) {
  (void)state;
  catalogue = catalogue_builtin();
  return catalogue ? 0 : -1;
}

static int close_catalogue(void **state) {
  (void)state;
  catalogue_unref(&catalogue);
  return 0;
}

static enum trb_refusal check(uint16_t table, enum trb_op op, const char *id, size_t count, struct trb_cell *cells) {
  struct trb_error err = {0};
  struct trb_change change = {table, op, 0, trb_slice_str(id), count, cells};
  enum trb_refusal reason = change_check(catalogue, &change, false, &err);
  if (reason) assert_true(strlen(err.text) > 10);
  assert_null(strstr(err.text, "13911112222")); /* no personal data in errors */
  assert_null(strstr(err.text, "张"));
  return reason;
}

static void check_takes_what_branches_may_write(void **state) {
  (void)state;
  struct fixture f;
  fixture_make(&f);
  for (size_t i = 0; i < FIXTURE_CHANGES; i++)
    assert_int_equal(change_check(catalogue, &f.changes[i], false, NULL), TRB_REFUSED_NONE);
}

static void check_refuses_by_table_and_owner(void **state) {
  (void)state;
  struct trb_change change = {TRB_T_site, TRB_OP_DELETE, 0, trb_slice_str("x"), 0, NULL};
  assert_int_equal(check(9999, TRB_OP_PUT, "x", 0, NULL), TRB_REFUSED_TABLE);
  assert_int_equal(check(0, TRB_OP_DELETE, "x", 0, NULL), TRB_REFUSED_TABLE);
  assert_int_equal(check(TRB_T_site, TRB_OP_DELETE, "x", 0, NULL), TRB_REFUSED_OWNER);
  assert_int_equal(change_check(catalogue, &change, true, NULL), TRB_REFUSED_NONE);
  assert_int_equal(check(TRB_T_unified_customer, TRB_OP_DELETE, "x", 0, NULL), TRB_REFUSED_OWNER);
  change.table = TRB_T_unified_customer;
  assert_int_equal(change_check(catalogue, &change, true, NULL), TRB_REFUSED_OWNER);
}

static void check_refuses_ids(void **state) {
  (void)state;
  char id[80];
  assert_int_equal(check(1, TRB_OP_DELETE, "", 0, NULL), TRB_REFUSED_ID);
  assert_int_equal(check(1, TRB_OP_DELETE, "a\nb", 0, NULL), TRB_REFUSED_ID);
  assert_int_equal(check(1, TRB_OP_DELETE, "\xff\xfe", 0, NULL), TRB_REFUSED_ID);
  assert_int_equal(check(1, TRB_OP_UNDO, "\xff", 0, NULL), TRB_REFUSED_ID);
  memset(id, 'x', 65), id[65] = 0;
  assert_int_equal(check(1, TRB_OP_DELETE, id, 0, NULL), TRB_REFUSED_ID);
  id[64] = 0;
  assert_int_equal(check(1, TRB_OP_DELETE, id, 0, NULL), TRB_REFUSED_NONE);
}

static void check_refuses_values_one_change_at_a_time(void **state) {
  (void)state;
  const struct {
    uint16_t column;
    struct trb_value value;
    enum trb_refusal expect;
  } cases[] = {
      {TRB_C_customer_name, trb_text("张三"), TRB_REFUSED_NONE},
      {TRB_C_customer_name, trb_text("张\xff三"), TRB_REFUSED_VALUE},
      {TRB_C_customer_name, trb_text("\xed\xa0\x80"), TRB_REFUSED_VALUE}, /* a surrogate */
      {TRB_C_customer_name, trb_text_slice(trb_slice_of("a\0b", 3)), TRB_REFUSED_VALUE},
      {TRB_C_customer_name, trb_blob(trb_slice_str("13911112222")), TRB_REFUSED_VALUE},
      {TRB_C_customer_name, trb_int(13911112222), TRB_REFUSED_VALUE},
      {TRB_C_customer_birthday, trb_text("1990-02-30x"), TRB_REFUSED_VALUE},
      {TRB_C_customer_created_at, trb_text("yesterday"), TRB_REFUSED_VALUE},
      {TRB_C_customer_credit_limit, trb_real(1.0 / 0.0), TRB_REFUSED_VALUE},
      {TRB_C_customer_credit_limit, trb_int(5), TRB_REFUSED_NONE},
      {TRB_C_customer_kind, trb_null(), TRB_REFUSED_REQUIRED},
      {TRB_C_customer_name, trb_null(), TRB_REFUSED_NONE},
      {57, trb_blob(trb_slice_str("\xff")), TRB_REFUSED_NONE}, /* unknown: kept raw */
      {5000, trb_text("\xff"), TRB_REFUSED_NONE},
  };
  for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
    struct trb_cell cell = fixture_cell(cases[i].column, 0, cases[i].value);
    assert_int_equal(check(TRB_T_customer, TRB_OP_SET, "x", 1, &cell), cases[i].expect);
  }
}

static void check_wants_required_columns_of_a_whole_row_only(void **state) {
  (void)state;
  struct trb_cell cell = fixture_cell(TRB_C_customer_name, 0, trb_text("张三"));
  struct trb_cell both[2] = {fixture_cell(TRB_C_customer_kind, 0, trb_text("person")), cell};
  assert_int_equal(check(TRB_T_customer, TRB_OP_PUT, "x", 1, &cell), TRB_REFUSED_REQUIRED);
  assert_int_equal(check(TRB_T_customer, TRB_OP_PUT, "x", 0, NULL), TRB_REFUSED_REQUIRED);
  assert_int_equal(check(TRB_T_customer, TRB_OP_SET, "x", 1, &cell), TRB_REFUSED_NONE);
  assert_int_equal(check(TRB_T_customer, TRB_OP_PUT, "x", 2, both), TRB_REFUSED_NONE);
}

static void check_bounds_the_size_of_a_row(void **state) {
  (void)state;
  char *text = calloc(1, TRB_ROW_BYTES_MAX + 1);
  memset(text, 'x', TRB_ROW_BYTES_MAX);
  struct trb_cell cell = fixture_cell(5000, 0, trb_text(text)); /* unknown, so no column's limit speaks first */
  assert_int_equal(check(TRB_T_customer, TRB_OP_SET, "x", 1, &cell), TRB_REFUSED_NONE);
  struct trb_cell two[2] = {fixture_cell(4999, 0, trb_int(1)), cell};
  assert_int_equal(check(TRB_T_customer, TRB_OP_SET, "x", 2, two), TRB_REFUSED_SIZE);
  free(text);
}

static void refusal_text_knows_every_reason(void **state) {
  (void)state;
  for (int reason = 1; reason <= TRB_REFUSED_SIZE; reason++)
    assert_string_not_equal(refusal_text((enum trb_refusal)reason), "unknown reason");
  assert_string_equal(refusal_text((enum trb_refusal)99), "unknown reason");
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(decode_gives_back_what_was_encoded),
      cmocka_unit_test(size_is_that_of_the_encoding_for_every_width),
      cmocka_unit_test(decode_refuses_malformed_changes),
      cmocka_unit_test(check_takes_what_branches_may_write),
      cmocka_unit_test(check_refuses_by_table_and_owner),
      cmocka_unit_test(check_refuses_ids),
      cmocka_unit_test(check_refuses_values_one_change_at_a_time),
      cmocka_unit_test(check_wants_required_columns_of_a_whole_row_only),
      cmocka_unit_test(check_bounds_the_size_of_a_row),
      cmocka_unit_test(refusal_text_knows_every_reason),
  };
  return cmocka_run_group_tests_name("change", tests, open_catalogue, close_catalogue);
}
