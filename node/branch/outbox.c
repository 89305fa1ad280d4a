/* outbox: see include/tributary/outbox.h and node/sql/outbox.sql. */
#include "tributary/outbox.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "tributary/mp.h"
#include "tributary/wire.h"

extern const char trb_sql_outbox[];

enum { PATH_BYTES_MAX = 4096, OUTBOX_FORMAT = 1 };

/* A measured offset wanders by the round trip's asymmetry: less than this is not worth a write. */
#define OFFSET_MOVED_MS 5

static enum trb_status path_of(const char *dir, const char *tail, char *ret, struct trb_error *err) {
  int len = snprintf(ret, PATH_BYTES_MAX, "%s/" OUTBOX_FILE "%s", dir, tail);
  return len > 0 && len < PATH_BYTES_MAX ? TRB_OK : trb_fail(err, TRB_PEER, "the path of the directory is too long");
}

/* ---- state ---- */

static const char STATE_LOAD[] =
    "SELECT incarnation, generation, sequence, hash, mark, nonce, late_mark, acked, safe, want, baseline, base_table, "
    "base_id, scrub, scrub_table, scrub_id, format FROM state";
static const char STATE_SAVE[] =
    "UPDATE state SET incarnation = ?1, generation = ?2, sequence = ?3, hash = ?4, mark = ?5, nonce = ?6, late_mark = "
    "?7, "
    "acked = ?8, safe = ?9, want = ?10, baseline = ?11, base_table = ?12, base_id = ?13, scrub = ?14, scrub_table = "
    "?15, "
    "scrub_id = ?16";

static bool copy_fixed(struct trb_stmt *stmt, int column, void *ret, size_t len) {
  struct trb_slice s = stmt_slice(stmt, column);
  if (s.len == len) memcpy(ret, s.data, len);
  return s.len == len;
}

static bool copy_id(struct trb_stmt *stmt, int column, char ret[TRB_ID_BYTES_MAX + 1]) {
  struct trb_slice s = stmt_slice(stmt, column);
  if (s.len > TRB_ID_BYTES_MAX) return false;
  if (s.len) memcpy(ret, s.data, s.len);
  ret[s.len] = '\0';
  return true;
}

static bool state_read(struct trb_stmt *stmt, struct outbox_state *s) {
  s->generation = stmt_int(stmt, 1);
  s->sequence = (uint64_t)stmt_int(stmt, 2);
  s->mark = (uint64_t)stmt_int(stmt, 4);
  s->nonce = stmt_int(stmt, 5);
  s->late_mark = (uint64_t)stmt_int(stmt, 6);
  s->acked = (uint64_t)stmt_int(stmt, 7);
  s->safe = (uint64_t)stmt_int(stmt, 8);
  s->want = (uint32_t)stmt_int(stmt, 9);
  s->baseline = (enum outbox_baseline)stmt_int(stmt, 10);
  s->base_table = (uint16_t)stmt_int(stmt, 11);
  s->scrub = stmt_int(stmt, 13) != 0;
  s->scrub_table = (uint16_t)stmt_int(stmt, 14);
  return copy_fixed(stmt, 0, s->incarnation, sizeof s->incarnation) && copy_fixed(stmt, 3, s->hash, sizeof s->hash) &&
         copy_id(stmt, 12, s->base_id) && copy_id(stmt, 15, s->scrub_id) && stmt_int(stmt, 16) == OUTBOX_FORMAT;
}

static enum trb_status state_load(struct outbox *outbox, bool *ret_damaged, struct trb_error *err) {
  TRB_STMT_AUTO *stmt = NULL;
  bool row = false;
  enum trb_status status = db_queryf(outbox->db, err, &stmt, STATE_LOAD, "");
  if (status == TRB_OK) status = stmt_step(stmt, &row, err);
  if (status != TRB_OK) return status;
  if (row && stmt_int(stmt, 16) > OUTBOX_FORMAT)
    return trb_fail(err, TRB_DENIED, OUTBOX_FILE " was written by a newer version of this program: install that one");
  if (!row || !state_read(stmt, &outbox->state)) {
    *ret_damaged = true;
    return trb_fail(err, TRB_STORE, OUTBOX_FILE ": its state is damaged");
  }
  outbox->saved = outbox->state;
  return TRB_OK;
}

