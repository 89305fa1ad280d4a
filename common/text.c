/* The ICU room. Every ICU object is opened at its first use, so a process that only meets ASCII never maps ICU's data.
 *
 * Normalisers and the IDNA object are immutable and shared. Transliterators are not: each thread that needs one clones
 * the master and frees its clone when it ends. Transliteration works in place on a UTF-16 array and moves the tail on
 * every replacement, so long input goes through in pieces of a fixed size: the cost stays linear. */
#include "tributary/text.h"

#include <pthread.h>
#include <stdlib.h>
#include <string.h>
#include <unicode/uchar.h>
#include <unicode/ucnv.h>
#include <unicode/uidna.h>
#include <unicode/unorm2.h>
#include <unicode/ustring.h>
#include <unicode/utrans.h>

/* ICU counts in int32: far below it, and far above any value we hold. */
#define TEXT_INPUT_BYTES_MAX ((size_t)64 << 20)
#define TEXT_PIECE_UNITS 256      /* UTF-16 units that go through a transliterator at once */
#define TEXT_PIECE_GROWTH 16      /* a Han character becomes at most six letters and a space; room to spare */
#define TEXT_DOMAIN_BYTES_MAX 253 /* RFC 1035 section 2.3.4 */

static bool text_is_ascii(struct trb_slice in) {
  uint8_t any = 0;
  for (size_t i = 0; i < in.len; i++) any |= in.data[i];
  return any < 0x80;
}

static enum trb_status text_input_check(struct trb_slice in, struct trb_error *err) {
  if (in.len > TEXT_INPUT_BYTES_MAX) return trb_fail(err, TRB_PEER, "text of %zu bytes is too long", in.len);
  if (!trb_utf8_valid(in)) return trb_fail(err, TRB_PEER, "text is not valid UTF-8");
  return TRB_OK;
}

static enum trb_status text_icu_failed(UErrorCode code, const char *what, struct trb_error *err) {
  if (code == U_MEMORY_ALLOCATION_ERROR) return trb_fail(err, TRB_NOMEM, "%s: no memory", what);
  return trb_fail(err, TRB_STORE, "%s: ICU says %s; is its data installed?", what, u_errorName(code));
}

static enum trb_status text_out_status(const struct trb_buf *out, struct trb_error *err) {
  return out->failed ? trb_fail(err, TRB_NOMEM, "no memory for text") : TRB_OK;
}

/* UTF-16, owned. */
struct text_units {
  UChar *data;
  int32_t len;
};
static void text_units_free(struct text_units *units) { free(units->data); }
#define TEXT_UNITS_AUTO __attribute__((cleanup(text_units_free))) struct text_units

static enum trb_status text_to_units(struct trb_slice in, struct text_units *ret, struct trb_error *err) {
  UChar *data = malloc((in.len + 1) * sizeof *data);
  if (!data) return trb_fail(err, TRB_NOMEM, "no memory for text");
  UErrorCode code = U_ZERO_ERROR;
  u_strFromUTF8(data, (int32_t)in.len + 1, &ret->len, (const char *)in.data, (int32_t)in.len, &code);
  if (U_FAILURE(code)) {
    free(data);
    return text_icu_failed(code, "UTF-8 to UTF-16", err);
  }
  ret->data = data;
  return TRB_OK;
}

/* Appends UTF-16 as UTF-8; a lone surrogate (never made by us) becomes U+FFFD. */
static void text_append_units(const UChar *units, int32_t len, struct trb_buf *out) {
  int32_t i = 0;
  while (i < len) {
    uint32_t c = units[i++]; /* NOLINT(clang-analyzer-core.uninitialized.Assign): ICU wrote them */
    if (U16_IS_LEAD(c) && i < len && U16_IS_TRAIL(units[i]))
      c = ((c - 0xD800) << 10) + (units[i++] - 0xDC00u) + 0x10000;
    if (c >= 0xD800 && c <= 0xDFFF) c = 0xFFFD;
    uint8_t bytes[4];
    size_t n = 0;
    if (c < 0x80) {
      bytes[n++] = (uint8_t)c;
    } else if (c < 0x800) {
      bytes[n++] = (uint8_t)(0xC0 | c >> 6);
    } else if (c < 0x10000) {
      bytes[n++] = (uint8_t)(0xE0 | c >> 12);
      bytes[n++] = (uint8_t)(0x80 | (c >> 6 & 0x3F));
    } else {
      bytes[n++] = (uint8_t)(0xF0 | c >> 18);
      bytes[n++] = (uint8_t)(0x80 | (c >> 12 & 0x3F));
      bytes[n++] = (uint8_t)(0x80 | (c >> 6 & 0x3F));
    }
    if (c >= 0x80) bytes[n++] = (uint8_t)(0x80 | (c & 0x3F));
    trb_buf_append(out, bytes, n);
  }
}

