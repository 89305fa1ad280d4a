/* key_phone_number: what a run of digit groups means.
 *
 * The mainland's plan is decided by our own rules (Telecom numbering plan, MIIT 2017): a mobile is 1[3-9] and nine
 * digits whatever libphonenumber's metadata knows; a landline is an area code (10, 2x, three digits elsewhere) and 7 or
 * 8 digits that begin with 2 to 8. Every other plan is libphonenumber's, and it must account for every digit (phone.h).
 */
#include <stdio.h>
#include <string.h>

#include "key_phone.h"
#include "tributary/phone.h"

#define PHONE_DIGITS_MAX 24 /* 17951, 0086, an area code and a number are 20; E.164 itself allows 15 */

struct phone_number {
  enum trb_key_reason reason; /* NONE: the rest is set */
  enum trb_kind kind;
  unsigned flags;
  bool service, fixed; /* fixed: a mainland or North American number that may carry "-8001" */
  char e164[24];
};

bool key_is_cn_mobile(const char *digits) {
  return strspn(digits, "0123456789") == 11 && digits[11] == '\0' && digits[0] == '1' && digits[1] >= '3';
}

static struct phone_number phone_refused(enum trb_key_reason reason) {
  return (struct phone_number){.reason = reason, .service = reason == TRB_NOKEY_SERVICE};
}

/* --- mainland --- */

/* 13800138000 is China Mobile's own sample; three digits and eight zeros, or nine equal digits, are what people type to
 * get past a form. */
bool key_mobile_placeholder(const char *digits) {
  return strcmp(digits, "13800138000") == 0 || key_digits_placeholder(digits, 11) || strspn(digits + 3, "0") == 8 ||
         key_digits_placeholder(digits + 2, 9);
}

static struct phone_number phone_cn_mobile(const char *digits) {
  if (key_mobile_placeholder(digits)) return phone_refused(TRB_NOKEY_PLACEHOLDER);
  struct phone_number number = {.kind = TRB_KIND_MOBILE};
  snprintf(number.e164, sizeof number.e164, "+86%.11s", digits);
  return number;
}

static bool phone_cn_service(const char *digits, size_t len) {
  return len == 10 && (strncmp(digits, "400", 3) == 0 || strncmp(digits, "800", 3) == 0);
}

/* Length of the area code (without trunk 0) at the start of national digits, 0 for none. */
static size_t phone_cn_area_len(const char *digits) {
  if (strncmp(digits, "10", 2) == 0) return 2;
  if (digits[0] == '2' && key_is_digit(digits[1])) return 2;
  bool three = digits[0] >= '3' && digits[0] <= '9' && key_is_digit(digits[1]) && key_is_digit(digits[2]);
  return three ? 3 : 0;
}

/* `digits`: area code without 0, then the local number. */
static struct phone_number phone_cn_landline(const char *digits, unsigned flags) {
  struct phone_number number = {.kind = TRB_KIND_LANDLINE, .flags = flags, .fixed = true};
  size_t len = strlen(digits), area = phone_cn_area_len(digits);
  size_t local = len > area ? len - area : 0;
  if (!area || local > 8 || local < (area == 2 ? 8u : 7u)) return phone_refused(TRB_NOKEY_MALFORMED);
  const char *subscriber = digits + area;
  if (key_digits_placeholder(subscriber, 7)) return phone_refused(TRB_NOKEY_PLACEHOLDER);
  if (subscriber[0] < '2' || subscriber[0] > '8') return phone_refused(TRB_NOKEY_MALFORMED);
  struct trb_phone phone;
  snprintf(number.e164, sizeof number.e164, "+86%s", digits);
  if (!phone_parse(number.e164, "CN", &phone)) return phone_refused(TRB_NOKEY_MALFORMED);
  if (phone.type == TRB_PHONE_SERVICE) return phone_refused(TRB_NOKEY_SERVICE);
  return number;
}

static struct phone_number phone_cn_local(const struct key_input *in, const char *digits) {
  char national[PHONE_DIGITS_MAX + 8];
  const char *area = in->context->area_code;
  if (digits[0] < '2' || digits[0] > '8') return phone_refused(TRB_NOKEY_MALFORMED);
  if (key_digits_placeholder(digits, 7)) return phone_refused(TRB_NOKEY_PLACEHOLDER);
  if (*area == '0') area++;
  if (!*area) return phone_refused(TRB_NOKEY_NO_AREA);
  snprintf(national, sizeof national, "%s%s", area, digits);
  if (phone_cn_area_len(national) != strlen(area)) return phone_refused(TRB_NOKEY_NO_AREA);
  return phone_cn_landline(national, TRB_KEY_AREA_ASSUMED);
}

