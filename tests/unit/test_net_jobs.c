/* What the net thread asks the others for, when their queues are full: nothing is lost without a word. */
#include "hub_fixture.h"

#include "../node/hub/daemon.h"
#include "../node/hub/log.h"

struct net_fx {
  struct daemon d;
  struct net_site site;
  struct hub_job *filler[2]; /* in to_writer and to_down, which have room for one */
};

static int net_setup(void **state) {
  struct net_fx *f = calloc(1, sizeof *f);
  struct trb_error err = {0};
  uint8_t public_key[TRB_KEY_BYTES], secret[TRB_KEY_BYTES];
  struct daemon *d = &f->d;
  crypto_curve_keypair(public_key, secret);
  assert_int_equal(queue_new(1, SIZE_MAX, &d->to_writer, &err), TRB_OK);
  assert_int_equal(queue_new(1, SIZE_MAX, &d->to_down, &err), TRB_OK);
  assert_int_equal(link_context_new(&d->context, &err), TRB_OK);
  assert_int_equal(link_server_open(d->context, "tcp://127.0.0.1:*", secret, NULL, NULL, &d->server, &err), TRB_OK);
  d->joiners = buckets_new(8, 10, 1000);
  d->catalogue = catalogue_builtin();
  f->site.no = 2;
  snprintf(f->site.name, sizeof f->site.name, "north");
  for (int i = 0; i < 2; i++) {
    f->filler[i] = job_new(JOB_NOTICE, 0, NULL);
    assert_true(queue_try_push(i ? d->to_down : d->to_writer, f->filler[i], 0));
  }
  *state = f;
  return 0;
}

static int net_teardown(void **state) {
  struct net_fx *f = *state;
  struct daemon *d = &f->d;
  jobs_drop_late(&f->site);
  for (int i = 0; i < 2; i++) {
    struct queue *q = i ? d->to_down : d->to_writer;
    for (struct hub_job *job; (job = queue_pop(q, 0)) != NULL;) job_free(&job);
  }
  queue_free(&d->to_writer);
  queue_free(&d->to_down);
  link_server_close(&d->server);
  link_context_free(&d->context);
  buckets_free(&d->joiners);
  catalogue_unref(&d->catalogue);
  free(f);
  return 0;
}

/* The next job, with room for one more then. */
static struct hub_job *next(struct queue *q) {
  struct hub_job *job = queue_pop(q, 0);
  assert_non_null(job);
  return job;
}

static void what_finds_a_full_queue_is_asked_for_at_the_next_tick(void **state) {
  struct net_fx *f = *state;
  struct daemon *d = &f->d;
  static const struct {
    enum session_do what;
    enum job_kind kind;
  } all[] = {{SESSION_ATTACH, JOB_ATTACH},     {SESSION_NEW_STREAM, JOB_NEW_STREAM}, {SESSION_ROTATE, JOB_ROTATE},
             {SESSION_SNAPSHOT, JOB_SNAPSHOT}, {SESSION_CLEAR_DOWN, JOB_CLEAR_DOWN}, {SESSION_RENDER_DOWN, JOB_RENDER}};
  for (size_t i = 0; i < sizeof all / sizeof *all; i++) {
    struct queue *q = all[i].kind == JOB_RENDER ? d->to_down : d->to_writer;
    struct wire_new_stream stream = {.sequence = 41 + i};
    struct wire_rotate rotate = {.sign_public = {7}};
    struct session_action action = {.what = all[i].what, .version = 9, .new_stream = &stream, .rotate = &rotate};
    jobs_from_session(d, &f->site, &action);
    stream.sequence++;
    action.version++;
    jobs_from_session(d, &f->site, &action); /* asked again meanwhile: once is enough */
    memset(&stream, 0, sizeof stream);       /* the action's own are gone by then */
    memset(&rotate, 0, sizeof rotate);
    assert_int_equal(queue_count(q), 1);
    jobs_retry(d, &f->site, 1); /* still full */
    struct hub_job *filler = next(q);
    jobs_retry(d, &f->site, 2);
    struct hub_job *job = next(q);
    assert_int_equal(job->kind, all[i].kind);
    assert_int_equal(job->site, 2);
    assert_string_equal(job->site_name, "north");
    if (job->kind == JOB_NEW_STREAM) assert_int_equal(job->new_stream.sequence, 42 + i);
    if (job->kind == JOB_ROTATE) assert_int_equal(job->rotate.sign_public[0], 7);
    if (job->kind == JOB_CLEAR_DOWN || job->kind == JOB_RENDER) assert_int_equal(job->version, 10);
    job_free(&job);
    jobs_retry(d, &f->site, 3);
    assert_int_equal(queue_count(q), 0); /* once */
    assert_true(queue_try_push(q, filler, 0));
  }
}

