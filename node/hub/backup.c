/* backup: an online copy of hub.db through the writer's connection, stepped between groups, and what a verified copy
 * means: `safe`. A copy is marked as one (hub_state copy_of), so that a hub started from it knows that it was restored.
 * Writer thread.
 *
 * It is FILE.part until whoever asked has verified it, then FILE: nothing under FILE is ever less than a verified
 * backup, and a failure leaves nothing behind that the next run would stumble over. */
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "jout.h"
#include "writer.h"

struct backup {
  struct trb_db_backup *copy; /* owned */
  struct hub_job *job;        /* owned: the command to answer */
  char path[PATH_MAX - 16];   /* of the verified backup; room for what SQLite puts beside it */
  char part[PATH_MAX];
};

static void part_of(const char *path, char ret[PATH_MAX]) { snprintf(ret, PATH_MAX, "%.*s.part", PATH_MAX - 16, path); }

static void unlink_part(const char *part) {
  static const char *const beside[] = {"", "-journal", "-wal", "-shm"};
  char path[PATH_MAX + 16];
  for (size_t i = 0; i < sizeof beside / sizeof *beside; i++) {
    snprintf(path, sizeof path, "%s%s", part, beside[i]);
    unlink(path);
  }
}

/* Copies of a run that ended before its verification: their numbers must not be verified with the file of this one
 * (the rows stay, so that a number is never given twice). */
static enum trb_status forget_unverified(struct trb_db *db, const char *path, struct trb_error *err) {
  return db_run(db, err, "UPDATE backup SET path='' WHERE path=?1 AND verified_at IS NULL", "t", path);
}

enum trb_status backup_begin(struct writer *w, struct hub_job *job, struct trb_error *err) {
  const char *path = job->word_count > 1 ? job->words[1] : "";
  if (w->backup) return trb_fail(err, TRB_DENIED, "a backup is running already");
  if (!path[0] || path[0] != '/') return trb_fail(err, TRB_PEER, "the backup's path must be absolute");
  if (strlen(path) >= PATH_MAX - 16) return trb_fail(err, TRB_PEER, "the backup's path is too long");
  if (access(path, F_OK) == 0) return trb_fail(err, TRB_DENIED, "%s exists: a backup never overwrites", path);
  struct backup *b = calloc(1, sizeof *b);
  if (!b) return trb_fail(err, TRB_NOMEM, "out of memory");
  snprintf(b->path, sizeof b->path, "%s", path);
  part_of(path, b->part);
  enum trb_status status = forget_unverified(w->store.db, path, err);
  if (status == TRB_OK) unlink_part(b->part);
  if (status == TRB_OK) status = db_backup_begin(w->store.db, b->part, &b->copy, err);
  if (status != TRB_OK) {
    free(b);
    return status;
  }
  b->job = job;
  w->backup = b;
  return TRB_AGAIN;
}

/* The copy says that it is one; it leaves WAL mode so that it is a single file. */
static enum trb_status mark_copy(const struct backup *b, int64_t number, struct trb_error *err) {
  struct trb_db *db = NULL;
  enum trb_status status = db_open(b->part, TRB_DB_WRITE, 0, &db, err);
  if (status == TRB_OK) status = db_exec(db, "PRAGMA journal_mode=DELETE; PRAGMA synchronous=FULL;", err);
  if (status == TRB_OK)
    status = db_run(db, err, "INSERT OR REPLACE INTO hub_state(name,value) VALUES('copy_of',?1)", "i", number);
  if (status == TRB_OK) status = db_sync(db, err);
  db_close(&db);
  return status;
}

/* How far each stream is in the copy: exactly here, for the writer changed nothing since its last page. */
static enum trb_status record(struct writer *w, const struct backup *b, int64_t *ret_number, struct trb_error *err) {
  struct trb_db *db = w->store.db;
  enum trb_status status = db_begin(db, err);
  if (status != TRB_OK) return status;
  status = db_run(db, err, "INSERT INTO backup(path, at) VALUES(?1, ?2)", "ti", b->path, writer_now_ms());
  *ret_number = db_last_rowid(db);
  if (status == TRB_OK)
    status = db_run(db, err, "INSERT INTO backup_stream(backup,stream,sequence) SELECT ?1, no, sequence FROM stream",
                    "i", *ret_number);
  if (status == TRB_OK) return db_commit(db, err);
  db_rollback(db);
  return status;
}

static void finish(struct writer *w, enum trb_status status) {
  struct backup *b = w->backup;
  struct hub_job *job = b->job;
  int64_t number = 0;
  w->backup = NULL;
  db_backup_end(&b->copy);
  if (status == TRB_OK) status = record(w, b, &number, &job->error);
  if (status == TRB_OK) status = mark_copy(b, number, &job->error);
  if (status == TRB_OK) {
    jout_open(&job->answer, NULL, '{');
    jout_int(&job->answer, "number", number);
    jout_str(&job->answer, "path", b->path);
    jout_str(&job->answer, "part", b->part);
    jout_close(&job->answer, '}');
  } else {
    unlink_part(b->part);
  }
  job->status = status;
  writer_answer(w, job);
  free(b);
}

