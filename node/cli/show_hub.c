/* show_hub: everything headquarters knows of one customer, from the source rows, with where each field comes from. */
#include <stdlib.h>
#include <string.h>

#include "../hub/jout.h"
#include "../hub/search.h"
#include "../hub/timeline.h"
#include "../hub/view.h"
#include "party.h"
#include "tributary/times.h"

struct shower {
  struct cli *cli;
  struct party_node *node;
  bool unmask;
  struct sitebook sites;
  struct party_view view;
  struct golden_policy policy;
  struct trb_catalogue *catalogue;
  const struct trb_table *golden, *customer;
  struct trb_value *row;
  struct golden_field fields[GOLDEN_FIELDS];
  struct trb_buf json;
};

static enum trb_status load(struct shower *s, int64_t party, struct trb_error *err) {
  view_init(&s->view, s->node->db, &s->sites);
  enum trb_status status = golden_policy_load(&s->policy, s->node->db, err);
  if (status == TRB_OK) status = view_load(&s->view, party, err);
  if (status != TRB_OK) return status;
  s->row = trb_arena_alloc(&s->view.arena, s->golden->column_count * sizeof *s->row);
  if (!s->row) return trb_fail(err, TRB_NOMEM, "out of memory");
  return view_golden(&s->view, &s->policy, s->golden, s->row, s->fields, err);
}

static void done(struct shower *s) {
  view_done(&s->view);
  golden_policy_done(&s->policy);
  sitebook_done(&s->sites);
  trb_buf_free(&s->json);
  catalogue_unref(&s->catalogue);
}

static struct trb_slice record_name(struct shower *s, size_t member) {
  return view_party_id(&s->view.arena, s->view.records[member].site->name, s->view.records[member].id);
}

/* ---- fields ---- */

static bool same_value(struct trb_value a, struct trb_value b) { return trb_value_equal(a, b); }

static void json_field(struct shower *s, const struct trb_column *column, size_t f, struct trb_slice shown) {
  const struct golden_field *field = &s->fields[f];
  jout_open(&s->json, column->name, '{');
  jout_text(&s->json, "value", shown);
  jout_text(&s->json, "from", record_name(s, field->member));
  jout_int(&s->json, "time_ms", trb_hlc_ms(field->time));
  jout_open(&s->json, "lost", '[');
  for (size_t m = 0; m < s->view.record_count; m++) {
    struct trb_value v = s->view.members[m].values[f];
    if (v.type == TRB_NULL || same_value(v, field->value)) continue;
    TRB_BUF_AUTO text = {0};
    party_masked(column, v, s->unmask, &text);
    jout_open(&s->json, NULL, '{');
    jout_text(&s->json, "value", trb_buf_slice(&text));
    jout_text(&s->json, "from", record_name(s, m));
    jout_int(&s->json, "time_ms", trb_hlc_ms(times_get(s->view.members[m].times, column->number)));
    jout_close(&s->json, '}');
  }
  jout_close(&s->json, ']');
  jout_close(&s->json, '}');
}

static void line_field(struct shower *s, const struct trb_column *column, size_t f, struct trb_slice shown) {
  FILE *out = s->cli->out;
  const struct golden_field *field = &s->fields[f];
  char when[32];
  party_when(trb_hlc_ms(field->time), when);
  fprintf(out, "  %-18s ", column->name);
  party_pad(s->cli, shown, 28);
  fputs("  ", out);
  party_pad(s->cli, record_name(s, field->member), 22);
  fprintf(out, " %s\n", when);
  for (size_t m = 0; m < s->view.record_count; m++) {
    struct trb_value v = s->view.members[m].values[f];
    if (v.type == TRB_NULL || same_value(v, field->value)) continue;
    TRB_BUF_AUTO text = {0};
    party_masked(column, v, s->unmask, &text);
    party_when(trb_hlc_ms(times_get(s->view.members[m].times, column->number)), when);
    fprintf(out, "  %-18s   lost: ", "");
    party_pad(s->cli, trb_buf_slice(&text), 20);
    fputs("  ", out);
    party_pad(s->cli, record_name(s, m), 22);
    fprintf(out, " %s\n", when);
  }
}