/* --- normalisation --- */

static enum trb_status text_normalise_with(const UNormalizer2 *form, const struct text_units *in, struct trb_buf *out,
                                           struct trb_error *err) {
  int32_t room = in->len + in->len / 2 + 32;
  for (int attempt = 0; attempt < 2; attempt++) {
    UErrorCode code = U_ZERO_ERROR;
    TEXT_UNITS_AUTO to = {.data = malloc((size_t)room * sizeof(UChar))};
    if (!to.data) return trb_fail(err, TRB_NOMEM, "no memory for text");
    to.len = unorm2_normalize(form, in->data, in->len, to.data, room, &code);
    if (code == U_BUFFER_OVERFLOW_ERROR) {
      room = to.len + 1;
      continue;
    }
    if (U_FAILURE(code)) return text_icu_failed(code, "normalising text", err);
    text_append_units(to.data, to.len, out);
    return text_out_status(out, err);
  }
  return trb_fail(err, TRB_STORE, "normalising text: ICU asked for more room twice");
}

static enum trb_status text_normalise(struct trb_slice in, bool fold, struct trb_buf *out, struct trb_error *err) {
  enum trb_status status = text_input_check(in, err);
  if (status) return status;
  UErrorCode code = U_ZERO_ERROR;
  const UNormalizer2 *form = fold ? unorm2_getNFKCCasefoldInstance(&code) : unorm2_getNFKCInstance(&code);
  if (U_FAILURE(code)) return text_icu_failed(code, "opening the normaliser", err);
  TEXT_UNITS_AUTO units = {0};
  status = text_to_units(in, &units, err);
  return status ? status : text_normalise_with(form, &units, out, err);
}

enum trb_status text_nfkc(struct trb_slice in, struct trb_buf *out, struct trb_error *err) {
  if (!text_is_ascii(in)) return text_normalise(in, false, out, err);
  trb_buf_append_slice(out, in);
  return text_out_status(out, err);
}

enum trb_status text_nfkc_casefold(struct trb_slice in, struct trb_buf *out, struct trb_error *err) {
  if (!text_is_ascii(in)) return text_normalise(in, true, out, err);
  for (size_t i = 0; i < in.len; i++) {
    uint8_t c = in.data[i];
    trb_buf_append_byte(out, c >= 'A' && c <= 'Z' ? (uint8_t)(c + ('a' - 'A')) : c);
  }
  return text_out_status(out, err);
}

/* --- transliteration --- */

enum text_script { TEXT_SIMPLIFIED, TEXT_PINYIN, TEXT_SCRIPTS };
static const char *const text_script_ids[TEXT_SCRIPTS] = {"Traditional-Simplified", "Han-Latin; Latin-ASCII; Lower"};

static pthread_once_t text_scripts_once = PTHREAD_ONCE_INIT;
static pthread_key_t text_scripts_key;
static bool text_scripts_ready;
static pthread_mutex_t text_master_lock = PTHREAD_MUTEX_INITIALIZER;
static UTransliterator *text_master[TEXT_SCRIPTS]; /* under text_master_lock; lives as long as the process */

struct text_scripts {
  UTransliterator *clone[TEXT_SCRIPTS];
};

static void text_scripts_free(void *p) {
  struct text_scripts *scripts = p;
  for (size_t i = 0; i < TEXT_SCRIPTS; i++)
    if (scripts->clone[i]) utrans_close(scripts->clone[i]);
  free(scripts);
}

static void text_scripts_init(void) {
  text_scripts_ready = pthread_key_create(&text_scripts_key, text_scripts_free) == 0;
}