bool backup_step(struct writer *w) {
  if (!w->backup) return false;
  bool done = false;
  struct hub_job *job = w->backup->job;
  enum trb_status status = db_backup_step(w->backup->copy, WRITER_BACKUP_PAGES, &done, &job->error);
  if (status == TRB_AGAIN) return true;
  if (status != TRB_OK || done) finish(w, status);
  return w->backup != NULL;
}

void backup_abort(struct writer *w) {
  if (!w->backup) return;
  trb_fail(&w->backup->job->error, TRB_STORE, "the hub was stopped");
  finish(w, TRB_STORE);
}

/* safe = the older of the last two verified backups, stream by stream. */
static enum trb_status advance_safe(struct writer *w, struct trb_error *err) {
  struct trb_db *db = w->store.db;
  enum trb_status status = db_run(
      db, err,
      "UPDATE stream SET safe=max(safe, coalesce((SELECT min(coalesce(s.sequence,0)) FROM (SELECT no FROM backup WHERE "
      "verified_at IS NOT NULL ORDER BY no DESC LIMIT 2) b LEFT JOIN backup_stream s ON s.backup=b.no AND "
      "s.stream=stream.no HAVING count(*)=2),0))",
      "");
  if (status == TRB_OK)
    status = db_run(db, err,
                    "UPDATE batch_hash SET ack=NULL WHERE ack IS NOT NULL AND sequence<=(SELECT safe FROM stream WHERE "
                    "no=batch_hash.stream)",
                    "");
  if (status == TRB_OK)
    status = db_run(
        db, err, "DELETE FROM backup_stream WHERE backup NOT IN (SELECT no FROM backup ORDER BY no DESC LIMIT 10)", "");
  return status;
}

/* The row of a copy that waits to be verified; TRB_ABSENT when there is none. */
static enum trb_status check_waiting(struct trb_db *db, const char *path, int64_t number, struct trb_error *err) {
  int64_t count = 0;
  enum trb_status status =
      db_get_int(db, err, &count, "SELECT count(*) FROM backup WHERE no=?1 AND path=?2 AND verified_at IS NULL", "it",
                 number, path);
  if (status == TRB_OK && count != 1)
    status = trb_fail(err, TRB_ABSENT, "there is no unverified backup %lld at %s", (long long)number, path);
  return status;
}

static enum trb_status mark_verified(struct writer *w, int64_t number, int64_t now_ms, struct trb_error *err) {
  struct trb_db *db = w->store.db;
  struct unify_sites dirty;
  enum trb_status status = store_begin(&w->store, err);
  if (status != TRB_OK) return status;
  status = db_run(db, err, "UPDATE backup SET verified_at=?2 WHERE no=?1", "ii", number, now_ms);
  if (status == TRB_OK) status = advance_safe(w, err);
  if (status == TRB_OK) return store_commit(&w->store, &dirty, err);
  store_rollback(&w->store);
  return status;
}

/* First the file's name, durably, then what it stands for: `safe` never counts a backup that is not there. */
enum trb_status backup_verified(struct writer *w, const char *path, int64_t number, int64_t now_ms, struct trb_buf *out,
                                struct trb_error *err) {
  char part[PATH_MAX];
  part_of(path, part);
  enum trb_status status = check_waiting(w->store.db, path, number, err);
  if (status == TRB_OK) status = file_rename_new(part, path, err);
  if (status == TRB_OK) status = mark_verified(w, number, now_ms, err);
  if (status != TRB_OK) return status;
  for (size_t i = 0; i < w->store.site_cap; i++) w->store.streams[i].used = false; /* `safe` moved */
  w->store.roster_changed = true;                                                  /* so that the sessions hear of it */
  jout_open(out, NULL, '{');
  jout_int(out, "number", number);
  jout_bool(out, "verified", true);
  jout_close(out, '}');
  return TRB_OK;
}

enum trb_status backup_refused(struct writer *w, const char *path, int64_t number, struct trb_buf *out,
                               struct trb_error *err) {
  char part[PATH_MAX];
  part_of(path, part);
  enum trb_status status = check_waiting(w->store.db, path, number, err);
  if (status == TRB_OK) status = forget_unverified(w->store.db, path, err);
  if (status != TRB_OK) return status;
  unlink_part(part);
  jout_open(out, NULL, '{');
  jout_int(out, "number", number);
  jout_bool(out, "verified", false);
  jout_close(out, '}');
  return TRB_OK;
}
