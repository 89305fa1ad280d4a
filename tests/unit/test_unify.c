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

/* New records are not searched for what hangs on them, unless some row named a site before it was known. */
static void points_for_a_site_not_known_yet_count_when_its_customer_comes(void **state) {
  (void)state;
  struct fx fx;
  struct unify_report report;
  fx_open(&fx);
  fx_begin(&fx);
  fx_put(&fx, 2, "points_entry", "P0", "customer_id", "C9", "customer_site", "nj", "points", "#5", "reason", "gift",
         FX_END);
  db_rollback(fx.db); /* the second time it must be remembered all the same */
  unify_forget(fx.u);
  fx_put(&fx, 2, "points_entry", "P1", "customer_id", "C9", "customer_site", "nj", "points", "#7", "reason", "gift",
         FX_END);
  unify_close(&fx.u);
  FX_OK(&fx, unify_open(fx.db, fx.catalogue, &fx.u, &fx.err));
  FX_OK(&fx, db_exec(fx.db, "INSERT INTO site_no(no, name) VALUES(5, 'nj')", &fx.err));
  fx_customer(&fx, 5, "C9", "张三", "13911112222");
  fx_customer(&fx, 5, "C10", "李四", "13922223333");
  assert_int_equal(fx_int(&fx, "SELECT points_balance FROM unified_customer WHERE id = 'nj/C9'"), 7);
  assert_int_equal(fx_int(&fx, "SELECT points_balance FROM unified_customer WHERE id = 'nj/C10'"), 0);
  fx_pull(&fx, 5);
  fx_check_replica(&fx, 5);
  FX_OK(&fx, unify_verify(fx.db, fx.catalogue, &report, &fx.err));
  assert_int_equal(report.claim_differences + report.party_differences + report.golden_differences, 0);
  fx_close(&fx);
}

/* ---- random histories ---- */

enum { STEPS = 45, SITES = 3 };
static bool renamed; /* other names for the same records and sites, in another order */
static const char *site_called(const char *name) {
  if (!renamed) return name;
  return strcmp(name, "sh") == 0 ? "zz" : strcmp(name, "bj") == 0 ? "mm" : "aa";
}
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
  snprintf(text, sizeof text, "%s%u", prefix, renamed ? 9 - a : a);
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
    if (roll(2)) cell(c, "other_site", trb_text(site_called(roll(2) ? "sh" : "gz")));
    if (roll(4) == 0) cell(c, "customer_site", trb_text(site_called("bj")));
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
    if (roll(3) == 0) cell(c, "booking_site", trb_text(site_called("sh")));
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
    if (roll(2)) cell(c, "customer_site", trb_text(site_called(roll(2) ? "sh" : "bj")));
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

/* ---- order and names do not matter ---- */

enum { HISTORY = 60, ORDERS = 6 };

/* Everything that is visible, by name: parties, golden rows, and all that each branch is told. */
static void dump(struct fx *fx, struct trb_buf *out) {
  fx_begin(fx);
  for (int64_t site = 2; site <= 4; site++) {
    uint64_t version = 0;
    uint32_t flags;
    FX_OK(fx, down_snapshot(fx->db, site, &fx->err));
    fx_pull_from(fx, site, 100 + site, &version, 1u << 18, &flags);
  }
  static const char *const queries[] = {
      "SELECT group_concat(x, char(10)) FROM (SELECT site || '/' || record_id || ' ' || party_id AS x FROM party_of "
      "ORDER BY x)",
      "SELECT group_concat(x, char(10)) FROM (SELECT site || ' ' || tbl || ' ' || id || ' ' || hex(cells) AS x FROM "
      "test_replica WHERE site > 100 ORDER BY x)",
      "SELECT group_concat(x, char(10)) FROM (SELECT id || coalesce(name, '') || provenance || sites || state || "
      "frequency || monetary || points_balance || "
      "coalesce(main_mobile, '') || coalesce(main_email, '') || first_seen || last_seen || updated_at AS x FROM "
      "unified_customer ORDER BY x)"};
  for (size_t i = 0; i < 3; i++) FX_OK(fx, db_get_bytes(fx->db, &fx->err, out, queries[i], ""));
  db_rollback(fx->db);
}

