/* catalogue: the built-in tables, custom definitions, checks of values, and the documentation. */
#include "tributary/catalogue.h"

#include <math.h>
#include <setjmp.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

static const struct trb_table *table(const char *name) {
  const struct trb_table *found = catalogue_named(catalogue_builtin(), name);
  assert_non_null(found);
  return found;
}

static void builtin_numbers_ascend_and_are_found_by_number_and_name(void **state) {
  (void)state;
  const struct trb_catalogue *c = catalogue_builtin();
  uint16_t last = 0;
  for (size_t i = 0; i < catalogue_count(c); i++) {
    const struct trb_table *t = catalogue_at(c, i);
    assert_true(t->number > last && t->number < 1000);
    last = t->number;
    assert_ptr_equal(catalogue_table(c, t->number), t);
    assert_ptr_equal(catalogue_named(c, t->name), t);
    assert_true(t->doc[0] != 0);
  }
  assert_null(catalogue_at(c, catalogue_count(c)));
  assert_null(catalogue_table(c, 0));
  assert_null(catalogue_table(c, 999));
  assert_null(catalogue_table(c, 65535));
  assert_null(catalogue_named(c, "Customer"));
}

static void builtin_columns_ascend_are_unique_and_begin_with_the_standard_ones(void **state) {
  (void)state;
  const struct trb_catalogue *c = catalogue_builtin();
  for (size_t i = 0; i < catalogue_count(c); i++) {
    const struct trb_table *t = catalogue_at(c, i);
    uint16_t last = 0;
    for (size_t k = 0; k < t->column_count; k++) {
      const struct trb_column *col = &t->columns[k];
      assert_true(col->number > last && col->number <= 61);
      last = col->number;
      assert_int_equal(table_column_index(t, col->number), k);
      assert_ptr_equal(table_column(t, col->number), col);
      assert_ptr_equal(table_column_named(t, col->name), col);
      assert_true(col->doc[0] != 0 && strcmp(col->name, "id") != 0);
      assert_true((col->type == TRB_COL_TEXT || col->type == TRB_COL_BLOB) == (col->max_bytes > 0) ||
                  col->type == TRB_COL_DATE || col->type == TRB_COL_REF || col->type == TRB_COL_SITE);
    }
    assert_string_equal(t->columns[0].name, "created_at");
    assert_string_equal(t->columns[1].name, "updated_at");
    assert_string_equal(t->columns[2].name, "created_by");
  }
}

static void builtin_references_name_tables_and_sites_follow_references(void **state) {
  (void)state;
  const struct trb_catalogue *c = catalogue_builtin();
  for (size_t i = 0; i < catalogue_count(c); i++) {
    const struct trb_table *t = catalogue_at(c, i);
    for (size_t k = 0; k < t->column_count; k++) {
      const struct trb_column *col = &t->columns[k];
      assert_int_equal(col->type == TRB_COL_REF, col->ref_table != NULL);
      if (col->ref_table) assert_non_null(catalogue_named(c, col->ref_table));
      if (col->type == TRB_COL_SITE) assert_true(k > 0 && t->columns[k - 1].type == TRB_COL_REF);
    }
  }
}

static void builtin_golden_fields_have_the_numbers_of_the_card(void **state) {
  (void)state;
  const struct trb_table *card = table("customer"), *golden = table("unified_customer");
  for (size_t i = 0; i < card->column_count; i++) {
    const struct trb_column *same = table_column(golden, card->columns[i].number);
    assert_non_null(same);
    assert_string_equal(same->name, card->columns[i].name);
  }
}

/* A row at its limits must still fit a row of the wire. */
static void builtin_chunk_fits_a_row(void **state) {
  (void)state;
  assert_true(table_column(table("document_chunk"), TRB_C_document_chunk_data)->max_bytes <= TRB_ROW_BYTES_MAX / 2);
}