static enum trb_status state_save(struct outbox *outbox, struct trb_error *err) {
  const struct outbox_state *s = &outbox->state;
  return db_run(outbox->db, err, STATE_SAVE, "biibiiiiiiiitiit", trb_slice_of(s->incarnation, sizeof s->incarnation),
                s->generation, (int64_t)s->sequence, trb_slice_of(s->hash, sizeof s->hash), (int64_t)s->mark, s->nonce,
                (int64_t)s->late_mark, (int64_t)s->acked, (int64_t)s->safe, (int64_t)s->want, (int64_t)s->baseline,
                (int64_t)s->base_table, s->base_id, (int64_t)s->scrub, (int64_t)s->scrub_table, s->scrub_id);
}

enum trb_status outbox_begin(struct outbox *outbox, struct trb_error *err) { return db_begin(outbox->db, err); }

void outbox_rollback(struct outbox *outbox) {
  db_rollback(outbox->db);
  outbox->state = outbox->saved;
}

enum trb_status outbox_commit(struct outbox *outbox, struct trb_error *err) {
  enum trb_status status = state_save(outbox, err);
  if (status == TRB_OK) status = db_commit(outbox->db, err);
  if (status == TRB_OK)
    outbox->saved = outbox->state;
  else
    outbox_rollback(outbox);
  return status;
}

/* ---- opening ---- */

/* A small cache: a branch node idles under 12 MB. */
static const char PRAGMAS[] =
    "PRAGMA journal_mode=WAL; PRAGMA synchronous=FULL; PRAGMA cache_size=-2000; PRAGMA secure_delete=ON; "
    "PRAGMA journal_size_limit=4194304;";

static enum trb_status check_whole(struct trb_db *db, bool *ret_damaged, struct trb_error *err) {
  TRB_BUF_AUTO text = {0};
  enum trb_status status = db_get_bytes(db, err, &text, "PRAGMA quick_check(1)", "");
  if (status == TRB_OK && strcmp(trb_buf_cstr(&text), "ok") != 0) {
    *ret_damaged = true;
    status = trb_fail(err, TRB_STORE, OUTBOX_FILE " is damaged");
  }
  return status;
}

static enum trb_status make_tables(struct outbox *outbox, const uint8_t incarnation[TRB_INCARNATION_BYTES],
                                   uint32_t want, struct trb_error *err) {
  static const uint8_t zeros[TRB_HASH_BYTES];
  enum trb_status status = db_begin(outbox->db, err);
  if (status == TRB_OK) status = db_exec(outbox->db, trb_sql_outbox, err);
  if (status == TRB_OK)
    status = db_run(outbox->db, err,
                    "INSERT INTO state(one, format, incarnation, generation, hash, want) VALUES(1, ?, ?, 1, ?, ?)",
                    "ibbi", (int64_t)OUTBOX_FORMAT, trb_slice_of(incarnation, TRB_INCARNATION_BYTES),
                    trb_slice_of(zeros, sizeof zeros), (int64_t)want);
  if (status == TRB_OK) status = db_commit(outbox->db, err);
  if (status != TRB_OK) db_rollback(outbox->db);
  return status;
}

static enum trb_status has_tables(struct trb_db *db, bool *ret, struct trb_error *err) {
  int64_t count = 0;
  enum trb_status status = db_get_int(db, err, &count, "SELECT count(*) FROM sqlite_master WHERE name = 'state'", "");
  if (status == TRB_OK) *ret = count > 0;
  return status;
}

/* *ret_damaged is set when the file itself is what fails, and not the machine (no descriptors, no permission, a bad
 * disk): only then is it set aside. */
static enum trb_status open_file(const char *dir, enum trb_db_mode mode,
                                 const uint8_t incarnation[TRB_INCARNATION_BYTES], uint32_t want, struct outbox **ret,
                                 bool *ret_made, bool *ret_damaged, struct trb_error *err) {
  char path[PATH_BYTES_MAX];
  bool made = false;
  enum trb_status status = path_of(dir, "", path, err);
  struct outbox *outbox = status == TRB_OK ? calloc(1, sizeof *outbox) : NULL;
  if (status == TRB_OK && !outbox) status = trb_fail(err, TRB_NOMEM, "out of memory");
  if (status == TRB_OK) status = db_open(path, mode, 1000, &outbox->db, err);
  if (status == TRB_OK) status = db_exec(outbox->db, PRAGMAS, err);
  if (status == TRB_OK) status = has_tables(outbox->db, &made, err);
  if (status == TRB_OK && !made) {
    status = make_tables(outbox, incarnation, want, err);
    if (status == TRB_OK) status = db_sync(outbox->db, err);
    *ret_made = true;
  } else if (status == TRB_OK) {
    status = check_whole(outbox->db, ret_damaged, err);
  }
  if (status == TRB_OK) status = state_load(outbox, ret_damaged, err);
  if (status != TRB_OK && outbox && outbox->db) *ret_damaged |= db_damaged(outbox->db);
  if (status == TRB_OK)
    *ret = outbox;
  else
    outbox_close(&outbox);
  return status;
}

