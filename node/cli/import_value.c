/* import_value: one cell to one SQL value: dates as people write them, amounts with their signs, words for sex and
 * kind. */
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <time.h>

#include "import.h"
#include "tributary/text.h"

struct trb_slice import_trim(struct trb_slice text) {
  static const uint8_t wide[3] = {0xE3, 0x80, 0x80}; /* ideographic space */
  for (;;) {
    if (text.len && text.data[0] <= ' ')
      text.data++, text.len--;
    else if (text.len >= 3 && memcmp(text.data, wide, 3) == 0)
      text.data += 3, text.len -= 3;
    else
      break;
  }
  for (;;) {
    if (text.len && text.data[text.len - 1] <= ' ')
      text.len--;
    else if (text.len >= 3 && memcmp(text.data + text.len - 3, wide, 3) == 0)
      text.len -= 3;
    else
      break;
  }
  return text;
}

/* Numbers with anything else between: "2024年3月5日 12:30" gives 2024 3 5 12 30. At most `max`; their lengths too. */
static size_t value_numbers(const char *text, int *ret, size_t *ret_len, size_t max) {
  size_t count = 0;
  while (*text && count < max) {
    size_t len = strspn(text, "0123456789");
    if (len > 8) return 0;
    if (len) {
      ret_len[count] = len;
      ret[count++] = atoi(text);
    }
    text += len ? len : 1;
  }
  return strpbrk(text, "0123456789") ? 0 : count;
}

static bool value_day(int year, int month, int day) {
  static const int days[12] = {31, 28, 31, 30, 31, 30, 31, 31, 30, 31, 30, 31};
  if (year < 1000 || year > 9999 || month < 1 || month > 12) return false;
  bool leap = month == 2 && ((year % 4 == 0 && year % 100 != 0) || year % 400 == 0);
  return day >= 1 && day <= days[month - 1] + leap;
}

/* Year, month, day out of the first numbers; false when they are no day. 5/6/2011 is the sixth of May in the USA only.
 */
static bool value_ymd(int *n, size_t *len, size_t count, const char *region) {
  if (count == 1 && len[0] == 8) {
    int whole = n[0];
    n[0] = whole / 10000, n[1] = whole / 100 % 100, n[2] = whole % 100;
    return value_day(n[0], n[1], n[2]);
  }
  if (count < 3) return false;
  if (len[0] <= 2 && len[1] <= 2 && len[2] == 4) {
    int year = n[2], first = n[0], second = n[1];
    bool month_first = strcmp(region, "US") == 0;
    if (first > 12 || second > 12) month_first = second > 12;
    n[0] = year, n[1] = month_first ? first : second, n[2] = month_first ? second : first;
    return value_day(n[0], n[1], n[2]);
  }
  return len[0] == 4 && value_day(n[0], n[1], n[2]);
}

/* Only digits and what stands between the parts of a date. */
static bool value_looks_dated(const char *text) {
  static const char *const words[] = {"年", "月", "日", "时", "分", "秒", "号"};
  while (*text) {
    size_t n = strspn(text, "0123456789-/.: TZ");
    text += n;
    if (!*text) return true;
    size_t i = 0;
    while (i < sizeof words / sizeof *words && strncmp(text, words[i], 3) != 0) i++;
    if (i == sizeof words / sizeof *words) return false;
    text += 3;
  }
  return true;
}

static bool value_date(const char *text, const char *region, char ret[16]) {
  int n[6] = {0};
  size_t len[6] = {0}, count = value_looks_dated(text) ? value_numbers(text, n, len, 6) : 0;
  if (count && value_ymd(n, len, count, region)) {
    snprintf(ret, 16, "%04d-%02d-%02d", n[0], n[1], n[2]);
    return true;
  }
  bool month = count == 2 && len[0] == 4 && value_day(n[0], n[1], 1);
  bool year = count == 1 && len[0] == 4 && value_day(n[0], 1, 1);
  if (month) snprintf(ret, 16, "%04d-%02d", n[0], n[1]);
  if (year) snprintf(ret, 16, "%04d", n[0]);
  return month || year;
}

/* Milliseconds since 1970 as they are, or a day and a time of day on this machine's clock. */
static bool value_time(const char *text, const char *region, int64_t *ret) {
  int n[6] = {0};
  size_t len[6] = {0};
  if (strspn(text, "0123456789") == strlen(text) && strlen(text) >= 12 && strlen(text) <= 14) {
    *ret = strtoll(text, NULL, 10);
    return true;
  }
  size_t count = value_looks_dated(text) ? value_numbers(text, n, len, 6) : 0;
  if (!count || !value_ymd(n, len, count, region) || n[3] > 23 || n[4] > 59 || n[5] > 60) return false;
  if (count == 1) n[3] = n[4] = n[5] = 0;
  struct tm tm = {
      .tm_year = n[0] - 1900, .tm_mon = n[1] - 1, .tm_mday = n[2], .tm_hour = n[3], .tm_min = n[4], .tm_sec = n[5]};
  tm.tm_isdst = -1;
  *ret = (int64_t)mktime(&tm) * 1000;
  return true;
}

