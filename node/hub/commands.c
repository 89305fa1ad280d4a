/* commands: what an operator's words do at headquarters. Run by the writer, each write through hq.h; `status` and
 * `metrics` are the net thread's (hub_status.c). Answers are JSON. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "jout.h"
#include "policy.h"
#include "policy_check.h"
#include "roster.h"
#include "setaside.h"
#include "tributary/phone.h"
#include "writer.h"

struct command_run {
  struct writer *w;
  struct hub_job *job;
  int64_t now_ms;
  struct trb_buf *out;
};

static const char *word(const struct command_run *c, size_t index) {
  return index < c->job->word_count ? c->job->words[index] : "";
}

static enum trb_status usage(const char *text, struct trb_error *err) {
  return trb_fail(err, TRB_PEER, "wrong words: %s", text);
}

static bool number(const char *text, int64_t *ret) {
  char *end;
  long long value = strtoll(text, &end, 10);
  if (!text[0] || *end) return false;
  *ret = value;
  return true;
}

/* invite SITE EXPIRES_SECONDS [REGION] [AREA_CODE] */
static enum trb_status run_invite(struct command_run *c, struct trb_error *err) {
  int64_t seconds;
  if (!number(word(c, 2), &seconds) || seconds <= 0) return usage("invite SITE SECONDS [REGION] [AREA_CODE]", err);
  const char *region = word(c, 3), *area = word(c, 4);
  if (region[0] && !phone_region_known(region))
    return trb_fail(err, TRB_PEER,
                    "'%.8s' is no region whose telephone numbers are known: two capital letters, such as CN or HK",
                    region);
  if (strlen(area) > 7 || strspn(area, "0123456789") != strlen(area))
    return trb_fail(err, TRB_PEER, "'%.12s' is no area code: at most seven digits, such as 021", area);
  struct roster_invite invite = {.site = word(c, 1),
                                 .region = region[0] ? region : NULL,
                                 .area_code = area[0] ? area : NULL,
                                 .expires_ms = c->now_ms + seconds * 1000};
  TRB_BUF_AUTO token = {0};
  enum trb_status status = roster_invite(&c->w->hq, &c->w->keys, &invite, c->now_ms, &token, err);
  if (status != TRB_OK) return status;
  jout_open(c->out, NULL, '{');
  jout_str(c->out, "site", invite.site);
  jout_text(c->out, "token", trb_buf_slice(&token));
  jout_int(c->out, "expires_ms", invite.expires_ms);
  jout_close(c->out, '}');
  return TRB_OK;
}

/* ORDER SITE [REASON [dry-run]]: with dry-run everything is checked and nothing written. */
static enum trb_status order(struct command_run *c, enum roster_state state, struct trb_error *err) {
  bool dry = strcmp(word(c, 3), "dry-run") == 0;
  enum trb_status status = dry ? roster_order_check(&c->w->hq, word(c, 1), state, err)
                               : roster_order(&c->w->hq, word(c, 1), state, word(c, 2), c->now_ms, err);
  if (status != TRB_OK) return status;
  jout_open(c->out, NULL, '{');
  jout_str(c->out, "site", word(c, 1));
  jout_str(c->out, "state", roster_state_name(state));
  jout_bool(c->out, "dry_run", dry);
  return TRB_OK;
}

static enum trb_status run_suspend(struct command_run *c, struct trb_error *err) {
  enum trb_status status = order(c, ROSTER_SUSPENDED, err);
  if (status == TRB_OK) jout_close(c->out, '}');
  return status;
}
static enum trb_status run_resume(struct command_run *c, struct trb_error *err) {
  enum trb_status status = order(c, ROSTER_OPEN, err);
  if (status == TRB_OK) jout_close(c->out, '}');
  return status;
}

