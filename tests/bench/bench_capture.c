/* bench_capture: what capture costs a client. A customer row is inserted and updated in a plain table and in the
 * tracked one of a full replica.db, each row its own commit, row by row in turn so that both meet the same disk; median
 * of 5 rounds.
 *
 * Usage: bench_capture [FOLDER [ROWS]]. Prints one JSON object a line: name, value (microseconds a commit, tracked),
 * unit, yardstick (the same, plain), ratio, conditions. Exit code 1 when a ratio is over 2.5 in the rollback-journal
 * settings. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "tributary/capture.h"

#define ROUNDS 5
#define ROWS_BEFORE 20000 /* a branch that has been at work: trees of realistic depth */
#define RATIO_MAX 2.5

static struct trb_error err;

static void must(enum trb_status status) {
  if (!status) return;
  fprintf(stderr, "bench_capture: %s\n", err.text);
  exit(2);
}

static double now_us(void) {
  struct timespec t;
  clock_gettime(CLOCK_MONOTONIC, &t);
  return (double)t.tv_sec * 1e6 + (double)t.tv_nsec / 1e3;
}

static int compare(const void *a, const void *b) {
  double x = *(const double *)a, y = *(const double *)b;
  return (x > y) - (x < y);
}

static double median(double *values, size_t count) {
  qsort(values, count, sizeof *values, compare);
  return values[count / 2];
}

struct side {
  char path[400];
  struct trb_db *db;
  double insert_us[ROUNDS], update_us[ROUNDS], bulk_us[ROUNDS];
};

/* schema_visit: the customer table alone. */
static enum trb_status make_table(void *context, const struct trb_schema_object *object, struct trb_error *error) {
  return object->kind == TRB_SCHEMA_TABLE ? db_exec(context, object->sql, error) : TRB_OK;
}

#define SQL_INSERT                                                                                                     \
  "INSERT INTO customer(kind,name,name_latin,gender,birthday,nationality,language,occupation,province,city,address,"   \
  "postcode,source,grade,remark,external_ref)VALUES('person',?1,'ZHANG/XIAOMING','M','1985-03-12','CN','zh','教师'," \
  "'上海市','上海','浦东新区世纪大道100号','200120','counter','gold','喜欢靠窗座位，素食',?2)"

static void insert(struct side *side, int64_t i) {
  char name[40];
  snprintf(name, sizeof name, "张晓明%lld", (long long)i);
  must(db_run(side->db, &err, SQL_INSERT, "ti", name, i));
}

static void update(struct side *side, int64_t id, int64_t value) {
  char text[40], key[24];
  snprintf(text, sizeof text, "王%lld", (long long)value);
  snprintf(key, sizeof key, "K%lld", (long long)id);
  must(db_run(side->db, &err, "UPDATE customer SET name=?1,city=?1,updated_at=updated_at+1 WHERE id=?2", "tt", text,
              key));
}

static void fill(struct side *side, bool tracked) {
  must(db_begin(side->db, &err));
  if (tracked) must(capture_suspend(side->db, "bench", &err));
  must(db_exec(side->db,
               "WITH RECURSIVE c(x)AS(SELECT 1 UNION ALL SELECT x+1 FROM c WHERE x<20000)"
               "INSERT INTO customer(id,kind,name,city,address,remark)SELECT 'K'||x,'person','客户'||x,'上海',"
               "'浦东新区世纪大道'||x||'号','喜欢靠窗座位，素食' FROM c",
               &err));
  if (tracked) must(capture_resume(side->db, &err));
  must(db_commit(side->db, &err));
}

static void open_side(struct side *side, const char *folder, bool tracked, const char *settings) {
  snprintf(side->path, sizeof side->path, "%s/bench-%s.db", folder, tracked ? "tracked" : "plain");
  unlink(side->path);
  must(db_open(side->path, TRB_DB_CREATE, 1000, &side->db, &err));
  struct trb_catalogue *catalogue = catalogue_builtin();
  if (tracked)
    must(capture_install(side->db, catalogue, &err));
  else
    must(schema_branch_table_each(catalogue_table(catalogue, TRB_T_customer), make_table, side->db, &err));
  catalogue_unref(&catalogue);
  fill(side, tracked);
  must(db_exec(side->db, settings, &err));
  insert(side, -1); /* statements prepared, pages read */
  update(side, 1, -1);
}

