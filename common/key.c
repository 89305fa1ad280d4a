/* key: from a contact as typed to the normalised key: cleaning, dispatch by kind, masking.
 *
 * Every value goes the same way: bounded, valid UTF-8, NFKC, cleaned of what only confuses (zero-width and direction
 * marks that phones paste, the many dashes), then to the normaliser of its kind, which adds keys or notes a reason. */
#include "key_internal.h"

#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <strings.h>

#include "tributary/text.h"

/* --- kinds and reasons --- */

static const char *const key_kind_names[] = {
    [TRB_KIND_NONE] = "none",
    [TRB_KIND_MOBILE] = "mobile",
    [TRB_KIND_LANDLINE] = "landline",
    [TRB_KIND_EMAIL] = "email",
    [TRB_KIND_WECHAT] = "wechat",
    [TRB_KIND_QQ] = "qq",
    [TRB_KIND_NATIONAL_ID] = "national_id",
    [TRB_KIND_PASSPORT] = "passport",
    [TRB_KIND_MEMBER_CARD] = "member_card",
    [TRB_KIND_TAX_NO] = "tax_no",
    [TRB_KIND_OTHER] = "other",
};

const char *kind_name(enum trb_kind kind) { return (unsigned)kind <= TRB_KIND_OTHER ? key_kind_names[kind] : "other"; }

static const struct {
  const char *name;
  enum trb_kind kind;
} key_kind_aliases[] = {
    {"cell", TRB_KIND_MOBILE},
    {"cellphone", TRB_KIND_MOBILE},
    {"手机", TRB_KIND_MOBILE},
    {"手机号", TRB_KIND_MOBILE},
    {"手机号码", TRB_KIND_MOBILE},
    {"移动电话", TRB_KIND_MOBILE},
    {"phone", TRB_KIND_LANDLINE},
    {"tel", TRB_KIND_LANDLINE},
    {"telephone", TRB_KIND_LANDLINE},
    {"电话", TRB_KIND_LANDLINE},
    {"电话号码", TRB_KIND_LANDLINE},
    {"联系电话", TRB_KIND_LANDLINE},
    {"固话", TRB_KIND_LANDLINE},
    {"固定电话", TRB_KIND_LANDLINE},
    {"座机", TRB_KIND_LANDLINE},
    {"mail", TRB_KIND_EMAIL},
    {"e-mail", TRB_KIND_EMAIL},
    {"邮箱", TRB_KIND_EMAIL},
    {"电子邮箱", TRB_KIND_EMAIL},
    {"电子邮件", TRB_KIND_EMAIL},
    {"邮件", TRB_KIND_EMAIL},
    {"weixin", TRB_KIND_WECHAT},
    {"wx", TRB_KIND_WECHAT},
    {"微信", TRB_KIND_WECHAT},
    {"微信号", TRB_KIND_WECHAT},
    {"qq号", TRB_KIND_QQ},
    {"qq号码", TRB_KIND_QQ},
    {"id_card", TRB_KIND_NATIONAL_ID},
    {"身份证", TRB_KIND_NATIONAL_ID},
    {"身份证号", TRB_KIND_NATIONAL_ID},
    {"身份证号码", TRB_KIND_NATIONAL_ID},
    {"护照", TRB_KIND_PASSPORT},
    {"护照号", TRB_KIND_PASSPORT},
    {"护照号码", TRB_KIND_PASSPORT},
    {"会员卡", TRB_KIND_MEMBER_CARD},
    {"会员卡号", TRB_KIND_MEMBER_CARD},
    {"会员号", TRB_KIND_MEMBER_CARD},
    {"税号", TRB_KIND_TAX_NO},
    {"纳税人识别号", TRB_KIND_TAX_NO},
    {"统一社会信用代码", TRB_KIND_TAX_NO},
};

static bool key_name_is(struct trb_slice name, const char *text) {
  return name.len == strlen(text) && strncasecmp((const char *)name.data, text, name.len) == 0;
}

enum trb_kind kind_of(struct trb_slice name) {
  if (!name.len) return TRB_KIND_NONE;
  for (unsigned kind = TRB_KIND_MOBILE; kind < TRB_KIND_OTHER; kind++)
    if (key_name_is(name, key_kind_names[kind])) return (enum trb_kind)kind;
  for (size_t i = 0; i < sizeof key_kind_aliases / sizeof *key_kind_aliases; i++)
    if (key_name_is(name, key_kind_aliases[i].name)) return key_kind_aliases[i].kind;
  return TRB_KIND_OTHER;
}