static UTransliterator *text_script_clone(enum text_script script, UErrorCode *code) {
  UTransliterator *clone = NULL;
  pthread_mutex_lock(&text_master_lock);
  if (!text_master[script]) {
    UChar id[64];
    u_uastrncpy(id, text_script_ids[script], 64);
    text_master[script] = utrans_openU(id, -1, UTRANS_FORWARD, NULL, 0, NULL, code);
  }
  if (U_SUCCESS(*code)) clone = utrans_clone(text_master[script], code);
  pthread_mutex_unlock(&text_master_lock);
  return clone;
}

/* This thread's transliterator, opened at its first use. */
static enum trb_status text_script_get(enum text_script script, const UTransliterator **ret, struct trb_error *err) {
  pthread_once(&text_scripts_once, text_scripts_init);
  if (!text_scripts_ready) return trb_fail(err, TRB_STORE, "no thread-specific data for transliteration");
  struct text_scripts *scripts = pthread_getspecific(text_scripts_key);
  if (!scripts) {
    scripts = calloc(1, sizeof *scripts);
    if (!scripts || pthread_setspecific(text_scripts_key, scripts)) {
      free(scripts);
      return trb_fail(err, TRB_NOMEM, "no memory for transliteration");
    }
  }
  if (!scripts->clone[script]) {
    UErrorCode code = U_ZERO_ERROR;
    UTransliterator *clone = text_script_clone(script, &code);
    if (U_FAILURE(code)) return text_icu_failed(code, "opening the transliterator", err);
    scripts->clone[script] = clone;
  }
  *ret = scripts->clone[script];
  return TRB_OK;
}

static bool text_is_han(UChar32 c) {
  return (c >= 0x2E80 && c <= 0x9FFF && c != 0x3000) || (c >= 0xF900 && c <= 0xFAFF) || (c >= 0x20000 && c <= 0x3FFFF);
}

/* Where the piece that starts at `from` ends: at most TEXT_PIECE_UNITS on, after a character that is not Han if there
 * is one in its second half, so that no word is cut; never inside a surrogate pair. */
static int32_t text_piece_end(const struct text_units *units, int32_t from) {
  int32_t end = from + TEXT_PIECE_UNITS;
  if (end >= units->len) return units->len;
  if (U16_IS_TRAIL(units->data[end])) end--;
  for (int32_t i = end; i > from + TEXT_PIECE_UNITS / 2; i--)
    if (!U16_IS_SURROGATE(units->data[i - 1]) && !text_is_han(units->data[i - 1])) return i;
  return end;
}

static enum trb_status text_transliterate_piece(const UTransliterator *script, const UChar *in, int32_t len,
                                                struct trb_buf *out, struct trb_error *err) {
  UChar piece[TEXT_PIECE_UNITS * TEXT_PIECE_GROWTH];
  UErrorCode code = U_ZERO_ERROR;
  int32_t piece_len = len, limit = len;
  memcpy(piece, in, (size_t)len * sizeof *piece);
  utrans_transUChars(script, piece, &piece_len, TEXT_PIECE_UNITS * TEXT_PIECE_GROWTH, 0, &limit, &code);
  if (U_FAILURE(code)) return text_icu_failed(code, "transliterating", err);
  text_append_units(piece, piece_len, out);
  return text_out_status(out, err);
}

static enum trb_status text_transliterate(enum text_script id, struct trb_slice in, struct trb_buf *out,
                                          struct trb_error *err) {
  const UTransliterator *script = NULL;
  TEXT_UNITS_AUTO units = {0};
  enum trb_status status = text_input_check(in, err);
  if (!status) status = text_script_get(id, &script, err);
  if (!status) status = text_to_units(in, &units, err);
  for (int32_t from = 0, end; !status && from < units.len; from = end) {
    end = text_piece_end(&units, from);
    status = text_transliterate_piece(script, units.data + from, end - from, out, err);
    /* Syllables are set apart by a space; a cut inside a run of characters would lose one. */
    if (!status && id == TEXT_PINYIN && end < units.len && text_is_han(units.data[end - 1]))
      trb_buf_append_byte(out, ' ');
  }
  return status;
}

