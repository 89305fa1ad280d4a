/* key_phone: telephone cells, as people type them, to E.164 with an extension.
 *
 * Cell -> parts (lists) -> runs of digit groups (names between them are passed over) -> a number each. libphonenumber
 * is asked last and only about plain digits: on its own it takes `l3911112222` for a landline, glues `139****2222`
 * together, swallows
 * `-8001` into the number and reads `852-91234567` as a mainland number (measured, 8.12.57). What a run means is
 * decided in key_phone_number.c; here is only how a cell falls apart. */
#include "key_phone.h"

#include <string.h>
#include <strings.h>

static bool starts_with(const char *text, const char *word, size_t *ret_len) {
  size_t len = strlen(word);
  if (strncasecmp(text, word, len) != 0) return false;
  *ret_len = len;
  return true;
}

/* --- what makes no number --- */

/* 139****2222, 139xxxx2222, 139####2222, 139●●●●2222 */
static bool phone_masked(const char *part) {
  static const char *const marks[] = {"*",  "xx",   "XX", "##", "●", "○", "•", "__",
                                      "??", "XXXX", "…",  "■",  "□", "■", "▲"};
  if (!strpbrk(part, "0123456789")) return false;
  for (size_t i = 0; i < sizeof marks / sizeof *marks; i++)
    if (strstr(part, marks[i])) return true;
  return false;
}

static size_t phone_digits_at(const char **text) {
  size_t n = strspn(*text, "0123456789");
  *text += n;
  return n;
}

/* 2011-05-06, 2011/5/6, 6.5.2011, 05/06/2011 12:00, 2011年5月6日: a date in the wrong column. */
static bool phone_is_date(const char *part) {
  const char *p = part;
  size_t a = phone_digits_at(&p);
  char sep = *p;
  if (a == 4 && strncmp(p, "年", 3) == 0) return true;
  if (!sep || !strchr("-/.", sep)) return false;
  p++;
  size_t b = phone_digits_at(&p);
  if (*p != sep) return false;
  p++;
  size_t c = phone_digits_at(&p);
  bool year_first = a == 4 && b >= 1 && b <= 2 && c >= 1 && c <= 2 && (part[0] == '1' || part[0] == '2');
  bool year_last = a >= 1 && a <= 2 && b >= 1 && b <= 2 && c == 4;
  return (year_first || year_last) && (*p == '\0' || *p == ' ' || *p == 'T');
}

/* A letter that touches a digit is a typing error (l3911112222, 1.39E+10) unless it belongs to a word. */
static bool phone_word_is_typo(const char *word, size_t len) {
  if (len == 1) return true;
  for (size_t i = 0; i < len; i++)
    if (!strchr("lIiOoQSsBZzE", word[i])) return false;
  return true;
}

/* --- extensions --- */

/* At an extension mark with 1 to 7 digits after it: copies them and gives the end, else NULL. */
static const char *phone_extension_at(const char *p, char ret[PHONE_EXTENSION_DIGITS_MAX + 1]) {
  static const char *const marks[] = {"分机号", "分机",      "分機", "转接", "转",  "轉接", "轉", "内线",
                                      "内線",   "extension", "extn", "ext.", "ext", "x",    "#"};
  size_t len = 0, digits;
  p += strspn(p, " ,(:.;=");
  for (size_t i = 0; i < sizeof marks / sizeof *marks && !len; i++) starts_with(p, marks[i], &len);
  if (!len) return NULL;
  p += len;
  p += strspn(p, " :.=-");
  digits = strspn(p, "0123456789");
  if (!digits || digits > PHONE_EXTENSION_DIGITS_MAX || key_is_letter(p[digits])) return NULL;
  memcpy(ret, p, digits);
  ret[digits] = '\0';
  return p + digits;
}

/* --- runs --- */

static char phone_stronger(char a, char b) {
  static const char order[] = " (.-";
  if (!a) return b;
  return strchr(order, b) > strchr(order, a) ? b : a;
}

