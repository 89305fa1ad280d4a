/* main: the table of commands, and the way from a command line to one of them. */
#include <signal.h>
#include <string.h>

#include "commands.h"

const struct cli_command cli_commands[] = {
    {"demo", NULL, "[--keep DIR] [--branches N]", "everything on one machine, with sample data", help_demo, cmd_demo},
    {"hub", "init", "DIR --name NAME [--listen ENDPOINT] [--advertise ENDPOINT] [--journal DIR]",
     "make headquarters' directory", help_hub_init, cmd_hub_init},
    {"hub", "run", "DIR", "run headquarters' daemon in the foreground", help_hub_run, cmd_hub_run},
    {"hub", "invite", "DIR SITE [--expires 24h] [--region CN] [--area-code 021]", "print a token for a branch",
     help_hub_invite, cmd_hub_invite},
    {"hub", "sites", "DIR", "the branches and how they are", help_hub_sites, cmd_hub_sites},
    {"hub", "suspend", "DIR SITE [--reason TEXT] [--dry-run]", "hold a branch's changes at the door", help_hub_suspend,
     cmd_hub_suspend},
    {"hub", "resume", "DIR SITE [--reason TEXT]", "take them again", help_hub_resume, cmd_hub_resume},
    {"hub", "revoke", "DIR SITE [--reason TEXT] [--dry-run] [--yes]", "shut a branch's machine out", help_hub_revoke,
     cmd_hub_revoke},
    {"hub", "go", "DIR [--yes]", "let branches go on after a restore that lost writes", help_hub_go, cmd_hub_go},
    {"hub", "backup", "DIR FILE", "copy hub.db while it runs, and verify the copy", help_hub_backup, cmd_hub_backup},
    {"branch", "join", "DIR TOKEN|--token-file FILE [--timeout 30s]", "make a branch from a token", help_branch_join,
     cmd_branch_join},
    {"branch", "run", "DIR [--once]", "run a branch's daemon in the foreground", help_branch_run, cmd_branch_run},
    {"import", NULL,
     "DIR [FILE.csv] [--map FILE] [--table T] [--where COLUMN=VALUE] [--dry-run] [--update] | DIR --undo IMPORT|last",
     "read customers, contacts or any branch table from CSV, undoable", help_import, cmd_import},
    {"status", NULL, "DIR [--wait SECONDS] [--row TABLE/ID]", "is everything where it should be", help_status,
     cmd_status},
    {"find", NULL, "DIR TEXT | DIR --kind KIND --value VALUE [--max N] [--unmask]", "customers by name, contact or id",
     help_find, cmd_find},
    {"show", NULL, "DIR PARTY|SITE/RECORD|RECORD [--unmask] [--events N]",
     "one customer, with where each field comes from", help_show, cmd_show},
    {"parties", NULL, "DIR --csv [--json]", "which record belongs to which customer", help_parties, cmd_parties},
    {"policy", NULL, "DIR dump | load FILE [--dry-run] | get KEY | set KEY VALUE", "headquarters' rules", help_policy,
     cmd_policy},
    {"rejected", NULL, "DIR [retry ID|all]", "changes set aside, with their reasons", help_rejected, cmd_rejected},
    {"rotate", NULL, "DIR", "new keys, signed by the old", help_rotate, cmd_rotate},
    {"verify", NULL, "DIR|BACKUP.db", "recompute everything and compare", help_verify, cmd_verify},
    {"schema", NULL, "[DIR] [--sql|--markdown]", "the tables and columns", help_schema, cmd_schema},
    {"doctor", NULL, "DIR", "look at a node from outside, and say what to do", help_doctor, cmd_doctor},
    {"metrics", NULL, "DIR", "numbers for Prometheus", help_metrics, cmd_metrics},
    {NULL, NULL, NULL, NULL, NULL, NULL},
};

static const struct cli_command *find_command(const char *name, const char *sub, bool *ret_group) {
  *ret_group = false;
  for (const struct cli_command *c = cli_commands; c->name; ++c) {
    if (strcmp(c->name, name) != 0) continue;
    if (!c->sub || (sub && strcmp(c->sub, sub) == 0)) return c;
    *ret_group = true;
  }
  return NULL;
}

static int say_unknown(const char *group, const char *word) {
  const char *near = help_nearest(group, word);
  fprintf(stderr, "tributary: there is no command '%s%s", group ? group : "", group ? " " : "");
  cli_print_text(stderr, trb_slice_str(word));
  fputs("'", stderr);
  if (near) fprintf(stderr, "; did you mean '%s%s%s'?", group ? group : "", group ? " " : "", near);
  fputs("\nRun 'tributary --help' to see the commands.\n", stderr);
  return CLI_USAGE;
}

/* A failed write (a full disk behind a redirection) must not look like success. */
static int finish(int code) {
  if (fflush(stdout) == 0 && !ferror(stdout)) return code;
  fputs("tributary: the output could not be written in full\n", stderr);
  return code == CLI_DONE ? CLI_FAILED : code;
}

static int run_command(const struct cli_command *command, int argc, char **argv) {
  struct cli cli = {.argc = argc, .argv = argv, .out = stdout, .err = stderr};
  if (cli_flag(&cli, "--help") || cli_flag(&cli, "-h")) {
    help_command(stdout, command);
    return CLI_DONE;
  }
  cli.json = cli_flag(&cli, "--json");
  cli.quiet = cli_flag(&cli, "--quiet");
  cli.yes = cli_flag(&cli, "--yes");
  return command->run(&cli);
}

int main(int argc, char **argv) {
  signal(SIGPIPE, SIG_IGN); /* `tributary ... | head` ends by the failed write */
  if (argc < 2) {
    help_program(stderr);
    return CLI_USAGE;
  }
  const char *name = argv[1];
  if (strcmp(name, "--version") == 0) {
    puts("tributary " TRB_VERSION);
    return finish(CLI_DONE);
  }
  if (strcmp(name, "--man") == 0) {
    help_man(stdout);
    return finish(CLI_DONE);
  }
  bool wants_help = strcmp(name, "--help") == 0 || strcmp(name, "-h") == 0 || strcmp(name, "help") == 0;
  if (wants_help && argc == 2) {
    help_program(stdout);
    return finish(CLI_DONE);
  }
  if (wants_help) { /* tributary help COMMAND [SUBCOMMAND] */
    ++argv;
    --argc;
    name = argv[1];
  }
  bool group;
  const struct cli_command *command = find_command(name, argc > 2 ? argv[2] : NULL, &group);
  if (!command && !group) return say_unknown(NULL, name);
  if (!command) {
    bool asked = wants_help || (argc > 2 && (strcmp(argv[2], "--help") == 0 || strcmp(argv[2], "-h") == 0));
    if (argc > 2 && !asked) return say_unknown(name, argv[2]);
    help_group(asked ? stdout : stderr, name);
    return asked ? finish(CLI_DONE) : CLI_USAGE;
  }
  if (wants_help) {
    help_command(stdout, command);
    return finish(CLI_DONE);
  }
  int words = command->sub ? 3 : 2;
  return finish(run_command(command, argc - words, argv + words));
}
