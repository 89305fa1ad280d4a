/* capture: making, checking and repairing replica.db; each damage is done the way another program would do it. */
#include "tributary/capture.h"

#include <setjmp.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

struct fixture {
  char folder[64], path[100];
  struct trb_db *db, *client; /* ours, and another program's */
  struct trb_catalogue *catalogue;
  struct trb_capture_report report;
  int64_t version;
  struct trb_error err;
};

static int setup(void **state) {
  struct fixture *f = calloc(1, sizeof *f);
  *state = f;
  strcpy(f->folder, "/tmp/trb-capture-XXXXXX");
  if (!mkdtemp(f->folder)) return -1;
  snprintf(f->path, sizeof f->path, "%s/replica.db", f->folder);
  f->catalogue = catalogue_builtin();
  f->version = -1;
  if (db_open(f->path, TRB_DB_CREATE, 0, &f->db, &f->err) || capture_install(f->db, f->catalogue, &f->err) ||
      db_open(f->path, TRB_DB_WRITE, 0, &f->client, &f->err) ||
      capture_check(f->db, f->catalogue, &f->version, &f->report, &f->err)) {
    fprintf(stderr, "%s\n", f->err.text);
    return -1;
  }
  return 0;
}

static int teardown(void **state) {
  struct fixture *f = *state;
  db_close(&f->client);
  db_close(&f->db);
  catalogue_unref(&f->catalogue);
  char command[100];
  snprintf(command, sizeof command, "rm -rf '%s'", f->folder);
  int rc = system(command);
  free(f);
  return rc;
}

static void client(struct fixture *f, const char *sql) {
  if (db_exec(f->client, sql, &f->err) != TRB_OK) fail_msg("%s: %s", sql, f->err.text);
}

static int64_t number(struct fixture *f, const char *sql) {
  int64_t n = 0;
  if (db_get_int(f->client, &f->err, &n, sql, "") != TRB_OK) fail_msg("%s: %s", sql, f->err.text);
  return n;
}

static void check(struct fixture *f) {
  if (capture_check(f->db, f->catalogue, &f->version, &f->report, &f->err) != TRB_OK) fail_msg("%s", f->err.text);
}

/* After a repair: a further full check finds nothing, and capture works. */
static void is_sound(struct fixture *f) {
  f->version = -1;
  check(f);
  assert_true(f->report.looked);
  if (f->report.count) fail_msg("still: %s", f->report.findings[0].name);
  number(f, "SELECT count(*) FROM customer"); /* a statement that compiles makes SQLite read the new schema */
  client(f,
         "DELETE FROM customer WHERE id='probe';DELETE FROM _trb_mark;"
         "INSERT INTO customer(id,kind)VALUES('probe','person');UPDATE customer SET name='x' WHERE id='probe';"
         "DELETE FROM customer WHERE id='probe'");
  assert_int_equal(number(f, "SELECT count(*) FROM _trb_mark"), 3);
}

static void found_only(struct fixture *f, enum trb_damage damage, const char *name, bool scrub) {
  check(f);
  assert_int_equal(f->report.count, 1);
  assert_int_equal(f->report.findings[0].damage, damage);
  assert_string_equal(f->report.findings[0].name, name);
  assert_int_equal(f->report.scrub, scrub);
  is_sound(f);
}

static void install_twice_changes_nothing(void **state) {
  struct fixture *f = *state;
  int64_t before = number(f, "PRAGMA schema_version");
  assert_int_equal(capture_install(f->db, f->catalogue, &f->err), TRB_OK);
  assert_int_equal(number(f, "PRAGMA schema_version"), before);
  assert_int_equal(f->report.count, 0);
  is_sound(f);
}

static void check_looks_only_when_the_schema_moved(void **state) {
  struct fixture *f = *state;
  check(f);
  assert_false(f->report.looked);
  client(f, "INSERT INTO customer(kind)VALUES('person')");
  check(f);
  assert_false(f->report.looked);
  client(f, "CREATE TABLE own(a);CREATE UNIQUE INDEX own_a ON own(a);CREATE INDEX by_name ON customer(name)");
  check(f);
  assert_true(f->report.looked);
  assert_int_equal(f->report.count, 0); /* a client's own things are its own */
  check(f);
  assert_false(f->report.looked);
  assert_int_equal(number(f, "SELECT count(*) FROM sqlite_master WHERE name IN('own','own_a','by_name')"), 3);
}

