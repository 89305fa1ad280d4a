/* bench_ingest: how fast the hub makes new customers durable, resolved and golden, beside the plain SQLite insert of
 * the same data in the same run.
 *
 * Eight branches' sealed batches (Ed25519, zstd, 1,000 changes each: 250 customers with mobile, email and WeChat) go
 * through a real verify worker and the real writer into a real hub.db; down entries are made too. Each step of 10,000
 * customers is first sealed (not measured), then taken by the hub, then inserted by the yardstick: a customer row of 15
 * columns and 3 identity rows with a text index, WAL, synchronous=FULL, 1,000 customers a transaction. At the end
 * digests must be equal, nothing set aside, and unify_verify must find no difference to the answer from nothing.
 *
 * Usage: bench_ingest [--large] [--customers N] [--duplicates PERCENT] [--folder F] [--keep]. Prints one JSON object a
 * line. Exit code 1: the answer is wrong; 3: the ratio at 100,000 is under 0.25. */
#include <getopt.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include "../../node/hub/worker.h"
#include "../../node/hub/writer.h"
#include "tributary/digest.h"
#include "tributary/hub.h"
#include "tributary/id.h"
#include "tributary/unify.h"

enum {
  SITES = 8,
  BATCH_CUSTOMERS = 250,
  CONTACTS = 3,
  CHANGES = BATCH_CUSTOMERS * (1 + CONTACTS),
  STEP_CUSTOMERS = 10000,
  STEP_BATCHES = STEP_CUSTOMERS / BATCH_CUSTOMERS,
  CELLS_MAX = 16,
  YARDSTICK_TRANSACTION = 1000,
};
#define RATIO_AT 100000
#define RATIO_MIN 0.25

static struct trb_error err;

static void must(enum trb_status status, const char *what) {
  if (status == TRB_OK) return;
  fprintf(stderr, "bench_ingest: %s: %s\n", what, err.text);
  exit(2);
}
static void wrong(const char *what, long long count) {
  fprintf(stderr, "bench_ingest: %lld %s\n", count, what);
  exit(1);
}

static double seconds(clockid_t clock) {
  struct timespec t;
  clock_gettime(clock, &t);
  return (double)t.tv_sec + (double)t.tv_nsec / 1e9;
}
static double now(void) { return seconds(CLOCK_MONOTONIC); }

static double resident_mb(void) {
  long pages = 0, ignored;
  FILE *f = fopen("/proc/self/statm", "r");
  if (!f || fscanf(f, "%ld %ld", &ignored, &pages) != 2) pages = 0;
  if (f) fclose(f);
  return (double)pages * (double)sysconf(_SC_PAGESIZE) / (1 << 20);
}

/* ---- customers: a function of their number ---- */

struct person {
  int64_t number, mobile_of; /* mobile_of: another's number when the customer is a duplicate */
  char id[TRB_UUID_TEXT_BYTES], contact_id[CONTACTS][TRB_UUID_TEXT_BYTES];
  char name[32], latin[40], birthday[11], address[80], ref[24];
  char value[CONTACTS][64], key[CONTACTS][80]; /* as typed; as normalised */
};
static const char *const KIND[CONTACTS] = {"mobile", "email", "wechat"};

static uint64_t mix(uint64_t x) { /* splitmix64 */
  x += 0x9E3779B97F4A7C15u;
  x = (x ^ (x >> 30)) * 0xBF58476D1CE4E5B9u;
  x = (x ^ (x >> 27)) * 0x94D049BB133111EBu;
  return x ^ (x >> 31);
}

static void person_id(int64_t number, int which, char ret[TRB_UUID_TEXT_BYTES]) {
  uint8_t random[TRB_UUID_RANDOM_BYTES];
  uint64_t a = mix((uint64_t)number * 8 + (uint64_t)which), b = mix(a);
  memcpy(random, &a, 8);
  memcpy(random + 8, &b, 2);
  id_uuid7(1750000000000 + number / 8, random, ret);
}