enum trb_status outbox_reload(struct outbox *outbox, struct trb_error *err) {
  bool damaged = false; /* said in the status too */
  return state_load(outbox, &damaged, err);
}

enum trb_status outbox_create(const char *dir, const uint8_t incarnation[TRB_INCARNATION_BYTES], struct outbox **ret,
                              struct trb_error *err) {
  struct outbox *outbox = NULL;
  bool made = false, damaged = false;
  enum trb_status status = open_file(dir, TRB_DB_CREATE, incarnation, 0, &outbox, &made, &damaged, err);
  if (status != TRB_OK) return status;
  if (memcmp(outbox->state.incarnation, incarnation, TRB_INCARNATION_BYTES) != 0) {
    outbox_close(&outbox);
    return trb_fail(err, TRB_DENIED, OUTBOX_FILE " in this directory belongs to another stream");
  }
  *ret = outbox;
  return TRB_OK;
}

/* The set-aside file keeps its -wal, so that nothing committed is lost for whoever looks at it. */
static enum trb_status set_aside(const char *dir, int64_t now_ms, struct trb_error *err) {
  static const char *const tails[] = {"", "-wal", "-shm"};
  for (size_t i = 0; i < 3; i++) {
    char from[PATH_BYTES_MAX], to[PATH_BYTES_MAX], tail[64];
    snprintf(tail, sizeof tail, ".damaged-%lld%s", (long long)now_ms, tails[i]);
    enum trb_status status = path_of(dir, tails[i], from, err);
    if (status == TRB_OK) status = path_of(dir, tail, to, err);
    if (status != TRB_OK) return status;
    if (rename(from, to) != 0 && i == 0) return trb_fail(err, TRB_STORE, "cannot rename %s: %m", from);
  }
  return TRB_OK;
}

enum trb_status outbox_open(const char *dir, int64_t now_ms, struct outbox **ret, bool *ret_lost,
                            struct trb_error *err) {
  static const uint8_t nobody[TRB_INCARNATION_BYTES];
  bool made = false, damaged = false;
  enum trb_status status = open_file(dir, TRB_DB_CREATE, nobody, TRB_STREAM_OUTBOX_LOST, ret, &made, &damaged, err);
  if (status != TRB_OK && damaged) {
    status = set_aside(dir, now_ms, err);
    if (status == TRB_OK)
      status = open_file(dir, TRB_DB_CREATE, nobody, TRB_STREAM_OUTBOX_LOST, ret, &made, &damaged, err);
  }
  if (status == TRB_OK) *ret_lost = made;
  return status;
}

void outbox_close(struct outbox **outbox_p) {
  struct outbox *outbox = *outbox_p;
  if (!outbox) return;
  *outbox_p = NULL;
  db_close(&outbox->db);
  free(outbox);
}

/* ---- shadows and digests ---- */

static const char SHADOW_LOAD[] =
    "SELECT generation, mark, deleted, stamp, position, cells FROM shadow WHERE tbl = ?1 AND id = ?2";
static const char SHADOW_SAVE[] =
    "INSERT OR REPLACE INTO shadow(tbl, id, generation, mark, deleted, stamp, position, cells) VALUES(?, ?, ?, ?, ?, "
    "?, ?, ?)";

