/* key: every rule from a contact as typed to its key, as a table: what is typed, which keys come out or why
 * none. */
#include "tributary/key.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
/* after the others */
#include <cmocka.h>

struct key_case {
  const char *value;
  const char *keys; /* texts of the keys, a space between; "" for none */
  enum trb_key_reason reason;
};

static const struct trb_key_context shanghai = {.region = "CN", .area_code = "021"};
static const struct trb_key_context hangzhou = {.region = "CN", .area_code = "571"};
static const struct trb_key_context nowhere = {.region = "CN", .area_code = ""};
static const struct trb_key_context chicago = {.region = "US", .area_code = "312"};
static const struct trb_key_context london = {.region = "GB", .area_code = "020"};

static void run(const struct key_case *cases, size_t count, enum trb_kind kind, const char *name,
                const struct trb_key_context *context) {
  size_t wrong = 0;
  for (size_t i = 0; i < count; i++) {
    struct trb_keys keys;
    char got[1024] = "";
    key_normalise(kind, trb_slice_str(name), trb_slice_str(cases[i].value), context, &keys);
    for (size_t k = 0; k < keys.count; k++) {
      if (k) strcat(got, " ");
      strcat(got, keys.key[k].text);
    }
    if (strcmp(got, cases[i].keys) == 0 && keys.reason == cases[i].reason) continue;
    fprintf(stderr, "  '%s': got '%s' (%s), wanted '%s' (%s)\n", cases[i].value, got, key_reason_text(keys.reason),
            cases[i].keys, key_reason_text(cases[i].reason));
    wrong++;
  }
  assert_int_equal(wrong, 0);
}
#define RUN(cases, kind, context) run(cases, sizeof(cases) / sizeof *(cases), kind, kind_name(kind), context)

static void mainland_mobiles(void **state) {
  (void)state;
  static const struct key_case cases[] = {
      {"13911112222", "tel:+8613911112222", 0},
      {" 13911112222 ", "tel:+8613911112222", 0},
      {"１３９１１１１２２２２", "tel:+8613911112222", 0},
      {"138 1234 5678", "tel:+8613812345678", 0},
      {"138-1234-5678", "tel:+8613812345678", 0},
      {"138.1234.5678", "tel:+8613812345678", 0},
      {"138　1234　5678", "tel:+8613812345678", 0},
      {"138–1234—5678", "tel:+8613812345678", 0},
      {"1381 2345 678", "tel:+8613812345678", 0},
      {"1381234-5678", "tel:+8613812345678", 0},
      {"+86-138-1234-5678", "tel:+8613812345678", 0},
      {"+86 13812345678", "tel:+8613812345678", 0},
      {"＋８６ 13812345678", "tel:+8613812345678", 0},
      {"(+86)13812345678", "tel:+8613812345678", 0},
      {"（86）13812345678", "tel:+8613812345678", 0},
      {"008613812345678", "tel:+8613812345678", 0},
      {"0086 138 1234 5678", "tel:+8613812345678", 0},
      {"8613812345678", "tel:+8613812345678", 0},
      {"86 138 1234 5678", "tel:+8613812345678", 0},
      {"013812345678", "tel:+8613812345678", 0},
      {"+86 0138 1234 5678", "tel:+8613812345678", 0},
      {"1795113812345678", "tel:+8613812345678", 0},
      {"17951 138 1234 5678", "tel:+8613812345678", 0},
      {"12593-13812345678", "tel:+8613812345678", 0},
      {"17951+8613812345678", "tel:+8613812345678", TRB_NOKEY_SHORT_CODE},
      {"179518613812345678", "tel:+8613812345678", 0},
      {"17951138123", "tel:+8617951138123", 0},
      {"16212345678", "tel:+8616212345678", 0},
      {"19912345678", "tel:+8619912345678", 0},
      {"15412345670", "tel:+8615412345670", 0},
      {"14712345670", "tel:+8614712345670", 0},
      {"\u202d13812345678\u202c", "tel:+8613812345678", 0},
      {"\u200b13812345678", "tel:+8613812345678", 0},
      {"\ufeff13812345678", "tel:+8613812345678", 0},
      {"'13812345678", "tel:+8613812345678", 0},
      {"\"13812345678\"", "tel:+8613812345678", 0},
      {"=\"13812345678\"", "tel:+8613812345678", 0},
      {"13812345678.0", "tel:+8613812345678", 0},
      {"手机：13812345678", "tel:+8613812345678", 0},
      {"手机13812345678", "tel:+8613812345678", 0},
      {"Mobile: 13812345678", "tel:+8613812345678", 0},
      {"13812345678(微信同号)", "tel:+8613812345678", 0},
      {"张三13812345678", "tel:+8613812345678", 0},
      {"13812345678张三", "tel:+8613812345678", 0},
      {"Li Hua 13812345678", "tel:+8613812345678", 0},
      {"13812345678-8001", "tel:+8613812345678;ext=8001", 0},
      {"13812345678转8001", "tel:+8613812345678;ext=8001", 0},
      {"12012345678", "", TRB_NOKEY_MALFORMED},
      {"1381234567", "", TRB_NOKEY_MALFORMED},
      {"138123456789", "", TRB_NOKEY_MALFORMED},
      {"13812345678 2", "", TRB_NOKEY_MALFORMED},
  };
  RUN(cases, TRB_KIND_MOBILE, &shanghai);
}

