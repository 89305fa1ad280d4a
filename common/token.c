/* token: invitations and keysets; see include/tributary/token.h. */
#include "tributary/token.h"

#include <string.h>

#include "envelope.h"
#include "tributary/catalogue.h"

#define DOMAIN "tributary keyset v1"
#define PREFIX "trb1."
enum {
  KEYSET_VERSION = 1,
  KEYSET_ITEMS = 7,
  KEYSET_BYTES_MAX = 4096,
  TOKEN_VERSION = 1,
  TOKEN_ITEMS = 8,
  CHECK_BYTES = 4
};

static void put_fixed(struct trb_buf *out, const void *bytes, size_t len) { mp_put_bin(out, trb_slice_of(bytes, len)); }

typedef char endpoint_text[TRB_ENDPOINT_BYTES_MAX + 1];

static void put_endpoints(struct trb_buf *out, const endpoint_text *endpoints, size_t count) {
  TRB_ASSERT(count <= TRB_ENDPOINTS_MAX);
  mp_put_array(out, count);
  for (size_t i = 0; i < count; i++) mp_put_str(out, trb_slice_str(endpoints[i]));
}

/* tcp://host:port in printable ASCII: it is handed to ZeroMQ and shown to people. */
static bool endpoint_valid(struct trb_slice s) {
  static const char scheme[] = "tcp://";
  size_t scheme_len = sizeof scheme - 1;
  if (s.len <= scheme_len + 2 || s.len > TRB_ENDPOINT_BYTES_MAX || memcmp(s.data, scheme, scheme_len) != 0)
    return false;
  size_t port = s.len;
  while (port > scheme_len && s.data[port - 1] >= '0' && s.data[port - 1] <= '9') port--;
  if (port == s.len || s.len - port > 5 || s.data[port - 1] != ':' || port - 1 == scheme_len) return false;
  for (size_t i = 0; i < s.len; i++)
    if (s.data[i] <= ' ' || s.data[i] > '~' || s.data[i] == ';' || s.data[i] == ',') return false;
  return true;
}

static size_t get_endpoints(struct mp_reader *r, endpoint_text *ret) {
  size_t count = mp_get_array(r);
  if (count < 1 || count > TRB_ENDPOINTS_MAX) r->failed = true;
  for (size_t i = 0; i < count && !r->failed; i++) {
    struct trb_slice s = mp_get_str(r);
    if (r->failed || !endpoint_valid(s)) {
      r->failed = true;
    } else {
      memcpy(ret[i], s.data, s.len);
      ret[i][s.len] = 0;
    }
  }
  return r->failed ? 0 : count;
}

void keyset_seal(const struct trb_keyset *keyset, const struct crypto_signer *root, struct trb_buf *out) {
  TRB_BUF_AUTO payload = {0};
  mp_put_array(&payload, KEYSET_ITEMS);
  mp_put_uint(&payload, KEYSET_VERSION);
  mp_put_uint(&payload, keyset->version);
  put_fixed(&payload, keyset->root_public, TRB_KEY_BYTES);
  put_fixed(&payload, keyset->sign_public, TRB_KEY_BYTES);
  put_fixed(&payload, keyset->curve_public, TRB_KEY_BYTES);
  if (keyset->has_next)
    put_fixed(&payload, keyset->curve_next, TRB_KEY_BYTES);
  else
    mp_put_nil(&payload);
  put_endpoints(&payload, keyset->endpoints, keyset->endpoint_count);
  envelope_seal(&payload, root, DOMAIN, out);
}

static bool read_keyset(struct trb_slice payload, struct trb_keyset *ret) {
  struct mp_reader r = mp_reader(payload);
  size_t items = mp_get_array(&r);
  uint64_t form = mp_get_uint(&r);
  ret->version = mp_get_uint(&r);
  mp_get_fixed(&r, ret->root_public, TRB_KEY_BYTES);
  mp_get_fixed(&r, ret->sign_public, TRB_KEY_BYTES);
  mp_get_fixed(&r, ret->curve_public, TRB_KEY_BYTES);
  ret->has_next = !mp_try_nil(&r);
  if (ret->has_next) mp_get_fixed(&r, ret->curve_next, TRB_KEY_BYTES);
  ret->endpoint_count = get_endpoints(&r, ret->endpoints);
  return !r.failed && mp_at_end(&r) && items == KEYSET_ITEMS && form == KEYSET_VERSION && ret->version <= INT64_MAX;
}

