/* branch: the daemon as a process of its own, against a small hub that speaks the protocol from here. */
#include "branch_fixture.h"

#include <fcntl.h>
#include <signal.h>
#include <sys/prctl.h>
#include <sys/wait.h>

#include "tributary/branch.h"
#include "tributary/link.h"

/* ---- a hub of one site ---- */

#define TINY_SILENT UINT32_MAX /* takes it and does not say so */

struct tiny {
  struct link_context *context;
  struct link_server *server;
  struct crypto_signer *root, *sign;
  uint8_t curve_public[TRB_KEY_BYTES], curve_secret[TRB_KEY_BYTES];
  struct trb_keyset keyset;
  struct trb_token token;
  uint8_t site_curve[TRB_KEY_BYTES], site_sign[TRB_KEY_BYTES];
  bool enrolled;
  struct link_route route;
  bool routed;
  uint32_t fault; /* answer to JOIN, or TINY_SILENT */
  uint8_t incarnation[TRB_INCARNATION_BYTES], last_hash[TRB_HASH_BYTES];
  uint64_t acked;
  uint32_t joins, hellos, batches, baselines, streams, rotations, down_acks, changes, guests;
  uint64_t down_acked, commit;
  bool mute; /* takes batches, acknowledges none */
  char dir[64];
  struct trb_db *client;
};

static int64_t wall_ms(void) {
  struct trb_clock_reading now;
  OK(clock_read(&now));
  return now.wall_ms;
}

static bool authorise(void *arg, const uint8_t key[TRB_KEY_BYTES], const char *address, char user[TRB_LINK_USER_MAX]) {
  struct tiny *t = arg;
  (void)address;
  bool known = t->enrolled && memcmp(key, t->site_curve, TRB_KEY_BYTES) == 0;
  snprintf(user, TRB_LINK_USER_MAX, "%s", known ? "north" : TRB_LINK_GUEST);
  return true;
}

static void reply(struct tiny *t, const struct link_route *route, const struct wire_message *message) {
  TRB_BUF_AUTO frame = {0};
  wire_encode(message, &frame);
  link_server_send(t->server, route, trb_buf_slice(&frame));
}

static void sealed_keys(struct tiny *t, struct trb_buf *out) { keyset_seal(&t->keyset, t->root, out); }

static void on_join(struct tiny *t, const struct link_frame *frame, const struct wire_join *join) {
  struct wire_message answer = {0};
  TRB_BUF_AUTO keys = {0}, covered = {0};
  t->joins++;
  wire_join_signed(join, &covered);
  assert_true(crypto_verify(join->sign_public, TRB_DOMAIN_JOIN, trb_buf_slice(&covered), join->proof));
  assert_memory_equal(join->secret, t->token.secret, 32);
  if (t->fault && t->fault != TINY_SILENT) {
    answer.type = WIRE_fault;
    answer.fault = (struct wire_fault){.code = t->fault, .text = trb_slice_str("no")};
    reply(t, &frame->route, &answer);
    return;
  }
  if (t->enrolled) assert_memory_equal(t->site_curve, join->curve_public, TRB_KEY_BYTES);
  memcpy(t->site_curve, join->curve_public, TRB_KEY_BYTES);
  memcpy(t->site_sign, join->sign_public, TRB_KEY_BYTES);
  t->enrolled = true;
  if (t->fault == TINY_SILENT) return;
  sealed_keys(t, &keys);
  answer.type = WIRE_joined;
  answer.joined = (struct wire_joined){.site = trb_slice_str("north"),
                                       .hub_ms = wall_ms(),
                                       .keys = trb_buf_slice(&keys),
                                       .region = trb_slice_str("CN"),
                                       .area_code = trb_slice_str("021")};
  memcpy(answer.joined.incarnation, t->incarnation, TRB_INCARNATION_BYTES);
  reply(t, &frame->route, &answer);
}