static void several_in_a_cell(void **state) {
  (void)state;
  static const struct key_case cases[] = {
      {"13911112222/13822223333", "tel:+8613911112222 tel:+8613822223333", 0},
      {"13911112222、13822223333", "tel:+8613911112222 tel:+8613822223333", 0},
      {"13911112222，13822223333", "tel:+8613911112222 tel:+8613822223333", 0},
      {"13911112222；13822223333", "tel:+8613911112222 tel:+8613822223333", 0},
      {"13911112222;13822223333", "tel:+8613911112222 tel:+8613822223333", 0},
      {"13911112222 13822223333", "tel:+8613911112222 tel:+8613822223333", 0},
      {"13911112222\n13822223333", "tel:+8613911112222 tel:+8613822223333", 0},
      {"13911112222\t13822223333", "tel:+8613911112222 tel:+8613822223333", 0},
      {"13911112222或13822223333", "tel:+8613911112222 tel:+8613822223333", 0},
      {"13911112222和13822223333", "tel:+8613911112222 tel:+8613822223333", 0},
      {"139 1111 2222 138 2222 3333", "tel:+8613911112222 tel:+8613822223333", 0},
      {"13911112222 / 021-64281234", "tel:+8613911112222 tel:+862164281234", 0},
      {"021-64281234 13911112222", "tel:+862164281234 tel:+8613911112222", 0},
      {"021-64281234-64281235", "tel:+862164281234 tel:+862164281235", 0},
      {"张三13911112222 李四13822223333", "tel:+8613911112222 tel:+8613822223333", 0},
      {"张三：13911112222；李四：13822223333", "tel:+8613911112222 tel:+8613822223333", 0},
      {"13911112222/13911112222", "tel:+8613911112222", 0},
      {"13911112222/无", "tel:+8613911112222", TRB_NOKEY_PLACEHOLDER},
      {"13911112222/139****3333", "tel:+8613911112222", TRB_NOKEY_MASKED},
      {"13911112222/10086", "tel:+8613911112222", TRB_NOKEY_SHORT_CODE},
      {"021-64281234转8001、8002", "tel:+862164281234;ext=8001", TRB_NOKEY_SHORT_CODE},
      {"139,1111,2222", "", TRB_NOKEY_SHORT_CODE},
  };
  RUN(cases, TRB_KIND_MOBILE, &shanghai);
}

static void mainland_landlines(void **state) {
  (void)state;
  static const struct key_case cases[] = {
      {"021-64281234", "tel:+862164281234", 0},
      {"02164281234", "tel:+862164281234", 0},
      {"(021)64281234", "tel:+862164281234", 0},
      {"（021）6428 1234", "tel:+862164281234", 0},
      {"021－６４２８１２３４", "tel:+862164281234", 0},
      {"021-6428-1234", "tel:+862164281234", 0},
      {"21-64281234", "tel:+862164281234", 0},
      {"+86 21 64281234", "tel:+862164281234", 0},
      {"+86 (0)21 64281234", "tel:+862164281234", 0},
      {"+86 021 64281234", "tel:+862164281234", 0},
      {"0086-21-64281234", "tel:+862164281234", 0},
      {"862164281234", "tel:+862164281234", 0},
      {"86-021-64281234", "tel:+862164281234", 0},
      {"17951-021-64281234", "tel:+862164281234", 0},
      {"64281234", "tel:+862164281234", 0},
      {"6428 1234", "tel:+862164281234", 0},
      {"6428-1234", "tel:+862164281234", 0},
      {"Tel:021-64281234", "tel:+862164281234", 0},
      {"010-65123456", "tel:+861065123456", 0},
      {"0571-87651234", "tel:+8657187651234", 0},
      {"0571-8765123-1", "", TRB_NOKEY_MALFORMED},
      {"0591-83331234", "tel:+8659183331234", 0},
      {"021-64281234-8001", "tel:+862164281234;ext=8001", 0},
      {"021-64281234转8001", "tel:+862164281234;ext=8001", 0},
      {"021-64281234轉8001", "tel:+862164281234;ext=8001", 0},
      {"021-64281234 分机8001", "tel:+862164281234;ext=8001", 0},
      {"021-64281234分机号：8001", "tel:+862164281234;ext=8001", 0},
      {"021-64281234(转8001)", "tel:+862164281234;ext=8001", 0},
      {"021-64281234 ext. 8001", "tel:+862164281234;ext=8001", 0},
      {"021-64281234 Ext:8001", "tel:+862164281234;ext=8001", 0},
      {"021-64281234x8001", "tel:+862164281234;ext=8001", 0},
      {"021-64281234#8001", "tel:+862164281234;ext=8001", 0},
      {"021-64281234;ext=8001", "tel:+862164281234;ext=8001", 0},
      {"021-64281234, ext 8001", "tel:+862164281234;ext=8001", 0},
      {"021-64281234-0", "tel:+862164281234;ext=0", 0},
      {"64281234-8001", "tel:+862164281234;ext=8001", 0},
      {"64281234转1", "tel:+862164281234;ext=1", 0},
      {"2164281234", "", TRB_NOKEY_MALFORMED},
      {"5718765123", "", TRB_NOKEY_MALFORMED},
      {"021-12345678", "", TRB_NOKEY_PLACEHOLDER},
      {"021-14281234", "", TRB_NOKEY_MALFORMED},
      {"021-6428123", "", TRB_NOKEY_MALFORMED},
      {"021-88888888", "", TRB_NOKEY_PLACEHOLDER},
      {"0571-1234567", "", TRB_NOKEY_PLACEHOLDER},
      {"+86 64281234", "", TRB_NOKEY_MALFORMED},
      {"91234567", "", TRB_NOKEY_MALFORMED},
  };
  RUN(cases, TRB_KIND_LANDLINE, &shanghai);
}

