/* key_id: numbers that documents and cards carry. National ids (GB 11643-1999), passports, tax numbers (GB 32100-2015),
 * member cards; the identity cards of Hong Kong and Taiwan, which customers give where a national id is asked for. */
#include "key_internal.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define KEY_NUMBER_BYTES 40 /* longest document number we take, with room */

/* --- national ids --- */

/* ISO 7064:1983 MOD 11-2, as GB 11643-1999 writes it: weights 2^(17-i) mod 11. */
static char key_id_check(const char *digits17) {
  static const int weights[17] = {7, 9, 10, 5, 8, 4, 2, 1, 6, 3, 7, 9, 10, 5, 8, 4, 2};
  int sum = 0;
  for (int i = 0; i < 17; i++) sum += (digits17[i] - '0') * weights[i];
  return "10X98765432"[sum % 11];
}

static bool key_id_province(const char *id) {
  static const char provinces[] =
      "11 12 13 14 15 21 22 23 31 32 33 34 35 36 37 41 42 43 44 45 46 50 51 52 53 54 61 62 63 64 65 71 81 82 83 ";
  char code[4] = {id[0], id[1], ' ', '\0'};
  return strstr(provinces, code) != NULL;
}

static int key_number(const char *digits, int len) {
  int n = 0;
  for (int i = 0; i < len; i++) n = n * 10 + (digits[i] - '0');
  return n;
}

/* No clock here: a birthday is plausible between 1850 and 2150; the caller knows today. */
static bool key_date_plausible(const char *yyyymmdd) {
  static const int days[12] = {31, 29, 31, 30, 31, 30, 31, 31, 30, 31, 30, 31};
  int year = key_number(yyyymmdd, 4), month = key_number(yyyymmdd + 4, 2), day = key_number(yyyymmdd + 6, 2);
  if (year < 1850 || year > 2150 || month < 1 || month > 12 || day < 1 || day > days[month - 1]) return false;
  bool leap = (year % 4 == 0 && year % 100 != 0) || year % 400 == 0;
  return month != 2 || day < 29 || leap;
}

/* Fifteen digits (before 1999): the century was always 19, there was no check digit. */
static void key_id_widen(const char *id15, char ret_id18[19]) {
  memcpy(ret_id18, id15, 6);
  memcpy(ret_id18 + 6, "19", 2);
  memcpy(ret_id18 + 8, id15 + 6, 9);
  ret_id18[17] = key_id_check(ret_id18);
  ret_id18[18] = '\0';
}

static bool key_all_digits(const char *text, size_t len) {
  for (size_t i = 0; i < len; i++)
    if (!key_is_digit(text[i])) return false;
  return true;
}

/* NONE when `number` (upper case) is a mainland id; *ret_checked when its own check digit said so. */
static enum trb_key_reason key_id_mainland(const char *number, char ret_id18[19], bool *ret_checked) {
  size_t len = strlen(number);
  if (key_all_digits(number, len) && key_digits_placeholder(number, 15)) return TRB_NOKEY_PLACEHOLDER;
  if (len == 15 && key_all_digits(number, 15)) {
    key_id_widen(number, ret_id18);
  } else if (len == 18 && key_all_digits(number, 17) && (key_is_digit(number[17]) || number[17] == 'X')) {
    memcpy(ret_id18, number, 19);
  } else {
    return TRB_NOKEY_MALFORMED;
  }
  if (!key_id_province(ret_id18) || !key_date_plausible(ret_id18 + 6)) return TRB_NOKEY_MALFORMED;
  if (key_id_check(ret_id18) != ret_id18[17]) return TRB_NOKEY_CHECK_DIGIT;
  *ret_checked = len == 18;
  return TRB_NOKEY_NONE;
}

/* Hong Kong: one or two letters, six digits, check 0-9 or A, modulo 11 (a missing first letter counts as 36). */
static bool key_id_hong_kong(const char *number) {
  size_t len = strlen(number), letters = 0;
  while (letters < 2 && key_is_letter(number[letters])) letters++;
  if (!letters || len != letters + 7 || !key_all_digits(number + letters, 6)) return false;
  char last = number[len - 1];
  if (!key_is_digit(last) && last != 'A') return false;
  int sum = letters == 1 ? 36 * 9 : (number[0] - 'A' + 10) * 9;
  sum += (number[letters - 1] - 'A' + 10) * 8;
  for (size_t i = 0; i < 6; i++) sum += (number[letters + i] - '0') * (int)(7 - i);
  sum += last == 'A' ? 10 : last - '0';
  return sum % 11 == 0;
}