static void check_restores_a_dropped_trigger(void **state) {
  struct fixture *f = *state;
  client(f, "DROP TRIGGER _trb_customer_update");
  found_only(f, TRB_DAMAGE_TRIGGER_MISSING, "_trb_customer_update", true);
}

/* SQL does not tell upper from lower case in names, sqlite_master keeps it. */
static void check_lives_with_names_in_another_case(void **state) {
  struct fixture *f = *state;
  client(f, "INSERT INTO customer(id,kind,name)VALUES('c1','person','王芳')");
  client(f, "ALTER TABLE customer RENAME TO other;ALTER TABLE other RENAME TO Customer");
  check(f);
  is_sound(f);
  client(f, "ALTER TABLE customer RENAME COLUMN name TO Name");
  check(f);
  is_sound(f);
  client(f,
         "DROP TRIGGER _trb_customer_insert;CREATE TRIGGER _TRB_Customer_INSERT AFTER INSERT ON customer BEGIN SELECT "
         "1;END");
  check(f);
  is_sound(f);
  client(f, "CREATE UNIQUE INDEX once ON CUSTOMER(Name)");
  found_only(f, TRB_DAMAGE_UNIQUE_INDEX, "once", true);
  assert_int_equal(number(f, "SELECT count(*) FROM customer WHERE name='王芳'"), 1);
}

/* Triggers have names of their own: one may be called like a table, an index or the view. */
static void check_tells_a_trigger_from_a_table_of_the_same_name(void **state) {
  struct fixture *f = *state;
  client(f,
         "INSERT INTO customer(id,kind,name)VALUES('c1','person','王芳');"
         "CREATE TRIGGER customer AFTER INSERT ON booking BEGIN SELECT 1;END;"
         "CREATE TRIGGER _trb_mark AFTER INSERT ON booking BEGIN SELECT 1;END;"
         "CREATE TRIGGER row_state AFTER INSERT ON booking BEGIN SELECT 1;END");
  check(f);
  is_sound(f);
  assert_int_equal(number(f, "SELECT count(*) FROM customer"), 1);
  assert_int_equal(number(f, "SELECT count(*) FROM sqlite_master WHERE type='trigger' AND name='customer'"), 1);
}

static void check_restores_an_altered_trigger(void **state) {
  struct fixture *f = *state;
  client(f,
         "DROP TRIGGER _trb_customer_insert;CREATE TRIGGER _trb_customer_insert AFTER INSERT ON customer BEGIN "
         "SELECT 1; END");
  found_only(f, TRB_DAMAGE_TRIGGER_ALTERED, "_trb_customer_insert", true);
}

static void check_restores_a_dropped_guard(void **state) {
  struct fixture *f = *state;
  client(f, "DROP TRIGGER _trb_site_guard_delete");
  check(f);
  assert_int_equal(f->report.count, 1);
  assert_int_equal(f->report.findings[0].table, TRB_T_site);
  assert_int_equal(db_exec(f->client, "INSERT INTO site(id)VALUES('x')", NULL), TRB_PEER);
}

static void check_drops_an_imitated_trigger(void **state) {
  struct fixture *f = *state;
  client(f, "CREATE TRIGGER _trb_mine AFTER INSERT ON customer BEGIN DELETE FROM _trb_mark; END");
  found_only(f, TRB_DAMAGE_TRIGGER_ALTERED, "_trb_mine", true);
}

static void check_makes_a_dropped_table_again_and_says_so_once(void **state) {
  struct fixture *f = *state;
  client(
      f,
      "INSERT INTO contact(id,kind,value)VALUES('k','mobile','13911112222');DELETE FROM _trb_mark;DROP TABLE contact");
  check(f);
  assert_int_equal(f->report.count, 1); /* not its triggers, too */
  assert_int_equal(f->report.findings[0].damage, TRB_DAMAGE_TABLE_MISSING);
  assert_int_equal(f->report.findings[0].table, TRB_T_contact);
  assert_int_equal(number(f, "SELECT count(*) FROM _trb_mark"), 0); /* no deletes were marked */
  is_sound(f);
}