static bool same_row(const struct fx_change *a, const struct fx_change *b) {
  return a->site == b->site && strcmp(a->table, b->table) == 0 && strcmp(a->id, b->id) == 0;
}

/* Another order in which each row's own changes keep theirs. */
static void reorder(struct fx_change *changes, size_t count) {
  for (size_t round = 0; round < count * 8; round++) {
    size_t i = roll((unsigned)count - 1);
    if (same_row(&changes[i], &changes[i + 1])) continue;
    struct fx_change t = changes[i];
    changes[i] = changes[i + 1];
    changes[i + 1] = t;
  }
}

static void any_order_and_batching_gives_the_same_tables(void **state) {
  (void)state;
  for (unsigned seed = 1; seed <= seeds() / 4; seed++) {
    TRB_ARENA_AUTO arena = {0};
    TRB_BUF_AUTO first = {0};
    struct fx_change changes[HISTORY];
    fx_seed = seed * 104729u;
    for (unsigned i = 0; i < HISTORY; i++) random_change(&changes[i], &arena, i);
    for (unsigned order = 0; order < ORDERS; order++) {
      struct fx fx;
      TRB_BUF_AUTO text = {0};
      fx_open(&fx);
      if (order) reorder(changes, HISTORY);
      for (unsigned i = 0; i < HISTORY;) {
        fx_begin(&fx);
        for (unsigned n = order == 1 ? HISTORY : 1 + roll(7); n && i < HISTORY; n--, i++) fx_apply(&fx, &changes[i]);
        fx_commit(&fx);
      }
      dump(&fx, order ? &text : &first);
      if (order && !trb_slice_equal(trb_buf_slice(&text), trb_buf_slice(&first)))
        fail_msg("seed %u order %u:\n%s\n--\n%s", seed, order, trb_buf_cstr(&first), trb_buf_cstr(&text));
      fx_close(&fx);
    }
  }
}

static void canonical(struct fx *fx, struct trb_buf *out) {
  char own[128], anchor[128], sql[1024];
  if (renamed) {
    snprintf(own, sizeof own, "substr(r.id, 1, 1) || (9 - CAST(substr(r.id, 2) AS INTEGER))");
    snprintf(anchor, sizeof anchor, "substr(a.id, 1, 1) || (9 - CAST(substr(a.id, 2) AS INTEGER))");
  } else {
    snprintf(own, sizeof own, "r.id");
    snprintf(anchor, sizeof anchor, "a.id");
  }
  snprintf(sql, sizeof sql,
           "SELECT group_concat(x, char(10)) FROM (SELECT r.site || '/' || %s || ' ' || a.site || '/' || %s || ' ' || "
           "coalesce(u.name, '-') || ' ' || "
           "coalesce(u.birthday, '-') || coalesce(u.address, '-') || coalesce(u.keywords, '-') || "
           "coalesce(u.main_mobile, '-') || u.state || u.points_balance "
           "|| ' ' || u.record_count || u.monetary AS x FROM record r JOIN record a ON a.rec = coalesce(r.party, "
           "r.rec) JOIN unified_customer u ON u._rid = "
           "a.rec WHERE r.class <> 0 ORDER BY x)",
           own, anchor);
  FX_OK(fx, db_get_bytes(fx->db, &fx->err, out, sql, ""));
}

static void renaming_records_and_sites_renames_the_answer(void **state) {
  (void)state;
  for (unsigned seed = 1; seed <= seeds() / 2; seed++) {
    struct trb_buf text[2] = {{0}, {0}};
    for (int turn = 0; turn < 2; turn++) {
      struct fx fx;
      TRB_ARENA_AUTO arena = {0};
      renamed = turn == 1;
      fx_open(&fx);
      if (renamed)
        FX_OK(&fx,
              db_exec(fx.db,
                      "UPDATE site_no SET name = CASE no WHEN 2 THEN 'zz' WHEN 3 THEN 'mm' ELSE 'aa' END WHERE no > 1",
                      &fx.err));
      fx_seed = seed * 15485863u;
      for (unsigned i = 0; i < HISTORY; i++) {
        struct fx_change c;
        random_change(&c, &arena, i);
        fx_begin(&fx);
        fx_apply(&fx, &c);
        fx_commit(&fx);
      }
      canonical(&fx, &text[turn]);
      fx_close(&fx);
    }
    renamed = false;
    bool equal = trb_slice_equal(trb_buf_slice(&text[0]), trb_buf_slice(&text[1]));
    if (!equal) fail_msg("seed %u:\n%s\n--\n%s", seed, trb_buf_cstr(&text[0]), trb_buf_cstr(&text[1]));
    trb_buf_free(&text[0]);
    trb_buf_free(&text[1]);
  }
}

