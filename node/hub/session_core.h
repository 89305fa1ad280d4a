/* session_core: what session.c (life, outputs) and session_receive.c (frames) share; nobody else includes it. */
#ifndef TRIBUTARY_SESSION_CORE_H
#define TRIBUTARY_SESSION_CORE_H

#include "tributary/session.h"

enum state {
  SESSION_ABSENT,
  SESSION_EXPECT_HELLO,
  SESSION_ATTACHING,
  SESSION_STREAMING,
  SESSION_HELD, /* a hold that only a HELLO or a new stream ends */
};

enum {
  OUTPUTS_MAX = 64,         /* the shell drains after each input, which makes a handful */
  OLDS_MAX = 256,           /* old batches at the workers: TRB_CREDIT_BYTES / TRB_BATCH_COST_MIN */
  GROUP_COST_MIN = 4 << 10, /* a thousand changes are never smaller; bounds the batches of a group */
  CREDIT_STEP = TRB_CREDIT_BYTES / 4,
  HOLD_AGAIN_MS = 10000,
  ASK_AGAIN_MS = 30000, /* a shell that was too busy drops a question */
  FAULTS_TOLD_MAX = TRB_SESSION_BAD_FRAMES_MAX,
};

/* One action that waits, with what it borrows. */
struct output {
  struct output *next;
  struct session_action action;
  struct trb_buf bytes, ack;
  struct wire_new_stream new_stream;
  struct wire_rotate rotate;
};

struct waiting_ack {
  struct waiting_ack *next;
  uint64_t sequence;
  size_t len;
  uint8_t data[];
};

struct old {
  uint64_t sequence, cost;
};

struct session {
  char site[TRB_SITE_BYTES_MAX + 1];
  uint8_t epoch[16], sign_public[TRB_KEY_BYTES];
  struct trb_slice keyset; /* borrowed */
  enum state state;
  bool suspended, attached /* `stream` is known */, greeted /* HELLO came on this line */;
  bool silent;
  int64_t heard_ms;

  /* the branch, as it says */
  uint8_t incarnation[TRB_INCARNATION_BYTES], down_epoch[16];
  uint64_t down_version, backlog;
  char software[65];
  struct trb_clock_reading clock;
  int64_t clock_hub_ms;
  bool clock_known;
  struct trb_clock_reading fresh; /* the best since fresh_since_ms, to follow `clock` */
  int64_t fresh_hub_ms, fresh_since_ms;
  bool fresh_known;

  /* the stream: acked < expected; costs are those of acked+1 .. expected-1 */
  struct session_stream stream;
  uint64_t expected, seen_max /* ever, of this incarnation */;
  uint64_t *costs; /* owned */
  size_t cost_count, cost_cap;
  uint64_t in_flight, limit;        /* cost of what is taken and not committed, and what it may be */
  uint64_t group_cost, group_bytes; /* of the group that is not whole yet; 0: none */
  uint64_t credit_told_group;
  struct old olds[OLDS_MAX];
  size_t old_count;
  uint64_t old_cost;
  uint64_t gap_told;
  uint32_t hold_code; /* the latest hold, said again when the branch seems not to have heard it */
  uint64_t hold_sequence;
  int64_t hold_at_ms;
  char hold_text[401];

  /* acks out */
  bool told_known;
  uint64_t told, seen; /* last number acked on this line; last received on it */
  struct waiting_ack *acks;
  bool ack_due; /* credit or safe changed */
  uint64_t safe_told;

  /* down */
  bool stream_asked;
  int64_t stream_asked_ms;
  bool down_due, down_rendering, snapshot_asked;
  uint64_t down_sent, down_acked, down_max /* ever sent, or told by a HELLO of this epoch */;
  uint64_t window[TRB_DOWN_WINDOW];
  size_t window_count;
  int64_t down_at_ms, down_asked_ms;
  unsigned down_stalls;

  int64_t now_ms; /* of the latest input that told it */
  uint64_t bad_frames, line_bad_frames, lost_outputs;
  struct output *first, *last, *current; /* owned */
  size_t output_count;
  struct trb_buf out, acks_out;
  struct trb_arena arena;
};

/* A new output of this kind at the end of the queue, or NULL (no memory, too many): the line recovers by sending again.
 */
struct output *session_output(struct session *s, enum session_do what);
void session_send(struct session *s, const struct wire_message *message);
void session_say_hold(struct session *s, enum trb_hold code, uint64_t sequence, const char *text);
void session_repeat_hold(struct session *s);
void session_say_fault(struct session *s, enum trb_fault code, uint64_t retry_ms, const char *text);
/* Forgets what is not committed. */
void session_forget(struct session *s);
void session_raise_limit(struct session *s);
bool session_reserve(struct session *s); /* room for one more cost */

#endif
