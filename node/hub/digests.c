/* digests: see digests.h. Open addressing, linear probing, at most half full. */
#include "digests.h"

#include <stdlib.h>

enum { FIRST_CAP = 256 };

struct digests {
  struct trb_db *db;
  struct digest_entry *entries;
  size_t cap, count;
};

enum trb_status digests_new(struct trb_db *db, struct digests **ret, struct trb_error *err) {
  struct digests *d = calloc(1, sizeof *d);
  if (!d || !(d->entries = calloc(FIRST_CAP, sizeof *d->entries))) {
    free(d);
    return trb_fail(err, TRB_NOMEM, "out of memory");
  }
  d->db = db;
  d->cap = FIRST_CAP;
  *ret = d;
  return TRB_OK;
}

void digests_free(struct digests **d_p) {
  if (!*d_p) return;
  free((*d_p)->entries);
  free(*d_p);
  *d_p = NULL;
}

static size_t slot_of(const struct digests *d, int64_t site, uint16_t table) {
  uint64_t h = ((uint64_t)site << 16 | table) * 0x9E3779B97F4A7C15u;
  size_t at = (size_t)(h >> 32) & (d->cap - 1);
  while (d->entries[at].used && (d->entries[at].site != site || d->entries[at].table != table))
    at = (at + 1) & (d->cap - 1);
  return at;
}

static bool grow(struct digests *d) {
  struct digests bigger = {.db = d->db, .cap = 2 * d->cap, .count = d->count};
  bigger.entries = calloc(bigger.cap, sizeof *bigger.entries);
  if (!bigger.entries) return false;
  for (size_t i = 0; i < d->cap; i++)
    if (d->entries[i].used) bigger.entries[slot_of(&bigger, d->entries[i].site, d->entries[i].table)] = d->entries[i];
  free(d->entries);
  *d = bigger;
  return true;
}

static enum trb_status load(struct digests *d, struct digest_entry *entry, struct trb_error *err) {
  TRB_STMT_AUTO *stmt = NULL;
  enum trb_status status = db_queryf(d->db, err, &stmt, "SELECT rows, sum FROM digest WHERE site=?1 AND tbl=?2", "ii",
                                     entry->site, (int64_t)entry->table);
  bool row = false;
  if (status == TRB_OK) status = stmt_step(stmt, &row, err);
  if (status == TRB_OK && row) {
    entry->rows = stmt_int(stmt, 0);
    entry->sum = (uint64_t)stmt_int(stmt, 1);
  }
  return status;
}

enum trb_status digests_get(struct digests *d, int64_t site, uint16_t table, struct digest_entry **ret,
                            struct trb_error *err) {
  size_t at = slot_of(d, site, table);
  if (!d->entries[at].used) {
    struct digest_entry entry = {.site = site, .table = table, .used = true};
    enum trb_status status = load(d, &entry, err);
    if (status != TRB_OK) return status;
    if (2 * (d->count + 1) > d->cap && !grow(d)) return trb_fail(err, TRB_NOMEM, "out of memory");
    at = slot_of(d, site, table);
    d->entries[at] = entry;
    d->count++;
  }
  *ret = &d->entries[at];
  return TRB_OK;
}

enum trb_status digests_flush(struct digests *d, struct trb_error *err) {
  for (size_t i = 0; i < d->cap; i++) {
    struct digest_entry *e = &d->entries[i];
    if (!e->used || !e->dirty) continue;
    enum trb_status status = db_run(d->db, err, "INSERT OR REPLACE INTO digest(site,tbl,rows,sum) VALUES(?1,?2,?3,?4)",
                                    "iiii", e->site, (int64_t)e->table, e->rows, (int64_t)e->sum);
    if (status != TRB_OK) return status;
    e->dirty = false;
  }
  return TRB_OK;
}

void digests_forget(struct digests *d) {
  for (size_t i = 0; i < d->cap; i++) d->entries[i] = (struct digest_entry){0};
  d->count = 0;
}
