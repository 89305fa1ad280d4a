/* golden: see golden.h. Survivorship of fields; contacts and numbers are in golden_contacts.c. */
#include "golden.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "tributary/times.h"

static const struct {
  const char *name;
  enum golden_rule rule;
} RULE_NAMES[] = {
    {"recent", GOLDEN_RECENT},     {"trusted_site", GOLDEN_TRUSTED_SITE},
    {"verified", GOLDEN_VERIFIED}, {"frequent", GOLDEN_FREQUENT},
    {"longest", GOLDEN_LONGEST},   {"earliest", GOLDEN_EARLIEST},
    {"latest", GOLDEN_LATEST},     {"union", GOLDEN_UNION},
    {"sum", GOLDEN_SUM},
};

static bool slice_is(struct trb_slice s, const char *text) { return trb_slice_equal(s, trb_slice_str(text)); }

static bool rule_named(struct trb_slice name, enum golden_rule *ret) {
  for (size_t i = 0; i < sizeof RULE_NAMES / sizeof *RULE_NAMES; i++)
    if (slice_is(name, RULE_NAMES[i].name)) {
      *ret = RULE_NAMES[i].rule;
      return true;
    }
  return false;
}

/* ---- policy ---- */

static int compare_policy_rows(const void *a, const void *b) {
  const struct golden_policy_row *x = a, *y = b;
  if (x->position != y->position) return x->position < y->position ? -1 : 1;
  int c = trb_slice_compare(x->rule, y->rule);
  return c ? c : trb_slice_compare(x->sites, y->sites);
}

static struct trb_slice next_item(struct trb_slice *rest) { /* comma separated, spaces trimmed */
  const uint8_t *comma = rest->len ? memchr(rest->data, ',', rest->len) : NULL;
  struct trb_slice item = {rest->data, comma ? (size_t)(comma - rest->data) : rest->len};
  size_t used = item.len + (comma ? 1 : 0);
  rest->data += used;
  rest->len -= used;
  while (item.len && item.data[0] == ' ') item.data++, item.len--;
  while (item.len && item.data[item.len - 1] == ' ') item.len--;
  return item;
}

static bool add_trust(struct golden_policy *policy, const struct golden_policy_row *row,
                      struct golden_field_policy *field) {
  struct golden_site_trust *all = trb_arena_alloc(&policy->arena, GOLDEN_SITES_MAX * sizeof *all);
  if (!all) return false;
  if (field->trust_count) memcpy(all, field->trust, field->trust_count * sizeof *all);
  bool ok = true;
  struct trb_slice rest = row->sites;
  for (int64_t place = 0; rest.len && field->trust_count < GOLDEN_SITES_MAX; place++) {
    struct trb_slice site = next_item(&rest);
    if (!site.len) continue;
    all[field->trust_count].site = trb_arena_copy(&policy->arena, site, &ok);
    all[field->trust_count++].weight = row->has_trust ? row->trust : GOLDEN_SITES_MAX - place;
  }
  field->trust = all;
  return ok;
}

static bool apply_policy(struct golden_policy *policy, const struct golden_policy_row *rows, size_t count,
                         const char *field_name, struct golden_field_policy *field) {
  bool fresh = true, ok = true;
  for (size_t i = 0; ok && i < count; i++) {
    enum golden_rule rule;
    if (!slice_is(rows[i].field, field_name)) continue;
    if (fresh) *field = (struct golden_field_policy){.hq_wins = true};
    fresh = false;
    if (rows[i].hq_loses) field->hq_wins = false;
    if (!rule_named(rows[i].rule, &rule) || field->rule_count == GOLDEN_RULES_MAX) continue;
    field->rules[field->rule_count++] = rule;
    if (rule == GOLDEN_TRUSTED_SITE && rows[i].sites.len) ok = add_trust(policy, &rows[i], field);
  }
  return ok;
}

