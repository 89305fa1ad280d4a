/* commands: one row for each command of `tributary`, and every command's function.
 *
 * The table is in main.c, the long help texts in help_text.c, each function in the file named beside it here. A command
 * is listed in the table only once it exists. */
#ifndef NODE_CLI_COMMANDS_H
#define NODE_CLI_COMMANDS_H

#include "tributary/cli.h"

struct cli_command {
  const char *name, *sub; /* sub NULL: the command has no second word */
  const char *usage;      /* what follows the words */
  const char *summary;    /* one line, no full stop */
  const char *help;       /* paragraphs, indented lines are shown as they stand */
  int (*run)(struct cli *cli);
};
extern const struct cli_command cli_commands[]; /* ended by a NULL name */

/* node/cli/hub_cmd.c */
int cmd_hub_init(struct cli *cli);
int cmd_hub_run(struct cli *cli);
int cmd_hub_invite(struct cli *cli);
int cmd_hub_sites(struct cli *cli);
int cmd_hub_suspend(struct cli *cli);
int cmd_hub_resume(struct cli *cli);
int cmd_hub_revoke(struct cli *cli);
int cmd_hub_backup(struct cli *cli);
int cmd_hub_go(struct cli *cli);
int cmd_policy(struct cli *cli);
int cmd_rejected(struct cli *cli);
int cmd_rotate(struct cli *cli);
int cmd_verify(struct cli *cli); /* verify.c */
/* node/cli/branch_cmd.c */
int cmd_branch_join(struct cli *cli);
int cmd_branch_run(struct cli *cli);
int cmd_import(struct cli *cli); /* import.c */
int cmd_schema(struct cli *cli); /* schema.c */
int cmd_find(struct cli *cli);
int cmd_show(struct cli *cli);
int cmd_parties(struct cli *cli);
int cmd_status(struct cli *cli);  /* status.c */
int cmd_doctor(struct cli *cli);  /* doctor.c */
int cmd_metrics(struct cli *cli); /* metrics.c */
int cmd_demo(struct cli *cli);    /* demo.c */

/* help.c: what is printed from the table. */
void help_program(FILE *out);
void help_group(FILE *out, const char *name);
void help_command(FILE *out, const struct cli_command *command);
void help_man(FILE *out); /* the man page, deploy/man/tributary.1 */
/* The command nearest to a mistyped word, NULL when none is near. `name` NULL: among first words, else among its second
 * words. */
const char *help_nearest(const char *name, const char *word);

/* help_text.c */
extern const char help_overview[], help_files[];
extern const char help_hub_init[], help_hub_run[], help_hub_invite[], help_hub_sites[], help_hub_suspend[],
    help_hub_resume[], help_hub_revoke[], help_hub_backup[], help_hub_go[], help_policy[], help_rejected[],
    help_rotate[], help_verify[], help_branch_join[], help_branch_run[], help_import[], help_schema[], help_find[],
    help_show[], help_parties[], help_status[], help_doctor[], help_metrics[], help_demo[];

#endif