static void person_make(int64_t number, unsigned duplicates, struct person *p) {
  static const char *const surnames[] = {"王", "李", "张", "刘", "陈", "杨", "赵", "黄", "周", "吴", "欧阳", "司马"};
  static const char *const latin[] = {"WANG", "LI",    "ZHANG", "LIU", "CHEN",   "YANG",
                                      "ZHAO", "HUANG", "ZHOU",  "WU",  "OUYANG", "SIMA"};
  static const char *const given[] = {"伟", "芳",   "娜",   "敏",   "静",   "丽",   "强",   "磊",   "军", "洋",
                                      "勇", "艳",   "杰",   "娟",   "涛",   "明",   "超",   "秀英", "霞", "平",
                                      "刚", "桂英", "晓明", "子轩", "雨桐", "浩然", "欣怡", "梓涵"};
  uint64_t h = mix((uint64_t)number);
  size_t s = h % 12, g = (h >> 8) % 28, g2 = (h >> 16) % 28;
  *p = (struct person){.number = number, .mobile_of = number};
  if (number > 100 && (h >> 24) % 100 < duplicates) p->mobile_of = (int64_t)(mix(h) % (uint64_t)number);
  person_id(number, 0, p->id);
  for (int i = 0; i < CONTACTS; i++) person_id(number, i + 1, p->contact_id[i]);
  snprintf(p->name, sizeof p->name, "%s%s%s", surnames[s], given[g], (h >> 32) % 2 ? given[g2] : "");
  snprintf(p->latin, sizeof p->latin, "%s/%c%c", latin[s], (int)('A' + g % 26), (int)('A' + g2 % 26));
  snprintf(p->birthday, sizeof p->birthday, "19%02u-%02u-%02u", (unsigned)(40 + (h >> 33) % 60),
           (unsigned)(1 + (h >> 40) % 12), (unsigned)(1 + (h >> 45) % 28));
  snprintf(p->address, sizeof p->address, "浦东新区世纪大道%u号%u室", (unsigned)((h >> 13) % 2000),
           (unsigned)((h >> 21) % 3000));
  snprintf(p->ref, sizeof p->ref, "K%08lld", (long long)number);
  /* Coprime to the modulus: no two customers share one by accident, and keys come in no order. */
  uint64_t mobile = ((uint64_t)p->mobile_of * 382426703u) % 1000000000u, other = mix((uint64_t)number ^ 0x5bd1e995);
  snprintf(p->value[0], sizeof p->value[0], "1%u%u %04u %04u", (unsigned)(3 + p->mobile_of % 7),
           (unsigned)(mobile / 100000000), (unsigned)(mobile / 10000 % 10000), (unsigned)(mobile % 10000));
  snprintf(p->key[0], sizeof p->key[0], "tel:+861%u%09u", (unsigned)(3 + p->mobile_of % 7), (unsigned)mobile);
  snprintf(p->value[1], sizeof p->value[1], "k%010llx.%lld@example.com", (unsigned long long)(other & 0xffffffffff),
           (long long)number);
  snprintf(p->key[1], sizeof p->key[1], "mail:%s", p->value[1]);
  snprintf(p->value[2], sizeof p->value[2], "wx_%08llx_%lld", (unsigned long long)(other >> 32), (long long)number);
  snprintf(p->key[2], sizeof p->key[2], "wechat:%s", p->value[2]);
}

/* ---- branches: sealed batches ---- */

struct branch {
  int64_t site;
  char name[16];
  struct crypto_signer *signer;
  uint8_t incarnation[TRB_INCARNATION_BYTES], hash[TRB_HASH_BYTES];
  uint64_t sequence, marks;
  struct trb_digest digests[2]; /* customer, contact */
};

struct body { /* one batch being made */
  struct person people[BATCH_CUSTOMERS];
  struct trb_change changes[CHANGES];
  struct trb_cell cells[CHANGES][CELLS_MAX];
  struct trb_mark_time marks[CHANGES];
  size_t count;
};

static void cell(struct trb_change *change, uint16_t column, struct trb_value value) {
  change->cells[change->cell_count++] = (struct trb_cell){.column = column, .mark = change->mark, .value = value};
}

