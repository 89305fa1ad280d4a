/* csv: see csv.h. A state machine over `raw`, which holds the bytes of the current record and what follows it; cells
 * are gathered without their quotes in `text`. When a record fails, reading goes back to the start of its second line
 * if it reached one (the bytes are still held), else over the rest of its first line.
 *
 * Going back costs little: a line leaves a quote open only if it holds an odd number of quotes, and the next such line
 * closes it; so no byte is read more than a few times, whatever the file. */
#include "tributary/csv.h"

#include <string.h>

#include "tributary/text.h"

enum csv_state {
  CSV_AT_CELL,   /* nothing of the cell read yet */
  CSV_IN_PLAIN,  /* in a cell without quotes */
  CSV_IN_QUOTED, /* inside quotes */
  CSV_AT_QUOTE,  /* a quote inside quotes: the end or one half of "" */
  CSV_SKIP_LINE, /* after an error: up to the end of the line */
};
static const char csv_delimiters[4] = {',', ';', '\t', '|'};

void csv_init(struct trb_csv *csv, enum trb_csv_encoding encoding, char delimiter) {
  memset(csv, 0, sizeof *csv);
  csv->encoding = encoding;
  csv->delimiter = delimiter;
  csv->line = csv->record_line = 1;
}

void csv_done(struct trb_csv *csv) {
  trb_buf_free(&csv->raw);
  trb_buf_free(&csv->text);
}

/* --- encoding --- */

static void sniff_break(uint64_t *count, struct trb_csv_place *first, const struct trb_csv_place *place) {
  if ((*count)++ == 0) *first = *place;
}

static void sniff_utf8(struct trb_csv_sniff *s, uint8_t c) {
  if (s->need) {
    bool continues = (c & 0xC0) == 0x80;
    if (continues && --s->need == 0) s->good++;
    if (continues) return;
    s->need = 0;
    sniff_break(&s->broken, &s->first, &s->start);
  }
  if (c < 0x80) return;
  s->start = s->at;
  if (c >= 0xC2 && c < 0xE0)
    s->need = 1;
  else if (c >= 0xE0 && c < 0xF0)
    s->need = 2;
  else if (c >= 0xF0 && c < 0xF5)
    s->need = 3;
  else
    sniff_break(&s->broken, &s->first, &s->at);
}

/* gb_state: how many bytes of a sequence were read. Two bytes are 81..FE 40..FE without 7F, four are
 * 81..FE 30..39 81..FE 30..39 (GB 18030-2005 section 4). */
static void sniff_gb18030(struct trb_csv_sniff *s, uint8_t c) {
  bool high = c >= 0x81 && c <= 0xFE, digit = c >= 0x30 && c <= 0x39;
  if (s->gb_state == 1 && c >= 0x40 && c <= 0xFE && c != 0x7F) {
    s->gb_state = 0;
    return;
  }
  if ((s->gb_state == 1 && digit) || (s->gb_state == 2 && high)) {
    s->gb_state++;
    return;
  }
  if (s->gb_state == 3 && digit) {
    s->gb_state = 0;
    return;
  }
  if (s->gb_state) sniff_break(&s->gb_broken, &s->gb_first, &s->gb_start);
  s->gb_state = high;
  s->gb_start = s->at;
  if (!high && c >= 0x80) sniff_break(&s->gb_broken, &s->gb_first, &s->at);
}

void csv_sniff(struct trb_csv_sniff *sniff, struct trb_slice bytes) {
  if (!sniff->bytes) sniff->at = (struct trb_csv_place){.line = 1, .byte = 1};
  for (size_t i = 0; i < bytes.len; i++) {
    uint8_t c = sniff->at.value = bytes.data[i];
    if (sniff->bytes + i < 2) sniff->head[sniff->bytes + i] = c;
    sniff_utf8(sniff, c);
    sniff_gb18030(sniff, c);
    sniff->at.byte++;
    if (c == '\n') sniff->at = (struct trb_csv_place){.line = sniff->at.line + 1, .byte = 1};
  }
  sniff->bytes += bytes.len;
}

