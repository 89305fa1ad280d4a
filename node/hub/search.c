/* search: see search.h. */
#include "search.h"

#include <stdio.h>
#include <string.h>

#include "claims.h"
#include "tributary/text.h"

/* ---- grams ---- */

static size_t character_bytes(struct trb_slice s, size_t at) {
  uint8_t b = s.data[at];
  size_t n = b < 0x80 ? 1 : b < 0xE0 ? 2 : b < 0xF0 ? 3 : 4;
  return at + n <= s.len ? n : s.len - at;
}

/* Han, kana, hangul and everything else written without spaces starts at U+2E80 (E2 BA 80). */
static bool is_ideograph(const uint8_t *c, size_t n) {
  return n >= 3 && (c[0] > 0xE2 || (c[0] == 0xE2 && c[1] >= 0xBA));
}
static bool is_word(const uint8_t *c, size_t n) {
  if (n > 1) return !is_ideograph(c, n);
  return (*c >= 'a' && *c <= 'z') || (*c >= '0' && *c <= '9') || *c == '=';
}

static void add_gram(struct search_grams *grams, const uint8_t *data, size_t len) {
  while (len > SEARCH_GRAM_BYTES) { /* cut at a character */
    len--;
    while (len && (data[len] & 0xC0) == 0x80) len--;
  }
  if (!len || grams->count == SEARCH_GRAMS_MAX) return;
  char *gram = grams->gram[grams->count];
  memcpy(gram, data, len);
  gram[len] = 0;
  for (size_t i = 0; i < grams->count; i++)
    if (strcmp(grams->gram[i], gram) == 0) return;
  grams->count++;
}

enum trb_status search_fold(struct trb_slice text, struct trb_buf *out) {
  bool ascii = true;
  for (size_t i = 0; i < text.len; i++) ascii = ascii && text.data[i] < 0x80;
  if (ascii) {
    for (size_t i = 0; i < text.len; i++)
      trb_buf_append_byte(out,
                          text.data[i] >= 'A' && text.data[i] <= 'Z' ? (uint8_t)(text.data[i] | 0x20) : text.data[i]);
    return TRB_OK;
  }
  TRB_BUF_AUTO folded = {0};
  enum trb_status status = text_nfkc_casefold(text, &folded, NULL);
  return status == TRB_OK ? text_simplified(trb_buf_slice(&folded), out, NULL) : status;
}

static void grams_of_folded(struct trb_slice s, struct search_grams *grams) {
  for (size_t at = 0; at < s.len;) {
    size_t n = character_bytes(s, at), end = at;
    if (is_ideograph(s.data + at, n)) {
      size_t next = at + n, m = next < s.len ? character_bytes(s, next) : 0;
      add_gram(grams, s.data + at, m && is_ideograph(s.data + next, m) ? n + m : n);
      at += n;
      continue;
    }
    while (end < s.len && is_word(s.data + end, character_bytes(s, end))) end += character_bytes(s, end);
    if (end > at) add_gram(grams, s.data + at, end - at);
    at = end > at ? end : at + n;
  }
}

void search_grams_of(struct trb_slice name, struct search_grams *grams) {
  TRB_BUF_AUTO folded = {0};
  if (name.len && search_fold(name, &folded) == TRB_OK && !folded.failed)
    grams_of_folded(trb_buf_slice(&folded), grams);
}

const uint16_t search_columns[SEARCH_NAMES + 1] = {TRB_C_customer_name, TRB_C_customer_name_latin,
                                                   TRB_C_customer_name_english, TRB_C_customer_external_ref};

void search_grams_of_card(const struct trb_slice texts[SEARCH_NAMES + 1], struct search_grams *ret) {
  ret->count = 0;
  for (size_t i = 0; i < SEARCH_NAMES; i++) search_grams_of(texts[i], ret);
  struct trb_slice ref = texts[SEARCH_NAMES];
  uint8_t gram[SEARCH_GRAM_BYTES] = "=";
  if (!ref.len || ret->count == SEARCH_GRAMS_MAX) return;
  size_t len = ref.len < sizeof gram - 1 ? ref.len : sizeof gram - 1;
  memcpy(gram + 1, ref.data, len);
  add_gram(ret, gram, len + 1);
}

static void grams_of_row(const struct trb_table *customer, const struct trb_value *values, struct search_grams *grams) {
  struct trb_slice texts[SEARCH_NAMES + 1];
  grams->count = 0;
  if (!values) return;
  for (size_t i = 0; i <= SEARCH_NAMES; i++) texts[i] = value_text(row_value(customer, values, search_columns[i]));
  search_grams_of_card(texts, grams);
}