static struct trb_change *new_change(struct body *body, uint16_t table, const char *id) {
  struct trb_change *change = &body->changes[body->count];
  *change = (struct trb_change){.table = table,
                                .op = TRB_OP_PUT,
                                .mark = (uint32_t)body->count,
                                .id = trb_slice_str(id),
                                .cells = body->cells[body->count]};
  body->count++;
  return change;
}

static void put_customer(struct body *body, const struct person *p) {
  struct trb_change *c = new_change(body, TRB_T_customer, p->id);
  cell(c, TRB_C_customer_created_at, trb_int(1750000000000 + p->number / 8));
  cell(c, TRB_C_customer_updated_at, trb_int(1750000000000 + p->number / 8));
  cell(c, TRB_C_customer_created_by, trb_text("staff-0042"));
  cell(c, TRB_C_customer_kind, trb_text("person"));
  cell(c, TRB_C_customer_name, trb_text(p->name));
  cell(c, TRB_C_customer_name_latin, trb_text(p->latin));
  cell(c, TRB_C_customer_gender, trb_text(p->number % 2 ? "M" : "F"));
  cell(c, TRB_C_customer_birthday, trb_text(p->birthday));
  cell(c, TRB_C_customer_nationality, trb_text("CN"));
  cell(c, TRB_C_customer_province, trb_text("上海市"));
  cell(c, TRB_C_customer_city, trb_text("上海"));
  cell(c, TRB_C_customer_address, trb_text(p->address));
  cell(c, TRB_C_customer_source, trb_text("counter"));
  cell(c, TRB_C_customer_external_ref, trb_text(p->ref));
}

static void put_contact(struct body *body, const struct person *p, int i) {
  struct trb_change *c = new_change(body, TRB_T_contact, p->contact_id[i]);
  cell(c, TRB_C_contact_created_at, trb_int(1750000000000 + p->number / 8));
  cell(c, TRB_C_contact_customer_id, trb_text(p->id));
  cell(c, TRB_C_contact_kind, trb_text(KIND[i]));
  cell(c, TRB_C_contact_value, trb_text(p->value[i]));
  cell(c, TRB_C_contact_main, trb_int(1));
}

static void add_digests(struct branch *b, const struct body *body) {
  for (size_t i = 0; i < body->count; i++) {
    const struct trb_change *c = &body->changes[i];
    struct trb_digest *d = &b->digests[c->table == TRB_T_contact];
    d->rows++;
    d->sum += digest_cell(c->table, c->id, 0, trb_null());
    for (size_t k = 0; k < c->cell_count; k++)
      d->sum += digest_cell(c->table, c->id, c->cells[k].column, c->cells[k].value);
  }
}

/* Customers first, first + SITES, .. : the branches write at the same time. */
static void branch_seal(struct branch *b, int64_t first, unsigned duplicates, struct body *body, struct trb_buf *out) {
  body->count = 0;
  for (int64_t i = 0; i < BATCH_CUSTOMERS; i++) {
    struct person *p = &body->people[i];
    person_make(first + i * SITES, duplicates, p);
    put_customer(body, p);
    for (int k = 0; k < CONTACTS; k++) put_contact(body, p, k);
  }
  for (size_t i = 0; i < body->count; i++)
    body->marks[i] = (struct trb_mark_time){b->marks + i + 1, 1750000000000 + (int64_t)(b->marks + i)};
  add_digests(b, body);
  struct trb_batch batch = {
      .mark_count = body->count, .marks = body->marks, .change_count = body->count, .changes = body->changes};
  struct trb_batch_header *h = &batch.header;
  h->site = trb_slice_str(b->name);
  memcpy(h->incarnation, b->incarnation, sizeof h->incarnation);
  h->sequence = ++b->sequence;
  memcpy(h->previous, b->hash, sizeof h->previous);
  h->flags = TRB_BATCH_ZSTD;
  b->marks += body->count;
  h->last_mark = b->marks;
  h->sealed_ms = 1750000000000 + (int64_t)b->marks;
  h->segment_count = 1;
  h->segments[0] = (struct trb_segment){.first_mark = 1, .at = {.wall_ms = 1750000000000}};
  h->digest_count = 2;
  h->digests = b->digests;
  must(batch_seal(&batch, b->signer, out, b->hash, &err), "seal");
}