static void check_makes_a_renamed_table_again(void **state) {
  struct fixture *f = *state;
  client(f, "INSERT INTO customer(id,kind)VALUES('a','person');ALTER TABLE customer RENAME TO customer_old");
  check(f);
  assert_true(f->report.count > 0 && f->report.scrub);
  assert_int_equal(number(f, "SELECT count(*) FROM customer_old"), 1);
  is_sound(f);
}

static void check_replaces_a_view_in_a_tables_place(void **state) {
  struct fixture *f = *state;
  client(f, "DROP TABLE tag_on;CREATE VIEW tag_on AS SELECT 1 AS id");
  check(f);
  assert_int_equal(f->report.findings[0].damage, TRB_DAMAGE_TABLE_MISSING);
  is_sound(f);
}

static void check_adds_a_dropped_column_again(void **state) {
  struct fixture *f = *state;
  client(f, "INSERT INTO preference(id,customer_id,key,value)VALUES('p','c','seat','靠窗')");
  client(f,
         "DROP TRIGGER _trb_preference_limit_insert;DROP TRIGGER _trb_preference_limit_update;"
         "DROP TRIGGER _trb_preference_update;ALTER TABLE preference DROP COLUMN noted_at");
  check(f);
  assert_int_equal(f->report.count, 4);
  assert_int_equal(number(f, "SELECT value='靠窗' AND noted_at IS NULL FROM preference"), 1);
  is_sound(f);
}

static void check_keeps_a_clients_own_column(void **state) {
  struct fixture *f = *state;
  client(f, "ALTER TABLE customer ADD COLUMN shoe INTEGER;INSERT INTO customer(id,kind,shoe)VALUES('a','person',41)");
  check(f);
  assert_int_equal(f->report.count, 0);
  assert_int_equal(number(f, "SELECT shoe FROM customer"), 41);
  is_sound(f);
}

/* Each of these would let a row vanish or change unseen. */
static void check_builds_an_altered_table_anew_with_its_rows(void **state) {
  struct fixture *f = *state;
  static const char *const tables[] = {
      "CREATE TABLE tag_on(id TEXT PRIMARY KEY,customer_id TEXT,label TEXT)",
      "CREATE TABLE tag_on(id TEXT NOT NULL PRIMARY KEY DEFAULT(1),customer_id TEXT,label TEXT UNIQUE)WITHOUT ROWID",
      "CREATE TABLE tag_on(id TEXT NOT NULL PRIMARY KEY DEFAULT(1),customer_id TEXT,label TEXT COLLATE NOCASE)WITHOUT "
      "ROWID",
      "CREATE TABLE tag_on(id TEXT NOT NULL PRIMARY KEY DEFAULT(1),label TEXT,customer_id TEXT REFERENCES customer(id)"
      " ON DELETE CASCADE)WITHOUT ROWID",
      "CREATE TABLE tag_on(id TEXT NOT NULL,customer_id TEXT,label TEXT,PRIMARY KEY(id,label))WITHOUT ROWID",
      "CREATE TABLE tag_on(id TEXT,customer_id,label TEXT)",
  };
  for (size_t i = 0; i < sizeof tables / sizeof tables[0]; i++) {
    client(f, "DROP TABLE tag_on");
    client(f, tables[i]);
    client(f, "INSERT INTO tag_on(id,customer_id,label)VALUES('a','c','高价值'),('b',NULL,'x');");
    check(f);
    assert_true(f->report.scrub);
    assert_int_equal(f->report.findings[0].damage, TRB_DAMAGE_TABLE_ALTERED);
    assert_int_equal(f->report.findings[0].table, TRB_T_tag_on);
    assert_int_equal(number(f, "SELECT count(*) FROM tag_on WHERE label IN('高价值','x')"), 2);
    assert_int_equal(number(f, "SELECT count(*) FROM sqlite_master WHERE tbl_name='tag_on' AND type='trigger'"), 6);
    is_sound(f);
  }
}

