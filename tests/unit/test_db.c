/* db: statuses, transactions, the statement cache, backups; real files in a temporary folder. */
#include "tributary/db.h"

#include <fcntl.h>
#include <setjmp.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cmocka.h>

struct fixture {
  char folder[64], path[128], copy[128];
  struct trb_db *db;
  struct trb_error err;
};

static int setup(void **state) {
  struct fixture *f = calloc(1, sizeof *f);
  strcpy(f->folder, "/tmp/trb-db-XXXXXX");
  if (!mkdtemp(f->folder)) return -1;
  snprintf(f->path, sizeof f->path, "%s/a.db", f->folder);
  snprintf(f->copy, sizeof f->copy, "%s/b.db", f->folder);
  *state = f;
  if (db_open(f->path, TRB_DB_CREATE, 0, &f->db, &f->err) != TRB_OK) return -1;
  return db_exec(f->db, "CREATE TABLE t(id INTEGER PRIMARY KEY, v UNIQUE, CHECK(v NOT GLOB 'ba?v*'))", &f->err) ==
                 TRB_OK
             ? 0
             : -1;
}

static int teardown(void **state) {
  struct fixture *f = *state;
  db_close(&f->db);
  char command[100];
  snprintf(command, sizeof command, "rm -rf '%s'", f->folder);
  int rc = system(command);
  free(f);
  return rc;
}

static int64_t count(struct trb_db *db) {
  int64_t n = -1;
  assert_int_equal(db_get_int(db, NULL, &n, "SELECT count(*) FROM t", ""), TRB_OK);
  return n;
}

static void open_makes_a_private_file(void **state) {
  struct fixture *f = *state;
  struct stat st;
  assert_int_equal(stat(f->path, &st), 0);
  assert_int_equal(st.st_mode & 0777, 0600);
}

static void open_refuses_a_missing_file_and_says_which(void **state) {
  struct fixture *f = *state;
  struct trb_db *other = NULL;
  assert_int_equal(db_open("/tmp/trb-no-such-folder/x.db", TRB_DB_WRITE, 0, &other, &f->err), TRB_STORE);
  assert_non_null(strstr(f->err.text, "x.db"));
  assert_null(other);
}

static void values_go_in_and_come_out(void **state) {
  struct fixture *f = *state;
  struct trb_value values[] = {trb_int(INT64_MIN),   trb_real(0.1),
                               trb_text("张三\xff"), trb_blob(trb_slice_of("\0\1", 2)),
                               trb_null(),           trb_text("")};
  for (size_t i = 0; i < 6; i++)
    assert_int_equal(db_run(f->db, &f->err, "INSERT INTO t VALUES(?,?)", "iv", (int64_t)i + 1, values[i]), TRB_OK);
  struct trb_stmt *stmt;
  assert_int_equal(db_query(f->db, "SELECT v FROM t ORDER BY id", &stmt, &f->err), TRB_OK);
  for (size_t i = 0; i < 6; i++) {
    bool row = false;
    assert_int_equal(stmt_step(stmt, &row, &f->err), TRB_OK);
    assert_true(row && trb_value_equal(stmt_value(stmt, 0), values[i]));
  }
  stmt_done(stmt);
}

static void constraint_is_the_peers_and_names_no_value(void **state) {
  struct fixture *f = *state;
  assert_int_equal(db_run(f->db, &f->err, "INSERT INTO t(v) VALUES(?)", "t", "badvalue"), TRB_PEER);
  assert_null(strstr(f->err.text, "badvalue"));
  assert_int_equal(count(f->db), 0);
}

static void absent_row_is_absent(void **state) {
  struct fixture *f = *state;
  int64_t out = 77;
  assert_int_equal(db_get_int(f->db, &f->err, &out, "SELECT id FROM t WHERE id=?", "i", (int64_t)5), TRB_ABSENT);
  assert_int_equal(out, 77);
}

static void busy_is_again_and_rollback_leaves_nothing(void **state) {
  struct fixture *f = *state;
  struct trb_db *other = NULL;
  assert_int_equal(db_open(f->path, TRB_DB_WRITE, 0, &other, &f->err), TRB_OK);
  assert_int_equal(db_begin(f->db, &f->err), TRB_OK);
  assert_int_equal(db_run(f->db, &f->err, "INSERT INTO t(v) VALUES(1)", ""), TRB_OK);
  assert_int_equal(db_begin(other, &f->err), TRB_AGAIN);
  assert_false(db_in_transaction(other));
  db_rollback(f->db);
  db_rollback(f->db); /* allowed when none is open */
  assert_int_equal(count(f->db), 0);
  assert_int_equal(db_begin(other, &f->err), TRB_OK);
  assert_int_equal(db_commit(other, &f->err), TRB_OK);
  db_close(&other);
}

