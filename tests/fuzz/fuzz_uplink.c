/* libFuzzer: a hub that says anything (it is trusted less than its keys), a line that comes and goes, a shell that
 * answers late. Whatever comes: no crash, every frame sent can be read by a hub, only sealed batches are sent, acks
 * name only sealed batches, and the core always comes to rest. */
#include "fuzz_steps.h"
#include "tributary/uplink.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

struct branch {
  struct uplink *u;
  struct uplink_position at;
  struct trb_clock_reading now;
  uint64_t load, stored; /* questions that wait for an answer, 0: none */
  bool applying, new_stream, storing;
  uint8_t epoch[16];
  uint64_t version;
  bool late; /* answers later */
};

static void answer_load(struct branch *b) {
  if (!b->load) return;
  uint64_t n = b->load;
  b->load = 0;
  uplink_loaded(b->u, n, n <= FUZZ_BATCHES ? fuzz_batch((uint8_t)n) : trb_slice_of(NULL, 0), trb_slice_of(NULL, 0));
}
static void answer_stored(struct branch *b) {
  if (!b->storing) return;
  b->storing = false;
  uplink_acks_stored(b->u, b->stored);
}
static void answer_down(struct branch *b) {
  if (!b->applying) return;
  b->applying = false;
  memcpy(b->at.down_epoch, b->epoch, 16);
  b->at.down_version = b->version;
  uplink_down_applied(b->u, b->epoch, b->version);
}
static void answer_stream(struct branch *b) {
  if (!b->new_stream) return;
  b->new_stream = false;
  b->at.last_sequence = 3;
  b->at.acked_sequence = b->at.safe_sequence = 0;
  memcpy(b->at.last_hash, fuzz_hashes[3], TRB_HASH_BYTES);
  uplink_stream_started(b->u, &b->at);
}

static void check_frame(struct branch *b, struct trb_slice bytes) {
  struct wire_message message;
  TRB_ASSERT(wire_decode(bytes, &message, NULL) == TRB_OK && wire_sender(message.type) == 'B');
  if (message.type != WIRE_batch) return;
  TRB_ARENA_AUTO arena = {0};
  struct trb_batch_header header;
  uint8_t hash[TRB_HASH_BYTES];
  TRB_ASSERT(batch_peek(message.batch.sealed, &arena, &header, hash, NULL) == TRB_OK);
  TRB_ASSERT(header.sequence <= b->at.last_sequence);
}

static void drain(struct branch *b) {
  struct uplink_action action;
  for (int i = 0; uplink_next(b->u, &action) != UPLINK_IDLE; i++) {
    TRB_ASSERT(i < 1000);
    switch (action.what) {
      case UPLINK_SEND: check_frame(b, action.bytes); break;
      case UPLINK_LOAD:
        TRB_ASSERT(action.sequence >= 1 && action.sequence <= b->at.last_sequence);
        b->load = action.sequence;
        if (!b->late) answer_load(b);
        break;
      case UPLINK_STORE_ACKS:
        TRB_ASSERT(!b->storing && mp_check(action.bytes, NULL) == TRB_OK && action.sequence <= b->at.last_sequence);
        b->storing = true;
        b->stored = action.sequence;
        if (!b->late) answer_stored(b);
        break;
      case UPLINK_APPLY_DOWN:
        TRB_ASSERT(!b->applying);
        b->applying = true;
        memcpy(b->epoch, action.down->epoch, 16);
        b->version = action.down->version;
        if (!b->late) answer_down(b);
        break;
      case UPLINK_NEW_STREAM:
        TRB_ASSERT(!b->new_stream);
        b->new_stream = true;
        b->storing = false; /* the old stream's */
        memcpy(b->at.incarnation, action.incarnation, TRB_INCARNATION_BYTES);
        if (!b->late) answer_stream(b);
        break;
      default: break;
    }
  }
}