/* ---- single stories ---- */

static void split_after_merge_restores_the_tables(void **state) {
  (void)state;
  struct fx fx;
  TRB_BUF_AUTO before = {0};
  TRB_BUF_AUTO after = {0};
  fx_open(&fx);
  fx_customer(&fx, 2, "A", "张三", "13911112222");
  fx_customer(&fx, 3, "B", "张三", "13922223333");
  fx_put(&fx, 2, "booking", "b1", "customer_id", "A", "title", "Sanya", "amount", "%100.5", FX_END);
  fx_put(&fx, 3, "preference", "p1", "customer_id", "B", "key", "seat", "value", "window", FX_END);
  dump(&fx, &before);
  fx_put(&fx, 3, "contact", "B-2", "customer_id", "B", "kind", "landline", "value", "+86 13911112222", FX_END);
  assert_string_equal(fx_party(&fx, "bj", "B"), "sh/A");
  assert_int_equal(fx_int(&fx, "SELECT record_count FROM unified_customer"), 2);
  fx_set(&fx, 3, "contact", "B-2", FX_END); /* deleted */
  assert_string_equal(fx_party(&fx, "bj", "B"), "bj/B");
  dump(&fx, &after);
  assert_string_equal(trb_buf_cstr(&after), trb_buf_cstr(&before));
  fx_close(&fx);
}

static void contacts_of_others_weak_and_unknown_kinds_never_link(void **state) {
  (void)state;
  struct fx fx;
  fx_open(&fx);
  fx_customer(&fx, 2, "A", "张三", NULL);
  fx_customer(&fx, 3, "B", "李四", NULL);
  static const struct {
    const char *kind, *value, *used_by;
  } cases[] = {{"mobile", "13911112222", "agent"},  {"mobile", "13911112222", "company"},
               {"mobile", "13911112222", "family"}, {"email", "info@example.com", "self"},
               {"fax", "021-64281234", "self"},     {"mobile", "139****2222", "self"}};
  for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
    fx_put(&fx, 2, "contact", "a", "customer_id", "A", "kind", cases[i].kind, "value", cases[i].value, "used_by",
           cases[i].used_by, FX_END);
    fx_put(&fx, 3, "contact", "b", "customer_id", "B", "kind", cases[i].kind, "value", cases[i].value, FX_END);
    assert_string_equal(fx_party(&fx, "bj", "B"), "bj/B");
  }
  fx_close(&fx);
}

static void person_and_organisation_stay_apart_until_the_kind_is_corrected(void **state) {
  (void)state;
  struct fx fx;
  fx_open(&fx);
  fx_customer(&fx, 2, "A", "张三", "13911112222");
  fx_customer(&fx, 3, "B", "三公司", "13911112222");
  assert_string_equal(fx_party(&fx, "bj", "B"), "sh/A");
  fx_set(&fx, 3, "customer", "B", "kind", "organisation", FX_END);
  assert_string_equal(fx_party(&fx, "bj", "B"), "bj/B");
  fx_set(&fx, 3, "customer", "B", "kind", "person", FX_END);
  assert_string_equal(fx_party(&fx, "bj", "B"), "sh/A");
  fx_close(&fx);
}

static void an_orphan_contact_links_when_its_customer_comes(void **state) {
  (void)state;
  struct fx fx;
  fx_open(&fx);
  fx_customer(&fx, 2, "A", "张三", "13911112222");
  fx_put(&fx, 3, "contact", "k", "customer_id", "B", "kind", "mobile", "value", "13911112222", FX_END);
  assert_int_equal(fx_int(&fx, "SELECT count(*) FROM unified_customer"), 1);
  fx_put(&fx, 3, "customer", "B", "kind", "person", FX_END);
  assert_string_equal(fx_party(&fx, "bj", "B"), "sh/A");
  fx_close(&fx);
}

