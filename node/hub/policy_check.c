/* policy_check: see policy_check.h. */
#include "policy_check.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "golden.h"
#include "policy.h"

enum meaning {
  WORDS, /* one of `words` */
  RANGE, /* min to max */
  FIELD, /* a golden field of a customer, or * */
  TABLE, /* the name of a table */
  SITES, /* names of sites, comma separated */
  JSON,
  GIVEN, /* must not be empty */
};
struct rule {
  uint16_t table, column;
  enum meaning meaning;
  const char *words;
  double min, max;
};

#define COUNT_MAX 1e9
#define MONEY_MAX 1e15

static const struct rule RULES[] = {
    {TRB_T_identity_policy, TRB_C_identity_policy_kind, GIVEN, NULL, 0, 0},
    {TRB_T_identity_policy, TRB_C_identity_policy_strength, WORDS, "strong normal weak none", 0, 0},
    {TRB_T_identity_policy, TRB_C_identity_policy_exclusive, RANGE, NULL, 0, 1},
    {TRB_T_identity_policy, TRB_C_identity_policy_people_limit, RANGE, NULL, 1, 1e6},
    {TRB_T_identity_policy, TRB_C_identity_policy_normaliser, WORDS, "phone email national_id passport plain", 0, 0},
    {TRB_T_identity_policy, TRB_C_identity_policy_parameter, JSON, NULL, 0, 0},
    {TRB_T_identity_policy, TRB_C_identity_policy_enabled, RANGE, NULL, 0, 1},
    {TRB_T_survivorship_policy, TRB_C_survivorship_policy_field, GIVEN, NULL, 0, 0},
    {TRB_T_survivorship_policy, TRB_C_survivorship_policy_field, FIELD, NULL, 0, 0},
    {TRB_T_survivorship_policy, TRB_C_survivorship_policy_rule, GIVEN, NULL, 0, 0},
    {TRB_T_survivorship_policy, TRB_C_survivorship_policy_rule, WORDS,
     "trusted_site verified recent frequent longest earliest latest union sum", 0, 0},
    {TRB_T_survivorship_policy, TRB_C_survivorship_policy_position, RANGE, NULL, 0, 1e6},
    {TRB_T_survivorship_policy, TRB_C_survivorship_policy_sites, SITES, NULL, 0, 0},
    {TRB_T_survivorship_policy, TRB_C_survivorship_policy_trust, RANGE, NULL, -1e6, 1e6},
    {TRB_T_survivorship_policy, TRB_C_survivorship_policy_hq_wins, RANGE, NULL, 0, 1},
    {TRB_T_survivorship_policy, TRB_C_survivorship_policy_parameter, JSON, NULL, 0, 0},
    {TRB_T_visibility_policy, TRB_C_visibility_policy_scope, WORDS, "own company franchise", 0, 0},
    {TRB_T_visibility_policy, TRB_C_visibility_policy_table_name, TABLE, NULL, 0, 0},
    {TRB_T_visibility_policy, TRB_C_visibility_policy_rule, GIVEN, NULL, 0, 0},
    {TRB_T_visibility_policy, TRB_C_visibility_policy_rule, WORDS, "show mask hide", 0, 0},
    {TRB_T_visibility_policy, TRB_C_visibility_policy_sites, SITES, NULL, 0, 0},
    {TRB_T_visibility_policy, TRB_C_visibility_policy_unmask_by, WORDS, "booking verified_contact never", 0, 0},
    {TRB_T_visibility_policy, TRB_C_visibility_policy_position, RANGE, NULL, 0, 1e6},
    {TRB_T_grade_rule, TRB_C_grade_rule_grade, GIVEN, NULL, 0, 0},
    {TRB_T_grade_rule, TRB_C_grade_rule_rank, RANGE, NULL, 0, 1e6},
    {TRB_T_grade_rule, TRB_C_grade_rule_spent_min, RANGE, NULL, 0, MONEY_MAX},
    {TRB_T_grade_rule, TRB_C_grade_rule_bookings_min, RANGE, NULL, 0, COUNT_MAX},
    {TRB_T_grade_rule, TRB_C_grade_rule_points_min, RANGE, NULL, 0, COUNT_MAX},
    {TRB_T_grade_rule, TRB_C_grade_rule_period_days, RANGE, NULL, 1, 36600},
    {TRB_T_grade_rule, TRB_C_grade_rule_kind, WORDS, "person organisation", 0, 0},
    {TRB_T_points_rule, TRB_C_points_rule_points_per_unit, RANGE, NULL, 0, 1e6},
    {TRB_T_points_rule, TRB_C_points_rule_expires_days, RANGE, NULL, 1, 36600},
    {TRB_T_points_rule, TRB_C_points_rule_redeem_value, RANGE, NULL, 0, 1e6},
    {TRB_T_points_allowance, TRB_C_points_allowance_points, RANGE, NULL, 0, COUNT_MAX},
    {TRB_T_points_allowance, TRB_C_points_allowance_state, WORDS, "granted returned expired", 0, 0},
    {TRB_T_staff, TRB_C_staff_state, WORDS, "active left", 0, 0},
    {TRB_T_product, TRB_C_product_days, RANGE, NULL, 0, 36600},
    {TRB_T_product, TRB_C_product_price, RANGE, NULL, 0, MONEY_MAX},
    {TRB_T_product, TRB_C_product_cost, RANGE, NULL, 0, MONEY_MAX},
    {TRB_T_product, TRB_C_product_state, WORDS, "on_sale paused ended", 0, 0},
    {TRB_T_departure, TRB_C_departure_seats, RANGE, NULL, 0, 1e6},
    {TRB_T_departure, TRB_C_departure_price, RANGE, NULL, 0, MONEY_MAX},
    {TRB_T_departure, TRB_C_departure_state, WORDS, "planned confirmed full gone cancelled", 0, 0},
    {TRB_T_tag, TRB_C_tag_state, WORDS, "active retired", 0, 0},
    {TRB_T_campaign, TRB_C_campaign_kind, WORDS, "marketing care survey", 0, 0},
    {TRB_T_campaign, TRB_C_campaign_segment, JSON, NULL, 0, 0},
    {TRB_T_campaign, TRB_C_campaign_state, WORDS, "planned running ended", 0, 0},
    {TRB_T_campaign, TRB_C_campaign_sites, SITES, NULL, 0, 0},
    {TRB_T_knowledge_article, TRB_C_knowledge_article_state, WORDS, "draft published retired", 0, 0},
    {TRB_T_notice, TRB_C_notice_priority, WORDS, "low normal high urgent", 0, 0},
    {TRB_T_notice, TRB_C_notice_sites, SITES, NULL, 0, 0},
    {TRB_T_custom_table, TRB_C_custom_table_branch_writes, RANGE, NULL, 0, 1},
    {TRB_T_custom_column, TRB_C_custom_column_max_bytes, RANGE, NULL, 1, TRB_ROW_BYTES_MAX},
    {TRB_T_custom_column, TRB_C_custom_column_sensitive, RANGE, NULL, 0, 1},
};