/* Prefixes dialled for cheap calls, before a complete number only; a mobile of 11 digits may begin with 179 itself. */
static const char *phone_cn_skip_ip(const char *digits) {
  static const char *const prefixes[] = {"17951", "12593", "17911", "17909", "17901",
                                         "17908", "10193", "11808", "17950", "17969"};
  size_t len = strlen(digits);
  for (size_t i = 0; i < sizeof prefixes / sizeof *prefixes; i++) {
    if (strncmp(digits, prefixes[i], 5) != 0 || len < 5 + 10) continue;
    const char *rest = digits + 5;
    if (strncmp(rest, "0086", 4) == 0) rest += 4;
    if (strncmp(rest, "86", 2) == 0 && strlen(rest) >= 12) rest += 2;
    return rest;
  }
  return digits;
}

/* National digits; `explicit_country`: +86 or 86 stood before; `area_apart`: a separator follows what could be the area
 * code. */
static struct phone_number phone_cn(const struct key_input *in, const char *digits, bool explicit_country,
                                    bool area_apart) {
  digits = phone_cn_skip_ip(digits);
  size_t len = strlen(digits);
  if (key_is_cn_mobile(digits)) return phone_cn_mobile(digits);
  if (len == 12 && digits[0] == '0' && key_is_cn_mobile(digits + 1)) return phone_cn_mobile(digits + 1);
  if (key_digits_placeholder(digits, 6)) return phone_refused(TRB_NOKEY_PLACEHOLDER);
  if (phone_cn_service(digits, len)) return phone_refused(TRB_NOKEY_SERVICE);
  if (digits[0] == '0' && len >= 10) return phone_cn_landline(digits + 1, 0);
  if (len >= 9 && (explicit_country || area_apart)) return phone_cn_landline(digits, 0);
  if (len <= 6) return phone_refused(TRB_NOKEY_SHORT_CODE);
  if (len <= 8 && !explicit_country) return phone_cn_local(in, digits);
  /* Ten digits in one piece may be a landline whose 0 a spreadsheet ate, or a mobile short of a digit: nobody knows. */
  return phone_refused(TRB_NOKEY_MALFORMED);
}

/* --- elsewhere --- */

static struct phone_number phone_of(const struct key_input *in, const struct trb_phone *phone) {
  struct phone_number number = {.kind = TRB_KIND_LANDLINE, .fixed = phone->country == 1};
  if (phone->type == TRB_PHONE_SERVICE) return phone_refused(TRB_NOKEY_SERVICE);
  if (phone->type == TRB_PHONE_MOBILE || (phone->type == TRB_PHONE_EITHER && in->kind == TRB_KIND_MOBILE))
    number.kind = TRB_KIND_MOBILE;
  snprintf(number.e164, sizeof number.e164, "%s", phone->e164);
  return number;
}

/* `digits` without '+', country code first. */
static struct phone_number phone_international(const struct key_input *in, const char *digits) {
  struct trb_phone phone;
  char typed[PHONE_DIGITS_MAX + 2];
  if (strncmp(digits, "86", 2) == 0) return phone_cn(in, digits + 2, true, true);
  if (key_digits_placeholder(digits, 6)) return phone_refused(TRB_NOKEY_PLACEHOLDER);
  snprintf(typed, sizeof typed, "+%s", digits);
  if (!phone_parse(typed, "ZZ", &phone)) return phone_refused(TRB_NOKEY_MALFORMED);
  return phone_of(in, &phone);
}