static void the_anchor_is_the_earliest_accepted_whatever_comes_first(void **state) {
  (void)state;
  struct fx fx;
  fx_open(&fx);
  fx_customer(&fx, 4, "late", "张三", "13911112222");
  fx.now -= trb_hlc_of_ms(1000000); /* an older batch arrives afterwards */
  fx_customer(&fx, 2, "early", "张三", "13911112222");
  assert_string_equal(fx_party(&fx, "gz", "late"), "sh/early");
  assert_int_equal(fx_int(&fx, "SELECT count(*) FROM unified_customer WHERE id = 'sh/early'"), 1);
  assert_int_equal(fx_int(&fx, "SELECT count(*) FROM unified_customer"), 1);
  fx_close(&fx);
}

static void policy_rows_change_golden_rows_and_links(void **state) {
  (void)state;
  struct fx fx;
  struct unify_report report;
  fx_open(&fx);
  fx_customer(&fx, 2, "A", "张三", "13911112222");
  fx_customer(&fx, 3, "B", "张三丰", "13911112222");
  assert_string_equal(fx_text(&fx, "SELECT name FROM unified_customer"), "张三丰");
  fx_put(&fx, 1, "survivorship_policy", "n", "field", "name", "rule", "trusted_site", "sites", "sh,bj", FX_END);
  assert_string_equal(fx_text(&fx, "SELECT name FROM unified_customer"), "张三");
  fx_put(&fx, 1, "identity_policy", "m", "kind", "mobile", "enabled", "#0", FX_END);
  assert_int_equal(fx_int(&fx, "SELECT count(*) FROM unified_customer"), 2);
  FX_OK(&fx, unify_verify(fx.db, fx.catalogue, &report, &fx.err));
  assert_int_equal(report.claim_differences + report.party_differences + report.golden_differences, 0);
  fx_set(&fx, 1, "identity_policy", "m", FX_END);
  assert_int_equal(fx_int(&fx, "SELECT count(*) FROM unified_customer"), 1);
  fx_close(&fx);
}

static void an_area_code_set_later_completes_local_numbers(void **state) {
  (void)state;
  struct fx fx;
  struct unify_report report;
  fx_open(&fx);
  fx_customer(&fx, 2, "A", "张三", NULL);
  fx_customer(&fx, 3, "B", "张三", NULL);
  fx_put(&fx, 2, "contact", "a", "customer_id", "A", "kind", "landline", "value", "021-64281234", FX_END);
  fx_put(&fx, 3, "contact", "b", "customer_id", "B", "kind", "landline", "value", "64281234", FX_END);
  assert_string_equal(fx_party(&fx, "bj", "B"), "bj/B");
  fx_put(&fx, 1, "site", "bj", "region", "CN", "area_code", "021", FX_END);
  assert_string_equal(fx_party(&fx, "bj", "B"), "sh/A");
  FX_OK(&fx, unify_verify(fx.db, fx.catalogue, &report, &fx.err));
  assert_int_equal(report.claim_differences + report.party_differences + report.golden_differences, 0);
  fx_close(&fx);
}

static void unify_verify_finds_what_was_tampered_with(void **state) {
  (void)state;
  static const char *const damage[] = {
      "UPDATE unified_customer SET name = 'x'", "DELETE FROM claim WHERE class > 0",
      "UPDATE record SET party = NULL",         "DELETE FROM unified_customer",
      "DELETE FROM row_key WHERE rec = 1",      "UPDATE record SET class = 2 WHERE rec = 1"};
  for (size_t i = 0; i < sizeof damage / sizeof *damage; i++) {
    struct fx fx;
    struct unify_report r;
    fx_open(&fx);
    fx_customer(&fx, 2, "A", "张三", "13911112222");
    fx_customer(&fx, 3, "B", "张三", "13911112222");
    FX_OK(&fx, db_exec(fx.db, damage[i], &fx.err));
    FX_OK(&fx, unify_verify(fx.db, fx.catalogue, &r, &fx.err));
    if (r.claim_differences + r.party_differences + r.golden_differences == 0) fail_msg("not found: %s", damage[i]);
    fx_close(&fx);
  }
}