static void area_code_of_the_branch(void **state) {
  (void)state;
  static const struct key_case none[] = {
      {"64281234", "", TRB_NOKEY_NO_AREA},
      {"64281234-8001", "", TRB_NOKEY_NO_AREA},
      {"021-64281234", "tel:+862164281234", 0},
      {"13911112222", "tel:+8613911112222", 0},
  };
  static const struct key_case three[] = {
      {"87651234", "tel:+8657187651234", 0},
      {"0571-87651234", "tel:+8657187651234", 0},
      {"021-64281234", "tel:+862164281234", 0},
  };
  RUN(none, TRB_KIND_LANDLINE, &nowhere);
  RUN(three, TRB_KIND_LANDLINE, &hangzhou);
  struct trb_keys keys;
  key_normalise(TRB_KIND_LANDLINE, trb_slice_str("landline"), trb_slice_str("64281234-8001"), &shanghai, &keys);
  assert_int_equal(keys.key[0].flags, TRB_KEY_AREA_ASSUMED | TRB_KEY_EXTENSION);
  key_normalise(TRB_KIND_LANDLINE, trb_slice_str("landline"), trb_slice_str("021-64281234"), &shanghai, &keys);
  assert_int_equal(keys.key[0].flags, 0);
}

static void never_keys(void **state) {
  (void)state;
  static const struct key_case cases[] = {
      {"", "", TRB_NOKEY_EMPTY},
      {"   ", "", TRB_NOKEY_EMPTY},
      {"　", "", TRB_NOKEY_EMPTY},
      {"无", "", TRB_NOKEY_PLACEHOLDER},
      {"無", "", TRB_NOKEY_PLACEHOLDER},
      {"没有", "", TRB_NOKEY_PLACEHOLDER},
      {"不详", "", TRB_NOKEY_PLACEHOLDER},
      {"未知", "", TRB_NOKEY_PLACEHOLDER},
      {"保密", "", TRB_NOKEY_PLACEHOLDER},
      {"n/a", "", TRB_NOKEY_PLACEHOLDER},
      {"N/A", "", TRB_NOKEY_PLACEHOLDER},
      {"none", "", TRB_NOKEY_PLACEHOLDER},
      {"NULL", "", TRB_NOKEY_PLACEHOLDER},
      {"-", "", TRB_NOKEY_PLACEHOLDER},
      {"0", "", TRB_NOKEY_PLACEHOLDER},
      {"123456", "", TRB_NOKEY_PLACEHOLDER},
      {"000000", "", TRB_NOKEY_PLACEHOLDER},
      {"13800138000", "", TRB_NOKEY_PLACEHOLDER},
      {"+86 138 0013 8000", "", TRB_NOKEY_PLACEHOLDER},
      {"13800000000", "", TRB_NOKEY_PLACEHOLDER},
      {"13333333333", "", TRB_NOKEY_PLACEHOLDER},
      {"11111111111", "", TRB_NOKEY_PLACEHOLDER},
      {"12345678901", "", TRB_NOKEY_PLACEHOLDER},
      {"00000000000", "", TRB_NOKEY_PLACEHOLDER},
      {"98765432101", "", TRB_NOKEY_MALFORMED},
      {"139****2222", "", TRB_NOKEY_MASKED},
      {"139＊＊＊＊2222", "", TRB_NOKEY_MASKED},
      {"139xxxx2222", "", TRB_NOKEY_MASKED},
      {"139XXXX2222", "", TRB_NOKEY_MASKED},
      {"139####2222", "", TRB_NOKEY_MASKED},
      {"139●●●●2222", "", TRB_NOKEY_MASKED},
      {"139____2222", "", TRB_NOKEY_MASKED},
      {"l3911112222", "", TRB_NOKEY_MALFORMED},
      {"I3911112222", "", TRB_NOKEY_MALFORMED},
      {"139O1112222", "", TRB_NOKEY_MALFORMED},
      {"1391111222Z", "", TRB_NOKEY_MALFORMED},
      {"lO911112222", "", TRB_NOKEY_MALFORMED},
      {"1.39E+10", "", TRB_NOKEY_MALFORMED},
      {"1.39111E+10", "", TRB_NOKEY_MALFORMED},
      {"1.39e10", "", TRB_NOKEY_MALFORMED},
      {"2011-05-06", "", TRB_NOKEY_MALFORMED},
      {"2011/5/6", "", TRB_NOKEY_MALFORMED},
      {"2011.05.06", "", TRB_NOKEY_MALFORMED},
      {"05/06/2011 12:00", "", TRB_NOKEY_MALFORMED},
      {"2011年5月6日", "", TRB_NOKEY_MALFORMED},
      {"张三 2011-05-06", "", TRB_NOKEY_MALFORMED},
      {"10086", "", TRB_NOKEY_SHORT_CODE},
      {"110", "", TRB_NOKEY_SHORT_CODE},
      {"95588", "", TRB_NOKEY_SHORT_CODE},
      {"12345", "", TRB_NOKEY_SHORT_CODE},
      {"400-820-8820", "", TRB_NOKEY_SERVICE},
      {"4008208820", "", TRB_NOKEY_SERVICE},
      {"400 820 8820 转 1", "", TRB_NOKEY_SERVICE},
      {"800-8208-820", "", TRB_NOKEY_SERVICE},
      {"8008208820", "", TRB_NOKEY_SERVICE},
      {"张三", "", TRB_NOKEY_MALFORMED},
      {"li@example.com", "", TRB_NOKEY_MALFORMED},
      {"+", "", TRB_NOKEY_MALFORMED},
      {"++++", "", TRB_NOKEY_MALFORMED},
      {"()()()", "", TRB_NOKEY_MALFORMED},
      {"1234567890123456789012345678901234567890", "", TRB_NOKEY_MALFORMED},
      {"1 2 3 4 5 6 7 8 9 0 1 2 3 4 5 6 7 8 9 0 1 2 3 4 5 6 7 8 9", "", TRB_NOKEY_MALFORMED},
  };
  RUN(cases, TRB_KIND_MOBILE, &shanghai);
}