/* What the machine held: its own rows, and the unified customers it was shown. */
static enum trb_status machine_held(struct command_run *c, struct trb_error *err) {
  struct trb_db *db = c->w->store.db;
  int64_t site = 0, rows = 0, parties = 0, customers = 0;
  enum trb_status status = db_get_int(db, err, &site, "SELECT no FROM site_no WHERE name=?1", "t", word(c, 1));
  if (status != TRB_OK) return status;
  status = db_get_int(db, err, &rows, "SELECT coalesce(sum(rows),0) FROM digest WHERE site=?1", "i", site);
  if (status == TRB_OK)
    status = db_get_int(db, err, &customers, "SELECT coalesce(sum(rows),0) FROM digest WHERE site=?1 AND tbl=?2", "ii",
                        site, (int64_t)TRB_T_customer);
  if (status == TRB_OK)
    status = db_get_int(db, err, &parties,
                        "SELECT count(DISTINCT coalesce(party,rec)) FROM record WHERE site=?1 AND class<>0", "i", site);
  if (status != TRB_OK) return status;
  jout_open(c->out, "machine_held", '{');
  jout_int(c->out, "rows", rows);
  jout_int(c->out, "customers", customers);
  jout_int(c->out, "unified_customers", parties);
  jout_close(c->out, '}');
  jout_close(c->out, '}');
  return TRB_OK;
}

static enum trb_status run_revoke(struct command_run *c, struct trb_error *err) {
  enum trb_status status = order(c, ROSTER_REVOKED, err);
  return status == TRB_OK ? machine_held(c, err) : status;
}

static enum trb_status run_policy_load(struct command_run *c, struct trb_error *err) {
  bool dry = strcmp(word(c, 2), "dry-run") == 0;
  return policy_load(&c->w->hq, trb_slice_str(word(c, 1)), dry, c->now_ms, c->out, err);
}

static enum trb_status run_policy_dump(struct command_run *c, struct trb_error *err) {
  return policy_dump(c->w->store.db, c->w->store.catalogue, c->out, err);
}

static enum trb_status run_policy_get(struct command_run *c, struct trb_error *err) {
  TRB_BUF_AUTO value = {0};
  enum trb_status status = store_setting(c->w->store.db, word(c, 1), &value, NULL);
  if (status == TRB_ABSENT) return trb_fail(err, TRB_ABSENT, "there is no setting '%s'", word(c, 1));
  if (status != TRB_OK) return trb_fail(err, status, "hub.db cannot be read");
  jout_open(c->out, NULL, '{');
  jout_str(c->out, "name", word(c, 1));
  jout_text(c->out, "value", trb_buf_slice(&value));
  jout_close(c->out, '}');
  return TRB_OK;
}

static enum trb_status run_policy_set(struct command_run *c, struct trb_error *err) {
  if (!word(c, 1)[0] || c->job->word_count < 3) return usage("policy-set NAME VALUE", err);
  if (strcmp(word(c, 1), "epoch") == 0) return trb_fail(err, TRB_DENIED, "the epoch is headquarters' own affair");
  enum trb_status status = policy_check_setting(word(c, 1), word(c, 2), err);
  if (status == TRB_OK) status = hq_set(&c->w->hq, word(c, 1), word(c, 2), c->now_ms, err);
  return status == TRB_OK ? run_policy_get(c, err) : status;
}

/* rejected-retry all|NO: a held mass delete is released by its own number. */
static enum trb_status run_retry(struct command_run *c, struct trb_error *err) {
  struct store *s = &c->w->store;
  struct setaside_outcome outcome = {0};
  struct unify_sites dirty;
  int64_t no = 0;
  bool all = strcmp(word(c, 1), "all") == 0;
  if (!all && (!number(word(c, 1), &no) || no <= 0)) return usage("rejected-retry ID|all", err);
  enum trb_status status = store_begin(s, err);
  if (status != TRB_OK) return status;
  status = setaside_retry(s, no, true, c->now_ms, &outcome, err);
  if (status == TRB_OK)
    status = store_commit(s, &dirty, err);
  else
    store_rollback(s);
  if (status != TRB_OK) return status;
  jout_open(c->out, NULL, '{');
  jout_int(c->out, "applied", outcome.applied);
  jout_int(c->out, "still_refused", outcome.refused);
  jout_close(c->out, '}');
  return TRB_OK;
}