/* 1,234.50 ¥ 元 $ € and spaces taken away; a number remains or not. */
static bool value_number(const char *text, double *ret) {
  static const char *const marks[] = {"¥", "￥", "元", "€", "£", "$", ",", " ", "RMB", "CNY"};
  char plain[64];
  size_t len = 0;
  while (*text) {
    size_t skip = 0;
    for (size_t i = 0; i < sizeof marks / sizeof *marks && !skip; i++)
      if (strncmp(text, marks[i], strlen(marks[i])) == 0) skip = strlen(marks[i]);
    text += skip;
    if (skip) continue;
    if (len + 1 == sizeof plain) return false;
    plain[len++] = *text++;
  }
  plain[len] = '\0';
  if (!len || strspn(plain, "0123456789.+-eE") != len) return false;
  char *end = NULL;
  *ret = strtod(plain, &end);
  return end == plain + len && isfinite(*ret);
}

static bool value_is_time(const struct trb_column *column) {
  size_t len = strlen(column->name);
  return column->type == TRB_COL_INT &&
         (strcmp(column->name, "at") == 0 || (len > 3 && strcmp(column->name + len - 3, "_at") == 0));
}

/* Words that sheets use for what we keep as codes: column, word, code. */
static const struct {
  const char *table, *column, *word, *code;
} value_words[] = {
    {"", "gender", "男", "M"},
    {"", "gender", "女", "F"},
    {"", "gender", "male", "M"},
    {"", "gender", "female", "F"},
    {"", "gender", "m", "M"},
    {"", "gender", "f", "F"},
    {"", "gender", "先生", "M"},
    {"", "gender", "女士", "F"},
    {"", "gender", "小姐", "F"},
    {"customer", "kind", "个人", "person"},
    {"customer", "kind", "个人客户", "person"},
    {"customer", "kind", "散客", "person"},
    {"customer", "kind", "individual", "person"},
    {"customer", "kind", "person", "person"},
    {"customer", "kind", "企业", "organisation"},
    {"customer", "kind", "公司", "organisation"},
    {"customer", "kind", "单位", "organisation"},
    {"customer", "kind", "团体", "organisation"},
    {"customer", "kind", "企业客户", "organisation"},
    {"customer", "kind", "company", "organisation"},
    {"customer", "kind", "organization", "organisation"},
    {"", "channel", "门店", "counter"},
    {"", "channel", "到店", "counter"},
    {"", "channel", "柜台", "counter"},
    {"", "channel", "拜访", "visit"},
    {"", "channel", "上门", "visit"},
    {"", "channel", "电话", "phone"},
    {"", "channel", "短信", "sms"},
    {"", "channel", "邮件", "email"},
    {"", "channel", "微信", "wechat"},
    {"", "channel", "网站", "web"},
    {"", "channel", "官网", "web"},
    {"", "channel", "同业", "partner"},
    {"", "channel", "传真", "fax"},
    {"", "direction", "呼入", "in"},
    {"", "direction", "来", "in"},
    {"", "direction", "客户来", "in"},
    {"", "direction", "呼出", "out"},
    {"", "direction", "去", "out"},
    {"", "direction", "我方去", "out"},
    {"activity", "kind", "咨询", "consultation"},
    {"activity", "kind", "跟进", "follow_up"},
    {"activity", "kind", "回访", "follow_up"},
    {"activity", "kind", "关怀", "care"},
    {"activity", "kind", "调查", "survey"},
    {"activity", "kind", "营销", "marketing"},
    {"booking_event", "kind", "咨询", "enquiry"},
    {"booking_event", "kind", "报价", "quoted"},
    {"booking_event", "kind", "下单", "ordered"},
    {"booking_event", "kind", "已下单", "ordered"},
    {"booking_event", "kind", "已预订", "ordered"},
    {"booking_event", "kind", "已付款", "paid"},
    {"booking_event", "kind", "已付", "paid"},
    {"booking_event", "kind", "已出行", "travelled"},
    {"booking_event", "kind", "已完成", "closed"},
    {"booking_event", "kind", "已取消", "cancelled"},
    {"booking_event", "kind", "已退款", "refunded"},
    {"booking_item", "kind", "跟团游", "tour"},
    {"booking_item", "kind", "线路", "tour"},
    {"booking_item", "kind", "机票", "ticket"},
    {"booking_item", "kind", "酒店", "hotel"},
    {"booking_item", "kind", "签证", "visa"},
    {"booking_item", "kind", "保险", "insurance"},
    {"booking_item", "kind", "商品", "goods"},
    {"payment", "kind", "收款", "received"},
    {"payment", "kind", "退款", "refunded"},
    {"payment", "kind", "支出", "expense"},
    {"payment", "method", "现金", "cash"},
    {"payment", "method", "刷卡", "card"},
    {"payment", "method", "银行卡", "card"},
    {"payment", "method", "转账", "transfer"},
    {"payment", "method", "微信", "wechat"},
    {"payment", "method", "支付宝", "alipay"},
    {"payment", "method", "支票", "cheque"},
};

