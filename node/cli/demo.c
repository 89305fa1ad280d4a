/* demo: the story of a change, told with real processes and real records. Each step is one function that shows the
 * commands it runs; demo_world.c owns the processes. A step that fails ends the demo with exit code 1. */
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include "commands.h"
#include "demo_world.h"
#include "node_status.h"
#include "tributary/db.h"

enum { BRANCHES_MIN = 2, BRANCHES_MAX = 8, SLICES = 4, SHOWN_LINES = 18, SYNC_SECONDS = 60 };

static const char *const site_names[BRANCHES_MAX] = {"bund",   "xuhui",   "pudong",  "hongqiao",
                                                     "jingan", "minhang", "baoshan", "songjiang"};

struct demo {
  struct demo_world world;
  struct cli *cli;
  int branches, step;
  char data[DEMO_PATH_BYTES];
  char endpoint[64], line_endpoint[64]; /* the hub's; the one the first branch comes through */
  int hub_port, line_port;
  int64_t began_ms, imported_ms, synced_ms, caught_up_ms; /* durations of the steps the summary names */
  int64_t records, parties, rejected;
  char name[200], mobile[80], other[40]; /* the customer of the story, and a branch that knows him */
  char party[80];
};

/* ---- telling ---- */

static void step(struct demo *demo, const char *title) {
  fprintf(demo->cli->out, "\n%d. %s\n", ++demo->step, title);
  fflush(demo->cli->out);
}
static void tell(struct demo *demo, const char *text) {
  fprintf(demo->cli->out, "   %s\n", text);
  fflush(demo->cli->out);
}

/* Indented, at most `lines` lines. */
static void show_output(struct demo *demo, struct trb_buf *text, int lines) {
  const char *p = trb_buf_cstr(text);
  int shown = 0;
  for (; *p; ++shown) {
    size_t len = strcspn(p, "\n");
    if (shown < lines) {
      fputs("     ", demo->cli->out);
      cli_print_text(demo->cli->out, trb_slice_of(p, len));
      fputc('\n', demo->cli->out);
    }
    p += len + (p[len] == '\n');
  }
  if (shown > lines) fprintf(demo->cli->out, "     ... %d more lines\n", shown - lines);
  fflush(demo->cli->out);
}

static void show_line_with(struct demo *demo, struct trb_buf *text, const char *words) {
  for (const char *p = trb_buf_cstr(text); *p;) {
    size_t len = strcspn(p, "\n");
    const char *found = strstr(p, words);
    if (found && found < p + len) fprintf(demo->cli->out, "     %.*s\n", (int)len, p);
    p += len + (p[len] == '\n');
  }
  fflush(demo->cli->out);
}

#define WORDS(...) ((const char *const[]){__VA_ARGS__, NULL})

static bool say_and_run(struct demo *demo, const char *const *words, int lines, int *ret_code) {
  TRB_BUF_AUTO out = {0};
  demo_show(&demo->world, words);
  bool ok = demo_run(&demo->world, words, &out, ret_code);
  show_output(demo, &out, lines);
  return ok;
}

static int64_t clock_ms(void) {
  struct timespec t;
  clock_gettime(CLOCK_MONOTONIC, &t);
  return (int64_t)t.tv_sec * 1000 + t.tv_nsec / 1000000;
}

/* The status object of a node; NULL when it cannot be had. */
static json_t *status_of(struct demo *demo, const char *dir) {
  TRB_BUF_AUTO out = {0};
  if (!demo_run(&demo->world, WORDS("tributary", "status", dir, "--json"), &out, NULL)) return NULL;
  return json_loadb((const char *)out.data, out.len, 0, NULL);
}

/* ---- the steps ---- */

static bool start_headquarters(struct demo *demo) {
  step(demo, "Headquarters starts");
  if (!demo_port(&demo->world, &demo->hub_port) || !demo_port(&demo->world, &demo->line_port)) return false;
  snprintf(demo->endpoint, sizeof demo->endpoint, "tcp://127.0.0.1:%d", demo->hub_port);
  snprintf(demo->line_endpoint, sizeof demo->line_endpoint, "tcp://127.0.0.1:%d", demo->line_port);
  const char *const *run = WORDS("tributary", "hub", "run", "hq");
  if (!say_and_run(demo, WORDS("tributary", "hub", "init", "hq", "--name", "总部", "--listen", demo->endpoint), 4,
                   NULL))
    return false;
  demo_show(&demo->world, run);
  return demo_daemon(&demo->world, "hq", run);
}