static void on_hello(struct tiny *t, const struct wire_hello *hello) {
  TRB_BUF_AUTO keys = {0};
  t->hellos++;
  struct wire_message answer = {.type = WIRE_welcome};
  if (memcmp(hello->incarnation, t->incarnation, TRB_INCARNATION_BYTES) != 0) {
    answer.type = WIRE_hold;
    answer.hold = (struct wire_hold){.code = TRB_HOLD_INCARNATION, .text = trb_slice_str("another stream")};
    reply(t, &t->route, &answer);
    return;
  }
  sealed_keys(t, &keys);
  answer.welcome = (struct wire_welcome){.proto = 1,
                                         .hub_ms = wall_ms(),
                                         .site = trb_slice_str("north"),
                                         .acked_sequence = t->acked,
                                         .credit = TRB_CREDIT_BYTES,
                                         .keys = trb_buf_slice(&keys)};
  memcpy(answer.welcome.acked_hash, t->last_hash, TRB_HASH_BYTES);
  memset(answer.welcome.epoch, 5, 16);
  reply(t, &t->route, &answer);
  struct wire_message down = {.type = WIRE_down};
  TRB_BUF_AUTO rows = {0};
  if (hello->down_version == 0) { /* the first rows: a whole snapshot */
    mp_put_array(&rows, 1);
    mp_put_array(&rows, 5);
    mp_put_uint(&rows, TRB_T_notice);
    mp_put_uint(&rows, 1);
    mp_put_str(&rows, trb_slice_str("welcome"));
    mp_put_uint(&rows, 3);
    mp_put_array(&rows, 0);
    down.down = (struct wire_down){.version = 3, .flags = DOWN_FIRST | DOWN_LAST, .rows = trb_buf_slice(&rows)};
    memset(down.down.epoch, 5, 16);
    reply(t, &t->route, &down);
  }
}

static void on_batch(struct tiny *t, const struct wire_batch *message) {
  TRB_ARENA_AUTO arena = {0};
  TRB_BUF_AUTO acks = {0}, ack_bytes = {0};
  struct trb_batch batch;
  struct trb_ack ack = {.site = trb_slice_str("north")};
  OK(batch_open(message->sealed, t->site_sign, &arena, &batch, ack.hash, err));
  if (t->mute) return;
  if (batch.header.sequence > t->acked) {
    assert_int_equal(batch.header.sequence, t->acked + 1);
    assert_memory_equal(batch.header.previous, t->last_hash, TRB_HASH_BYTES);
    t->acked = batch.header.sequence;
    memcpy(t->last_hash, ack.hash, TRB_HASH_BYTES);
    t->batches++;
    t->changes += batch.header.change_count;
    t->baselines += (batch.header.flags & TRB_BATCH_BASELINE) != 0;
  }
  ack.sequence = batch.header.sequence;
  memcpy(ack.incarnation, batch.header.incarnation, TRB_INCARNATION_BYTES);
  clock_correct(batch.header.segments, batch.header.segment_count, NULL, 0, &ack.acceptance);
  ack.acceptance.commit = trb_hlc_of_ms(wall_ms()) + ++t->commit;
  ack.acceptance.limit = trb_hlc_of_ms(wall_ms());
  ack_seal(&ack, t->sign, &ack_bytes);
  mp_put_array(&acks, 1);
  mp_put_bin(&acks, trb_buf_slice(&ack_bytes));
  struct wire_message answer = {.type = WIRE_ack};
  answer.ack = (struct wire_ack){.sequence = ack.sequence, .credit = TRB_CREDIT_BYTES, .acks = trb_buf_slice(&acks)};
  reply(t, &t->route, &answer);
}

static void on_new_stream(struct tiny *t, const struct wire_new_stream *ask) {
  struct wire_message answer = {.type = WIRE_stream_granted};
  t->streams++;
  crypto_random(t->incarnation, sizeof t->incarnation);
  memcpy(answer.stream_granted.incarnation, t->incarnation, TRB_INCARNATION_BYTES);
  memcpy(answer.stream_granted.parent, ask->parent, TRB_INCARNATION_BYTES);
  answer.stream_granted.sequence = ask->sequence;
  t->acked = 0;
  memset(t->last_hash, 0, sizeof t->last_hash);
  reply(t, &t->route, &answer);
}

static void on_rotate(struct tiny *t, const struct wire_rotate *rotate) {
  TRB_BUF_AUTO covered = {0};
  wire_rotate_signed(rotate, &covered);
  assert_true(crypto_verify(t->site_sign, TRB_DOMAIN_ROTATE, trb_buf_slice(&covered), rotate->signature_old));
  assert_true(crypto_verify(rotate->sign_public, TRB_DOMAIN_ROTATE, trb_buf_slice(&covered), rotate->signature_new));
  memcpy(t->site_curve, rotate->curve_public, TRB_KEY_BYTES);
  memcpy(t->site_sign, rotate->sign_public, TRB_KEY_BYTES);
  t->rotations++;
  struct wire_message answer = {.type = WIRE_rotated};
  memcpy(answer.rotated.curve_public, rotate->curve_public, TRB_KEY_BYTES);
  memcpy(answer.rotated.sign_public, rotate->sign_public, TRB_KEY_BYTES);
  reply(t, &t->route, &answer);
}

