/* libFuzzer: CSV from anybody. Whatever the bytes: no crash, bounded memory, lines that never go back by more than one
 * record, and the same events whether the file comes in one piece or in pieces of one to eight bytes. */
#include <stdlib.h>
#include <string.h>

#include "tributary/csv.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

/* One event as bytes: kind, line, cells or reason. */
static void note(struct trb_buf *trace, enum trb_csv_event event, const struct trb_csv_record *record) {
  trb_buf_printf(trace, "%d %llu ", (int)event, (unsigned long long)record->line);
  if (event == CSV_BAD) {
    trb_buf_append_str(trace, record->reason);
    return;
  }
  for (size_t i = 0; i < record->count; i++) {
    TRB_ASSERT(record->cells[i].len <= CSV_CELL_BYTES_MAX && trb_utf8_valid(record->cells[i]));
    TRB_ASSERT(!record->cells[i].len || !memchr(record->cells[i].data, 0, record->cells[i].len));
    trb_buf_printf(trace, "[%zu]", record->cells[i].len);
    trb_buf_append_slice(trace, record->cells[i]);
  }
}

static void drain(struct trb_csv *csv, struct trb_buf *trace) {
  struct trb_csv_record record;
  for (enum trb_csv_event event; (event = csv_next(csv, &record)) == CSV_RECORD || event == CSV_BAD;) {
    TRB_ASSERT(record.line >= 1 && record.count <= CSV_COLUMNS_MAX);
    note(trace, event, &record);
  }
}

static void read_all(const uint8_t *data, size_t size, size_t piece, enum trb_csv_encoding encoding,
                     struct trb_buf *trace) {
  TRB_CSV_AUTO csv;
  csv_init(&csv, encoding, 0);
  for (size_t at = 0; at < size; at += piece) {
    size_t len = size - at < piece ? size - at : piece;
    TRB_ASSERT(csv_feed(&csv, trb_slice_of(data + at, len), NULL) == TRB_OK);
    drain(&csv, trace);
  }
  csv_end(&csv);
  drain(&csv, trace);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
  if (size < 1) return 0;
  TRB_BUF_AUTO whole = {0};
  TRB_BUF_AUTO pieces = {0};
  enum trb_csv_encoding encoding = data[0] & 1 ? CSV_GB18030 : CSV_UTF8;
  size_t piece = 1 + (data[0] >> 1 & 7);
  data++, size--;
  read_all(data, size, CSV_PIECE_BYTES_MAX, encoding, &whole);
  read_all(data, size, piece, encoding, &pieces);
  TRB_ASSERT(trb_slice_equal(trb_buf_slice(&whole), trb_buf_slice(&pieces)));
  return 0;
}
