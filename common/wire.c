/* wire: the codec of every message, expanded from proto/messages.def; see include/tributary/wire.h. */
#include "tributary/wire.h"

#include <string.h>

#include "tributary/mp.h"

/* Fields a message has. */
static size_t field_count(enum wire_type type) {
  switch (type) {
#define TRB_MESSAGE(name, number, from) \
  case number:                          \
    return 0
#define TRB_END ;
#define U(name) +1
#define I(name) +1
#define S(name, max) +1
#define B(name, max) +1
#define F(name, len) +1
#include "messages.def"
#undef TRB_MESSAGE
#undef TRB_END
#undef U
#undef I
#undef S
#undef B
#undef F
    default: return 0;
  }
}

#define U(name)
#define I(name)
#define S(name, max)
#define B(name, max)
#define F(name, len)
#define TRB_END

const char *wire_name(enum wire_type type) {
  switch (type) {
#define TRB_MESSAGE(name, number, from) \
  case number:                          \
    return #name;
#include "messages.def"
#undef TRB_MESSAGE
    default: return "unknown";
  }
}

char wire_sender(enum wire_type type) {
  switch (type) {
#define TRB_MESSAGE(name, number, from) \
  case number:                          \
    return from;
#include "messages.def"
#undef TRB_MESSAGE
    default: return 0;
  }
}

#undef U
#undef I
#undef S
#undef B
#undef F
#undef TRB_END

/* A text for people is cut at a character; bytes over the limit are a bug of the caller that must not be sent. */
static void put_text(struct trb_buf *out, struct trb_slice s, size_t max) {
  if (s.len > max) {
    s.len = max;
    while (s.len && (s.data[s.len] & 0xc0) == 0x80) s.len--;
  }
  mp_put_str(out, s);
}

static void put_bytes(struct trb_buf *out, struct trb_slice s, size_t max) {
  if (s.len > max) out->failed = true;
  mp_put_bin(out, s);
}

void wire_encode(const struct wire_message *message, struct trb_buf *out) {
  mp_put_array(out, 1 + field_count(message->type));
  mp_put_uint(out, message->type);
  switch (message->type) {
#define TRB_MESSAGE(name, number, from) \
  case number: {                        \
    const struct wire_##name *m = &message->name;
#define U(name) mp_put_uint(out, m->name);
#define I(name) mp_put_int(out, m->name);
#define S(name, max) put_text(out, m->name, max);
#define B(name, max) put_bytes(out, m->name, max);
#define F(name, len) mp_put_bin(out, trb_slice_of(m->name, len));
#define TRB_END \
  break;        \
  }
#include "messages.def"
#undef TRB_MESSAGE
#undef TRB_END
#undef U
#undef I
#undef S
#undef B
#undef F
    default: out->failed = true; /* no such message: nothing may be sent */
  }
}

struct decoder {
  struct mp_reader r;
  const char *field; /* first that was refused */
  const char *why;
};

static void note(struct decoder *d, const char *field, bool ok, const char *why) {
  if (d->field || (!d->r.failed && ok)) return;
  d->field = field;
  d->why = d->r.failed ? "is of another type" : why;
}

/* Unsigned numbers end up in SQLite: at most 2^63-1. */
static uint64_t get_uint(struct decoder *d, const char *field) {
  uint64_t v = mp_get_uint(&d->r);
  note(d, field, v <= INT64_MAX, "is too large");
  return v;
}

static int64_t get_int(struct decoder *d, const char *field) {
  int64_t v = mp_get_int(&d->r);
  note(d, field, true, "");
  return v;
}

static struct trb_slice get_text(struct decoder *d, const char *field, size_t max) {
  struct trb_slice s = mp_get_str(&d->r);
  note(d, field, s.len <= max, "is too long");
  note(d, field, trb_utf8_valid(s), "is not UTF-8 text");
  return s;
}

static struct trb_slice get_bytes(struct decoder *d, const char *field, size_t max) {
  struct trb_slice s = mp_get_bin(&d->r);
  note(d, field, s.len <= max, "is too long");
  return s;
}

static void get_fixed(struct decoder *d, const char *field, uint8_t *ret, size_t len) {
  mp_get_fixed(&d->r, ret, len);
  note(d, field, true, "");
}

static void decode_fields(struct decoder *d, struct wire_message *message) {
  switch (message->type) {
#define TRB_MESSAGE(name, number, from) \
  case number: {                        \
    struct wire_##name *m = &message->name;
#define U(name) m->name = get_uint(d, #name);
#define I(name) m->name = get_int(d, #name);
#define S(name, max) m->name = get_text(d, #name, max);
#define B(name, max) m->name = get_bytes(d, #name, max);
#define F(name, len) get_fixed(d, #name, m->name, len);
#define TRB_END \
  break;        \
  }
#include "messages.def"
#undef TRB_MESSAGE
#undef TRB_END
#undef U
#undef I
#undef S
#undef B
#undef F
    default: break;
  }
}

enum trb_status wire_decode(struct trb_slice frame, struct wire_message *ret, struct trb_error *err) {
  if (frame.len > TRB_FRAME_BYTES_MAX) return trb_fail(err, TRB_PEER, "A frame is larger than the limit.");
  if (mp_check(frame, NULL)) return trb_fail(err, TRB_PEER, "A frame is not one msgpack value.");
  struct decoder d = {.r = mp_reader(frame)};
  size_t items = mp_get_array(&d.r);
  uint64_t number = mp_get_uint(&d.r);
  if (d.r.failed || number == WIRE_NONE) return trb_fail(err, TRB_PEER, "A frame is not a message.");
  struct wire_message message = {.type = (enum wire_type)(number <= INT16_MAX ? number : 0)};
  size_t fields = field_count(message.type);
  if (!fields) return trb_fail(err, TRB_PEER, "Message number %llu is unknown.", (unsigned long long)number);
  if (items < 1 + fields)
    return trb_fail(err, TRB_PEER, "Message %s has too few fields (%zu of %zu).", wire_name(message.type), items - 1,
                    fields);
  decode_fields(&d, &message);
  if (d.field) return trb_fail(err, TRB_PEER, "Message %s: field %s %s.", wire_name(message.type), d.field, d.why);
  *ret = message;
  return TRB_OK;
}

void wire_join_signed(const struct wire_join *join, struct trb_buf *out) {
  mp_put_array(out, 7);
  mp_put_uint(out, join->proto_min);
  mp_put_uint(out, join->proto_max);
  mp_put_bin(out, trb_slice_of(join->invitation, sizeof join->invitation));
  mp_put_bin(out, trb_slice_of(join->secret, sizeof join->secret));
  mp_put_bin(out, trb_slice_of(join->curve_public, sizeof join->curve_public));
  mp_put_bin(out, trb_slice_of(join->sign_public, sizeof join->sign_public));
  mp_put_str(out, join->software);
}

void wire_rotate_signed(const struct wire_rotate *rotate, struct trb_buf *out) {
  trb_buf_append(out, rotate->curve_public, sizeof rotate->curve_public);
  trb_buf_append(out, rotate->sign_public, sizeof rotate->sign_public);
}