/* Reads groups of digits with separators between them. Ends at any other character, at a second '+', or when full. */
static const char *phone_run_read(const char *p, struct phone_run *run) {
  char before = 0;
  *run = (struct phone_run){0};
  for (;; p++) {
    if (*p == '+') {
      if (run->count || run->plus) break;
      run->plus = true;
      before = 0;
    } else if (key_is_digit(*p)) {
      if (run->count == PHONE_GROUPS_MAX) {
        run->broken = true;
        break;
      }
      struct phone_group *group = &run->group[run->count++];
      *group = (struct phone_group){.digits = p, .before = before};
      group->len = phone_digits_at(&p);
      p--;
      before = 0;
    } else if (*p == ' ' || *p == '-' || *p == '.') {
      before = phone_stronger(before, *p);
    } else if (*p == '(' || *p == ')') {
      before = phone_stronger(before, '(');
    } else {
      break;
    }
  }
  return p;
}

/* "张三 2011-05-06": a date inside a cell. */
static bool phone_run_is_date(const struct phone_run *run) {
  const struct phone_group *g = run->group;
  if (run->count != 3 || run->plus || g[1].before != g[2].before || (g[1].before != '-' && g[1].before != '.'))
    return false;
  bool year_first = g[0].len == 4 && g[1].len <= 2 && g[2].len <= 2 && (g[0].digits[0] == '1' || g[0].digits[0] == '2');
  return year_first || (g[0].len <= 2 && g[1].len <= 2 && g[2].len == 4);
}

/* "13911112222.0": a spreadsheet made a number of it. */
static void phone_run_tidy(struct phone_run *run) {
  if (run->count != 2 || run->group[1].before != '.') return;
  const struct phone_group *tail = &run->group[1];
  if (tail->len <= 2 && strspn(tail->digits, "0") >= tail->len) run->count = 1;
}

static size_t phone_word_len(const char *p) {
  size_t len = 0;
  while (key_is_letter(p[len])) len++;
  return len;
}

/* One part of a list: passes over words, reads runs, attaches extensions, resolves each. */
static void phone_part(char *part, void *context) {
  const struct key_input *in = context;
  bool touched_by_typo = false, any = false;
  if (phone_masked(part)) {
    key_refuse(in->keys, TRB_NOKEY_MASKED);
    return;
  }
  for (const char *p = part; *p;) {
    if (key_is_letter(*p)) {
      size_t len = phone_word_len(p);
      touched_by_typo = (key_is_digit(p[len]) || p[len] == '+') && phone_word_is_typo(p, len);
      p += len;
      continue;
    }
    if (!key_is_digit(*p) && *p != '+') {
      touched_by_typo = touched_by_typo && *p == '+';
      p++;
      continue;
    }
    struct phone_run run;
    const char *end = phone_run_read(p, &run), *after = phone_extension_at(end, run.extension);
    if (after) end = after;
    if (!after && key_is_letter(*end) && end > p && key_is_digit(end[-1]))
      run.broken |= phone_word_is_typo(end, phone_word_len(end));
    run.broken |= touched_by_typo || phone_run_is_date(&run);
    touched_by_typo = false;
    phone_run_tidy(&run);
    if (run.count) phone_number_resolve(in, &run);
    any = any || run.count;
    p = end > p ? end : p + 1;
  }
  if (!any && key_text_placeholder(part)) key_refuse(in->keys, TRB_NOKEY_PLACEHOLDER);
}

static void phone_list_part(char *part, void *context) {
  if (phone_is_date(part))
    key_refuse(((const struct key_input *)context)->keys, TRB_NOKEY_MALFORMED);
  else
    key_each_part(part, "/", phone_part, context);
}

void key_phones(const struct key_input *in, char *text) {
  struct key_input copy = *in;
  /* 和, 及, 或 between numbers, as ',' */
  static const char *const words[] = {"和", "及", "或", "与"};
  for (size_t i = 0; i < sizeof words / sizeof *words; i++)
    for (char *at = strstr(text, words[i]); at; at = strstr(at, words[i])) memset(at, ',', strlen(words[i]));
  /* ", ext 12" and ";ext=12" belong to the number before them. */
  char extension[PHONE_EXTENSION_DIGITS_MAX + 1];
  for (char *at = strpbrk(text, ",;"); at; at = strpbrk(at + 1, ",;"))
    if (phone_extension_at(at, extension)) *at = ' ';
  key_each_part(text, ",;|\\&~", phone_list_part, &copy);
}
