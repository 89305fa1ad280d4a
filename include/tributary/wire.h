/* wire: the messages of the line, generated from proto/messages.def. Pure, any thread.
 *
 * `struct wire_hello { uint64_t proto_min; ... struct trb_slice software; uint8_t incarnation[16]; ... }` and so on: U
 * is uint64_t, I int64_t, S and B a slice (borrowed from the frame), F an array. `union`-like holder: struct
 * wire_message. */
#ifndef TRIBUTARY_WIRE_H
#define TRIBUTARY_WIRE_H

#include "tributary/base.h"
#include "tributary/change.h"

#define TRB_PROTO_MIN 1
#define TRB_PROTO_MAX 1
#define TRB_FRAME_BYTES_MAX (TRB_BATCH_BYTES_MAX + (16u << 10)) /* MAXMSGSIZE of both sockets */
#define TRB_DOWN_BYTES_MAX (256u << 10) /* rows in one DOWN: applied in slices of at most 20 ms */
/* Unacknowledged batch bytes as they travel: a whole 'continues' pass, which is acknowledged only at its end, and two
 * batches. */
/* Credit: what batches cost on their way. A small batch costs as much as BATCH_COST_MIN, so that credit bounds frames
 * as well as bytes (256 of them: below the send queue of link.c). Never below two batches, so that it never stands
 * still. */
#define TRB_CREDIT_BYTES (4u << 20)
#define TRB_BATCH_COST_MIN (16u << 10)
static inline uint64_t wire_batch_cost(size_t sealed_bytes) {
  return sealed_bytes > TRB_BATCH_COST_MIN ? sealed_bytes : TRB_BATCH_COST_MIN;
}
#define TRB_ACKS_MAX 64 /* signed acks in one ACK */

#define TRB_MESSAGE(name, number, from) struct wire_##name {
#define TRB_END \
  }             \
  ;
#define U(name) uint64_t name;
#define I(name) int64_t name;
#define S(name, max) struct trb_slice name;
#define B(name, max) struct trb_slice name;
#define F(name, len) uint8_t name[len];
#include "messages.def"
#undef TRB_MESSAGE
#undef TRB_END
#undef U
#undef I
#undef S
#undef B
#undef F

enum wire_type {
  WIRE_NONE = 0,
#define TRB_MESSAGE(name, number, from) WIRE_##name = number,
#define TRB_END
#define U(name)
#define I(name)
#define S(name, max)
#define B(name, max)
#define F(name, len)
#include "messages.def"
#undef TRB_MESSAGE
#undef TRB_END
#undef U
#undef I
#undef S
#undef B
#undef F
};

struct wire_message {
  enum wire_type type;
  union {
#define TRB_MESSAGE(name, number, from) struct wire_##name name;
#define TRB_END
#define U(name)
#define I(name)
#define S(name, max)
#define B(name, max)
#define F(name, len)
#include "messages.def"
#undef TRB_MESSAGE
#undef TRB_END
#undef U
#undef I
#undef S
#undef B
#undef F
  };
};

/* Appends the frame of message->type. */
void wire_encode(const struct wire_message *message, struct trb_buf *out);
/* One frame. TRB_PEER with the message's name and field: wrong shape, a text that is not UTF-8, over a limit, unknown
 * number. Slices borrow from `frame`. */
enum trb_status wire_decode(struct trb_slice frame, struct wire_message *ret, struct trb_error *err);
const char *wire_name(enum wire_type type);
char wire_sender(enum wire_type type); /* 'B', 'H' or 'G' */
/* What the signatures of JOIN and ROTATE cover, for crypto_sign and crypto_verify. JOIN: a msgpack array of the fields
 * before the proof. ROTATE: curve_public followed by sign_public, 64 bytes. */
#define TRB_DOMAIN_JOIN "tributary join v1"
#define TRB_DOMAIN_ROTATE "tributary rotate v1"
void wire_join_signed(const struct wire_join *join, struct trb_buf *out);
void wire_rotate_signed(const struct wire_rotate *rotate, struct trb_buf *out);

/* Numbers on the wire. */
enum trb_hold {
  TRB_HOLD_GAP = 1,       /* sequence expected is `sequence`: send from there */
  TRB_HOLD_FORK = 2,      /* that number was taken with another hash: two machines or a restored copy */
  TRB_HOLD_BAD_BATCH = 3, /* signature, hash or structure wrong: re-seal in a new incarnation */
  TRB_HOLD_SUSPENDED = 4,
  TRB_HOLD_INCARNATION = 5, /* this incarnation is not the site's current one: ask for a new stream */
  TRB_HOLD_BUSY = 6,        /* the hub cannot store now (disk full): back off */
  TRB_HOLD_CLONED = 7,      /* another machine speaks for this site */
};
enum trb_fault {
  TRB_FAULT_PROTOCOL = 1, /* no version in common */
  TRB_FAULT_MESSAGE = 2,  /* cannot be read, or not yours to send */
  TRB_FAULT_TOKEN_UNKNOWN = 3,
  TRB_FAULT_TOKEN_EXPIRED = 4,
  TRB_FAULT_TOKEN_USED = 5,
  TRB_FAULT_RATE = 6, /* too many attempts: retry_ms */
  TRB_FAULT_REVOKED = 7,
  TRB_FAULT_GUEST = 8, /* an unknown key may only JOIN */
  TRB_FAULT_SITE_TAKEN = 9,
};
enum trb_stream_why {
  TRB_STREAM_FIRST = 0,
  TRB_STREAM_ROLLED_BACK = 1, /* replica.db is older than the outbox */
  TRB_STREAM_OUTBOX_LOST = 2, /* outbox.db missing or damaged */
  TRB_STREAM_REFUSED = 3,     /* the hub held it: bad batch or incarnation */
};

#endif
