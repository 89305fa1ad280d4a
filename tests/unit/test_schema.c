/* schema: the generated SQL, as text and run on a real file. Clients other than this SQLite: tests/integration. */
#include "tributary/schema.h"

#include <ctype.h>
#include <setjmp.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

#include "tributary/db.h"

struct fixture {
  char path[64];
  struct trb_db *db;
  struct trb_error err;
  struct trb_catalogue *catalogue; /* with custom columns in the second and third part of customer's mask */
};

static int setup(void **state) {
  static const struct trb_custom_table tables[] = {{1001, "visa_case", "it's -- a\nvisa", true}};
  static const struct trb_custom_column columns[] = {{TRB_T_customer, 62, "shoe_size", "int", "", 0, false},
                                                     {TRB_T_customer, 124, "member_on", "date", "", 0, false},
                                                     {1001, 62, "select", "text", "a keyword", 30, false},
                                                     {1001, 63, "photo", "blob", "", 10, false}};
  struct fixture *f = calloc(1, sizeof *f);
  *state = f;
  strcpy(f->path, "/tmp/trb-schema-XXXXXX");
  int fd = mkstemp(f->path);
  if (fd < 0 || close(fd) || catalogue_extend(tables, 1, columns, 4, &f->catalogue, &f->err)) return -1;
  if (db_open(f->path, TRB_DB_WRITE, 0, &f->db, &f->err)) return -1;
  return db_exec(f->db, "PRAGMA synchronous=OFF;PRAGMA journal_mode=MEMORY", &f->err) == TRB_OK ? 0 : -1;
}

static int setup_branch(void **state) {
  if (setup(state)) return -1;
  struct fixture *f = *state;
  TRB_BUF_AUTO sql = {0};
  schema_branch(f->catalogue, &sql);
  if (db_exec(f->db, trb_buf_cstr(&sql), &f->err) == TRB_OK) return 0;
  fprintf(stderr, "%s\n", f->err.text);
  return -1;
}

static int teardown(void **state) {
  struct fixture *f = *state;
  db_close(&f->db);
  unlink(f->path);
  catalogue_unref(&f->catalogue);
  free(f);
  return 0;
}

static void run(struct fixture *f, const char *sql) {
  if (db_exec(f->db, sql, &f->err) != TRB_OK) fail_msg("%s: %s", sql, f->err.text);
}

/* The statement is refused with a text that holds `why`. */
static void refused(struct fixture *f, const char *sql, const char *why) {
  enum trb_status status = db_exec(f->db, sql, &f->err);
  if (status != TRB_PEER || !strstr(f->err.text, why)) fail_msg("%s: status %d, %s", sql, (int)status, f->err.text);
}

static int64_t number(struct fixture *f, const char *sql) {
  int64_t n = 0;
  if (db_get_int(f->db, &f->err, &n, sql, "") != TRB_OK) fail_msg("%s: %s", sql, f->err.text);
  return n;
}

/* ---- text ---- */

static void branch_uses_nothing_newer_than_3_15(void **state) {
  struct fixture *f = *state;
  static const char *const newer[] = {"STRICT",  "ON CONFLICT", "RETURNING", "unixepoch", "GENERATED",   "FILTER",
                                      " OVER",   "iif(",        "->'",       "json",      "REFERENCES",  "CHECK(",
                                      "CASCADE", "UNIQUE",      "COLLATE",   "NULLS ",    "MATERIALIZED"};
  TRB_BUF_AUTO sql = {0};
  schema_branch(f->catalogue, &sql);
  assert_false(sql.failed);
  for (size_t i = 0; i < sizeof newer / sizeof newer[0]; i++)
    if (strstr(trb_buf_cstr(&sql), newer[i])) fail_msg("%s", strstr(trb_buf_cstr(&sql), newer[i]) - 40);
}

static enum trb_status looks_like_sqlite_master(void *context, const struct trb_schema_object *object,
                                                struct trb_error *err) {
  struct fixture *f = context;
  TRB_BUF_AUTO sql = {0};
  if (db_get_bytes(f->db, err, &sql, "SELECT sql FROM sqlite_master WHERE name=?1", "t", object->name))
    return TRB_STORE;
  assert_string_equal(trb_buf_cstr(&sql), object->sql);
  if (object->kind == TRB_SCHEMA_TABLE && object->table) assert_non_null(strstr(object->sql, ") WITHOUT ROWID"));
  return TRB_OK;
}

