/* mapping_guess: what a header suggests, in Chinese and English. Tables of names first, then the one function that
 * reads them. */
#include <string.h>

#include "mapping_names.h"
#include "tributary/mapping.h"
#include "tributary/text.h"

void mapping_name_fold(struct trb_slice name, char ret[MAPPING_NAME_BYTES]) {
  TRB_BUF_AUTO folded = {.limit = 4 * MAPPING_NAME_BYTES};
  size_t len = 0;
  ret[0] = '\0';
  if (text_nfkc_casefold(name, &folded, NULL)) return;
  for (size_t i = 0; i < folded.len; i++) {
    if (folded.data[i] < 0x80 && strchr(" \t\r\n_-.:*()'\"", folded.data[i])) continue;
    if (len + 1 == MAPPING_NAME_BYTES) {
      ret[0] = '\0';
      return;
    }
    ret[len++] = (char)folded.data[i];
  }
  ret[len] = '\0';
}

/* `names`: folded headers, each between bars. `target`: what stands before '='; "@" begins a reference by external_ref.
 */
struct guess {
  const char *target;
  const char *names;
};

static const struct guess guess_customer[] = {
    {"customer.external_ref",
     "|id|客户编号|编号|客户号|客户id|customerid|customerno|externalref|externalid|recid|recordid|"},
    {"customer.name",
     "|姓名|客户姓名|客户名称|名称|名字|客户|公司名称|单位名称|name|fullname|customername|customer|clientname|sitename|"
     "company|companyname|"},
    {"customer.name_latin", "|拼音|姓名拼音|拼音姓名|护照姓名|latinname|passportname|"},
    {"customer.name_english", "|英文名|英文姓名|englishname|nickname|"},
    {"customer.gender", "|性别|gender|sex|"},
    {"customer.birthday", "|生日|出生日期|出生年月|出生年月日|birthday|birthdate|dateofbirth|dob|born|"},
    {"customer.nationality", "|国籍|nationality|"},
    {"customer.language", "|语言|language|"},
    {"customer.occupation", "|职业|occupation|profession|"},
    {"customer.province", "|省|省份|province|state|"},
    {"customer.city", "|市|城市|所在城市|city|suburb|town|"},
    {"customer.address",
     "|地址|住址|通讯地址|联系地址|详细地址|家庭住址|address|streetaddress|address1|street|mailingaddress|"},
    {"customer.postcode", "|邮编|邮政编码|zip|zipcode|postcode|postalcode|"},
    {"customer.kind", "|客户类型|客户类别|customertype|customerkind|"},
    {"customer.industry", "|行业|industry|"},
    {"customer.legal_representative", "|法人|法定代表人|法人代表|"},
    {"customer.tax_no", "|税号|纳税人识别号|统一社会信用代码|taxno|taxnumber|vatnumber|"},
    {"customer.bank", "|开户行|开户银行|bank|"},
    {"customer.account", "|银行账号|账号|accountnumber|"},
    {"customer.keywords", "|关键词|关键字|keywords|"},
    {"customer.source", "|来源|客户来源|source|"},
    {"customer.referrer", "|推荐人|介绍人|referrer|referredby|"},
    {"customer.grade", "|等级|客户等级|会员等级|级别|grade|level|"},
    {"customer.remark", "|备注|说明|remark|remarks|note|notes|comment|comments|"},
    {"contact.mobile", "|手机|手机号|手机号码|移动电话|联系手机|mobile|mobilephone|mobilenumber|cell|cellphone|"},
    {"contact.landline",
     "|电话|电话号码|联系电话|固话|固定电话|座机|办公电话|家庭电话|phone|phonenumber|telephone|tel|homephone|"
     "workphone|officephone|landline|"},
    {"contact.fax", "|传真|传真号码|fax|faxnumber|"},
    {"contact.email", "|邮箱|电子邮箱|电子邮件|邮件|邮箱地址|email|emailaddress|mail|"},
    {"contact.wechat", "|微信|微信号|微信id|wechat|wechatid|weixin|"},
    {"contact.qq", "|qq|qq号|qq号码|"},
    {"contact.member_card", "|会员卡|会员卡号|会员号|会员编号|membercard|memberno|membershipnumber|"},
    {"identity_document.national_id",
     "|身份证|身份证号|身份证号码|证件号|证件号码|idcard|idnumber|nationalid|socsecid|ssn|"},
    {"identity_document.passport", "|护照|护照号|护照号码|passport|passportno|passportnumber|"},
};
static const struct guess guess_booking[] = {
    {"booking.external_ref", "|订单编号|订单号|id|bookingid|orderid|externalref|"},
    {"booking.order_no", "|单号|orderno|ordernumber|"},
    {"booking.customer_id", "|@客户编号|@客户号|@客户id|@customerid|@customerno|@customerref|"},
    {"booking.channel", "|渠道|下单渠道|channel|"},
    {"booking.ordered_on", "|下单日期|订单日期|预订日期|orderedon|orderdate|bookingdate|date|"},
    {"booking.departs_on", "|出发日期|出发|departure|departson|"},
    {"booking.returns_on", "|返回日期|返程日期|return|returnson|"},
    {"booking.destination", "|目的地|destination|"},
    {"booking.title", "|产品|产品名称|线路|标题|product|title|"},
    {"booking.amount", "|金额|总金额|订单金额|总价|amount|total|"},
    {"booking.cost", "|成本|cost|"},
    {"booking.discount", "|优惠|折扣金额|discount|"},
    {"booking.currency", "|币种|货币|currency|"},
    {"booking.people", "|人数|出行人数|people|travellers|"},
    {"booking.remark", "|备注|remark|notes|"},
    {"booking_item.kind", "|产品类型|项目类型|producttype|"},
    {"booking_item.name", "|产品明细|项目|item|itemname|"},
    {"booking_item.quantity", "|数量|quantity|qty|"},
    {"booking_item.price", "|单价|unitprice|"},
    {"payment.amount", "|已付金额|实付金额|实付|已付|已收|paid|paidamount|"},
    {"payment.method", "|支付方式|付款方式|paymentmethod|paidby|"},
    {"payment.at", "|付款时间|支付时间|收款时间|付款日期|paidat|paidon|"},
    {"booking_event.kind", "|状态|订单状态|status|"},
};
static const struct guess guess_activity[] = {
    {"activity.customer_id", "|@客户编号|@客户号|@客户id|@customerid|@customerno|@customerref|"},
    {"activity.booking_id", "|@订单编号|@订单号|@bookingid|@orderid|"},
    {"activity.at", "|时间|日期|联系时间|at|time|date|when|"},
    {"activity.channel", "|方式|渠道|联系方式|channel|"},
    {"activity.direction", "|方向|direction|"},
    {"activity.kind", "|类型|类别|type|kind|"},
    {"activity.subject", "|主题|subject|"},
    {"activity.text", "|内容|记录|沟通内容|text|content|notes|"},
    {"activity.outcome", "|结果|outcome|result|"},
    {"activity.next_on", "|下次跟进|下次联系|followupon|"},
    {"activity.minutes", "|时长|分钟|minutes|"},
};
static const struct guess guess_item[] = {
    {"booking_item.booking_id", "|@订单编号|@订单号|@bookingid|@orderid|"},
    {"booking_item.position", "|行号|序号|line|"},
    {"booking_item.kind", "|类型|类别|type|"},
    {"booking_item.name", "|产品|产品名称|名称|项目|product|item|"},
    {"booking_item.quantity", "|数量|quantity|qty|"},
    {"booking_item.unit", "|单位|"},
    {"booking_item.price", "|单价|unitprice|"},
    {"booking_item.cost", "|成本|"},
    {"booking_item.amount", "|金额|小计|total|"},
    {"booking_item.starts_on", "|开始日期|出发日期|"},
    {"booking_item.ends_on", "|结束日期|返回日期|"},
    {"booking_item.destination", "|目的地|"},
};
static const struct guess guess_payment[] = {
    {"payment.booking_id", "|@订单编号|@订单号|@bookingid|@orderid|"},
    {"payment.kind", "|类型|收支|type|"},
    {"payment.amount", "|金额|amount|"},
    {"payment.currency", "|币种|"},
    {"payment.at", "|时间|日期|付款时间|支付时间|收款时间|date|time|"},
    {"payment.method", "|方式|支付方式|付款方式|"},
    {"payment.reference", "|流水号|凭证号|交易号|"},
};

