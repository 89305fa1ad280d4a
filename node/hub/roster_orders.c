/* roster_orders: invitations, joins, streams, keys and states of sites, as headquarters' writes. See roster.h. */
#include <stdio.h>
#include <string.h>

#include "roster.h"

enum { ID_HEX = 2 * TRB_INCARNATION_BYTES + 1 };

static struct trb_value bytes_value(const void *data, size_t len) { return trb_blob(trb_slice_of(data, len)); }

static enum trb_status write_list(struct hq *hq, struct hq_changes *list, int64_t now_ms, struct trb_error *err) {
  struct unify_sites dirty;
  return hq_write(hq, list, now_ms, &dirty, err);
}

static void change_site_state(struct hq_changes *list, const char *site, const char *state, const char *reason,
                              int64_t now_ms) {
  hq_change(list, TRB_T_site, TRB_OP_SET, trb_slice_str(site));
  hq_cell(list, TRB_C_site_state, trb_text(state));
  hq_cell(list, TRB_C_site_updated_at, trb_int(now_ms));
  char id[TRB_SITE_BYTES_MAX + 24];
  snprintf(id, sizeof id, "%s-%lld", site, (long long)now_ms);
  hq_change(list, TRB_T_site_state, TRB_OP_PUT, trb_slice_str(id));
  hq_cell(list, TRB_C_site_state_site_id, trb_text(site));
  hq_cell(list, TRB_C_site_state_state, trb_text(state));
  hq_cell(list, TRB_C_site_state_at, trb_int(now_ms));
  hq_cell(list, TRB_C_site_state_reason, trb_text(reason));
}

/* TRB_ABSENT: no such site. */
static enum trb_status site_state(struct trb_db *db, const char *site, struct trb_buf *out, struct trb_error *err) {
  enum trb_status status =
      db_get_bytes(db, NULL, out, "SELECT coalesce(state,'') FROM site WHERE _site=1 AND id=?1", "t", site);
  return status == TRB_ABSENT ? trb_fail(err, TRB_ABSENT, "there is no site '%s'", site) : status;
}

/* ---- inviting ---- */

static void put_invitation(struct hq_changes *list, const struct trb_token *token, bool known, int64_t now_ms) {
  char id[ID_HEX];
  uint8_t hash[TRB_HASH_BYTES];
  trb_hex(token->invitation, sizeof token->invitation, id);
  crypto_hash(trb_slice_of(token->secret, sizeof token->secret), hash);
  hq_change(list, TRB_T_invitation, TRB_OP_PUT, trb_slice_str(id));
  hq_cell(list, TRB_C_invitation_created_at, trb_int(now_ms));
  hq_cell(list, TRB_C_invitation_token_hash, bytes_value(hash, sizeof hash));
  hq_cell(list, TRB_C_invitation_site, trb_text(token->site));
  hq_cell(list, TRB_C_invitation_expires_at, trb_int(token->expires_ms));
  hq_cell(list, TRB_C_invitation_purpose, trb_text(known ? "rejoin" : "join"));
}

static void put_site(struct hq_changes *list, const struct roster_invite *invite, bool known, int64_t now_ms) {
  hq_change(list, TRB_T_site, known ? TRB_OP_SET : TRB_OP_PUT, trb_slice_str(invite->site));
  if (!known) {
    hq_cell(list, TRB_C_site_created_at, trb_int(now_ms));
    hq_cell(list, TRB_C_site_state, trb_text("invited"));
    hq_cell(list, TRB_C_site_title, trb_text(invite->site));
  }
  hq_cell(list, TRB_C_site_updated_at, trb_int(now_ms));
  if (invite->region) hq_cell(list, TRB_C_site_region, trb_text(invite->region));
  if (invite->area_code) hq_cell(list, TRB_C_site_area_code, trb_text(invite->area_code));
}