static struct phone_number phone_foreign_branch(const struct key_input *in, const char *digits) {
  const char *region = in->context->region, *area = in->context->area_code;
  char whole[PHONE_DIGITS_MAX + 8];
  struct trb_phone phone;
  size_t len = strlen(digits);
  if (key_digits_placeholder(digits, 6)) return phone_refused(TRB_NOKEY_PLACEHOLDER);
  if (phone_parse(digits, region, &phone)) return phone_of(in, &phone);
  if (len == 13 && strncmp(digits, "86", 2) == 0 && key_is_cn_mobile(digits + 2)) return phone_cn_mobile(digits + 2);
  if (*area && len >= 5 && len <= 8) {
    snprintf(whole, sizeof whole, "%s%s", area, digits);
    if (phone_parse(whole, region, &phone)) {
      struct phone_number number = phone_of(in, &phone);
      number.flags |= TRB_KEY_AREA_ASSUMED;
      return number;
    }
  }
  if (len <= 6) return phone_refused(TRB_NOKEY_SHORT_CODE);
  return phone_refused(len <= 8 && !*area ? TRB_NOKEY_NO_AREA : TRB_NOKEY_MALFORMED);
}

/* --- a range of groups --- */

/* 852, 853, 886 as a group of its own, or complete with its digits: Hong Kong, Macau, Taiwan. */
static bool phone_greater_china(const struct phone_group *first, const char *digits, size_t len) {
  if (len < 11) return false;
  bool code = strncmp(digits, "852", 3) == 0 || strncmp(digits, "853", 3) == 0 || strncmp(digits, "886", 3) == 0;
  size_t high = digits[2] == '6' ? 13 : 11; /* Taiwan: eight or nine digits, a trunk 0 before them */
  return code && len <= high && (first->len == 3 || first->len == len);
}

/* True when a separator stands right after the area code of national digits (in its own group or groups). */
static bool phone_area_apart(const struct phone_run *run, size_t from, const char *digits) {
  size_t area = phone_cn_area_len(digits);
  return area && run->group[from].len == area;
}

static struct phone_number phone_classify_home(const struct key_input *in, const struct phone_run *run, size_t from,
                                               const char *digits, size_t len) {
  bool mainland = strcmp(in->context->region, "CN") == 0;
  struct phone_number number;
  if (phone_greater_china(&run->group[from], digits, len)) {
    number = phone_international(in, digits);
    if (!number.reason || number.reason == TRB_NOKEY_SERVICE) return number;
  }
  if (!mainland) return phone_foreign_branch(in, digits);
  bool country = strncmp(digits, "86", 2) == 0 && (len >= 12 || (run->group[from].len == 2 && len > 9));
  if (country) {
    number = phone_cn(in, digits + 2, true, true);
    if (!number.reason || number.reason == TRB_NOKEY_PLACEHOLDER || number.reason == TRB_NOKEY_SERVICE) return number;
  }
  return phone_cn(in, digits, false, phone_area_apart(run, from, digits));
}

/* Groups [from, to) read as one number. */
static struct phone_number phone_classify(const struct key_input *in, const struct phone_run *run, size_t from,
                                          size_t to) {
  char digits[PHONE_DIGITS_MAX + 1];
  size_t len = 0;
  bool plus = run->plus && from == 0;
  for (size_t i = from; i < to; i++) {
    const struct phone_group *group = &run->group[i];
    bool trunk = i > from && group->len == 1 && *group->digits == '0' && group->before == '('; /* +86 (0)21 */
    if (trunk && (plus || i == from + 1)) continue;
    if (len + group->len > PHONE_DIGITS_MAX) return phone_refused(TRB_NOKEY_MALFORMED);
    memcpy(digits + len, group->digits, group->len);
    len += group->len;
  }
  digits[len] = '\0';
  if (plus) return phone_international(in, digits);
  bool home = strcmp(in->context->region, "CN") == 0;
  bool idd = strncmp(digits, "00", 2) == 0 && len >= 10 && !key_digits_placeholder(digits, 6);
  if (idd && (home || strncmp(digits, "0086", 4) == 0)) return phone_international(in, digits + 2);
  return phone_classify_home(in, run, from, digits, len);
}

static void phone_add(const struct key_input *in, const struct phone_number *number, const char *extension,
                      size_t extension_len) {
  unsigned flags = number->flags | (extension_len ? (unsigned)TRB_KEY_EXTENSION : 0u);
  if (extension_len)
    key_add(in->keys, number->kind, flags, NULL, "tel:%s;ext=%.*s", number->e164, (int)extension_len, extension);
  else
    key_add(in->keys, number->kind, flags, NULL, "tel:%s", number->e164);
}