enum trb_status text_simplified(struct trb_slice in, struct trb_buf *out, struct trb_error *err) {
  if (!text_is_ascii(in)) return text_transliterate(TEXT_SIMPLIFIED, in, out, err);
  trb_buf_append_slice(out, in);
  return text_out_status(out, err);
}

enum trb_status text_pinyin(struct trb_slice in, struct trb_buf *out, struct trb_error *err) {
  if (text_is_ascii(in)) return text_nfkc_casefold(in, out, err);
  size_t start = out->len;
  enum trb_status status = text_transliterate(TEXT_PINYIN, in, out, err);
  if (status) return status;
  /* What no rule could bring to ASCII (emoji, Thai) is dropped: the promise is ASCII. */
  size_t keep = start;
  for (size_t i = start; i < out->len; i++)
    if (out->data[i] < 0x80) out->data[keep++] = out->data[i];
  out->len = keep;
  return TRB_OK;
}

/* --- domains --- */

static pthread_once_t text_idna_once = PTHREAD_ONCE_INIT;
static UIDNA *text_idna;

static void text_idna_init(void) {
  UErrorCode code = U_ZERO_ERROR;
  UIDNA *idna = uidna_openUTS46(
      UIDNA_USE_STD3_RULES | UIDNA_CHECK_BIDI | UIDNA_CHECK_CONTEXTJ | UIDNA_NONTRANSITIONAL_TO_ASCII, &code);
  if (U_SUCCESS(code)) text_idna = idna;
}

/* The plain case, [a-z0-9.-] without a label that could be Punycode, needs no ICU. */
static bool text_idna_plain(struct trb_slice domain, struct trb_buf *out) {
  if (!domain.len || domain.len > TEXT_DOMAIN_BYTES_MAX) return false;
  size_t label = 0;
  for (size_t i = 0; i <= domain.len; i++) {
    uint8_t c = i < domain.len ? domain.data[i] : '.';
    if (c == '.') {
      if (!label || label > 63 || domain.data[i - 1] == '-') return false;
      label = 0;
      continue;
    }
    bool hyphen = c == '-' && label > 0 && label != 2 && label != 3; /* xn-- and its reserved kin go to ICU */
    if (!hyphen && !(c >= 'a' && c <= 'z') && !(c >= '0' && c <= '9')) return false;
    label++;
  }
  trb_buf_append_slice(out, domain);
  return true;
}

enum trb_status text_idna_ascii(struct trb_slice domain, struct trb_buf *out, struct trb_error *err) {
  enum trb_status status = text_input_check(domain, err);
  if (status) return status;
  if (text_idna_plain(domain, out)) return text_out_status(out, err);
  if (!domain.len || domain.len > 4 * TEXT_DOMAIN_BYTES_MAX)
    return trb_fail(err, TRB_PEER, "not a domain name: %s", domain.len ? "too long" : "empty");
  pthread_once(&text_idna_once, text_idna_init);
  if (!text_idna) return trb_fail(err, TRB_STORE, "ICU's IDNA data cannot be opened; is it installed?");
  char ascii[TEXT_DOMAIN_BYTES_MAX + 1];
  UIDNAInfo info = UIDNA_INFO_INITIALIZER;
  UErrorCode code = U_ZERO_ERROR;
  int32_t len = uidna_nameToASCII_UTF8(text_idna, (const char *)domain.data, (int32_t)domain.len, ascii, sizeof ascii,
                                       &info, &code);
  if (U_FAILURE(code) || info.errors || len <= 0 || len > TEXT_DOMAIN_BYTES_MAX)
    return trb_fail(err, TRB_PEER, "not a domain name");
  trb_buf_append(out, ascii, (size_t)len);
  return text_out_status(out, err);
}

/* --- GB18030 --- */

static bool text_between(uint8_t c, uint8_t low, uint8_t high) { return c >= low && c <= high; }

/* Length of the sequence that starts here; 1 for a broken byte; 0 when the bytes given do not decide it. Two bytes
 * are 81..FE 40..FE without 7F, four are 81..FE 30..39 81..FE 30..39 (GB 18030-2005 section 4). */