static void show_fields(struct shower *s) {
  if (s->cli->json) jout_open(&s->json, "fields", '{');
  for (size_t f = 0; f < GOLDEN_FIELDS; f++) {
    const struct trb_column *column = table_column(s->customer, (uint16_t)(GOLDEN_FIELD_FIRST + f));
    if (s->fields[f].member == SIZE_MAX) continue;
    TRB_BUF_AUTO shown = {0};
    party_masked(column, s->fields[f].value, s->unmask, &shown);
    if (s->cli->json)
      json_field(s, column, f, trb_buf_slice(&shown));
    else
      line_field(s, column, f, trb_buf_slice(&shown));
  }
  if (s->cli->json) jout_close(&s->json, '}');
}

/* Columns of unified_customer that no record has by itself. */
static void show_numbers(struct shower *s) {
  if (s->cli->json) jout_open(&s->json, "computed", '{');
  for (size_t i = 0; i < s->golden->column_count; i++) {
    const struct trb_column *column = &s->golden->columns[i];
    if (column->number <= TRB_C_unified_customer_provenance || s->row[i].type == TRB_NULL) continue;
    TRB_BUF_AUTO text = {0};
    party_masked(column, s->row[i], s->unmask, &text);
    if (column->number == TRB_C_unified_customer_first_seen || column->number == TRB_C_unified_customer_last_seen) {
      char when[32];
      party_when(s->row[i].i, when);
      if (!s->cli->json) trb_buf_clear(&text), trb_buf_append_str(&text, when);
    }
    if (s->cli->json) {
      jout_text(&s->json, column->name, trb_buf_slice(&text));
      continue;
    }
    fprintf(s->cli->out, "  %-18s ", column->name);
    cli_print_text(s->cli->out, trb_buf_slice(&text));
    fputc('\n', s->cli->out);
  }
  if (s->cli->json) jout_close(&s->json, '}');
}

static void show_records(struct shower *s) {
  if (s->cli->json) jout_open(&s->json, "records", '[');
  for (size_t m = 0; m < s->view.record_count; m++) {
    if (s->cli->json) {
      jout_open(&s->json, NULL, '{');
      jout_str(&s->json, "site", s->view.records[m].site->name);
      jout_text(&s->json, "id", s->view.records[m].id);
      jout_close(&s->json, '}');
      continue;
    }
    fputs(m ? ", " : "  ", s->cli->out);
    cli_print_text(s->cli->out, record_name(s, m));
  }
  if (s->cli->json)
    jout_close(&s->json, ']');
  else
    fputc('\n', s->cli->out);
}

/* ---- contacts and lists ---- */

static void show_contact(struct shower *s, const struct golden_unified_contact *u) {
  const struct golden_contact *c = &s->view.contacts[u->best];
  TRB_BUF_AUTO shown = {0};
  TRB_BUF_AUTO kind = {0};
  trb_buf_append_slice(&kind, c->kind);
  party_contact(trb_buf_cstr(&kind), golden_contact_value(c), s->unmask, &shown);
  const char *status = golden_status_name(u->status);
  struct trb_slice sites = view_contact_sites(&s->view, u);
  if (s->cli->json) {
    jout_open(&s->json, NULL, '{');
    jout_text(&s->json, "kind", c->kind);
    jout_text(&s->json, "value", trb_buf_slice(&shown));
    jout_text(&s->json, "label", c->label);
    jout_text(&s->json, "used_by", c->used_by);
    jout_bool(&s->json, "main", u->main);
    jout_int(&s->json, "verified_at", u->verified_at);
    jout_str(&s->json, "status", status ? status : "");
    jout_bool(&s->json, "links", c->links);
    jout_text(&s->json, "sites", sites);
    jout_close(&s->json, '}');
    return;
  }
  fputs("  ", s->cli->out);
  party_pad(s->cli, c->kind, 12);
  fputc(' ', s->cli->out);
  party_pad(s->cli, trb_buf_slice(&shown), 28);
  fputc(' ', s->cli->out);
  party_pad(s->cli, sites, 16);
  fprintf(s->cli->out, "%s%s%s%s%s\n", u->main ? " main" : "", u->verified_at ? " verified" : "", status ? " " : "",
          status ? status : "", c->links ? "" : " (links nobody)");
}

