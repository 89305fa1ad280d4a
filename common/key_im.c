/* key_im: QQ and WeChat. Both are often a number in disguise: a WeChat id that is a mobile or a QQ, a QQ mailbox. Such
 * a value makes the key it is typed as and the one it stands for, in one evidence group, so that they count once. */
#include "key_internal.h"

#include <stdio.h>
#include <string.h>
#include <strings.h>

#define KEY_IM_BYTES 64

bool key_is_qq(const char *digits) {
  size_t len = strspn(digits, "0123456789");
  if (digits[len] || len < 5 || len > 11 || digits[0] == '0') return false;
  return !key_digits_placeholder(digits, 6) && strcmp(digits, "10000") != 0 && strcmp(digits, "11111") != 0;
}

static void key_strip_spaces(const char *text, char *ret, size_t size) {
  size_t len = 0;
  for (; *text && len + 1 < size; text++)
    if (*text != ' ') ret[len++] = *text;
  ret[*text ? 0 : len] = '\0'; /* too long: nothing */
}

static void key_qq_part(char *part, void *context) {
  const struct key_input *in = context;
  char number[KEY_IM_BYTES];
  const char *text = key_skip_label(part);
  if (strncasecmp(text, "qq", 2) == 0) text += 2;
  key_strip_spaces(text, number, sizeof number);
  char *at = strchr(number, '@');
  if (at && (strcasecmp(at, "@qq.com") == 0 || strcasecmp(at, "@vip.qq.com") == 0)) *at = '\0';
  size_t digits = strspn(number, "0123456789");
  if (strchr(part, '*')) {
    key_refuse(in->keys, TRB_NOKEY_MASKED);
  } else if (number[digits] || !digits) {
    key_refuse(in->keys, key_text_placeholder(part) ? TRB_NOKEY_PLACEHOLDER : TRB_NOKEY_MALFORMED);
  } else if (key_is_qq(number)) {
    key_add(in->keys, TRB_KIND_QQ, 0, NULL, "qq:%s", number);
  } else {
    bool shape = digits >= 5 && digits <= 11 && number[0] != '0';
    key_refuse(in->keys, shape || key_digits_placeholder(number, 1) ? TRB_NOKEY_PLACEHOLDER : TRB_NOKEY_MALFORMED);
  }
}

void key_qq(const struct key_input *in, char *text) {
  struct key_input copy = *in;
  key_each_part(text, "/,;|\\", key_qq_part, &copy);
}

/* +86, 0086, 86 before a mobile. */
static const char *key_im_mobile(const char *text) {
  if (*text == '+') text++;
  if (strncmp(text, "0086", 4) == 0) text += 4;
  if (strncmp(text, "86", 2) == 0 && strlen(text) == 13) text += 2;
  return key_is_cn_mobile(text) ? text : NULL;
}

static void key_wechat_number(const struct key_input *in, const char *number) {
  char group[TRB_KEY_BYTES_MAX + 1];
  const char *mobile = key_im_mobile(number);
  if (key_digits_placeholder(number, 5) || (mobile && key_mobile_placeholder(mobile))) {
    key_refuse(in->keys, TRB_NOKEY_PLACEHOLDER);
  } else if (mobile) {
    snprintf(group, sizeof group, "tel:+86%s", mobile);
    key_add(in->keys, TRB_KIND_WECHAT, 0, group, "wx:%s", mobile);
    key_add(in->keys, TRB_KIND_MOBILE, 0, group, "tel:+86%s", mobile);
  } else if (key_is_qq(number)) {
    snprintf(group, sizeof group, "qq:%s", number);
    key_add(in->keys, TRB_KIND_WECHAT, 0, group, "wx:%s", number);
    key_add(in->keys, TRB_KIND_QQ, 0, group, "qq:%s", number);
  } else {
    key_refuse(in->keys, TRB_NOKEY_MALFORMED);
  }
}

static void key_wechat_part(char *part, void *context) {
  const struct key_input *in = context;
  char id[KEY_IM_BYTES];
  if (strchr(part, '*')) {
    key_refuse(in->keys, TRB_NOKEY_MASKED);
    return;
  }
  const char *text = key_skip_label(part);
  key_strip_spaces(text, id, sizeof id);
  for (char *c = id; *c; c++)
    if (*c >= 'A' && *c <= 'Z') *c = (char)(*c + ('a' - 'A'));
  size_t len = strspn(id, "abcdefghijklmnopqrstuvwxyz0123456789_-");
  if (id[0] == '+' || strspn(id, "0123456789-") == strlen(id)) {
    char number[KEY_IM_BYTES];
    size_t n = 0;
    for (const char *c = id; *c; c++)
      if (*c != '-') number[n++] = *c;
    number[n] = '\0';
    if (n) {
      key_wechat_number(in, number);
      return;
    }
  }
  if (key_text_placeholder(part)) {
    key_refuse(in->keys, TRB_NOKEY_PLACEHOLDER);
  } else if (id[len] || len < 3 ||
             len > 32) { /* 6 to 20 by WeChat's rule; older and internal ids are shorter or longer */
    key_refuse(in->keys, TRB_NOKEY_MALFORMED);
  } else {
    key_add(in->keys, TRB_KIND_WECHAT, 0, NULL, "wx:%s", id);
  }
}

void key_wechat(const struct key_input *in, char *text) {
  struct key_input copy = *in;
  key_each_part(text, "/,;|\\", key_wechat_part, &copy);
}