static void serve_frame(struct tiny *t, const struct link_frame *frame) {
  struct wire_message m;
  OK(wire_decode(frame->body, &m, err));
  if (m.type == WIRE_join) {
    on_join(t, frame, &m.join);
    return;
  }
  if (strcmp(frame->user, "north") != 0) {
    struct wire_message fault = {.type = WIRE_fault,
                                 .fault = {.code = TRB_FAULT_GUEST, .text = trb_slice_str("a guest may only join")}};
    t->guests++;
    reply(t, &frame->route, &fault);
    return;
  }
  t->route = frame->route;
  if (m.type == WIRE_hello) on_hello(t, &m.hello);
  if (m.type == WIRE_batch) on_batch(t, &m.batch);
  if (m.type == WIRE_new_stream) on_new_stream(t, &m.new_stream);
  if (m.type == WIRE_rotate) on_rotate(t, &m.rotate);
  if (m.type == WIRE_down_ack) {
    t->down_acks++;
    t->down_acked = m.down_ack.version;
  }
  if (m.type == WIRE_ping) {
    struct wire_message pong = {.type = WIRE_pong};
    pong.pong = (struct wire_pong){.boot_ms = m.ping.boot_ms, .hub_ms = wall_ms()};
    reply(t, &t->route, &pong);
  }
}

static void serve(struct tiny *t, int ms) {
  struct link_frame frame;
  OK(link_wait(t->server, NULL, NULL, NULL, 0, ms, err));
  while (link_server_receive(t->server, &frame, NULL) == TRB_OK) serve_frame(t, &frame);
}

static int tiny_up(void **state) {
  struct tiny *t = calloc(1, sizeof *t);
  uint8_t public_key[TRB_KEY_BYTES], seed[TRB_KEY_BYTES];
  strcpy(t->dir, "/tmp/trb-daemon-XXXXXX");
  assert_non_null(mkdtemp(t->dir));
  crypto_sign_keypair(public_key, seed);
  OK(crypto_signer_new(seed, &t->root, err));
  crypto_sign_keypair(public_key, seed);
  OK(crypto_signer_new(seed, &t->sign, err));
  crypto_curve_keypair(t->curve_public, t->curve_secret);
  OK(link_context_new(&t->context, err));
  OK(link_server_open(t->context, "tcp://127.0.0.1:*", t->curve_secret, authorise, t, &t->server, err));
  crypto_random(t->incarnation, sizeof t->incarnation);
  t->keyset = (struct trb_keyset){.version = 1, .endpoint_count = 1};
  memcpy(t->keyset.root_public, crypto_signer_public(t->root), TRB_KEY_BYTES);
  memcpy(t->keyset.sign_public, crypto_signer_public(t->sign), TRB_KEY_BYTES);
  memcpy(t->keyset.curve_public, t->curve_public, TRB_KEY_BYTES);
  snprintf(t->keyset.endpoints[0], sizeof t->keyset.endpoints[0], "%s", link_server_endpoint(t->server));
  memcpy(t->token.root_public, t->keyset.root_public, TRB_KEY_BYTES);
  memcpy(t->token.curve_public, t->curve_public, TRB_KEY_BYTES);
  crypto_random(t->token.secret, sizeof t->token.secret);
  strcpy(t->token.site, "north");
  t->token.endpoint_count = 1;
  strcpy(t->token.endpoints[0], t->keyset.endpoints[0]);
  *state = t;
  return 0;
}

static int tiny_down(void **state) {
  struct tiny *t = *state;
  char command[128];
  db_close(&t->client);
  link_server_close(&t->server);
  link_context_free(&t->context);
  crypto_signer_free(&t->root);
  crypto_signer_free(&t->sign);
  snprintf(command, sizeof command, "rm -rf %s", t->dir);
  assert_int_equal(system(command), 0);
  free(t);
  return 0;
}

/* ---- the branch, in a child ---- */

/* A child is this program started anew (child_main): a fork alone of a process with ZeroMQ's threads may hold the locks
 * that one of them held. It dies with this process. */
static pid_t child(const char *role, const char *dir, const char *what) {
  pid_t pid = fork();
  if (pid != 0) return pid;
  prctl(PR_SET_PDEATHSIG, SIGKILL);
  execl("/proc/self/exe", "test_branch", role, dir, what, (char *)NULL);
  _exit(127);
}

