/* The unified view over a real SQLite: parties, golden rows and what branches are told, row by row and as properties of
 * random histories. */
#include "unify_fixture.h"

static void two_branches_with_one_mobile_are_one_party(void **state) {
  (void)state;
  struct fx fx;
  fx_open(&fx);
  fx_customer(&fx, 2, "C001", "张三", "139 1111 2222");
  fx_customer(&fx, 3, "C001", "张三", "＋86 13911112222");
  fx_customer(&fx, 4, "C001", "李四", "13922223333");
  assert_string_equal(fx_party(&fx, "bj", "C001"), "sh/C001");
  assert_string_equal(fx_party(&fx, "gz", "C001"), "gz/C001");
  assert_int_equal(fx_int(&fx, "SELECT count(*) FROM unified_customer"), 2);
  assert_string_equal(fx_text(&fx, "SELECT sites FROM unified_customer WHERE id = 'sh/C001'"), "bj,sh");
  assert_string_equal(fx_text(&fx, "SELECT main_mobile FROM unified_customer WHERE id = 'gz/C001'"), "13922223333");
  fx_close(&fx);
}

static void test_pulls(void **state) {
  (void)state;
  struct fx fx;
  fx_open(&fx);
  fx_customer(&fx, 2, "C001", "张三", "13911112222");
  assert_true(fx_pull(&fx, 2) > 0);
  assert_string_equal(fx_cell_of(&fx, 2, "unified_customer", "sh/C001", "name"), "张三");
  assert_string_equal(fx_cell_of(&fx, 2, "party_of", "C001", "party_id"), "sh/C001");
  assert_string_equal(fx_cell_of(&fx, 2, "unified_contact", "sh/C001-m", "value"), "13911112222");
  assert_int_equal(fx_pull(&fx, 3), 0);
  fx_check_replica(&fx, 2);
  fx_check_replica(&fx, 3);
  fx_close(&fx);
}

/* ---- random histories ---- */

enum { STEPS = 45, SITES = 3 };
static unsigned fx_seed;
static unsigned roll(unsigned n) {
  fx_seed = fx_seed * 1103515245u + 12345u;
  return (fx_seed >> 16) % n;
}

static const char *const NAMES[] = {"张三", "李四", "ZHANG/SAN", "王 五", "O'Brien \"x\"", "x"};
static const char *const PHONES[] = {"13911112222",  "+86 139 1111 2222",         "13922223333",
                                     "021-64281234", "13922223333 / 13933334444", "l3911112222",
                                     "13933334444"};
static const char *const MAILS[] = {"li@example.com", "LI@EXAMPLE.COM", "info@example.com", "wang@example.cn"};

static char *word(struct trb_arena *arena, const char *prefix, unsigned a) {
  char text[32];
  snprintf(text, sizeof text, "%s%u", prefix, a);
  return trb_arena_str(arena, trb_slice_str(text));
}

static void cell(struct fx_change *c, const char *column, struct trb_value value) {
  c->cells[c->count++] = (struct fx_cell){column, value};
}
static struct trb_value maybe_customer(struct trb_arena *arena) {
  return roll(12) == 0 ? trb_null() : trb_text(word(arena, "C", roll(4)));
}