/* ---- the hub: net's part is here, worker and writer are the real ones ---- */

struct hub {
  struct writer writer;
  struct queue *to_worker, *to_writer, *answers;
  struct worker_keys keys;
  pthread_t worker, writing;
  clockid_t worker_clock, writer_clock;
  struct branch branches[SITES];
  double wall, worker_cpu, writer_cpu, process_cpu;
};

static void *worker_main(void *arg) { /* as hub.c's */
  struct hub *hub = arg;
  for (struct hub_job *job; (job = queue_pop(hub->to_worker, -1)) != NULL;) {
    worker_verify(job, &hub->keys);
    job->weight = job->arena.used;
    if (!queue_push(hub->to_writer, job, job->weight)) job_free(&job);
  }
  return NULL;
}

static void add_sites(struct hub *hub) {
  struct store *s = &hub->writer.store;
  struct unify_sites dirty;
  must(store_begin(s, &err), "begin");
  for (int i = 0; i < SITES; i++) {
    struct branch *b = &hub->branches[i];
    uint8_t seed[TRB_KEY_BYTES];
    snprintf(b->name, sizeof b->name, "branch%d", i + 1);
    crypto_random(seed, sizeof seed);
    crypto_random(b->incarnation, sizeof b->incarnation);
    must(crypto_signer_new(seed, &b->signer, &err), "key");
    must(store_site_no(s, trb_slice_str(b->name), &b->site, &err), "site");
    must(store_stream_start(s, b->site, b->incarnation, NULL, 0, &err), "stream");
    b->digests[0].table = TRB_T_customer;
    b->digests[1].table = TRB_T_contact;
  }
  must(store_commit(s, &dirty, &err), "commit");
}

static void hub_start(struct hub *hub, const char *dir) {
  struct hub_options options = {.name = "bench", .listen = "tcp://127.0.0.1:7600"};
  struct trb_conf conf;
  must(hub_init(dir, &options, &err), "hub init");
  must(conf_load(dir, &conf, &err), "node.ini");
  must(writer_open(dir, &conf, true, &hub->writer, &err), "open");
  add_sites(hub);
  must(queue_new(4096, 256u << 20, &hub->to_worker, &err), "queue");
  must(queue_new(4096, 256u << 20, &hub->to_writer, &err), "queue");
  must(queue_new(SIZE_MAX, SIZE_MAX, &hub->answers, &err), "queue");
  hub->writer.in = hub->to_writer;
  hub->writer.out = hub->answers;
  bool ok = pthread_create(&hub->worker, NULL, worker_main, hub) == 0 &&
            pthread_create(&hub->writing, NULL, writer_main, &hub->writer) == 0 &&
            pthread_getcpuclockid(hub->worker, &hub->worker_clock) == 0 &&
            pthread_getcpuclockid(hub->writing, &hub->writer_clock) == 0;
  must(ok ? TRB_OK : TRB_STORE, "threads");
}

static struct hub_job *received(const struct hub *hub, const struct branch *b, struct trb_slice sealed) {
  struct hub_job *job = job_new(JOB_BATCH, b->site, b->name);
  bool ok = job != NULL;
  if (ok) job->sealed = trb_arena_copy(&job->arena, sealed, &ok);
  must(ok ? TRB_OK : TRB_NOMEM, "job");
  job->sign_key_count = 1;
  memcpy(job->sign_keys[0], crypto_signer_public(b->signer), TRB_KEY_BYTES);
  snprintf(job->key_context.region, sizeof job->key_context.region, "CN");
  job->catalogue = catalogue_ref(hub->writer.store.catalogue);
  job->weight = job->arena.used;
  return job;
}