#define GUESSES(number, list) \
  { number, list, sizeof list / sizeof *list }
static const struct {
  uint16_t table;
  const struct guess *list;
  size_t count;
} guess_tables[] = {
    GUESSES(TRB_T_customer, guess_customer), GUESSES(TRB_T_booking, guess_booking),
    GUESSES(TRB_T_activity, guess_activity), GUESSES(TRB_T_booking_item, guess_item),
    GUESSES(TRB_T_payment, guess_payment),
};

/* A remark in brackets, as in 姓名（必填）, is no part of a name either. */
static void guess_fold(struct trb_slice header, char ret[MAPPING_NAME_BYTES]) {
  static const char wide[] = "（";
  size_t len = 0;
  while (len < header.len && header.data[len] != '(' &&
         !(len + 3 <= header.len && memcmp(header.data + len, wide, 3) == 0))
    len++;
  mapping_name_fold(trb_slice_of(header.data, len ? len : header.len), ret);
}

/* "手机2", "phone 2": the number of a further column is no part of its name. */
static void drop_number(char *folded) {
  size_t len = strlen(folded);
  while (len > 1 && folded[len - 1] >= '0' && folded[len - 1] <= '9') len--;
  folded[len] = '\0';
}

static const char *guess_named(const struct trb_table *main, const char *folded, bool reference) {
  char bar[MAPPING_NAME_BYTES + 4];
  size_t len = strlen(folded);
  bar[0] = '|';
  if (reference) bar[1] = '@';
  memcpy(bar + 1 + reference, folded, len);
  memcpy(bar + 1 + reference + len, "|", 2);
  for (size_t i = 0; i < sizeof guess_tables / sizeof *guess_tables; i++) {
    if (guess_tables[i].table != main->number) continue;
    for (size_t k = 0; k < guess_tables[i].count; k++)
      if (strstr(guess_tables[i].list[k].names, bar)) return guess_tables[i].list[k].target;
  }
  return NULL;
}

