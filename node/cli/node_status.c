/* node_status: see node_status.h. */
#include "node_status.h"

#include <stdio.h>
#include <time.h>

#include "tributary/branch.h"
#include "tributary/hub.h"

enum trb_status node_ask(const char *dir, const char *what, struct trb_conf *ret_conf, json_t **ret_json,
                         struct trb_error *err) {
  struct trb_conf conf;
  enum trb_status status = conf_load(dir, &conf, err);
  if (status) return status;
  TRB_BUF_AUTO answer = {0};
  const char *const words[] = {what};
  status = conf.role == TRB_ROLE_HUB ? hub_command(dir, 1, words, &answer, err)
                                     : branch_command(dir, 1, words, &answer, err);
  if (status) return status;
  json_error_t why;
  json_t *json = json_loadb((const char *)answer.data, answer.len, 0, &why);
  if (!json_is_object(json)) {
    json_decref(json);
    return trb_fail(err, TRB_STORE, "the node's answer to '%s' is not a JSON object (%s)", what, why.text);
  }
  if (ret_conf) *ret_conf = conf;
  *ret_json = json;
  return TRB_OK;
}

int64_t node_int(const json_t *object, const char *key) { return json_integer_value(json_object_get(object, key)); }

const char *node_text(const json_t *object, const char *key) {
  const char *text = json_string_value(json_object_get(object, key));
  return text ? text : "";
}

bool node_bool(const json_t *object, const char *key) { return json_is_true(json_object_get(object, key)); }

int64_t node_now_ms(void) {
  struct timespec now;
  clock_gettime(CLOCK_REALTIME, &now);
  return (int64_t)now.tv_sec * 1000 + now.tv_nsec / 1000000;
}

void node_ago(int64_t then_ms, char ret_text[32]) {
  int64_t seconds = (node_now_ms() - then_ms) / 1000;
  if (then_ms <= 0) {
    snprintf(ret_text, 32, "never");
  } else if (seconds < 120) {
    snprintf(ret_text, 32, "%lld s ago", (long long)(seconds < 0 ? 0 : seconds));
  } else if (seconds < 7200) {
    snprintf(ret_text, 32, "%lld min ago", (long long)(seconds / 60));
  } else if (seconds < 172800) {
    snprintf(ret_text, 32, "%lld h ago", (long long)(seconds / 3600));
  } else {
    snprintf(ret_text, 32, "%lld days ago", (long long)(seconds / 86400));
  }
}