/* Until every batch is acknowledged, as sessions would tell the branches. */
static void await(struct hub *hub, size_t batches) {
  while (batches) {
    struct hub_job *job = queue_pop(hub->answers, 60000);
    if (!job) wrong("batches were never answered", (long long)batches);
    if (job->kind == JOB_BATCH) {
      if (job->status != TRB_OK || job->hold || !job->ack.len) {
        fprintf(stderr, "bench_ingest: %s %s\n", job->text, job->error.text);
        wrong("is the hold of a batch", job->hold);
      }
      batches--;
    }
    job_free(&job);
  }
}

static void hub_take(struct hub *hub, const struct trb_buf *sealed) {
  double start = now(), worker = seconds(hub->worker_clock), writing = seconds(hub->writer_clock);
  for (size_t i = 0; i < STEP_BATCHES; i++) {
    struct hub_job *job = received(hub, &hub->branches[i % SITES], trb_buf_slice(&sealed[i]));
    if (!queue_push(hub->to_worker, job, job->weight)) must(TRB_STORE, "queue");
  }
  await(hub, STEP_BATCHES);
  hub->wall += now() - start;
  hub->worker_cpu += seconds(hub->worker_clock) - worker;
  hub->writer_cpu += seconds(hub->writer_clock) - writing;
}

static void hub_stop(struct hub *hub) {
  queue_close(hub->to_worker);
  pthread_join(hub->worker, NULL);
  queue_close(hub->to_writer);
  pthread_join(hub->writing, NULL);
  for (struct hub_job *job; (job = queue_pop(hub->answers, 0)) != NULL;) job_free(&job);
  queue_free(&hub->to_worker);
  queue_free(&hub->to_writer);
  queue_free(&hub->answers);
  for (int i = 0; i < SITES; i++) crypto_signer_free(&hub->branches[i].signer);
}

/* ---- the yardstick ---- */

struct yardstick {
  struct trb_db *db;
  struct trb_stmt *customer, *identity;
  double wall, cpu;
};

static void yardstick_open(struct yardstick *y, const char *folder) {
  char path[500];
  snprintf(path, sizeof path, "%s/yardstick.db", folder);
  must(db_open(path, TRB_DB_CREATE, 1000, &y->db, &err), "yardstick");
  must(db_exec(y->db,
               "PRAGMA journal_mode=WAL;PRAGMA synchronous=FULL;PRAGMA cache_size=-65536;"
               "CREATE TABLE customer(rid INTEGER PRIMARY KEY,id TEXT,created_at INTEGER,updated_at INTEGER,kind TEXT,"
               "name TEXT,name_latin TEXT,gender TEXT,birthday TEXT,nationality TEXT,province TEXT,city TEXT,address "
               "TEXT,source TEXT,external_ref TEXT);"
               "CREATE TABLE identity(rid INTEGER PRIMARY KEY,customer INTEGER,kind TEXT,key TEXT);"
               "CREATE INDEX identity_key ON identity(key);",
               &err),
       "yardstick");
  must(db_prepare(y->db,
                  "INSERT INTO customer VALUES(?1,?2,?3,?3,'person',?4,?5,?6,?7,'CN','上海市','上海',?8,'counter',?9)",
                  &y->customer, &err),
       "yardstick");
  must(db_prepare(y->db, "INSERT INTO identity(customer,kind,key)VALUES(?1,?2,?3)", &y->identity, &err), "yardstick");
}

static void yardstick_insert(struct yardstick *y, const struct person *p) {
  bool row;
  stmt_bind_int(y->customer, 1, p->number + 1);
  stmt_bind_text(y->customer, 2, p->id);
  stmt_bind_int(y->customer, 3, 1750000000000 + p->number / 8);
  stmt_bind_text(y->customer, 4, p->name);
  stmt_bind_text(y->customer, 5, p->latin);
  stmt_bind_text(y->customer, 6, p->number % 2 ? "M" : "F");
  stmt_bind_text(y->customer, 7, p->birthday);
  stmt_bind_text(y->customer, 8, p->address);
  stmt_bind_text(y->customer, 9, p->ref);
  must(stmt_step(y->customer, &row, &err), "yardstick");
  for (int i = 0; i < CONTACTS; i++) {
    stmt_bind_int(y->identity, 1, p->number + 1);
    stmt_bind_text(y->identity, 2, KIND[i]);
    stmt_bind_text(y->identity, 3, p->key[i]);
    must(stmt_step(y->identity, &row, &err), "yardstick");
  }
}