enum trb_status outbox_shadow(struct outbox *outbox, uint16_t table, struct trb_slice id, struct trb_arena *arena,
                              struct shadow *ret, bool *ret_old, struct trb_error *err) {
  TRB_STMT_AUTO *stmt = NULL;
  bool row = false;
  enum trb_status status = db_queryf(outbox->db, err, &stmt, SHADOW_LOAD, "is", (int64_t)table, id);
  if (status == TRB_OK) status = stmt_step(stmt, &row, err);
  if (status != TRB_OK) return status;
  struct shadow shadow = {.known = row};
  bool old = false;
  if (row) {
    old = stmt_int(stmt, 0) != outbox->state.generation;
    shadow.mark = (uint64_t)stmt_int(stmt, 1);
    shadow.deleted = stmt_int(stmt, 2) != 0;
    shadow.stamp = (trb_hlc)stmt_int(stmt, 3);
    shadow.position = (uint32_t)stmt_int(stmt, 4);
    status = shadow_decode(stmt_slice(stmt, 5), arena, &shadow, err);
  }
  if (status != TRB_OK) return status;
  *ret = shadow;
  *ret_old = old;
  return TRB_OK;
}

enum trb_status outbox_put_shadow(struct outbox *outbox, uint16_t table, struct trb_slice id,
                                  const struct shadow *shadow, struct trb_error *err) {
  TRB_BUF_AUTO cells = {0};
  shadow_encode(shadow, &cells);
  if (cells.failed) return trb_fail(err, TRB_NOMEM, "out of memory");
  return db_run(outbox->db, err, SHADOW_SAVE, "isiiiiib", (int64_t)table, id, outbox->state.generation,
                (int64_t)shadow->mark, (int64_t)shadow->deleted, (int64_t)shadow->stamp, (int64_t)shadow->position,
                trb_buf_slice(&cells));
}

enum trb_status outbox_digests(struct outbox *outbox, struct sealer_digests *ret, struct trb_error *err) {
  TRB_STMT_AUTO *stmt = NULL;
  bool row = false;
  ret->count = 0;
  enum trb_status status = db_queryf(outbox->db, err, &stmt, "SELECT tbl, live, sum FROM digest ORDER BY tbl", "");
  if (status == TRB_OK) status = stmt_step(stmt, &row, err);
  while (status == TRB_OK && row) {
    struct trb_digest *digest = sealer_digest(ret, (uint16_t)stmt_int(stmt, 0));
    if (!digest) return trb_fail(err, TRB_STORE, OUTBOX_FILE ": too many tables");
    digest->rows = (uint64_t)stmt_int(stmt, 1);
    digest->sum = (uint64_t)stmt_int(stmt, 2);
    status = stmt_step(stmt, &row, err);
  }
  return status;
}

enum trb_status outbox_put_digests(struct outbox *outbox, const struct sealer_digests *digests, struct trb_error *err) {
  enum trb_status status = TRB_OK;
  for (size_t i = 0; i < digests->count && status == TRB_OK; i++) {
    const struct trb_digest *d = &digests->table[i];
    status = db_run(outbox->db, err, "INSERT OR REPLACE INTO digest(tbl, live, sum) VALUES(?, ?, ?)", "iii",
                    (int64_t)d->table, (int64_t)d->rows, (int64_t)d->sum);
  }
  return status;
}

/* ---- batches ---- */

enum trb_status outbox_append(struct outbox *outbox, struct trb_slice sealed, const struct trb_batch_header *header,
                              uint64_t last_mark, const uint8_t hash[TRB_HASH_BYTES],
                              const uint8_t signer[TRB_KEY_BYTES], struct trb_error *err) {
  TRB_ASSERT(db_in_transaction(outbox->db));
  enum trb_status status = db_run(
      outbox->db, err, "INSERT INTO batch(sequence, sealed, hash, signer, flags, last_mark) VALUES(?, ?, ?, ?, ?, ?)",
      "ibbbii", (int64_t)(outbox->state.sequence + 1), sealed, trb_slice_of(hash, TRB_HASH_BYTES),
      trb_slice_of(signer, TRB_KEY_BYTES), (int64_t)header->flags, (int64_t)last_mark);
  if (status != TRB_OK) return status;
  outbox->state.sequence++;
  memcpy(outbox->state.hash, hash, TRB_HASH_BYTES);
  return TRB_OK;
}

struct stored {
  uint8_t hash[TRB_HASH_BYTES], signer[TRB_KEY_BYTES];
};