/* The first branch's line goes through a forwarder of the demo, so that it can be cut. */
static bool lead_through_line(struct demo *demo, const char *site) {
  struct trb_conf conf;
  struct trb_error err = {0};
  if (conf_load(site, &conf, &err)) return cli_failed(demo->cli, &err), false;
  snprintf(conf.via, sizeof conf.via, "%s", demo->line_endpoint);
  if (conf_save(site, &conf, &err)) return cli_failed(demo->cli, &err), false;
  return demo_line_begin(&demo->world, demo->line_port, demo->hub_port);
}

static bool join_branch(struct demo *demo, int index) {
  const char *site = site_names[index];
  TRB_BUF_AUTO out = {0};
  char token[1024], *rest = NULL;
  const char *const *invite = WORDS("tributary", "hub", "invite", "hq", site, "--area-code", "021");
  const char *const *run = WORDS("tributary", "branch", "run", site);
  demo_show(&demo->world, invite);
  if (!demo_run(&demo->world, invite, &out, NULL)) return false;
  snprintf(token, sizeof token, "%s", trb_buf_cstr(&out));
  const char *word = strtok_r(token, " \r\n", &rest);
  const char *const *join = WORDS("tributary", "branch", "join", site, word ? word : "");
  demo_show(&demo->world, join);
  if (!demo_run(&demo->world, join, NULL, NULL)) return false;
  if (index == 0 && !lead_through_line(demo, site)) return false;
  demo_show(&demo->world, run);
  return demo_daemon(&demo->world, site, run);
}

static bool join_branches(struct demo *demo) {
  step(demo, "Branches join, each with a one-time token");
  for (int i = 0; i < demo->branches; ++i)
    if (!join_branch(demo, i)) return false;
  return true;
}

/* The last lines of an import say how many rows became what. */
static bool import(struct demo *demo, const char *site, const char *file, const char *map) {
  struct stat st;
  char path[64], map_path[64];
  snprintf(path, sizeof path, "data/%s", file);
  snprintf(map_path, sizeof map_path, "data/%s", map ? map : "");
  if (stat(path, &st) != 0) {
    fprintf(demo->cli->err,
            "tributary: demo: %s is missing: `make demo-data` makes the sample files; --data DIR says where they are\n",
            path);
    return false;
  }
  TRB_BUF_AUTO out = {0};
  const char *const *with_map = WORDS("tributary", "import", site, path, "--map", map_path);
  const char *const *guessed = WORDS("tributary", "import", site, path);
  demo_show(&demo->world, map ? with_map : guessed);
  if (!demo_run(&demo->world, map ? with_map : guessed, &out, NULL)) return false;
  show_line_with(demo, &out, "rows read");
  return true;
}

static bool import_records(struct demo *demo) {
  step(demo,
       "Each branch imports its own customers: real records of Chicago agencies, and Chinese customers with sales");
  int64_t began = clock_ms();
  for (int i = 0; i < demo->branches; ++i) {
    char file[64];
    snprintf(file, sizeof file, "chicago-%d.csv", i % SLICES + 1);
    if (!import(demo, site_names[i], file, "chicago.map")) return false;
    static const char *const kinds[] = {"customers", "sales", "activities"};
    for (size_t k = 0; k < sizeof kinds / sizeof *kinds; ++k) {
      snprintf(file, sizeof file, "zh-%s-%d.csv", kinds[k], i % SLICES + 1);
      if (!import(demo, site_names[i], file, NULL)) return false;
    }
  }
  demo->imported_ms = clock_ms() - began;
  return true;
}

static bool wait_in_sync(struct demo *demo, const char *dir) {
  char seconds[16];
  int code = 0;
  snprintf(seconds, sizeof seconds, "%d", SYNC_SECONDS);
  if (!say_and_run(demo, WORDS("tributary", "status", dir, "--wait", seconds), SHOWN_LINES, &code)) return false;
  if (code != CLI_DONE) fprintf(demo->cli->err, "tributary: demo: %s is not in sync after %d s\n", dir, SYNC_SECONDS);
  return code == CLI_DONE;
}

