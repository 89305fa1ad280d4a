/* demo_world: the processes of the demo: daemons, commands, a line that can be cut, and their end in every case.
 *
 * Everything runs in one directory, which is also the current one, so that the commands shown are short and can be
 * repeated there. After SIGINT, SIGTERM or SIGHUP every function here returns false soon, and demo_world_end still
 * cleans up. */
#ifndef NODE_CLI_DEMO_WORLD_H
#define NODE_CLI_DEMO_WORLD_H

#include <sys/types.h>

#include "tributary/cli.h"

enum { DEMO_DAEMONS_MAX = 12, DEMO_WORDS_MAX = 24, DEMO_PATH_BYTES = 4096 };

struct demo_world {
  struct cli *cli;
  char dir[DEMO_PATH_BYTES];     /* absolute */
  char program[DEMO_PATH_BYTES]; /* this program */
  bool keep;
  size_t daemon_count;
  struct demo_daemon {
    pid_t pid;
    char name[40];
  } daemons[DEMO_DAEMONS_MAX];
  pid_t line; /* the forwarder; 0: cut or never begun */
};

/* keep NULL: a temporary directory that demo_world_end removes. Changes into it. False: said on err. */
bool demo_world_begin(struct demo_world *world, struct cli *cli, const char *keep);
/* Ends all processes (SIGTERM, after some seconds SIGKILL), removes the files. */
void demo_world_end(struct demo_world *world);
bool demo_world_stopped(void); /* a signal asked to stop */

/* Shows the command as a reader would type it; words end with NULL, words[0] is "tributary" or a program of the PATH.
 */
void demo_show(struct demo_world *world, const char *const *words);
/* Runs it; its stdout is appended to *out (NULL: thrown away); *ret_code the exit code. When it cannot be run, or ends
 * with a code other than 0 and 3, says so with what it said on stderr and is false. */
bool demo_run(struct demo_world *world, const char *const *words, struct trb_buf *out, int *ret_code);
/* Starts it and waits until it says READY=1 (sd_notify); its messages go to NAME.log. */
bool demo_daemon(struct demo_world *world, const char *name, const char *const *words);

/* A free port of 127.0.0.1. */
bool demo_port(struct demo_world *world, int *ret_port);
/* Forwards connections from one port of 127.0.0.1 to another until cut. */
bool demo_line_begin(struct demo_world *world, int from_port, int to_port);
void demo_line_cut(struct demo_world *world);

#endif