const char *key_reason_text(enum trb_key_reason reason) {
  switch (reason) {
    case TRB_NOKEY_NONE: return "none";
    case TRB_NOKEY_EMPTY: return "empty";
    case TRB_NOKEY_MASKED: return "masked";
    case TRB_NOKEY_PLACEHOLDER: return "placeholder, not a real contact";
    case TRB_NOKEY_SHORT_CODE: return "short code";
    case TRB_NOKEY_SERVICE: return "service number (400, 800)";
    case TRB_NOKEY_MALFORMED: return "malformed";
    case TRB_NOKEY_CHECK_DIGIT: return "check digit is wrong";
    case TRB_NOKEY_NO_AREA: return "local number, but the branch has no area code";
    case TRB_NOKEY_TOO_LONG: return "too long";
  }
  return "unknown";
}

/* --- results --- */

void key_refuse(struct trb_keys *keys, enum trb_key_reason reason) {
  if (!keys->reason) keys->reason = reason;
}

void key_add(struct trb_keys *keys, enum trb_kind kind, unsigned flags, const char *group, const char *format, ...) {
  if (keys->count > TRB_KEYS_PER_VALUE_MAX) return; /* refused already */
  struct trb_key key = {.kind = kind, .flags = flags};
  va_list arguments;
  va_start(arguments, format);
  int len = vsnprintf(key.text, sizeof key.text, format, arguments);
  va_end(arguments);
  if (len < 0 || (size_t)len >= sizeof key.text) {
    key_refuse(keys, TRB_NOKEY_TOO_LONG);
    return;
  }
  snprintf(key.group, sizeof key.group, "%s", group ? group : key.text);
  for (size_t i = 0; i < keys->count; i++)
    if (strcmp(keys->key[i].text, key.text) == 0) return;
  if (keys->count < TRB_KEYS_PER_VALUE_MAX) keys->key[keys->count] = key;
  keys->count++; /* one over the limit: key_normalise refuses the cell */
}

/* --- placeholders --- */

static bool key_digits_step(const char *digits, size_t len, int step) {
  for (size_t i = 1; i < len; i++)
    if ((digits[i - 1] - '0' + step + 10) % 10 != digits[i] - '0') return false;
  return true;
}

bool key_digits_placeholder(const char *digits, size_t min) {
  size_t len = strlen(digits);
  if (len < min) return false;
  return key_digits_step(digits, len, 0) || key_digits_step(digits, len, 1) || key_digits_step(digits, len, 9);
}

bool key_text_placeholder(const char *text) {
  static const char *const words[] = {
      "无",   "没有",  "没",      "暂无",   "不详",   "未知",    "不明",   "空",     "未填",     "未留",  "保密",
      "待补", "待定",  "同上",    "无电话", "无手机", "不知道",  "不清楚", "拒绝",   "本人",     "略",    "nil",
      "null", "none",  "n/a",     "na",     "n.a.",   "unknown", "test",   "无邮箱", "x",        "xx",    "xxx",
      "xxxx", "tbd",   "no",      "-",      "--",     "---",     "/",      "//",     ".",        "..",    "?",
      "??",   "???",   "0",       "00",     "000",    "测试",    "同手机", "手机号", "同手机号", "none.", "nan",
      "#n/a", "#ref!", "#value!", "(无)",   "無",     "沒有",    "不詳",
  };
  for (size_t i = 0; i < sizeof words / sizeof *words; i++)
    if (strcasecmp(text, words[i]) == 0) return true;
  return false;
}

/* --- small text helpers --- */

bool key_copy_upper(const char *text, char *ret, size_t size) {
  size_t len = 0;
  for (; *text; text++) {
    char c = *text;
    if (c == ' ' || c == '-') continue;
    if (!key_is_alnum(c) || len + 1 >= size) return false;
    ret[len++] = c >= 'a' && c <= 'z' ? (char)(c - ('a' - 'A')) : c;
  }
  ret[len] = '\0';
  return true;
}

const char *key_skip_label(const char *text) {
  const char *colon = strrchr(text, ':');
  if (colon) text = colon + 1;
  while (*text == ' ' || key_is_wide(*text)) text++;
  return text;
}

static char *key_trim(char *text) {
  while (*text == ' ') text++;
  size_t len = strlen(text);
  while (len && text[len - 1] == ' ') text[--len] = '\0';
  return text;
}

