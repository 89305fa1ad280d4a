/* vectors: the golden vectors of proto/vectors, rendered from the codec itself. tests/vectors.c writes them (`make
 * vectors`), tests/unit/test_vectors.c compares them with the stored files, and tests/integration/test_vectors.py
 * checks the stored files with code that shares nothing with this. Numbers are decimal, bytes are hex, text is text. */
#ifndef TESTS_VECTORS_H
#define TESTS_VECTORS_H

#include <inttypes.h>

#include "codec_fixture.h"
#include "tributary/mp.h"

/* ---- JSON, as little as is needed ---- */

static inline void v_hex(struct trb_buf *out, const void *data, size_t len) {
  static const char digits[] = "0123456789abcdef";
  trb_buf_append_byte(out, '"');
  for (size_t i = 0; i < len; i++) {
    uint8_t b = ((const uint8_t *)data)[i];
    trb_buf_append_byte(out, (uint8_t)digits[b >> 4]);
    trb_buf_append_byte(out, (uint8_t)digits[b & 15]);
  }
  trb_buf_append_byte(out, '"');
}

static inline void v_slice(struct trb_buf *out, const char *name, struct trb_slice s) {
  trb_buf_printf(out, "\"%s\": ", name);
  v_hex(out, s.data, s.len);
}

/* {"int": "5"}: integers as text where a JSON reader could take them for floating point. */
static inline void v_value(struct trb_buf *out, struct trb_value v) {
  switch (v.type) {
    case TRB_NULL: trb_buf_append_str(out, "{\"null\": true}"); break;
    case TRB_INT: trb_buf_printf(out, "{\"int\": \"%" PRId64 "\"}", v.i); break;
    case TRB_REAL: {
      uint8_t bits[8];
      uint64_t n;
      memcpy(&n, &v.r, sizeof n);
      trb_put_u64(bits, n);
      trb_buf_append_str(out, "{\"real_bits\": ");
      v_hex(out, bits, sizeof bits);
      trb_buf_append_str(out, "}");
      break;
    }
    case TRB_TEXT:
    case TRB_BLOB:
      trb_buf_append_str(out, v.type == TRB_TEXT ? "{\"text_utf8\": " : "{\"blob\": ");
      v_hex(out, v.s.data, v.s.len);
      trb_buf_append_str(out, "}");
      break;
  }
}

static const char v_x300[] =
    "xxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxx"
    "xxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxx"
    "xxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxx";

enum { V_VALUES = 40 };
static inline size_t v_values(struct trb_value *ret) {
  static const int64_t ints[] = {0,
                                 1,
                                 127,
                                 128,
                                 255,
                                 256,
                                 65535,
                                 65536,
                                 -1,
                                 -32,
                                 -33,
                                 -128,
                                 -129,
                                 -32768,
                                 -32769,
                                 4294967295,
                                 4294967296,
                                 INT32_MIN,
                                 (int64_t)INT32_MIN - 1,
                                 INT64_MAX,
                                 INT64_MIN,
                                 1790000005020};
  static const double reals[] = {0.0, -0.0, 1.5, -1234.5678, 1e300, 5e-324};
  static const size_t lengths[] = {0, 31, 32, 255, 256};
  size_t n = 0;
  ret[n++] = trb_null();
  for (size_t i = 0; i < sizeof ints / sizeof *ints; i++) ret[n++] = trb_int(ints[i]);
  for (size_t i = 0; i < sizeof reals / sizeof *reals; i++) ret[n++] = trb_real(reals[i]);
  for (size_t i = 0; i < sizeof lengths / sizeof *lengths; i++)
    ret[n++] = trb_text_slice(trb_slice_of(v_x300, lengths[i]));
  ret[n++] = trb_text("张三 １２３");
  ret[n++] = trb_blob(trb_slice_of("\0\xff\x01", 3));
  ret[n++] = trb_blob(trb_slice_of(v_x300, 256));
  TRB_ASSERT(n <= V_VALUES);
  return n;
}