static bool has_gram(const struct search_grams *grams, const char *gram) {
  for (size_t i = 0; i < grams->count; i++)
    if (strcmp(grams->gram[i], gram) == 0) return true;
  return false;
}

static bool names_equal(const struct trb_table *customer, const struct trb_value *before,
                        const struct trb_value *after) {
  for (size_t i = 0; i <= SEARCH_NAMES; i++)
    if (!trb_value_equal(row_value(customer, before, search_columns[i]), row_value(customer, after, search_columns[i])))
      return false;
  return true;
}

static enum trb_status add_row(struct trb_db *db, int64_t rec, const char *gram, struct trb_error *err) {
  return db_run(db, err, "INSERT OR IGNORE INTO search(gram, rec) VALUES(?1, ?2)", "ti", gram, rec);
}

enum trb_status search_add(struct trb_db *db, int64_t rec, const struct search_grams *grams, struct trb_error *err) {
  enum trb_status status = TRB_OK;
  for (size_t i = 0; status == TRB_OK && i < grams->count; i++) status = add_row(db, rec, grams->gram[i], err);
  return status;
}

enum trb_status search_update(struct trb_db *db, const struct trb_table *customer, int64_t rec,
                              const struct trb_value *before, const struct trb_value *after, struct trb_error *err) {
  if (before && after && names_equal(customer, before, after)) return TRB_OK;
  struct search_grams old, new;
  grams_of_row(customer, before, &old);
  grams_of_row(customer, after, &new);
  enum trb_status status = TRB_OK;
  for (size_t i = 0; status == TRB_OK && i < old.count; i++)
    if (!has_gram(&new, old.gram[i]))
      status = db_run(db, err, "DELETE FROM search WHERE gram = ?1 AND rec = ?2", "ti", old.gram[i], rec);
  for (size_t i = 0; status == TRB_OK && i < new.count; i++)
    if (!has_gram(&old, new.gram[i])) status = add_row(db, rec, new.gram[i], err);
  return status;
}

/* ---- queries ---- */

static void hit(struct search_hits *hits, int64_t party) {
  for (size_t i = 0; i < hits->count; i++)
    if (hits->party[i] == party) return;
  if (hits->count == hits->max)
    hits->more = true;
  else
    hits->party[hits->count++] = party;
}

static enum trb_status take(struct trb_stmt *stmt, struct search_hits *hits, struct trb_error *err) {
  bool row = true;
  enum trb_status status;
  while ((status = stmt_step(stmt, &row, err)) == TRB_OK && row && !hits->more) hit(hits, stmt_int(stmt, 0));
  return status;
}

enum trb_status search_id(struct trb_db *db, struct trb_slice text, struct search_hits *hits, struct trb_error *err) {
  TRB_STMT_AUTO *stmt = NULL;
  const uint8_t *slash = text.len ? memchr(text.data, '/', text.len) : NULL;
  enum trb_status status = TRB_OK;
  if (slash) { /* a record id may hold slashes itself: both readings */
    struct trb_slice site = {text.data, (size_t)(slash - text.data)}, id = {slash + 1, text.len - site.len - 1};
    status = db_queryf(db, err, &stmt,
                       "SELECT coalesce(r.party, r.rec) FROM site_no s JOIN record r ON r.site = s.no AND r.id = ?2 "
                       "WHERE s.name = ?1 AND r.class <> 0",
                       "ss", site, id);
    if (status == TRB_OK) status = take(stmt, hits, err);
    if (status != TRB_OK || hits->count) return status;
  }
  TRB_STMT_AUTO *alone = NULL;
  status =
      db_queryf(db, err, &alone,
                "SELECT coalesce(r.party, r.rec) FROM site_no s CROSS JOIN record r ON r.site = s.no AND r.id = ?1 "
                "WHERE r.class <> 0 ORDER BY r.hlc, r.pos",
                "s", text);
  return status == TRB_OK ? take(alone, hits, err) : status;
}

enum trb_status search_contact(struct trb_db *db, struct trb_slice kind, struct trb_slice value,
                               const struct trb_key_context *context, struct search_hits *hits, struct trb_error *err) {
  struct trb_keys keys;
  key_normalise(kind_of(kind), kind, value, context, &keys);
  enum trb_status status = TRB_OK;
  for (size_t i = 0; status == TRB_OK && i < keys.count; i++) {
    TRB_STMT_AUTO *stmt = NULL;
    status = db_queryf(
        db, err, &stmt,
        "SELECT coalesce(r.party, r.rec) FROM claim k JOIN record r ON r.rec = k.rec WHERE k.key = ?1 AND k.class >= 0 "
        "AND r.class <> 0 ORDER BY r.hlc, r.pos",
        "t", keys.key[i].text);
    if (status == TRB_OK) status = take(stmt, hits, err);
  }
  return status;
}