static void headquarters_can_ask_the_views_in_sql(void **state) {
  (void)state;
  struct fx fx;
  fx_open(&fx);
  fx_customer(&fx, 2, "A", "张三", "13911112222");
  fx_customer(&fx, 3, "B", "张三", "+86 139 1111 2222");
  fx_put(&fx, 3, "booking", "b1", "customer_id", "B", "title", "Sanya", FX_END);
  fx_put(&fx, 3, "booking_event", "e1", "booking_id", "b1", "kind", "paid", FX_END);
  fx_put(&fx, 3, "preference", "p1", "customer_id", "B", "key", "seat", "value", "window", FX_END);
  fx_put(&fx, 3, "tag_on", "t1", "customer_id", "B", "label", "gold", FX_END);
  fx_put(&fx, 3, "relation", "r1", "customer_id", "B", "other_id", "A", "other_site", "sh", "kind", "family", FX_END);
  assert_int_equal(
      fx_int(
          &fx,
          "SELECT count(*) FROM unified_contact WHERE party_id = 'sh/A' AND row_count = 2 AND value = '13911112222'"),
      1);
  assert_int_equal(fx_int(&fx, "SELECT count(*) FROM unified_event WHERE party_id = 'sh/A' AND site = 'bj'"), 2);
  assert_string_equal(fx_text(&fx, "SELECT title FROM unified_event WHERE source_table = 'booking_event'"),
                      "paid: Sanya");
  assert_string_equal(fx_text(&fx, "SELECT value FROM unified_preference WHERE party_id = 'sh/A'"), "window");
  assert_string_equal(fx_text(&fx, "SELECT label FROM unified_tag"), "gold");
  assert_string_equal(fx_text(&fx, "SELECT other_id FROM unified_relation"), "sh/A");
  fx_close(&fx);
}

static void a_crowd_on_one_phone_stays_affordable(void **state) {
  (void)state;
  struct fx fx;
  struct unify_report report;
  fx_open(&fx);
  for (int batch = 0; batch < 5; batch++) {
    fx_begin(&fx);
    for (int i = 0; i < 200; i++) {
      char id[24];
      snprintf(id, sizeof id, "C%d", batch * 200 + i);
      fx_customer(&fx, 2 + i % 3, id, "张三", "13911112222");
    }
    fx_commit(&fx);
  }
  assert_int_equal(fx_int(&fx, "SELECT record_count FROM unified_customer"), 1000);
  FX_OK(&fx, unify_verify(fx.db, fx.catalogue, &report, &fx.err));
  assert_int_equal(report.claim_differences + report.party_differences + report.golden_differences, 0);
  fx_close(&fx);
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(two_branches_with_one_mobile_are_one_party),
      cmocka_unit_test(test_pulls),
      cmocka_unit_test(points_for_a_site_not_known_yet_count_when_its_customer_comes),
      cmocka_unit_test(split_after_merge_restores_the_tables),
      cmocka_unit_test(contacts_of_others_weak_and_unknown_kinds_never_link),
      cmocka_unit_test(person_and_organisation_stay_apart_until_the_kind_is_corrected),
      cmocka_unit_test(an_orphan_contact_links_when_its_customer_comes),
      cmocka_unit_test(the_anchor_is_the_earliest_accepted_whatever_comes_first),
      cmocka_unit_test(policy_rows_change_golden_rows_and_links),
      cmocka_unit_test(an_area_code_set_later_completes_local_numbers),
      cmocka_unit_test(unify_verify_finds_what_was_tampered_with),
      cmocka_unit_test(headquarters_can_ask_the_views_in_sql),
      cmocka_unit_test(a_crowd_on_one_phone_stays_affordable),
      cmocka_unit_test(incremental_equals_from_nothing_after_every_step),
      cmocka_unit_test(any_order_and_batching_gives_the_same_tables),
      cmocka_unit_test(renaming_records_and_sites_renames_the_answer),
  };
  return cmocka_run_group_tests_name("unify", tests, NULL, NULL);
}