static struct golden_field_policy built_in(uint16_t column) {
  struct golden_field_policy field = {.hq_wins = true, .rule_count = 1, .rules = {GOLDEN_RECENT}};
  if (column == TRB_C_customer_keywords) field.rules[0] = GOLDEN_UNION;
  if (column == TRB_C_customer_name || column == TRB_C_customer_name_latin || column == TRB_C_customer_name_english) {
    field.rules[0] = GOLDEN_VERIFIED;
    field.rules[field.rule_count++] = GOLDEN_RECENT;
  }
  return field;
}

enum trb_status golden_policy_init(struct golden_policy *policy, const struct golden_policy_row *rows, size_t count,
                                   struct trb_error *err) {
  *policy = (struct golden_policy){0};
  struct trb_catalogue *catalogue = catalogue_builtin();
  const struct trb_table *customer = catalogue_table(catalogue, TRB_T_customer);
  struct golden_policy_row *sorted = count ? malloc(count * sizeof *sorted) : NULL;
  bool ok = !count || sorted;
  if (sorted) {
    memcpy(sorted, rows, count * sizeof *sorted);
    qsort(sorted, count, sizeof *sorted, compare_policy_rows);
  }
  for (size_t i = 0; i < GOLDEN_FIELDS; i++) {
    uint16_t column = (uint16_t)(GOLDEN_FIELD_FIRST + i);
    policy->field[i] = built_in(column);
    if (ok && sorted) ok = apply_policy(policy, sorted, count, "*", &policy->field[i]);
    if (ok && sorted) ok = apply_policy(policy, sorted, count, table_column(customer, column)->name, &policy->field[i]);
  }
  free(sorted);
  catalogue_unref(&catalogue);
  if (ok) return TRB_OK;
  golden_policy_done(policy);
  return trb_fail(err, TRB_NOMEM, "out of memory");
}

void golden_policy_done(struct golden_policy *policy) { trb_arena_free(&policy->arena); }

/* ---- values ---- */

static bool is_empty(struct trb_value v) {
  return v.type == TRB_NULL || ((v.type == TRB_TEXT || v.type == TRB_BLOB) && v.s.len == 0);
}

static int compare_reals(double a, double b) { return a < b ? -1 : a > b; }

/* A total order over content: numbers by size, texts by bytes, numbers before texts. */
static int compare_values(struct trb_value a, struct trb_value b) {
  bool na = a.type == TRB_INT || a.type == TRB_REAL, nb = b.type == TRB_INT || b.type == TRB_REAL;
  if (na != nb) return na ? -1 : 1;
  if (!na) return trb_slice_compare(a.s, b.s);
  if (a.type == TRB_INT && b.type == TRB_INT) return a.i < b.i ? -1 : a.i > b.i;
  int c = compare_reals(a.type == TRB_INT ? (double)a.i : a.r, b.type == TRB_INT ? (double)b.i : b.r);
  return c ? c : (int)a.type - (int)b.type;
}

struct contest { /* one field */
  const struct golden_field_policy *policy;
  const struct golden_member *members;
  size_t count, field;
};

static struct trb_value value_of(const struct contest *c, size_t m) { return c->members[m].values[c->field]; }
static trb_hlc time_of(const struct contest *c, size_t m) {
  return times_get(c->members[m].times, (uint16_t)(GOLDEN_FIELD_FIRST + c->field));
}

static int64_t trust_of(const struct contest *c, size_t m) {
  for (size_t i = 0; i < c->policy->trust_count; i++)
    if (trb_slice_equal(c->policy->trust[i].site, c->members[m].site)) return c->policy->trust[i].weight;
  return 0;
}

static size_t agreeing(const struct contest *c, size_t m) {
  size_t n = 0;
  for (size_t i = 0; i < c->count; i++)
    if (compare_values(value_of(c, i), value_of(c, m)) == 0) n++;
  return n;
}

static int sign(bool less, bool more) { return more - less; }