enum trb_status roster_invite(struct hq *hq, const struct hub_keys *keys, const struct roster_invite *invite,
                              int64_t now_ms, struct trb_buf *token_text, struct trb_error *err) {
  if (!trb_site_valid(trb_slice_str(invite->site)) || strcmp(invite->site, TRB_HQ_SITE) == 0 ||
      strcmp(invite->site, "guest") == 0)
    return trb_fail(err, TRB_PEER,
                    "a site's name is a lower case letter, then up to 31 letters, digits or '-' (not hq, not guest)");
  TRB_BUF_AUTO state = {0};
  enum trb_status status = site_state(hq->store->db, invite->site, &state, err);
  if (status != TRB_OK && status != TRB_ABSENT) return status;
  bool known = status == TRB_OK;
  if (known && (strcmp(trb_buf_cstr(&state), "open") == 0 || strcmp(trb_buf_cstr(&state), "suspended") == 0))
    return trb_fail(err, TRB_DENIED, "'%s' has a machine already: to give it a new one, first `tributary hub revoke`",
                    invite->site);
  struct trb_token token = {.expires_ms = invite->expires_ms, .endpoint_count = keys->set.endpoint_count};
  memcpy(token.root_public, keys->set.root_public, TRB_KEY_BYTES);
  memcpy(token.curve_public, keys->set.curve_public, TRB_KEY_BYTES);
  memcpy(token.endpoints, keys->set.endpoints, sizeof token.endpoints);
  snprintf(token.site, sizeof token.site, "%s", invite->site);
  crypto_random(token.invitation, sizeof token.invitation);
  crypto_random(token.secret, sizeof token.secret);
  HQ_CHANGES_AUTO list = {0};
  put_site(&list, invite, known, now_ms);
  put_invitation(&list, &token, known, now_ms);
  status = write_list(hq, &list, now_ms, err);
  if (status == TRB_OK) token_encode(&token, token_text);
  crypto_wipe(token.secret, sizeof token.secret);
  return status;
}

/* ---- suspending, resuming, revoking ---- */

static enum trb_status revoke_keys(struct trb_db *db, struct hq_changes *list, const char *site, int64_t now_ms,
                                   struct trb_error *err) {
  TRB_STMT_AUTO *stmt = NULL;
  enum trb_status status = db_queryf(
      db, err, &stmt, "SELECT id FROM site_key WHERE _site=1 AND site_id=?1 AND state IN ('current','previous','held')",
      "t", site);
  bool row = status == TRB_OK;
  while (status == TRB_OK && (status = stmt_step(stmt, &row, err)) == TRB_OK && row) {
    hq_change(list, TRB_T_site_key, TRB_OP_SET, stmt_slice(stmt, 0));
    hq_cell(list, TRB_C_site_key_state, trb_text("revoked"));
    hq_cell(list, TRB_C_site_key_valid_until, trb_int(now_ms));
  }
  return status;
}

/* Tokens that nobody used go with the machine: else whoever found one later would take its place. */
static enum trb_status withdraw_invitations(struct trb_db *db, struct hq_changes *list, const char *site,
                                            int64_t now_ms, struct trb_error *err) {
  TRB_STMT_AUTO *stmt = NULL;
  enum trb_status status = db_queryf(db, err, &stmt,
                                     "SELECT id FROM invitation WHERE _site=1 AND site=?1 AND used_at IS NULL AND "
                                     "revoked_at IS NULL AND expires_at>=?2",
                                     "ti", site, now_ms);
  bool row = status == TRB_OK;
  while (status == TRB_OK && (status = stmt_step(stmt, &row, err)) == TRB_OK && row) {
    hq_change(list, TRB_T_invitation, TRB_OP_SET, stmt_slice(stmt, 0));
    hq_cell(list, TRB_C_invitation_revoked_at, trb_int(now_ms));
  }
  return status;
}

static enum trb_status check_order(const char *site, const char *is, enum roster_state wanted, struct trb_error *err) {
  bool open = strcmp(is, "open") == 0, suspended = strcmp(is, "suspended") == 0;
  switch (wanted) {
    case ROSTER_SUSPENDED:
      if (open) return TRB_OK;
      return trb_fail(err, suspended ? TRB_ABSENT : TRB_DENIED, "'%s' is %s, not active", site, is);
    case ROSTER_OPEN:
      if (suspended) return TRB_OK;
      return trb_fail(err, open ? TRB_ABSENT : TRB_DENIED, "'%s' is %s, not suspended%s", site, open ? "active" : is,
                      strcmp(is, "revoked") == 0 ? ": invite a new machine" : "");
    default: return TRB_OK;
  }
}

