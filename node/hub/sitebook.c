/* sitebook: see sitebook.h. */
#include "sitebook.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static void copy_text(char *to, size_t size, const char *from) { snprintf(to, size, "%s", from); }

static enum trb_status fill(struct trb_db *db, struct sitebook_entry *entry, struct trb_error *err) {
  TRB_STMT_AUTO *stmt = NULL;
  enum trb_status status =
      db_queryf(db, err, &stmt,
                "SELECT n.name, s.region, s.area_code, s.scope, s.parent_site, "
                "EXISTS(SELECT 1 FROM unify_state WHERE name = 'awaited/' || n.name) FROM site_no n LEFT "
                "JOIN site s ON s._site = 1 AND s.id = n.name "
                "WHERE n.no = ?1",
                "i", entry->no);
  bool row = false;
  if (status == TRB_OK) status = stmt_step(stmt, &row, err);
  if (status != TRB_OK) return status;
  if (!row) return trb_fail(err, TRB_ABSENT, "no site has the number %lld", (long long)entry->no);
  copy_text(entry->name, sizeof entry->name, stmt_text(stmt, 0));
  copy_text(entry->context.region, sizeof entry->context.region, stmt_text(stmt, 1));
  copy_text(entry->context.area_code, sizeof entry->context.area_code, stmt_text(stmt, 2));
  const char *scope = stmt_text(stmt, 3);
  entry->scope = strcmp(scope, "own") == 0         ? SITEBOOK_OWN
                 : strcmp(scope, "franchise") == 0 ? SITEBOOK_FRANCHISE
                                                   : SITEBOOK_COMPANY;
  copy_text(entry->parent, sizeof entry->parent, stmt_text(stmt, 4));
  entry->awaited = stmt_int(stmt, 5) != 0;
  return TRB_OK;
}

enum trb_status sitebook_get(struct sitebook *book, struct trb_db *db, int64_t no, const struct sitebook_entry **ret,
                             struct trb_error *err) {
  size_t low = 0, high = book->count;
  while (low < high) {
    size_t middle = (low + high) / 2;
    if (book->entries[middle]->no < no)
      low = middle + 1;
    else
      high = middle;
  }
  if (low < book->count && book->entries[low]->no == no) {
    *ret = book->entries[low];
    return TRB_OK;
  }
  struct sitebook_entry *entry = calloc(1, sizeof *entry);
  if (!entry) return trb_fail(err, TRB_NOMEM, "out of memory");
  entry->no = no;
  enum trb_status status = fill(db, entry, err);
  if (status == TRB_OK && book->count == book->cap) {
    size_t cap = book->cap ? book->cap * 2 : 16;
    struct sitebook_entry **grown = realloc(book->entries, cap * sizeof *grown);
    if (grown) {
      book->entries = grown;
      book->cap = cap;
    } else {
      status = trb_fail(err, TRB_NOMEM, "out of memory");
    }
  }
  if (status != TRB_OK) {
    free(entry);
    return status;
  }
  memmove(book->entries + low + 1, book->entries + low, (book->count - low) * sizeof *book->entries);
  book->entries[low] = entry;
  book->count++;
  *ret = entry;
  return TRB_OK;
}

enum trb_status sitebook_number(struct trb_db *db, struct trb_slice name, int64_t *ret, struct trb_error *err) {
  return db_get_int(db, err, ret, "SELECT no FROM site_no WHERE name = ?1", "s", name);
}

void sitebook_done(struct sitebook *book) {
  for (size_t i = 0; i < book->count; i++) free(book->entries[i]);
  free(book->entries);
  *book = (struct sitebook){0};
}

bool sitebook_sees(const struct sitebook_entry *viewer, const struct sitebook_entry *source) {
  if (viewer->no == source->no || source->no == 1) return true;
  if (source->scope == SITEBOOK_OWN) return false;
  if (source->scope == SITEBOOK_COMPANY) return viewer->scope != SITEBOOK_FRANCHISE;
  return source->parent[0] &&
         (strcmp(source->parent, viewer->parent) == 0 || strcmp(source->parent, viewer->name) == 0);
}