/* Greater is better. */
static int judge(const struct contest *c, enum golden_rule rule, size_t a, size_t b) {
  switch (rule) {
    case GOLDEN_TRUSTED_SITE: return sign(trust_of(c, a) < trust_of(c, b), trust_of(c, a) > trust_of(c, b));
    case GOLDEN_VERIFIED: return (int)c->members[a].verified - (int)c->members[b].verified;
    case GOLDEN_RECENT: return sign(time_of(c, a) < time_of(c, b), time_of(c, a) > time_of(c, b));
    case GOLDEN_FREQUENT: {
      size_t x = agreeing(c, a), y = agreeing(c, b);
      return sign(x<y, x> y);
    }
    case GOLDEN_LONGEST: {
      size_t x = value_of(c, a).type == TRB_TEXT ? value_of(c, a).s.len : 0;
      size_t y = value_of(c, b).type == TRB_TEXT ? value_of(c, b).s.len : 0;
      return sign(x<y, x> y);
    }
    case GOLDEN_EARLIEST: return compare_values(value_of(c, b), value_of(c, a));
    case GOLDEN_LATEST: return compare_values(value_of(c, a), value_of(c, b));
    case GOLDEN_UNION:
    case GOLDEN_SUM: return 0;
  }
  return 0;
}

static bool beats(const struct contest *c, size_t a, size_t b) {
  int better = c->policy->hq_wins ? (int)c->members[a].hq - (int)c->members[b].hq : 0;
  for (size_t i = 0; !better && i < c->policy->rule_count; i++) better = judge(c, c->policy->rules[i], a, b);
  if (!better) better = judge(c, GOLDEN_RECENT, a, b);
  if (!better) better = compare_values(value_of(c, a), value_of(c, b));
  if (!better) better = party_stamp_before(c->members[a].stamp, c->members[b].stamp) ? 1 : -1;
  return better > 0;
}

static int by_bytes(const void *a, const void *b) {
  return trb_slice_compare(*(const struct trb_slice *)a, *(const struct trb_slice *)b);
}

#define UNION_ITEMS_MAX 256 /* words kept of a union field */

static bool union_of(const struct contest *c, struct trb_arena *arena, struct trb_value *ret) {
  struct trb_slice item[UNION_ITEMS_MAX * 2];
  size_t n = 0;
  for (size_t m = 0; m < c->count; m++) {
    struct trb_value v = value_of(c, m);
    for (struct trb_slice rest = v.type == TRB_TEXT ? v.s : (struct trb_slice){0}; rest.len;) {
      struct trb_slice word = next_item(&rest);
      if (word.len) item[n++] = word;
      if (n < UNION_ITEMS_MAX * 2) continue;
      /* Keep the smallest distinct ones: the same whatever the order of arrival. */
      qsort(item, n, sizeof *item, by_bytes);
      size_t kept = 0;
      for (size_t i = 0; i < n; i++)
        if (!kept || !trb_slice_equal(item[kept - 1], item[i])) item[kept++] = item[i];
      n = kept < UNION_ITEMS_MAX ? kept : UNION_ITEMS_MAX;
    }
  }
  qsort(item, n, sizeof *item, by_bytes);
  size_t max = 1024, used = 0; /* the column's limit */
  uint8_t *text = trb_arena_alloc(arena, max);
  if (!text) return false;
  size_t taken = 0;
  for (size_t i = 0; i < n && taken < UNION_ITEMS_MAX; i++) {
    if (i && trb_slice_equal(item[i - 1], item[i])) continue;
    if (used + item[i].len + 1 > max) break;
    if (used) text[used++] = ',';
    memcpy(text + used, item[i].data, item[i].len);
    used += item[i].len;
    taken++;
  }
  *ret = used ? trb_text_slice((struct trb_slice){text, used}) : trb_null();
  return true;
}

static struct trb_value sum_of(const struct contest *c) {
  int64_t whole = 0, cents = 0;
  bool any = false, real = false;
  for (size_t m = 0; m < c->count; m++) {
    struct trb_value v = value_of(c, m);
    if (v.type == TRB_INT) whole += v.i;
    if (v.type == TRB_REAL) cents += golden_cents(v.r);
    real = real || v.type == TRB_REAL;
    any = any || v.type == TRB_INT || v.type == TRB_REAL;
  }
  if (!any) return trb_null();
  return real ? trb_real((double)whole + (double)cents / 100.0) : trb_int(whole);
}