static bool see_one_customer(struct demo *demo) {
  step(demo, "Everything is at headquarters, and duplicates are one customer");
  int64_t began = clock_ms();
  for (int i = 0; i < demo->branches; ++i) {
    char seconds[16];
    snprintf(seconds, sizeof seconds, "%d", SYNC_SECONDS);
    if (!demo_run(&demo->world, WORDS("tributary", "status", site_names[i], "--wait", seconds, "--quiet"), NULL, NULL))
      return false;
  }
  if (!wait_in_sync(demo, "hq")) return false;
  demo->synced_ms = clock_ms() - began;
  json_t *status = status_of(demo, "hq");
  demo->records = node_int(status, "records");
  demo->parties = node_int(status, "parties");
  demo->rejected = node_int(status, "rejected");
  json_decref(status);
  fprintf(demo->cli->out, "   %lld records at the branches are %lld customers: %lld duplicates resolved.\n",
          (long long)demo->records, (long long)demo->parties, (long long)(demo->records - demo->parties));
  return demo->records > 0 && demo->parties > 0;
}

/* A person with a mobile who is known to another branch and not to the first one. */
static bool choose_customer(struct demo *demo) {
  static const char candidates[] =
      "SELECT c.name, t.value FROM customer c JOIN contact t ON t.customer_id = c.id WHERE c.kind = 'person' AND "
      "t.kind = 'mobile'"
      " AND length(t.value) = 11 AND c.name <> ''"
      " AND EXISTS(SELECT 1 FROM booking b WHERE b.customer_id = c.id)"
      " AND EXISTS(SELECT 1 FROM contact e WHERE e.customer_id = c.id AND e.kind = 'email') ORDER BY c.id LIMIT 500";
  static const char known[] = "SELECT count(*) FROM contact WHERE value = ?1";
  struct trb_error err = {0};
  struct trb_db *here = NULL, *there = NULL;
  TRB_STMT_AUTO *stmt = NULL;
  char path[64];
  bool row = false, found = false;
  snprintf(demo->other, sizeof demo->other, "%s", site_names[1]);
  snprintf(path, sizeof path, "%s/replica.db", demo->other);
  enum trb_status status = db_open(path, TRB_DB_READ, 5000, &there, &err);
  snprintf(path, sizeof path, "%s/replica.db", site_names[0]);
  if (!status) status = db_open(path, TRB_DB_READ, 5000, &here, &err);
  if (!status) status = db_query(there, candidates, &stmt, &err);
  while (!status && !found && !(status = stmt_step(stmt, &row, &err)) && row) {
    int64_t count = 0;
    status = db_get_int(here, &err, &count, known, "t", stmt_text(stmt, 1));
    found = count == 0 && !strpbrk(stmt_text(stmt, 0), "'\"$`\\");
    if (found) {
      snprintf(demo->name, sizeof demo->name, "%s", stmt_text(stmt, 0));
      snprintf(demo->mobile, sizeof demo->mobile, "%s", stmt_text(stmt, 1));
    }
  }
  stmt_done(stmt);
  stmt = NULL;
  db_close(&here);
  db_close(&there);
  if (status) cli_failed(demo->cli, &err);
  if (!status && !found) fprintf(demo->cli->err, "tributary: demo: the sample data has no customer for the story\n");
  return !status && found;
}

static bool write_offline(struct demo *demo) {
  const char *site = site_names[0];
  char replica[64], sql[1200];
  int code = 0;
  if (!choose_customer(demo)) return false;
  step(demo, "The line of the first branch is cut; work there goes on in plain SQL");
  demo_line_cut(&demo->world);
  fprintf(demo->cli->out, "   (the demo closes the TCP forwarder that %s reaches headquarters through)\n", site);
  fprintf(demo->cli->out, "   %s walks into %s, where no card exists yet; %s has one.\n", demo->name, site,
          demo->other);
  snprintf(replica, sizeof replica, "%s/replica.db", site);
  snprintf(sql, sizeof sql, "INSERT INTO customer(id, kind, name) VALUES('demo-1', 'person', '%s')", demo->name);
  if (!say_and_run(demo, WORDS("sqlite3", "-cmd", ".timeout 5000", replica, sql), 4, NULL)) return false;
  snprintf(sql, sizeof sql,
           "INSERT INTO contact(id, customer_id, kind, value) VALUES('demo-1-m', 'demo-1', 'mobile', '%s')",
           demo->mobile);
  if (!say_and_run(demo, WORDS("sqlite3", "-cmd", ".timeout 5000", replica, sql), 4, NULL)) return false;
  if (!say_and_run(demo, WORDS("tributary", "status", site, "--row", "customer/demo-1"), 4, &code)) return false;
  if (code != CLI_NOT_YET) {
    fprintf(demo->cli->err, "tributary: demo: the row was expected to be saved here only\n");
    return false;
  }
  return true;
}