static enum trb_status load(struct outbox *outbox, uint64_t sequence, struct trb_buf *sealed, struct trb_buf *ack,
                            struct stored *ret, struct trb_error *err) {
  TRB_STMT_AUTO *stmt = NULL;
  bool row = false;
  enum trb_status status = db_queryf(
      outbox->db, err, &stmt, "SELECT sealed, ack, hash, signer FROM batch WHERE sequence = ?", "i", (int64_t)sequence);
  if (status == TRB_OK) status = stmt_step(stmt, &row, err);
  if (status != TRB_OK) return status;
  if (!row) return trb_fail(err, TRB_ABSENT, "batch %llu is not in the outbox any more", (unsigned long long)sequence);
  trb_buf_append_slice(sealed, stmt_slice(stmt, 0));
  if (ack) trb_buf_append_slice(ack, stmt_slice(stmt, 1));
  if (!copy_fixed(stmt, 2, ret->hash, sizeof ret->hash) || !copy_fixed(stmt, 3, ret->signer, sizeof ret->signer))
    return trb_fail(err, TRB_STORE, OUTBOX_FILE ": batch %llu is damaged", (unsigned long long)sequence);
  return sealed->failed || (ack && ack->failed) ? trb_fail(err, TRB_NOMEM, "out of memory") : TRB_OK;
}

static enum trb_status open_batch(struct outbox *outbox, uint64_t sequence, struct trb_buf *bytes, struct trb_buf *ack,
                                  struct trb_arena *arena, struct trb_batch *ret, struct trb_error *err) {
  struct stored stored;
  uint8_t hash[TRB_HASH_BYTES];
  enum trb_status status = load(outbox, sequence, bytes, ack, &stored, err);
  if (status != TRB_OK) return status;
  status = batch_open(trb_buf_slice(bytes), stored.signer, arena, ret, hash, err);
  if (status == TRB_NOMEM) return status;
  if (status != TRB_OK || memcmp(hash, stored.hash, sizeof hash) != 0)
    return trb_fail(err, TRB_STORE, OUTBOX_FILE ": batch %llu is damaged", (unsigned long long)sequence);
  return TRB_OK;
}

enum trb_status outbox_open_batch(struct outbox *outbox, uint64_t sequence, struct trb_buf *bytes,
                                  struct trb_arena *arena, struct trb_batch *ret, struct trb_error *err) {
  return open_batch(outbox, sequence, bytes, NULL, arena, ret, err);
}

enum trb_status outbox_load(struct outbox *outbox, uint64_t sequence, struct trb_buf *sealed, struct trb_buf *ack,
                            struct trb_error *err) {
  TRB_ARENA_AUTO arena = {0};
  TRB_BUF_AUTO bytes = {0};
  struct trb_batch batch;
  enum trb_status status = open_batch(outbox, sequence, &bytes, ack, &arena, &batch, err);
  if (status != TRB_OK) return status;
  trb_buf_append_slice(sealed, trb_buf_slice(&bytes));
  return sealed->failed ? trb_fail(err, TRB_NOMEM, "out of memory") : TRB_OK;
}

/* ---- acknowledgement ---- */

static enum trb_status ack_row(struct outbox *outbox, const struct trb_change *change, uint32_t position,
                               const struct trb_ack *ack, const trb_hlc *times, struct trb_error *err) {
  TRB_ARENA_AUTO arena = {0};
  struct shadow shadow;
  bool old = false;
  enum trb_status status = outbox_shadow(outbox, change->table, change->id, &arena, &shadow, &old, err);
  if (status != TRB_OK || !shadow.known || old) return status;
  shadow_acked(&shadow, change, position, ack->sequence, times, ack->acceptance.commit);
  return outbox_put_shadow(outbox, change->table, change->id, &shadow, err);
}

static enum trb_status ack_rows(struct outbox *outbox, const struct trb_batch *batch, const struct trb_ack *ack,
                                struct trb_arena *arena, struct trb_error *err) {
  trb_hlc *times = trb_arena_alloc(arena, (batch->mark_count + 1) * sizeof *times);
  if (!times) return trb_fail(err, TRB_NOMEM, "out of memory");
  clock_effective(batch->marks, batch->mark_count, batch->header.segments, &ack->acceptance, times);
  enum trb_status status = TRB_OK;
  for (size_t i = 0; i < batch->change_count && status == TRB_OK; i++)
    status = ack_row(outbox, &batch->changes[i], (uint32_t)i, ack, times, err);
  return status;
}