/* Taiwan: a letter (10 to 35 in its own order), then nine digits, modulo 10. */
static bool key_id_taiwan(const char *number) {
  static const char order[] = "ABCDEFGHJKLMNPQRSTUVXYWZIO";
  if (strlen(number) != 10 || !key_all_digits(number + 1, 9) || number[1] < '1' || number[1] > '2') return false;
  const char *at = strchr(order, number[0]);
  if (!at) return false;
  int letter = (int)(at - order) + 10, sum = letter / 10 + letter % 10 * 9;
  for (int i = 1; i < 9; i++) sum += (number[i] - '0') * (9 - i);
  return (sum + number[9] - '0') % 10 == 0;
}

/* Other countries' numbers have no common form: kept per region, never called checked. */
static bool key_number_plausible(const char *number, size_t min, size_t max) {
  size_t len = strlen(number), digits = 0;
  for (size_t i = 0; i < len; i++) digits += key_is_digit(number[i]);
  return len >= min && len <= max && digits >= 4;
}

static void key_id_add(const struct key_input *in, const char *number) {
  char id18[19];
  bool checked = false;
  const char *region = in->context->region;
  enum trb_key_reason reason = key_id_mainland(number, id18, &checked);
  if (!reason) {
    key_add(in->keys, TRB_KIND_NATIONAL_ID, checked ? TRB_KEY_CHECKED : 0, NULL, "id:%s", id18);
  } else if (key_id_hong_kong(number)) {
    key_add(in->keys, TRB_KIND_NATIONAL_ID, TRB_KEY_CHECKED, NULL, "id:HK:%s", number);
  } else if (key_id_taiwan(number)) {
    key_add(in->keys, TRB_KIND_NATIONAL_ID, TRB_KEY_CHECKED, NULL, "id:TW:%s", number);
  } else if (strcmp(region, "CN") == 0 || reason == TRB_NOKEY_PLACEHOLDER) {
    key_refuse(in->keys, key_digits_placeholder(number, 6) && key_all_digits(number, strlen(number))
                             ? TRB_NOKEY_PLACEHOLDER
                             : reason);
  } else if (key_all_digits(number, strlen(number)) && key_digits_placeholder(number, 4)) {
    key_refuse(in->keys, TRB_NOKEY_PLACEHOLDER);
  } else if (key_number_plausible(number, 5, 24)) {
    key_add(in->keys, TRB_KIND_NATIONAL_ID, 0, NULL, "id:%s:%s", region, number);
  } else {
    key_refuse(in->keys, TRB_NOKEY_MALFORMED);
  }
}

/* The multiplication sign and Cyrillic letters that stand in for X; brackets of A123456(3). In place. */
static void key_id_tidy(char *text) {
  char *to = text;
  for (char *from = text; *from;) {
    if (strncmp(from, "×", 2) == 0 || strncmp(from, "Х", 2) == 0 || strncmp(from, "х", 2) == 0) {
      *to++ = 'X';
      from += 2;
    } else if (*from == '(' || *from == ')' || *from == '\'') {
      from++;
    } else {
      *to++ = *from++;
    }
  }
  *to = '\0';
}

static void key_id_part(char *part, void *context) {
  const struct key_input *in = context;
  char number[KEY_NUMBER_BYTES];
  if (strchr(part, '*')) {
    key_refuse(in->keys, TRB_NOKEY_MASKED);
  } else if (key_text_placeholder(part)) {
    key_refuse(in->keys, TRB_NOKEY_PLACEHOLDER);
  } else if (!key_copy_upper(key_skip_label(part), number, sizeof number) || !number[0]) {
    key_refuse(in->keys, TRB_NOKEY_MALFORMED);
  } else {
    key_id_add(in, number);
  }
}

void key_national_ids(const struct key_input *in, char *text) {
  struct key_input copy = *in;
  key_id_tidy(text);
  key_each_part(text, "/,;|\\", key_id_part, &copy);
}

bool key_id_facts(const char *key_text, struct trb_id_facts *ret) {
  if (strncmp(key_text, "id:", 3) != 0 || strlen(key_text) != 3 + 18) return false;
  const char *id = key_text + 3;
  if (!key_all_digits(id, 17) || !key_date_plausible(id + 6)) return false;
  snprintf(ret->birthday, sizeof ret->birthday, "%.4s-%.2s-%.2s", id + 6, id + 10, id + 12);
  ret->sex = (id[16] - '0') % 2 ? 'M' : 'F';
  return true;
}

/* --- passports --- */

