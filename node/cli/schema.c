/* schema: the tables and columns for people, or the SQL that makes a branch's or the hub's database. */
#include "tributary/schema.h"

#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "commands.h"
#include "tributary/capture.h"

#define PATH_BYTES_MAX 4096
#define READ_BUSY_MS 2000

/* The catalogue of a node: what DIR's database holds of custom definitions beside the built-in tables. */
static enum trb_status catalogue_of_dir(const char *dir, struct trb_catalogue **ret, struct trb_error *err) {
  static const char *const files[] = {"replica.db", "hub.db"};
  char path[PATH_BYTES_MAX];
  for (size_t i = 0; i < sizeof files / sizeof files[0]; i++) {
    if (snprintf(path, sizeof path, "%s/%s", dir, files[i]) >= (int)sizeof path) break;
    if (access(path, F_OK) != 0) continue;
    struct trb_db *db = NULL;
    enum trb_status status = db_open(path, TRB_DB_READ, READ_BUSY_MS, &db, err);
    if (!status) status = capture_catalogue(db, ret, err);
    db_close(&db);
    return status;
  }
  return trb_fail(err, TRB_ABSENT, "%s holds neither replica.db nor hub.db; the words are branch, hub, tables or DIR",
                  dir);
}

int cmd_schema(struct cli *cli) {
  int wrong = cli_args(cli, 0, 1, "schema [branch|hub|tables|DIR]");
  if (wrong) return wrong;
  const char *word = cli->argc ? cli->argv[0] : "tables";
  bool branch = strcmp(word, "branch") == 0, hub = strcmp(word, "hub") == 0, tables = strcmp(word, "tables") == 0;
  struct trb_catalogue *catalogue = NULL;
  struct trb_error err = {0};
  TRB_BUF_AUTO out = {0};
  if (branch || hub || tables)
    catalogue = catalogue_builtin();
  else if (catalogue_of_dir(word, &catalogue, &err))
    return cli_failed(cli, &err);
  if (branch)
    schema_branch(catalogue, &out);
  else if (hub)
    schema_hub(catalogue, &out);
  else
    catalogue_write_docs(catalogue, &out);
  catalogue_unref(&catalogue);
  if (out.failed) {
    trb_fail(&err, TRB_NOMEM, "no memory to print the schema");
    return cli_failed(cli, &err);
  }
  fwrite(out.data, 1, out.len, cli->out);
  return CLI_DONE;
}
