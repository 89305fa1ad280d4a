/* The pure core of golden records: each rule of survivorship, provenance, contacts as one list. */
#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "../../node/hub/golden.h"

#define FIELD(name) (TRB_C_customer_##name - GOLDEN_FIELD_FIRST)

struct card {
  struct trb_value values[GOLDEN_FIELDS];
  uint8_t times[8];
};
static struct golden_member member(struct card *card, const char *site, const char *id, trb_hlc stamp, trb_hlc time) {
  trb_put_u64(card->times, time);
  return (struct golden_member){.site = trb_slice_str(site),
                                .id = trb_slice_str(id),
                                .hq = strcmp(site, "hq") == 0,
                                .stamp = {stamp, 0},
                                .values = card->values,
                                .times = trb_slice_of(card->times, 8)};
}

static struct trb_value winner(const struct golden_policy_row *rows, size_t row_count, struct golden_member *members,
                               size_t count, size_t field, size_t *ret_member) {
  static struct trb_arena arena;
  struct golden_policy policy;
  struct golden_field fields[GOLDEN_FIELDS];
  assert_int_equal(golden_policy_init(&policy, rows, row_count, NULL), TRB_OK);
  assert_int_equal(golden_fields(&policy, members, count, &arena, fields, NULL), TRB_OK);
  golden_policy_done(&policy);
  *ret_member = fields[field].member;
  return fields[field].value;
}
static struct golden_policy_row rule(const char *field, const char *name) {
  return (struct golden_policy_row){.field = trb_slice_str(field), .rule = trb_slice_str(name)};
}
static void expect_text(struct trb_value value, const char *text) {
  assert_int_equal(value.type, TRB_TEXT);
  assert_true(trb_slice_equal(value.s, trb_slice_str(text)));
}

static void golden_fields_takes_the_most_recent_value_that_is_not_empty(void **state) {
  (void)state;
  struct card a = {0}, b = {0}, c = {0};
  a.values[FIELD(city)] = trb_text("上海");
  b.values[FIELD(city)] = trb_text("北京");
  c.values[FIELD(city)] = trb_text("");
  struct golden_member m[] = {member(&a, "sh", "1", 1, 100), member(&b, "bj", "1", 2, 200),
                              member(&c, "gz", "1", 3, 300)};
  size_t from;
  expect_text(winner(NULL, 0, m, 3, FIELD(city), &from), "北京");
  assert_int_equal(from, 1);
  assert_int_equal(winner(NULL, 0, m, 3, FIELD(bank), &from).type, TRB_NULL);
  assert_int_equal(from, SIZE_MAX);
}

static void golden_fields_lets_headquarters_win_unless_the_policy_says_no(void **state) {
  (void)state;
  struct card a = {0}, b = {0};
  a.values[FIELD(city)] = trb_text("HQ");
  b.values[FIELD(city)] = trb_text("branch");
  struct golden_member m[] = {member(&a, "hq", "1", 1, 100), member(&b, "bj", "1", 2, 200)};
  size_t from;
  expect_text(winner(NULL, 0, m, 2, FIELD(city), &from), "HQ");
  struct golden_policy_row rows[] = {rule("city", "recent")};
  rows[0].hq_loses = true;
  expect_text(winner(rows, 1, m, 2, FIELD(city), &from), "branch");
}

static void golden_fields_follows_each_rule(void **state) {
  (void)state;
  struct card a = {0}, b = {0}, c = {0};
  a.values[FIELD(address)] = trb_text("longest address");
  b.values[FIELD(address)] = trb_text("b");
  c.values[FIELD(address)] = trb_text("b");
  a.values[FIELD(keywords)] = trb_text("vip, golf");
  b.values[FIELD(keywords)] = trb_text("golf,sea");
  a.values[FIELD(staff_count)] = trb_int(3);
  b.values[FIELD(staff_count)] = trb_int(4);
  struct golden_member m[] = {member(&a, "sh", "1", 1, 100), member(&b, "bj", "1", 2, 200),
                              member(&c, "gz", "1", 3, 300)};
  m[0].verified = true;
  static const struct {
    const char *rule, *expected;
    size_t from;
  } cases[] = {{"recent", "b", 2},   {"longest", "longest address", 0},
               {"frequent", "b", 2}, {"verified", "longest address", 0},
               {"earliest", "b", 2}, {"latest", "longest address", 0}};
  size_t from;
  for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
    struct golden_policy_row rows[] = {rule("address", cases[i].rule)};
    expect_text(winner(rows, 1, m, 3, FIELD(address), &from), cases[i].expected);
    assert_int_equal(from, cases[i].from);
  }
  struct golden_policy_row trusted[] = {rule("*", "trusted_site")};
  trusted[0].sites = trb_slice_str("bj, sh");
  winner(trusted, 1, m, 3, FIELD(address), &from);
  assert_int_equal(from, 1);
  expect_text(winner(NULL, 0, m, 3, FIELD(keywords), &from), "golf,sea,vip");
  struct golden_policy_row sum[] = {rule("staff_count", "sum")};
  assert_int_equal(winner(sum, 1, m, 3, FIELD(staff_count), &from).i, 7);
}

