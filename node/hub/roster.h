/* roster: which sites there are, their keys, their state. Rows of headquarters' tables (site, site_key, invitation,
 * site_state) are the truth; struct roster is the net thread's copy in memory, loaded again when the writer says that
 * it changed.
 *
 * The functions with a struct hq make headquarters' writes: writer thread. A site_key row is one stream: its id is the
 * incarnation in hex. */
#ifndef TRIBUTARY_HUB_ROSTER_H
#define TRIBUTARY_HUB_ROSTER_H

#include "hq.h"
#include "hubkeys.h"

enum roster_state { ROSTER_INVITED, ROSTER_OPEN, ROSTER_SUSPENDED, ROSTER_REVOKED, ROSTER_CLOSED };
const char *roster_state_name(enum roster_state state); /* as `status` says it: invited, active, ... */

enum { ROSTER_CURVE_KEYS = 4 };
struct roster_site {
  int64_t no;
  char name[TRB_SITE_BYTES_MAX + 1];
  enum roster_state state;
  char region[8], area_code[8];
  size_t curve_count, sign_count;
  uint8_t curve[ROSTER_CURVE_KEYS][TRB_KEY_BYTES]; /* newest first: current, and the one before a rotation */
  uint8_t sign[JOB_SIGN_KEYS][TRB_KEY_BYTES];
};
struct roster {
  size_t count;
  struct roster_site *sites; /* ascending by name; without hq */
};
enum trb_status roster_load(struct trb_db *db, struct roster *ret, struct trb_error *err);
void roster_free(struct roster *roster);
struct roster_site *roster_named(const struct roster *roster, const char *name);
struct roster_site *roster_numbered(const struct roster *roster, int64_t no);
struct roster_site *roster_by_curve(const struct roster *roster, const uint8_t key[TRB_KEY_BYTES]);

/* ---- orders; each is one write of headquarters ---- */

struct roster_invite {
  const char *site, *region, *area_code; /* the last two NULL: as they were */
  int64_t expires_ms;
};
/* Appends the token. TRB_DENIED when the site is open and its machine was not revoked (a second machine would be a
 * clone). */
enum trb_status roster_invite(struct hq *hq, const struct hub_keys *keys, const struct roster_invite *invite,
                              int64_t now_ms, struct trb_buf *token, struct trb_error *err);
/* Would the order be taken? Changes nothing. */
enum trb_status roster_order_check(struct hq *hq, const char *site, enum roster_state state, struct trb_error *err);
enum trb_status roster_order(struct hq *hq, const char *site, enum roster_state state, const char *reason,
                             int64_t now_ms, struct trb_error *err);
/* job->join -> job->stream.incarnation, site_name, region, area_code; or job->fault and job->text with TRB_DENIED. */
enum trb_status roster_join(struct hq *hq, struct hub_job *job, int64_t now_ms, struct trb_error *err);
/* job->new_stream -> job->stream. TRB_DENIED with job->text: not granted. */
enum trb_status roster_new_stream(struct hq *hq, struct hub_job *job, int64_t now_ms, struct trb_error *err);
enum trb_status roster_rotate(struct hq *hq, struct hub_job *job, int64_t now_ms, struct trb_error *err);
/* Called for every batch of headquarters that is applied: streams follow site_key rows. */
enum trb_status roster_applied(struct store *s, const struct trb_batch *batch, struct trb_error *err);

#define ROSTER_STREAMS_PER_HOUR 60 /* granted a site: two machines taking the stream from one another stop here */

#endif