enum trb_csv_encoding csv_sniffed(const struct trb_csv_sniff *sniff, struct trb_csv_place *ret_bad) {
  struct trb_csv_sniff s = *sniff;
  *ret_bad = (struct trb_csv_place){0};
  bool utf16 = s.bytes >= 2 && s.head[0] + s.head[1] == 0xFE + 0xFF && (s.head[0] == 0xFF || s.head[0] == 0xFE);
  if (utf16) return CSV_UTF16;
  if (s.need) sniff_break(&s.broken, &s.first, &s.start); /* the file ends inside a character */
  if (s.gb_state) sniff_break(&s.gb_broken, &s.gb_first, &s.gb_start);
  if (!s.broken) return CSV_UTF8;
  /* A few broken bytes in much good UTF-8 are damage; GB18030 read as UTF-8 breaks at nearly every character. */
  bool damaged_utf8 = s.gb_broken ? s.good > s.broken : s.good / 8 >= s.broken;
  if (damaged_utf8 || s.gb_broken) *ret_bad = damaged_utf8 ? s.first : s.gb_first;
  return damaged_utf8 ? CSV_UTF8 : CSV_GB18030;
}

/* --- input --- */

/* Drops what was read, so that raw starts with the current record. */
static void csv_compact(struct trb_csv *csv) {
  size_t drop = csv->start;
  if (!drop) return;
  memmove(csv->raw.data, csv->raw.data + drop, csv->raw.len - drop);
  csv->raw.len -= drop;
  csv->at -= drop;
  csv->tally_at -= csv->tally_at < drop ? csv->tally_at : drop;
  if (csv->second_line) csv->second_line -= drop;
  csv->start = 0;
}

static enum trb_status csv_feed_gb18030(struct trb_csv *csv, struct trb_slice piece, struct trb_error *err) {
  TRB_BUF_AUTO joined = {0};
  if (csv->carry_len) {
    trb_buf_append(&joined, csv->carry, csv->carry_len);
    trb_buf_append_slice(&joined, piece);
    if (joined.failed) return trb_fail(err, TRB_NOMEM, "no memory for CSV");
    piece = trb_buf_slice(&joined);
  }
  size_t complete = text_gb18030_complete(piece);
  csv->carry_len = piece.len - complete;
  TRB_ASSERT(csv->carry_len < sizeof csv->carry);
  if (csv->carry_len) memcpy(csv->carry, piece.data + complete, csv->carry_len);
  return text_from_gb18030_marking(trb_slice_of(piece.data, complete), &csv->raw, err);
}

enum trb_status csv_feed(struct trb_csv *csv, struct trb_slice piece, struct trb_error *err) {
  TRB_ASSERT(piece.len <= CSV_PIECE_BYTES_MAX && !csv->ended);
  csv_compact(csv);
  if (csv->encoding == CSV_GB18030) return csv_feed_gb18030(csv, piece, err);
  trb_buf_append_slice(&csv->raw, piece);
  return csv->raw.failed ? trb_fail(err, TRB_NOMEM, "no memory for CSV") : TRB_OK;
}

void csv_end(struct trb_csv *csv) {
  if (csv->carry_len) trb_buf_append_byte(&csv->raw, TEXT_BROKEN_BYTE); /* the file ends inside a character */
  csv->carry_len = 0;
  csv->ended = true;
}

/* --- the first line --- */

/* Counts possible delimiters outside quotes; true when the first line is complete (or long enough) and one is chosen.
 */
static bool csv_find_delimiter(struct trb_csv *csv) {
  bool complete = csv->ended || csv->raw.len >= CSV_CELL_BYTES_MAX;
  size_t at = csv->tally_at > csv->at ? csv->tally_at : csv->at;
  for (; at < csv->raw.len; at++) {
    char c = (char)csv->raw.data[at];
    if (c == '"') csv->tally_quoted = !csv->tally_quoted;
    if (csv->tally_quoted) continue;
    if (c == '\n' || c == '\r') { /* blank lines before the first are passed over */
      complete = complete || (at > csv->at && csv->raw.data[at - 1] != '\n' && csv->raw.data[at - 1] != '\r');
      if (complete) break;
    }
    for (size_t i = 0; i < sizeof csv_delimiters; i++) csv->tally[i] += c == csv_delimiters[i];
  }
  csv->tally_at = at;
  if (!complete) return false;
  size_t best = 0;
  for (size_t i = 1; i < sizeof csv_delimiters; i++)
    if (csv->tally[i] > csv->tally[best]) best = i;
  csv->delimiter = csv_delimiters[best];
  return true;
}