/* A header that is the name of a column: name_latin, "Name Latin". */
static const struct trb_column *guess_column(const struct trb_table *main, const char *folded) {
  char own[MAPPING_NAME_BYTES];
  for (size_t i = 0; i < main->column_count; i++) {
    const struct trb_column *column = &main->columns[i];
    mapping_name_fold(trb_slice_str(column->name), own);
    if (strcmp(own, folded) == 0 && column->type != TRB_COL_REF && column->type != TRB_COL_BLOB) return column;
  }
  return NULL;
}

/* A rule that is there already takes a further column when its target can hold several values (contacts). */
static bool guess_extend(struct mapping *mapping, const char *target, const char *name) {
  for (size_t i = 0; i < mapping->rule_count; i++) {
    struct mapping_rule *rule = &mapping->rule[i];
    size_t table_len = strlen(rule->table->name);
    const char *own = rule->column ? rule->column->name : rule->kind;
    if (strncmp(target, rule->table->name, table_len) != 0 || strcmp(target + table_len + 1, own) != 0) continue;
    if (rule->kind && rule->count < MAPPING_PIECES_MAX)
      rule->piece[rule->count++] = (struct mapping_piece){.text = name, .column = SIZE_MAX};
    return true;
  }
  return false;
}

static enum trb_status guess_add(struct mapping *mapping, const struct trb_catalogue *catalogue, const char *target,
                                 const char *lookup, const char *right, struct trb_error *err) {
  TRB_BUF_AUTO line = {0};
  const char *name = trb_arena_str(&mapping->arena, trb_slice_str(right));
  if (!name) return trb_fail(err, TRB_NOMEM, "no memory for the mapping");
  if (guess_extend(mapping, target, name)) return TRB_OK;
  bool quoted = *right == '"' || strchr(right, '`'); /* a constant, or names in backquotes already */
  trb_buf_printf(&line, quoted ? "%s = %s%s" : "%s = %s`%s`", target, lookup, right);
  if (line.failed) return trb_fail(err, TRB_NOMEM, "no memory for the mapping");
  return mapping_line(mapping, catalogue, trb_buf_slice(&line), err);
}

static const char *guess_lookup(const char *target) {
  size_t len = strlen(target);
  if (len > 12 && strcmp(target + len - 12, ".customer_id") == 0) return "@customer.external_ref:";
  if (len > 11 && strcmp(target + len - 11, ".booking_id") == 0) return "@booking.external_ref:";
  return "";
}

static enum trb_status guess_header(struct mapping *mapping, const struct trb_catalogue *catalogue,
                                    const struct trb_table *main, struct trb_slice header, struct trb_error *err) {
  char folded[MAPPING_NAME_BYTES], target[128], name[MAPPING_NAME_BYTES];
  guess_fold(header, folded);
  if (!folded[0] || header.len >= sizeof name || memchr(header.data, '`', header.len)) return TRB_OK;
  memcpy(name, header.data, header.len);
  name[header.len] = '\0';
  const char *named = guess_named(main, folded, false);
  if (!named && (named = guess_named(main, folded, true)))
    return guess_add(mapping, catalogue, named, guess_lookup(named), name, err);
  const struct trb_column *column = named ? NULL : guess_column(main, folded);
  if (!named && !column) {
    drop_number(folded);
    named = guess_named(main, folded, false);
    if (named && strncmp(named, "contact.", 8) != 0) named = NULL; /* Address 2 is another address, not this one */
  }
  if (!named && !column) return TRB_OK;
  if (column) {
    size_t len = strlen(main->name);
    if (len + 1 + strlen(column->name) >= sizeof target) return TRB_OK;
    memcpy(target, main->name, len);
    target[len] = '.';
    strcpy(target + len + 1, column->name);
  }
  return guess_add(mapping, catalogue, named ? named : target, "", name, err);
}

