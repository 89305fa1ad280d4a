/* node_status: what a hub or a branch answers to "status" and "metrics" (the shapes are in branch.h and hub.h), read
 * through jansson. For the commands of node/cli only. */
#ifndef NODE_CLI_NODE_STATUS_H
#define NODE_CLI_NODE_STATUS_H

#include <jansson.h>

#include "tributary/conf.h"

/* Asks the node in dir: its daemon, or its files when none runs. *ret_json is owned by the caller (json_decref).
 * TRB_PEER: dir is not a node's, or node.ini is damaged. conf may be NULL. */
enum trb_status node_ask(const char *dir, const char *what, struct trb_conf *ret_conf, json_t **ret_json,
                         struct trb_error *err);

/* A field of an object, whatever is there: 0, "" or false when it is absent or of another type. */
int64_t node_int(const json_t *object, const char *key);
const char *node_text(const json_t *object, const char *key);
bool node_bool(const json_t *object, const char *key);

/* "3 s ago", "never", for people. */
void node_ago(int64_t then_ms, char ret_text[32]);
int64_t node_now_ms(void);

#endif