/* Passes over a byte order mark and finds the delimiter; false: more bytes are needed. */
static bool csv_begin(struct trb_csv *csv) {
  static const uint8_t mark[3] = {0xEF, 0xBB, 0xBF};
  if (csv->raw.len < sizeof mark && !csv->ended) return false;
  if (!csv->mark_passed && csv->raw.len >= sizeof mark && memcmp(csv->raw.data, mark, sizeof mark) == 0)
    csv->at = csv->start = sizeof mark;
  csv->mark_passed = true; /* a second one is text, also when the first is no longer in raw */
  if (!csv->delimiter && !csv_find_delimiter(csv)) return false;
  csv->begun = true;
  return true;
}

/* --- records --- */

static void csv_start_record(struct trb_csv *csv) {
  trb_buf_clear(&csv->text);
  csv->start = csv->at;
  csv->record_line = csv->line;
  csv->second_line = 0;
  csv->cell_count = csv->cell_start = 0;
  csv->any_quoted = false;
  csv->state = CSV_AT_CELL;
}

/* After an error in the current record: back to its second line, or over the rest of its first. */
static enum trb_csv_event csv_bad(struct trb_csv *csv, const char *reason, struct trb_csv_record *ret) {
  *ret = (struct trb_csv_record){.line = csv->record_line, .reason = reason};
  if (csv->second_line) {
    csv->at = csv->second_line;
    csv->line = csv->record_line + 1;
    csv->after_cr = false;
    csv_start_record(csv);
  } else {
    csv->state = CSV_SKIP_LINE;
    csv->start = csv->at;
  }
  return CSV_BAD;
}

static const char *csv_end_cell(struct trb_csv *csv) {
  if (csv->cell_count == CSV_COLUMNS_MAX) return "more than 512 columns";
  csv->cell_end[csv->cell_count++] = csv->text.len;
  csv->cell_start = csv->text.len;
  csv->state = CSV_AT_CELL;
  return NULL;
}

/* The record is complete: true when it has anything in it. */
static bool csv_is_blank(const struct trb_csv *csv) {
  return csv->cell_count == 1 && csv->text.len == 0 && !csv->any_quoted;
}

static enum trb_csv_event csv_finish_record(struct trb_csv *csv, struct trb_csv_record *ret) {
  size_t from = 0;
  for (size_t i = 0; i < csv->cell_count; i++) {
    csv->cell[i] = trb_slice_of(csv->text.data ? csv->text.data + from : NULL, csv->cell_end[i] - from);
    from = csv->cell_end[i];
    if (!trb_utf8_valid(csv->cell[i])) {
      const char *reason = csv->encoding == CSV_GB18030 ? "not valid GB18030" : "not valid UTF-8";
      *ret = (struct trb_csv_record){.line = csv->record_line, .reason = reason};
      csv_start_record(csv);
      return CSV_BAD;
    }
  }
  *ret = (struct trb_csv_record){.line = csv->record_line, .cells = csv->cell, .count = csv->cell_count};
  csv->start = csv->at;
  csv->record_line = csv->line;
  csv->second_line = 0;
  return CSV_RECORD;
}

/* Consumes a line end at raw[at]; CR LF may be cut by the end of a piece, so the LF is passed over later. */
static void csv_take_line_end(struct trb_csv *csv) {
  csv->after_cr = csv->raw.data[csv->at] == '\r';
  csv->at++;
  csv->line++;
}

/* A run of bytes without meaning of their own, appended at once. Gives NULL or the reason why the record fails. */
static const char *csv_take_run(struct trb_csv *csv) {
  const uint8_t *data = csv->raw.data;
  size_t from = csv->at, at = from, end = csv->raw.len;
  bool quoted = csv->state == CSV_IN_QUOTED;
  size_t room = CSV_CELL_BYTES_MAX - (csv->text.len - csv->cell_start);
  for (; at < end; at++) {
    uint8_t c = data[at];
    if (c == '"' || c == '\0' || c == '\n' || c == '\r') break;
    if (!quoted && (char)c == csv->delimiter) break;
  }
  csv->at = at;
  if (at - from > room) return "a cell of more than 64 KiB";
  trb_buf_append(&csv->text, data + from, at - from);
  return NULL;
}

/* One step inside quotes; line ends belong to the cell. */
static const char *csv_step_quoted(struct trb_csv *csv, uint8_t c) {
  if (c == '"') {
    csv->state = CSV_AT_QUOTE;
    csv->at++;
    return NULL;
  }
  if (c != '\n' && c != '\r') return csv_take_run(csv);
  if (csv->text.len - csv->cell_start >= CSV_CELL_BYTES_MAX) return "a cell of more than 64 KiB";
  trb_buf_append_byte(&csv->text, c);
  csv_take_line_end(csv);
  if (!csv->second_line) csv->second_line = csv->at;
  return NULL;
}