static void data_version_moves_with_another_connection_only(void **state) {
  struct fixture *f = *state;
  struct trb_db *other = NULL;
  int64_t before, after;
  assert_int_equal(db_open(f->path, TRB_DB_WRITE, 0, &other, &f->err), TRB_OK);
  assert_int_equal(db_data_version(f->db, &before, &f->err), TRB_OK);
  assert_int_equal(db_run(f->db, &f->err, "INSERT INTO t(v) VALUES(1)", ""), TRB_OK);
  assert_int_equal(db_data_version(f->db, &after, &f->err), TRB_OK);
  assert_int_equal(before, after);
  assert_int_equal(db_run(other, &f->err, "INSERT INTO t(v) VALUES(2)", ""), TRB_OK);
  assert_int_equal(db_data_version(f->db, &after, &f->err), TRB_OK);
  assert_int_not_equal(before, after);
  db_close(&other);
}

static void full_disk_is_full_and_changes_nothing(void **state) {
  struct fixture *f = *state;
  assert_int_equal(db_exec(f->db, "PRAGMA max_page_count=5", &f->err), TRB_OK);
  char text[3000];
  memset(text, 'x', sizeof text - 1);
  text[sizeof text - 1] = 0;
  assert_int_equal(db_begin(f->db, &f->err), TRB_OK);
  enum trb_status status = TRB_OK;
  for (int i = 0; i < 100 && status == TRB_OK; i++) {
    text[0] = (char)('0' + i);
    status = db_run(f->db, &f->err, "INSERT INTO t(v) VALUES(?)", "t", text);
  }
  assert_int_equal(status, TRB_FULL);
  db_rollback(f->db);
  assert_int_equal(count(f->db), 0);
}

static void cache_outlives_more_statements_than_it_holds(void **state) {
  struct fixture *f = *state;
  for (int64_t round = 0; round < 2; round++)
    for (int64_t i = 0; i < 1000; i++) {
      char sql[64];
      int64_t got = -1;
      snprintf(sql, sizeof sql, "SELECT %d + ?", (int)i);
      assert_int_equal(db_get_int(f->db, &f->err, &got, sql, "i", round), TRB_OK);
      assert_int_equal(got, i + round);
    }
}

static void read_only_denies_writes(void **state) {
  struct fixture *f = *state;
  struct trb_db *reader = NULL;
  assert_int_equal(db_open(f->path, TRB_DB_READ, 0, &reader, &f->err), TRB_OK);
  assert_int_equal(db_run(reader, &f->err, "INSERT INTO t(v) VALUES(1)", ""), TRB_DENIED);
  db_close(&reader);
}

static void backup_steps_while_the_source_is_written(void **state) {
  struct fixture *f = *state;
  for (int64_t i = 0; i < 2000; i++)
    assert_int_equal(db_run(f->db, &f->err, "INSERT INTO t(v) VALUES(?)", "i", i), TRB_OK);
  struct trb_db_backup *backup = NULL;
  assert_int_equal(db_backup_begin(f->db, f->copy, &backup, &f->err), TRB_OK);
  bool done = false;
  for (int64_t i = 0; !done; i++) {
    assert_int_equal(db_backup_step(backup, 3, &done, &f->err), TRB_OK);
    if (!done) assert_int_equal(db_run(f->db, &f->err, "INSERT INTO t(v) VALUES(?)", "i", 5000 + i), TRB_OK);
  }
  db_backup_end(&backup);
  struct trb_db *copy = NULL;
  assert_int_equal(db_open(f->copy, TRB_DB_READ, 0, &copy, &f->err), TRB_OK);
  assert_int_equal(count(copy), count(f->db));
  db_close(&copy);
}

static void abandoned_backup_leaves_no_file(void **state) {
  struct fixture *f = *state;
  struct trb_db_backup *backup = NULL;
  bool done = false;
  assert_int_equal(db_backup_begin(f->db, f->copy, &backup, &f->err), TRB_OK);
  assert_int_equal(db_backup_step(backup, 1, &done, &f->err), TRB_OK);
  db_backup_end(&backup);
  assert_int_not_equal(access(f->copy, F_OK), 0);
}

static void sync_keeps_the_locks(void **state) {
  struct fixture *f = *state;
  struct trb_db *other = NULL;
  assert_int_equal(db_open(f->path, TRB_DB_WRITE, 0, &other, &f->err), TRB_OK);
  assert_int_equal(db_begin(f->db, &f->err), TRB_OK);
  assert_int_equal(db_sync(f->db, &f->err), TRB_OK);
  assert_int_equal(db_begin(other, &f->err), TRB_AGAIN); /* still locked */
  assert_int_equal(db_commit(f->db, &f->err), TRB_OK);
  db_close(&other);
}

int main(void) {
#define T(name) cmocka_unit_test_setup_teardown(name, setup, teardown)
  const struct CMUnitTest tests[] = {
      T(open_makes_a_private_file),
      T(open_refuses_a_missing_file_and_says_which),
      T(values_go_in_and_come_out),
      T(constraint_is_the_peers_and_names_no_value),
      T(absent_row_is_absent),
      T(busy_is_again_and_rollback_leaves_nothing),
      T(data_version_moves_with_another_connection_only),
      T(full_disk_is_full_and_changes_nothing),
      T(cache_outlives_more_statements_than_it_holds),
      T(read_only_denies_writes),
      T(backup_steps_while_the_source_is_written),
      T(abandoned_backup_leaves_no_file),
      T(sync_keeps_the_locks),
  };
  return cmocka_run_group_tests_name("db", tests, NULL, NULL);
}