static void table_column_of_unknown_numbers_is_null(void **state) {
  (void)state;
  assert_null(table_column(table("customer"), 0));
  assert_null(table_column(table("customer"), 36));
  assert_null(table_column(table("unified_customer"), 37)); /* in a gap */
  assert_int_equal(table_column_index(table("unified_customer"), 40), 35);
  assert_null(table_column(table("customer"), 65535));
}

/* ---- column_check ---- */

static enum trb_status check(const char *name, uint16_t number, struct trb_value value) {
  const struct trb_table *t = table(name);
  struct trb_error err = {0};
  enum trb_status status = column_check(t, table_column(t, number), value, &err);
  if (status) assert_non_null(strstr(err.text, table_column(t, number)->name));
  if (status && value.type == TRB_TEXT && value.s.len > 3) assert_null(strstr(err.text, (const char *)value.s.data));
  return status;
}

static void column_check_text(void **state) {
  (void)state;
  char big[300];
  memset(big, 'x', sizeof big);
  big[299] = 0;
  assert_int_equal(check("customer", TRB_C_customer_name, trb_text("欧阳娜娜")), TRB_OK);
  assert_int_equal(check("customer", TRB_C_customer_name, trb_text("")), TRB_OK);
  assert_int_equal(check("customer", TRB_C_customer_name, trb_null()), TRB_OK);
  assert_int_equal(check("customer", TRB_C_customer_kind, trb_null()), TRB_PEER);
  assert_int_equal(check("customer", TRB_C_customer_name, trb_text(big)), TRB_PEER);
  assert_int_equal(check("customer", TRB_C_customer_name, trb_text_slice(trb_slice_of(big, 256))), TRB_OK);
  assert_int_equal(check("customer", TRB_C_customer_name, trb_text_slice(trb_slice_of("a\0b", 3))), TRB_PEER);
  assert_int_equal(check("customer", TRB_C_customer_name, trb_text("\xff\xfe")), TRB_PEER);
  assert_int_equal(check("customer", TRB_C_customer_name, trb_text("\xed\xa0\x80")), TRB_PEER);
  assert_int_equal(check("customer", TRB_C_customer_name, trb_int(5)), TRB_PEER);
  assert_int_equal(check("customer", TRB_C_customer_name, trb_blob(trb_slice_str("x"))), TRB_PEER);
}

static void column_check_numbers(void **state) {
  (void)state;
  assert_int_equal(check("customer", TRB_C_customer_staff_count, trb_int(-5)), TRB_OK);
  assert_int_equal(check("customer", TRB_C_customer_staff_count, trb_real(5)), TRB_PEER);
  assert_int_equal(check("customer", TRB_C_customer_staff_count, trb_text("5")), TRB_PEER);
  assert_int_equal(check("booking", TRB_C_booking_amount, trb_real(12.5)), TRB_OK);
  assert_int_equal(check("booking", TRB_C_booking_amount, trb_int(12)), TRB_OK);
  assert_int_equal(check("booking", TRB_C_booking_amount, trb_real((double)NAN)), TRB_PEER);
  assert_int_equal(check("booking", TRB_C_booking_amount, trb_real((double)INFINITY)), TRB_PEER);
}

static void column_check_dates(void **state) {
  (void)state;
  static const char *const good[] = {"1980-02-29", "2000-02-29", "1999-12", "1999", "0001-01-01"};
  static const char *const bad[] = {"1981-02-29", "1900-02-29", "1980-13",    "1980-00-01",     "1980-1-1",  "",
                                    "1980/01/01", "19800101",   "1980-01-0x", "１９８０-01-01", "1980-04-31"};
  for (size_t i = 0; i < sizeof good / sizeof good[0]; i++)
    assert_int_equal(check("customer", TRB_C_customer_birthday, trb_text(good[i])), TRB_OK);
  for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++)
    assert_int_equal(check("customer", TRB_C_customer_birthday, trb_text(bad[i])), TRB_PEER);
}