static inline void v_msgpack(struct trb_buf *out) {
  struct trb_value values[V_VALUES];
  size_t count = v_values(values);
  trb_buf_append_str(out, "[\n");
  for (size_t i = 0; i < count; i++) {
    TRB_BUF_AUTO bytes = {0};
    mp_put_value(&bytes, values[i]);
    trb_buf_append_str(out, "  {\"value\": ");
    v_value(out, values[i]);
    trb_buf_append_str(out, ", ");
    v_slice(out, "msgpack", trb_buf_slice(&bytes));
    trb_buf_append_str(out, i + 1 < count ? "},\n" : "}\n");
  }
  trb_buf_append_str(out, "]\n");
}

static inline void v_digest(struct trb_buf *out) {
  struct trb_value values[V_VALUES];
  static const char *const ids[] = {"C001", "客户-0007", FIXTURE_ID};
  size_t count = v_values(values);
  trb_buf_append_str(out, "[\n");
  for (size_t i = 0; i < count; i++) {
    uint16_t table = (uint16_t)(1 + i * 7), column = (uint16_t)(i % 5 ? i * 3 : 0);
    const char *id = ids[i % 3];
    trb_buf_printf(out, "  {\"table\": %u, \"column\": %u, \"id\": \"%s\", \"value\": ", table, column, id);
    v_value(out, values[i]);
    trb_buf_printf(out, ", \"hash\": \"%" PRIu64 "\"}%s\n", digest_cell(table, trb_slice_str(id), column, values[i]),
                   i + 1 < count ? "," : "");
  }
  trb_buf_append_str(out, "]\n");
}

/* ---- effective times ---- */

static inline void v_segment(struct trb_buf *out, const struct trb_segment *s) {
  trb_buf_printf(out, "{\"first_mark\": %" PRIu64 ", \"wall_ms\": %" PRId64 ", \"boot_ms\": %" PRId64 ", \"boot_id\": ",
                 s->first_mark, s->at.wall_ms, s->at.boot_ms);
  v_hex(out, s->at.boot_id, sizeof s->at.boot_id);
  trb_buf_append_str(out, ", \"hub_minus_boot_ms\": ");
  if (s->measured)
    trb_buf_printf(out, "%" PRId64 "}", s->hub_minus_boot_ms);
  else
    trb_buf_append_str(out, "null}");
}

static inline void v_segments(struct trb_buf *out, const struct trb_segment *segments, size_t count) {
  trb_buf_append_str(out, "\"segments\": [");
  for (size_t i = 0; i < count; i++) {
    if (i) trb_buf_append_str(out, ", ");
    v_segment(out, &segments[i]);
  }
  trb_buf_append_str(out, "]");
}

static inline void v_marks(struct trb_buf *out, const struct trb_mark_time *marks, size_t count) {
  trb_buf_append_str(out, "\"marks\": [");
  for (size_t i = 0; i < count; i++)
    trb_buf_printf(out, "%s[%" PRIu64 ", %" PRId64 "]", i ? ", " : "", marks[i].number, marks[i].wall_ms);
  trb_buf_append_str(out, "]");
}

static inline void v_acceptance(struct trb_buf *out, const struct trb_acceptance *a) {
  trb_buf_printf(
      out, "\"commit\": \"%" PRIu64 "\", \"limit\": \"%" PRIu64 "\", \"base\": \"%" PRIu64 "\", \"corrections\": [",
      a->commit, a->limit, a->base);
  for (size_t i = 0; i < a->segment_count; i++)
    trb_buf_printf(out, "%s[\"%" PRId64 "\", %s]", i ? ", " : "", a->correction_ms[i],
                   a->verified[i] ? "true" : "false");
  trb_buf_append_str(out, "]");
}

struct v_time_case {
  const char *what;
  bool session;
  struct trb_clock_reading reading;
  int64_t hub_ms;
  trb_hlc limit, base;
  size_t segment_count, mark_count;
  struct trb_segment segments[3];
  struct trb_mark_time marks[6];
};

#define V_T0 INT64_C(1790000000000)
#define V_YEAR (INT64_C(365) * 86400000)
#define V_BOOT(n) \
  { n, n, n, n, n, n, n, n, n, n, n, n, n, n, n, n }
