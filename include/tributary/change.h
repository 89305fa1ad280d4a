/* change: what happened to one row, and batch: the sealed, signed, chained unit that travels. The specification is
 * proto/PROTOCOL.md; golden vectors are in proto/vectors. Pure, any thread.
 *
 * A stream is (site, incarnation); its batches are numbered from 1 without gaps; each names the hash of the one before.
 * The same bytes go by line and by file. The hash of a batch is SHA-256 of its header bytes (which hold the hash of the
 * body). */
#ifndef TRIBUTARY_CHANGE_H
#define TRIBUTARY_CHANGE_H

#include "tributary/catalogue.h"
#include "tributary/clock.h"
#include "tributary/crypto.h"

enum trb_op {
  TRB_OP_PUT = 1, /* the row as a whole: columns not named are NULL */
  TRB_OP_SET = 2, /* only the named columns changed */
  TRB_OP_DELETE = 3,
  TRB_OP_UNDO = 4, /* a delete by the undo of an import: exempt from the hold on mass deletes */
};

struct trb_cell {
  uint16_t column;
  uint32_t mark; /* index into the batch's marks: when this column last changed */
  struct trb_value value;
};
struct trb_change {
  uint16_t table;
  enum trb_op op;
  uint32_t mark;       /* index into the batch's marks: the operation itself (the latest of the row) */
  struct trb_slice id; /* row id, 1..64 characters */
  size_t cell_count;
  struct trb_cell *cells; /* ascending by column; in arena */
};

/* Digest of one table of the site after this batch (digest.h). */
struct trb_digest {
  uint16_t table;
  uint64_t rows;
  uint64_t sum;
};

#define TRB_INCARNATION_BYTES 16
#define TRB_BATCH_CHANGES_MAX 1000   /* bounds a commit and a re-send */
#define TRB_BATCH_RAW_MAX (1u << 20) /* body before compression; a larger single row is refused at capture */
/* Sealed bytes: header, signature, incompressible body. */
#define TRB_BATCH_BYTES_MAX (TRB_BATCH_RAW_MAX + (64u << 10))
#define TRB_BATCH_VERSION 1

enum {
  TRB_BATCH_CONTINUES = 1, /* the next batch belongs to the same seal pass: the hub commits them together */
  TRB_BATCH_ZSTD = 2,      /* body is a zstd frame */
  TRB_BATCH_BASELINE = 4,  /* part of a baseline: all rows of the replica in a new incarnation */
};
#define TRB_CONTINUES_BYTES_MAX (16u << 20) /* of raw bodies in one pass; the sealer ends the pass before it */

struct trb_batch_header {
  struct trb_slice site; /* borrowed */
  uint8_t incarnation[TRB_INCARNATION_BYTES];
  uint64_t sequence;                /* from 1 */
  uint8_t previous[TRB_HASH_BYTES]; /* zeros for sequence 1 */
  uint32_t flags;
  uint64_t last_mark; /* no mark of this batch is above it */
  uint32_t change_count;
  uint32_t raw_bytes;                /* of the body before compression */
  uint8_t body_hash[TRB_HASH_BYTES]; /* of the body as it travels */
  int64_t sealed_ms;                 /* raw wall time, for display */
  size_t segment_count;
  struct trb_segment segments[TRB_SEGMENTS_MAX];
  size_t digest_count;        /* only tables this batch touches */
  struct trb_digest *digests; /* ascending by table; in arena or the sealer's memory */
};
struct trb_batch {
  struct trb_batch_header header;
  size_t mark_count;
  struct trb_mark_time *marks; /* ascending; in arena */
  size_t change_count;
  struct trb_change *changes;
};

/* Encodes and signs. Fills header.body_hash, raw_bytes, change_count itself. ret_hash: the batch's hash. TRB_FULL if
 * over a limit. */
enum trb_status batch_seal(struct trb_batch *batch, const struct crypto_signer *signer, struct trb_buf *out,
                           uint8_t ret_hash[TRB_HASH_BYTES], struct trb_error *err);
/* Encoded size of one change in bytes (for the sealer's packing). */
size_t change_size(const struct trb_change *change);

/* Reads the header only (cheap: for the session core's checks of site, sequence and chain). Borrowed from `sealed` and
 * arena. No signature check. */
enum trb_status batch_peek(struct trb_slice sealed, struct trb_arena *arena, struct trb_batch_header *ret,
                           uint8_t ret_hash[TRB_HASH_BYTES], struct trb_error *err);
/* The whole check of a worker: size, nesting, signature, body hash, expansion, decode. Structure only; values are
 * checked one by one against the catalogue by change_check, so that one bad change never refuses its batch. TRB_PEER
 * with the reason otherwise. */
enum trb_status batch_open(struct trb_slice sealed, const uint8_t sign_public[TRB_KEY_BYTES], struct trb_arena *arena,
                           struct trb_batch *ret, uint8_t ret_hash[TRB_HASH_BYTES], struct trb_error *err);

enum trb_refusal { /* why a change was set aside; the numbers are on the wire */
                   TRB_REFUSED_NONE = 0,
                   TRB_REFUSED_TABLE = 1, /* unknown table (kept; tried again when the catalogue knows it) */
                   TRB_REFUSED_OWNER = 2, /* a table branches do not write */
                   TRB_REFUSED_ID = 3,
                   TRB_REFUSED_VALUE = 4,       /* type, UTF-8, length, date */
                   TRB_REFUSED_REQUIRED = 5,    /* a required column is NULL */
                   TRB_REFUSED_MASS_DELETE = 6, /* held until `rejected retry` */
                   TRB_REFUSED_EARLIER = 7,     /* an earlier change of the same row is set aside */
                   TRB_REFUSED_SIZE = 8,
};
const char *refusal_text(enum trb_refusal reason);
/* One change against the catalogue. err names table and column, never the value. Unknown columns are allowed (kept
 * raw). */
enum trb_refusal change_check(const struct trb_catalogue *catalogue, const struct trb_change *change, bool from_hq,
                              struct trb_error *err);

/* One change as canonical msgpack, and back (set-aside rows, history, journal). decode borrows from bytes and arena. */
void change_encode(const struct trb_change *change, struct trb_buf *out);
enum trb_status change_decode(struct trb_slice bytes, struct trb_arena *arena, struct trb_change *ret,
                              struct trb_error *err);

/* The signed acknowledgement of one batch: kept by the branch beside the batch and sent along when the batch is ever
 * sent again. */
struct trb_ack {
  struct trb_slice site;
  uint8_t incarnation[TRB_INCARNATION_BYTES];
  uint64_t sequence;
  uint8_t hash[TRB_HASH_BYTES]; /* of the batch */
  struct trb_acceptance acceptance;
};
void ack_seal(const struct trb_ack *ack, const struct crypto_signer *hub, struct trb_buf *out);
enum trb_status ack_open(struct trb_slice sealed, const uint8_t hub_public[TRB_KEY_BYTES], struct trb_arena *arena,
                         struct trb_ack *ret, struct trb_error *err);

#endif