/* *ret_taken false: not a valid ack of a batch that stands here without one. */
static enum trb_status take_ack(struct outbox *outbox, struct trb_slice sealed_ack,
                                const uint8_t hub_public[TRB_KEY_BYTES], bool *ret_taken, struct trb_error *err) {
  TRB_ARENA_AUTO arena = {0};
  TRB_BUF_AUTO sealed = {0}, before = {0};
  struct trb_ack ack;
  struct trb_batch batch;
  struct stored stored;
  uint8_t hash[TRB_HASH_BYTES];
  *ret_taken = false;
  enum trb_status status = ack_open(sealed_ack, hub_public, &arena, &ack, NULL);
  if (status != TRB_OK) return status == TRB_NOMEM ? status : TRB_OK;
  if (memcmp(ack.incarnation, outbox->state.incarnation, TRB_INCARNATION_BYTES) != 0) return TRB_OK;
  status = load(outbox, ack.sequence, &sealed, &before, &stored, err);
  if (status == TRB_ABSENT || (status == TRB_OK && memcmp(ack.hash, stored.hash, TRB_HASH_BYTES) != 0)) return TRB_OK;
  if (status != TRB_OK) return status;
  *ret_taken = true;
  if (before.len > 0) return TRB_OK; /* its times were fixed once; the first ack stands */
  status = batch_open(trb_buf_slice(&sealed), stored.signer, &arena, &batch, hash, err);
  if (status == TRB_OK && ack.acceptance.segment_count != batch.header.segment_count) {
    *ret_taken = false;
    return TRB_OK;
  }
  if (status == TRB_OK) status = ack_rows(outbox, &batch, &ack, &arena, err);
  if (status == TRB_OK)
    status =
        db_run(outbox->db, err, "UPDATE batch SET ack = ? WHERE sequence = ?", "bi", sealed_ack, (int64_t)ack.sequence);
  return status == TRB_PEER
             ? trb_fail(err, TRB_STORE, OUTBOX_FILE ": batch %llu is damaged", (unsigned long long)ack.sequence)
             : status;
}

static enum trb_status take_acks(struct outbox *outbox, struct trb_slice acks, const uint8_t hub_public[TRB_KEY_BYTES],
                                 uint32_t *bad, struct trb_error *err) {
  if (acks.len == 0) return TRB_OK;
  if (mp_check(acks, NULL) != TRB_OK) {
    ++*bad;
    return TRB_OK;
  }
  struct mp_reader reader = mp_reader(acks);
  size_t count = mp_get_array(&reader);
  enum trb_status status = TRB_OK;
  for (size_t i = 0; i < count && status == TRB_OK && !reader.failed; i++) {
    struct trb_slice ack = mp_get_bin(&reader);
    bool taken = false;
    if (!reader.failed) status = take_ack(outbox, ack, hub_public, &taken, err);
    *bad += !taken;
  }
  return status;
}

enum trb_status outbox_acked(struct outbox *outbox, uint64_t acked, uint64_t safe, struct trb_slice acks,
                             const uint8_t hub_public[TRB_KEY_BYTES], uint32_t *ret_bad, struct trb_error *err) {
  uint32_t bad = 0;
  struct outbox_state *s = &outbox->state;
  enum trb_status status = outbox_begin(outbox, err);
  if (status != TRB_OK) return status;
  status = take_acks(outbox, acks, hub_public, &bad, err);
  s->acked = acked < s->sequence ? acked : s->sequence; /* may go back: a hub restored from a backup */
  if (safe > s->acked) safe = s->acked;
  if (safe > s->safe) s->safe = safe;
  if (status == TRB_OK && s->safe > outbox->saved.safe)
    status = db_run(outbox->db, err, "DELETE FROM batch WHERE sequence <= ?", "i", (int64_t)s->safe);
  if (status == TRB_OK) status = outbox_commit(outbox, err);
  if (status != TRB_OK)
    outbox_rollback(outbox);
  else
    *ret_bad = bad;
  return status;
}

enum trb_status outbox_start_stream(struct outbox *outbox, const uint8_t incarnation[TRB_INCARNATION_BYTES],
                                    uint64_t mark, int64_t nonce, struct trb_error *err) {
  enum trb_status status = outbox_begin(outbox, err);
  if (status != TRB_OK) return status;
  status = db_exec(outbox->db, "DELETE FROM batch; DELETE FROM digest;", err);
  struct outbox_state *s = &outbox->state;
  *s = (struct outbox_state){.generation = s->generation + 1,
                             .mark = mark,
                             .nonce = nonce,
                             .late_mark = mark,
                             .baseline = OUTBOX_BASELINE_ROWS};
  memcpy(s->incarnation, incarnation, TRB_INCARNATION_BYTES);
  if (status == TRB_OK) status = outbox_commit(outbox, err);
  if (status != TRB_OK) outbox_rollback(outbox);
  return status;
}