static void column_check_references_and_sites(void **state) {
  (void)state;
  assert_int_equal(check("relation", TRB_C_relation_other_id, trb_text("C001")), TRB_OK);
  assert_int_equal(check("relation", TRB_C_relation_other_id, trb_text("")), TRB_PEER);
  assert_int_equal(check("relation", TRB_C_relation_other_id, trb_int(1)), TRB_PEER);
  assert_int_equal(check("relation", TRB_C_relation_other_site, trb_text("shanghai-2")), TRB_OK);
  assert_int_equal(check("relation", TRB_C_relation_other_site, trb_text("Shanghai")), TRB_PEER);
  assert_int_equal(check("document_chunk", TRB_C_document_chunk_data, trb_text("x")), TRB_PEER);
}

static void id_valid_counts_characters_and_refuses_controls(void **state) {
  (void)state;
  char chinese[64 * 3 + 4] = "";
  for (int i = 0; i < 64; i++) strcat(chinese, "客");
  assert_true(trb_id_valid(trb_slice_str(chinese)));
  strcat(chinese, "x");
  assert_false(trb_id_valid(trb_slice_str(chinese)));
  assert_true(trb_id_valid(trb_slice_str("C 001/é")));
  assert_false(trb_id_valid(trb_slice_str("")));
  assert_false(trb_id_valid(trb_slice_str("a\nb")));
  assert_false(trb_id_valid(trb_slice_str("a\x7f")));
  assert_false(trb_id_valid(trb_slice_str("a\xc2\x85"))); /* U+0085 */
  assert_false(trb_id_valid(trb_slice_str("a\xc2")));
  assert_false(trb_id_valid(trb_slice_of("a\0", 2)));
}

static void site_valid_is_a_plain_name(void **state) {
  (void)state;
  assert_true(trb_site_valid(trb_slice_str("hq")));
  assert_true(trb_site_valid(trb_slice_str("a2345678901234567890123456789012")));
  assert_false(trb_site_valid(trb_slice_str("a23456789012345678901234567890123")));
  assert_false(trb_site_valid(trb_slice_str("2a")));
  assert_false(trb_site_valid(trb_slice_str("上海")));
  assert_false(trb_site_valid(trb_slice_str("a_b")));
  assert_false(trb_site_valid((struct trb_slice){0}));
}

/* ---- custom definitions ---- */

static enum trb_status extend(const struct trb_custom_table *t, size_t tn, const struct trb_custom_column *c, size_t cn,
                              struct trb_catalogue **ret) {
  struct trb_error err = {0};
  enum trb_status status = catalogue_extend(t, tn, c, cn, ret, &err);
  if (status) assert_true(err.text[0] != 0);
  return status;
}

static void extend_adds_tables_and_columns_in_order(void **state) {
  (void)state;
  char name[] = "visa_case"; /* the input is copied */
  struct trb_custom_table tables[] = {{1005, "shop", "a shop", false}, {1001, name, "a visa", true}};
  struct trb_custom_column columns[] = {{TRB_T_customer, 70, "shoe_size", "int", "size", 0, false},
                                        {1001, 63, "note", "text", NULL, 0, true},
                                        {1001, 62, "country", "text", "where", 40, false},
                                        {TRB_T_customer, 62, "member_on", "date", "since", 0, false}};
  struct trb_catalogue *c = NULL;
  assert_int_equal(extend(tables, 2, columns, 4, &c), TRB_OK);
  memset(name, 'x', sizeof name - 1);
  assert_int_equal(catalogue_count(c), catalogue_count(catalogue_builtin()) + 2);
  const struct trb_table *visa = catalogue_table(c, 1001);
  assert_string_equal(visa->name, "visa_case");
  assert_ptr_equal(visa, catalogue_named(c, "visa_case"));
  assert_int_equal(visa->owner, TRB_OWNER_BRANCH);
  assert_int_equal(catalogue_table(c, 1005)->flow, TRB_FLOW_DOWN);
  assert_int_equal(visa->column_count, 5);
  assert_string_equal(visa->columns[2].name, "created_by");
  assert_string_equal(visa->columns[3].name, "country");
  assert_int_equal(visa->columns[4].flags, TRB_COLUMN_CUSTOM | TRB_COLUMN_SENSITIVE);
  assert_int_equal(visa->columns[4].max_bytes, TRB_CUSTOM_TEXT_BYTES_DEFAULT);
  const struct trb_table *customer = catalogue_table(c, TRB_T_customer);
  assert_int_equal(customer->column_count, table("customer")->column_count + 2);
  assert_string_equal(customer->columns[customer->column_count - 1].name, "shoe_size");
  assert_int_equal(table_column(customer, 62)->type, TRB_COL_DATE);
  struct trb_catalogue *second = catalogue_ref(c);
  catalogue_unref(&c);
  assert_null(c);
  assert_non_null(catalogue_table(second, 1001));
  catalogue_unref(&second);
}