enum trb_status keyset_open(struct trb_slice sealed, const uint8_t root_public[TRB_KEY_BYTES], struct trb_keyset *ret,
                            struct trb_error *err) {
  struct trb_slice payload;
  struct trb_keyset keyset = {0};
  if (sealed.len > KEYSET_BYTES_MAX) return trb_fail(err, TRB_PEER, "The hub's keys cannot be read: too large.");
  enum trb_status status = envelope_open(sealed, root_public, DOMAIN, &payload);
  if (status == TRB_DENIED)
    return trb_fail(err, TRB_DENIED, "The hub's keys are not signed by the root this branch was invited with.");
  if (status || !read_keyset(payload, &keyset)) return trb_fail(err, TRB_PEER, "The hub's keys cannot be read.");
  if (!crypto_equal(keyset.root_public, root_public, TRB_KEY_BYTES))
    return trb_fail(err, TRB_DENIED, "The hub's keys name another root than the one that signed them.");
  *ret = keyset;
  return TRB_OK;
}

void token_encode(const struct trb_token *token, struct trb_buf *out) {
  TRB_BUF_AUTO bytes = {0};
  uint8_t hash[TRB_HASH_BYTES];
  mp_put_array(&bytes, TOKEN_ITEMS);
  mp_put_uint(&bytes, TOKEN_VERSION);
  put_fixed(&bytes, token->root_public, sizeof token->root_public);
  put_fixed(&bytes, token->curve_public, sizeof token->curve_public);
  put_fixed(&bytes, token->invitation, sizeof token->invitation);
  put_fixed(&bytes, token->secret, sizeof token->secret);
  mp_put_str(&bytes, trb_slice_str(token->site));
  mp_put_int(&bytes, token->expires_ms);
  put_endpoints(&bytes, token->endpoints, token->endpoint_count);
  crypto_hash(trb_buf_slice(&bytes), hash);
  trb_buf_append(&bytes, hash, CHECK_BYTES);
  trb_buf_append_str(out, PREFIX);
  trb_base64url(trb_buf_slice(&bytes), out);
  if (bytes.failed) out->failed = true;
  if (bytes.data) crypto_wipe(bytes.data, bytes.len);
}

static bool is_space(uint8_t c) { return c == ' ' || c == '\t' || c == '\r' || c == '\n'; }

static struct trb_slice trim(struct trb_slice s) {
  while (s.len && is_space(s.data[0])) s = trb_slice_of(s.data + 1, s.len - 1);
  while (s.len && is_space(s.data[s.len - 1])) s.len--;
  return s;
}

static bool read_token(struct trb_slice bytes, struct trb_token *ret) {
  if (mp_check(bytes, NULL)) return false;
  struct mp_reader r = mp_reader(bytes);
  size_t items = mp_get_array(&r);
  uint64_t version = mp_get_uint(&r);
  mp_get_fixed(&r, ret->root_public, sizeof ret->root_public);
  mp_get_fixed(&r, ret->curve_public, sizeof ret->curve_public);
  mp_get_fixed(&r, ret->invitation, sizeof ret->invitation);
  mp_get_fixed(&r, ret->secret, sizeof ret->secret);
  struct trb_slice site = mp_get_str(&r);
  ret->expires_ms = mp_get_int(&r);
  ret->endpoint_count = get_endpoints(&r, ret->endpoints);
  if (r.failed || !mp_at_end(&r) || items != TOKEN_ITEMS || version != TOKEN_VERSION || !trb_site_valid(site))
    return false;
  memcpy(ret->site, site.data, site.len);
  ret->site[site.len] = 0;
  return true;
}

/* The bytes without their checksum; false when it does not match. */
static bool checked(struct trb_buf *bytes, struct trb_slice *ret) {
  if (bytes->len <= CHECK_BYTES) return false;
  uint8_t hash[TRB_HASH_BYTES];
  *ret = trb_slice_of(bytes->data, bytes->len - CHECK_BYTES);
  crypto_hash(*ret, hash);
  return memcmp(hash, ret->data + ret->len, CHECK_BYTES) == 0;
}

enum trb_status token_decode(struct trb_slice text, struct trb_token *ret, struct trb_error *err) {
  struct trb_slice prefix = trb_slice_str(PREFIX);
  text = trim(text);
  if (text.len < prefix.len || memcmp(text.data, prefix.data, prefix.len) != 0)
    return trb_fail(err, TRB_PEER, "This is not an invitation token: one begins with " PREFIX " and is a single line.");
  if (text.len > TRB_TOKEN_CHARS_MAX) return trb_fail(err, TRB_PEER, "This is too long for an invitation token.");
  TRB_BUF_AUTO bytes = {0};
  struct trb_slice payload;
  struct trb_token token = {0};
  bool digits = trb_unbase64url(trb_slice_of(text.data + prefix.len, text.len - prefix.len), &bytes);
  enum trb_status status = TRB_OK;
  if (!digits || !checked(&bytes, &payload))
    status = trb_fail(err, TRB_PEER, "The invitation token is cut short or mistyped: copy the whole line again.");
  else if (!read_token(payload, &token))
    status = trb_fail(err, TRB_PEER, "The invitation token is made for another version of Tributary.");
  else
    *ret = token;
  if (bytes.data) crypto_wipe(bytes.data, bytes.len);
  crypto_wipe(&token, sizeof token);
  return status;
}