/* ---- clock ---- */

static const char SEGMENTS[] =
    "SELECT first_mark, wall_ms, boot_ms, boot_id, measured, hub_minus_boot_ms FROM segment "
    "WHERE first_mark >= coalesce((SELECT max(first_mark) FROM segment WHERE first_mark <= ?1 + 1), 0) ORDER BY "
    "first_mark";

static bool segment_read(struct trb_stmt *stmt, struct trb_segment *ret) {
  *ret = (struct trb_segment){.first_mark = (uint64_t)stmt_int(stmt, 0),
                              .at = {.wall_ms = stmt_int(stmt, 1), .boot_ms = stmt_int(stmt, 2)},
                              .measured = stmt_int(stmt, 4) != 0,
                              .hub_minus_boot_ms = stmt_int(stmt, 5)};
  return copy_fixed(stmt, 3, ret->at.boot_id, TRB_BOOT_ID_BYTES);
}

enum trb_status outbox_segments(struct outbox *outbox, uint64_t mark, struct trb_arena *arena,
                                const struct trb_segment **ret, size_t *ret_count, struct trb_error *err) {
  int64_t all = 0;
  enum trb_status status = db_get_int(outbox->db, err, &all, "SELECT count(*) FROM segment", "");
  if (status != TRB_OK) return status;
  struct trb_segment *segments = trb_arena_alloc(arena, ((size_t)all + 1) * sizeof *segments);
  if (!segments) return trb_fail(err, TRB_NOMEM, "out of memory");
  TRB_STMT_AUTO *stmt = NULL;
  size_t count = 0;
  bool row = false;
  status = db_queryf(outbox->db, err, &stmt, SEGMENTS, "i", (int64_t)mark);
  if (status == TRB_OK) status = stmt_step(stmt, &row, err);
  while (status == TRB_OK && row && count < (size_t)all) {
    if (!segment_read(stmt, &segments[count++]))
      return trb_fail(err, TRB_STORE, OUTBOX_FILE ": a clock segment is damaged");
    status = stmt_step(stmt, &row, err);
  }
  if (status != TRB_OK) return status;
  *ret = segments;
  *ret_count = count;
  return TRB_OK;
}

static enum trb_status last_segment(struct outbox *outbox, struct trb_segment *ret, bool *ret_any,
                                    struct trb_error *err) {
  TRB_STMT_AUTO *stmt = NULL;
  enum trb_status status =
      db_queryf(outbox->db, err, &stmt,
                "SELECT first_mark, wall_ms, boot_ms, boot_id, measured, hub_minus_boot_ms FROM segment "
                "ORDER BY first_mark DESC LIMIT 1",
                "");
  if (status == TRB_OK) status = stmt_step(stmt, ret_any, err);
  if (status == TRB_OK && *ret_any && !segment_read(stmt, ret))
    return trb_fail(err, TRB_STORE, OUTBOX_FILE ": a clock segment is damaged");
  return status;
}

enum trb_status outbox_clock(struct outbox *outbox, const struct trb_clock_reading *now, uint64_t first_mark,
                             bool *ret_opened, struct trb_error *err) {
  struct trb_segment last;
  bool any = false;
  *ret_opened = false;
  enum trb_status status = last_segment(outbox, &last, &any, err);
  if (status != TRB_OK || (any && !clock_segment_breaks(&last, now))) return status;
  bool same_boot = any && memcmp(last.at.boot_id, now->boot_id, TRB_BOOT_ID_BYTES) == 0;
  if (any && first_mark < last.first_mark) first_mark = last.first_mark;
  bool measured = same_boot && last.measured; /* the boot clock did not jump: its offset to the hub still holds */
  status = outbox_begin(outbox, err);
  if (status != TRB_OK) return status;
  status =
      db_run(outbox->db, err,
             "INSERT OR REPLACE INTO segment(first_mark, wall_ms, boot_ms, boot_id, measured, hub_minus_boot_ms) "
             "VALUES(?, ?, ?, ?, ?, ?)",
             "iiibii", (int64_t)first_mark, now->wall_ms, now->boot_ms, trb_slice_of(now->boot_id, TRB_BOOT_ID_BYTES),
             (int64_t)measured, measured ? last.hub_minus_boot_ms : INT64_C(0));
  if (status == TRB_OK) /* no mark at or below the late cursor is ever sealed again */
    status =
        db_run(outbox->db, err,
               "DELETE FROM segment WHERE first_mark < (SELECT max(first_mark) FROM segment WHERE first_mark <= ?)",
               "i", (int64_t)outbox->state.late_mark);
  if (status == TRB_OK) status = outbox_commit(outbox, err);
  if (status != TRB_OK) outbox_rollback(outbox);
  *ret_opened = status == TRB_OK;
  return status;
}