static void extend_refuses_wrong_tables(void **state) {
  (void)state;
  static const struct trb_custom_table bad[] = {{1001, "Visa", "", true},
                                                {1001, "", "", true},
                                                {1001, NULL, "", true},
                                                {1001, "x\"y", "", true},
                                                {1001, "签证", "", true},
                                                {999, "visa", "", true},
                                                {10000, "visa", "", true},
                                                {1001, "customer", "", true},
                                                {1001, "row_state", "", true},
                                                {1001, "_trb_mark", "", true},
                                                {1001, "sqlite_x", "", true},
                                                {1001, "set_aside", "", true},
                                                {1001, "trb_x", "", true},
                                                {1001, "unified_x", "", false},
                                                {1001, "a234567890123456789012345678901234567890ab", "", true}};
  for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++) {
    struct trb_catalogue *c = NULL;
    assert_int_equal(extend(&bad[i], 1, NULL, 0, &c), TRB_PEER);
    assert_null(c);
  }
  struct trb_catalogue *c = NULL;
  struct trb_custom_table twice[] = {{1001, "a", "", true}, {1001, "b", "", true}};
  assert_int_equal(extend(twice, 2, NULL, 0, &c), TRB_PEER);
  struct trb_custom_table same[] = {{1001, "a", "", true}, {1002, "a", "", true}};
  assert_int_equal(extend(same, 2, NULL, 0, &c), TRB_PEER);
}

static void extend_refuses_wrong_columns(void **state) {
  (void)state;
  static const struct trb_custom_column bad[] = {
      {1, 61, "a", "text", "", 0, false},     {1, 1000, "a", "text", "", 0, false},
      {1, 62, "id", "text", "", 0, false},    {1, 62, "name", "text", "", 0, false},
      {1, 62, "A", "text", "", 0, false},     {1, 62, "a b", "text", "", 0, false},
      {1, 62, "a", "string", "", 0, false},   {1, 62, "a", NULL, "", 0, false},
      {1, 62, "a", "ref", "", 0, false},      {1, 62, "a", "text", "", 131073, false},
      {77, 62, "a", "text", "", 0, false},    {TRB_T_party_of, 62, "a", "text", "", 0, false},
      {65535, 62, "a", "text", "", 0, false}, {TRB_T_site_key, 62, "a", "text", "", 0, false}};
  for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++) {
    struct trb_catalogue *c = NULL;
    assert_int_equal(extend(NULL, 0, &bad[i], 1, &c), TRB_PEER);
  }
  struct trb_catalogue *c = NULL;
  struct trb_custom_column same[] = {{1, 62, "a", "text", "", 0, false}, {1, 63, "a", "int", "", 0, false}};
  assert_int_equal(extend(NULL, 0, same, 2, &c), TRB_PEER);
  static struct trb_custom_column many[TRB_CUSTOM_COLUMNS_MAX + 1];
  static char names[TRB_CUSTOM_COLUMNS_MAX + 1][8];
  for (uint16_t i = 0; i <= TRB_CUSTOM_COLUMNS_MAX; i++) {
    snprintf(names[i], sizeof names[i], "c%u", i);
    many[i] = (struct trb_custom_column){1, (uint16_t)(62 + i), names[i], "int", "", 0, false};
  }
  assert_int_equal(extend(NULL, 0, many, TRB_CUSTOM_COLUMNS_MAX + 1, &c), TRB_PEER);
  assert_int_equal(extend(NULL, 0, many, TRB_CUSTOM_COLUMNS_MAX, &c), TRB_OK);
  catalogue_unref(&c);
}