static void hong_kong_macau_taiwan_and_the_world(void **state) {
  (void)state;
  static const struct key_case cases[] = {
      {"852-91234567", "tel:+85291234567", 0},         {"85291234567", "tel:+85291234567", 0},
      {"852 9123 4567", "tel:+85291234567", 0},        {"852-9123-4567", "tel:+85291234567", 0},
      {"852-2123-4567", "tel:+85221234567", 0},        {"+852 9123 4567", "tel:+85291234567", 0},
      {"00852-91234567", "tel:+85291234567", 0},       {"(852)91234567", "tel:+85291234567", 0},
      {"853-66123456", "tel:+85366123456", 0},         {"+853 6612 3456", "tel:+85366123456", 0},
      {"886-912-345-678", "tel:+886912345678", 0},     {"886-0912-345-678", "tel:+886912345678", 0},
      {"+886 2 2712 3456", "tel:+886227123456", 0},    {"+1 312 386 5286", "tel:+13123865286", 0},
      {"001-312-386-5286", "tel:+13123865286", 0},     {"+44 20 7946 0958", "tel:+442079460958", 0},
      {"+44 (0)20 7946 0958", "tel:+442079460958", 0}, {"+49 30 123456", "tel:+4930123456", 0},
      {"+81 90-1234-5678", "tel:+819012345678", 0},    {"+999 12345678", "", TRB_NOKEY_MALFORMED},
      {"+1 800 555 1212", "", TRB_NOKEY_SERVICE},
  };
  RUN(cases, TRB_KIND_MOBILE, &shanghai);
}

static void foreign_branches(void **state) {
  (void)state;
  static const struct key_case usa[] = {
      {"3865286", "tel:+13123865286", 0},
      {"386-5286", "tel:+13123865286", 0},
      {"(312) 386-5286", "tel:+13123865286", 0},
      {"312.386.5286", "tel:+13123865286", 0},
      {"3123865286", "tel:+13123865286", 0},
      {"1-312-386-5286", "tel:+13123865286", 0},
      {"13123865286", "tel:+13123865286", 0},
      {"+1 (312) 386-5286", "tel:+13123865286", 0},
      {"+1 3123865286", "tel:+13123865286", 0},
      {"(773) 386-5286 ext 12", "tel:+17733865286;ext=12", 0},
      {"312-386-5286 x12", "tel:+13123865286;ext=12", 0},
      {"3865286/3865287", "tel:+13123865286 tel:+13123865287", 0},
      {"011 86 139 1111 2222", "tel:+8613911112222", 0},
      {"+86 13911112222", "tel:+8613911112222", 0},
      {"8613911112222", "tel:+8613911112222", 0},
      {"13911112222", "", TRB_NOKEY_MALFORMED},
      {"911", "", TRB_NOKEY_SHORT_CODE},
      {"800-555-1212", "", TRB_NOKEY_SERVICE},
      {"9999999", "", TRB_NOKEY_PLACEHOLDER},
      {"38652861", "", TRB_NOKEY_MALFORMED},
      {"1/15/2015", "", TRB_NOKEY_MALFORMED},
  };
  static const struct key_case britain[] = {
      {"020 7946 0958", "tel:+442079460958", 0},
      {"7946 0958", "tel:+442079460958", 0},
      {"07911 123456", "tel:+447911123456", 0},
  };
  RUN(usa, TRB_KIND_LANDLINE, &chicago);
  RUN(britain, TRB_KIND_LANDLINE, &london);
  struct trb_keys keys;
  key_normalise(TRB_KIND_LANDLINE, trb_slice_str("landline"), trb_slice_str("3865286"), &chicago, &keys);
  assert_int_equal(keys.key[0].flags, TRB_KEY_AREA_ASSUMED);
}

static void kinds_are_recognised(void **state) {
  (void)state;
  struct trb_keys keys;
  key_normalise(TRB_KIND_LANDLINE, trb_slice_str("landline"), trb_slice_str("13911112222"), &shanghai, &keys);
  assert_int_equal(keys.key[0].kind, TRB_KIND_MOBILE);
  key_normalise(TRB_KIND_MOBILE, trb_slice_str("mobile"), trb_slice_str("021-64281234"), &shanghai, &keys);
  assert_int_equal(keys.key[0].kind, TRB_KIND_LANDLINE);
  key_normalise(TRB_KIND_MOBILE, trb_slice_str("mobile"), trb_slice_str("312-386-5286"), &chicago, &keys);
  assert_int_equal(keys.key[0].kind, TRB_KIND_MOBILE); /* the plan does not tell: as typed */
}