void key_each_part(char *text, const char *separators, void (*each)(char *part, void *context), void *context) {
  for (char *save = NULL, *part = strtok_r(text, separators, &save); part; part = strtok_r(NULL, separators, &save)) {
    part = key_trim(part);
    if (*part) each(part, context);
  }
}

/* --- cleaning --- */

/* Decodes one character of valid UTF-8. */
static uint32_t key_decode(const uint8_t *p, size_t *ret_len) {
  if (p[0] < 0x80) return *ret_len = 1, p[0];
  if (p[0] < 0xE0) return *ret_len = 2, (p[0] & 0x1Fu) << 6 | (p[1] & 0x3Fu);
  if (p[0] < 0xF0) return *ret_len = 3, (p[0] & 0x0Fu) << 12 | (p[1] & 0x3Fu) << 6 | (p[2] & 0x3Fu);
  *ret_len = 4;
  return (p[0] & 0x07u) << 18 | (p[1] & 0x3Fu) << 12 | (p[2] & 0x3Fu) << 6 | (p[3] & 0x3Fu);
}

enum { KEY_KEEP = 0, KEY_DROP = -1, KEY_BAD = -2 };

/* What a character becomes: an ASCII character, itself (KEY_KEEP), nothing (KEY_DROP); KEY_BAD refuses the value. */
static int key_clean_char(uint32_t c) {
  if (c == '\t' || c == 0x2028 || c == 0x2029 || c == '\n' || c == '\r') return ';';
  if (c < 0x20 || (c >= 0x7F && c < 0xA0)) return KEY_BAD;
  if (c < 0x7F) return c == '"' || c == '`' ? ' ' : KEY_KEEP;
  if ((c >= 0x2010 && c <= 0x2015) || c == 0x2212 || c == 0x2043 || c == 0x30FC) return '-';
  if (c == 0xAD || (c >= 0x200B && c <= 0x200F) || (c >= 0x202A && c <= 0x202E)) return KEY_DROP;
  if ((c >= 0x2060 && c <= 0x206F) || c == 0xFEFF || (c >= 0xFE00 && c <= 0xFE0F)) return KEY_DROP;
  if (c == 0x3001) return ';';
  if (c == 0x3002) return '.';
  if ((c >= 0x2018 && c <= 0x201F) || (c >= 0x3008 && c <= 0x3011) || c == 0xFFFD) return c == 0xFFFD ? KEY_BAD : ' ';
  return KEY_KEEP;
}

/* NFKC and cleaned, trimmed; *ret points into *out. */
static enum trb_key_reason key_clean(struct trb_slice value, struct trb_buf *out, char **ret) {
  TRB_BUF_AUTO nfkc = {.limit = KEY_CLEAN_BYTES_MAX};
  enum trb_status status = text_nfkc(value, &nfkc, NULL);
  if (status) return status == TRB_PEER ? TRB_NOKEY_MALFORMED : TRB_NOKEY_TOO_LONG;
  for (size_t i = 0, len = 1; i < nfkc.len; i += len) {
    uint32_t c = key_decode(nfkc.data + i, &len);
    int to = key_clean_char(c);
    if (to == KEY_BAD) return TRB_NOKEY_MALFORMED;
    if (to == KEY_KEEP) trb_buf_append(out, nfkc.data + i, len);
    if (to > 0) trb_buf_append_byte(out, (uint8_t)to);
  }
  trb_buf_append_byte(out, '\0');
  if (out->failed) return TRB_NOKEY_TOO_LONG;
  *ret = key_trim((char *)out->data);
  return **ret ? TRB_NOKEY_NONE : TRB_NOKEY_EMPTY;
}

/* --- kinds the policy adds --- */

static void key_other(const struct key_input *in, struct trb_slice name, const char *text) {
  TRB_BUF_AUTO folded_name = {.limit = TRB_KEY_BYTES_MAX};
  TRB_BUF_AUTO folded = {.limit = KEY_CLEAN_BYTES_MAX};
  TRB_BUF_AUTO spaced = {.limit = KEY_CLEAN_BYTES_MAX};
  if (key_digits_placeholder(text, 4) || text_nfkc_casefold(name, &folded_name, NULL) ||
      text_nfkc_casefold(trb_slice_str(text), &folded, NULL)) {
    key_refuse(in->keys, key_digits_placeholder(text, 4) ? TRB_NOKEY_PLACEHOLDER : TRB_NOKEY_MALFORMED);
    return;
  }
  for (size_t i = 0; i < folded.len; i++) { /* one space for many */
    bool space = folded.data[i] == ' ';
    if (!space || !spaced.len || spaced.data[spaced.len - 1] != ' ') trb_buf_append_byte(&spaced, folded.data[i]);
  }
  if (!folded_name.len) trb_buf_append_str(&folded_name, "other");
  key_add(in->keys, TRB_KIND_OTHER, 0, NULL, "x-%s:%s", trb_buf_cstr(&folded_name), trb_buf_cstr(&spaced));
}

