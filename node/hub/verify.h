/* verify: recomputes from hub.db what can be recomputed and compares. Reads only, any hub.db or copy of one. */
#ifndef TRIBUTARY_HUB_VERIFY_H
#define TRIBUTARY_HUB_VERIFY_H

#include "tributary/unify.h"

struct hub_report {
  int64_t streams, batches, tables, rows_digested;
  int64_t integrity_errors;   /* PRAGMA integrity_check */
  int64_t chain_errors;       /* missing or surplus hashes, ends that differ */
  int64_t digest_errors;      /* stored digest is not the digest of the rows */
  int64_t digest_differences; /* branch and headquarters disagree: known, shown in status */
  struct unify_report unify;
  char first[300]; /* the first thing found wrong, for people */
};
/* *ret is filled as far as it came. TRB_OK also when something differs: look at hub_report_good. */
enum trb_status hub_verify(const char *path, struct hub_report *ret, struct trb_error *err);
bool hub_report_good(const struct hub_report *report);
void hub_report_json(const struct hub_report *report, struct trb_buf *out);

#endif
