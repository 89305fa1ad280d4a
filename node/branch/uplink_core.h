/* uplink_core: what uplink.c (timers, outputs) and uplink_receive.c (frames) share; nobody else includes it. */
#ifndef TRIBUTARY_UPLINK_CORE_H
#define TRIBUTARY_UPLINK_CORE_H

#include "tributary/uplink.h"

enum {
  OFFSET_SAMPLES = 16,
  DOWN_QUEUE_MAX = 2, /* TRB_DOWN_WINDOW of the hub */
  ACKS_BYTES_MAX = 32 << 20,
};

enum line { LINE_DOWN, LINE_CONNECTING, LINE_UP };

struct offset_sample {
  int64_t round_trip_ms, hub_minus_boot_ms;
};

struct uplink {
  uint8_t root_public[TRB_KEY_BYTES];
  uint64_t keyset_version;
  size_t endpoint_count, endpoint;
  uint64_t random; /* splitmix64 */
  struct uplink_position at;
  struct trb_clock_reading now; /* of the latest input */

  /* the line */
  enum uplink_state state;
  enum line line;
  unsigned failures;
  int64_t retry_at; /* OFFLINE, REFUSED: connect; HELD: ask again */
  int64_t heard_at, welcome_by, ping_at, online_at;
  int64_t up_at;
  int64_t hello_boot_ms; /* of the HELLO that a WELCOME answers; -1: none */
  bool disconnect, connect, send_hello, send_ping, send_down_ack, send_rotate;

  /* the stream up: base < next <= last + 1; costs are those of base+1 .. next-1 */
  uint64_t base, next, sent_max;
  uint64_t welcome_acked;
  uint8_t welcome_hash[TRB_HASH_BYTES];
  uint64_t credit, unacked;
  uint64_t *costs; /* owned */
  size_t cost_count, cost_cap;
  uint64_t loading;     /* asked for by LOAD, 0: none */
  struct trb_buf batch; /* the encoded BATCH that is sent next */
  uint64_t batch_sequence, batch_cost;
  int64_t stall_at; /* and uplink_allowance_ms later, of what is on its way by then */
  unsigned stalls;

  /* acks on their way to the outbox */
  struct trb_buf acks, acks_out; /* elements of the array to come; the array handed out */
  size_t acks_count;
  uint64_t acks_sequence;
  uint64_t safe;
  bool acks_due, acks_busy;

  /* a new stream */
  bool want, granted, starting;
  enum trb_stream_why why;
  int64_t ask_at;
  uint8_t granted_incarnation[TRB_INCARNATION_BYTES];

  /* down */
  struct trb_buf down[DOWN_QUEUE_MAX];
  size_t down_head, down_count;
  bool down_busy;
  struct wire_message down_message; /* borrows from the queue's head */

  /* keys */
  struct trb_buf keyset;
  bool keyset_due, rotating, rotated_due;
  struct wire_rotate rotate;
  int64_t rotate_at;

  /* clock */
  struct offset_sample samples[OFFSET_SAMPLES];
  size_t sample_count, sample_next;

  struct trb_arena arena;
  struct trb_buf out; /* the frame of the latest SEND */
  uint32_t hold_code, refused_code;
  char text[401];
  uint64_t bad_frames;
};

void uplink_note(struct uplink *u, uint32_t code, struct trb_slice text);
/* The line is given up; the next attempt is after `delay_ms` (-1: back-off). tell: the shell has to close it. */
void uplink_drop_line(struct uplink *u, bool tell, int64_t delay_ms);
void uplink_hold(struct uplink *u, int64_t retry_ms);
/* Sends again from `sequence`. */
void uplink_rewind(struct uplink *u, uint64_t sequence);
void uplink_restart_stall(struct uplink *u);              /* something was heard of the batches on their way */
void uplink_advance(struct uplink *u, uint64_t sequence); /* acked */
int64_t uplink_backoff_ms(struct uplink *u, unsigned failures);
int64_t uplink_allowance_ms(const struct uplink *u); /* time that what is on its way may take */

#endif