enum trb_status roster_order_check(struct hq *hq, const char *site, enum roster_state state, struct trb_error *err) {
  TRB_BUF_AUTO is = {0};
  enum trb_status status = site_state(hq->store->db, site, &is, err);
  return status == TRB_OK ? check_order(site, trb_buf_cstr(&is), state, err) : status;
}

enum trb_status roster_order(struct hq *hq, const char *site, enum roster_state state, const char *reason,
                             int64_t now_ms, struct trb_error *err) {
  static const char *const words[] = {"invited", "open", "suspended", "revoked", "closed"};
  HQ_CHANGES_AUTO list = {0};
  enum trb_status status = roster_order_check(hq, site, state, err);
  if (status == TRB_OK && state == ROSTER_REVOKED) status = revoke_keys(hq->store->db, &list, site, now_ms, err);
  if (status == TRB_OK && state >= ROSTER_REVOKED)
    status = withdraw_invitations(hq->store->db, &list, site, now_ms, err);
  if (status != TRB_OK) return status;
  change_site_state(&list, site, words[state], reason, now_ms);
  return write_list(hq, &list, now_ms, err);
}

/* ---- joining ---- */

static enum trb_status refuse(struct hub_job *job, enum trb_fault fault, const char *text, struct trb_error *err) {
  job->fault = fault;
  snprintf(job->text, sizeof job->text, "%s", text);
  return trb_fail(err, TRB_DENIED, "%s", text);
}

static void put_key(struct hq_changes *list, const char *id, const char *site, const uint8_t *curve,
                    const uint8_t *sign, const uint8_t *incarnation, const char *state, int64_t now_ms) {
  hq_change(list, TRB_T_site_key, TRB_OP_PUT, trb_slice_str(id));
  hq_cell(list, TRB_C_site_key_created_at, trb_int(now_ms));
  hq_cell(list, TRB_C_site_key_site_id, trb_text(site));
  hq_cell(list, TRB_C_site_key_curve_public, bytes_value(curve, TRB_KEY_BYTES));
  hq_cell(list, TRB_C_site_key_sign_public, bytes_value(sign, TRB_KEY_BYTES));
  hq_cell(list, TRB_C_site_key_incarnation, bytes_value(incarnation, TRB_INCARNATION_BYTES));
  hq_cell(list, TRB_C_site_key_state, trb_text(state));
  hq_cell(list, TRB_C_site_key_valid_from, trb_int(now_ms));
}

static enum trb_status check_invitation(struct trb_db *db, struct hub_job *job, const char *id, int64_t now_ms,
                                        bool *ret_again, struct trb_error *err) {
  TRB_STMT_AUTO *stmt = NULL;
  bool row = false;
  enum trb_status status =
      db_queryf(db, err, &stmt,
                "SELECT site, token_hash, expires_at, used_at, used_curve_public, used_sign_public, revoked_at FROM "
                "invitation WHERE _site=1 AND id=?1",
                "t", id);
  if (status == TRB_OK) status = stmt_step(stmt, &row, err);
  if (status != TRB_OK) return status;
  uint8_t hash[TRB_HASH_BYTES];
  crypto_hash(trb_slice_of(job->join.secret, sizeof job->join.secret), hash);
  struct trb_slice known = row ? stmt_slice(stmt, 1) : trb_slice_of(NULL, 0);
  if (known.len != sizeof hash || !crypto_equal(known.data, hash, sizeof hash))
    return refuse(job, TRB_FAULT_TOKEN_UNKNOWN, "headquarters does not know this invitation", err);
  snprintf(job->site_name, sizeof job->site_name, "%s", stmt_text(stmt, 0));
  if (!stmt_is_null(stmt, 6)) return refuse(job, TRB_FAULT_TOKEN_EXPIRED, "the invitation was withdrawn", err);
  bool used = !stmt_is_null(stmt, 3);
  *ret_again = used && trb_slice_equal(stmt_slice(stmt, 4), trb_slice_of(job->join.curve_public, TRB_KEY_BYTES)) &&
               trb_slice_equal(stmt_slice(stmt, 5), trb_slice_of(job->join.sign_public, TRB_KEY_BYTES));
  if (*ret_again) return TRB_OK; /* a crash between use and reply */
  if (stmt_int(stmt, 2) < now_ms) return refuse(job, TRB_FAULT_TOKEN_EXPIRED, "the invitation has expired", err);
  if (used) return refuse(job, TRB_FAULT_TOKEN_USED, "the invitation was used by another machine", err);
  return TRB_OK;
}