static const char MEASURED_WHERE[] =
    "SELECT count(*) FROM segment WHERE boot_id = ?1 AND (measured = 0 OR abs(hub_minus_boot_ms - ?2) > ?3)";
static const char MEASURED_SET[] = "UPDATE segment SET measured = 1, hub_minus_boot_ms = ?2 WHERE boot_id = ?1";

enum trb_status outbox_measured(struct outbox *outbox, const uint8_t boot_id[TRB_BOOT_ID_BYTES],
                                int64_t hub_minus_boot_ms, struct trb_error *err) {
  struct trb_slice boot = trb_slice_of(boot_id, TRB_BOOT_ID_BYTES);
  int64_t moved = 0;
  enum trb_status status =
      db_get_int(outbox->db, err, &moved, MEASURED_WHERE, "bii", boot, hub_minus_boot_ms, (int64_t)OFFSET_MOVED_MS);
  if (status != TRB_OK || moved == 0) return status;
  return db_run(outbox->db, err, MEASURED_SET, "bi", boot, hub_minus_boot_ms);
}

/* ---- alarms and counts ---- */

enum trb_status outbox_alarm(struct outbox *outbox, const char *kind, const char *text, int64_t now_ms,
                             struct trb_error *err) {
  TRB_BUF_AUTO old = {0};
  enum trb_status status = db_get_bytes(outbox->db, NULL, &old, "SELECT text FROM alarm WHERE kind = ?", "t", kind);
  if (status != TRB_OK && status != TRB_ABSENT) return trb_fail(err, status, OUTBOX_FILE ": cannot read alarms");
  bool set = status == TRB_OK;
  if (!text) return set ? db_run(outbox->db, err, "DELETE FROM alarm WHERE kind = ?", "t", kind) : TRB_OK;
  if (set && strcmp(trb_buf_cstr(&old), text) == 0) return TRB_OK;
  if (set) return db_run(outbox->db, err, "UPDATE alarm SET text = ? WHERE kind = ?", "tt", text, kind);
  return db_run(outbox->db, err, "INSERT INTO alarm(kind, text, since_ms) VALUES(?, ?, ?)", "tti", kind, text, now_ms);
}

enum trb_status outbox_counts(struct outbox *outbox, int64_t *ret_batches, int64_t *ret_bytes,
                              int64_t *ret_unacked_bytes, struct trb_error *err) {
  TRB_STMT_AUTO *stmt = NULL;
  bool row = false;
  enum trb_status status = db_queryf(outbox->db, err, &stmt,
                                     "SELECT count(*), coalesce(sum(length(sealed)), 0), "
                                     "coalesce(sum(CASE WHEN sequence > ?1 THEN length(sealed) END), 0) FROM batch",
                                     "i", (int64_t)outbox->state.acked);
  if (status == TRB_OK) status = stmt_step(stmt, &row, err);
  if (status != TRB_OK || !row) return status;
  *ret_batches = stmt_int(stmt, 0);
  *ret_bytes = stmt_int(stmt, 1);
  *ret_unacked_bytes = stmt_int(stmt, 2);
  return TRB_OK;
}

enum trb_status outbox_acked_mark(struct outbox *outbox, uint64_t *ret, struct trb_error *err) {
  const struct outbox_state *s = &outbox->state;
  int64_t mark = (int64_t)(s->mark < s->late_mark ? s->mark : s->late_mark);
  enum trb_status status = TRB_OK;
  if (s->acked < s->sequence)
    status =
        db_get_int(outbox->db, err, &mark, "SELECT last_mark FROM batch WHERE sequence = ?", "i", (int64_t)s->acked);
  if (status != TRB_OK && status != TRB_ABSENT) return status;
  *ret = status == TRB_OK ? (uint64_t)mark : 0;
  return TRB_OK;
}
