/* cli: the one contract of every command (see README, "The command line").
 *
 * Exit codes: 0 done, 1 failed, 2 wrong usage, 3 not (yet) in the asked state, 4 refused by policy or authorisation.
 * Data on stdout, everything else on stderr. A command is `int cmd_x(struct cli *cli)`, one file each (node/cli/),
 * listed in the table of node/cli/main.c with its usage and help text. */
#ifndef TRIBUTARY_CLI_H
#define TRIBUTARY_CLI_H

#include <stdio.h>

#include "tributary/base.h"

enum { CLI_DONE = 0, CLI_FAILED = 1, CLI_USAGE = 2, CLI_NOT_YET = 3, CLI_REFUSED = 4 };

struct cli {
  int argc;    /* words after the command's name, options taken out by cli_flag and cli_option */
  char **argv; /* argv[0] is DIR for nearly all */
  bool json, quiet, yes;
  FILE *out, *err;
};
/* Takes `--name` out of argv; true if it was there. */
bool cli_flag(struct cli *cli, const char *name);
/* Takes `--name VALUE` or `--name=VALUE` out of argv; NULL if absent; a missing value ends in usage (exit 2 by
 * cli_args). */
const char *cli_option(struct cli *cli, const char *name);
/* After all options are taken: checks that min..max words are left and none looks like an option. 0 or CLI_USAGE (said
 * on err). */
int cli_args(struct cli *cli, int min, int max, const char *usage);
/* Says "tributary: TEXT" on err and gives the exit code that goes with the status. */
int cli_failed(struct cli *cli, const struct trb_error *error);
/* The same for `run`: a daemon that cannot start has failed, also when somebody else is at work there. */
int cli_daemon_failed(struct cli *cli, const struct trb_error *error);
/* Progress on a terminal for anything over a second: "\r  imported 1200 of 5000"; no-op with --quiet or no terminal. */
void cli_progress(struct cli *cli, const char *what, int64_t done, int64_t total);
void cli_progress_end(struct cli *cli);
/* Asks on the terminal unless --yes; false when refused or there is no terminal. */
bool cli_confirm(struct cli *cli, const char *question);
/* Parses 90s, 15m, 24h, 7d into seconds; false if wrong. */
bool cli_duration(const char *text, int64_t *ret_seconds);
/* Text safe for a terminal and one line: control characters as \xNN. */
void cli_print_text(FILE *out, struct trb_slice text);

#endif
