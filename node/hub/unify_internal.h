/* unify_internal: what unify.c (rows in), unify_parties.c (who is one party), unify_notes.c (what goes down) and
 * unify_golden.c share. Private to these files and their tests; everything belongs to the writer thread. */
#ifndef TRIBUTARY_HUB_UNIFY_INTERNAL_H
#define TRIBUTARY_HUB_UNIFY_INTERNAL_H

#include <stdlib.h>

#include "claims.h"
#include "down.h"
#include "golden.h"
#include "identity/parties.h"
#include "search.h"
#include "sitebook.h"
#include "tributary/unify.h"
#include "view.h"

struct unify_note { /* a record touched in this transaction */
  int64_t rec, site;
  int64_t party;        /* its anchor as stored before this transaction's resolution */
  int64_t party_before; /* and it stays this one */
  int64_t class_before, class_now;
  struct party_stamp stamp;
  bool resolve; /* lost a linking claim, or its class changed: its party may fall apart */
  bool linked;  /* an edge names it */
  bool golden;  /* something its golden row is made of changed */
  bool sales;   /* a row other than its card and contacts hangs on it (told for records of this transaction) */
  bool awaited; /* rows named its site before it was known: they may hang on it, and no note tells */
  bool keyed;   /* a key was put for it in this transaction */
  const struct unify_sitelist
      *audience; /* set when its group changed: every site that held or holds a record of the group */
};
struct unify_edge { /* two records hold an equal linking key */
  int64_t a, b;
};
struct unify_change { /* a row that hangs on records and goes down by itself */
  uint16_t table;
  bool deleted;
  int64_t rid, site, rec_before, rec_after;
  struct trb_slice id;         /* in u->arena */
  size_t key_first, key_count; /* keys it had or has, in u->keys */
  size_t parts_before;         /* keys it had: a cell of several was as many rows */
};
struct unify_extra { /* noted by down_note before the finish */
  int64_t site, num;
  enum down_kind kind;
  struct trb_slice gone; /* in u->arena */
};

struct unify_sitelist { /* ascending, distinct */
  size_t count, cap;
  int64_t *site; /* owned */
};

struct unify {
  struct trb_db *db;               /* borrowed */
  struct trb_catalogue *catalogue; /* referenced */
  struct sitebook sites;
  struct claims_policy key_policy;
  struct golden_policy golden_policy;
  bool policies_loaded;
  struct party_view view;
  const struct trb_table *customer, *golden_table; /* of the catalogue */
  char *golden_select, *golden_insert;             /* owned SQL */

  /* this transaction */
  struct trb_arena arena;
  struct unify_note *notes; /* owned array, with an open hash over it */
  size_t note_count, note_cap;
  uint32_t *slots;
  size_t slot_count; /* a power of two */
  struct unify_edge *edges;
  size_t edge_count, edge_cap;
  struct unify_change *changes;
  size_t change_count, change_cap;
  struct trb_slice *keys; /* in arena */
  size_t key_count, key_cap;
  struct unify_extra *extras;
  size_t extra_count, extra_cap;
  bool keys_policy_changed, golden_policy_changed, visibility_changed, all_sites_dirty;
  int64_t rec_floor; /* records above it were made in this transaction; INT64_MAX: not known, none was */
  int64_t now_ms;    /* of the latest change noted */
  int64_t rec_cached, rec_cached_site; /* the record of the row before: contacts follow their customer */
  char rec_cached_id[TRB_ID_BYTES_MAX + 1];
  size_t rec_cached_len;
  struct unify_sitelist dirty;
  uint64_t *told; /* owned open hash of (party, key) whose equal rows were noted */
  size_t told_count, told_size;
  int64_t version; /* last down version given; valid within unify_finish */
};

/* Doubles an owned array when it is full; false: no memory. */
bool unify_grow(void **array, size_t count, size_t *cap, size_t size);
bool sitelist_add(struct unify_sitelist *list, int64_t site);
bool sitelist_has(const struct unify_sitelist *list, int64_t site);
bool sitelist_add_all(struct unify_sitelist *list, const struct unify_sitelist *from);
static inline void sitelist_done(struct unify_sitelist *list) {
  free(list->site);
  *list = (struct unify_sitelist){0};
}

/* The note of a record, read from `record` when it is the first in this transaction. The pointer lives until the next
 * call. */
enum trb_status unify_note_of(struct unify *u, int64_t rec, struct unify_note **ret, struct trb_error *err);
struct unify_note *unify_note_find(struct unify *u, int64_t rec);
enum trb_status unify_load_policies(struct unify *u, struct trb_error *err);

/* One member of a group of parties that is resolved anew. */
struct unify_member {
  int64_t rec, site;
  int64_t class_before, class_now;
  struct party_stamp stamp;
  int64_t old_party, new_party; /* anchors */
};
/* Joins and splits: gives every touched record its party, in the table, and notes down what that changes. Afterwards
 * note->party is the new one. Fills *ret_parties (ascending, distinct anchors, in u->arena) with every party, old or
 * new, that was touched. */
enum trb_status unify_resolve(struct unify *u, int64_t **ret_parties, size_t *ret_count, struct trb_error *err);

/* A brand-new record that nothing links to: nobody else is concerned, and its one RECORD entry tells all but its
 * events. */
static inline bool unify_is_alone(const struct unify *u, const struct unify_note *note) {
  return note->class_before == 0 && note->class_now != 0 && !note->linked && note->party == note->rec &&
         note->rec > u->rec_floor && !note->awaited;
}

/* Made in this transaction: what no note tells is not there. */
static inline bool unify_is_new(const struct unify *u, const struct unify_note *note) {
  return note->rec > u->rec_floor;
}

/* Of sales and the like there is nothing to look for. */
static inline bool unify_has_contacts_only(const struct unify *u, const struct unify_note *note) {
  return unify_is_new(u, note) && !note->sales && !note->awaited;
}

/* unify_notes.c */
enum trb_status unify_put_down(struct unify *u, int64_t site, enum down_kind kind, int64_t num, struct trb_slice gone,
                               struct trb_error *err);
enum trb_status unify_watchers(struct unify *u, int64_t party, struct unify_sitelist *ret, struct trb_error *err);
enum trb_status unify_note_record(struct unify *u, const struct unify_sitelist *sites, int64_t rec,
                                  struct trb_error *err);
/* The members of one group after a change of composition. */
/* Relations that name this record, told to those who hold the other end. */
enum trb_status unify_note_relations_to(struct unify *u, int64_t site_no, const char *site, struct trb_slice id,
                                        struct trb_error *err);
enum trb_status unify_note_group(struct unify *u, const struct unify_member *members, size_t count,
                                 struct trb_error *err);
enum trb_status unify_note_changes(struct unify *u, struct trb_error *err);
/* unify_rekey.c: the keys of every row by the key policy of now. */
enum trb_status unify_rekey_all(struct unify *u, struct trb_error *err);
/* As unify.c does for one row. */
enum trb_status unify_rekey_row(struct unify *u, const struct unify_row *row, struct trb_error *err);

/* unify_golden.c: the golden row of an anchor, written if it changed (removed if it is no party), its watchers told;
 * locks. */
enum trb_status unify_store_golden(struct unify *u, int64_t anchor, struct trb_error *err);
enum trb_status unify_golden_sql(struct unify *u, struct trb_error *err);

#endif
