/* mapping: the lines, what they refuse and why, what headers suggest, and that what is printed reads back. */
#include "tributary/mapping.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
/* after the others */
#include <cmocka.h>

#define HEADER_MAX 32

struct fixture {
  struct trb_catalogue *catalogue;
  struct mapping mapping;
  struct trb_error err;
  size_t count;
  struct trb_slice header[HEADER_MAX];
};

static int set_up(void **state) {
  struct fixture *f = calloc(1, sizeof *f);
  f->catalogue = catalogue_builtin();
  *state = f;
  return 0;
}
static int tear_down(void **state) {
  struct fixture *f = *state;
  mapping_free(&f->mapping);
  catalogue_unref(&f->catalogue);
  free(f);
  return 0;
}

static enum trb_status line(struct fixture *f, const char *text) {
  f->err = (struct trb_error){0};
  return mapping_line(&f->mapping, f->catalogue, trb_slice_str(text), &f->err);
}
/* "a|b|c" */
static void set_header(struct fixture *f, const char *names) {
  f->count = 0;
  while (f->count < HEADER_MAX) {
    size_t len = strcspn(names, "|");
    f->header[f->count++] = trb_slice_of(names, len);
    if (!names[len]) return;
    names += len + 1;
  }
}
static enum trb_status bind(struct fixture *f, const char *table) {
  return mapping_bind(&f->mapping, catalogue_named(f->catalogue, table), f->header, f->count, &f->err);
}
static void check_print(struct fixture *f, const char *want) {
  TRB_BUF_AUTO out = {0};
  mapping_print(&f->mapping, &out);
  assert_string_equal(trb_buf_cstr(&out), want);
}

static void mapping_line_reads_every_form(void **state) {
  struct fixture *f = *state;
  static const char *const lines[] = {"customer.name = Given + Surname\n",
                                      "customer.kind = \"organisation\"\n",
                                      "customer.birthday = Birthday, Born\n",
                                      "contact.mobile = Phone, Mobile 2\n",
                                      "contact.weibo = 微博\n",
                                      "identity_document.passport = 护照\n",
                                      "address.city = City 2\n",
                                      "customer.remark = `a = b` + \" / \" + `#3`\n",
                                      "where Source = \"a.csv\", \"b, c.csv\"\n"};
  TRB_BUF_AUTO want = {0};
  for (size_t i = 0; i < sizeof lines / sizeof *lines; i++) {
    assert_int_equal(line(f, lines[i]), TRB_OK);
    trb_buf_append_str(&want, lines[i]);
  }
  assert_int_equal(line(f, ""), TRB_OK);
  assert_int_equal(line(f, "  # a comment\r\n"), TRB_OK);
  check_print(f, trb_buf_cstr(&want)); /* what is printed is what was read */
  set_header(f, "Given|Surname|Birthday|Born|Phone|Mobile 2|微博|护照|City 2|a = b|#3|Source");
  assert_int_equal(bind(f, "customer"), TRB_OK);
  assert_int_equal(f->mapping.rule[0].piece[1].column, 1);
  assert_true(mapping_uses(&f->mapping, 11));
  assert_ptr_equal(mapping_main_table(&f->mapping), catalogue_named(f->catalogue, "customer"));
}

static void mapping_line_reads_references(void **state) {
  struct fixture *f = *state;
  assert_int_equal(line(f, "booking.customer_id = @customer.external_ref:客户编号"), TRB_OK);
  assert_int_equal(f->mapping.rule[0].form, MAPPING_LOOKUP);
  assert_string_equal(f->mapping.rule[0].lookup_column->name, "external_ref");
  assert_int_equal(line(f, "booking.payer_id = @customer.id:Payer"), TRB_OK);
  assert_null(f->mapping.rule[1].lookup_column);
  check_print(f, "booking.customer_id = @customer.external_ref:客户编号\nbooking.payer_id = @customer.id:Payer\n");
}

