/* key_mail: e-mail addresses. The part before @ is compared without case (no provider in use tells them apart); dots
 * and plus tags are dropped only for providers known to ignore them. RFC 5321 limits, dot-atom local parts only. */
#include "key_internal.h"

#include <stdio.h>
#include <string.h>

#include "tributary/text.h"

#define KEY_MAIL_LOCAL_BYTES_MAX 64 /* RFC 5321 section 4.5.3.1.1 */

static bool key_word_in(const char *word, const char *const *list, size_t count) {
  for (size_t i = 0; i < count; i++)
    if (strcmp(word, list[i]) == 0) return true;
  return false;
}
#define KEY_IN(word, list) key_word_in(word, list, sizeof(list) / sizeof *(list))

static const char *const key_mail_dotless[] = {"gmail.com"};
static const char *const key_mail_tagged[] = {"gmail.com", "outlook.com",    "hotmail.com", "live.com",
                                              "msn.com",   "icloud.com",     "me.com",      "mac.com",
                                              "proton.me", "protonmail.com", "pm.me",       "fastmail.com"};
static const char *const key_mail_roles[] = {
    "admin",    "administrator", "info",       "sales",      "service",     "services",     "support",
    "contact",  "contacts",      "office",     "hr",         "jobs",        "kefu",         "noreply",
    "no-reply", "webmaster",     "postmaster", "hostmaster", "abuse",       "mail",         "email",
    "master",   "marketing",     "booking",    "bookings",   "reservation", "reservations", "hello",
    "help",     "helpdesk",      "enquiry",    "inquiry",    "enquiries",   "accounts",     "accounting",
    "finance",  "billing",       "team",       "hotel",      "front",       "frontdesk",    "reception",
    "root",     "xiaoshou",      "fuwu",       "caiwu",      "kf",          "vip",          "order",
    "orders",   "travel",        "ticket",     "tickets",    "tour",        "customer",     "customerservice",
    "feedback", "press",         "public",     "news",       "newsletter",  "do-not-reply", "donotreply",
};
static const char *const key_mail_disposable[] = {
    "mailinator.com",     "10minutemail.com", "guerrillamail.com", "guerrillamail.net", "sharklasers.com",
    "yopmail.com",        "temp-mail.org",    "tempmail.com",      "tempmail.net",      "throwawaymail.com",
    "trashmail.com",      "getnada.com",      "maildrop.cc",       "dispostable.com",   "fakeinbox.com",
    "mailnesia.com",      "mytemp.email",     "moakt.com",         "chacuo.net",        "027168.com",
    "bccto.me",           "mintemail.com",    "spamgourmet.com",   "emailondeck.com",   "linshiyou.com",
    "linshiyouxiang.net", "mohmal.com",       "discard.email",     "mailcatch.com",     "burnermail.io",
};
static const char *const key_mail_fake[] = {"test@test.com",   "a@a.com",       "aa@aa.com",    "aaa@aaa.com",
                                            "no@no.com",       "none@none.com", "na@na.com",    "123@123.com",
                                            "123@qq.com",      "1234@qq.com",   "123@163.com",  "abc@abc.com",
                                            "abc@163.com",     "xxx@xxx.com",   "no@email.com", "noemail@noemail.com",
                                            "email@email.com", "test@qq.com",   "wu@wu.com",    "xx@xx.com"};
/* Mailboxes that an operator gives to a number: the mailbox is the number. */
static const char *const key_mail_operators[] = {"139.com", "189.cn", "wo.cn"};

struct key_mail {
  char local[KEY_MAIL_LOCAL_BYTES_MAX + 1];
  char domain[256];
};

static bool key_mail_local_valid(const char *local) {
  size_t len = strlen(local);
  if (!len || local[0] == '.' || local[len - 1] == '.' || strstr(local, "..")) return false;
  for (size_t i = 0; i < len; i++) { /* atext of RFC 5322, and RFC 6531's characters that are not ASCII */
    char c = local[i];
    if (!key_is_alnum(c) && !key_is_wide(c) && !strchr("!#$%&'+/=?^_`{|}~.-", c)) return false;
  }
  return true;
}

static bool key_mail_domain_valid(const char *domain) {
  const char *top = strrchr(domain, '.');
  if (!top || top == domain || strlen(top) < 3) return false;
  if (strncmp(top, ".xn--", 5) == 0) return true;
  for (top++; *top; top++)
    if (!key_is_letter(*top)) return false;
  return true;
}