static const struct v_time_case v_time_cases[] = {
    {"a right clock, online",
     true,
     {V_T0 + 9000, 9000, V_BOOT(1)},
     V_T0 + 9020,
     (trb_hlc)(V_T0 + 9020) << 16,
     0,
     1,
     3,
     {{.first_mark = 1, .at = {V_T0 + 1000, 1000, V_BOOT(1)}}},
     {{1, V_T0 + 1000}, {2, V_T0 + 2000}, {5, V_T0 + 2000}}},
    {"four years fast, then nine years slow, while the daemon ran",
     true,
     {0, 9000, V_BOOT(1)},
     V_T0 + 9000,
     (trb_hlc)(V_T0 + 9000) << 16,
     (trb_hlc)(V_T0 - 5000) << 16,
     2,
     4,
     {{.first_mark = 10, .at = {V_T0 + 1000 + 4 * V_YEAR, 1000, V_BOOT(1)}},
      {.first_mark = 12, .at = {V_T0 + 3000 - 9 * V_YEAR, 3000, V_BOOT(1)}}},
     {{10, V_T0 + 1000 + 4 * V_YEAR},
      {11, V_T0 + 1500 + 4 * V_YEAR},
      {12, V_T0 + 3000 - 9 * V_YEAR},
      {13, V_T0 + 3700 - 9 * V_YEAR}}},
    {"an earlier boot that was measured, one that never was, and this one",
     true,
     {V_T0, 500, V_BOOT(3)},
     V_T0 + 700000,
     (trb_hlc)(V_T0 + 700000) << 16,
     7,
     3,
     6,
     {{.first_mark = 1, .at = {5000, 100, V_BOOT(1)}, .measured = true, .hub_minus_boot_ms = V_T0},
      {.first_mark = 3, .at = {V_T0 + 300000, 100, V_BOOT(2)}},
      {.first_mark = 5, .at = {77, 400, V_BOOT(3)}}},
     {{1, 5000}, {2, 6000}, {3, V_T0 + 300000}, {4, V_T0 + 300500}, {5, 77}, {6, 80}}},
    {"by file, no session: a mark from the future is held at the limit",
     false,
     {0, 0, {0}},
     0,
     (trb_hlc)V_T0 << 16,
     (trb_hlc)(V_T0 - 100) << 16,
     1,
     4,
     {{.first_mark = 1, .at = {V_T0 - 50, 100, V_BOOT(1)}}},
     {{1, V_T0 - 50}, {2, V_T0 - 60}, {3, V_T0 + V_YEAR}, {4, V_T0 + V_YEAR}}},
    {"readings at the ends of their range",
     true,
     {INT64_MAX, INT64_MIN, V_BOOT(1)},
     INT64_MAX,
     INT64_MAX,
     0,
     2,
     4,
     {{.first_mark = 1, .at = {INT64_MIN, INT64_MAX, V_BOOT(1)}},
      {.first_mark = 3, .at = {INT64_MAX, 0, V_BOOT(2)}, .measured = true, .hub_minus_boot_ms = INT64_MIN}},
     {{1, INT64_MIN}, {2, INT64_MAX}, {3, INT64_MIN}, {4, INT64_MAX}}},
};

static inline void v_time_case_render(struct trb_buf *out, const struct v_time_case *c) {
  struct trb_acceptance a = {.limit = c->limit, .base = c->base};
  trb_hlc times[6];
  clock_correct(c->segments, c->segment_count, c->session ? &c->reading : NULL, c->hub_ms, &a);
  clock_effective(c->marks, c->mark_count, c->segments, &a, times);
  trb_buf_printf(out, "  {\"what\": \"%s\", \"session\": ", c->what);
  if (c->session) {
    trb_buf_printf(out, "{\"boot_ms\": %" PRId64 ", \"hub_ms\": %" PRId64 ", \"boot_id\": ", c->reading.boot_ms,
                   c->hub_ms);
    v_hex(out, c->reading.boot_id, sizeof c->reading.boot_id);
    trb_buf_append_str(out, "}");
  } else {
    trb_buf_append_str(out, "null");
  }
  trb_buf_append_str(out, ",\n   ");
  v_segments(out, c->segments, c->segment_count);
  trb_buf_append_str(out, ",\n   ");
  v_marks(out, c->marks, c->mark_count);
  trb_buf_append_str(out, ",\n   ");
  v_acceptance(out, &a);
  trb_buf_append_str(out, ",\n   \"effective\": [");
  for (size_t i = 0; i < c->mark_count; i++) trb_buf_printf(out, "%s\"%" PRIu64 "\"", i ? ", " : "", times[i]);
  trb_buf_append_str(out, "]}");
}