static bool is_word(struct trb_slice text, const char *words) {
  for (const char *at = words; *at;) {
    size_t len = strcspn(at, " ");
    if (text.len == len && memcmp(at, text.data, len) == 0) return true;
    at += len + (at[len] == ' ');
  }
  return false;
}

static bool are_sites(struct trb_slice text) {
  size_t count = 0;
  for (size_t i = 0; i < text.len;) {
    while (i < text.len && (text.data[i] == ' ' || text.data[i] == ',')) i++;
    size_t from = i;
    while (i < text.len && text.data[i] != ' ' && text.data[i] != ',') i++;
    if (i == from) break;
    if (!trb_site_valid(trb_slice_of(text.data + from, i - from))) return false;
    count++;
  }
  return count > 0; /* none at all would mean everybody */
}

static bool is_field(struct trb_slice text) {
  char name[64];
  if (trb_slice_equal(text, trb_slice_str("*"))) return true;
  if (text.len >= sizeof name) return false;
  memcpy(name, text.data, text.len);
  name[text.len] = 0;
  struct trb_catalogue *builtin = catalogue_builtin();
  const struct trb_column *column = table_column_named(catalogue_table(builtin, TRB_T_customer), name);
  bool is = column && column->number >= GOLDEN_FIELD_FIRST && column->number <= GOLDEN_FIELD_LAST;
  catalogue_unref(&builtin);
  return is;
}