static void branch_each_gives_what_sqlite_master_keeps(void **state) {
  struct fixture *f = *state;
  assert_int_equal(schema_branch_each(f->catalogue, looks_like_sqlite_master, f, &f->err), TRB_OK);
}

static enum trb_status stop_at_third(void *context, const struct trb_schema_object *object, struct trb_error *err) {
  (void)object, (void)err;
  return ++*(int *)context == 3 ? TRB_AGAIN : TRB_OK;
}

static void branch_each_ends_at_the_visitors_word(void **state) {
  struct fixture *f = *state;
  int count = 0;
  assert_int_equal(schema_branch_each(f->catalogue, stop_at_third, &count, NULL), TRB_AGAIN);
  assert_int_equal(count, 3);
}

static void branch_leaves_out_what_is_the_hubs(void **state) {
  struct fixture *f = *state;
  assert_int_equal(number(f, "SELECT count(*) FROM sqlite_master WHERE name IN('site_key','invitation','setting')"), 0);
  assert_int_equal(number(f, "SELECT count(*) FROM sqlite_master WHERE name IN('site','unified_customer')"), 2);
}

/* ---- marks ---- */

static void mark_of_an_insert_holds_the_whole_row(void **state) {
  struct fixture *f = *state;
  run(f, "INSERT INTO customer(id,kind,name)VALUES('C001','person','张三')");
  assert_int_equal(number(f,
                          "SELECT count(*) FROM _trb_mark WHERE n=1 AND tbl=1 AND row='C001' AND op=1 AND part=0 AND "
                          "mask=-1 AND nonce<>0 AND abs(wall-strftime('%s','now')*1000)<5000"),
                   1);
}

static void mark_of_an_update_holds_the_changed_columns_part_by_part(void **state) {
  struct fixture *f = *state;
  run(f, "INSERT INTO customer(id,kind,name)VALUES('C001','person','张三');DELETE FROM _trb_mark");
  run(f, "UPDATE customer SET name='李四',kind='person',shoe_size=41,member_on='2020-01-02',external_ref='7'");
  assert_int_equal(number(f, "SELECT count(*) FROM _trb_mark"), 3);
  int64_t expected = schema_mask_bit(TRB_C_customer_name) | schema_mask_bit(TRB_C_customer_external_ref);
  assert_int_equal(number(f, "SELECT mask FROM _trb_mark WHERE part=0 AND op=2"), expected);
  assert_int_equal(number(f, "SELECT mask FROM _trb_mark WHERE part=1 AND op=2"), 1);
  assert_int_equal(number(f, "SELECT mask FROM _trb_mark WHERE part=2 AND op=2"), 1);
  assert_int_equal(schema_mask_part(124), 2);
  run(f, "DELETE FROM _trb_mark;UPDATE customer SET member_on=NULL");
  assert_int_equal(number(f, "SELECT part*1000+mask FROM _trb_mark"), 2001);
}

/* Every column alone: its bit and no other. */
static void mark_bits_are_the_column_numbers(void **state) {
  struct fixture *f = *state;
  const struct trb_table *t = catalogue_table(f->catalogue, TRB_T_customer);
  run(f, "INSERT INTO customer(id,kind,created_at,updated_at)VALUES('C001','person',1,1)");
  for (size_t i = 0; i < t->column_count; i++) {
    const struct trb_column *c = &t->columns[i];
    const char *value = c->type == TRB_COL_TEXT ? "'x'" : c->type == TRB_COL_DATE ? "'1999'" : "7";
    char sql[200];
    snprintf(sql, sizeof sql, "DELETE FROM _trb_mark;UPDATE customer SET \"%s\"=%s", c->name, value);
    run(f, sql);
    assert_int_equal(number(f, "SELECT count(*) FROM _trb_mark"), 1);
    assert_int_equal(number(f, "SELECT mask FROM _trb_mark"), schema_mask_bit(c->number));
    assert_int_equal(number(f, "SELECT part FROM _trb_mark"), schema_mask_part(c->number));
  }
}