static bool has_rule(const struct golden_field_policy *policy, enum golden_rule rule) {
  for (size_t i = 0; i < policy->rule_count; i++)
    if (policy->rules[i] == rule) return true;
  return false;
}

enum trb_status golden_fields(const struct golden_policy *policy, const struct golden_member *members, size_t count,
                              struct trb_arena *arena, struct golden_field ret[GOLDEN_FIELDS], struct trb_error *err) {
  for (size_t f = 0; f < GOLDEN_FIELDS; f++) {
    struct contest c = {&policy->field[f], members, count, f};
    size_t best = SIZE_MAX;
    for (size_t m = 0; m < count; m++)
      if (!is_empty(value_of(&c, m)) && (best == SIZE_MAX || beats(&c, m, best))) best = m;
    ret[f] = (struct golden_field){.value = trb_null(), .member = best};
    if (best == SIZE_MAX) continue;
    ret[f].value = value_of(&c, best);
    ret[f].time = time_of(&c, best);
    bool hq_decides = c.policy->hq_wins && members[best].hq;
    if (hq_decides) continue;
    if (has_rule(c.policy, GOLDEN_UNION) && !union_of(&c, arena, &ret[f].value))
      return trb_fail(err, TRB_NOMEM, "out of memory");
    if (has_rule(c.policy, GOLDEN_SUM) && sum_of(&c).type != TRB_NULL) ret[f].value = sum_of(&c);
  }
  return TRB_OK;
}

/* ---- provenance ---- */

void golden_json_text(struct trb_slice text, struct trb_buf *out) {
  size_t plain = 0; /* start of what needs no escape */
  trb_buf_append_byte(out, '"');
  for (size_t i = 0; i < text.len; i++) {
    uint8_t b = text.data[i];
    if (b >= 0x20 && b != '"' && b != '\\') continue;
    trb_buf_append(out, text.data + plain, i - plain);
    plain = i + 1;
    if (b < 0x20)
      trb_buf_printf(out, "\\u%04x", b);
    else
      trb_buf_append(out, (uint8_t[]){'\\', b}, 2);
  }
  if (plain < text.len) trb_buf_append(out, text.data + plain, text.len - plain);
  trb_buf_append_byte(out, '"');
}

static void provenance_entry(const char *field, const struct golden_member *m, trb_hlc time, struct trb_buf *out) {
  char number[24];
  trb_buf_append_str(out, out->len ? ",\"" : "{\"");
  trb_buf_append_str(out, field);
  trb_buf_append_str(out, "\":[\"");
  trb_buf_append_slice(out, m->site);
  trb_buf_append_str(out, "\",");
  golden_json_text(m->id, out);
  snprintf(number, sizeof number, ",%lld]", (long long)trb_hlc_ms(time));
  trb_buf_append_str(out, number);
}

void golden_provenance(const struct trb_table *customer, const struct golden_member *members,
                       const struct golden_field *fields, struct trb_buf *out) {
  const struct golden_field *rest = NULL; /* what most cards have throughout: one row, written at once */
  for (size_t f = 0; f < GOLDEN_FIELDS; f++) {
    if (fields[f].member == SIZE_MAX) continue;
    if (rest && rest->member == fields[f].member && trb_hlc_ms(rest->time) == trb_hlc_ms(fields[f].time)) continue;
    const struct trb_column *column = table_column(customer, (uint16_t)(GOLDEN_FIELD_FIRST + f));
    provenance_entry(rest ? column->name : "*", &members[fields[f].member], fields[f].time, out);
    if (!rest) rest = &fields[f];
  }
  trb_buf_append_str(out, rest ? "}" : "{}");
}

int64_t golden_cents(double amount) {
  if (!(fabs(amount) < 9e13)) return 0; /* beyond any money; also NaN */
  return (int64_t)llround(amount * 100.0);
}

const char *golden_state(int64_t bookings, bool touched) {
  if (bookings >= GOLDEN_LOYAL_BOOKINGS) return "loyal";
  if (bookings >= 2) return "repeat";
  if (bookings == 1) return "first_time";
  return touched ? "potential" : "non_customer";
}