static enum trb_status ask_into(const char *dir, const char *word, struct trb_error *e) {
  const char *words[] = {word};
  char path[128];
  TRB_BUF_AUTO text = {0};
  enum trb_status status = branch_command(dir, 1, words, &text, e);
  snprintf(path, sizeof path, "%s/status.txt", dir);
  FILE *file = fopen(path, "w");
  fputs(status == TRB_OK ? trb_buf_cstr(&text) : e->text, file);
  fclose(file);
  return status;
}

static int child_main(char **argv) {
  const char *role = argv[1], *dir = argv[2], *what = argv[3];
  struct trb_error e = {0};
  struct trb_token token;
  struct branch_join_result result;
  enum trb_status status = TRB_PEER;
  alarm(120);
  if (strcmp(role, "run") == 0) status = branch_run(dir, false, &e);
  if (strcmp(role, "ask") == 0) status = ask_into(dir, what, &e);
  if (strcmp(role, "join") == 0) status = token_decode(trb_slice_str(what), &token, &e);
  if (strcmp(role, "join") == 0 && status == TRB_OK) status = branch_join(dir, &token, 10000, &result, &e);
  if (status != TRB_OK) fprintf(stderr, "  %s: %s\n", role, e.text);
  return (int)status;
}

static pid_t child_join(struct tiny *t) {
  TRB_BUF_AUTO token = {0};
  token_encode(&t->token, &token);
  return child("join", t->dir, trb_buf_cstr(&token));
}

static pid_t child_run(struct tiny *t) { return child("run", t->dir, ""); }

/* Serves until the child ends; its status. */
static int serve_child(struct tiny *t, pid_t pid) {
  for (int i = 0; i < 3000; i++) {
    int status;
    if (waitpid(pid, &status, WNOHANG) == pid) return WIFEXITED(status) ? WEXITSTATUS(status) : 255;
    serve(t, 10);
  }
  kill(pid, SIGKILL);
  fail_msg("the child does not end");
  return -1;
}

static int stop_child(struct tiny *t, pid_t pid) {
  kill(pid, SIGTERM);
  return serve_child(t, pid);
}