static bool is_table(const struct trb_catalogue *catalogue, struct trb_slice text) {
  for (size_t i = 0; i < catalogue_count(catalogue); i++)
    if (trb_slice_equal(text, trb_slice_str(catalogue_at(catalogue, i)->name))) return true;
  return false;
}

static bool in_range(struct trb_value value, double min, double max) {
  double number = value.type == TRB_INT ? (double)value.i : value.type == TRB_REAL ? value.r : NAN;
  return number >= min && number <= max;
}

static enum trb_status refuse(const struct rule *rule, const struct trb_table *table, struct trb_error *err) {
  const char *column = table_column(table, rule->column)->name;
  switch (rule->meaning) {
    case WORDS: return trb_fail(err, TRB_PEER, "%s is one of: %s", column, rule->words);
    case RANGE: return trb_fail(err, TRB_PEER, "%s is from %.15g to %.15g", column, rule->min, rule->max);
    case FIELD: return trb_fail(err, TRB_PEER, "%s is * or a field of unified_customer, such as name", column);
    case TABLE: return trb_fail(err, TRB_PEER, "%s is the name of a table: tributary schema lists them", column);
    case SITES: return trb_fail(err, TRB_PEER, "%s is names of sites, comma separated, or null for all", column);
    case JSON: return trb_fail(err, TRB_PEER, "%s is a text of JSON", column);
    case GIVEN: break;
  }
  return trb_fail(err, TRB_PEER, "%s is missing", column);
}

static bool holds(const struct rule *rule, const struct trb_catalogue *catalogue, struct trb_value value) {
  bool text = value.type == TRB_TEXT;
  if (value.type == TRB_NULL) return rule->meaning != GIVEN;
  switch (rule->meaning) {
    case WORDS: return text && is_word(value.s, rule->words);
    case RANGE: return in_range(value, rule->min, rule->max);
    case FIELD: return text && is_field(value.s);
    case TABLE: return text && is_table(catalogue, value.s);
    case SITES: return text && are_sites(value.s);
    case JSON: return text && policy_is_json(value.s);
    case GIVEN: break;
  }
  return text && value.s.len > 0;
}

enum trb_status policy_check_row(const struct trb_catalogue *catalogue, const struct trb_table *table,
                                 const struct trb_change *change, struct trb_error *err) {
  for (size_t i = 0; i < sizeof RULES / sizeof *RULES; i++) {
    struct trb_value value = trb_null();
    if (RULES[i].table != table->number) continue;
    for (size_t c = 0; c < change->cell_count; c++)
      if (change->cells[c].column == RULES[i].column) value = change->cells[c].value;
    if (!holds(&RULES[i], catalogue, value)) return refuse(&RULES[i], table, err);
  }
  return TRB_OK;
}

/* ---- settings ---- */

static const struct {
  const char *name;
  int64_t min, max;
} SETTINGS[] = {
    {"backup_stale_hours", 0, 8784},           {"branch_silent_hours", 0, 8784},
    {"clock_off_seconds", 0, 366 * 86400},     {"disk_min_mib", 0, (int64_t)1 << 40},
    {"history_rows_max", 0, (int64_t)1 << 40}, {"mass_delete_min", 0, (int64_t)1 << 40},
};

enum trb_status policy_check_setting(const char *name, const char *value, struct trb_error *err) {
  char names[256] = "";
  if (strcmp(name, "name") == 0)
    return value[0] && strlen(value) <= 128 ? TRB_OK : trb_fail(err, TRB_PEER, "name is a text of at most 128 bytes");
  for (size_t i = 0; i < sizeof SETTINGS / sizeof *SETTINGS; i++) {
    size_t len = strlen(names);
    snprintf(names + len, sizeof names - len, ", %s", SETTINGS[i].name);
    if (strcmp(name, SETTINGS[i].name) != 0) continue;
    char *end;
    size_t digits = strlen(value);
    long long number = strtoll(value, &end, 10);
    if (digits && digits <= 18 && strspn(value, "-0123456789") == digits && !*end && number >= SETTINGS[i].min &&
        number <= SETTINGS[i].max)
      return TRB_OK;
    return trb_fail(err, TRB_PEER, "%s is a whole number from %lld to %lld", name, (long long)SETTINGS[i].min,
                    (long long)SETTINGS[i].max);
  }
  return trb_fail(err, TRB_PEER, "there is no setting '%.40s'; there are: name%s", name, names);
}