/* Keys that another site than `but` has or had ("": any site). */
static enum trb_status check_key_free(struct trb_db *db, const uint8_t curve[TRB_KEY_BYTES],
                                      const uint8_t sign[TRB_KEY_BYTES], const char *but, bool *ret_taken,
                                      struct trb_error *err) {
  int64_t taken = 0;
  enum trb_status status =
      db_get_int(db, err, &taken,
                 "SELECT EXISTS(SELECT 1 FROM site_key WHERE (curve_public=?1 OR sign_public=?2) AND site_id<>?3)",
                 "bbt", trb_slice_of(curve, TRB_KEY_BYTES), trb_slice_of(sign, TRB_KEY_BYTES), but);
  *ret_taken = taken != 0;
  return status;
}

/* A second token of a site that has its machine: whoever holds it must not take the machine's place. */
static enum trb_status check_site_free(struct trb_db *db, struct hub_job *job, struct trb_error *err) {
  TRB_BUF_AUTO state = {0};
  enum trb_status status = site_state(db, job->site_name, &state, err);
  const char *is = trb_buf_cstr(&state);
  if (status != TRB_OK || (strcmp(is, "open") != 0 && strcmp(is, "suspended") != 0)) return status;
  return refuse(job, TRB_FAULT_SITE_TAKEN,
                "this site has a machine already: to give it a new one, headquarters revokes that one first", err);
}

static enum trb_status site_places(struct trb_db *db, struct hub_job *job, struct trb_error *err) {
  TRB_STMT_AUTO *stmt = NULL;
  bool row = false;
  enum trb_status status =
      db_queryf(db, err, &stmt, "SELECT region, area_code FROM site WHERE _site=1 AND id=?1", "t", job->site_name);
  if (status == TRB_OK) status = stmt_step(stmt, &row, err);
  if (status == TRB_OK && row) {
    snprintf(job->region, sizeof job->region, "%s", stmt_text(stmt, 0));
    snprintf(job->area_code, sizeof job->area_code, "%s", stmt_text(stmt, 1));
  }
  return status;
}

static enum trb_status current_incarnation(struct trb_db *db, const char *site, uint8_t ret[TRB_INCARNATION_BYTES],
                                           char ret_id[ID_HEX], struct trb_error *err) {
  TRB_STMT_AUTO *stmt = NULL;
  bool row = false;
  enum trb_status status =
      db_queryf(db, err, &stmt, "SELECT incarnation, id FROM site_key WHERE _site=1 AND site_id=?1 AND state='current'",
                "t", site);
  if (status == TRB_OK) status = stmt_step(stmt, &row, err);
  if (status != TRB_OK) return status;
  if (!row || stmt_slice(stmt, 0).len != TRB_INCARNATION_BYTES)
    return trb_fail(err, TRB_ABSENT, "'%s' has no stream", site);
  memcpy(ret, stmt_slice(stmt, 0).data, TRB_INCARNATION_BYTES);
  snprintf(ret_id, ID_HEX, "%s", stmt_text(stmt, 1));
  return TRB_OK;
}

enum trb_status roster_join(struct hq *hq, struct hub_job *job, int64_t now_ms, struct trb_error *err) {
  struct trb_db *db = hq->store->db;
  char id[ID_HEX];
  bool again = false, taken = false;
  trb_hex(job->join.invitation, sizeof job->join.invitation, id);
  enum trb_status status = check_invitation(db, job, id, now_ms, &again, err);
  if (status == TRB_OK) status = site_places(db, job, err);
  if (status != TRB_OK) return status;
  char key_id[ID_HEX];
  if (again) return current_incarnation(db, job->site_name, job->stream.incarnation, key_id, err);
  status = check_site_free(db, job, err);
  if (status == TRB_OK) status = check_key_free(db, job->join.curve_public, job->join.sign_public, "", &taken, err);
  if (status == TRB_OK && taken)
    status = refuse(job, TRB_FAULT_SITE_TAKEN, "these keys were used before: join from an empty folder", err);
  HQ_CHANGES_AUTO list = {0};
  if (status == TRB_OK) status = revoke_keys(db, &list, job->site_name, now_ms, err); /* of an earlier machine */
  if (status != TRB_OK) return status;
  crypto_random(job->stream.incarnation, TRB_INCARNATION_BYTES);
  trb_hex(job->stream.incarnation, TRB_INCARNATION_BYTES, key_id);
  put_key(&list, key_id, job->site_name, job->join.curve_public, job->join.sign_public, job->stream.incarnation,
          "current", now_ms);
  hq_change(&list, TRB_T_invitation, TRB_OP_SET, trb_slice_str(id));
  hq_cell(&list, TRB_C_invitation_used_at, trb_int(now_ms));
  hq_cell(&list, TRB_C_invitation_used_curve_public, bytes_value(job->join.curve_public, TRB_KEY_BYTES));
  hq_cell(&list, TRB_C_invitation_used_sign_public, bytes_value(job->join.sign_public, TRB_KEY_BYTES));
  change_site_state(&list, job->site_name, "open", "joined", now_ms);
  return write_list(hq, &list, now_ms, err);
}