static void mark_of_a_delete_and_none_for_an_update_that_changes_nothing(void **state) {
  struct fixture *f = *state;
  run(f, "INSERT INTO customer(id,kind,name)VALUES('C001','person','a');DELETE FROM _trb_mark");
  run(f, "UPDATE customer SET name='a',kind=kind,birthday=NULL,id='C001'");
  assert_int_equal(number(f, "SELECT count(*) FROM _trb_mark"), 0);
  run(f, "UPDATE customer SET name='A'"); /* BINARY */
  assert_int_equal(number(f, "SELECT count(*) FROM _trb_mark"), 1);
  run(f, "DELETE FROM customer");
  assert_int_equal(number(f, "SELECT count(*) FROM _trb_mark WHERE op=3 AND part=0 AND mask=0 AND row='C001'"), 1);
}

static void mark_is_not_made_while_the_guard_stands(void **state) {
  struct fixture *f = *state;
  run(f,
      "BEGIN;INSERT INTO _trb_guard VALUES('test');INSERT INTO customer(id,kind)VALUES('a','person');"
      "UPDATE customer SET name='b';DELETE FROM customer;INSERT INTO site(id,title)VALUES('north','北');"
      "UPDATE site SET title='x';DELETE FROM site;DELETE FROM _trb_guard;COMMIT");
  assert_int_equal(number(f, "SELECT count(*) FROM _trb_mark"), 0);
}

static void default_id_is_a_uuid7_and_stamps_are_now(void **state) {
  struct fixture *f = *state;
  run(f,
      "WITH RECURSIVE c(x) AS(SELECT 1 UNION ALL SELECT x+1 FROM c WHERE x<500)"
      "INSERT INTO customer(kind)SELECT 'person' FROM c");
  assert_int_equal(
      number(f,
             "SELECT count(DISTINCT id) FROM customer WHERE length(id)=36 AND id GLOB "
             "'[0-9a-f]*-[0-9a-f][0-9a-f][0-9a-f][0-9a-f]-7[0-9a-f][0-9a-f][0-9a-f]-[89ab][0-9a-f]*-*'"
             "AND lower(id)=id AND created_at=updated_at AND abs(created_at-strftime('%s','now')*1000)<5000"),
      500);
  char hex[16] = "";
  TRB_BUF_AUTO id = {0};
  int64_t at = number(f, "SELECT created_at FROM customer ORDER BY id LIMIT 1");
  assert_int_equal(db_get_bytes(f->db, &f->err, &id, "SELECT id FROM customer ORDER BY id LIMIT 1", ""), TRB_OK);
  memcpy(hex, id.data, 8);
  memcpy(hex + 8, id.data + 9, 4);
  int64_t difference = strtoll(hex, NULL, 16) - at;
  assert_true(difference >= -5 && difference <= 5); /* RFC 9562: the first 48 bits are the milliseconds */
}

/* ---- refusals ---- */

static void limits_refuse_by_abort_whatever_the_conflict_clause(void **state) {
  struct fixture *f = *state;
  run(f, "INSERT INTO customer(id,kind,name)VALUES('C001','person','a')");
  static const char *const verbs[] = {"INSERT", "INSERT OR IGNORE", "INSERT OR REPLACE", "REPLACE"};
  char sql[300];
  for (size_t i = 0; i < 4; i++) {
    snprintf(sql, sizeof sql, "%s INTO customer(id,kind,name)VALUES('C001','person',hex(zeroblob(129)))", verbs[i]);
    refused(f, sql, "customer.name must be text of at most 256 bytes");
  }
  refused(f, "UPDATE OR REPLACE customer SET name=hex(zeroblob(129))", "customer.name");
  refused(f, "UPDATE OR IGNORE customer SET name=hex(zeroblob(129))", "customer.name");
  run(f, "UPDATE customer SET name=hex(zeroblob(128))");
  run(f, "UPDATE customer SET name=replace(hex(zeroblob(42)),'0','客')||'abcd'"); /* 84 characters of 3 bytes */
  refused(f, "UPDATE customer SET name=name||'x'", "85 Chinese characters");
}