static inline void v_times(struct trb_buf *out) {
  size_t count = sizeof v_time_cases / sizeof *v_time_cases;
  trb_buf_append_str(out, "[\n");
  for (size_t i = 0; i < count; i++) {
    v_time_case_render(out, &v_time_cases[i]);
    trb_buf_append_str(out, i + 1 < count ? ",\n" : "\n");
  }
  trb_buf_append_str(out, "]\n");
}

/* ---- batch and ack ---- */

static inline void v_change(struct trb_buf *out, const struct trb_change *c) {
  TRB_BUF_AUTO bytes = {0};
  change_encode(c, &bytes);
  trb_buf_printf(out, "    {\"table\": %u, \"op\": %d, \"mark\": %u, \"id\": \"%.*s\", \"cells\": [", c->table,
                 (int)c->op, c->mark, (int)c->id.len, (const char *)c->id.data);
  for (size_t i = 0; i < c->cell_count; i++) {
    trb_buf_printf(out, "%s{\"column\": %u, \"mark\": %u, \"value\": ", i ? ", " : "", c->cells[i].column,
                   c->cells[i].mark);
    v_value(out, c->cells[i].value);
    trb_buf_append_str(out, "}");
  }
  trb_buf_append_str(out, "], ");
  v_slice(out, "msgpack", trb_buf_slice(&bytes));
  trb_buf_append_str(out, "}");
}

static inline void v_header(struct trb_buf *out, const struct trb_batch_header *h) {
  trb_buf_printf(out, "  \"site\": \"%.*s\",\n  \"incarnation\": ", (int)h->site.len, (const char *)h->site.data);
  v_hex(out, h->incarnation, sizeof h->incarnation);
  trb_buf_printf(out, ",\n  \"sequence\": %" PRIu64 ",\n  \"previous\": ", h->sequence);
  v_hex(out, h->previous, sizeof h->previous);
  trb_buf_printf(out,
                 ",\n  \"flags\": %u,\n  \"last_mark\": %" PRIu64 ",\n  \"change_count\": %u,\n  \"raw_bytes\": %u,\n",
                 h->flags, h->last_mark, h->change_count, h->raw_bytes);
  trb_buf_append_str(out, "  \"body_hash\": ");
  v_hex(out, h->body_hash, sizeof h->body_hash);
  trb_buf_printf(out, ",\n  \"sealed_ms\": %" PRId64 ",\n  ", h->sealed_ms);
  v_segments(out, h->segments, h->segment_count);
  trb_buf_append_str(out, ",\n  \"digests\": [");
  for (size_t i = 0; i < h->digest_count; i++)
    trb_buf_printf(out, "%s{\"table\": %u, \"rows\": %" PRIu64 ", \"sum\": \"%" PRIu64 "\"}", i ? ", " : "",
                   h->digests[i].table, h->digests[i].rows, h->digests[i].sum);
  trb_buf_append_str(out, "],\n");
}

static inline void v_key(struct trb_buf *out, const char *name, uint8_t seed_first) {
  uint8_t seed[TRB_KEY_BYTES], key[TRB_KEY_BYTES];
  fixture_bytes(seed, sizeof seed, seed_first);
  fixture_public(seed_first, key);
  trb_buf_printf(out, "  \"%s_seed\": ", name);
  v_hex(out, seed, sizeof seed);
  trb_buf_printf(out, ",\n  \"%s_public\": ", name);
  v_hex(out, key, sizeof key);
  trb_buf_append_str(out, ",\n");
}

