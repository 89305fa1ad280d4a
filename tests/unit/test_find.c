/* find, show and parties over a hub's directory and over a branch's, as commands. */
#include <sys/stat.h>

#include "../../node/cli/commands.h"
#include "../../node/hub/search.h"
#include "tributary/conf.h"
#include "unify_fixture.h"

static char dir[64];
static char *output;

static int run(int (*command)(struct cli *), ...) {
  char *argv[16];
  struct cli cli = {.argv = argv};
  size_t size = 0;
  va_list args;
  va_start(args, command);
  argv[cli.argc++] = dir;
  for (char *word; (word = va_arg(args, char *)) != NULL;) argv[cli.argc++] = word;
  va_end(args);
  free(output);
  output = NULL;
  cli.out = open_memstream(&output, &size);
  cli.err = fopen("/dev/null", "w");
  for (int i = 0; i < cli.argc; i++)
    if (strcmp(argv[i], "--json") == 0) {
      cli.json = true;
      memmove(argv + i, argv + i + 1, (size_t)(--cli.argc - i) * sizeof *argv);
    }
  int code = command(&cli);
  fclose(cli.out);
  fclose(cli.err);
  return code;
}
#define RUN(...) run(__VA_ARGS__, (char *)NULL)

static void has(const char *text) {
  if (!strstr(output, text)) fail_msg("'%s' is not in:\n%s", text, output);
}
static void has_not(const char *text) {
  if (strstr(output, text)) fail_msg("'%s' is in:\n%s", text, output);
}

static struct fx hub_fx;

static int hub_up(void **state) {
  (void)state;
  char path[96];
  struct trb_conf conf = {.role = TRB_ROLE_HUB};
  snprintf(dir, sizeof dir, "/tmp/trb-find-%d", (int)getpid());
  mkdir(dir, 0700);
  snprintf(conf.site, sizeof conf.site, "hq");
  snprintf(conf.name, sizeof conf.name, "HQ");
  assert_int_equal(conf_save(dir, &conf, NULL), TRB_OK);
  snprintf(path, sizeof path, "%s/hub.db", dir);
  struct fx *fx = &hub_fx;
  fx_open_at(fx, path);
  fx_customer(fx, 2, "C001", "张伟民", "139 1111 2222");
  fx_customer(fx, 3, "C001", "張偉民", "+8613911112222");
  fx_put(fx, 3, "contact", "e1", "customer_id", "C001", "kind", "email", "value", "Wei.Min@Example.com", FX_END);
  fx_customer(fx, 4, "X,\"9\"", "O'Neil ＡＢＣ", "13922223333");
  fx_set(fx, 4, "customer", "X,\"9\"", "external_ref", "REF-77", "name_latin", "ONEIL/SHAUN", "address", "Main St 1",
         FX_END);
  fx_put(fx, 2, "booking", "b1", "customer_id", "C001", "title", "Sanya 5 days", "amount", "%1234.5", "currency", "CNY",
         "ordered_on", "2024-05-01", FX_END);
  return 0;
}
static int hub_down(void **state) {
  (void)state;
  char command[128];
  fx_close(&hub_fx);
  snprintf(command, sizeof command, "rm -rf %s", dir);
  free(output);
  output = NULL;
  return system(command) == 0 ? 0 : -1;
}

static void find_finds_by_any_piece_of_a_name(void **state) {
  (void)state;
  static char *const pieces[] = {
      "张伟", "伟民",    "民",     "张伟民", "張偉", "13911112222", "139-1111-2222", "wei.min@example.com",
      "C001", "sh/C001", "bj/C001"};
  for (size_t i = 0; i < sizeof pieces / sizeof *pieces; i++) {
    if (RUN(cmd_find, pieces[i]) != CLI_DONE) fail_msg("not found: %s", pieces[i]);
    has("sh/C001");
    has("2 records at bj,sh");
    has_not("13911112222");
    has("****2222");
  }
  static char *const latin[] = {"neil", "ONEIL", "oneil/shaun", "shau", "abc", "REF-77", "X,\"9\""};
  for (size_t i = 0; i < sizeof latin / sizeof *latin; i++) {
    if (RUN(cmd_find, latin[i]) != CLI_DONE) fail_msg("not found: %s", latin[i]);
    has("gz/X,\"9\"");
  }
  assert_int_equal(RUN(cmd_find, "伟伟"), CLI_NOT_YET);
  assert_int_equal(RUN(cmd_find, "\xff\xfe"), CLI_NOT_YET);
  assert_int_equal(RUN(cmd_find, "' OR 1=1 --"), CLI_NOT_YET);
}

static void find_by_kind_and_value_prints_json(void **state) {
  (void)state;
  assert_int_equal(RUN(cmd_find, "--kind", "mobile", "--value", "０１３９１１１１２２２２", "--json"), CLI_DONE);
  assert_int_equal(RUN(cmd_find, "--kind", "mobile", "--value", "１３９１１１１２２２２", "--json"), CLI_DONE);
  has("\"party\":\"sh/C001\"");
  has("\"records\":2");
  assert_int_equal(RUN(cmd_find, "--kind", "mobile"), CLI_USAGE);
  assert_int_equal(RUN(cmd_find), CLI_USAGE);
}

static void show_tells_the_origin_of_fields_and_what_lost(void **state) {
  (void)state;
  assert_int_equal(RUN(cmd_show, "bj/C001"), CLI_DONE);
  has("sh/C001, bj/C001");
  has("張偉民");
  has("lost: 张伟民");
  has("Sanya 5 days");
  has("1234.50 CNY");
  has_not("13911112222");
  has_not("Wei.Min@");
  assert_int_equal(RUN(cmd_show, "sh/C001", "--json"), CLI_DONE);
  has("\"lost\":[{\"value\":\"张伟民\"");
  has("\"timeline\":[{");
  assert_int_equal(RUN(cmd_show, "nobody"), CLI_NOT_YET);
  assert_int_equal(RUN(cmd_show, "X,\"9\""), CLI_DONE);
  has_not("Main St");
}