static void emails(void **state) {
  (void)state;
  static const struct key_case cases[] = {
      {"li@example.com", "mail:li@example.com", 0},
      {" Li@Example.COM ", "mail:li@example.com", 0},
      {"LI@EXAMPLE.COM", "mail:li@example.com", 0},
      {"ｌｉ＠ｅｘａｍｐｌｅ．ｃｏｍ", "mail:li@example.com", 0},
      {"li @ example.com", "mail:li@example.com", 0},
      {"li@example.com.", "mail:li@example.com", 0},
      {"mailto:li@example.com", "mail:li@example.com", 0},
      {"邮箱：li@example.com", "mail:li@example.com", 0},
      {"李华<li@example.com>", "mail:li@example.com", 0},
      {"\"Li Hua\" <li@example.com>", "mail:li@example.com", 0},
      {"a@example.com;b@example.com", "mail:a@example.com mail:b@example.com", 0},
      {"a@example.com b@example.com", "mail:a@example.com mail:b@example.com", 0},
      {"a@example.com、b@example.com", "mail:a@example.com mail:b@example.com", 0},
      {"li@例子.中国", "mail:li@xn--fsqu00a.xn--fiqs8s", 0},
      {"li@xn--fsqu00a.xn--fiqs8s", "mail:li@xn--fsqu00a.xn--fiqs8s", 0},
      {"li@münchen.de", "mail:li@xn--mnchen-3ya.de", 0},
      {"李@example.com", "mail:李@example.com", 0},
      {"a.b+tag@gmail.com", "mail:ab@gmail.com", 0},
      {"A.B@googlemail.com", "mail:ab@gmail.com", 0},
      {"a.b+tag@outlook.com", "mail:a.b@outlook.com", 0},
      {"a.b+tag@example.com", "mail:a.b+tag@example.com", 0},
      {"li@mail.example.co.uk", "mail:li@mail.example.co.uk", 0},
      {"l***@example.com", "", TRB_NOKEY_MASKED},
      {"li@example", "", TRB_NOKEY_MALFORMED},
      {"li@@example.com", "", TRB_NOKEY_MALFORMED},
      {"li@exa_mple.com", "", TRB_NOKEY_MALFORMED},
      {"li@-example.com", "", TRB_NOKEY_MALFORMED},
      {".li@example.com", "", TRB_NOKEY_MALFORMED},
      {"l..i@example.com", "", TRB_NOKEY_MALFORMED},
      {"li@example.123", "", TRB_NOKEY_MALFORMED},
      {"@example.com", "", TRB_NOKEY_MALFORMED},
      {"li@", "", TRB_NOKEY_MALFORMED},
      {"example.com", "", TRB_NOKEY_MALFORMED},
      {"10/01/15", "", TRB_NOKEY_MALFORMED},
      {"test@test.com", "", TRB_NOKEY_PLACEHOLDER},
      {"123456@qq.com", "", TRB_NOKEY_PLACEHOLDER},
      {"11111@example.com", "", TRB_NOKEY_PLACEHOLDER},
      {"无", "", TRB_NOKEY_PLACEHOLDER},
      {"n/a", "", TRB_NOKEY_PLACEHOLDER},
  };
  RUN(cases, TRB_KIND_EMAIL, &shanghai);
}

static unsigned flags_of(enum trb_kind kind, const char *value) {
  struct trb_keys keys;
  key_normalise(kind, trb_slice_str(kind_name(kind)), trb_slice_str(value), &shanghai, &keys);
  assert_int_equal(keys.count, 1);
  return keys.key[0].flags;
}

static void weak_mailboxes(void **state) {
  (void)state;
  assert_int_equal(flags_of(TRB_KIND_EMAIL, "info@company.cn"), TRB_KEY_WEAK);
  assert_int_equal(flags_of(TRB_KIND_EMAIL, "Sales@company.cn"), TRB_KEY_WEAK);
  assert_int_equal(flags_of(TRB_KIND_EMAIL, "kefu@company.cn"), TRB_KEY_WEAK);
  assert_int_equal(flags_of(TRB_KIND_EMAIL, "anything@mailinator.com"), TRB_KEY_WEAK);
  assert_int_equal(flags_of(TRB_KIND_EMAIL, "li@company.cn"), 0);
}