/* ---- streams and keys of a site that is in ---- */

static enum trb_status streams_lately(struct trb_db *db, const char *site, int64_t now_ms, int64_t *ret,
                                      struct trb_error *err) {
  return db_get_int(db, err, ret, "SELECT count(*) FROM site_key WHERE _site=1 AND site_id=?1 AND valid_from>?2", "ti",
                    site, now_ms - 3600000);
}

enum trb_status roster_new_stream(struct hq *hq, struct hub_job *job, int64_t now_ms, struct trb_error *err) {
  struct trb_db *db = hq->store->db;
  char old_id[ID_HEX], id[ID_HEX];
  uint8_t old[TRB_INCARNATION_BYTES];
  int64_t lately = 0;
  enum trb_status status = current_incarnation(db, job->site_name, old, old_id, err);
  if (status == TRB_OK) status = streams_lately(db, job->site_name, now_ms, &lately, err);
  if (status != TRB_OK) return status;
  if (lately >= ROSTER_STREAMS_PER_HOUR)
    return refuse(job, TRB_FAULT_RATE, "too many new streams within an hour: are two machines running as this site?",
                  err);
  crypto_random(job->stream.incarnation, TRB_INCARNATION_BYTES);
  trb_hex(job->stream.incarnation, TRB_INCARNATION_BYTES, id);
  TRB_BUF_AUTO curve = {0};
  TRB_BUF_AUTO sign = {0};
  status = db_get_bytes(db, err, &curve, "SELECT curve_public FROM site_key WHERE _site=1 AND id=?1", "t", old_id);
  if (status == TRB_OK)
    status = db_get_bytes(db, err, &sign, "SELECT sign_public FROM site_key WHERE _site=1 AND id=?1", "t", old_id);
  if (status == TRB_OK && (curve.len != TRB_KEY_BYTES || sign.len != TRB_KEY_BYTES))
    status = trb_fail(err, TRB_STORE, "hub.db: the keys of '%s' are damaged", job->site_name);
  if (status != TRB_OK) return status;
  HQ_CHANGES_AUTO list = {0};
  hq_change(&list, TRB_T_site_key, TRB_OP_SET, trb_slice_str(old_id));
  hq_cell(&list, TRB_C_site_key_state, trb_text("previous"));
  hq_cell(&list, TRB_C_site_key_valid_until, trb_int(now_ms));
  put_key(&list, id, job->site_name, curve.data, sign.data, job->stream.incarnation, "current", now_ms);
  hq_cell(&list, TRB_C_site_key_parent_incarnation, bytes_value(job->new_stream.parent, TRB_INCARNATION_BYTES));
  hq_cell(&list, TRB_C_site_key_parent_seq, trb_int((int64_t)(job->new_stream.sequence & INT64_MAX)));
  hq_cell(&list, TRB_C_site_key_parent_hash, bytes_value(job->new_stream.hash, TRB_HASH_BYTES));
  return write_list(hq, &list, now_ms, err);
}