static void what_was_late_is_dropped_once_a_later_one_went_through(void **state) {
  struct net_fx *f = *state;
  struct daemon *d = &f->d;
  struct session_action action = {.what = SESSION_ATTACH};
  jobs_from_session(d, &f->site, &action);
  struct hub_job *filler = next(d->to_writer);
  jobs_from_session(d, &f->site, &action);
  struct hub_job *job = next(d->to_writer);
  assert_int_equal(job->kind, JOB_ATTACH);
  jobs_retry(d, &f->site, 1); /* a second ATTACH would forget half a pass of the line that is up */
  assert_int_equal(queue_count(d->to_writer), 0);
  job_free(&job);
  assert_true(queue_try_push(d->to_writer, filler, 0));
}

static void a_guest_who_finds_a_full_queue_is_told_so(void **state) {
  struct net_fx *f = *state;
  struct wire_message message = {.type = WIRE_join,
                                 .join = {.proto_min = 1, .proto_max = 1, .software = trb_slice_str("test")}};
  struct trb_error err = {0};
  uint8_t seed[TRB_KEY_BYTES], secret[TRB_KEY_BYTES];
  struct crypto_signer *signer = NULL;
  TRB_BUF_AUTO signed_part = {0};
  TRB_BUF_AUTO body = {0};
  crypto_sign_keypair(message.join.sign_public, seed);
  crypto_curve_keypair(message.join.curve_public, secret);
  assert_int_equal(crypto_signer_new(seed, &signer, &err), TRB_OK);
  wire_join_signed(&message.join, &signed_part);
  crypto_sign(signer, "tributary join v1", trb_buf_slice(&signed_part), message.join.proof);
  wire_encode(&message, &body);
  struct link_frame frame = {
      .route = {.data = {0, 1, 2}, .len = 3}, .address = "192.0.2.1", .body = trb_buf_slice(&body)};
  memcpy(frame.curve_public, message.join.curve_public, TRB_KEY_BYTES);
  jobs_guest(&f->d, &frame);
  assert_int_equal(f->d.joins_refused, 1);
  struct hub_job *filler = next(f->d.to_writer);
  jobs_guest(&f->d, &frame);
  assert_int_equal(f->d.joins_refused, 1);
  struct hub_job *job = next(f->d.to_writer);
  assert_int_equal(job->kind, JOB_JOIN);
  job_free(&job);
  assert_true(queue_try_push(f->d.to_writer, filler, 0));
  crypto_signer_free(&signer);
}

static void a_disk_that_is_full_is_logged_once_and_so_is_its_end(void **state) {
  struct net_fx *f = *state;
  char *text = NULL;
  size_t len = 0;
  FILE *out = open_memstream(&text, &len);
  struct hub_job *job = job_new(JOB_BATCH, 2, "north");
  log_to(out);
  job->hold = TRB_HOLD_BUSY;
  job->status = trb_fail(&job->error, TRB_FULL, "hub.db: database or disk is full");
  atomic_store(&f->d.writer.counters.failing, true);
  for (int i = 0; i < 3; i++) netlog_result(&f->d, job);
  netlog_tick(&f->d);
  atomic_store(&f->d.writer.counters.failing, false);
  for (int i = 0; i < 3; i++) netlog_tick(&f->d);
  log_to(NULL);
  fclose(out);
  assert_string_equal(text,
                      "<2>the disk is full: hub.db cannot be written, branches are told to wait: hub.db: database or "
                      "disk is full\n<5>hub.db is written again\n");
  free(text);
  job_free(&job);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, net_setup, net_teardown)
int main(void) {
  const struct CMUnitTest tests[] = {
      TEST(what_finds_a_full_queue_is_asked_for_at_the_next_tick),
      TEST(what_was_late_is_dropped_once_a_later_one_went_through),
      TEST(a_guest_who_finds_a_full_queue_is_told_so),
      TEST(a_disk_that_is_full_is_logged_once_and_so_is_its_end),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
