/* net_log: what the hub says in its log about what came of jobs, and about sessions. Net thread. See daemon.h, log.h.
 * Names of sites, numbers and codes; nothing of what rows hold. */
#include <string.h>

#include "daemon.h"
#include "log.h"

static const char *stream_why(uint64_t why) {
  static const char *const texts[] = {"its first", "replica.db is older than the outbox",
                                      "outbox.db was missing or damaged", "the one before was held"};
  return why < sizeof texts / sizeof *texts ? texts[why] : "a reason this version does not know";
}

static void log_batch(struct daemon *d, const struct hub_job *job) {
  const char *site = job->site_name;
  unsigned long long sequence = job->sequence;
  struct net_site *known = net_site_of(d, job->site);
  if (job->hold == TRB_HOLD_FORK)
    log_line(LOG_FORK, LOG_ERROR,
             "%s: fork at batch %llu: another machine or a restored copy writes under this name; set aside", site,
             sequence);
  if (job->hold == TRB_HOLD_BAD_BATCH)
    log_line(LOG_BAD_BATCH, LOG_WARN, "%s: batch %llu is damaged and was refused (hold %d)", site, sequence,
             (int)job->hold);
  if (job->hold) return;
  if (job->set_aside)
    log_line(LOG_SET_ASIDE, LOG_WARN, "%s: %zu changes of batch %llu are set aside: tributary rejected DIR", site,
             job->set_aside, sequence);
  if (!known || !job->digests) return;
  bool differs = job->digest_differences != 0;
  if (differs && !known->differs)
    log_line(LOG_DIGEST, LOG_ERROR, "%s: digest of %zu tables differs from batch %llu on", site,
             job->digest_differences, sequence);
  if (!differs && known->differs)
    log_line(LOG_DIGEST, LOG_SAY, "%s: digests are equal again at batch %llu", site, sequence);
  known->differs = differs;
}

static void log_join(const struct hub_job *job) {
  if (job->status == TRB_OK)
    log_line(LOG_JOIN, LOG_SAY, "%s: a machine joined", job->site_name);
  else if (job->fault)
    netlog_join_refused(job->fault, job->site_name, job->text);
  else
    netlog_join_refused(TRB_FAULT_RATE, job->site_name, "headquarters cannot write now");
}

void netlog_join_refused(enum trb_fault fault, const char *site, const char *why) {
  static const char *const names[] = {[TRB_FAULT_TOKEN_UNKNOWN] = ", token unknown",
                                      [TRB_FAULT_TOKEN_EXPIRED] = ", token expired",
                                      [TRB_FAULT_TOKEN_USED] = ", token used again"};
  const char *name = (size_t)fault < sizeof names / sizeof *names && names[fault] ? names[fault] : "";
  log_line(LOG_JOIN_REFUSED, LOG_WARN, "%s%sjoin refused (fault %d%s): %s", site, site[0] ? ": " : "", (int)fault, name,
           why);
}

static void log_backup(const struct hub_job *job) {
  const char *word = job->words[0];
  if (job->status != TRB_OK)
    log_line(LOG_BACKUP, LOG_ERROR, "backup failed: %s", job->error.text);
  else if (strcmp(word, "backup") == 0)
    log_line(LOG_BACKUP, LOG_TELL, "backup copied, waits to be verified");
  else if (strcmp(word, "backup-verified") == 0)
    log_line(LOG_BACKUP, LOG_SAY, "backup %s done and verified", job->word_count > 2 ? job->words[2] : "");
  else
    log_line(LOG_BACKUP, LOG_ERROR, "backup %s failed: the copy does not verify",
             job->word_count > 2 ? job->words[2] : "");
}

static void log_command(const struct hub_job *job) {
  static const struct {
    const char *word, *text;
    bool site; /* the second word names one */
  } said[] = {
      {"invite", "invited", true},
      {"suspend", "suspended", true},
      {"resume", "resumed", true},
      {"revoke", "revoked", true},
      {"go", "released: branches go on after a restore", false},
      {"rotate", "headquarters' keys were rotated", false},
      {"policy-load", "policy loaded", false},
      {"policy-set", "setting changed", true},
  };
  const char *word = job->word_count ? job->words[0] : "";
  if (strncmp(word, "backup", 6) == 0) log_backup(job);
  for (size_t i = 1; i < job->word_count; i++)
    if (strcmp(job->words[i], "dry-run") == 0) return;
  for (size_t i = 0; job->status == TRB_OK && i < sizeof said / sizeof *said; i++)
    if (strcmp(word, said[i].word) == 0)
      log_line(LOG_ORDER, LOG_SAY, "%s%s%s", said[i].site ? job->words[1] : "", said[i].site ? ": " : "", said[i].text);
}

static void log_store(struct daemon *d, const struct hub_job *job) {
  bool store = job->status == TRB_FULL || job->status == TRB_STORE || job->status == TRB_NOMEM;
  if (!store || d->store_failing || !atomic_load(&d->writer.counters.failing)) return;
  d->store_failing = true;
  log_line(LOG_STORE, job->status == TRB_FULL ? LOG_CRITICAL : LOG_ERROR,
           "%shub.db cannot be written, branches are told to wait: %s",
           job->status == TRB_FULL ? "the disk is full: " : "", job->error.text);
}

void netlog_result(struct daemon *d, const struct hub_job *job) {
  const char *site = job->site_name;
  log_store(d, job);
  switch (job->kind) {
    case JOB_BATCH: log_batch(d, job); break;
    case JOB_JOIN: log_join(job); break;
    case JOB_COMMAND: log_command(job); break;
    case JOB_NEW_STREAM:
      if (job->status == TRB_OK)
        log_line(LOG_STREAM, LOG_SAY, "%s: a new stream was granted: %s", site, stream_why(job->new_stream.why));
      else
        log_line(LOG_STREAM, LOG_WARN, "%s: no new stream now: %s", site, job->error.text);
      break;
    case JOB_ROTATE:
      log_line(LOG_ORDER, job->status == TRB_OK ? LOG_SAY : LOG_WARN, "%s: its new keys were %s", site,
               job->status == TRB_OK ? "taken" : "refused");
      break;
    case JOB_NOTICE:
      if (job->new_catalogue)
        log_line(LOG_ORDER, LOG_SAY, "the catalogue was extended: %zu tables", catalogue_count(job->new_catalogue));
      break;
    default: break;
  }
}

void netlog_cloned(const struct net_site *site) {
  log_line(LOG_CLONED, LOG_ERROR, "%s: lines take turns, are two machines running with its keys?", site->name);
}

void netlog_tick(struct daemon *d) {
  for (size_t i = 0; i < d->site_cap; i++) {
    struct net_site *site = d->sites[i];
    struct session_status status = {0};
    if (!site) continue;
    if (site->session) session_status(site->session, &status);
    bool up = site->session && site->routed && status.online;
    if (up != site->up)
      log_line(LOG_SESSION, LOG_TELL, "%s: %s%s%s", site->name, up ? "session up" : "session down",
               up && status.software[0] ? ", " : "", up ? status.software : "");
    site->up = up;
  }
  if (d->store_failing && !atomic_load(&d->writer.counters.failing)) {
    d->store_failing = false;
    log_line(LOG_STORE, LOG_SAY, "hub.db is written again");
  }
}