static const char *value_known_word(const struct trb_table *table, const struct trb_column *column, const char *text) {
  for (size_t i = 0; i < sizeof value_words / sizeof *value_words; i++) {
    bool here = !value_words[i].table[0] || strcmp(value_words[i].table, table->name) == 0;
    if (here && strcmp(value_words[i].column, column->name) == 0 && strcasecmp(value_words[i].word, text) == 0)
      return value_words[i].code;
  }
  return NULL;
}

static bool value_int(const struct trb_column *column, const char *text, const char *region, int64_t *ret) {
  static const char *const yes_no[][2] = {{"是", "1"}, {"否", "0"},   {"yes", "1"},
                                          {"no", "0"}, {"true", "1"}, {"false", "0"}};
  double real = 0;
  if (value_is_time(column)) return value_time(text, region, ret);
  const char *word = NULL;
  for (size_t i = 0; i < sizeof yes_no / sizeof *yes_no; i++)
    if (strcasecmp(text, yes_no[i][0]) == 0) word = yes_no[i][1];
  if (!value_number(word ? word : text, &real) || real != floor(real) || fabs(real) > 9007199254740992.0) return false;
  *ret = (int64_t)real;
  return true;
}

/* Line breaks inside short texts are from the sheet, not from the customer; contacts stay as typed. */
static struct trb_value value_text(const struct trb_table *table, const struct trb_column *column, char *text) {
  bool typed = table->number == TRB_T_contact || table->number == TRB_T_identity_document || column->max_bytes > 2048;
  for (char *c = text; *c && !typed; c++)
    if (*c == '\n' || *c == '\r' || *c == '\t') *c = ' ';
  return trb_text(text);
}

enum trb_status import_value(const struct trb_table *table, const struct trb_column *column, const char *region,
                             struct trb_slice text, struct trb_arena *arena, struct trb_value *ret,
                             struct trb_error *err) {
  TRB_BUF_AUTO narrow = {0};
  char *copy = trb_arena_str(arena, text), date[16];
  int64_t whole = 0;
  double real = 0;
  bool fits = true;
  if (!copy) return trb_fail(err, TRB_NOMEM, "no memory for a row");
  const char *word = column->type == TRB_COL_TEXT ? value_known_word(table, column, copy) : NULL;
  bool plain = column->type == TRB_COL_TEXT || column->type == TRB_COL_REF || column->type == TRB_COL_SITE;
  if (!plain && text_nfkc(text, &narrow, NULL))
    return trb_fail(err, TRB_PEER, "%s.%s is not text", table->name, column->name);
  const char *ascii = plain ? copy : trb_buf_cstr(&narrow);
  switch (column->type) {
    case TRB_COL_TEXT: *ret = word ? trb_text(word) : value_text(table, column, copy); break;
    case TRB_COL_REF:
    case TRB_COL_SITE: *ret = trb_text(copy); break;
    case TRB_COL_DATE:
      fits = value_date(ascii, region, date);
      if (fits) *ret = trb_text(trb_arena_str(arena, trb_slice_str(date)));
      break;
    case TRB_COL_INT:
      fits = value_int(column, ascii, region, &whole);
      if (fits) *ret = trb_int(whole);
      break;
    case TRB_COL_REAL:
      fits = value_number(ascii, &real);
      if (fits) *ret = trb_real(real);
      break;
    case TRB_COL_BLOB: fits = false; break;
  }
  if (fits) return column_check(table, column, *ret, err);
  const char *want = column->type == TRB_COL_DATE   ? "a date (2024-03-05)"
                     : value_is_time(column)        ? "a time (2024-03-05 12:30)"
                     : column->type == TRB_COL_BLOB ? "bytes: not importable"
                                                    : "a number";
  return trb_fail(err, TRB_PEER, "%s.%s is not %s", table->name, column->name, want);
}
