/* view: one party as the hub knows it now, read from the source rows: members, contacts, golden row, preferences, tags,
 * relations. The one loader behind the stored golden rows, what goes down, `show` and `verify`, so that they cannot
 * disagree.
 *
 * Reads one snapshot of one connection; belongs to one thread. Everything is in the view's arena until view_clear. Cost
 * linear in the rows of the party: about six queries a record. */
#ifndef TRIBUTARY_HUB_VIEW_H
#define TRIBUTARY_HUB_VIEW_H

#include "golden.h"
#include "sitebook.h"

struct view_record { /* a live record of the party */
  int64_t rec, site_no;
  const struct sitebook_entry *site;
  struct trb_slice id;
  int64_t class;
  struct party_stamp stamp;
  bool untraded; /* known to have no bookings, activities, documents, points: set by who knows, after view_load */
};
struct view_group {                   /* equal preferences or tags of the party */
  struct trb_slice key, label, value; /* preference: key, value; tag: key = tag id or empty, label */
  int64_t noted_at;
  int64_t rid, site_no; /* the row it is named by */
  struct trb_slice id;
  struct trb_slice sites;
};
struct view_relation {
  int64_t rid, site_no, other; /* other: anchor of the other party */
  struct trb_slice id, kind, label, other_name, other_party;
};

struct party_view {
  struct trb_arena arena;
  struct trb_db *db;      /* borrowed */
  struct sitebook *sites; /* borrowed */
  bool quiet;             /* nobody has spoken about any key (contact_status, suppression): set by who knows */
  int64_t anchor;         /* record number; 0: nothing loaded */
  struct trb_slice id;    /* party id: site/record id of the anchor */
  size_t record_count;    /* 0: the anchor is no live party */
  struct view_record *records;
  struct golden_member *members; /* same order; filled by view_golden */
  bool contacts_loaded;
  size_t contact_count, unified_count;
  struct golden_contact *contacts;
  struct golden_unified_contact *unified;
};
void view_init(struct party_view *view, struct trb_db *db, struct sitebook *sites);
void view_done(struct party_view *view);

/* Loads the live records of the party anchored at `anchor`. No such party: record_count 0, TRB_OK. */
enum trb_status view_load(struct party_view *view, int64_t anchor, struct trb_error *err);
enum trb_status view_contacts(struct party_view *view, struct trb_error *err);

/* The golden row: values in catalogue order of unified_customer (`table`), ret has table->column_count room. Texts in
 * the view's arena. */
enum trb_status view_golden(struct party_view *view, const struct golden_policy *policy, const struct trb_table *table,
                            struct trb_value *ret, struct golden_field ret_fields[GOLDEN_FIELDS],
                            struct trb_error *err);

/* Preferences and tags still set, one of each content; relations of the party. Arrays in the view's arena. */
enum trb_status view_preferences(struct party_view *view, struct view_group **ret, size_t *ret_count,
                                 struct trb_error *err);
enum trb_status view_tags(struct party_view *view, struct view_group **ret, size_t *ret_count, struct trb_error *err);
enum trb_status view_relations(struct party_view *view, struct view_relation **ret, size_t *ret_count,
                               struct trb_error *err);

/* Names of the distinct sites of some members, in byte order, comma separated; in the view's arena. `member` gives the
 * index of the i-th. */
struct trb_slice view_sites(struct party_view *view, const size_t *members, size_t count);
struct trb_slice view_contact_sites(struct party_view *view, const struct golden_unified_contact *unified);

/* "site/id" in an arena. */
struct trb_slice view_party_id(struct trb_arena *arena, const char *site, struct trb_slice id);
enum trb_status golden_policy_load(struct golden_policy *policy, struct trb_db *db, struct trb_error *err);

#endif
