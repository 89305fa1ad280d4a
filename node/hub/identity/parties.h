/* parties: who is one party, by exact normalised contact. A pure core: no I/O, any thread.
 *
 * The rule (the exact-contact core; a fuller resolver takes this seat later with the same shapes): two live
 * records of equal class are linked when both hold a linking claim on the same key; a party is a connected component of
 * that relation. Class is the customer's kind: a person and an organisation are never one party by a contact alone.
 * Records without a row (orphans) and deleted ones have class 0 and stand alone. Whether a claim links (its own, not
 * weak, not switched off) is decided before.
 *
 * A party is named by its anchor: the member with the earliest acceptance stamp. Nothing compares record numbers, ids
 * or site names but to tell things apart, so the answer does not depend on names nor on arrival: only on stamps,
 * classes and keys.
 *
 * Two forms. From nothing, or over any closed set of records (one that holds every holder of its keys):
 * parties_resolve, in O((records + claims) log claims). Incremental: an added claim can only join parties, so one look
 * at any other holder of the key tells which (parties_joined keeps the earlier anchor, O(1)); a removed claim can only
 * split its own party: parties_resolve over that party's members. Both give equal answers (tests/unit/test_parties.c).
 */
#ifndef TRIBUTARY_HUB_PARTIES_H
#define TRIBUTARY_HUB_PARTIES_H

#include "tributary/base.h"
#include "tributary/clock.h"

struct party_stamp { /* acceptance: commit HLC of the batch and position in it; unique */
  trb_hlc hlc;
  int64_t position;
};
static inline bool party_stamp_before(struct party_stamp a, struct party_stamp b) {
  return a.hlc != b.hlc ? a.hlc < b.hlc : a.position < b.position;
}

struct party_record {
  struct party_stamp stamp; /* of the record's first acceptance */
  int64_t class;            /* 0: no live row */
};
struct party_claim {
  size_t record; /* index into the records */
  struct trb_slice key;
};

/* Fills ret_anchor[i] with the index of the anchor of record i's party (itself when alone). Sorts `claims` in place. */
enum trb_status parties_resolve(const struct party_record *records, size_t record_count, struct party_claim *claims,
                                size_t claim_count, size_t *ret_anchor, struct trb_error *err);

/* The anchor of two parties joined: true when a's anchor stays. */
static inline bool parties_joined(struct party_stamp a, struct party_stamp b) { return party_stamp_before(a, b); }

/* 0 for no row; 1 person, 2 organisation; any other word of customer.kind gets a number of its own (31-bit hash). */
int64_t party_class(struct trb_slice customer_kind);

#endif