static void close_side(struct side *side) {
  db_close(&side->db);
  unlink(side->path);
}

/* One round: `rows` inserts and updates on each side, the sides in turn. */
static void measure(struct side sides[2], int round, int rows) {
  for (int s = 0; s < 2; s++) sides[s].insert_us[round] = sides[s].update_us[round] = 0;
  for (int i = 0; i < rows; i++) {
    for (int k = 0; k < 2; k++) {
      struct side *side = &sides[(i + k) % 2];
      double start = now_us();
      insert(side, (int64_t)round * rows + i);
      side->insert_us[round] += now_us() - start;
      start = now_us();
      update(side, (7919LL * (round * rows + i)) % ROWS_BEFORE + 1, i);
      side->update_us[round] += now_us() - start;
    }
  }
  for (int s = 0; s < 2; s++) {
    sides[s].insert_us[round] /= rows;
    sides[s].update_us[round] /= rows;
  }
}

/* Many rows in one transaction: no disk to hide behind. */
static void measure_bulk(struct side *side, int round) {
  must(db_begin(side->db, &err));
  double start = now_us();
  for (int i = 0; i < 2000; i++) insert(side, i);
  side->bulk_us[round] = (now_us() - start) / 2000;
  db_rollback(side->db);
}

static bool print(const char *name, double *tracked, double *plain, const char *conditions) {
  double value = median(tracked, ROUNDS), yardstick = median(plain, ROUNDS);
  printf("{\"name\":\"%s\",\"value\":%.1f,\"unit\":\"us\",\"yardstick\":%.1f,\"ratio\":%.2f,\"conditions\":\"%s\"}\n",
         name, value, yardstick, value / yardstick, conditions);
  fflush(stdout);
  return value / yardstick <= RATIO_MAX;
}

static bool bench(const char *folder, const char *journal, const char *synchronous, int rows) {
  struct side sides[2] = {0};
  char settings[100], conditions[200];
  snprintf(settings, sizeof settings, "PRAGMA journal_mode=%s;PRAGMA synchronous=%s", journal, synchronous);
  snprintf(conditions, sizeof conditions,
           "journal %s, synchronous %s, %d rows before, %d commits a round, median of %d", journal, synchronous,
           ROWS_BEFORE, rows, ROUNDS);
  for (int s = 0; s < 2; s++) open_side(&sides[s], folder, s == 1, settings);
  for (int round = 0; round < ROUNDS; round++) measure(sides, round, rows);
  bool good = print("tracked insert, a commit each", sides[1].insert_us, sides[0].insert_us, conditions);
  good &= print("tracked update, a commit each", sides[1].update_us, sides[0].update_us, conditions);
  for (int s = 0; s < 2; s++) close_side(&sides[s]);
  return good;
}

static void bench_bulk(const char *folder) {
  struct side sides[2] = {0};
  for (int s = 0; s < 2; s++) open_side(&sides[s], folder, s == 1, "PRAGMA journal_mode=TRUNCATE");
  for (int round = 0; round < ROUNDS; round++)
    for (int s = 0; s < 2; s++) measure_bulk(&sides[s], round);
  print("tracked insert, 2000 in a transaction", sides[1].bulk_us, sides[0].bulk_us,
        "no commit counted, for information");
  for (int s = 0; s < 2; s++) close_side(&sides[s]);
}

int main(int argc, char **argv) {
  static const char *const journals[] = {"DELETE", "TRUNCATE"}, *const levels[] = {"NORMAL", "FULL"};
  const char *folder = argc > 1 ? argv[1] : "/tmp";
  int rows = argc > 2 ? atoi(argv[2]) : 100;
  if (rows < 1) rows = 100;
  bool good = true;
  for (size_t j = 0; j < 2; j++)
    for (size_t l = 0; l < 2; l++) good &= bench(folder, journals[j], levels[l], rows);
  bench_bulk(folder);
  return good ? 0 : 1;
}