static void golden_fields_breaks_ties_by_content_then_stamp_never_by_place(void **state) {
  (void)state;
  struct card a = {0}, b = {0}, c = {0};
  a.values[FIELD(city)] = trb_text("A");
  b.values[FIELD(city)] = trb_text("B");
  c.values[FIELD(city)] = trb_text("B");
  struct golden_member m[] = {member(&a, "sh", "9", 1, 100), member(&b, "bj", "1", 7, 100),
                              member(&c, "gz", "5", 3, 100)};
  for (int turn = 0; turn < 3; turn++) {
    size_t from;
    expect_text(winner(NULL, 0, m, 3, FIELD(city), &from), "B");
    assert_true(trb_slice_equal(m[from].site, trb_slice_str("gz")));
    struct golden_member first = m[0];
    m[0] = m[1], m[1] = m[2], m[2] = first;
  }
}

static void golden_provenance_escapes_ids_and_names_what_is_common_once(void **state) {
  (void)state;
  struct card a = {0}, b = {0};
  a.values[FIELD(kind)] = trb_text("person");
  a.values[FIELD(name)] = trb_text("张三");
  a.values[FIELD(city)] = trb_text("上海");
  b.values[FIELD(city)] = trb_text("北京");
  struct golden_member m[] = {member(&a, "sh", "a\"b\\\n", 1, trb_hlc_of_ms(42)),
                              member(&b, "bj", "7", 2, trb_hlc_of_ms(43))};
  struct golden_policy policy;
  struct golden_field fields[GOLDEN_FIELDS];
  TRB_ARENA_AUTO arena = {0};
  TRB_BUF_AUTO out = {0};
  struct trb_catalogue *catalogue = catalogue_builtin();
  assert_int_equal(golden_policy_init(&policy, NULL, 0, NULL), TRB_OK);
  assert_int_equal(golden_fields(&policy, m, 2, &arena, fields, NULL), TRB_OK);
  golden_provenance(catalogue_table(catalogue, TRB_T_customer), m, fields, &out);
  assert_string_equal(trb_buf_cstr(&out), "{\"*\":[\"sh\",\"a\\\"b\\\\\\u000a\",42],\"city\":[\"bj\",\"7\",43]}");
  golden_policy_done(&policy);
  catalogue_unref(&catalogue);
}

static struct golden_contact contact(size_t m, const char *key, const char *kind, const char *value, trb_hlc time) {
  return (struct golden_contact){.member = m,
                                 .rid = (int64_t)time,
                                 .key = trb_slice_str(key),
                                 .kind = trb_slice_str(kind),
                                 .value = trb_slice_str(value),
                                 .time = time,
                                 .accepted = {time, 0}};
}

static void golden_contacts_counts_equal_keys_once_and_picks_a_usable_main(void **state) {
  (void)state;
  struct golden_member m[2] = {{.stamp = {1, 0}}, {.stamp = {2, 0}}};
  struct golden_contact c[] = {contact(1, "tel:1", "mobile", "1 ", 30), contact(0, "tel:1", "mobile", "1", 10),
                               contact(0, "tel:2", "mobile", "2", 40), contact(1, "mail:a", "email", "a@x", 5)};
  struct golden_unified_contact u[4];
  assert_int_equal(golden_contacts(m, c, 4, u), 3);
  assert_true(u[0].main); /* mail:a */
  assert_int_equal(u[1].count, 2);
  assert_int_equal(c[u[1].named].member, 0); /* earliest record */
  assert_int_equal(c[u[1].best].time, 30);   /* most recent */
  assert_false(u[1].main);
  assert_true(u[2].main); /* tel:2 is more recent */
  for (size_t i = 0; i < 4; i++)
    if (trb_slice_equal(c[i].key, trb_slice_str("tel:2"))) c[i].status = GOLDEN_STATUS_DEAD;
  assert_int_equal(golden_contacts(m, c, 4, u), 3);
  assert_true(u[1].main);
  assert_false(u[2].main);
}

static void golden_contact_value_gives_the_number_of_a_cell_of_several(void **state) {
  (void)state;
  struct golden_contact c = contact(0, "tel:+8613911112222", "mobile", "13911112222 / 139..", 1);
  c.part = 2;
  assert_true(trb_slice_equal(golden_contact_value(&c), trb_slice_str("+8613911112222")));
}

static void golden_cents_rounds_and_bounds(void **state) {
  (void)state;
  assert_int_equal(golden_cents(0.1 + 0.2), 30);
  assert_int_equal(golden_cents(-1.005), -100);
  assert_int_equal(golden_cents(1e300), 0);
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(golden_fields_takes_the_most_recent_value_that_is_not_empty),
      cmocka_unit_test(golden_fields_lets_headquarters_win_unless_the_policy_says_no),
      cmocka_unit_test(golden_fields_follows_each_rule),
      cmocka_unit_test(golden_fields_breaks_ties_by_content_then_stamp_never_by_place),
      cmocka_unit_test(golden_provenance_escapes_ids_and_names_what_is_common_once),
      cmocka_unit_test(golden_contacts_counts_equal_keys_once_and_picks_a_usable_main),
      cmocka_unit_test(golden_contact_value_gives_the_number_of_a_cell_of_several),
      cmocka_unit_test(golden_cents_rounds_and_bounds),
  };
  return cmocka_run_group_tests_name("golden", tests, NULL, NULL);
}