static bool restore_line(struct demo *demo) {
  const char *site = site_names[0];
  int code = 0;
  step(demo, "The line is back, and the branch catches up by itself");
  int64_t began = clock_ms();
  if (!demo_line_begin(&demo->world, demo->line_port, demo->hub_port) || !wait_in_sync(demo, site)) return false;
  demo->caught_up_ms = clock_ms() - began;
  return say_and_run(demo, WORDS("tributary", "status", site, "--row", "customer/demo-1"), 4, &code) &&
         code == CLI_DONE;
}

static bool show_unified(struct demo *demo) {
  step(demo, "Headquarters sees one customer");
  TRB_BUF_AUTO out = {0};
  if (!say_and_run(demo, WORDS("tributary", "find", "hq", "--kind", "mobile", "--value", demo->mobile), 6, NULL))
    return false;
  if (!demo_run(&demo->world, WORDS("tributary", "find", "hq", "--kind", "mobile", "--value", demo->mobile, "--json"),
                &out, NULL))
    return false;
  json_t *found = json_loadb((const char *)out.data, out.len, JSON_DISABLE_EOF_CHECK, NULL);
  snprintf(demo->party, sizeof demo->party, "%s", node_text(found, "party"));
  json_decref(found);
  return say_and_run(demo, WORDS("tributary", "show", "hq", demo->party), 40, NULL);
}

static bool show_branches(struct demo *demo) {
  step(demo, "What each branch sees of the same customer");
  char replica[64], sql[400];
  tell(demo,
       "The branch that just wrote a card for him; contacts that others know stay masked until it has business with "
       "him:");
  snprintf(replica, sizeof replica, "%s/replica.db", site_names[0]);
  snprintf(sql, sizeof sql, "SELECT kind, value, sites FROM unified_contact WHERE party_id = '%s'", demo->party);
  if (!say_and_run(demo, WORDS("tributary", "show", site_names[0], demo->party), SHOWN_LINES, NULL)) return false;
  if (!say_and_run(demo, WORDS("sqlite3", "-box", replica, sql), SHOWN_LINES, NULL)) return false;
  tell(demo, "The others: who holds a record sees the unified customer, who does not sees nothing.");
  for (int i = 1; i < demo->branches; ++i) {
    const char *const *words = WORDS("tributary", "find", site_names[i], "--kind", "mobile", "--value", demo->mobile);
    TRB_BUF_AUTO out = {0};
    demo_show(&demo->world, words);
    if (!demo_run(&demo->world, words, &out, NULL)) return false;
    show_output(demo, &out, 6);
    if (out.len == 0) tell(demo, "  (nothing)");
  }
  return true;
}

/* ---- the end ---- */

static const json_t *hub_site(const json_t *hub, const char *name) {
  size_t i;
  json_t *site;
  json_array_foreach(json_object_get(hub, "sites"), i,
                     site) if (strcmp(node_text(site, "site"), name) == 0) return site;
  return NULL;
}

static bool compare_digests(struct demo *demo) {
  step(demo, "In sync: the digest of every branch's rows is the same on both sides");
  bool ok = true;
  json_t *hub = NULL;
  for (int i = 0; i < demo->branches && ok; ++i)
    ok = demo_run(&demo->world, WORDS("tributary", "status", site_names[i], "--wait", "30", "--quiet"), NULL, NULL);
  if (ok) hub = status_of(demo, "hq");
  fprintf(demo->cli->out, "     %-10s %10s %10s   %-18s %-18s %s\n", "branch", "customers", "contacts", "digest there",
          "digest at HQ", "");
  for (int i = 0; i < demo->branches && ok && hub; ++i) {
    json_t *status = status_of(demo, site_names[i]);
    const json_t *here = json_object_get(status, "digests"),
                 *there = json_object_get(hub_site(hub, site_names[i]), "digests");
    const json_t *customer = json_object_get(here, "customer");
    bool equal = here && there && json_equal(here, there);
    fprintf(demo->cli->out, "     %-10s %10lld %10lld   %-18s %-18s %s\n", site_names[i],
            (long long)node_int(customer, "rows"), (long long)node_int(json_object_get(here, "contact"), "rows"),
            node_text(customer, "sum"), node_text(json_object_get(there, "customer"), "sum"),
            equal ? "equal" : "DIFFERENT");
    ok = equal;
    json_decref(status);
  }
  json_decref(hub);
  return ok;
}