static void send_frame(struct branch *b, struct fuzz_input *in) {
  struct wire_message m;
  TRB_BUF_AUTO frame = {0};
  switch (take(in) % 9) {
    case 0: uplink_receive(b->u, take_slice(in), &b->now); return;
    case 1:
      m = (struct wire_message){.type = WIRE_welcome,
                                .welcome = {.acked_sequence = take(in) % 16,
                                            .safe_sequence = take(in) % 16,
                                            .credit = (uint64_t)take(in) << 16,
                                            .keys = trb_buf_slice(&fuzz_kit()->keyset)}};
      memcpy(m.welcome.acked_hash, fuzz_hashes[take(in) % (FUZZ_BATCHES + 1)], TRB_HASH_BYTES);
      break;
    case 2: {
      static uint8_t acks[] = {0x93, 0xc4, 1, 'a', 0xc4, 1, 'b', 0xc4, 1, 'c'};
      uint8_t count = take(in) % 5;
      acks[0] = (uint8_t)(0x90 + count);
      struct trb_slice some = count < 4 ? trb_slice_of(acks, 1 + 3u * count) : take_slice(in);
      m = (struct wire_message){.type = WIRE_ack,
                                .ack = {.sequence = take(in) % 16,
                                        .safe_sequence = take(in) % 16,
                                        .credit = (uint64_t)take(in) << 16,
                                        .acks = some}};
      break;
    }
    case 3:
      m = (struct wire_message){.type = WIRE_hold, .hold = {.code = take(in) % 9, .sequence = take(in) % 16}};
      break;
    case 4:
      m = (struct wire_message){
          .type = WIRE_down,
          .down = {.after = take(in) % 8, .version = take(in) % 8, .flags = take(in) % 8, .rows = take_slice(in)}};
      memset(m.down.epoch, take(in) % 2, 16);
      break;
    case 5:
      m = (struct wire_message){.type = WIRE_pong, .pong = {.safe_sequence = take(in)}};
      m.pong.boot_ms = take_int(in);
      m.pong.hub_ms = take_int(in);
      break;
    case 6:
      m = (struct wire_message){.type = WIRE_stream_granted};
      memset(m.stream_granted.incarnation, 1, TRB_INCARNATION_BYTES);
      memset(m.stream_granted.parent, take(in) % 2, TRB_INCARNATION_BYTES);
      break;
    case 7:
      m = (struct wire_message){.type = WIRE_fault,
                                .fault = {.code = take(in) % 10, .retry_ms = (uint64_t)take(in) << (take(in) % 55)}};
      break;
    default: m = (struct wire_message){.type = (enum wire_type)(take(in) % 20)}; break;
  }
  wire_encode(&m, &frame);
  uplink_receive(b->u, trb_buf_slice(&frame), &b->now);
}

static void event(struct branch *b, struct fuzz_input *in) {
  switch (take(in) % 12) {
    case 0: uplink_connected(b->u, &b->now); break;
    case 1: uplink_disconnected(b->u, take(in) & 1, &b->now); break;
    case 2:
    case 3:
      b->now.boot_ms += take(in) * 300;
      uplink_tick(b->u, &b->now);
      break;
    case 4:
      if (b->at.last_sequence >= FUZZ_BATCHES || b->new_stream) break;
      b->at.last_sequence++;
      uplink_sealed(b->u, b->at.last_sequence, fuzz_hashes[b->at.last_sequence]);
      break;
    case 5: uplink_want_stream(b->u, (enum trb_stream_why)(take(in) % 4)); break;
    case 6: answer_load(b); break;
    case 7: answer_stored(b); break;
    case 8: answer_down(b); break;
    case 9: answer_stream(b); break;
    case 10: uplink_rotate(b->u, &(struct wire_rotate){.sign_public = {1}}); break;
    default: b->late = take(in) & 1; break;
  }
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
  struct fuzz_input in = {data, size};
  struct branch b = {.now = {.boot_ms = 50000}};
  struct line_kit *kit = fuzz_kit();
  memset(b.at.incarnation, take(&in) % 2, TRB_INCARNATION_BYTES);
  b.at.last_sequence = take(&in) % FUZZ_BATCHES;
  b.at.acked_sequence = b.at.last_sequence / 2;
  memcpy(b.at.last_hash, fuzz_hashes[b.at.last_sequence], TRB_HASH_BYTES);
  if (uplink_new(crypto_signer_public(kit->root), 1, 2, &b.at, 1, &b.u) != TRB_OK) return 0;
  uplink_tick(b.u, &b.now);
  drain(&b);
  uplink_connected(b.u, &b.now);
  while (in.len) {
    if (take(&in) & 1)
      send_frame(&b, &in);
    else
      event(&b, &in);
    if (take(&in) % 8) drain(&b);
    struct uplink_status status;
    uplink_status(b.u, &status);
    TRB_ASSERT(status.acked_sequence <= FUZZ_BATCHES && status.text[400] == 0);
  }
  uplink_free(&b.u);
  return 0;
}