static void random_customer(struct fx_change *c, struct trb_arena *arena) {
  c->table = "customer";
  c->id = word(arena, "C", roll(4));
  cell(c, "kind", trb_text(roll(6) ? "person" : "organisation"));
  if (roll(5)) cell(c, "name", trb_text(NAMES[roll(6)]));
  if (roll(2)) cell(c, "birthday", trb_text(roll(2) ? "1980-01-02" : "1990"));
  if (roll(3) == 0) cell(c, "keywords", trb_text(roll(2) ? "vip, golf" : "golf,sea"));
  if (roll(4) == 0) cell(c, "tax_no", trb_text("91310000MA1FL1234X"));
  if (roll(3) == 0) cell(c, "address", trb_text(roll(2) ? "南京路 1" : "中山路 2"));
}
static void random_contact(struct fx_change *c, struct trb_arena *arena) {
  c->table = "contact";
  c->id = word(arena, "K", roll(5));
  cell(c, "customer_id", maybe_customer(arena));
  bool mail = roll(3) == 0;
  cell(c, "kind", trb_text(mail ? "email" : roll(3) ? "mobile" : "landline"));
  cell(c, "value", trb_text(mail ? MAILS[roll(4)] : PHONES[roll(7)]));
  if (roll(4) == 0) cell(c, "used_by", trb_text(roll(2) ? "agent" : "self"));
  if (roll(4) == 0) cell(c, "verified_at", trb_int(1600000000000 + roll(5)));
  if (roll(4) == 0) cell(c, "main", trb_int(1));
}
static void random_small(struct fx_change *c, struct trb_arena *arena, unsigned what) {
  c->id = word(arena, "R", roll(3));
  if (what == 0) {
    c->table = "preference";
    cell(c, "customer_id", maybe_customer(arena));
    cell(c, "key", trb_text("seat"));
    cell(c, "value", trb_text(roll(2) ? "window" : "aisle"));
  } else if (what == 1) {
    c->table = "tag_on";
    cell(c, "customer_id", maybe_customer(arena));
    cell(c, "label", trb_text(roll(2) ? "gold" : "new"));
    if (roll(4) == 0) cell(c, "to_on", trb_text("2024-01-01"));
  } else if (what == 2) {
    c->table = "relation";
    cell(c, "customer_id", maybe_customer(arena));
    cell(c, "other_id", trb_text(word(arena, "C", roll(4))));
    if (roll(2)) cell(c, "other_site", trb_text(roll(2) ? "sh" : "gz"));
    if (roll(4) == 0) cell(c, "customer_site", trb_text("bj"));
    cell(c, "kind", trb_text("family"));
  } else if (what == 3) {
    c->table = "contact_status";
    cell(c, "kind", trb_text("mobile"));
    cell(c, "value", trb_text(PHONES[roll(3)]));
    cell(c, "status", trb_text(roll(2) ? "dead" : "works"));
  } else {
    c->table = "identity_document";
    cell(c, "customer_id", maybe_customer(arena));
    cell(c, "kind", trb_text("passport"));
    cell(c, "number", trb_text(roll(2) ? "E12345678" : "G98765432"));
    if (roll(2)) cell(c, "expires", trb_text("2030-01-01"));
  }
}
static void random_event(struct fx_change *c, struct trb_arena *arena, unsigned what) {
  c->id = word(arena, "B", roll(3));
  if (what == 0) {
    c->table = "booking";
    cell(c, "customer_id", maybe_customer(arena));
    cell(c, "title", trb_text(roll(2) ? "Sanya" : "桂林"));
    cell(c, "amount", trb_real(100.25 * (1 + roll(3))));
    if (roll(2)) cell(c, "ordered_on", trb_text(roll(2) ? "2024-05" : "2023-01-01"));
  } else if (what == 1) {
    c->table = "booking_event";
    cell(c, "booking_id", trb_text(word(arena, "B", roll(3))));
    if (roll(3) == 0) cell(c, "booking_site", trb_text("sh"));
    cell(c, "kind", trb_text(roll(2) ? "cancelled" : "paid"));
    cell(c, "at", trb_int(1650000000000 + roll(1000)));
  } else if (what == 2) {
    c->table = "payment";
    if (roll(2)) cell(c, "booking_id", trb_text(word(arena, "B", roll(3))));
    if (roll(2)) cell(c, "customer_id", maybe_customer(arena));
    cell(c, "kind", trb_text("received"));
    cell(c, "amount", trb_real(5));
  } else if (what == 3) {
    c->table = "activity";
    cell(c, "customer_id", maybe_customer(arena));
    cell(c, "subject", trb_text("询价"));
    cell(c, "at", trb_int(1660000000000 + roll(1000)));
  } else if (what == 4) {
    c->table = "points_entry";
    cell(c, "customer_id", trb_text(word(arena, "C", roll(4))));
    if (roll(2)) cell(c, "customer_site", trb_text(roll(2) ? "sh" : "bj"));
    cell(c, "points", trb_int((int64_t)roll(100) - 30));
    cell(c, "reason", trb_text("earned"));
  } else {
    c->table = "booking_item";
    cell(c, "booking_id", trb_text(word(arena, "B", roll(3))));
    cell(c, "name", trb_text(roll(2) ? "flight" : "hotel"));
  }
}