static void limits_refuse_what_column_check_refuses(void **state) {
  struct fixture *f = *state;
  static const char *const rows[][2] = {
      {"customer(kind,name)VALUES('person','a'||char(0)||'b')", "without NUL"},
      {"customer(kind,name)VALUES('person',x'41')", "customer.name must be text"},
      {"customer(kind,staff_count)VALUES('person','many')", "customer.staff_count must be a whole number"},
      {"customer(kind,staff_count)VALUES('person',1.5)", "whole number"},
      {"customer(kind,credit_limit)VALUES('person','x')", "must be a number"},
      {"customer(kind,credit_limit)VALUES('person',9e999)", "must be a number"},
      {"customer(kind,birthday)VALUES('person','1981-02-29')", "must be a date"},
      {"customer(kind,birthday)VALUES('person','81-02-28')", "must be a date"},
      {"customer(kind,birthday)VALUES('person','')", "must be a date"},
      {"customer(kind,birthday)VALUES('person','now')", "must be a date"},
      {"contact(customer_id,kind,value)VALUES('','mobile','1')", "contact.customer_id must be text of 1 to 64"},
      {"relation(customer_id,other_id,other_site,kind)VALUES('a','b','North','family')", "must be the name of a site"},
      {"document_chunk(document_id,position,data)VALUES('a',0,'text')", "must be a blob"},
      {"document_chunk(document_id,position,data)VALUES('a',0,zeroblob(131073))", "at most 131072 bytes"},
      {"customer(id,kind)VALUES('','person')", "customer.id must be"},
      {"customer(id,kind)VALUES(hex(zeroblob(33)),'person')", "customer.id must be"},
      {"customer(id,kind)VALUES('a'||char(10),'person')", "customer.id must be"},
      {"customer(id,kind)VALUES('a'||char(0)||'b','person')", "customer.id must be"},
      {"customer(id,kind)VALUES(x'41','person')", "customer.id must be"},
      {"customer(id,kind)VALUES('a'||char(133),'person')", "customer.id must be"},
      {"customer(id,kind)VALUES(NULL,'person')", "NOT NULL"},
      {"customer(id,name)VALUES('a','b')", "NOT NULL"},
      {"visa_case(photo)VALUES(zeroblob(11))", "at most 10 bytes"},
      {"customer(kind,shoe_size)VALUES('person','x')", "customer.shoe_size must be a whole number"},
  };
  for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
    char sql[300];
    snprintf(sql, sizeof sql, "INSERT INTO %s", rows[i][0]);
    refused(f, sql, rows[i][1]);
  }
  run(f,
      "INSERT INTO customer(id,kind,birthday,credit_limit,staff_count)VALUES(replace(hex(zeroblob(32)),'0','客'),"
      "'person','2000-02-29',5,'7')"); /* 64 characters; a number as text is a number in SQL */
  run(f, "INSERT INTO customer(kind,birthday)VALUES('person','1980-05'),('person','1980')");
  run(f, "INSERT INTO visa_case(id,\"select\",photo)VALUES(5,'ok',zeroblob(10))");
  assert_int_equal(number(f, "SELECT count(*) FROM _trb_mark"), 4);
}

static void limits_refuse_a_row_that_is_too_large_as_a_whole(void **state) {
  struct fixture *f = *state;
  struct trb_custom_table big = {1001, "big", "", true};
  struct trb_custom_column columns[] = {{1001, 62, "a", "text", "", 131072, false},
                                        {1001, 63, "b", "text", "", 131072, false},
                                        {1001, 64, "c", "blob", "", 131072, false}};
  struct trb_catalogue *catalogue = NULL;
  TRB_BUF_AUTO sql = {0};
  assert_int_equal(catalogue_extend(&big, 1, columns, 3, &catalogue, &f->err), TRB_OK);
  schema_branch(catalogue, &sql);
  catalogue_unref(&catalogue);
  run(f, trb_buf_cstr(&sql));
  run(f, "INSERT INTO big(id,a,b,c)VALUES('r',hex(zeroblob(65536)),hex(zeroblob(65536-20)),x'')");
  refused(f, "INSERT INTO big(a,b,c)VALUES(hex(zeroblob(65536)),hex(zeroblob(65536)),x'00')",
          "big: the row is too large: at most 262144 bytes");
  refused(f, "UPDATE big SET c=zeroblob(100)", "big: the row is too large");
  run(f, "UPDATE big SET a='',c=zeroblob(131072)");
}