static void check_keeps_what_a_client_had_beside_in_an_altered_table(void **state) {
  struct fixture *f = *state;
  client(f,
         "DROP TABLE tag_on;CREATE TABLE tag_on(id TEXT,customer_id TEXT,Label TEXT,\"my \"\"col\" INTEGER);"
         "INSERT INTO tag_on VALUES('a','c','VIP',7),(NULL,'d','无号',8)");
  check(f);
  assert_int_equal(number(f, "SELECT sum(\"my \"\"col\") FROM tag_on WHERE length(id) IN(1,32)"), 15);
  assert_int_equal(number(f, "SELECT count(*) FROM tag_on WHERE label='VIP' AND id='a'"), 1);
  is_sound(f);
}

static void check_keeps_a_clients_table_of_the_same_name_beside(void **state) {
  struct fixture *f = *state;
  client(f, "DROP TABLE keeper;CREATE TABLE keeper(zoo TEXT,animal TEXT);INSERT INTO keeper VALUES('北京','panda')");
  check(f);
  assert_int_equal(f->report.findings[0].damage, TRB_DAMAGE_TABLE_ALTERED);
  assert_int_equal(number(f, "SELECT count(*) FROM keeper"), 0);
  assert_int_equal(number(f, "SELECT animal='panda' FROM keeper_found"), 1);
  is_sound(f);
}

/* So an older version's file gets what this version added to our own tables; mark numbers go on. */
static void check_builds_our_own_tables_anew(void **state) {
  struct fixture *f = *state;
  client(f, "INSERT INTO customer(id,kind)VALUES('a','person'),('b','person')");
  client(f,
         "CREATE TEMP TABLE m AS SELECT * FROM _trb_mark;DROP TABLE _trb_mark;"
         "CREATE TABLE _trb_mark(n INTEGER PRIMARY KEY,tbl,row,op,part,mask,wall,nonce);"
         "INSERT INTO _trb_mark SELECT * FROM m WHERE n=2;DROP TABLE _trb_import_row;"
         "CREATE TABLE _trb_import_row(import_id TEXT NOT NULL,tbl INTEGER NOT NULL,row TEXT NOT NULL,"
         "PRIMARY KEY(import_id,tbl,row))WITHOUT ROWID;INSERT INTO _trb_import_row VALUES('i',1,'a')");
  check(f);
  assert_int_equal(f->report.count, 2);
  assert_int_equal(number(f, "SELECT count(*) FROM _trb_mark WHERE n=2 AND row='b' AND nonce<>0"), 1);
  assert_int_equal(number(f, "SELECT count(*) FROM _trb_import_row WHERE row='a' AND line IS NULL"), 1);
  client(f, "DELETE FROM _trb_mark;INSERT INTO customer(id,kind)VALUES('c','person')");
  assert_int_equal(number(f, "SELECT n FROM _trb_mark"), 3);
  is_sound(f);
}

static void check_drops_a_unique_index(void **state) {
  struct fixture *f = *state;
  client(f, "CREATE UNIQUE INDEX \"one \"\"name\" ON customer(name)");
  found_only(f, TRB_DAMAGE_UNIQUE_INDEX, "one \"name", true);
}

static void check_restores_the_view_without_a_scrub(void **state) {
  struct fixture *f = *state;
  client(f, "DROP VIEW row_state");
  found_only(f, TRB_DAMAGE_OTHER, "row_state", false);
}

static void check_removes_a_guard_row_that_was_left(void **state) {
  struct fixture *f = *state;
  client(f, "INSERT INTO _trb_guard VALUES('hacked')");
  f->version = -1;
  found_only(f, TRB_DAMAGE_GUARD_LEFT, "_trb_guard", true);
}

static void check_makes_the_marks_table_again(void **state) {
  struct fixture *f = *state;
  client(f, "DROP TABLE _trb_mark");
  found_only(f, TRB_DAMAGE_TABLE_MISSING, "_trb_mark", true);
}