static void yardstick_take(struct yardstick *y, int64_t first, unsigned duplicates) {
  static struct person people[STEP_CUSTOMERS];
  for (int64_t i = 0; i < STEP_CUSTOMERS; i++) person_make(first + i, duplicates, &people[i]);
  double start = now(), cpu = seconds(CLOCK_THREAD_CPUTIME_ID);
  for (int64_t i = 0; i < STEP_CUSTOMERS; i++) {
    if (i % YARDSTICK_TRANSACTION == 0) must(db_begin(y->db, &err), "yardstick");
    yardstick_insert(y, &people[i]);
    if ((i + 1) % YARDSTICK_TRANSACTION == 0) must(db_commit(y->db, &err), "yardstick");
  }
  y->wall += now() - start;
  y->cpu += seconds(CLOCK_THREAD_CPUTIME_ID) - cpu;
}

/* ---- the run ---- */

struct options {
  int64_t customers;
  unsigned duplicates;
  const char *folder;
  bool keep;
};

static void print(const char *name, double value, const char *unit, double yardstick, double ratio,
                  const char *conditions) {
  printf("{\"name\":\"%s\",\"value\":%.4g,\"unit\":\"%s\"", name, value, unit);
  if (yardstick > 0) printf(",\"yardstick\":%.4g,\"ratio\":%.3f", yardstick, ratio);
  printf(",\"conditions\":\"%s\"}\n", conditions);
  fflush(stdout);
}

static void print_step(const struct options *o, const struct hub *hub, const struct yardstick *y, int64_t done) {
  char conditions[200], name[40];
  double n = (double)done;
  long long thousands = (long long)done / 1000;
  snprintf(conditions, sizeof conditions,
           "from empty to %lld customers, 8 branches, batches of 1,000 changes, %u %% duplicates", (long long)done,
           o->duplicates);
  snprintf(name, sizeof name, "ingest_%lldk", thousands);
  print(name, n / hub->wall, "customers/s", n / y->wall, y->wall / hub->wall, conditions);
  snprintf(name, sizeof name, "writer_cpu_%lldk", thousands);
  print(name, hub->writer_cpu / n * 1e6, "us/customer", y->cpu / n * 1e6, y->cpu / hub->writer_cpu, conditions);
  snprintf(name, sizeof name, "worker_cpu_%lldk", thousands);
  print(name, hub->worker_cpu / n * 1e6, "us/customer", 0, 0, conditions);
}

static void step(struct hub *hub, struct yardstick *y, int64_t first, unsigned duplicates) {
  static struct body body;
  static struct trb_buf sealed[STEP_BATCHES];
  for (int64_t i = 0; i < STEP_BATCHES; i++) {
    trb_buf_clear(&sealed[i]);
    branch_seal(&hub->branches[i % SITES], first + i / SITES * SITES * BATCH_CUSTOMERS + i % SITES, duplicates, &body,
                &sealed[i]);
  }
  hub_take(hub, sealed);
  yardstick_take(y, first, duplicates);
}

static void check(struct hub *hub, const struct options *o, const char *dir) {
  char path[500];
  struct trb_db *db = NULL;
  struct unify_report report = {0};
  int64_t customers = 0, aside = 0;
  snprintf(path, sizeof path, "%s/hub.db", dir);
  must(db_open(path, TRB_DB_READ, 1000, &db, &err), "verify");
  must(db_get_int(db, &err, &customers, "SELECT count(*) FROM customer", ""), "verify");
  must(db_get_int(db, &err, &aside, "SELECT count(*) FROM set_aside", ""), "verify");
  must(unify_verify(db, hub->writer.store.catalogue, &report, &err), "verify");
  db_close(&db);
  if (customers != o->customers) wrong("customers are stored, and that is wrong", customers);
  if (aside) wrong("changes set aside, or digests that differ", aside);
  int64_t differences = report.golden_differences + report.party_differences + report.claim_differences;
  if (differences) wrong("differences to the view made from nothing", differences);
  if (!o->duplicates && report.parties != o->customers) wrong("parties, without duplicates", report.parties);
  if (o->duplicates && report.parties >= o->customers) wrong("parties, with duplicates", report.parties);
  fprintf(stderr, "verified: %lld records, %lld parties, %lld claims\n", (long long)report.records,
          (long long)report.parties, (long long)report.claims);
}