/* Given name and surname in two columns; the surname stands first where it does in Chinese headers. */
static enum trb_status guess_two_names(struct mapping *mapping, const struct trb_catalogue *catalogue,
                                       const struct trb_slice *header, size_t count, struct trb_error *err) {
  TRB_BUF_AUTO right = {0};
  struct trb_slice given = {0}, surname = {0};
  bool chinese = false;
  for (size_t i = 0; i < count; i++) {
    char folded[MAPPING_NAME_BYTES], bar[MAPPING_NAME_BYTES + 2] = "|";
    mapping_name_fold(header[i], folded);
    strcat(strcat(bar, folded), "|");
    if (strstr("|givenname|firstname|forename|名|", bar)) given = header[i];
    if (strstr("|surname|lastname|familyname|姓|姓氏|", bar)) surname = header[i];
    chinese = chinese || strcmp(folded, "姓") == 0 || strcmp(folded, "姓氏") == 0;
  }
  if (!given.len || !surname.len) return TRB_OK;
  struct trb_slice first = chinese ? surname : given, second = chinese ? given : surname;
  trb_buf_printf(&right, "`%.*s` + `%.*s`", (int)first.len, (const char *)first.data, (int)second.len,
                 (const char *)second.data);
  return guess_add(mapping, catalogue, "customer.name", "", trb_buf_cstr(&right), err);
}

static bool guess_has(const struct mapping *mapping, const char *target, const struct mapping_rule **ret) {
  for (size_t i = 0; i < mapping->rule_count; i++) {
    const struct mapping_rule *rule = &mapping->rule[i];
    char own[128];
    size_t len = strlen(rule->table->name), rest = strlen(rule->column ? rule->column->name : rule->kind);
    if (len + rest + 2 > sizeof own) continue;
    memcpy(own, rule->table->name, len);
    own[len] = '.';
    memcpy(own + len + 1, rule->column ? rule->column->name : rule->kind, rest + 1);
    if (strcmp(own, target) != 0) continue;
    if (ret) *ret = rule;
    return true;
  }
  return false;
}

/* What the tables require and headers do not say. */
static enum trb_status guess_complete(struct mapping *mapping, const struct trb_catalogue *catalogue,
                                      const struct trb_table *main, struct trb_error *err) {
  const struct mapping_rule *ordered = NULL;
  enum trb_status status = TRB_OK;
  if (!mapping->rule_count) return TRB_OK; /* nothing was recognised: constants alone are no mapping */
  if (main->number == TRB_T_customer && !guess_has(mapping, "customer.kind", NULL))
    status = guess_add(mapping, catalogue, "customer.kind", "", "\"person\"", err);
  if (!status && guess_has(mapping, "payment.amount", NULL) && !guess_has(mapping, "payment.kind", NULL))
    status = guess_add(mapping, catalogue, "payment.kind", "", "\"received\"", err);
  if (!status && guess_has(mapping, "booking_event.kind", NULL) && guess_has(mapping, "booking.ordered_on", &ordered))
    status = guess_add(mapping, catalogue, "booking_event.at", "", ordered->piece[0].text, err);
  return status;
}

const struct trb_table *mapping_guess_table(const struct trb_catalogue *catalogue, const struct trb_slice *header,
                                            size_t count) {
  const struct trb_table *best = catalogue_table(catalogue, TRB_T_customer);
  size_t best_score = 0;
  for (size_t i = 0; i < sizeof guess_tables / sizeof *guess_tables; i++) {
    const struct trb_table *table = catalogue_table(catalogue, guess_tables[i].table);
    size_t score = 0;
    for (size_t k = 0; k < count; k++) {
      char folded[MAPPING_NAME_BYTES];
      guess_fold(header[k], folded);
      if (folded[0] &&
          (guess_named(table, folded, false) || guess_named(table, folded, true) || guess_column(table, folded)))
        score++;
    }
    if (score > best_score) {
      best = table;
      best_score = score;
    }
  }
  return best;
}

enum trb_status mapping_guess(struct mapping *mapping, const struct trb_catalogue *catalogue,
                              const struct trb_table *main, const struct trb_slice *header, size_t count,
                              struct trb_error *err) {
  enum trb_status status = TRB_OK;
  for (size_t i = 0; !status && i < count; i++) status = guess_header(mapping, catalogue, main, header[i], err);
  if (!status && main->number == TRB_T_customer) status = guess_two_names(mapping, catalogue, header, count, err);
  return status ? status : guess_complete(mapping, catalogue, main, err);
}
