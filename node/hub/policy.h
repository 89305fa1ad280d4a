/* policy: headquarters' tables as JSON and back: {table: [rows]}, a row {"id": .., column: value}. The jansson room of
 * the hub. Duplicate members, depth over 5 and numbers that do not fit are refused; every row is checked against the
 * catalogue before anything is written. Rows that are the same as they stand are not written. Writer thread. */
#ifndef TRIBUTARY_HUB_POLICY_H
#define TRIBUTARY_HUB_POLICY_H

#include "hq.h"

#define POLICY_ROWS_MAX 50000

/* json: the file's text. A row with "_delete": true is deleted. Takes all of it or nothing; definitions of custom
 * tables and columns are written first, so that rows of those tables may stand in the same file. Appends {"changed":
 * {table: n}, "unchanged": n, "dry_run": bool}. */
enum trb_status policy_load(struct hq *hq, struct trb_slice json, bool dry_run, int64_t now_ms, struct trb_buf *out,
                            struct trb_error *err);
enum trb_status policy_dump(struct trb_db *db, const struct trb_catalogue *catalogue, struct trb_buf *out,
                            struct trb_error *err);
/* The policies a new hub starts with. */
extern const char policy_defaults[];

#endif