static void national_ids(void **state) {
  (void)state;
  static const struct key_case cases[] = {
      {"11010519491231002X", "id:11010519491231002X", 0},
      {"11010519491231002x", "id:11010519491231002X", 0},
      {"１１０１０５１９４９１２３１００２Ｘ", "id:11010519491231002X", 0},
      {"110105 19491231 002X", "id:11010519491231002X", 0},
      {"110105-19491231-002X", "id:11010519491231002X", 0},
      {"11010519491231002×", "id:11010519491231002X", 0},
      {"11010519491231002Х", "id:11010519491231002X", 0},
      {"'11010519491231002X", "id:11010519491231002X", 0},
      {"身份证：11010519491231002X", "id:11010519491231002X", 0},
      {"110105491231002", "id:11010519491231002X", 0},
      {"440524188001010014", "id:440524188001010014", 0},
      {"A123456(3)", "id:HK:A1234563", 0},
      {"A1234563", "id:HK:A1234563", 0},
      {"A123456789", "id:TW:A123456789", 0},
      {"110105194912310021", "", TRB_NOKEY_CHECK_DIGIT},
      {"11010519491231003X", "", TRB_NOKEY_CHECK_DIGIT},
      {"110105194913310021", "", TRB_NOKEY_MALFORMED},
      {"110105194902300027", "", TRB_NOKEY_MALFORMED},
      {"110105300012310020", "", TRB_NOKEY_MALFORMED},
      {"990105194912310021", "", TRB_NOKEY_MALFORMED},
      {"110105491331002", "", TRB_NOKEY_MALFORMED},
      {"1101051949123100", "", TRB_NOKEY_MALFORMED},
      {"110***********002X", "", TRB_NOKEY_MASKED},
      {"111111111111111111", "", TRB_NOKEY_PLACEHOLDER},
      {"123456789012345678", "", TRB_NOKEY_PLACEHOLDER},
      {"123456", "", TRB_NOKEY_PLACEHOLDER},
      {"1.10105E+17", "", TRB_NOKEY_MALFORMED},
      {"A123456(4)", "", TRB_NOKEY_MALFORMED},
      {"无", "", TRB_NOKEY_PLACEHOLDER},
      {"不详", "", TRB_NOKEY_PLACEHOLDER},
  };
  static const struct key_case abroad[] = {
      {"7535316", "id:US:7535316", 0},
      {"11010519491231002X", "id:11010519491231002X", 0},
      {"0000000", "", TRB_NOKEY_PLACEHOLDER},
      {"12", "", TRB_NOKEY_MALFORMED},
  };
  RUN(cases, TRB_KIND_NATIONAL_ID, &shanghai);
  RUN(abroad, TRB_KIND_NATIONAL_ID, &chicago);
  assert_int_equal(flags_of(TRB_KIND_NATIONAL_ID, "11010519491231002X"), TRB_KEY_CHECKED);
  assert_int_equal(flags_of(TRB_KIND_NATIONAL_ID, "110105491231002"), 0); /* fifteen digits have no check digit */
}

static void national_id_facts(void **state) {
  (void)state;
  struct trb_id_facts facts;
  assert_true(key_id_facts("id:11010519491231002X", &facts));
  assert_string_equal(facts.birthday, "1949-12-31");
  assert_int_equal(facts.sex, 'F');
  assert_true(key_id_facts("id:440524188001010014", &facts));
  assert_int_equal(facts.sex, 'M');
  assert_false(key_id_facts("id:HK:A1234563", &facts));
  assert_false(key_id_facts("tel:+8613911112222", &facts));
  assert_false(key_id_facts("id:", &facts));
  assert_false(key_id_facts("", &facts));
}

static void passports_cards_and_tax_numbers(void **state) {
  (void)state;
  static const struct key_case passports[] = {
      {"E12345678", "pp:E12345678", 0},
      {"e1234-5678", "pp:E12345678", 0},
      {"Ｅ１２３４５６７８", "pp:E12345678", 0},
      {"护照号：EA1234567", "pp:EA1234567", 0},
      {"G11111111/E12345678", "pp:G11111111 pp:E12345678", 0},
      {"11010519491231002X", "id:11010519491231002X", 0},
      {"E****5678", "", TRB_NOKEY_MASKED},
      {"123456", "", TRB_NOKEY_PLACEHOLDER},
      {"E00000000", "", TRB_NOKEY_PLACEHOLDER},
      {"ABCDEFG", "", TRB_NOKEY_MALFORMED},
      {"E1", "", TRB_NOKEY_MALFORMED},
      {"无", "", TRB_NOKEY_PLACEHOLDER},
  };
  static const struct key_case cards[] = {
      {"VIP-0001", "card:VIP0001", 0},   {"vip 0001", "card:VIP0001", 0},    {"会员 A99", "card:A99", 0},
      {"88", "", TRB_NOKEY_MALFORMED},   {"000", "", TRB_NOKEY_PLACEHOLDER}, {"123456", "", TRB_NOKEY_PLACEHOLDER},
      {"VIP**01", "", TRB_NOKEY_MASKED},
  };
  static const struct key_case taxes[] = {
      {"91350100M000100Y43", "tax:91350100M000100Y43", 0},
      {"91350100m000100y43", "tax:91350100M000100Y43", 0},
      {"9135 0100 M000 100Y 43", "tax:91350100M000100Y43", 0},
      {"税号：91350100M000100Y43", "tax:91350100M000100Y43", 0},
      {"91350100M000100Y44", "", TRB_NOKEY_CHECK_DIGIT},
      {"91350100M000100Y4", "tax:91350100M000100Y4", 0},
      {"91350100I000100Y43", "", TRB_NOKEY_MALFORMED},
      {"110105491231002", "tax:110105491231002", 0},
      {"123456", "", TRB_NOKEY_PLACEHOLDER},
      {"12345", "", TRB_NOKEY_PLACEHOLDER},
      {"913501", "", TRB_NOKEY_MALFORMED},
  };
  RUN(passports, TRB_KIND_PASSPORT, &shanghai);
  RUN(cards, TRB_KIND_MEMBER_CARD, &shanghai);
  RUN(taxes, TRB_KIND_TAX_NO, &shanghai);
  assert_int_equal(flags_of(TRB_KIND_TAX_NO, "91350100M000100Y43"), TRB_KEY_CHECKED);
}