static void check_repairs_everything_at_once(void **state) {
  struct fixture *f = *state;
  client(f, "INSERT INTO booking(id,title)VALUES('b','桂林')");
  client(f, "PRAGMA writable_schema=ON;DELETE FROM sqlite_master WHERE type='trigger';PRAGMA writable_schema=OFF");
  db_close(&f->client);
  assert_int_equal(db_open(f->path, TRB_DB_WRITE, 0, &f->client, &f->err), TRB_OK);
  f->version = -1;
  db_close(&f->db);
  assert_int_equal(db_open(f->path, TRB_DB_WRITE, 0, &f->db, &f->err), TRB_OK);
  check(f);
  assert_true(f->report.count > TRB_FINDINGS_MAX);
  assert_int_equal(number(f, "SELECT count(*) FROM booking"), 1);
  is_sound(f);
}

static void check_leaves_wal(void **state) {
  struct fixture *f = *state;
  db_close(&f->db);
  client(f, "PRAGMA journal_mode=WAL");
  db_close(&f->client);
  assert_int_equal(db_open(f->path, TRB_DB_WRITE, 0, &f->db, &f->err), TRB_OK);
  check(f);
  assert_int_equal(f->report.findings[0].damage, TRB_DAMAGE_WAL);
  assert_false(f->report.wal_stays);
  assert_int_equal(db_open(f->path, TRB_DB_WRITE, 0, &f->client, &f->err), TRB_OK);
  TRB_BUF_AUTO mode = {0};
  assert_int_equal(db_get_bytes(f->client, &f->err, &mode, "PRAGMA journal_mode", ""), TRB_OK);
  assert_string_equal(trb_buf_cstr(&mode), "delete");
}

static void check_says_when_wal_cannot_be_left(void **state) {
  struct fixture *f = *state;
  db_close(&f->db);
  client(f, "PRAGMA journal_mode=WAL;SELECT 1 FROM customer");
  assert_int_equal(db_open(f->path, TRB_DB_WRITE, 0, &f->db, &f->err), TRB_OK);
  check(f);
  assert_true(f->report.wal_stays);
  assert_int_equal(capture_connect(f->db, &f->err), TRB_AGAIN);
}

static void check_is_told_again_while_locked(void **state) {
  struct fixture *f = *state;
  client(f, "DROP VIEW row_state;BEGIN IMMEDIATE");
  int64_t version = f->version;
  assert_int_equal(capture_check(f->db, f->catalogue, &f->version, &f->report, &f->err), TRB_AGAIN);
  assert_int_equal(f->version, version);
  client(f, "COMMIT");
  found_only(f, TRB_DAMAGE_OTHER, "row_state", false);
}

/* ---- custom definitions ---- */

static void come_down(struct fixture *f, const char *sql) {
  assert_int_equal(db_begin(f->db, &f->err), TRB_OK);
  assert_int_equal(capture_suspend(f->db, "test", &f->err), TRB_OK);
  if (db_exec(f->db, sql, &f->err) != TRB_OK) fail_msg("%s", f->err.text);
  assert_int_equal(capture_resume(f->db, &f->err), TRB_OK);
  assert_int_equal(db_commit(f->db, &f->err), TRB_OK);
}

