/* policy: headquarters' tables as JSON and back: {table: [rows]}, a row {"id": .., column: value}. The jansson room of
 * the hub. Duplicate members, depth over 5 and numbers that do not fit are refused; every row is checked against the
 * catalogue and for its meaning (policy_check.h) before anything is written. A custom table or column that is known
 * keeps its number, name, type and owner for ever, and is never deleted: rows and digests at the branches hang on them.
 * Rows that are the same as they stand are not written. Writer thread. */
#ifndef TRIBUTARY_HUB_POLICY_H
#define TRIBUTARY_HUB_POLICY_H

#include "hq.h"

#define POLICY_ROWS_MAX 50000
#define POLICY_DEFINITIONS_MAX 2000 /* of custom tables and columns in one file */

/* json: the file's text. A row with "_delete": true is deleted. Takes all of it or nothing; definitions of custom
 * tables and columns are written first, so that rows of those tables may stand in the same file. Appends {"changed":
 * {table: n}, "unchanged": n, "dry_run": bool}. */
enum trb_status policy_load(struct hq *hq, struct trb_slice json, bool dry_run, int64_t now_ms, struct trb_buf *out,
                            struct trb_error *err);
bool policy_is_json(struct trb_slice text);
enum trb_status policy_dump(struct trb_db *db, const struct trb_catalogue *catalogue, struct trb_buf *out,
                            struct trb_error *err);
/* The policies a new hub starts with. */
extern const char policy_defaults[];

#endif