enum trb_status roster_rotate(struct hq *hq, struct hub_job *job, int64_t now_ms, struct trb_error *err) {
  struct trb_db *db = hq->store->db;
  char id[ID_HEX], kept[ID_HEX + 24];
  uint8_t incarnation[TRB_INCARNATION_BYTES];
  TRB_BUF_AUTO curve = {0};
  TRB_BUF_AUTO sign = {0};
  enum trb_status status = current_incarnation(db, job->site_name, incarnation, id, err);
  if (status == TRB_OK)
    status = db_get_bytes(db, err, &curve, "SELECT curve_public FROM site_key WHERE _site=1 AND id=?1", "t", id);
  if (status == TRB_OK)
    status = db_get_bytes(db, err, &sign, "SELECT sign_public FROM site_key WHERE _site=1 AND id=?1", "t", id);
  if (status != TRB_OK) return status;
  if (curve.len != TRB_KEY_BYTES || sign.len != TRB_KEY_BYTES)
    return trb_fail(err, TRB_STORE, "hub.db: the keys of '%s' are damaged", job->site_name);
  if (memcmp(curve.data, job->rotate.curve_public, TRB_KEY_BYTES) == 0 &&
      memcmp(sign.data, job->rotate.sign_public, TRB_KEY_BYTES) == 0)
    return TRB_OK; /* asked again */
  /* The CURVE key says whose a message is, and ROTATE does not prove that it is the sender's own: one that another
   * site has or had is not taken. */
  bool taken = false;
  status = check_key_free(db, job->rotate.curve_public, job->rotate.sign_public, job->site_name, &taken, err);
  if (status == TRB_OK && taken) status = trb_fail(err, TRB_DENIED, "these keys were used before");
  if (status != TRB_OK) return status;
  HQ_CHANGES_AUTO list = {0};
  /* The old pair under an id of its own: batches sealed before stay valid, the line may still come up with it once. */
  snprintf(kept, sizeof kept, "%s-%lld", id, (long long)now_ms);
  put_key(&list, kept, job->site_name, curve.data, sign.data, incarnation, "previous", now_ms);
  hq_change(&list, TRB_T_site_key, TRB_OP_SET, trb_slice_str(id));
  hq_cell(&list, TRB_C_site_key_curve_public, bytes_value(job->rotate.curve_public, TRB_KEY_BYTES));
  hq_cell(&list, TRB_C_site_key_sign_public, bytes_value(job->rotate.sign_public, TRB_KEY_BYTES));
  hq_cell(&list, TRB_C_site_key_valid_from, trb_int(now_ms));
  return write_list(hq, &list, now_ms, err);
}

/* ---- streams follow the rows ---- */

static const struct trb_value *cell_of(const struct trb_change *change, uint16_t column) {
  for (size_t i = 0; i < change->cell_count; i++)
    if (change->cells[i].column == column) return &change->cells[i].value;
  return NULL;
}

static enum trb_status start_stream(struct store *s, const struct trb_change *change, struct trb_error *err) {
  const struct trb_value *site = cell_of(change, TRB_C_site_key_site_id);
  const struct trb_value *state = cell_of(change, TRB_C_site_key_state);
  const struct trb_value *incarnation = cell_of(change, TRB_C_site_key_incarnation);
  const struct trb_value *parent = cell_of(change, TRB_C_site_key_parent_incarnation);
  const struct trb_value *sequence = cell_of(change, TRB_C_site_key_parent_seq);
  if (!site || !state || !incarnation || incarnation->s.len != TRB_INCARNATION_BYTES ||
      !trb_slice_equal(state->s, trb_slice_str("current")))
    return TRB_OK;
  bool has_parent = parent && parent->type == TRB_BLOB && parent->s.len == TRB_INCARNATION_BYTES;
  int64_t no;
  enum trb_status status = store_site_no(s, site->s, &no, err);
  if (status != TRB_OK) return status;
  return store_stream_start(s, no, incarnation->s.data, has_parent ? parent->s.data : NULL,
                            sequence && sequence->type == TRB_INT ? (uint64_t)sequence->i : 0, err);
}

enum trb_status roster_applied(struct store *s, const struct trb_batch *batch, struct trb_error *err) {
  enum trb_status status = TRB_OK;
  for (size_t i = 0; status == TRB_OK && i < batch->change_count; i++) {
    const struct trb_change *change = &batch->changes[i];
    int64_t no;
    if (change->op != TRB_OP_PUT) continue;
    if (change->table == TRB_T_site_key) status = start_stream(s, change, err);
    if (change->table == TRB_T_site) status = store_site_no(s, change->id, &no, err);
  }
  return status;
}
