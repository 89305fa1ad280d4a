/* key: from a contact as typed to the normalised identity key. Design: raw text is kept as typed, what makes no key
 * is reported with its reason and never merges anybody.
 *
 * Pure given the normaliser version; any thread. Uses ICU (text.h) and libphonenumber (phone.cc, the only C++ file).
 * Gates of our own stand before libphonenumber, because it searches for a number rather than verifies one. */
#ifndef TRIBUTARY_KEY_H
#define TRIBUTARY_KEY_H

#include "tributary/base.h"

/* Stored beside claims; a new version re-keys. */
#define TRB_KEY_VERSION 1

enum trb_kind {
  TRB_KIND_NONE = 0,
  TRB_KIND_MOBILE,
  TRB_KIND_LANDLINE,
  TRB_KIND_EMAIL,
  TRB_KIND_WECHAT,
  TRB_KIND_QQ,
  TRB_KIND_NATIONAL_ID,
  TRB_KIND_PASSPORT,
  TRB_KIND_MEMBER_CARD,
  TRB_KIND_TAX_NO,
  TRB_KIND_OTHER, /* kinds the policy adds, NFKC-casefolded; the key holds the kind's name */
};
const char *kind_name(enum trb_kind kind); /* "mobile", ... */
enum trb_kind kind_of(
    struct trb_slice name); /* also aliases: phone tel 手机 电话 微信 邮箱 身份证 护照 ...; OTHER if unknown */

enum trb_key_flag {
  TRB_KEY_WEAK = 1,         /* role mailbox, disposable domain: makes a key that never links alone */
  TRB_KEY_AREA_ASSUMED = 2, /* the area code came from the branch */
  TRB_KEY_CHECKED = 4,      /* verified check digit (18-digit, Hong Kong or Taiwan id; tax number of 18) */
  TRB_KEY_EXTENSION = 8,
};
enum trb_key_reason { /* why a value, or part of it, made no key */
                      TRB_NOKEY_NONE = 0,
                      TRB_NOKEY_EMPTY,
                      TRB_NOKEY_MASKED,      /* 139****2222 */
                      TRB_NOKEY_PLACEHOLDER, /* 13800138000, 11111111111, 无 */
                      TRB_NOKEY_SHORT_CODE,  /* 10086, 110 */
                      TRB_NOKEY_SERVICE,     /* 400, 800 */
                      TRB_NOKEY_MALFORMED,   /* l3911112222, a date, 1.39E+10 */
                      TRB_NOKEY_CHECK_DIGIT,
                      TRB_NOKEY_NO_AREA, /* local number and the branch has no area code */
                      TRB_NOKEY_TOO_LONG,
};
const char *key_reason_text(enum trb_key_reason reason); /* English, for people */

#define TRB_KEY_BYTES_MAX 128    /* normalised key; longer values make none */
#define TRB_KEYS_PER_VALUE_MAX 8 /* a cell with more numbers than this is refused as malformed */
#define TRB_KEY_INPUT_BYTES_MAX 1024

/* Text form, e.g. "tel:+8613911112222", "tel:+862164281234;ext=8001", "mail:li@example.com", "wx:abc", "qq:12345",
 * "id:11010519491231002X", "pp:E12345678" , "card:...", "tax:...", "x-KIND:...". Phones share "tel:" whatever kind they
 * were typed under, so a mobile written in the landline column still matches. Ids of other issuers name them:
 * "id:HK:A1234563", "id:TW:A123456789", "id:US:7535316", "tax:US:..". A WeChat id that is a mobile or a QQ, a QQ
 * mailbox and an operator's mailbox (139.com) make the key they stand for as a second one; `group` names the evidence
 * group such keys share (equal text = derived from one another = counts once), and that of a mailbox elsewhere that is
 * named by a mobile. */
struct trb_key {
  enum trb_kind kind; /* after recognising (a mobile in a landline cell is MOBILE) */
  unsigned flags;
  char text[TRB_KEY_BYTES_MAX + 1];
  char group[TRB_KEY_BYTES_MAX + 1];
};
struct trb_key_context {
  char region[3];    /* ISO 3166 of the branch, "CN" when empty */
  char area_code[8]; /* "021", "312", "" = none: completes local numbers */
};
struct trb_keys {
  size_t count;
  enum trb_key_reason reason;                 /* set when count is 0, or for the first part that made none */
  struct trb_key key[TRB_KEYS_PER_VALUE_MAX]; /* last: a kept copy ends after `count` of them */
};
/* Never fails: bad UTF-8 and anything else gives count 0 and a reason. Bounded by TRB_KEY_INPUT_BYTES_MAX. */
void key_normalise(enum trb_kind kind, struct trb_slice kind_name, struct trb_slice value,
                   const struct trb_key_context *context, struct trb_keys *ret);

/* For completing a card from its identity document: derived facts of an 18-digit (or converted 15-digit) national id
 * key text; false when it is none. */
struct trb_id_facts {
  char birthday[11]; /* YYYY-MM-DD */
  char sex;          /* 'M' or 'F' */
};
bool key_id_facts(const char *key_text, struct trb_id_facts *ret);

/* "139****2222", "l***@example.com", "张*": for listings and messages. Appends to *out. */
void key_mask(enum trb_kind kind, struct trb_slice value, struct trb_buf *out);

#endif
