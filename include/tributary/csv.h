/* csv: an incremental reader of CSV, RFC 4180 and what programs really write: UTF-8 BOM, CRLF, LF or CR, line breaks in
 * quoted cells, delimiter comma, semicolon, tab or bar found from the first line, UTF-8 or GB18030.
 *
 * Pure; one thread an object. Bytes are fed in pieces of any size; records come out one by one:
 *
 *     csv_init(&csv, encoding, 0);
 *     while (read a piece) { csv_feed(&csv, piece); while ((event = csv_next(&csv, &record)) != CSV_MORE) ...; }
 *     csv_end(&csv); while ((event = csv_next(&csv, &record)) != CSV_MORE) ...;
 *
 * A record that cannot be read is an event of its own with its line and the reason; reading goes on at the line after
 * the one on which that record began, so an open quote costs one record, not the rest of the file. Memory is bounded by
 * CSV_RECORD_BYTES_MAX plus one piece. */
#ifndef TRIBUTARY_CSV_H
#define TRIBUTARY_CSV_H

#include "tributary/base.h"

#define CSV_COLUMNS_MAX 512
#define CSV_CELL_BYTES_MAX ((size_t)64 << 10)   /* longest text column of the catalogue, with room */
#define CSV_RECORD_BYTES_MAX ((size_t)1 << 20)  /* raw bytes of one record: what is held at most */
#define CSV_PIECE_BYTES_MAX ((size_t)256 << 10) /* at most this much a csv_feed */

enum trb_csv_encoding { CSV_UTF8, CSV_GB18030, CSV_UTF16 /* recognised, not read */ };

/* Which encoding? Feed it the whole file first (a pass costs little): a text that begins with ASCII tells nothing. */
struct trb_csv_place { /* of a byte that does not fit */
  uint64_t line, byte; /* both from 1, byte within the line; line 0: none */
  uint8_t value;
};
struct trb_csv_sniff {
  uint64_t bytes, good, broken;         /* UTF-8 sequences of several bytes, and breaks */
  uint64_t gb_broken;                   /* breaks when read as GB18030 */
  struct trb_csv_place first, gb_first; /* the first break of each */
  struct trb_csv_place at, start, gb_start;
  uint8_t need, gb_state, head[2];
};
void csv_sniff(struct trb_csv_sniff *sniff, struct trb_slice bytes);
/* The likelier one. When *ret_bad is set (line not 0) neither decodes cleanly, and that is the first byte which does
 * not fit the one given back: its records will be CSV_BAD. */
enum trb_csv_encoding csv_sniffed(const struct trb_csv_sniff *sniff, struct trb_csv_place *ret_bad);

enum trb_csv_event {
  CSV_MORE,   /* feed more (or, after csv_end, done) */
  CSV_RECORD, /* cells and line are set; blank lines are passed over */
  CSV_BAD,    /* reason and line are set: this record is lost, the next line is read */
  CSV_NOMEM,
};
struct trb_csv_record {
  uint64_t line;                 /* on which it starts, from 1 */
  const struct trb_slice *cells; /* borrowed until the next csv_next or csv_feed; valid UTF-8 without NUL */
  size_t count;
  const char *reason; /* static */
};

struct trb_csv {
  enum trb_csv_encoding encoding;
  char delimiter; /* 0 until found */
  int state;
  bool ended, any_quoted, after_cr, begun, mark_passed;
  struct trb_buf raw;  /* UTF-8 from the start of the current record on */
  struct trb_buf text; /* cells of the current record, unquoted */
  size_t start, at;    /* in raw: the record's first byte, the next byte to read */
  size_t second_line;  /* in raw: start of the record's second line, 0 while on the first */
  uint64_t line, record_line;
  size_t cell_count, cell_start;
  size_t cell_end[CSV_COLUMNS_MAX];
  struct trb_slice cell[CSV_COLUMNS_MAX];
  size_t tally[4], tally_at; /* of the possible delimiters on the first line */
  bool tally_quoted;
  uint8_t carry[4]; /* GB18030 sequence cut by the end of a piece */
  size_t carry_len;
};

/* delimiter 0: found from the first line. */
void csv_init(struct trb_csv *csv, enum trb_csv_encoding encoding, char delimiter);
void csv_done(struct trb_csv *csv);
/* All records of the piece before must have been taken (csv_next said CSV_MORE). TRB_NOMEM, or TRB_STORE when ICU
 * fails. */
enum trb_status csv_feed(struct trb_csv *csv, struct trb_slice piece, struct trb_error *err);
void csv_end(struct trb_csv *csv);
enum trb_csv_event csv_next(struct trb_csv *csv, struct trb_csv_record *ret);
#define TRB_CSV_AUTO __attribute__((cleanup(csv_done))) struct trb_csv

#endif
