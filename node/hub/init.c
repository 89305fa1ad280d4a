/* init: a new hub: folder, keys, node.ini, hub.db, journal, and headquarters' first writes (its own site, its epoch,
 * the default policies). Nothing that exists is ever overwritten. */
#include <errno.h>
#include <limits.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "policy.h"
#include "tributary/hub.h"
#include "writer.h"

static const char DEFAULT_LISTEN[] = "tcp://0.0.0.0:7600";

static bool is_endpoint(const char *text) {
  const char *colon = strrchr(text, ':');
  return strncmp(text, "tcp://", 6) == 0 && colon > text + 6 && colon[1] && strlen(text) <= TRB_ENDPOINT_BYTES_MAX;
}

static enum trb_status make_conf(const struct hub_options *options, struct trb_conf *conf, struct trb_error *err) {
  *conf = (struct trb_conf){.role = TRB_ROLE_HUB};
  const char *listen = options->listen ? options->listen : DEFAULT_LISTEN;
  if (!is_endpoint(listen)) return trb_fail(err, TRB_PEER, "--listen wants tcp://ADDRESS:PORT, not '%.80s'", listen);
  if (options->advertise && !is_endpoint(options->advertise))
    return trb_fail(err, TRB_PEER, "--advertise wants tcp://HOST:PORT, not '%.80s'", options->advertise);
  snprintf(conf->site, sizeof conf->site, "%s", TRB_HQ_SITE);
  snprintf(conf->name, sizeof conf->name, "%s", options->name ? options->name : "headquarters");
  snprintf(conf->listen, sizeof conf->listen, "%s", listen);
  snprintf(conf->journal, sizeof conf->journal, "%s", options->journal ? options->journal : "");
  if (options->advertise) {
    snprintf(conf->advertise, sizeof conf->advertise, "%s", options->advertise);
    return TRB_OK;
  }
  char host[80] = "localhost";
  bool any = strstr(listen, "//0.0.0.0:") || strstr(listen, "//*:") || strstr(listen, "//[::]:");
  if (any && gethostname(host, sizeof host - 1) != 0) snprintf(host, sizeof host, "localhost");
  if (any)
    snprintf(conf->advertise, sizeof conf->advertise, "tcp://%s%s", host, strrchr(listen, ':'));
  else
    snprintf(conf->advertise, sizeof conf->advertise, "%s", listen);
  return TRB_OK;
}

static enum trb_status make_folder(const char *dir, struct trb_error *err) {
  char path[PATH_MAX];
  const char *network = NULL;
  if (mkdir(dir, 0700) != 0 && errno != EEXIST) return trb_fail(err, TRB_STORE, "cannot make %s: %m", dir);
  if (file_on_network(dir, &network))
    return trb_fail(err, TRB_DENIED,
                    "%s is on a network file system (%s), where SQLite's locks cannot be trusted: choose a local disk",
                    dir, network);
  static const char *const names[] = {"node.ini", "hub.db", "keys", "replica.db"};
  for (size_t i = 0; i < sizeof names / sizeof *names; i++) {
    snprintf(path, sizeof path, "%s/%s", dir, names[i]);
    if (access(path, F_OK) == 0) return trb_fail(err, TRB_DENIED, "%s exists: this folder is in use", path);
  }
  return TRB_OK;
}

/* The journal's folder, when it is to be one. */
static enum trb_status make_journal_folder(const char *path, struct trb_error *err) {
  if (!path[0]) return TRB_OK;
  if (path[0] != '/') return trb_fail(err, TRB_PEER, "the journal's path must be absolute");
  if (mkdir(path, 0700) != 0 && errno != EEXIST) return trb_fail(err, TRB_STORE, "cannot make %s: %m", path);
  char file[PATH_MAX];
  snprintf(file, sizeof file, "%s/journal", path);
  if (access(file, F_OK) == 0) return trb_fail(err, TRB_DENIED, "%s exists: it is another hub's journal", file);
  return TRB_OK;
}

static enum trb_status start_own_stream(struct store *s, struct trb_error *err) {
  uint8_t incarnation[TRB_INCARNATION_BYTES];
  struct unify_sites dirty;
  crypto_random(incarnation, sizeof incarnation);
  enum trb_status status = store_begin(s, err);
  if (status == TRB_OK) status = store_stream_start(s, TRB_HQ_SITE_NO, incarnation, NULL, 0, err);
  if (status == TRB_OK) return store_commit(s, &dirty, err);
  store_rollback(s);
  return status;
}

static enum trb_status first_writes(struct hq *hq, const struct trb_conf *conf, struct trb_error *err) {
  HQ_CHANGES_AUTO list = {0};
  TRB_BUF_AUTO report = {0};
  struct unify_sites dirty;
  uint8_t epoch[16];
  char text[33];
  int64_t now_ms = writer_now_ms();
  crypto_random(epoch, sizeof epoch);
  trb_hex(epoch, sizeof epoch, text);
  hq_change(&list, TRB_T_setting, TRB_OP_PUT, trb_slice_str("epoch"));
  hq_cell(&list, TRB_C_setting_name, trb_text("epoch"));
  hq_cell(&list, TRB_C_setting_value, trb_text(text));
  hq_change(&list, TRB_T_setting, TRB_OP_PUT, trb_slice_str("name"));
  hq_cell(&list, TRB_C_setting_name, trb_text("name"));
  hq_cell(&list, TRB_C_setting_value, trb_text(conf->name));
  hq_change(&list, TRB_T_site, TRB_OP_PUT, trb_slice_str(TRB_HQ_SITE));
  hq_cell(&list, TRB_C_site_created_at, trb_int(now_ms));
  hq_cell(&list, TRB_C_site_title, trb_text(conf->name));
  hq_cell(&list, TRB_C_site_state, trb_text("open"));
  enum trb_status status = hq_write(hq, &list, now_ms, &dirty, err);
  return status == TRB_OK ? policy_load(hq, trb_slice_str(policy_defaults), false, now_ms, &report, err) : status;
}

static enum trb_status make_store(const char *dir, const struct trb_conf *conf, struct trb_error *err) {
  char path[PATH_MAX], journal[PATH_MAX];
  struct store store = {0};
  struct hub_keys keys = {0};
  struct hq hq = {0};
  snprintf(path, sizeof path, "%s/hub.db", dir);
  snprintf(journal, sizeof journal, "%s%s", conf->journal[0] ? conf->journal : dir, conf->journal[0] ? "" : "/journal");
  enum trb_status status = hubkeys_load(dir, conf, &keys, err);
  if (status == TRB_OK) status = store_open(path, true, true, &store, err);
  if (status == TRB_OK) status = start_own_stream(&store, err);
  if (status == TRB_OK) status = hq_open(&store, journal, keys.sign, false, &keys.accepted, &hq, err);
  if (status == TRB_OK) status = first_writes(&hq, conf, err);
  hq_close(&hq);
  store_close(&store);
  hubkeys_free(&keys);
  return status;
}

enum trb_status hub_init(const char *dir, const struct hub_options *options, struct trb_error *err) {
  struct trb_conf conf;
  enum trb_status status = make_conf(options, &conf, err);
  if (status == TRB_OK) status = make_folder(dir, err);
  if (status == TRB_OK) status = make_journal_folder(conf.journal, err);
  if (status == TRB_OK) status = hubkeys_make(dir, &conf, err);
  if (status == TRB_OK) status = make_store(dir, &conf, err);
  return status == TRB_OK ? conf_save(dir, &conf, err) : status; /* last: without it there is no node */
}