static void parties_lists_every_record_as_csv(void **state) {
  (void)state;
  assert_int_equal(RUN(cmd_parties, "--csv"), CLI_DONE);
  assert_string_equal(output,
                      "site,record_id,external_ref,party_id\n"
                      "bj,C001,,sh/C001\n"
                      "gz,\"X,\"\"9\"\"\",REF-77,\"gz/X,\"\"9\"\"\"\n"
                      "sh,C001,,sh/C001\n");
}

/* ---- a branch ---- */

static struct trb_db *branch_db;

static void branch_exec(const char *sql) {
  struct trb_error err = {0};
  if (db_exec(branch_db, sql, &err) != TRB_OK) fail_msg("%s: %s", sql, err.text);
}

static int branch_up(void **state) {
  (void)state;
  char path[96];
  struct trb_conf conf = {.role = TRB_ROLE_BRANCH};
  snprintf(dir, sizeof dir, "/tmp/trb-find-b-%d", (int)getpid());
  mkdir(dir, 0700);
  snprintf(conf.site, sizeof conf.site, "sh");
  assert_int_equal(conf_save(dir, &conf, NULL), TRB_OK);
  snprintf(path, sizeof path, "%s/replica.db", dir);
  assert_int_equal(db_open(path, TRB_DB_CREATE, 0, &branch_db, NULL), TRB_OK);
  TRB_BUF_AUTO sql = {0};
  struct trb_catalogue *catalogue = catalogue_builtin();
  schema_branch(catalogue, &sql);
  catalogue_unref(&catalogue);
  branch_exec(trb_buf_cstr(&sql));
  branch_exec(
      "BEGIN; INSERT INTO _trb_guard(reason) VALUES('test');"
      "INSERT INTO unified_customer(id, kind, name, sites, record_count, main_mobile, main_email) VALUES('bj/A', "
      "'person', '张三', 'bj,sh', 2, '13911112222', "
      "'z***@example.com');"
      "INSERT INTO party_of(id, record_id, party_id) VALUES('C1', 'C1', 'bj/A');"
      "INSERT INTO unified_contact(id, party_id, kind, value, main, masked) VALUES('sh/k', 'bj/A', 'mobile', '139 1111 "
      "2222', 1, 0), ('bj/e', 'bj/A', "
      "'email', 'z***@example.com', 1, 1);"
      "INSERT INTO unified_event(id, party_id, site, at, kind, title) VALUES('booking/sh/1', 'bj/A', 'sh', "
      "1700000000000, 'booking', 'Sanya');"
      "DELETE FROM _trb_guard; COMMIT;"
      "INSERT INTO customer(id, kind, name) VALUES('C1', 'person', '张三'), ('C2', 'person', '新客人');"
      "INSERT INTO contact(customer_id, kind, value) VALUES('C2', 'mobile', '13955556666');");
  return 0;
}
static int branch_down(void **state) {
  (void)state;
  char command[128];
  db_close(&branch_db);
  snprintf(command, sizeof command, "rm -rf %s", dir);
  free(output);
  output = NULL;
  return system(command) == 0 ? 0 : -1;
}

static void find_at_a_branch_knows_unified_and_own_cards(void **state) {
  (void)state;
  static char *const texts[] = {"张三", "三", "bj/A", "C1", "13911112222", "+86 139-1111-2222"};
  for (size_t i = 0; i < sizeof texts / sizeof *texts; i++) {
    if (RUN(cmd_find, texts[i]) != CLI_DONE) fail_msg("not found: %s", texts[i]);
    has("bj/A");
    has("139****2222");
    has_not("13911112222");
  }
  assert_int_equal(RUN(cmd_find, "13955556666"), CLI_DONE);
  has("? C2");
  has("not at headquarters yet");
  assert_int_equal(RUN(cmd_find, "--kind", "email", "--value", "zhang@example.com"), CLI_NOT_YET);
  assert_int_equal(RUN(cmd_find, "--kind", "mobile", "--value", "13911112222", "--json"), CLI_DONE);
  has("\"party\":\"bj/A\"");
}

static void show_at_a_branch_reads_what_came_down(void **state) {
  (void)state;
  assert_int_equal(RUN(cmd_show, "C1"), CLI_DONE);
  has("bj/A");
  has("Sanya");
  has("masked by headquarters");
  assert_int_equal(RUN(cmd_show, "bj/A", "--json"), CLI_DONE);
  has("\"timeline\":[{");
  assert_int_equal(RUN(cmd_show, "C2"), CLI_NOT_YET);
  assert_int_equal(RUN(cmd_parties), CLI_FAILED);
}

int main(void) {
  const struct CMUnitTest hub[] = {
      cmocka_unit_test(find_finds_by_any_piece_of_a_name),
      cmocka_unit_test(find_by_kind_and_value_prints_json),
      cmocka_unit_test(show_tells_the_origin_of_fields_and_what_lost),
      cmocka_unit_test(parties_lists_every_record_as_csv),
  };
  const struct CMUnitTest branch[] = {
      cmocka_unit_test(find_at_a_branch_knows_unified_and_own_cards),
      cmocka_unit_test(show_at_a_branch_reads_what_came_down),
  };
  int failed = cmocka_run_group_tests_name("find at the hub", hub, hub_up, hub_down);
  return failed + cmocka_run_group_tests_name("find at a branch", branch, branch_up, branch_down);
}
