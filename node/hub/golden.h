/* golden: which value of each field survives, the contacts of a party as one list, and its numbers. A pure core: plain
 * structs in, plain structs out; no I/O, no clock; any thread. Nothing depends on the order of the input but indexes
 * into it: ties are broken by content, then by acceptance stamp, never by record or site ids.
 *
 * Survivorship. A field has an ordered list of rules; the first that tells two values apart decides; after the last
 * come `recent`, then content (greater bytes). Empty values never win. Rules: trusted_site (place in the list, or
 * weight), verified (the record has a verified contact or document), recent (later effective time), frequent (more
 * member records agree), longest (more bytes), earliest / latest (smaller / greater value), union (all comma separated
 * words, in byte order), sum (of numbers). Headquarters' own card, when it has the field, wins before any rule unless
 * the policy row says hq_wins 0. Built in: name fields verified then recent; keywords union; the rest recent. */
#ifndef TRIBUTARY_HUB_GOLDEN_H
#define TRIBUTARY_HUB_GOLDEN_H

#include "identity/parties.h"
#include "tributary/catalogue.h"
#include "tributary/key.h"

#define GOLDEN_FIELD_FIRST TRB_C_customer_kind
#define GOLDEN_FIELD_LAST TRB_C_customer_external_ref
#define GOLDEN_FIELDS (GOLDEN_FIELD_LAST - GOLDEN_FIELD_FIRST + 1)
#define GOLDEN_RULES_MAX 6   /* rules of one field; more are ignored */
#define GOLDEN_SITES_MAX 256 /* sites named in one rule; more are ignored */

enum golden_rule {
  GOLDEN_RECENT = 0,
  GOLDEN_TRUSTED_SITE,
  GOLDEN_VERIFIED,
  GOLDEN_FREQUENT,
  GOLDEN_LONGEST,
  GOLDEN_EARLIEST,
  GOLDEN_LATEST,
  GOLDEN_UNION,
  GOLDEN_SUM,
};
/* A row of survivorship_policy. */
struct golden_policy_row {
  struct trb_slice field, rule, sites;
  int64_t position, trust;
  bool has_trust, hq_loses;
};
struct golden_site_trust {
  struct trb_slice site; /* in the policy's arena */
  int64_t weight;
};
struct golden_field_policy {
  size_t rule_count;
  enum golden_rule rules[GOLDEN_RULES_MAX];
  size_t trust_count;
  const struct golden_site_trust *trust;
  bool hq_wins;
};
struct golden_policy {
  struct trb_arena arena; /* owned */
  struct golden_field_policy field[GOLDEN_FIELDS];
};
/* Built-in rules overridden by `rows` (any order; unknown fields and rules are ignored). TRB_NOMEM only. */
enum trb_status golden_policy_init(struct golden_policy *policy, const struct golden_policy_row *rows, size_t count,
                                   struct trb_error *err);
void golden_policy_done(struct golden_policy *policy);

struct golden_member { /* one customer row; everything borrowed */
  int64_t rec, site_no;
  struct trb_slice site, id;
  bool hq, verified;
  struct party_stamp stamp;
  const struct trb_value *values; /* by golden field: GOLDEN_FIELDS values */
  struct trb_slice times;         /* times.h */
  int64_t created_ms;
  trb_hlc latest;
};
struct golden_field {
  struct trb_value value; /* NULL: nobody has it; text of a union is in the arena */
  size_t member;          /* whose value it is (of union and sum: the most recent contributor); SIZE_MAX: none */
  trb_hlc time;
};
enum trb_status golden_fields(const struct golden_policy *policy, const struct golden_member *members, size_t count,
                              struct trb_arena *arena, struct golden_field ret[GOLDEN_FIELDS], struct trb_error *err);
/* {"*":["sh","C1",1700000000000],"name":["bj","7",1700000000001],..}: the row and time of the first field that has a
 * value, under *; then, in catalogue order, the fields of other rows or times. `out` must be empty. */
void golden_provenance(const struct trb_table *customer, const struct golden_member *members,
                       const struct golden_field *fields, struct trb_buf *out);
void golden_json_text(struct trb_slice text, struct trb_buf *out); /* a JSON string with its quotes */

/* ---- contacts ---- */

enum golden_contact_status { /* of a key: what any branch learned last; suppression wins over all */
                             GOLDEN_STATUS_NONE = 0,
                             GOLDEN_STATUS_WORKS,
                             GOLDEN_STATUS_OWNER_CHANGED,
                             GOLDEN_STATUS_WRONG,
                             GOLDEN_STATUS_DEAD,
                             GOLDEN_STATUS_SUPPRESSED,
};
const char *golden_status_name(enum golden_contact_status status); /* NULL for none */
struct golden_contact { /* one key of one contact row of a member; borrowed */
  size_t member;
  int64_t rid, part;
  struct trb_slice id, key, kind, value, label, used_by;
  bool main, links;
  int64_t verified_at; /* ms, 0: never */
  trb_hlc time;        /* effective time of `value` */
  struct party_stamp accepted;
  enum golden_contact_status status; /* of the key */
};
/* One contact of the party: all rows with an equal key. */
struct golden_unified_contact {
  size_t first, count; /* its rows in the sorted array */
  size_t named;        /* the row it is named by: earliest record, earliest row */
  size_t best;         /* the row whose value, label and used_by are shown */
  int64_t verified_at;
  bool main;
  enum golden_contact_status status;
};
/* Sorts `contacts` by key and groups them; `ret` has room for `count`. The main mobile, email and wechat: status works
 * or none before the others (wrong, dead and suppressed are never main), the customer's own before others', marked
 * main, verified latest, most recent, on most rows, then content. Of other kinds those marked main are. */
size_t golden_contacts(const struct golden_member *members, struct golden_contact *contacts, size_t count,
                       struct golden_unified_contact *ret);
bool golden_kind_has_main(enum trb_kind kind); /* mobile, email, wechat: the golden row names one of each */
/* The text to show for a row: as typed; of a cell with several numbers the one of the key. */
struct trb_slice golden_contact_value(const struct golden_contact *contact);

/* ---- numbers ---- */

struct golden_booking {
  bool counts; /* not cancelled, refunded, or a mere enquiry or quotation */
  int64_t cents;
  struct trb_slice day; /* ordered_on or the day it was written; may be empty */
};
/* Lifecycle state: the override if set; else by bookings that count: 5 or more loyal, 2 repeat, 1 first_time; without
 * any: potential if there was a booking or an activity, else non_customer. Thresholds become a table in a later issue.
 */
const char *golden_state(int64_t bookings, bool touched);
#define GOLDEN_LOYAL_BOOKINGS 5
/* Amounts are summed in hundredths so that a sum does not depend on its order. */
int64_t golden_cents(double amount);

#endif