static void show_group(struct shower *s, struct trb_slice key, struct trb_slice value, struct trb_slice sites) {
  if (s->cli->json) {
    jout_open(&s->json, NULL, '{');
    jout_text(&s->json, "key", key);
    jout_text(&s->json, "value", value);
    jout_text(&s->json, "sites", sites);
    jout_close(&s->json, '}');
    return;
  }
  fputs("  ", s->cli->out);
  party_pad(s->cli, key, 12);
  fputc(' ', s->cli->out);
  party_pad(s->cli, value, 28);
  fputc(' ', s->cli->out);
  cli_print_text(s->cli->out, sites);
  fputc('\n', s->cli->out);
}

static void section(struct shower *s, const char *key, size_t count) {
  if (s->cli->json)
    jout_open(&s->json, key, '[');
  else if (count)
    fprintf(s->cli->out, "%s\n", key);
}
static void section_end(struct shower *s) {
  if (s->cli->json) jout_close(&s->json, ']');
}

static enum trb_status show_lists(struct shower *s, struct trb_error *err) {
  struct view_group *groups = NULL;
  struct view_relation *relations = NULL;
  size_t count = 0;
  section(s, "contacts", s->view.unified_count);
  for (size_t i = 0; i < s->view.unified_count; i++) show_contact(s, &s->view.unified[i]);
  section_end(s);
  enum trb_status status = view_preferences(&s->view, &groups, &count, err);
  section(s, "preferences", count);
  for (size_t i = 0; status == TRB_OK && i < count; i++) show_group(s, groups[i].key, groups[i].value, groups[i].sites);
  section_end(s);
  if (status == TRB_OK) status = view_tags(&s->view, &groups, &count, err);
  section(s, "tags", status == TRB_OK ? count : 0);
  for (size_t i = 0; status == TRB_OK && i < count; i++) show_group(s, groups[i].key, groups[i].label, groups[i].sites);
  section_end(s);
  if (status == TRB_OK) status = view_relations(&s->view, &relations, &count, err);
  section(s, "relations", status == TRB_OK ? count : 0);
  for (size_t i = 0; status == TRB_OK && i < count; i++)
    show_group(s, relations[i].kind, relations[i].other_name.len ? relations[i].other_name : relations[i].other_party,
               relations[i].other_party);
  section_end(s);
  return status;
}

/* ---- timeline ---- */

struct told {
  int64_t at_ms, site_no;
  const char *kind;
  struct trb_slice title, detail, currency, source;
  bool has_amount;
  double amount;
};
struct timeline {
  struct shower *s;
  struct told *list; /* owned */
  size_t count, cap;
};

static enum trb_status keep(void *context, const struct timeline_event *e, struct trb_error *err) {
  struct timeline *t = context;
  if (t->count == t->cap) {
    size_t cap = t->cap ? t->cap * 2 : 64;
    struct told *grown = realloc(t->list, cap * sizeof *grown);
    if (!grown) return trb_fail(err, TRB_NOMEM, "out of memory");
    t->list = grown;
    t->cap = cap;
  }
  struct trb_arena *arena = &t->s->view.arena;
  bool ok = true;
  struct told *x = &t->list[t->count++];
  *x = (struct told){
      .at_ms = e->at_ms, .site_no = e->site_no, .kind = e->kind, .has_amount = e->has_amount, .amount = e->amount};
  x->title = trb_arena_copy(arena, e->title, &ok);
  x->detail = trb_arena_copy(arena, e->detail, &ok);
  x->currency = trb_arena_copy(arena, e->currency, &ok);
  x->source = trb_arena_copy(arena, e->id, &ok);
  return ok ? TRB_OK : trb_fail(err, TRB_NOMEM, "out of memory");
}

static int newest_first(const void *a, const void *b) {
  const struct told *x = a, *y = b;
  if (x->at_ms != y->at_ms) return x->at_ms > y->at_ms ? -1 : 1;
  int c = strcmp(x->kind, y->kind);
  return c ? c : trb_slice_compare(x->source, y->source);
}