/* "021-64281234-8001": the last group after a hyphen, behind a complete landline. Privacy numbers of shops are mobiles
 * with three digits or more behind them. NONE, or why what stands before the hyphen is no number. */
static enum trb_key_reason phone_hyphen_extension(const struct key_input *in, const struct phone_run *run, size_t from,
                                                  size_t to, struct phone_number *ret) {
  if (to - from < 2) return TRB_NOKEY_MALFORMED;
  const struct phone_group *last = &run->group[to - 1];
  if (last->before != '-' || last->len > 6) return TRB_NOKEY_MALFORMED;
  struct phone_number base = phone_classify(in, run, from, to - 1);
  bool takes = base.fixed || (base.kind == TRB_KIND_MOBILE && last->len >= 3);
  if (base.reason || !takes) return base.reason ? base.reason : TRB_NOKEY_MALFORMED;
  *ret = base;
  return TRB_NOKEY_NONE;
}

/* Seven digits in one piece and some more after a hyphen: an extension behind a number that is none, not one long
 * number. */
static bool phone_swallows(const struct phone_run *run, size_t from, size_t to) {
  const struct phone_group *last = &run->group[to - 1];
  return to - from >= 2 && last->before == '-' && last->len <= 6 && last[-1].len >= 7;
}

static bool phone_whole_first(const struct phone_run *run, size_t from, const struct phone_number *whole) {
  if (whole->service) return true;
  if (whole->reason) return false;
  const struct phone_group *first = &run->group[from];
  bool greater = first->len == 3 && strspn(first->digits, "8") > 0 &&
                 (strncmp(whole->e164, "+852", 4) == 0 || strncmp(whole->e164, "+853", 4) == 0 ||
                  strncmp(whole->e164, "+886", 4) == 0);
  return greater || (run->plus && from == 0 && strncmp(whole->e164, "+86", 3) != 0);
}

/* Groups [from, to) as one number, with its hyphenated extension. False with the reason when it is none. */
static bool phone_add_range(const struct key_input *in, const struct phone_run *run, size_t from, size_t to, bool dry,
                            enum trb_key_reason *ret_reason) {
  struct phone_number whole = phone_classify(in, run, from, to), base;
  const struct phone_group *last = &run->group[to - 1];
  bool marked = run->extension[0] && to == run->count, hyphen = !phone_whole_first(run, from, &whole) && !marked;
  enum trb_key_reason before = hyphen ? phone_hyphen_extension(in, run, from, to, &base) : TRB_NOKEY_MALFORMED;
  if (!before) {
    if (!dry) phone_add(in, &base, last->digits, last->len);
    return true;
  }
  if (!whole.reason && whole.fixed && hyphen && phone_swallows(run, from, to)) whole.reason = TRB_NOKEY_MALFORMED;
  *ret_reason = before == TRB_NOKEY_NO_AREA ? before : whole.reason;
  if (whole.reason) return false;
  if (!dry) phone_add(in, &whole, marked ? run->extension : "", marked ? strlen(run->extension) : 0);
  return true;
}

/* "13911112222 021-64281234": numbers one after the other, each complete, split at a separator. */
static bool phone_split(const struct key_input *in, const struct phone_run *run) {
  enum trb_key_reason reason;
  size_t start[PHONE_GROUPS_MAX + 1], count = 0, from = 0;
  while (from < run->count) {
    size_t to = from + 1;
    /* The longest number from here: a shorter one would leave its own extension behind. */
    size_t found = 0;
    for (; to <= run->count && to - from <= 6; to++)
      if (phone_add_range(in, run, from, to, true, &reason)) found = to;
    if (!found) return false;
    start[count++] = from;
    from = found;
  }
  if (count < 2) return false;
  start[count] = run->count;
  for (size_t i = 0; i < count; i++) phone_add_range(in, run, start[i], start[i + 1], false, &reason);
  return true;
}

void phone_number_resolve(const struct key_input *in, const struct phone_run *run) {
  enum trb_key_reason reason = TRB_NOKEY_MALFORMED;
  if (run->broken) {
    key_refuse(in->keys, TRB_NOKEY_MALFORMED);
    return;
  }
  if (phone_add_range(in, run, 0, run->count, false, &reason)) return;
  if (reason == TRB_NOKEY_MALFORMED && run->count > 1 && phone_split(in, run)) return;
  key_refuse(in->keys, reason);
}
