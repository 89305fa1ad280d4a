/* rotate: new keys for a hub or a branch, signed by the old ones. */
#include <jansson.h>

#include "commands.h"
#include "node_status.h"
#include "tributary/branch.h"
#include "tributary/hub.h"

static void say_hub(struct cli *cli, const json_t *answer) {
  if (node_bool(answer, "switched"))
    fputs("The new line key is served now; branches come back with it by themselves.\n", cli->out);
  else
    fprintf(cli->out,
            "A new signing key is in use, and the next line key is announced to the branches.\n"
            "When `tributary status %s` shows that all of them were heard since: run `tributary rotate %s` once more.\n"
            "A branch that was not reached by then has to join anew.\n",
            cli->argv[0], cli->argv[0]);
}

int cmd_rotate(struct cli *cli) {
  int code = cli_args(cli, 1, 1, "rotate DIR");
  if (code) return code;
  struct trb_conf conf;
  struct trb_error err = {0};
  TRB_BUF_AUTO text = {0};
  const char *const words[] = {"rotate"};
  enum trb_status status = conf_load(cli->argv[0], &conf, &err);
  bool hub = conf.role == TRB_ROLE_HUB;
  if (status == TRB_OK)
    status =
        hub ? hub_command(cli->argv[0], 1, words, &text, &err) : branch_command(cli->argv[0], 1, words, &text, &err);
  if (status != TRB_OK) return cli_failed(cli, &err);
  if (cli->json) {
    fprintf(cli->out, "%s\n", trb_buf_cstr(&text));
  } else if (!cli->quiet && hub) {
    json_t *answer = json_loadb((const char *)text.data, text.len, 0, NULL);
    say_hub(cli, answer);
    json_decref(answer);
  } else if (!cli->quiet) {
    fputs("New keys are made; they are used as soon as headquarters has taken them.\n", cli->out);
  }
  return CLI_DONE;
}