static void key_dispatch(const struct key_input *in, struct trb_slice name, char *text) {
  switch (in->kind) {
    case TRB_KIND_MOBILE:
    case TRB_KIND_LANDLINE: key_phones(in, text); return;
    case TRB_KIND_EMAIL: key_mails(in, text); return;
    case TRB_KIND_WECHAT: key_wechat(in, text); return;
    case TRB_KIND_QQ: key_qq(in, text); return;
    case TRB_KIND_NATIONAL_ID: key_national_ids(in, text); return;
    case TRB_KIND_PASSPORT: key_passports(in, text); return;
    case TRB_KIND_MEMBER_CARD: key_member_card(in, text); return;
    case TRB_KIND_TAX_NO: key_tax_no(in, text); return;
    case TRB_KIND_NONE:
    case TRB_KIND_OTHER: key_other(in, name, text); return;
  }
}

void key_normalise(enum trb_kind kind, struct trb_slice kind_text, struct trb_slice value,
                   const struct trb_key_context *context, struct trb_keys *ret) {
  struct trb_key_context filled = context ? *context : (struct trb_key_context){0};
  if (!filled.region[0]) memcpy(filled.region, "CN", 3);
  memset(ret, 0, sizeof *ret);
  if (value.len > TRB_KEY_INPUT_BYTES_MAX) {
    ret->reason = TRB_NOKEY_TOO_LONG;
    return;
  }
  char *text = NULL;
  TRB_BUF_AUTO clean = {.limit = KEY_CLEAN_BYTES_MAX};
  enum trb_key_reason reason = key_clean(value, &clean, &text);
  if (!reason && key_text_placeholder(text)) reason = TRB_NOKEY_PLACEHOLDER;
  if (reason) {
    ret->reason = reason;
    return;
  }
  struct key_input in = {.kind = kind, .context = &filled, .keys = ret};
  key_dispatch(&in, kind_text, text);
  if (ret->count > TRB_KEYS_PER_VALUE_MAX) *ret = (struct trb_keys){.reason = TRB_NOKEY_MALFORMED};
  if (!ret->count) key_refuse(ret, TRB_NOKEY_MALFORMED);
}

/* --- masking --- */

static size_t key_char_bytes(struct trb_slice s, size_t at) {
  size_t n = 1;
  while (at + n < s.len && (s.data[at + n] & 0xC0) == 0x80) n++;
  return n;
}

static void key_mask_ends(struct trb_slice value, size_t head, size_t tail, struct trb_buf *out) {
  trb_buf_append(out, value.data, head);
  trb_buf_append_str(out, "****");
  trb_buf_append(out, value.data + value.len - tail, tail);
}

void key_mask(enum trb_kind kind, struct trb_slice value, struct trb_buf *out) {
  if (!value.len) return;
  if (!trb_utf8_valid(value)) {
    trb_buf_append_str(out, "****");
    return;
  }
  const uint8_t *at = memchr(value.data, '@', value.len);
  bool ascii = true;
  for (size_t i = 0; i < value.len; i++) ascii = ascii && value.data[i] < 0x80;
  if (kind == TRB_KIND_EMAIL && at) {
    trb_buf_append(out, value.data, at == value.data ? 0 : key_char_bytes(value, 0));
    trb_buf_append_str(out, "***");
    trb_buf_append(out, at, value.len - (size_t)(at - value.data));
  } else if (ascii && (kind == TRB_KIND_MOBILE || kind == TRB_KIND_LANDLINE || kind == TRB_KIND_NATIONAL_ID) &&
             value.len >= 11) {
    key_mask_ends(value, 3, 4, out);
  } else if (ascii && kind != TRB_KIND_NONE && value.len >= 5) {
    key_mask_ends(value, 1, 2, out);
  } else {
    trb_buf_append(out, value.data, key_char_bytes(value, 0));
    trb_buf_append_str(out, "*");
  }
}