static enum trb_status run_backup(struct command_run *c, struct trb_error *err) {
  return backup_begin(c->w, c->job, err);
}

static enum trb_status run_backup_verified(struct command_run *c, struct trb_error *err) {
  int64_t no;
  if (!number(word(c, 2), &no)) return usage("backup-verified PATH NUMBER", err);
  return backup_verified(c->w, word(c, 1), no, c->now_ms, c->out, err);
}

static enum trb_status run_backup_refused(struct command_run *c, struct trb_error *err) {
  int64_t no;
  if (!number(word(c, 2), &no)) return usage("backup-refused PATH NUMBER", err);
  return backup_refused(c->w, word(c, 1), no, c->out, err);
}

static enum trb_status run_go(struct command_run *c, struct trb_error *err) {
  enum trb_status status = hq_go(&c->w->hq, err);
  if (status != TRB_OK) return status;
  c->w->store.roster_changed = true;
  jout_open(c->out, NULL, '{');
  jout_bool(c->out, "held", false);
  jout_close(c->out, '}');
  return TRB_OK;
}

static enum trb_status run_rotate(struct command_run *c, struct trb_error *err) {
  struct writer *w = c->w;
  struct hub_keys keys;
  bool switched = false;
  enum trb_status status = hubkeys_rotate(w->dir, &w->conf, &switched, err);
  if (status == TRB_OK) status = hubkeys_load(w->dir, &w->conf, &keys, err);
  if (status != TRB_OK) return status;
  hubkeys_free(&w->keys);
  w->keys = keys;
  w->hq.signer = w->keys.sign;
  w->hq.keys = w->keys.accepted;
  w->keys_changed = true;
  jout_open(c->out, NULL, '{');
  jout_int(c->out, "version", (int64_t)w->keys.set.version);
  jout_bool(c->out, "switched", switched);
  jout_close(c->out, '}');
  return TRB_OK;
}

/* access-log PARTY WHY: somebody at headquarters was shown what is masked. */
static enum trb_status run_access_log(struct command_run *c, struct trb_error *err) {
  if (!word(c, 1)[0] || strlen(word(c, 1)) > 512 || strlen(word(c, 2)) > 512) return usage("access-log PARTY WHY", err);
  enum trb_status status =
      db_run(c->w->store.db, err, "INSERT INTO access_log(at, site, party, why) VALUES(?1, 'hq', ?2, ?3)", "itt",
             c->now_ms, word(c, 1), word(c, 2));
  if (status != TRB_OK) return status;
  jout_open(c->out, NULL, '{');
  jout_bool(c->out, "logged", true);
  jout_close(c->out, '}');
  return TRB_OK;
}

static const struct {
  const char *name;
  enum trb_status (*run)(struct command_run *c, struct trb_error *err);
} COMMANDS[] = {
    {"invite", run_invite},
    {"suspend", run_suspend},
    {"resume", run_resume},
    {"revoke", run_revoke},
    {"policy-load", run_policy_load},
    {"policy-dump", run_policy_dump},
    {"policy-get", run_policy_get},
    {"policy-set", run_policy_set},
    {"rejected-retry", run_retry},
    {"backup", run_backup},
    {"go", run_go},
    {"backup-verified", run_backup_verified},
    {"backup-refused", run_backup_refused},
    {"rotate", run_rotate},
    {"access-log", run_access_log},
};

enum trb_status writer_command(struct writer *w, struct hub_job *job, struct trb_error *err) {
  struct command_run c = {w, job, writer_now_ms(), &job->answer};
  for (size_t i = 0; i < sizeof COMMANDS / sizeof *COMMANDS; i++)
    if (strcmp(word(&c, 0), COMMANDS[i].name) == 0) return COMMANDS[i].run(&c, err);
  return trb_fail(err, TRB_PEER, "headquarters does not know the command '%.40s'", word(&c, 0));
}