static int64_t file_mb(const char *dir, const char *name) {
  char path[500];
  struct stat st;
  snprintf(path, sizeof path, "%s/%s", dir, name);
  return stat(path, &st) == 0 ? st.st_size >> 20 : 0;
}

static int run(const struct options *o, const char *folder) {
  static struct hub hub;
  static struct yardstick y;
  char dir[450];
  int code = 0;
  snprintf(dir, sizeof dir, "%s/hub", folder);
  hub_start(&hub, dir);
  yardstick_open(&y, folder);
  double rss = resident_mb();
  for (int64_t done = 0; done < o->customers;) {
    step(&hub, &y, done, o->duplicates);
    done += STEP_CUSTOMERS;
    if (done <= RATIO_AT || done % (RATIO_AT / 2) == 0) print_step(o, &hub, &y, done);
    if (done == RATIO_AT && y.wall / hub.wall < RATIO_MIN) code = 3;
  }
  print("hub_memory", resident_mb() - rss, "MB", 0, 0, "grown over the run, this process and its yardstick");
  print("hub_commits", (double)atomic_load(&hub.writer.counters.groups), "groups", 0, 0, "");
  hub_stop(&hub);
  print("hub_db", (double)file_mb(dir, "hub.db"), "MB", (double)file_mb(folder, "yardstick.db"),
        (double)file_mb(folder, "yardstick.db") / (double)(file_mb(dir, "hub.db") + 1), "size of the files");
  check(&hub, o, dir);
  writer_close(&hub.writer);
  stmt_free(&y.customer);
  stmt_free(&y.identity);
  db_close(&y.db);
  return code;
}

static void parse(int argc, char **argv, struct options *o) {
  static const struct option options[] = {{"large", no_argument, NULL, 'l'},
                                          {"customers", required_argument, NULL, 'n'},
                                          {"duplicates", required_argument, NULL, 'd'},
                                          {"folder", required_argument, NULL, 'f'},
                                          {"keep", no_argument, NULL, 'k'},
                                          {NULL, 0, NULL, 0}};
  for (int c; (c = getopt_long(argc, argv, "", options, NULL)) != -1;) switch (c) {
      case 'l': o->customers = 1000000; break;
      case 'n':
        o->customers = (strtoll(optarg, NULL, 10) + STEP_CUSTOMERS - 1) / STEP_CUSTOMERS * STEP_CUSTOMERS;
        break;
      case 'd': o->duplicates = (unsigned)strtoul(optarg, NULL, 10); break;
      case 'f': o->folder = optarg; break;
      case 'k': o->keep = true; break;
      default:
        fprintf(stderr, "usage: bench_ingest [--large] [--customers N] [--duplicates PERCENT] [--folder F] [--keep]\n");
        exit(2);
    }
}

int main(int argc, char **argv) {
  struct options o = {.customers = RATIO_AT, .folder = "/var/tmp"};
  char folder[400], command[450];
  parse(argc, argv, &o);
  snprintf(folder, sizeof folder, "%s/bench-ingest-XXXXXX", o.folder);
  if (!mkdtemp(folder)) must(trb_fail(&err, TRB_STORE, "%s: %m", folder), "folder");
  int code = run(&o, folder);
  snprintf(command, sizeof command, "rm -rf '%s'", folder);
  if (o.keep)
    fprintf(stderr, "kept: %s\n", folder);
  else if (system(command) != 0)
    fprintf(stderr, "bench_ingest: %s is left\n", folder);
  return code;
}
