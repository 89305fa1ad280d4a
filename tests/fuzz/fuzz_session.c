/* libFuzzer: a hostile branch, and a shell that answers in any order. The first bytes of each step choose what happens;
 * frames are made from the rest, well formed or not. Whatever comes: no crash, every frame sent can be read by a
 * branch, only the next or an old batch reaches a worker, and nothing is acknowledged that was not committed. */
#include "fuzz_steps.h"
#include "tributary/session.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

struct hub {
  struct session *s;
  uint64_t committed; /* the most that the shell ever said */
  int64_t now;
};

static void drain(struct hub *hub) {
  struct session_action action;
  for (int i = 0; session_next(hub->s, &action) != SESSION_IDLE; i++) {
    TRB_ASSERT(i < 1000);
    if (action.what == SESSION_VERIFY)
      TRB_ASSERT(action.sequence >= 1 && action.sequence <= FUZZ_BATCHES && action.bytes.len);
    if (action.what != SESSION_SEND) continue;
    struct wire_message message;
    TRB_ASSERT(wire_decode(action.bytes, &message, NULL) == TRB_OK && wire_sender(message.type) == 'H');
    if (message.type == WIRE_ack) TRB_ASSERT(message.ack.sequence <= hub->committed);
    if (message.type == WIRE_ack) TRB_ASSERT(message.ack.credit >= TRB_CREDIT_BYTES);
  }
  struct session_status status;
  session_status(hub->s, &status);
  TRB_ASSERT(status.in_flight_bytes <= TRB_CREDIT_BYTES + TRB_GROUP_BYTES_MAX);
}

static void send_frame(struct hub *hub, struct fuzz_input *in) {
  struct wire_message m;
  TRB_BUF_AUTO frame = {0};
  switch (take(in) % 7) {
    case 0: session_receive(hub->s, take_slice(in), hub->now); return;
    case 1:
      m = (struct wire_message){
          .type = WIRE_hello, .hello = {.proto_min = take(in) % 4 == 3, .proto_max = 1, .down_version = take(in) % 8}};
      m.hello.wall_ms = take_int(in);
      m.hello.boot_ms = take_int(in);
      memset(m.hello.incarnation, take(in) % 3, TRB_INCARNATION_BYTES);
      memset(m.hello.down_epoch, take(in) % 3, 16);
      break;
    case 2:
      m = (struct wire_message){.type = WIRE_batch, .batch = {.sealed = fuzz_batch(take(in)), .ack = take_slice(in)}};
      break;
    case 3:
      m = (struct wire_message){.type = WIRE_down_ack, .down_ack = {.version = take(in) % 16}};
      memset(m.down_ack.epoch, take(in) % 3, 16);
      break;
    case 4:
      m = (struct wire_message){.type = WIRE_ping, .ping = {.backlog = take(in)}};
      m.ping.wall_ms = take_int(in);
      m.ping.boot_ms = take_int(in);
      break;
    case 5:
      m = (struct wire_message){.type = WIRE_new_stream, .new_stream = {.why = take(in)}};
      memset(m.new_stream.parent, take(in) % 3, TRB_INCARNATION_BYTES);
      break;
    default: m = (struct wire_message){.type = (enum wire_type)(take(in) % 20)}; break;
  }
  wire_encode(&m, &frame);
  session_receive(hub->s, trb_buf_slice(&frame), hub->now);
}

static void answer(struct hub *hub, struct fuzz_input *in) {
  struct session_stream stream = {.safe_sequence = take(in) % 8};
  uint64_t n = take(in) % (FUZZ_BATCHES + 1);
  memset(stream.incarnation, take(in) % 3, TRB_INCARNATION_BYTES);
  switch (take(in) % 10) {
    case 0:
    case 1:
      stream.acked_sequence = n;
      if (hub->committed < n) hub->committed = n;
      session_attached(hub->s, &stream);
      break;
    case 2:
    case 3:
      if (hub->committed < n) hub->committed = n;
      session_committed(hub->s, n, stream.acked_hash, take_slice(in));
      break;
    case 4: session_held(hub->s, (enum trb_hold)(1 + take(in) % 7), n, take(in) & 1 ? "满" : NULL); break;
    case 5: session_down(hub->s, take(in) % 16, take(in) % 16, take(in) & 1, take(in) & 6, take_slice(in)); break;
    case 6: session_stream(hub->s, &stream, take(in) & 1, "no"); break;
    case 7: session_down_ready(hub->s), session_snapshot_ready(hub->s); break;
    case 8: session_safe(hub->s, n); break;
    default: session_suspend(hub->s, take(in) & 1); break;
  }
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
  struct line_kit *kit = fuzz_kit();
  struct fuzz_input in = {data, size};
  struct hub hub = {.now = 1000000};
  struct session_config config = {.site = "shanghai", .keyset = trb_buf_slice(&kit->keyset)};
  memset(config.epoch, 1, sizeof config.epoch);
  if (session_new(&config, &hub.s) != TRB_OK) return 0;
  session_routed(hub.s, hub.now);
  while (in.len) {
    switch (take(&in) % 8) {
      case 0: session_routed(hub.s, hub.now); break;
      case 1:
        hub.now += take(&in) * 400;
        session_tick(hub.s, hub.now);
        break;
      case 2:
      case 3:
      case 4: answer(&hub, &in); break;
      default: send_frame(&hub, &in); break;
    }
    if (take(&in) % 4) drain(&hub); /* a shell that is slow to drain */
  }
  drain(&hub);
  session_free(&hub.s);
  return 0;
}
