/* bench_unify: what the unified view costs for new customers with three contacts each, keys normalised beforehand as
 * workers do. Prints one JSON object a line: microseconds of CPU a customer inside record_intern, unify_row and
 * unify_finish; `shared` of them hold a mobile that another one holds. */
#include <time.h>

#include "unify_fixture.h"

enum { GROUP = 250, CONTACTS = 3 };

static double seconds(void) {
  struct timespec t;
  clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &t);
  return (double)t.tv_sec + (double)t.tv_nsec / 1e9;
}

struct bench {
  struct fx fx;
  double spent;
  const struct trb_table *customer, *contact;
  int64_t contacts;
};

static void write_row(struct bench *b, const struct trb_table *t, int64_t rid, const char *id, struct trb_value *values,
                      trb_hlc at, uint32_t pos, const struct trb_keys *keys) {
  uint8_t times[8];
  trb_put_u64(times, at);
  struct fx_change c = {.site = 2, .id = id, .accepted = at, .position = pos};
  fx_write(&b->fx, t, rid, &c, trb_slice_of(times, 8), values);
  struct unify_row row = {.table = t,
                          .site = 2,
                          .rid = rid,
                          .id = trb_slice_str(id),
                          .after = values,
                          .accepted = at,
                          .position = pos,
                          .first = true,
                          .keys = keys};
  double began = seconds();
  FX_OK(&b->fx, unify_row(b->fx.u, &row, &b->fx.err));
  b->spent += seconds() - began;
}

static void set(const struct trb_table *t, struct trb_value *values, uint16_t column, const char *text) {
  values[table_column_index(t, column)] = trb_text(text);
}

static void one(struct bench *b, int64_t n, int64_t shared_every, trb_hlc at, uint32_t pos) {
  static const char *const names[] = {"张伟", "王芳", "李秀英", "欧阳明月", "ZHANG/WEI"};
  struct trb_value values[64] = {{0}}, contact[32];
  char id[40], name[64], cid[48], value[64];
  snprintf(id, sizeof id, "018f%08llx-7000-8000-%012llx", (unsigned long long)n,
           (unsigned long long)(n * 2654435761u) & 0xffffffffffffu);
  snprintf(name, sizeof name, "%s%c", names[n % 5], (char)('a' + n % 26));
  set(b->customer, values, TRB_C_customer_kind, "person");
  set(b->customer, values, TRB_C_customer_name, name);
  set(b->customer, values, TRB_C_customer_city, "上海");
  set(b->customer, values, TRB_C_customer_gender, n % 2 ? "M" : "F");
  set(b->customer, values, TRB_C_customer_birthday, "1980-05-06");
  int64_t rid = 0;
  double began = seconds();
  FX_OK(&b->fx, record_intern(b->fx.db, 2, trb_slice_str(id), &rid, &b->fx.err));
  b->spent += seconds() - began;
  write_row(b, b->customer, rid, id, values, at, pos, NULL);
  static const char *const kinds[CONTACTS] = {"mobile", "email", "wechat"};
  for (int i = 0; i < CONTACTS; i++) {
    int64_t m = i == 0 && shared_every && n % shared_every == 0 && n ? n - 1 : n;
    uint64_t scattered = ((uint64_t)m * 0x9E3779B97F4A7C15u) >> 36;
    memset(contact, 0, sizeof contact);
    snprintf(value, sizeof value,
             i == 0   ? "139%08llu"
             : i == 1 ? "u%llu@example.com"
                      : "wx_%llu",
             (unsigned long long)scattered % 100000000u);
    snprintf(cid, sizeof cid, "%s%d", id, i);
    set(b->contact, contact, TRB_C_contact_customer_id, id);
    set(b->contact, contact, TRB_C_contact_kind, kinds[i]);
    set(b->contact, contact, TRB_C_contact_value, value);
    struct trb_keys keys;
    struct trb_key_context context = {{0}, {0}};
    key_normalise(kind_of(trb_slice_str(kinds[i])), trb_slice_str(kinds[i]), trb_slice_str(value), &context, &keys);
    write_row(b, b->contact, ++b->contacts, cid, contact, at, pos + 1 + (uint32_t)i, &keys);
  }
}

static void run(int64_t customers, int64_t shared_every) {
  struct bench b = {0};
  fx_open(&b.fx);
  b.customer = catalogue_table(b.fx.catalogue, TRB_T_customer);
  b.contact = catalogue_table(b.fx.catalogue, TRB_T_contact);
  double last = 0;
  for (int64_t n = 0; n < customers;) {
    fx_begin(&b.fx);
    trb_hlc at = b.fx.now += 1u << 20;
    for (int i = 0; i < GROUP; i++, n++) one(&b, n, shared_every, at, (uint32_t)i * (CONTACTS + 1));
    struct unify_sites dirty;
    double began = seconds();
    FX_OK(&b.fx, unify_finish(b.fx.u, &dirty, &b.fx.err));
    b.spent += seconds() - began;
    FX_OK(&b.fx, db_commit(b.fx.db, &b.fx.err));
    if (n % 20000 == 0) {
      printf(
          "{\"name\":\"unify_customer\",\"value\":%.1f,\"unit\":\"us\",\"conditions\":\"customers %lld, one in %d "
          "shares a "
          "mobile\"}\n",
          (b.spent - last) / 20000 * 1e6, (long long)n, (int)shared_every);
      fflush(stdout);
      last = b.spent;
    }
  }
  fx_close(&b.fx);
}

int main(int argc, char **argv) {
  int64_t customers = argc > 1 ? atoll(argv[1]) : 40000;
  run(customers, 0);
  run(customers, 10);
  return 0;
}