static void random_change(struct fx_change *c, struct trb_arena *arena, unsigned step) {
  *c = (struct fx_change){.site = 2 + (int64_t)roll(SITES), .put = true};
  if (roll(15) == 0) c->site = 1;
  unsigned what = roll(20);
  if (what < 6)
    random_customer(c, arena);
  else if (what < 12)
    random_contact(c, arena);
  else if (what < 15)
    random_small(c, arena, roll(5));
  else
    random_event(c, arena, roll(6));
  if (roll(6) == 0) { /* deleted */
    c->put = false;
    c->count = 0;
  } else if (roll(3) == 0) {
    c->put = false; /* an update of these columns */
  }
  c->accepted = trb_hlc_of_ms(1700000000000 + step) + roll(3);
  c->position = step;
  c->time = trb_hlc_of_ms(1690000000000 + roll(30) * 1000);
}

/* TRB_TRACE=1 prints the history; the last lines before a failure are the ones. */
static void trace(const struct fx_change *c, unsigned seed, unsigned step) {
  fprintf(stderr, "%u.%u site %d %s %s %s", seed, step, (int)c->site,
          c->put     ? "put"
          : c->count ? "set"
                     : "delete",
          c->table, c->id);
  for (size_t i = 0; i < c->count; i++)
    if (c->cells[i].value.type == TRB_TEXT)
      fprintf(stderr, " %s='%.*s'", c->cells[i].column, (int)c->cells[i].value.s.len,
              (const char *)c->cells[i].value.s.data);
  fputc('\n', stderr);
}

static void check_verify(struct fx *fx, unsigned seed, unsigned step) {
  struct unify_report report;
  FX_OK(fx, unify_verify(fx->db, fx->catalogue, &report, &fx->err));
  if (report.golden_differences || report.party_differences || report.claim_differences)
    fail_msg("seed %u step %u: golden %d party %d claim %d: %s", seed, step, (int)report.golden_differences,
             (int)report.party_differences, (int)report.claim_differences, fx->err.text);
}

static unsigned seeds(void) {
  return getenv("TRB_SEEDS") ? (unsigned)atoi(getenv("TRB_SEEDS")) : 40;
} /* TRB_SEEDS=1000 for a night */

static void incremental_equals_from_nothing_after_every_step(void **state) {
  (void)state;
  for (unsigned seed = 1; seed <= seeds(); seed++) {
    struct fx fx;
    fx_open(&fx);
    fx_seed = seed * 7919u;
    TRB_ARENA_AUTO arena = {0};
    for (unsigned step = 0; step < STEPS; step++) {
      unsigned batch = 1 + roll(3);
      fx_begin(&fx);
      for (unsigned i = 0; i < batch; i++) {
        struct fx_change c;
        random_change(&c, &arena, step * 4 + i);
        if (getenv("TRB_TRACE")) trace(&c, seed, step);
        fx_apply(&fx, &c);
      }
      fx_commit(&fx);
      check_verify(&fx, seed, step);
      for (int64_t site = 2; site <= 4; site++) {
        if (roll(3)) fx_pull(&fx, site); /* sometimes changes pile up and coalesce */
        if (roll(4) == 0) {
          fx_pull(&fx, site);
          fx_check_replica(&fx, site);
        }
      }
    }
    for (int64_t site = 2; site <= 4; site++) {
      fx_pull(&fx, site);
      fx_check_replica(&fx, site);
    }
    fx_close(&fx);
  }
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(two_branches_with_one_mobile_are_one_party),
      cmocka_unit_test(test_pulls),
      cmocka_unit_test(incremental_equals_from_nothing_after_every_step),
  };
  return cmocka_run_group_tests_name("unify", tests, NULL, NULL);
}