static void mapping_line_refuses_with_a_reason(void **state) {
  struct fixture *f = *state;
  static const char *const bad[][2] = {
      {"customer.name", "'=' is missing"},
      {"customer.name =", "name is missing"},
      {"name = Name", "table.column"},
      {"nonsense.name = Name", "no table 'nonsense'"},
      {"customer.nonsense = Name", "no column 'nonsense'"},
      {"customer.id = Id", "made by the import"},
      {"product.name = Name", "do not write"},
      {"customer.name = A + B, C", "cannot be mixed"},
      {"customer.name = \"open", "not closed"},
      {"customer.name = `open", "not closed"},
      {"customer.name = \"a\" b", "missing between"},
      {"booking.customer_id = @customer.nonsense:X", "no column"},
      {"booking.customer_id = @customer.external_ref", "needs ':'"},
      {"where Source", "'=' is missing"},
      {"customer.name = \xff", "UTF-8"},
      {"customer.name = A+A+A+A+A+A+A+A+A+A+A+A+A+A+A+A+A", "more than 16"},
  };
  for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
    assert_int_equal(line(f, bad[i][0]), TRB_PEER);
    if (!strstr(f->err.text, bad[i][1])) fail_msg("'%s': %s", bad[i][0], f->err.text);
  }
  assert_int_equal(f->mapping.rule_count + f->mapping.filter_count, 0);
  char *long_line = malloc(MAPPING_LINE_BYTES_MAX + 2);
  memset(long_line, 'a', MAPPING_LINE_BYTES_MAX + 1);
  long_line[MAPPING_LINE_BYTES_MAX + 1] = 0;
  assert_int_equal(line(f, long_line), TRB_PEER);
  free(long_line);
  for (int i = 0; i < MAPPING_RULES_MAX; i++) assert_int_equal(line(f, "contact.mobile = A"), TRB_OK);
  assert_int_equal(line(f, "contact.mobile = A"), TRB_PEER);
}

static void mapping_bind_refuses_what_does_not_fit(void **state) {
  struct fixture *f = *state;
  set_header(f, "Name|Phone");
  assert_int_equal(bind(f, "customer"), TRB_PEER); /* empty */
  assert_int_equal(line(f, "customer.name = Nome"), TRB_OK);
  assert_int_equal(bind(f, "customer"), TRB_PEER);
  assert_non_null(strstr(f->err.text, "no column 'Nome'"));
  f->mapping.rule_count = 0;
  line(f, "customer.name = Name");
  line(f, "customer.name = Phone");
  assert_int_equal(bind(f, "customer"), TRB_PEER);
  assert_non_null(strstr(f->err.text, "twice"));
  f->mapping.rule_count = 0;
  line(f, "customer.name = Name");
  line(f, "booking_item.name = Name");
  assert_int_equal(bind(f, "customer"), TRB_PEER);
  assert_non_null(strstr(f->err.text, "does not belong"));
  assert_null(mapping_main_table(&f->mapping));
  f->mapping.rule_count = 0;
  line(f, "contact.label = Name");
  assert_int_equal(bind(f, "customer"), TRB_PEER);
}

static void mapping_bind_forgives_case_and_spaces(void **state) {
  struct fixture *f = *state;
  set_header(f, "FULL_NAME|mobile-2| 电 话 ");
  line(f, "customer.name = Full Name");
  line(f, "contact.mobile = Mobile 2, 电话");
  assert_int_equal(bind(f, "customer"), TRB_OK);
  assert_int_equal(f->mapping.rule[1].piece[1].column, 2);
}

static void check_guess(struct fixture *f, const char *header, const char *table, const char *want) {
  mapping_free(&f->mapping);
  f->mapping = (struct mapping){0};
  set_header(f, header);
  const struct trb_table *main = mapping_guess_table(f->catalogue, f->header, f->count);
  assert_string_equal(main->name, table);
  assert_int_equal(mapping_guess(&f->mapping, f->catalogue, main, f->header, f->count, &f->err), TRB_OK);
  check_print(f, want);
  assert_int_equal(bind(f, table), TRB_OK);
}