static void extend_makes_tables_and_columns_and_keeps_rows(void **state) {
  struct fixture *f = *state;
  client(f, "INSERT INTO customer(id,kind,name)VALUES('a','person','王')");
  come_down(f,
            "INSERT INTO custom_table(id,number,name,doc,branch_writes)VALUES('t',1001,'visa_case','签证',1);"
            "INSERT INTO custom_column(id,table_number,number,name,type,max_bytes)VALUES"
            "('1',1001,62,'country','text',40),('2',1,62,'shoe_size','int',NULL),('3',1001,63,'due','date',NULL)");
  assert_int_equal(capture_extend(f->db, &f->catalogue, &f->err), TRB_OK);
  client(f,
         "DELETE FROM _trb_mark;INSERT INTO visa_case(id,country)VALUES('v','日本');UPDATE customer SET shoe_size=41");
  assert_int_equal(number(f, "SELECT count(*) FROM _trb_mark WHERE tbl=1001 AND op=1"), 1);
  assert_int_equal(number(f, "SELECT part*10+mask FROM _trb_mark WHERE tbl=1 AND op=2"), 11);
  assert_int_equal(number(f, "SELECT count(*) FROM row_state WHERE table_name='visa_case'"), 1);
  assert_int_equal(number(f, "SELECT name='王' FROM customer"), 1);
  come_down(f, "INSERT INTO custom_column(id,table_number,number,name,type)VALUES('4',1001,64,'fee','real')");
  assert_int_equal(capture_extend(f->db, &f->catalogue, &f->err), TRB_OK);
  assert_int_equal(number(f, "SELECT country='日本' FROM visa_case"), 1);
  is_sound(f);
  struct trb_catalogue *again = NULL;
  assert_int_equal(capture_catalogue(f->client, &again, &f->err), TRB_OK);
  assert_non_null(table_column_named(catalogue_named(again, "visa_case"), "fee"));
  catalogue_unref(&again);
}

static void extend_refuses_a_wrong_definition_and_keeps_what_was(void **state) {
  struct fixture *f = *state;
  struct trb_catalogue *before = f->catalogue;
  come_down(f, "INSERT INTO custom_table(id,number,name,branch_writes)VALUES('t',1001,'customer\"; DROP TABLE x',1)");
  assert_int_equal(capture_extend(f->db, &f->catalogue, &f->err), TRB_PEER);
  assert_ptr_equal(f->catalogue, before);
  come_down(f, "UPDATE custom_table SET name='ok',number=-1");
  assert_int_equal(capture_extend(f->db, &f->catalogue, &f->err), TRB_PEER);
  is_sound(f);
}

static void catalogue_of_an_empty_file_is_the_built_in_one(void **state) {
  struct fixture *f = *state;
  char path[120];
  struct trb_db *db = NULL;
  struct trb_catalogue *catalogue = NULL;
  snprintf(path, sizeof path, "%s/empty.db", f->folder);
  assert_int_equal(db_open(path, TRB_DB_CREATE, 0, &db, &f->err), TRB_OK);
  assert_int_equal(capture_catalogue(db, &catalogue, &f->err), TRB_OK);
  assert_ptr_equal(catalogue, catalogue_builtin());
  db_close(&db);
}

/* An older catalogue's file: what a newer one adds comes by ALTER TABLE, rows and old values stay. */
static void install_brings_an_older_file_up_to_the_catalogue(void **state) {
  struct fixture *f = *state;
  client(
      f,
      "INSERT INTO customer(id,kind,name)VALUES('a','person','王');DROP TABLE keeper;DROP TRIGGER _trb_ticket_insert");
  client(f,
         "DROP TABLE target;CREATE TABLE target(id TEXT NOT NULL PRIMARY KEY,site TEXT)WITHOUT ROWID;"
         "INSERT INTO target VALUES('t','north')");
  assert_int_equal(capture_install(f->db, f->catalogue, &f->err), TRB_OK);
  assert_int_equal(number(f, "SELECT count(*) FROM target WHERE site='north' AND amount IS NULL"), 1);
  assert_int_equal(number(f, "SELECT count(*) FROM keeper"), 0);
  is_sound(f);
}

/* ---- rows and marks ---- */

