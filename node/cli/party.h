/* party: what find, show and parties share: opening a node's data for reading, masking, printing. For node/cli only. */
#ifndef NODE_CLI_PARTY_H
#define NODE_CLI_PARTY_H

#include "commands.h"
#include "tributary/catalogue.h"
#include "tributary/conf.h"
#include "tributary/db.h"
#include "tributary/key.h"

struct party_node { /* a hub or a branch, open for reading in one snapshot */
  struct trb_conf conf;
  struct trb_db *db;
  struct trb_key_context context;
};
enum trb_status party_open(struct cli *cli, struct party_node *node, struct trb_error *err);
void party_close(struct party_node *node);
#define PARTY_NODE_AUTO __attribute__((cleanup(party_close))) struct party_node

/* A personal value for the screen: the mask unless `unmask`. Names are shown. */
void party_masked(const struct trb_column *column, struct trb_value value, bool unmask, struct trb_buf *out);
void party_contact(const char *kind, struct trb_slice value, bool unmask, struct trb_buf *out);
void party_value(struct trb_value value, struct trb_buf *out); /* as text */
/* "2024-05-01 10:00" of UTC milliseconds; "" for 0. */
void party_when(int64_t ms, char ret_text[32]);
/* Text padded with spaces to a width in terminal columns. */
void party_pad(struct cli *cli, struct trb_slice text, size_t width);
/* Tells the hub that masked values were shown (hub only; a refusal is the command's failure). */
enum trb_status party_log_unmask(struct cli *cli, const char *party, const char *why, struct trb_error *err);

int show_hub(struct cli *cli, struct party_node *node, const char *what, bool unmask, int64_t events); /* show_hub.c */
int show_branch(struct cli *cli, struct party_node *node, const char *what, bool unmask,
                int64_t events); /* show_branch.c */
int find_branch(struct cli *cli, struct party_node *node, const char *kind, const char *text, size_t max,
                bool unmask); /* find_branch.c */

#endif