static void mapping_guess_knows_chinese_and_english(void **state) {
  struct fixture *f = *state;
  check_guess(f, "姓名|手机|电话|邮箱|微信|身份证|地址|True Id", "customer",
              "customer.name = 姓名\ncontact.mobile = 手机\ncontact.landline = 电话\ncontact.email = 邮箱\n"
              "contact.wechat = 微信\nidentity_document.national_id = 身份证\ncustomer.address = 地址\n"
              "customer.kind = \"person\"\n");
  check_guess(
      f, "Id|Name|Phone|Mobile|Mobile 2|Email Address|Address|Zip|客户类型", "customer",
      "customer.external_ref = Id\ncustomer.name = Name\ncontact.landline = Phone\ncontact.mobile = Mobile, Mobile 2\n"
      "contact.email = Email Address\ncustomer.address = Address\ncustomer.postcode = Zip\ncustomer.kind = 客户类型\n");
  check_guess(
      f, "rec_id|given_name|surname|date_of_birth", "customer",
      "customer.external_ref = rec_id\ncustomer.birthday = date_of_birth\ncustomer.name = given_name + surname\n"
      "customer.kind = \"person\"\n");
  check_guess(f, "名|姓|手机", "customer",
              "contact.mobile = 手机\ncustomer.name = 姓 + 名\ncustomer.kind = \"person\"\n");
  check_guess(f, "姓名（必填）|手机号码*|Unheard of", "customer",
              "customer.name = 姓名（必填）\ncontact.mobile = 手机号码*\ncustomer.kind = \"person\"\n");
}

static void mapping_guess_knows_sales_and_activities(void **state) {
  struct fixture *f = *state;
  check_guess(
      f, "订单编号|客户编号|下单日期|金额|已付金额|状态", "booking",
      "booking.external_ref = 订单编号\nbooking.customer_id = @customer.external_ref:客户编号\n"
      "booking.ordered_on = 下单日期\nbooking.amount = 金额\npayment.amount = 已付金额\nbooking_event.kind = 状态\n"
      "payment.kind = \"received\"\nbooking_event.at = 下单日期\n");
  check_guess(f, "客户编号|时间|方式|内容|订单编号", "activity",
              "activity.customer_id = @customer.external_ref:客户编号\nactivity.at = 时间\nactivity.channel = 方式\n"
              "activity.text = 内容\nactivity.booking_id = @booking.external_ref:订单编号\n");
}

static void mapping_guess_survives_hostile_headers(void **state) {
  struct fixture *f = *state;
  char *name = malloc(1 << 16);
  memset(name, 'n', 1 << 16);
  f->header[0] = trb_slice_of(name, 1 << 16);
  f->header[1] = trb_slice_str("`name`");
  f->header[2] = trb_slice_str("|");
  f->header[3] = trb_slice_str("\xff");
  f->header[4] = trb_slice_str("");
  f->header[5] = trb_slice_str("姓名|手机"); /* a header with the bar that the tables use */
  f->count = 6;
  const struct trb_table *main = mapping_guess_table(f->catalogue, f->header, f->count);
  assert_int_equal(mapping_guess(&f->mapping, f->catalogue, main, f->header, f->count, &f->err), TRB_OK);
  free(name);
}

int main(void) {
#define MAPPING_TEST(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)
  const struct CMUnitTest tests[] = {
      MAPPING_TEST(mapping_line_reads_every_form),
      MAPPING_TEST(mapping_line_reads_references),
      MAPPING_TEST(mapping_line_refuses_with_a_reason),
      MAPPING_TEST(mapping_bind_refuses_what_does_not_fit),
      MAPPING_TEST(mapping_bind_forgives_case_and_spaces),
      MAPPING_TEST(mapping_guess_knows_chinese_and_english),
      MAPPING_TEST(mapping_guess_knows_sales_and_activities),
      MAPPING_TEST(mapping_guess_survives_hostile_headers),
  };
  return cmocka_run_group_tests_name("mapping", tests, NULL, NULL);
}