#define SERVE_UNTIL(t, condition)                                \
  do {                                                           \
    int turns_ = 0;                                              \
    for (; !(condition) && turns_ < 2000; turns_++) serve(t, 5); \
    if (turns_ == 2000) fail_msg("not: %s", #condition);         \
  } while (0)

static void open_client(struct tiny *t) {
  char path[128];
  snprintf(path, sizeof path, "%s/replica.db", t->dir);
  db_close(&t->client);
  OK(db_open(path, TRB_DB_WRITE, 2000, &t->client, err));
}

static void joined(struct tiny *t) {
  assert_int_equal(serve_child(t, child_join(t)), TRB_OK);
  open_client(t);
}

static void put(struct tiny *t, const char *id) {
  OK(db_run(t->client, err, "INSERT INTO customer(id, kind, name) VALUES(?, 'person', '张伟')", "t", id));
}

/* In a child, since the hub must go on serving while the daemon answers. */
static void ask(struct tiny *t, const char *word, struct trb_buf *out) {
  char path[128];
  snprintf(path, sizeof path, "%s/status.txt", t->dir);
  assert_int_equal(serve_child(t, child("ask", t->dir, word)), TRB_OK);
  trb_buf_clear(out);
  OK(file_read(path, 1 << 20, out, err));
}

static void status_of(struct tiny *t, struct trb_buf *out) { ask(t, "status", out); }

static bool has(struct trb_buf *text, const char *part) { return strstr(trb_buf_cstr(text), part) != NULL; }

/* ---- tests ---- */

static void branch_join_makes_a_node_and_fetches_the_first_rows(void **state) {
  struct tiny *t = *state;
  TRB_BUF_AUTO status = {0};
  joined(t);
  assert_int_equal(t->joins, 1);
  assert_int_equal(t->down_acked, 3);
  assert_int_equal(number(t->client, "SELECT count(*) FROM notice WHERE id = 'welcome'"), 1);
  struct trb_conf conf;
  OK(conf_load(t->dir, &conf, err));
  assert_string_equal(conf.site, "north");
  assert_string_equal(conf.area_code, "021");
  status_of(t, &status); /* from the files alone */
  assert_true(has(&status, "\"running\":false") && has(&status, "\"in_sync\":true"));
  assert_int_equal(serve_child(t, child_join(t)), TRB_DENIED); /* it is a node already */
}

static void branch_join_is_the_same_machine_when_it_is_repeated(void **state) {
  struct tiny *t = *state;
  char path[128];
  joined(t);
  db_close(&t->client);
  snprintf(path, sizeof path, "%s/node.ini", t->dir);
  assert_int_equal(unlink(path), 0);                       /* as if the machine had died before its last step */
  assert_int_equal(serve_child(t, child_join(t)), TRB_OK); /* on_join checks that the keys are the same */
  assert_int_equal(t->joins, 2);
}

static void branch_join_says_why_it_was_refused(void **state) {
  struct tiny *t = *state;
  char path[128], keys[128], lock[128];
  snprintf(path, sizeof path, "%s/replica.db", t->dir);
  snprintf(keys, sizeof keys, "%s/keys", t->dir);
  snprintf(lock, sizeof lock, "%s/lock", t->dir);
  static const uint32_t faults[] = {TRB_FAULT_TOKEN_UNKNOWN, TRB_FAULT_TOKEN_EXPIRED, TRB_FAULT_TOKEN_USED,
                                    TRB_FAULT_REVOKED};
  for (size_t i = 0; i < 4; i++) {
    t->fault = faults[i];
    assert_int_equal(serve_child(t, child_join(t)), TRB_DENIED);
    assert_int_not_equal(access(path, F_OK), 0);
    assert_int_not_equal(access(keys, F_OK), 0); /* DIR as it was */
    assert_int_not_equal(access(lock, F_OK), 0);
    assert_int_equal(access(t->dir, F_OK), 0);
  }
  t->fault = TRB_FAULT_RATE;
  assert_int_equal(serve_child(t, child_join(t)), TRB_AGAIN);
  assert_int_not_equal(access(keys, F_OK), 0);
  t->fault = 0;
  memset(t->token.root_public, 9, TRB_KEY_BYTES); /* a hub that cannot show the root's signature */
  assert_int_equal(serve_child(t, child_join(t)), TRB_DENIED);
  assert_int_not_equal(access(path, F_OK), 0);
  assert_int_equal(access(keys, F_OK), 0); /* it took the token: only these keys can repeat that */
}

static void branch_join_keeps_its_keys_when_no_answer_came(void **state) {
  struct tiny *t = *state;
  char path[128];
  t->fault = TINY_SILENT;
  assert_int_equal(serve_child(t, child_join(t)), TRB_AGAIN);
  assert_true(t->joins >= 1);
  snprintf(path, sizeof path, "%s/keys/sign", t->dir);
  assert_int_equal(access(path, F_OK), 0);
  t->fault = 0;
  assert_int_equal(serve_child(t, child_join(t)), TRB_OK); /* on_join checks that the keys are the same */
}

static void branch_run_seals_and_sends_within_milliseconds(void **state) {
  struct tiny *t = *state;
  TRB_BUF_AUTO status = {0};
  joined(t);
  pid_t pid = child_run(t);
  SERVE_UNTIL(t, t->hellos >= 2);
  int64_t worst = 0;
  for (uint32_t i = 0; i < 10; i++) {
    char id[16];
    snprintf(id, sizeof id, "C%03u", i);
    for (int k = 0; k < 30; k++) serve(t, 5); /* idle in between */
    put(t, id);
    int64_t start = seal_now_us();
    SERVE_UNTIL(t, t->changes == i + 1);
    if (seal_now_us() - start > worst) worst = seal_now_us() - start;
  }
  print_message("committed to acknowledged at worst %lld ms\n", (long long)worst / 1000);
  assert_true(worst < 500000); /* of a busy test machine; the bench has the figures */
  for (int k = 0; k < 80; k++) serve(t, 5);
  status_of(t, &status);
  assert_true(has(&status, "\"in_sync\":true") && has(&status, "\"state\":\"online\""));
  assert_int_equal(number(t->client, "SELECT count(*) FROM row_state WHERE state = 'at headquarters'"), 10);
  assert_int_equal(serve_child(t, child_run(t)), TRB_AGAIN); /* a second daemon on the same directory */
  assert_int_equal(stop_child(t, pid), TRB_OK);
}

static void branch_run_resumes_after_kill_at_any_time(void **state) {
  struct tiny *t = *state;
  joined(t);
  uint32_t written = 0;
  for (int round = 0; round < 12; round++) {
    pid_t pid = child_run(t);
    for (int i = 0; i < 5; i++) {
      char id[16];
      snprintf(id, sizeof id, "K%05u", written++);
      put(t, id);
      serve(t, round * 2);
    }
    for (int i = 0; i < round; i++) serve(t, 3);
    kill(pid, SIGKILL);
    serve_child(t, pid);
  }
  pid_t pid = child_run(t);
  SERVE_UNTIL(t, t->changes == written);
  for (int i = 0; i < 50; i++) serve(t, 5);
  assert_int_equal(t->changes, written); /* nothing lost, nothing doubled */
  assert_int_equal(t->streams, 0);
  assert_int_equal(stop_child(t, pid), TRB_OK);
}

static void branch_run_starts_a_new_stream_when_the_outbox_is_lost(void **state) {
  struct tiny *t = *state;
  char command[256];
  joined(t);
  pid_t pid = child_run(t);
  put(t, "a");
  put(t, "b");
  SERVE_UNTIL(t, t->changes == 2);
  assert_int_equal(stop_child(t, pid), TRB_OK);
  snprintf(command, sizeof command, "rm %s/outbox.db*", t->dir);
  assert_int_equal(system(command), 0);
  put(t, "c");
  pid = child_run(t);
  SERVE_UNTIL(t, t->baselines > 0 && t->changes == 5);
  put(t, "d");
  SERVE_UNTIL(t, t->changes == 6);
  assert_int_equal(t->streams, 1);
  assert_int_equal(stop_child(t, pid), TRB_OK);
}

static void branch_rotate_changes_keys_also_after_a_crash(void **state) {
  struct tiny *t = *state;
  TRB_BUF_AUTO out = {0};
  const char *words[] = {"rotate"};
  joined(t);
  put(t, "a");
  OK(branch_command(t->dir, 1, words, &out, err)); /* without the daemon: it begins when that runs */
  pid_t pid = child_run(t);
  SERVE_UNTIL(t, t->rotations == 1);
  kill(pid, SIGKILL); /* the hub has the new keys; the answer is lost */
  serve_child(t, pid);
  put(t, "b");
  pid = child_run(t);
  SERVE_UNTIL(t, t->changes == 2);
  char path[128];
  snprintf(path, sizeof path, "%s/keys/sign.next", t->dir);
  SERVE_UNTIL(t, access(path, F_OK) != 0);
  assert_int_equal(stop_child(t, pid), TRB_OK);
}

static void status_says_who_keeps_the_file_locked(void **state) {
  struct tiny *t = *state;
  TRB_BUF_AUTO status = {0};
  joined(t);
  pid_t pid = child_run(t);
  SERVE_UNTIL(t, t->hellos >= 2);
  OK(db_exec(t->client, "BEGIN EXCLUSIVE", err));
  ask(t, "seal", &status);
  for (int i = 0; i < 350; i++) serve(t, 10);
  OK(db_exec(t->client, "COMMIT", err));
  char expected[64];
  snprintf(expected, sizeof expected, "process %d", (int)getpid());
  TRB_BUF_AUTO path = {0}, alarm_text = {0};
  trb_buf_printf(&path, "%s/outbox.db", t->dir);
  struct trb_db *outbox = NULL;
  OK(db_open(trb_buf_cstr(&path), TRB_DB_READ, 1000, &outbox, err));
  OK(db_get_bytes(outbox, err, &alarm_text, "SELECT text FROM alarm WHERE kind = 'lock_held'", ""));
  db_close(&outbox);
  assert_true(has(&alarm_text, expected));
  put(t, "a");
  SERVE_UNTIL(t, t->changes == 1);
  status_of(t, &status);
  assert_false(has(&status, "lock_held"));
  assert_int_equal(stop_child(t, pid), TRB_OK);
}

int main(int argc, char **argv) {
  if (argc == 4) return child_main(argv);
#define T(name) cmocka_unit_test_setup_teardown(name, tiny_up, tiny_down)
  const struct CMUnitTest tests[] = {
      T(branch_join_makes_a_node_and_fetches_the_first_rows),
      T(branch_join_is_the_same_machine_when_it_is_repeated),
      T(branch_join_says_why_it_was_refused),
      T(branch_join_keeps_its_keys_when_no_answer_came),
      T(branch_run_seals_and_sends_within_milliseconds),
      T(branch_run_resumes_after_kill_at_any_time),
      T(branch_run_starts_a_new_stream_when_the_outbox_is_lost),
      T(branch_rotate_changes_keys_also_after_a_crash),
      T(status_says_who_keeps_the_file_locked),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