/* ---- hub tables of the same name would clash with custom ones ---- */

extern const char trb_sql_hub[];
static void extend_reserves_the_names_of_the_hubs_own_tables(void **state) {
  (void)state;
  static const char mark[] = "IF NOT EXISTS ";
  size_t seen = 0;
  for (const char *p = trb_sql_hub; (p = strstr(p, mark)); p++) {
    char name[48] = "";
    sscanf(p + sizeof mark - 1, "%41[a-z0-9_]", name);
    const char *line = p;
    while (line > trb_sql_hub && line[-1] != '\n') line--;
    if (strncmp(line, "CREATE INDEX", 12) == 0) continue;
    struct trb_custom_table custom = {1001, name, "", true};
    struct trb_catalogue *c = NULL;
    if (extend(&custom, 1, NULL, 0, &c) != TRB_PEER) fail_msg("add %s to table_name_reserved in catalogue.c", name);
    seen++;
  }
  assert_true(seen > 3);
}

/* ---- documentation ---- */

static void write_docs_equals_the_file(void **state) {
  (void)state;
  TRB_BUF_AUTO docs = {0}, file = {0};
  catalogue_write_docs(catalogue_builtin(), &docs);
  assert_false(docs.failed);
  FILE *f = fopen("proto/TABLES.md", "r");
  assert_non_null(f);
  char chunk[4096];
  for (size_t n; (n = fread(chunk, 1, sizeof chunk, f)) > 0;) trb_buf_append(&file, chunk, n);
  fclose(f);
  if (!trb_slice_equal(trb_buf_slice(&docs), trb_buf_slice(&file))) fail_msg("proto/TABLES.md is stale: make tables");
}

int main(int argc, char **argv) {
  if (argc > 1 && strcmp(argv[1], "--write-docs") == 0) { /* make tables */
    TRB_BUF_AUTO docs = {0};
    catalogue_write_docs(catalogue_builtin(), &docs);
    return fputs(trb_buf_cstr(&docs), stdout) < 0;
  }
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(builtin_numbers_ascend_and_are_found_by_number_and_name),
      cmocka_unit_test(builtin_columns_ascend_are_unique_and_begin_with_the_standard_ones),
      cmocka_unit_test(builtin_references_name_tables_and_sites_follow_references),
      cmocka_unit_test(builtin_golden_fields_have_the_numbers_of_the_card),
      cmocka_unit_test(builtin_chunk_fits_a_row),
      cmocka_unit_test(table_column_of_unknown_numbers_is_null),
      cmocka_unit_test(column_check_text),
      cmocka_unit_test(column_check_numbers),
      cmocka_unit_test(column_check_dates),
      cmocka_unit_test(column_check_references_and_sites),
      cmocka_unit_test(id_valid_counts_characters_and_refuses_controls),
      cmocka_unit_test(site_valid_is_a_plain_name),
      cmocka_unit_test(extend_adds_tables_and_columns_in_order),
      cmocka_unit_test(extend_refuses_wrong_tables),
      cmocka_unit_test(extend_refuses_wrong_columns),
      cmocka_unit_test(extend_reserves_the_names_of_the_hubs_own_tables),
      cmocka_unit_test(write_docs_equals_the_file),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