/* As many as are possible, each with as much as is possible: the triggers and the view still compile. */
static void branch_compiles_with_all_custom_tables_and_columns(void **state) {
  struct fixture *f = *state;
  static struct trb_custom_table tables[TRB_CUSTOM_TABLES_MAX];
  static struct trb_custom_column columns[TRB_CUSTOM_COLUMNS_MAX];
  static char names[TRB_CUSTOM_TABLES_MAX][16], column_names[TRB_CUSTOM_COLUMNS_MAX][16];
  for (uint16_t i = 0; i < TRB_CUSTOM_TABLES_MAX; i++) {
    snprintf(names[i], sizeof names[i], "t%u", i);
    tables[i] = (struct trb_custom_table){(uint16_t)(1000 + i), names[i], "", true};
  }
  for (uint16_t i = 0; i < TRB_CUSTOM_COLUMNS_MAX; i++) {
    snprintf(column_names[i], sizeof column_names[i], "c%u", i);
    columns[i] =
        (struct trb_custom_column){TRB_T_customer, (uint16_t)(62 + i), column_names[i], "text", "", 131072, false};
  }
  struct trb_catalogue *catalogue = NULL;
  TRB_BUF_AUTO sql = {0};
  assert_int_equal(
      catalogue_extend(tables, TRB_CUSTOM_TABLES_MAX, columns, TRB_CUSTOM_COLUMNS_MAX, &catalogue, &f->err), TRB_OK);
  schema_branch(catalogue, &sql);
  catalogue_unref(&catalogue);
  run(f, "BEGIN");
  run(f, trb_buf_cstr(&sql));
  run(f,
      "INSERT INTO customer(id,kind)VALUES('a','person');UPDATE customer SET c99='x',c0='y';INSERT INTO "
      "t199(id)VALUES('b')");
  assert_int_equal(number(f, "SELECT count(*) FROM _trb_mark"), 4);
  assert_int_equal(number(f, "SELECT count(*) FROM row_state"), 2);
  run(f, "COMMIT");
}

static void id_cannot_change(void **state) {
  struct fixture *f = *state;
  run(f, "INSERT INTO customer(id,kind)VALUES('a','person'),('b','person')");
  refused(f, "UPDATE customer SET id='c' WHERE id='a'", "the id of a row cannot be changed");
  refused(f, "UPDATE OR REPLACE customer SET id='b' WHERE id='a'", "the id of a row cannot be changed");
  refused(f, "UPDATE OR IGNORE customer SET id='b' WHERE id='a'", "the id of a row cannot be changed");
  assert_int_equal(number(f, "SELECT count(*) FROM customer"), 2);
}

static void guards_refuse_every_write(void **state) {
  struct fixture *f = *state;
  run(f,
      "BEGIN;INSERT INTO _trb_guard VALUES('test');INSERT INTO site(id)VALUES('north');"
      "INSERT INTO unified_customer(id,name)VALUES('p','x');DELETE FROM _trb_guard;COMMIT");
  refused(f, "INSERT INTO site(id)VALUES('south')", "site is kept by headquarters");
  refused(f, "INSERT OR IGNORE INTO site(id)VALUES('north')", "kept by headquarters");
  refused(f, "REPLACE INTO site(id)VALUES('north')", "kept by headquarters");
  refused(f, "UPDATE site SET title='x'", "kept by headquarters");
  refused(f, "DELETE FROM site", "kept by headquarters");
  refused(f, "UPDATE unified_customer SET name='y'", "computed from all branches");
}

/* ---- row_state ---- */

static void row_state_tells_where_a_row_is(void **state) {
  struct fixture *f = *state;
  run(f,
      "INSERT INTO customer(id,kind)VALUES('a','person'),('b','person'),('c','person');"
      "INSERT INTO _trb_meta VALUES('acked_mark',2);BEGIN;INSERT INTO _trb_guard VALUES('test');"
      "INSERT INTO rejected_change(id,table_name,row_id,op,reason,at)VALUES('1','customer','a','insert','old',5),"
      "('2','customer','a','update','too late',6),('3','contact','b','insert','other table',6),"
      "('4','customer','gone','delete','kept',6);DELETE FROM _trb_guard;COMMIT");
  assert_int_equal(number(f, "SELECT count(*) FROM row_state WHERE table_name='customer'"), 4);
  assert_int_equal(number(f, "SELECT state='refused' AND reason='too late' FROM row_state WHERE row_id='a'"), 1);
  assert_int_equal(number(f, "SELECT state='at headquarters' AND reason IS NULL FROM row_state WHERE row_id='b'"), 1);
  assert_int_equal(number(f, "SELECT state='saved here' FROM row_state WHERE row_id='c' AND table_name='customer'"), 1);
  assert_int_equal(number(f, "SELECT state='refused' FROM row_state WHERE row_id='gone'"), 1);
}