/* The LF of a CR LF inside quotes: part of the cell, not a line of its own. */
static void csv_take_lf(struct trb_csv *csv) {
  csv->after_cr = false;
  if (csv->raw.data[csv->at] != '\n') return;
  if (csv->state == CSV_IN_QUOTED) {
    trb_buf_append_byte(&csv->text, '\n');
    if (csv->second_line == csv->at) csv->second_line++;
  }
  csv->at++;
  if (csv->state == CSV_AT_CELL && !csv->cell_count && !csv->text.len) csv->start = csv->at;
}

/* One step; a reason fails the record; *ret_line_end: the record is complete. */
static const char *csv_step(struct trb_csv *csv, bool *ret_line_end) {
  uint8_t c = csv->raw.data[csv->at];
  if (c == '\0') {
    return "a NUL byte";
  }
  if (csv->state == CSV_IN_QUOTED) return csv_step_quoted(csv, c);
  if (c == '\n' || c == '\r') {
    const char *reason = csv_end_cell(csv);
    if (reason) return reason;
    csv_take_line_end(csv);
    *ret_line_end = true;
    return NULL;
  }
  if ((char)c == csv->delimiter) {
    csv->at++;
    return csv_end_cell(csv);
  }
  if (csv->state == CSV_AT_QUOTE) {
    csv->at++;
    if (c == ' ') return NULL; /* spaces after the closing quote */
    if (c != '"' || csv->raw.data[csv->at - 2] != '"') return "text after a closing quote";
    csv->state = CSV_IN_QUOTED;
    if (csv->text.len - csv->cell_start >= CSV_CELL_BYTES_MAX) return "a cell of more than 64 KiB";
    trb_buf_append_byte(&csv->text, '"');
    return NULL;
  }
  if (c == '"') {
    csv->at++;
    if (csv->state == CSV_IN_PLAIN) return "a quote inside a cell that does not begin with one";
    csv->state = CSV_IN_QUOTED;
    csv->any_quoted = true;
    return NULL;
  }
  csv->state = CSV_IN_PLAIN;
  return csv_take_run(csv);
}

static void csv_skip_line(struct trb_csv *csv) {
  while (csv->at < csv->raw.len && csv->raw.data[csv->at] != '\n' && csv->raw.data[csv->at] != '\r') csv->at++;
  csv->start = csv->at;
  if (csv->at == csv->raw.len) return;
  csv_take_line_end(csv);
  csv_start_record(csv);
}

/* The input is over: what stands is the last record, without a line end. */
static enum trb_csv_event csv_last(struct trb_csv *csv, struct trb_csv_record *ret) {
  if (csv->state == CSV_SKIP_LINE || (csv->state == CSV_AT_CELL && !csv->cell_count)) return CSV_MORE;
  if (csv->state == CSV_IN_QUOTED) return csv_bad(csv, "an open quote at the end of the file", ret);
  const char *reason = csv_end_cell(csv);
  if (reason) return csv_bad(csv, reason, ret);
  enum trb_csv_event event = csv_finish_record(csv, ret);
  csv->state = CSV_SKIP_LINE; /* nothing is left */
  return event;
}

enum trb_csv_event csv_next(struct trb_csv *csv, struct trb_csv_record *ret) {
  if (csv->raw.failed) return CSV_NOMEM;
  if (!csv->begun && !csv_begin(csv)) return CSV_MORE;
  if (csv->start == csv->at && csv->state == CSV_AT_CELL) csv_start_record(csv);
  while (csv->at < csv->raw.len) {
    if (csv->after_cr) {
      csv_take_lf(csv);
      continue;
    }
    if (csv->state == CSV_SKIP_LINE) {
      csv_skip_line(csv);
      continue;
    }
    bool line_end = false;
    const char *reason = csv_step(csv, &line_end);
    if (csv->text.failed) return CSV_NOMEM;
    if (!reason && csv->at - csv->start > CSV_RECORD_BYTES_MAX) reason = "a record of more than 1 MiB";
    if (reason) return csv_bad(csv, reason, ret);
    if (line_end && !csv_is_blank(csv)) return csv_finish_record(csv, ret);
    if (line_end) csv_start_record(csv);
  }
  return csv->ended ? csv_last(csv, ret) : CSV_MORE;
}