static void scan_rows_pages_in_the_order_of_ids(void **state) {
  struct fixture *f = *state;
  const struct trb_table *table = catalogue_table(f->catalogue, TRB_T_customer);
  client(f,
         "WITH RECURSIVE c(x)AS(SELECT 1 UNION ALL SELECT x+1 FROM c WHERE x<25)"
         "INSERT INTO customer(id,kind,name)SELECT printf('C%03d',x),'person','客'||x FROM c");
  char after[80] = "";
  int rows = 0, pages = 0;
  for (bool more = true; more; pages++) {
    TRB_STMT_AUTO *stmt = NULL;
    bool row;
    assert_int_equal(capture_scan_rows(f->db, table, trb_slice_str(after), 10, &stmt, &f->err), TRB_OK);
    for (more = false; stmt_step(stmt, &row, &f->err) == TRB_OK && row; more = true) {
      assert_true(strcmp(stmt_text(stmt, 0), after) > 0);
      snprintf(after, sizeof after, "%s", stmt_text(stmt, 0));
      assert_int_equal(strncmp(stmt_text(stmt, 1 + (int)table_column_index(table, TRB_C_customer_name)), "客", 3), 0);
      rows++;
    }
  }
  assert_int_equal(rows, 25);
  assert_int_equal(pages, 4);
  TRB_STMT_AUTO *one = NULL;
  bool row;
  assert_int_equal(capture_row(f->db, table, trb_slice_str("C007"), &one, &f->err), TRB_OK);
  assert_int_equal(stmt_step(one, &row, &f->err), TRB_OK);
  assert_true(row);
  assert_int_equal(capture_row(f->db, table, trb_slice_str("C999"), &one, &f->err), TRB_OK);
  assert_int_equal(stmt_step(one, &row, &f->err), TRB_OK);
  assert_false(row);
}

static void mark_adds_what_the_triggers_missed(void **state) {
  struct fixture *f = *state;
  assert_int_equal(capture_mark(f->db, TRB_T_customer, trb_slice_str("a"), TRB_MARK_UPDATE, 1, 5, &f->err), TRB_OK);
  assert_int_equal(number(f,
                          "SELECT count(*) FROM _trb_mark WHERE tbl=1 AND row='a' AND op=2 AND part=1 AND mask=5 AND "
                          "nonce IS NOT NULL AND wall>0"),
                   1);
}

static void suspend_ends_with_a_rollback(void **state) {
  struct fixture *f = *state;
  assert_int_equal(db_begin(f->db, &f->err), TRB_OK);
  assert_int_equal(capture_suspend(f->db, "test", &f->err), TRB_OK);
  db_rollback(f->db);
  assert_int_equal(number(f, "SELECT count(*) FROM _trb_guard"), 0);
  is_sound(f);
}

int main(void) {
#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)
  const struct CMUnitTest tests[] = {
      TEST(install_twice_changes_nothing),
      TEST(check_looks_only_when_the_schema_moved),
      TEST(check_restores_a_dropped_trigger),
      TEST(check_lives_with_names_in_another_case),
      TEST(check_tells_a_trigger_from_a_table_of_the_same_name),
      TEST(check_restores_an_altered_trigger),
      TEST(check_restores_a_dropped_guard),
      TEST(check_drops_an_imitated_trigger),
      TEST(check_makes_a_dropped_table_again_and_says_so_once),
      TEST(check_makes_a_renamed_table_again),
      TEST(check_replaces_a_view_in_a_tables_place),
      TEST(check_adds_a_dropped_column_again),
      TEST(check_keeps_a_clients_own_column),
      TEST(check_builds_an_altered_table_anew_with_its_rows),
      TEST(check_keeps_what_a_client_had_beside_in_an_altered_table),
      TEST(check_keeps_a_clients_table_of_the_same_name_beside),
      TEST(check_builds_our_own_tables_anew),
      TEST(check_drops_a_unique_index),
      TEST(check_restores_the_view_without_a_scrub),
      TEST(check_removes_a_guard_row_that_was_left),
      TEST(check_makes_the_marks_table_again),
      TEST(check_repairs_everything_at_once),
      TEST(check_leaves_wal),
      TEST(check_says_when_wal_cannot_be_left),
      TEST(check_is_told_again_while_locked),
      TEST(extend_makes_tables_and_columns_and_keeps_rows),
      TEST(extend_refuses_a_wrong_definition_and_keeps_what_was),
      TEST(catalogue_of_an_empty_file_is_the_built_in_one),
      TEST(install_brings_an_older_file_up_to_the_catalogue),
      TEST(scan_rows_pages_in_the_order_of_ids),
      TEST(mark_adds_what_the_triggers_missed),
      TEST(suspend_ends_with_a_rollback),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