static size_t text_gb18030_sequence(struct trb_slice in, size_t at) {
  const uint8_t *p = in.data + at;
  size_t left = in.len - at;
  if (!text_between(p[0], 0x81, 0xFE)) return 1;
  if (left < 2) return 0;
  if (!text_between(p[1], 0x30, 0x39)) return text_between(p[1], 0x40, 0xFE) && p[1] != 0x7F ? 2 : 1;
  if (left < 3) return 0;
  if (!text_between(p[2], 0x81, 0xFE)) return 1;
  if (left < 4) return 0;
  return text_between(p[3], 0x30, 0x39) ? 4 : 1;
}

size_t text_gb18030_complete(struct trb_slice in) {
  size_t at = 0;
  while (at < in.len) {
    size_t n = text_gb18030_sequence(in, at);
    if (!n) break;
    at += n;
  }
  return at;
}

/* Converts up to the first broken sequence; *ret_at is its offset, or in.len. */
static enum trb_status text_gb18030_run(struct trb_slice in, struct trb_buf *out, size_t *ret_at,
                                        struct trb_error *err) {
  UErrorCode code = U_ZERO_ERROR;
  UConverter *converter = ucnv_open("gb18030", &code);
  if (U_FAILURE(code)) return text_icu_failed(code, "opening GB18030", err);
  ucnv_setToUCallBack(converter, UCNV_TO_U_CALLBACK_STOP, NULL, NULL, NULL, &code);
  const char *source = (const char *)in.data, *source_end = source + in.len;
  do {
    UChar piece[512], *target = piece;
    code = U_ZERO_ERROR;
    ucnv_toUnicode(converter, &target, piece + 512, &source, source_end, NULL, true, &code);
    text_append_units(piece, (int32_t)(target - piece), out);
  } while (code == U_BUFFER_OVERFLOW_ERROR);
  size_t at = in.len;
  if (U_FAILURE(code)) {
    char bad[8];
    int8_t bad_len = sizeof bad;
    UErrorCode code2 = U_ZERO_ERROR;
    ucnv_getInvalidChars(converter, bad, &bad_len, &code2);
    at = (size_t)(source - (const char *)in.data) - (U_SUCCESS(code2) && bad_len > 0 ? (size_t)bad_len : 0);
  }
  ucnv_close(converter);
  *ret_at = at;
  return text_out_status(out, err);
}

enum trb_status text_from_gb18030(struct trb_slice in, struct trb_buf *out, struct trb_error *err) {
  if (in.len > TEXT_INPUT_BYTES_MAX) return trb_fail(err, TRB_PEER, "text of %zu bytes is too long", in.len);
  size_t at = in.len;
  enum trb_status status = in.len ? text_gb18030_run(in, out, &at, err) : TRB_OK;
  if (!status && at < in.len) return trb_fail(err, TRB_PEER, "not GB18030: broken sequence at byte %zu", at);
  return status;
}

enum trb_status text_from_gb18030_marking(struct trb_slice in, struct trb_buf *out, struct trb_error *err) {
  while (in.len) {
    size_t take = in.len < TEXT_INPUT_BYTES_MAX ? in.len : TEXT_INPUT_BYTES_MAX, at = take;
    enum trb_status status = text_gb18030_run(trb_slice_of(in.data, take), out, &at, err);
    if (status) return status;
    if (at < take) {
      size_t skip = text_gb18030_sequence(in, at);
      trb_buf_append_byte(out, TEXT_BROKEN_BYTE);
      at += skip ? skip : in.len - at;
    }
    in = trb_slice_of(in.data + at, in.len - at);
  }
  return text_out_status(out, err);
}

/* --- terminals --- */

static size_t text_char_width(UChar32 c) {
  if (c < 0x300) return 1;
  int8_t category = u_charType(c);
  if (category == U_NON_SPACING_MARK || category == U_ENCLOSING_MARK || category == U_FORMAT_CHAR) return 0;
  int32_t width = u_getIntPropertyValue(c, UCHAR_EAST_ASIAN_WIDTH);
  return width == U_EA_FULLWIDTH || width == U_EA_WIDE ? 2 : 1;
}

size_t text_width(struct trb_slice in) {
  size_t width = 0, i = 0;
  if (text_is_ascii(in)) return in.len;
  while (i < in.len) {
    UChar32 c;
    U8_NEXT(in.data, i, in.len, c);
    width += c < 0 ? 1 : text_char_width(c);
  }
  return width;
}