/* ---- statements and the hub ---- */

static void branch_statements_read_and_write_a_row_in_catalogue_order(void **state) {
  struct fixture *f = *state;
  const struct trb_table *t = catalogue_table(f->catalogue, TRB_T_contact);
  TRB_BUF_AUTO upsert = {0}, select = {0}, page = {0}, delete = {0};
  schema_upsert_row(t, &upsert);
  schema_select_row(t, &select);
  schema_select_page(t, &page);
  schema_delete_row(t, &delete);
  for (int64_t round = 1; round <= 2; round++) {
    struct trb_stmt *stmt;
    bool row;
    assert_int_equal(db_query(f->db, trb_buf_cstr(&upsert), &stmt, &f->err), TRB_OK);
    stmt_bind_text(stmt, 1, "k1");
    stmt_bind_int(stmt, 2 + (int)table_column_index(t, TRB_C_contact_main), round);
    stmt_bind_text(stmt, 2 + (int)table_column_index(t, TRB_C_contact_kind), "mobile");
    stmt_bind_text(stmt, 2 + (int)table_column_index(t, TRB_C_contact_value), "１３９");
    assert_int_equal(stmt_step(stmt, &row, &f->err), TRB_OK);
    assert_int_equal(db_queryf(f->db, &f->err, &stmt, trb_buf_cstr(&select), "t", "k1"), TRB_OK);
    assert_int_equal(stmt_step(stmt, &row, &f->err), TRB_OK);
    assert_true(row);
    assert_int_equal(stmt_column_count(stmt), 1 + (int)t->column_count);
    assert_string_equal(stmt_text(stmt, 0), "k1");
    assert_string_equal(stmt_text(stmt, 1 + (int)table_column_index(t, TRB_C_contact_value)), "１３９");
    assert_int_equal(stmt_int(stmt, 1 + (int)table_column_index(t, TRB_C_contact_main)), round);
    stmt_done(stmt);
  }
  assert_int_equal(db_run(f->db, &f->err, trb_buf_cstr(&delete), "t", "k1"), TRB_OK);
  assert_int_equal(number(f, "SELECT count(*) FROM contact"), 0);
  struct trb_stmt *stmt;
  assert_int_equal(db_queryf(f->db, &f->err, &stmt, trb_buf_cstr(&page), "ti", "", (int64_t)5), TRB_OK);
  stmt_done(stmt);
}

static void hub_makes_tables_and_upserts_by_record_number(void **state) {
  struct fixture *f = *state;
  TRB_BUF_AUTO sql = {0};
  schema_hub(f->catalogue, &sql);
  run(f, trb_buf_cstr(&sql));
  assert_int_equal(number(f, "SELECT count(*) FROM sqlite_master WHERE name IN('site_key','visa_case','customer')"), 3);
  assert_int_equal(number(f, "SELECT count(*) FROM sqlite_master WHERE name='unified_customer'"), 0);
  for (size_t i = 0; i < catalogue_count(f->catalogue); i++) {
    const struct trb_table *t = catalogue_at(f->catalogue, i);
    if (!schema_at_hub(t)) continue;
    TRB_BUF_AUTO upsert = {0}, by_id = {0}, by_rid = {0};
    schema_hub_upsert(t, &upsert);
    schema_hub_select_id(t, &by_id);
    schema_hub_select_rid(t, &by_rid);
    struct trb_stmt *stmt;
    bool row;
    for (int round = 0; round < 2; round++) {
      assert_int_equal(db_query(f->db, trb_buf_cstr(&upsert), &stmt, &f->err), TRB_OK);
      stmt_bind_int(stmt, 1, 9);
      stmt_bind_int(stmt, 2, 3);
      stmt_bind_text(stmt, 3, "C001");
      stmt_bind_int(stmt, TRB_HUB_UPSERT_COLUMNS, 77 + round);
      assert_int_equal(stmt_step(stmt, &row, &f->err), TRB_OK);
    }
    assert_int_equal(db_queryf(f->db, &f->err, &stmt, trb_buf_cstr(&by_id), "it", (int64_t)3, "C001"), TRB_OK);
    assert_int_equal(stmt_step(stmt, &row, &f->err), TRB_OK);
    assert_true(row);
    assert_int_equal(stmt_int(stmt, 0), 9);
    assert_int_equal(stmt_int(stmt, TRB_HUB_ROW_COLUMNS), 78);
    assert_int_equal(stmt_column_count(stmt), TRB_HUB_ROW_COLUMNS + (int)t->column_count);
    stmt_done(stmt);
    assert_int_equal(db_queryf(f->db, &f->err, &stmt, trb_buf_cstr(&by_rid), "i", (int64_t)9), TRB_OK);
    stmt_done(stmt);
  }
  refused(f, "INSERT INTO contact(_site,id)VALUES(3,'C001')", "UNIQUE");
  run(f, "INSERT INTO contact(_site,id)VALUES(4,'C001')"); /* the same id at another site is another row */
}