static void qq_and_wechat(void **state) {
  (void)state;
  static const struct key_case qq[] = {
      {"12345", "qq:12345", 0},
      {"28415573", "qq:28415573", 0},
      {"QQ: 28415573", "qq:28415573", 0},
      {"qq28415573", "qq:28415573", 0},
      {"２８４１５５７３", "qq:28415573", 0},
      {"28415573@qq.com", "qq:28415573", 0},
      {"028415573", "", TRB_NOKEY_MALFORMED},
      {"1234", "", TRB_NOKEY_PLACEHOLDER},
      {"123456", "", TRB_NOKEY_PLACEHOLDER},
      {"10000", "", TRB_NOKEY_PLACEHOLDER},
      {"284155731234", "", TRB_NOKEY_MALFORMED},
      {"lihua", "", TRB_NOKEY_MALFORMED},
      {"无", "", TRB_NOKEY_PLACEHOLDER},
  };
  static const struct key_case wechat[] = {
      {"lihua_88", "wx:lihua_88", 0},
      {"LiHua_88", "wx:lihua_88", 0},
      {"ｌｉｈｕａ８８", "wx:lihua88", 0},
      {"微信：lihua88", "wx:lihua88", 0},
      {"wxid_ab12cd34ef", "wx:wxid_ab12cd34ef", 0},
      {"abc", "wx:abc", 0},
      {"13911112222", "wx:13911112222 tel:+8613911112222", 0},
      {"+86 139-1111-2222", "wx:13911112222 tel:+8613911112222", 0},
      {"28415573", "wx:28415573 qq:28415573", 0},
      {"13800138000", "", TRB_NOKEY_PLACEHOLDER},
      {"同手机", "", TRB_NOKEY_PLACEHOLDER},
      {"小明", "", TRB_NOKEY_MALFORMED},
      {"li hua@", "", TRB_NOKEY_MALFORMED},
      {"139****2222", "", TRB_NOKEY_MASKED},
      {"无", "", TRB_NOKEY_PLACEHOLDER},
  };
  RUN(qq, TRB_KIND_QQ, &shanghai);
  RUN(wechat, TRB_KIND_WECHAT, &shanghai);
}

static const char *group_of(enum trb_kind kind, const char *value, size_t index) {
  static struct trb_keys keys;
  key_normalise(kind, trb_slice_str(kind_name(kind)), trb_slice_str(value), &shanghai, &keys);
  assert_true(keys.count > index);
  return keys.key[index].group;
}

static void derived_keys_share_an_evidence_group(void **state) {
  (void)state;
  assert_string_equal(group_of(TRB_KIND_WECHAT, "13911112222", 0), "tel:+8613911112222");
  assert_string_equal(group_of(TRB_KIND_WECHAT, "13911112222", 1), "tel:+8613911112222");
  assert_string_equal(group_of(TRB_KIND_MOBILE, "13911112222", 0), "tel:+8613911112222");
  assert_string_equal(group_of(TRB_KIND_EMAIL, "13911112222@139.com", 0), "tel:+8613911112222");
  assert_string_equal(group_of(TRB_KIND_EMAIL, "13911112222@163.com", 0), "tel:+8613911112222");
  assert_string_equal(group_of(TRB_KIND_EMAIL, "28415573@qq.com", 0), "qq:28415573");
  assert_string_equal(group_of(TRB_KIND_QQ, "28415573", 0), "qq:28415573");
  assert_string_equal(group_of(TRB_KIND_WECHAT, "28415573", 0), "qq:28415573");
  assert_string_equal(group_of(TRB_KIND_EMAIL, "li@example.com", 0), "mail:li@example.com");
  struct trb_keys keys;
  key_normalise(TRB_KIND_EMAIL, trb_slice_str("email"), trb_slice_str("13911112222@139.com"), &shanghai, &keys);
  assert_int_equal(keys.count, 2);
  assert_string_equal(keys.key[1].text, "tel:+8613911112222");
  key_normalise(TRB_KIND_EMAIL, trb_slice_str("email"), trb_slice_str("13911112222@163.com"), &shanghai, &keys);
  assert_int_equal(keys.count, 1); /* named after the mobile, but not the mobile's own mailbox */
}

static void kinds_the_policy_adds(void **state) {
  (void)state;
  static const struct key_case cases[] = {
      {"ABC  Def", "x-weibo:abc def", 0},
      {"ＡＢＣ", "x-weibo:abc", 0},
      {"1111", "", TRB_NOKEY_PLACEHOLDER},
      {"无", "", TRB_NOKEY_PLACEHOLDER},
  };
  run(cases, sizeof cases / sizeof *cases, TRB_KIND_OTHER, "Weibo", &shanghai);
}

static void hostile_input_gives_no_key(void **state) {
  (void)state;
  struct trb_keys keys;
  static const char nul[] =
      "139\0"
      "11112222";
  static char big[1 << 20];
  for (unsigned kind = TRB_KIND_NONE; kind <= TRB_KIND_OTHER; kind++) {
    enum trb_kind k = (enum trb_kind)kind;
    struct trb_slice name = trb_slice_str("x");
    key_normalise(k, name,
                  trb_slice_of("\xff\xfe"
                               "13911112222",
                               13),
                  &shanghai, &keys);
    assert_int_equal(keys.count, 0);
    assert_int_equal(keys.reason, TRB_NOKEY_MALFORMED);
    key_normalise(k, name, trb_slice_of("\xed\xa0\x80", 3), &shanghai, &keys); /* a surrogate */
    assert_int_equal(keys.count, 0);
    key_normalise(k, name, trb_slice_of(nul, sizeof nul - 1), &shanghai, &keys);
    assert_int_equal(keys.count, 0);
    assert_int_equal(keys.reason, TRB_NOKEY_MALFORMED);
    memset(big, '1', sizeof big);
    key_normalise(k, name, trb_slice_of(big, sizeof big), &shanghai, &keys);
    assert_int_equal(keys.count, 0);
    assert_int_equal(keys.reason, TRB_NOKEY_TOO_LONG);
    for (size_t i = 0; i + 3 <= 1023; i += 3) memcpy(big + i, "\xef\xb7\xba", 3); /* NFKC makes 18 characters of it */
    key_normalise(k, name, trb_slice_of(big, 1023), &shanghai, &keys);
    assert_int_equal(keys.count, 0);
    key_normalise(k, name, trb_slice_of(NULL, 0), NULL, &keys);
    assert_int_equal(keys.reason, TRB_NOKEY_EMPTY);
  }
}