static enum trb_status show_told(struct shower *s, const struct told *x, struct trb_error *err) {
  const struct sitebook_entry *site;
  enum trb_status status = sitebook_get(&s->sites, s->node->db, x->site_no, &site, err);
  if (status != TRB_OK) return status;
  char when[32], amount[64] = "";
  party_when(x->at_ms, when);
  if (x->has_amount)
    snprintf(amount, sizeof amount, "%.2f %.*s", x->amount, (int)(x->currency.len < 8 ? x->currency.len : 8),
             x->currency.data ? (const char *)x->currency.data : "");
  if (s->cli->json) {
    jout_open(&s->json, NULL, '{');
    jout_int(&s->json, "at_ms", x->at_ms);
    jout_str(&s->json, "site", site->name);
    jout_str(&s->json, "kind", x->kind);
    jout_text(&s->json, "title", x->title);
    jout_text(&s->json, "detail", x->detail);
    jout_str(&s->json, "amount", amount);
    jout_close(&s->json, '}');
    return TRB_OK;
  }
  fprintf(s->cli->out, "  %-16s %-8s %-8s ", when, site->name, x->kind);
  party_pad(s->cli, x->title, 30);
  fprintf(s->cli->out, " %s\n", amount);
  return TRB_OK;
}

static enum trb_status show_timeline(struct shower *s, int64_t events, struct trb_error *err) {
  struct timeline t = {.s = s};
  enum trb_status status = TRB_OK;
  for (size_t m = 0; status == TRB_OK && m < s->view.record_count; m++) {
    const struct view_record *r = &s->view.records[m];
    status = timeline_of_record(s->node->db, r->site_no, r->site->name, r->id, keep, &t, err);
  }
  if (t.count > 1) qsort(t.list, t.count, sizeof *t.list, newest_first);
  section(s, "timeline", t.count);
  for (size_t i = 0; status == TRB_OK && i < t.count && (int64_t)i < events; i++)
    status = show_told(s, &t.list[i], err);
  section_end(s);
  if (!s->cli->json && (int64_t)t.count > events && events > 0)
    fprintf(s->cli->out, "  .. and %lld earlier (--events N shows more)\n", (long long)((int64_t)t.count - events));
  free(t.list);
  return status;
}

/* ---- all ---- */

static enum trb_status show_party(struct shower *s, int64_t party, int64_t events, struct trb_error *err) {
  enum trb_status status = load(s, party, err);
  if (status != TRB_OK) return status;
  TRB_BUF_AUTO id = {0};
  trb_buf_append_slice(&id, s->view.id);
  if (s->unmask) status = party_log_unmask(s->cli, trb_buf_cstr(&id), "show --unmask", err);
  if (status != TRB_OK) return status;
  if (s->cli->json) {
    jout_open(&s->json, NULL, '{');
    jout_text(&s->json, "party", s->view.id);
  } else {
    cli_print_text(s->cli->out, s->view.id);
    fputs("\n", s->cli->out);
  }
  show_records(s);
  show_fields(s);
  show_numbers(s);
  status = show_lists(s, err);
  if (status == TRB_OK) status = show_timeline(s, events, err);
  if (status == TRB_OK && s->cli->json) {
    jout_close(&s->json, '}');
    fprintf(s->cli->out, "%s\n", trb_buf_cstr(&s->json));
  }
  return status;
}

int show_hub(struct cli *cli, struct party_node *node, const char *what, bool unmask, int64_t events) {
  struct trb_error err = {0};
  int64_t party[8];
  struct search_hits hits = {.party = party, .max = 8};
  enum trb_status status = search_id(node->db, trb_slice_str(what), &hits, &err);
  if (status != TRB_OK) return cli_failed(cli, &err);
  if (!hits.count) {
    fputs("tributary: no customer has this party or record id; `find` looks by name and contact\n", cli->err);
    return CLI_NOT_YET;
  }
  if (hits.count > 1)
    fputs("tributary: several sites have a record of this id; showing the earliest, write SITE/ID for another\n",
          cli->err);
  struct shower s = {.cli = cli, .node = node, .unmask = unmask, .catalogue = catalogue_builtin()};
  s.golden = catalogue_table(s.catalogue, TRB_T_unified_customer);
  s.customer = catalogue_table(s.catalogue, TRB_T_customer);
  status = show_party(&s, party[0], events, &err);
  done(&s);
  return status == TRB_OK ? CLI_DONE : cli_failed(cli, &err);
}