static void hub_finds_children_by_index(void **state) {
  struct fixture *f = *state;
  TRB_BUF_AUTO sql = {0};
  schema_hub(f->catalogue, &sql);
  run(f, trb_buf_cstr(&sql));
  static const char *const queries[] = {
      "EXPLAIN QUERY PLAN SELECT * FROM contact WHERE _site=1 AND customer_id='a'",
      "EXPLAIN QUERY PLAN SELECT * FROM booking_item WHERE _site=1 AND booking_id='a'",
      "EXPLAIN QUERY PLAN SELECT * FROM ticket_event WHERE ticket_id='a'",
      "EXPLAIN QUERY PLAN SELECT * FROM points_entry WHERE customer_id='a' AND coalesce(customer_site,'x')='x'"};
  for (size_t i = 0; i < 4; i++) {
    struct trb_stmt *stmt;
    bool row;
    assert_int_equal(db_query(f->db, queries[i], &stmt, &f->err), TRB_OK);
    assert_int_equal(stmt_step(stmt, &row, &f->err), TRB_OK);
    if (!strstr(stmt_text(stmt, 3), "USING INDEX")) fail_msg("%s: %s", queries[i], stmt_text(stmt, 3));
    stmt_done(stmt);
  }
}

int main(void) {
#define BRANCH_TEST(name) cmocka_unit_test_setup_teardown(name, setup_branch, teardown)
#define PLAIN_TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)
  const struct CMUnitTest tests[] = {
      PLAIN_TEST(branch_uses_nothing_newer_than_3_15),
      BRANCH_TEST(branch_each_gives_what_sqlite_master_keeps),
      PLAIN_TEST(branch_each_ends_at_the_visitors_word),
      BRANCH_TEST(branch_leaves_out_what_is_the_hubs),
      BRANCH_TEST(mark_of_an_insert_holds_the_whole_row),
      BRANCH_TEST(mark_of_an_update_holds_the_changed_columns_part_by_part),
      BRANCH_TEST(mark_bits_are_the_column_numbers),
      BRANCH_TEST(mark_of_a_delete_and_none_for_an_update_that_changes_nothing),
      BRANCH_TEST(mark_is_not_made_while_the_guard_stands),
      BRANCH_TEST(default_id_is_a_uuid7_and_stamps_are_now),
      BRANCH_TEST(limits_refuse_by_abort_whatever_the_conflict_clause),
      BRANCH_TEST(limits_refuse_what_column_check_refuses),
      PLAIN_TEST(limits_refuse_a_row_that_is_too_large_as_a_whole),
      PLAIN_TEST(branch_compiles_with_all_custom_tables_and_columns),
      BRANCH_TEST(id_cannot_change),
      BRANCH_TEST(guards_refuse_every_write),
      BRANCH_TEST(row_state_tells_where_a_row_is),
      BRANCH_TEST(branch_statements_read_and_write_a_row_in_catalogue_order),
      PLAIN_TEST(hub_makes_tables_and_upserts_by_record_number),
      PLAIN_TEST(hub_finds_children_by_index),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