/* Splits and folds; false when it is no address. */
static bool key_mail_parse(const char *text, struct key_mail *ret) {
  TRB_BUF_AUTO folded = {.limit = KEY_CLEAN_BYTES_MAX};
  TRB_BUF_AUTO domain = {.limit = sizeof ret->domain - 1};
  const char *at = strchr(text, '@');
  if (!at || strchr(at + 1, '@')) return false;
  if (text_nfkc_casefold(trb_slice_of(text, (size_t)(at - text)), &folded, NULL)) return false;
  if (!folded.len || folded.len > KEY_MAIL_LOCAL_BYTES_MAX) return false;
  memcpy(ret->local, trb_buf_cstr(&folded), folded.len + 1);
  trb_buf_clear(&folded);
  if (text_nfkc_casefold(trb_slice_str(at + 1), &folded, NULL)) return false;
  while (folded.len && folded.data[folded.len - 1] == '.') folded.len--;
  if (text_idna_ascii(trb_buf_slice(&folded), &domain, NULL)) return false;
  memcpy(ret->domain, trb_buf_cstr(&domain), domain.len + 1);
  return key_mail_local_valid(ret->local) && key_mail_domain_valid(ret->domain);
}

/* What the provider ignores. */
static void key_mail_reduce(struct key_mail *mail) {
  if (strcmp(mail->domain, "googlemail.com") == 0) strcpy(mail->domain, "gmail.com");
  char *plus = strchr(mail->local, '+');
  if (plus && plus != mail->local && KEY_IN(mail->domain, key_mail_tagged)) *plus = '\0';
  if (!KEY_IN(mail->domain, key_mail_dotless)) return;
  char *to = mail->local;
  for (const char *from = mail->local; *from; from++)
    if (*from != '.') *to++ = *from;
  *to = '\0';
}

static bool key_mail_is_fake(const struct key_mail *mail) {
  char whole[sizeof mail->local + sizeof mail->domain];
  snprintf(whole, sizeof whole, "%s@%s", mail->local, mail->domain);
  if (KEY_IN(whole, key_mail_fake)) return true;
  bool digits = strspn(mail->local, "0123456789") == strlen(mail->local);
  return digits && key_digits_placeholder(mail->local, 4);
}

/* The mailbox, and what it derives from in the same evidence group. A mailbox of another provider that is named by a
 * mobile shares the mobile's group only: it was made from it, but need not be the same person's. */
static void key_mail_add(const struct key_input *in, const struct key_mail *mail) {
  char group[TRB_KEY_BYTES_MAX + 1] = "";
  bool weak = KEY_IN(mail->local, key_mail_roles) || KEY_IN(mail->domain, key_mail_disposable);
  bool mobile = key_is_cn_mobile(mail->local) && !key_mobile_placeholder(mail->local);
  bool qq = (strcmp(mail->domain, "qq.com") == 0 || strcmp(mail->domain, "vip.qq.com") == 0) && key_is_qq(mail->local);
  if (qq) snprintf(group, sizeof group, "qq:%s", mail->local);
  if (mobile && !qq) snprintf(group, sizeof group, "tel:+86%s", mail->local);
  key_add(in->keys, TRB_KIND_EMAIL, weak ? TRB_KEY_WEAK : 0, group[0] ? group : NULL, "mail:%s@%s", mail->local,
          mail->domain);
  if (qq) key_add(in->keys, TRB_KIND_QQ, 0, group, "qq:%s", mail->local);
  if (mobile && KEY_IN(mail->domain, key_mail_operators))
    key_add(in->keys, TRB_KIND_MOBILE, 0, group, "tel:+86%s", mail->local);
}

static void key_mail_part(char *part, void *context) {
  const struct key_input *in = context;
  struct key_mail mail;
  if (!strchr(part, '@')) { /* a name beside the address */
    if (key_text_placeholder(part)) key_refuse(in->keys, TRB_NOKEY_PLACEHOLDER);
    return;
  }
  if (strncmp(part, "mailto:", 7) == 0) part += 7;
  const char *text = key_skip_label(part);
  if (!strchr(text, '@') || *text == '@') text = part; /* a local part that is not ASCII is no label */
  if (strchr(text, '*')) {
    key_refuse(in->keys, TRB_NOKEY_MASKED);
    return;
  }
  if (!key_mail_parse(text, &mail)) {
    key_refuse(in->keys, TRB_NOKEY_MALFORMED);
    return;
  }
  key_mail_reduce(&mail);
  if (key_mail_is_fake(&mail))
    key_refuse(in->keys, TRB_NOKEY_PLACEHOLDER);
  else
    key_mail_add(in, &mail);
}

void key_mails(const struct key_input *in, char *text) {
  struct key_input copy = *in;
  /* "li @ example.com": spaces round the sign belong to the address, others separate. */
  char *to = text;
  for (const char *from = text; *from; from++) {
    bool before = *from == ' ' && from[strspn(from, " ")] == '@';
    bool after = *from == ' ' && to > text && to[-1] == '@';
    if (!before && !after) *to++ = *from;
  }
  *to = '\0';
  key_each_part(text, " ,;|\\/<>()[]", key_mail_part, &copy);
}