static void summary(struct demo *demo) {
  FILE *out = demo->cli->out;
  step(demo, "Summary");
  fprintf(out, "     %-46s %d\n", "branches", demo->branches);
  fprintf(out, "     %-46s %lld\n", "customer records at the branches", (long long)demo->records);
  fprintf(out, "     %-46s %lld\n", "customers at headquarters", (long long)demo->parties);
  fprintf(out, "     %-46s %lld\n", "duplicates resolved", (long long)(demo->records - demo->parties));
  fprintf(out, "     %-46s %lld\n", "changes set aside", (long long)demo->rejected);
  fprintf(out, "     %-46s %.1f s\n", "importing at all branches", (double)demo->imported_ms / 1000);
  fprintf(out, "     %-46s %.1f s\n", "until all was in sync after the last import", (double)demo->synced_ms / 1000);
  fprintf(out, "     %-46s %.1f s\n", "catching up after the line came back", (double)demo->caught_up_ms / 1000);
  fprintf(out, "     %-46s %.1f s\n", "the whole demo", (double)(clock_ms() - demo->began_ms) / 1000);
  if (demo->world.keep) {
    fprintf(out, "\n   Everything is kept in %s (the daemons are stopped). Go on there, for example:\n",
            demo->world.dir);
    fprintf(out, "   $ cd %s && tributary hub run hq &\n   $ tributary branch run %s &\n   $ tributary show hq %s\n",
            demo->world.dir, site_names[0], demo->party);
  }
}

/* The commands say data/FILE. */
static bool link_data(struct demo *demo) {
  if (symlink(demo->data, "data") == 0) return true;
  fprintf(demo->cli->err, "tributary: demo: cannot link the sample files here: %m\n");
  return false;
}

static bool tell_story(struct demo *demo) {
  static bool (*const steps[])(struct demo *) = {start_headquarters, join_branches, import_records,
                                                 see_one_customer,   write_offline, restore_line,
                                                 show_unified,       show_branches, compare_digests};
  fprintf(demo->cli->out,
          "Tributary: branches write SQLite offline, headquarters sees one customer.\n\n   $ cd %s && ln -s %s data\n",
          demo->world.dir, demo->data);
  if (!link_data(demo)) return false;
  for (size_t i = 0; i < sizeof steps / sizeof *steps; ++i)
    if (!steps[i](demo) || demo_world_stopped()) return false;
  summary(demo);
  return true;
}

int cmd_demo(struct cli *cli) {
  const char *keep = cli_option(cli, "--keep"), *branches = cli_option(cli, "--branches"),
             *data = cli_option(cli, "--data");
  int code = cli_args(cli, 0, 0, "tributary demo [--keep DIR] [--branches N] [--data DIR]");
  if (code) return code;
  struct demo demo = {.cli = cli, .branches = branches ? atoi(branches) : 4, .began_ms = clock_ms()};
  if (demo.branches < BRANCHES_MIN || demo.branches > BRANCHES_MAX) {
    fprintf(cli->err, "tributary: --branches wants %d to %d\n", BRANCHES_MIN, BRANCHES_MAX);
    return CLI_USAGE;
  }
  if (!realpath(data ? data : "build/demo", demo.data)) {
    fprintf(cli->err,
            "tributary: the sample files are not in %s: `make demo-data` makes them; --data DIR says where they are\n",
            data ? data : "build/demo");
    return CLI_FAILED;
  }
  bool ok = demo_world_begin(&demo.world, cli, keep) && tell_story(&demo);
  if (!ok)
    fprintf(cli->err,
            demo_world_stopped() ? "\ntributary: demo: stopped\n" : "tributary: demo: ended early, see above\n");
  demo_world_end(&demo.world);
  return ok ? CLI_DONE : CLI_FAILED;
}