static void key_passport_part(char *part, void *context) {
  const struct key_input *in = context;
  char number[KEY_NUMBER_BYTES], id18[19];
  bool checked = false;
  if (strchr(part, '*')) {
    key_refuse(in->keys, TRB_NOKEY_MASKED);
    return;
  }
  if (!key_copy_upper(key_skip_label(part), number, sizeof number) || !number[0]) {
    key_refuse(in->keys, key_text_placeholder(part) ? TRB_NOKEY_PLACEHOLDER : TRB_NOKEY_MALFORMED);
    return;
  }
  const char *digits = number;
  while (key_is_letter(*digits)) digits++;
  bool all_digits = key_all_digits(digits, strlen(digits));
  if (strlen(number) == 18 && !key_id_mainland(number, id18, &checked)) { /* an identity card in the passport column */
    key_add(in->keys, TRB_KIND_NATIONAL_ID, TRB_KEY_CHECKED, NULL, "id:%s", id18);
  } else if (all_digits && (digits == number ? key_digits_placeholder(digits, 1)
                                             : (*digits && strspn(digits, "0") == strlen(digits)))) {
    key_refuse(in->keys, TRB_NOKEY_PLACEHOLDER);
  } else if (!key_number_plausible(number, 5, 12)) { /* ICAO 9303: nine characters; some states print more */
    key_refuse(in->keys, TRB_NOKEY_MALFORMED);
  } else {
    key_add(in->keys, TRB_KIND_PASSPORT, 0, NULL, "pp:%s", number);
  }
}

void key_passports(const struct key_input *in, char *text) {
  struct key_input copy = *in;
  key_each_part(text, "/,;|\\", key_passport_part, &copy);
}

/* --- tax numbers --- */

/* GB 32100-2015: 31 characters (no I, O, S, V, Z), weights 3^i mod 31. */
static bool key_uscc_valid(const char *number, bool *ret_shape) {
  static const char alphabet[] = "0123456789ABCDEFGHJKLMNPQRTUWXY";
  int sum = 0, weight = 1, value = 0;
  *ret_shape = false;
  for (int i = 0; i < 18; i++) {
    const char *at = strchr(alphabet, number[i]);
    if (!at || (i >= 2 && i < 8 && !key_is_digit(number[i]))) return false;
    value = (int)(at - alphabet);
    if (i < 17) sum += value * weight;
    weight = weight * 3 % 31;
  }
  *ret_shape = true;
  return (31 - sum % 31) % 31 == value;
}

void key_tax_no(const struct key_input *in, char *text) {
  char number[KEY_NUMBER_BYTES];
  bool shape = false;
  if (strchr(text, '*')) {
    key_refuse(in->keys, TRB_NOKEY_MASKED);
    return;
  }
  if (!key_copy_upper(key_skip_label(text), number, sizeof number) || !number[0]) {
    key_refuse(in->keys, TRB_NOKEY_MALFORMED);
    return;
  }
  size_t len = strlen(number);
  if (key_all_digits(number, len) && key_digits_placeholder(number, 4)) {
    key_refuse(in->keys, TRB_NOKEY_PLACEHOLDER);
  } else if (len == 18 && key_uscc_valid(number, &shape)) {
    key_add(in->keys, TRB_KIND_TAX_NO, TRB_KEY_CHECKED, NULL, "tax:%s", number);
  } else if (strcmp(in->context->region, "CN") != 0 && key_number_plausible(number, 5, 24)) {
    key_add(in->keys, TRB_KIND_TAX_NO, 0, NULL, "tax:%s:%s", in->context->region, number);
  } else if (len == 18) {
    key_refuse(in->keys, shape ? TRB_NOKEY_CHECK_DIGIT : TRB_NOKEY_MALFORMED);
  } else if ((len == 15 || len == 17 || len == 20) &&
             key_number_plausible(number, 15, 20)) { /* numbers from before 2015 */
    key_add(in->keys, TRB_KIND_TAX_NO, 0, NULL, "tax:%s", number);
  } else {
    key_refuse(in->keys, TRB_NOKEY_MALFORMED);
  }
}

/* --- member cards --- */

void key_member_card(const struct key_input *in, char *text) {
  char number[KEY_NUMBER_BYTES];
  if (strchr(text, '*')) {
    key_refuse(in->keys, TRB_NOKEY_MASKED);
  } else if (!key_copy_upper(key_skip_label(text), number, sizeof number) || strlen(number) < 3) {
    key_refuse(in->keys, TRB_NOKEY_MALFORMED);
  } else if (key_all_digits(number, strlen(number)) && key_digits_placeholder(number, 3)) {
    key_refuse(in->keys, TRB_NOKEY_PLACEHOLDER);
  } else {
    key_add(in->keys, TRB_KIND_MEMBER_CARD, 0, NULL, "card:%s", number);
  }
}