static bool contains(struct trb_slice hay, struct trb_slice needle) {
  return needle.len == 0 || (hay.len >= needle.len && memmem(hay.data, hay.len, needle.data, needle.len));
}

static bool row_matches(struct trb_stmt *stmt, struct trb_slice needle) {
  for (int i = 1; i <= 3; i++) {
    TRB_BUF_AUTO folded = {0};
    if (search_fold(stmt_slice(stmt, i), &folded) == TRB_OK && contains(trb_buf_slice(&folded), needle)) return true;
  }
  return false;
}

/* The longest gram is taken for the rarest. The last one of a query may be the beginning of a word or of a pair. */
static enum trb_status candidates(struct trb_db *db, const struct search_grams *grams, char end[SEARCH_GRAM_BYTES + 2],
                                  struct trb_stmt **ret, struct trb_error *err) {
  size_t best = 0;
  for (size_t i = 1; i < grams->count; i++)
    if (strlen(grams->gram[i]) > strlen(grams->gram[best])) best = i;
  snprintf(end, SEARCH_GRAM_BYTES + 2, "%s\xff", grams->gram[best]);
  return db_queryf(
      db, err, ret,
      "SELECT coalesce(r.party, r.rec), c.name, c.name_latin, c.name_english FROM search s "
      "CROSS JOIN record r ON r.rec = s.rec CROSS JOIN customer c ON c._rid = s.rec WHERE s.gram >= ?1 AND s.gram < ?2",
      "ss", trb_slice_str(grams->gram[best]), trb_slice_str(end));
}

enum trb_status search_name(struct trb_db *db, struct trb_slice text, struct search_hits *hits, struct trb_error *err) {
  struct search_grams grams = {0};
  TRB_BUF_AUTO needle = {0};
  search_grams_of(text, &grams);
  if (!grams.count || search_fold(text, &needle) != TRB_OK) return TRB_OK;
  char end[SEARCH_GRAM_BYTES + 2]; /* bound until the statement is done */
  TRB_STMT_AUTO *stmt = NULL;
  enum trb_status status = candidates(db, &grams, end, &stmt, err);
  bool row = true;
  while (status == TRB_OK && !hits->more && (status = stmt_step(stmt, &row, err)) == TRB_OK && row)
    if (row_matches(stmt, trb_buf_slice(&needle))) hit(hits, stmt_int(stmt, 0));
  return status;
}

static enum trb_status search_reference(struct trb_db *db, struct trb_slice text, struct search_hits *hits,
                                        struct trb_error *err) {
  char gram[SEARCH_GRAM_BYTES + 1] = "=";
  size_t len = text.len < SEARCH_GRAM_BYTES - 1 ? text.len : SEARCH_GRAM_BYTES - 1;
  memcpy(gram + 1, text.data, len);
  TRB_STMT_AUTO *stmt = NULL;
  enum trb_status status = db_queryf(
      db, err, &stmt,
      "SELECT coalesce(r.party, r.rec) FROM search s CROSS JOIN record r ON r.rec = s.rec "
      "CROSS JOIN customer c ON c._rid = s.rec WHERE s.gram = ?1 AND c.external_ref = ?2 ORDER BY r.hlc, r.pos",
      "ss", (struct trb_slice){(const uint8_t *)gram, len + 1}, text);
  return status == TRB_OK ? take(stmt, hits, err) : status;
}

enum trb_status search_any(struct trb_db *db, struct trb_slice text, const struct trb_key_context *context,
                           struct search_hits *hits, struct trb_error *err) {
  static const char *const kinds[] = {"mobile", "landline", "email",       "national_id", "wechat",
                                      "qq",     "passport", "member_card", "tax_no"};
  if (!text.len) return TRB_OK;
  enum trb_status status = search_id(db, text, hits, err);
  if (status == TRB_OK && !hits->count) status = search_reference(db, text, hits, err);
  for (size_t i = 0; status == TRB_OK && !hits->count && i < sizeof kinds / sizeof *kinds; i++)
    status = search_contact(db, trb_slice_str(kinds[i]), text, context, hits, err);
  if (status == TRB_OK && !hits->count) status = search_name(db, text, hits, err);
  return status;
}