static inline void v_batch(struct trb_buf *out) {
  struct fixture f;
  uint8_t hash[TRB_HASH_BYTES];
  TRB_BUF_AUTO sealed = {0};
  fixture_seal(&f, &sealed, hash);
  trb_buf_append_str(out, "{\n");
  v_key(out, "site", FIXTURE_SITE_SEED);
  v_header(out, &f.batch.header);
  trb_buf_append_str(out, "  ");
  v_marks(out, f.marks, FIXTURE_MARKS);
  trb_buf_append_str(out, ",\n  \"changes\": [\n");
  for (size_t i = 0; i < FIXTURE_CHANGES; i++) {
    v_change(out, &f.changes[i]);
    trb_buf_append_str(out, i + 1 < FIXTURE_CHANGES ? ",\n" : "\n");
  }
  trb_buf_append_str(out, "  ],\n  \"hash\": ");
  v_hex(out, hash, sizeof hash);
  trb_buf_append_str(out, ",\n  ");
  v_slice(out, "sealed", trb_buf_slice(&sealed));
  trb_buf_append_str(out, "\n}\n");
}

static inline void v_ack(struct trb_buf *out) {
  struct fixture f;
  struct trb_ack ack;
  uint8_t hash[TRB_HASH_BYTES];
  trb_hlc times[FIXTURE_MARKS];
  TRB_BUF_AUTO sealed = {0};
  TRB_BUF_AUTO bytes = {0};
  struct crypto_signer *hub = fixture_signer(FIXTURE_HUB_SEED);
  fixture_seal(&f, &sealed, hash);
  fixture_ack(&f, hash, &ack);
  ack_seal(&ack, hub, &bytes);
  crypto_signer_free(&hub);
  clock_effective(f.marks, FIXTURE_MARKS, f.batch.header.segments, &ack.acceptance, times);
  trb_buf_append_str(out, "{\n");
  v_key(out, "hub", FIXTURE_HUB_SEED);
  trb_buf_append_str(out, "  \"site\": \"site1\",\n  \"incarnation\": ");
  v_hex(out, ack.incarnation, sizeof ack.incarnation);
  trb_buf_printf(out, ",\n  \"sequence\": %" PRIu64 ",\n  \"hash\": ", ack.sequence);
  v_hex(out, ack.hash, sizeof ack.hash);
  trb_buf_append_str(out, ",\n  ");
  v_acceptance(out, &ack.acceptance);
  trb_buf_append_str(out, ",\n  \"effective\": [");
  for (size_t i = 0; i < FIXTURE_MARKS; i++) trb_buf_printf(out, "%s\"%" PRIu64 "\"", i ? ", " : "", times[i]);
  trb_buf_append_str(out, "],\n  ");
  v_slice(out, "sealed", trb_buf_slice(&bytes));
  trb_buf_append_str(out, "\n}\n");
}

/* ---- token, keyset, messages ---- */

static inline void v_endpoints(struct trb_buf *out, const char *endpoints, size_t stride, size_t count) {
  trb_buf_append_str(out, "  \"endpoints\": [");
  for (size_t i = 0; i < count; i++) trb_buf_printf(out, "%s\"%s\"", i ? ", " : "", endpoints + i * stride);
  trb_buf_append_str(out, "],\n");
}

static inline void v_bytes_line(struct trb_buf *out, const char *name, const void *data, size_t len) {
  trb_buf_append_str(out, "  ");
  v_slice(out, name, trb_slice_of(data, len));
  trb_buf_append_str(out, ",\n");
}

