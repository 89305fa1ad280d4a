/* job: what goes round the hub's threads: net -> worker -> writer -> net, net -> writer -> net, net -> down -> net.
 * Each job belongs to one thread at a time; the queue hands it over. Everything it points to lies in its own arena or
 * buffers, so freeing it frees all. */
#ifndef TRIBUTARY_HUB_JOB_H
#define TRIBUTARY_HUB_JOB_H

#include "tributary/change.h"
#include "tributary/key.h"
#include "tributary/session.h"

enum job_kind {
  JOB_BATCH = 1,  /* net -> worker -> writer */
  JOB_ATTACH,     /* net -> writer: the stream's position; forgets the incomplete pass of the site */
  JOB_NEW_STREAM, /* net -> writer */
  JOB_ROTATE,     /* net -> writer */
  JOB_JOIN,       /* net -> writer: a guest, its proof already checked */
  JOB_CLEAR_DOWN, /* net -> writer, no answer wanted */
  JOB_SNAPSHOT,   /* net -> writer */
  JOB_RENDER,     /* net -> down */
  JOB_COMMAND,    /* net -> writer: words of the control socket */
  JOB_NOTICE,     /* writer -> net: sites with new down entries, roster or catalogue changed */
};

enum { JOB_KINDS = JOB_NOTICE + 1, JOB_SIGN_KEYS = 8, JOB_TEXT_BYTES = 401 };

struct job_made { /* by the worker, so that the writer need not; zeros: not made */
  struct trb_keys *keys;
  struct search_grams *grams; /* of a new card */
  uint64_t digest;            /* of a PUT: what its row adds to the digest if it is new */
};
struct hub_job {
  enum job_kind kind;
  int64_t site; /* number */
  char site_name[TRB_SITE_BYTES_MAX + 1];
  struct trb_arena arena;
  int64_t received_ms;
  size_t weight; /* bytes it counts for in the queues */
  enum trb_status status;
  struct trb_error error;

  /* BATCH, in */
  struct trb_slice sealed, sent_ack; /* in arena */
  bool clock_known;
  struct trb_clock_reading clock;
  int64_t clock_hub_ms;
  size_t sign_key_count;
  uint8_t sign_keys[JOB_SIGN_KEYS][TRB_KEY_BYTES]; /* the site's, newest first */
  struct trb_key_context key_context;
  struct trb_catalogue *catalogue; /* owned reference: what the changes were checked against */
  /* BATCH, by the worker (in arena) */
  struct trb_batch batch;
  uint8_t hash[TRB_HASH_BYTES];
  uint8_t *refusals;     /* enum trb_refusal of each change */
  const char **reasons;  /* of each change, NULL for the refusal's own text */
  struct job_made *made; /* of each change */
  bool has_acceptance;   /* sent_ack is ours and of these bytes */
  struct trb_acceptance acceptance;
  /* BATCH, by the writer: held 0 means committed */
  enum trb_hold hold;
  uint64_t sequence;
  char text[JOB_TEXT_BYTES];
  struct trb_buf ack;
  size_t set_aside;                   /* changes of it */
  size_t digests, digest_differences; /* tables whose digest came along, and of these the ones that differ */

  /* ATTACH, NEW_STREAM (granted: status OK), JOIN */
  struct session_stream stream;
  struct wire_new_stream new_stream; /* in */
  struct wire_rotate rotate;         /* in; status tells */
  struct wire_join join;             /* in; software is in the arena */
  enum trb_fault fault;              /* JOIN refused */
  struct link_route_copy {
    uint8_t data[32];
    size_t len;
  } route;                      /* JOIN: where the answer goes */
  char region[8], area_code[8]; /* JOIN, out */

  /* RENDER, CLEAR_DOWN */
  uint64_t after, version; /* RENDER: what was asked for, what it came to */
  bool more;
  uint32_t flags;
  struct trb_buf rows;

  /* COMMAND */
  int client;
  size_t word_count;
  const char **words; /* in arena */
  struct trb_buf answer;

  /* NOTICE */
  size_t dirty_count;
  int64_t *dirty; /* in arena */
  bool roster_changed, keys_changed;
  struct trb_catalogue *new_catalogue; /* owned reference, or NULL */
};

struct hub_job *job_new(enum job_kind kind, int64_t site, const char *site_name); /* NULL: no memory */
void job_free(struct hub_job **job_p);

#endif
