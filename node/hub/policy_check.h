/* policy_check: does a row of headquarters' policy, or a setting, mean something? What the catalogue cannot say: words
 * of a list, ranges, names of fields. The table is in policy_check.c; who adds a column with such a meaning adds a
 * line.
 *
 * Pure. Invariant: what the code that reads a policy would not understand is refused when it is written. */
#ifndef TRIBUTARY_HUB_POLICY_CHECK_H
#define TRIBUTARY_HUB_POLICY_CHECK_H

#include "tributary/catalogue.h"
#include "tributary/change.h"

/* A PUT of a table of policy. TRB_PEER with a text that names the column and what it may be. */
enum trb_status policy_check_row(const struct trb_catalogue *catalogue, const struct trb_table *table,
                                 const struct trb_change *change, struct trb_error *err);
/* A setting by `policy set`: TRB_PEER when there is none of that name, or the value is none of its. */
enum trb_status policy_check_setting(const char *name, const char *value, struct trb_error *err);

#endif