static inline void v_token(struct trb_buf *out) {
  struct trb_token t;
  TRB_BUF_AUTO text = {0};
  fixture_token(&t);
  token_encode(&t, &text);
  trb_buf_append_str(out, "{\n");
  v_bytes_line(out, "root_public", t.root_public, TRB_KEY_BYTES);
  v_bytes_line(out, "curve_public", t.curve_public, TRB_KEY_BYTES);
  v_bytes_line(out, "invitation", t.invitation, sizeof t.invitation);
  v_bytes_line(out, "secret", t.secret, sizeof t.secret);
  trb_buf_printf(out, "  \"site\": \"%s\",\n  \"expires_ms\": %" PRId64 ",\n", t.site, t.expires_ms);
  v_endpoints(out, t.endpoints[0], sizeof t.endpoints[0], t.endpoint_count);
  trb_buf_printf(out, "  \"token\": \"%s\"\n}\n", trb_buf_cstr(&text));
}

static inline void v_keyset(struct trb_buf *out) {
  struct trb_keyset k;
  TRB_BUF_AUTO sealed = {0};
  struct crypto_signer *root = fixture_signer(FIXTURE_ROOT_SEED);
  fixture_keyset(&k);
  keyset_seal(&k, root, &sealed);
  crypto_signer_free(&root);
  trb_buf_append_str(out, "{\n");
  v_key(out, "root", FIXTURE_ROOT_SEED);
  trb_buf_printf(out, "  \"version\": %" PRIu64 ",\n", k.version);
  v_bytes_line(out, "sign_public", k.sign_public, TRB_KEY_BYTES);
  v_bytes_line(out, "curve_public", k.curve_public, TRB_KEY_BYTES);
  v_bytes_line(out, "curve_next", k.curve_next, TRB_KEY_BYTES);
  v_endpoints(out, k.endpoints[0], sizeof k.endpoints[0], k.endpoint_count);
  trb_buf_append_str(out, "  ");
  v_slice(out, "sealed", trb_buf_slice(&sealed));
  trb_buf_append_str(out, "\n}\n");
}

static inline void v_message_fields(struct trb_buf *out, const struct wire_message *message) {
  switch (message->type) {
#define TRB_MESSAGE(name, number, from)           \
  case number: {                                  \
    const struct wire_##name *m = &message->name; \
    trb_buf_printf(out, "  {\"name\": \"%s\", \"number\": %d, \"from\": \"%c\", \"fields\": [", #name, number, from);
#define U(name) trb_buf_printf(out, "[\"%s\", %" PRIu64 "], ", #name, m->name);
#define I(name) trb_buf_printf(out, "[\"%s\", %" PRId64 "], ", #name, m->name);
#define S(name, max) \
  trb_buf_printf(out, "[\"%s\", {\"str\": \"%.*s\"}], ", #name, (int)m->name.len, (const char *)m->name.data);
#define B(name, max) \
  trb_buf_printf(out, "[\"%s\", {", #name), v_slice(out, "bin", m->name), trb_buf_append_str(out, "}], ");
#define F(name, len)                                                                         \
  trb_buf_printf(out, "[\"%s\", {", #name), v_slice(out, "bin", trb_slice_of(m->name, len)), \
      trb_buf_append_str(out, "}], ");
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
  out->len -= 2; /* the last comma */
}

static inline void v_messages(struct trb_buf *out) {
  trb_buf_append_str(out, "[\n");
  for (size_t i = 0; i < FIXTURE_TYPES; i++) {
    struct wire_message message;
    TRB_BUF_AUTO frame = {0};
    fixture_message(fixture_types[i], trb_slice_of("\x92\x01\xc4\x01\xff", 5), &message);
    wire_encode(&message, &frame);
    v_message_fields(out, &message);
    trb_buf_append_str(out, "],\n   ");
    v_slice(out, "frame", trb_buf_slice(&frame));
    trb_buf_append_str(out, i + 1 < FIXTURE_TYPES ? "},\n" : "}\n");
  }
  trb_buf_append_str(out, "]\n");
}

static const struct {
  const char *name;
  void (*render)(struct trb_buf *out);
} vectors[] = {
    {"msgpack", v_msgpack}, {"digest", v_digest}, {"effective_times", v_times}, {"batch", v_batch},
    {"ack", v_ack},         {"token", v_token},   {"keyset", v_keyset},         {"messages", v_messages},
};
enum { VECTOR_COUNT = sizeof vectors / sizeof *vectors };

#endif
