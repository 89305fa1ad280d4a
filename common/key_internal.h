/* key_internal: what the files of the key module share (key.c, key_phone.c, key_mail.c, key_id.c, key_im.c).
 * Everything here is pure; text handed between them is NFKC, cleaned (key.c, key_clean), NUL-terminated. */
#ifndef TRIBUTARY_COMMON_KEY_INTERNAL_H
#define TRIBUTARY_COMMON_KEY_INTERNAL_H

#include "tributary/key.h"

#define KEY_CLEAN_BYTES_MAX 4096 /* NFKC makes at most 18 characters of one; a value that grows so is no contact */

/* Appends a key (printf) unless it is there already; an over long one is refused, one too many refuses the cell. group
 * NULL: its own text. */
void key_add(struct trb_keys *keys, enum trb_kind kind, unsigned flags, const char *group, const char *format, ...)
    __attribute__((format(printf, 5, 6)));
/* Notes why a part made no key; the first reason stays. */
void key_refuse(struct trb_keys *keys, enum trb_key_reason reason);

static inline bool key_is_digit(char c) { return c >= '0' && c <= '9'; }
static inline bool key_is_letter(char c) { return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z'); }
static inline bool key_is_alnum(char c) { return key_is_digit(c) || key_is_letter(c); }
static inline bool key_is_wide(char c) { return (unsigned char)c >= 0x80; } /* part of a character that is not ASCII */
/* 111111, 123456, 654321 and their like, of at least `min` digits. */
bool key_digits_placeholder(const char *digits, size_t min);
/* 无, 不详, n/a, none, ...: the whole text says that there is nothing. */
bool key_text_placeholder(const char *text);
/* Copies letters and digits in upper case, leaving out spaces and hyphens. False: another character, or longer than
 * size - 1. */
bool key_copy_upper(const char *text, char *ret, size_t size);
/* Skips labels before a value ("QQ:", "微信号:", "邮箱 "): what stands before the last colon, else leading characters
 * that are not ASCII. */
const char *key_skip_label(const char *text);
/* Calls `each` for every part between separators, trimmed. Changes text. */
void key_each_part(char *text, const char *separators, void (*each)(char *part, void *context), void *context);

struct key_input {
  enum trb_kind kind;
  const struct trb_key_context *context; /* region filled in */
  struct trb_keys *keys;
};
void key_phones(const struct key_input *in, char *text);
void key_mails(const struct key_input *in, char *text);
void key_national_ids(const struct key_input *in, char *text);
void key_passports(const struct key_input *in, char *text);
void key_tax_no(const struct key_input *in, char *text);
void key_member_card(const struct key_input *in, char *text);
void key_qq(const struct key_input *in, char *text);
void key_wechat(const struct key_input *in, char *text);

/* 1[3-9] and nine digits; `text` needs nothing after it. */
bool key_is_cn_mobile(const char *digits);
/* 13800138000 and its like; `digits` is a mobile. */
bool key_mobile_placeholder(const char *digits);
/* 5 to 11 digits, no leading zero, no placeholder. */
bool key_is_qq(const char *digits);

#endif