static void more_numbers_than_a_value_may_hold(void **state) {
  (void)state;
  char cell[1024] = "";
  struct trb_keys keys;
  for (int i = 0; i < 20; i++) snprintf(cell + strlen(cell), sizeof cell - strlen(cell), "139111122%02d,", i + 10);
  key_normalise(TRB_KIND_MOBILE, trb_slice_str("mobile"), trb_slice_str(cell), &shanghai, &keys);
  assert_int_equal(keys.count, 0);
  assert_int_equal(keys.reason, TRB_NOKEY_MALFORMED);
}

static void random_cells_stay_in_bounds(void **state) {
  (void)state;
  static const char alphabet[] = "0123456789+-() ./x*;,，、转分机扩展@abEl\n\t　１２";
  srand(11);
  for (int round = 0; round < 20000; round++) {
    char cell[128];
    size_t len = (size_t)rand() % sizeof cell;
    struct trb_keys keys;
    for (size_t i = 0; i < len; i++) cell[i] = alphabet[(size_t)rand() % (sizeof alphabet - 1)];
    for (unsigned kind = TRB_KIND_MOBILE; kind <= TRB_KIND_OTHER; kind++) {
      key_normalise((enum trb_kind)kind, trb_slice_str("x"), trb_slice_of(cell, len), round % 2 ? &shanghai : &chicago,
                    &keys);
      assert_true(keys.count <= TRB_KEYS_PER_VALUE_MAX && (keys.count || keys.reason));
    }
  }
}

static void kind_names_and_aliases(void **state) {
  (void)state;
  for (unsigned kind = TRB_KIND_MOBILE; kind < TRB_KIND_OTHER; kind++)
    assert_int_equal(kind_of(trb_slice_str(kind_name((enum trb_kind)kind))), kind);
  assert_int_equal(kind_of(trb_slice_str("手机")), TRB_KIND_MOBILE);
  assert_int_equal(kind_of(trb_slice_str("Phone")), TRB_KIND_LANDLINE);
  assert_int_equal(kind_of(trb_slice_str("微信")), TRB_KIND_WECHAT);
  assert_int_equal(kind_of(trb_slice_str("身份证")), TRB_KIND_NATIONAL_ID);
  assert_int_equal(kind_of(trb_slice_str("weibo")), TRB_KIND_OTHER);
  assert_int_equal(kind_of(trb_slice_str("")), TRB_KIND_NONE);
}

static void masks_hide_what_is_personal(void **state) {
  (void)state;
  static const struct {
    enum trb_kind kind;
    const char *value, *masked;
  } cases[] = {
      {TRB_KIND_MOBILE, "13911112222", "139****2222"},
      {TRB_KIND_EMAIL, "li@example.com", "l***@example.com"},
      {TRB_KIND_NONE, "张三", "张*"},
      {TRB_KIND_NONE, "John Smith", "J*"},
      {TRB_KIND_WECHAT, "lihua_88", "l****88"},
      {TRB_KIND_NATIONAL_ID, "11010519491231002X", "110****002X"},
      {TRB_KIND_LANDLINE, "64281234", "6****34"},
      {TRB_KIND_PASSPORT, "E12345678", "E****78"},
      {TRB_KIND_MOBILE, "", ""},
      {TRB_KIND_MOBILE, "\xff", "****"},
      {TRB_KIND_MOBILE, "电话13911112222", "电*"},
  };
  for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
    TRB_BUF_AUTO out = {0};
    key_mask(cases[i].kind, trb_slice_str(cases[i].value), &out);
    assert_string_equal(trb_buf_cstr(&out), cases[i].masked);
  }
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(mainland_mobiles),
      cmocka_unit_test(several_in_a_cell),
      cmocka_unit_test(mainland_landlines),
      cmocka_unit_test(area_code_of_the_branch),
      cmocka_unit_test(never_keys),
      cmocka_unit_test(hong_kong_macau_taiwan_and_the_world),
      cmocka_unit_test(foreign_branches),
      cmocka_unit_test(kinds_are_recognised),
      cmocka_unit_test(emails),
      cmocka_unit_test(weak_mailboxes),
      cmocka_unit_test(national_ids),
      cmocka_unit_test(national_id_facts),
      cmocka_unit_test(passports_cards_and_tax_numbers),
      cmocka_unit_test(qq_and_wechat),
      cmocka_unit_test(derived_keys_share_an_evidence_group),
      cmocka_unit_test(kinds_the_policy_adds),
      cmocka_unit_test(hostile_input_gives_no_key),
      cmocka_unit_test(more_numbers_than_a_value_may_hold),
      cmocka_unit_test(random_cells_stay_in_bounds),
      cmocka_unit_test(kind_names_and_aliases),
      cmocka_unit_test(masks_hide_what_is_personal),
  };
  return cmocka_run_group_tests_name("key", tests, NULL, NULL);
}
