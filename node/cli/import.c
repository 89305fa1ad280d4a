/* import: the command. Passes once over the file for its encoding and its hash, then reads, maps and writes it. */
#include <fcntl.h>
#include <jansson.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "commands.h"
#include "import.h"
#include "tributary/capture.h"
#include "tributary/conf.h"
#include "tributary/crypto.h"

#define IMPORT_USAGE                                                                                         \
  "tributary import DIR [FILE.csv] [--map FILE] [--table T] [--where COLUMN=VALUE] [--dry-run] [--update]\n" \
  "       tributary import DIR --undo IMPORT|last [--dry-run]"
#define IMPORT_SHOWN_ISSUES 20 /* on the terminal; --json gives all that are kept */

static const char *const import_encodings[] = {"UTF-8", "GB18030", "UTF-16"};

struct import_source {
  int fd;
  uint64_t bytes;
  enum trb_csv_encoding encoding;
  struct trb_csv csv;
  struct trb_arena arena; /* the header */
  size_t header_count;
  struct trb_slice *header;
  uint8_t piece[CSV_PIECE_BYTES_MAX];
};

static int64_t import_ms(void) {
  struct timespec t;
  clock_gettime(CLOCK_MONOTONIC, &t);
  return (int64_t)t.tv_sec * 1000 + t.tv_nsec / 1000000;
}

/* --- the file --- */

static enum trb_status source_read(struct import_source *s, size_t *ret_len, struct trb_error *err) {
  ssize_t got = read(s->fd, s->piece, sizeof s->piece);
  if (got < 0) return trb_fail(err, TRB_STORE, "the file cannot be read: %m");
  *ret_len = (size_t)got;
  return TRB_OK;
}

static enum trb_status source_survey(struct import *im, struct import_source *s, struct trb_error *err) {
  struct trb_csv_sniff sniff = {0};
  uint8_t hash[TRB_HASH_BYTES];
  struct crypto_hasher *hasher = crypto_hasher_new();
  if (!hasher) return trb_fail(err, TRB_NOMEM, "no memory for the import");
  size_t len = 0;
  enum trb_status status;
  while (!(status = source_read(s, &len, err)) && len) {
    csv_sniff(&sniff, trb_slice_of(s->piece, len));
    crypto_hasher_add(hasher, trb_slice_of(s->piece, len));
  }
  crypto_hasher_end(&hasher, hash);
  trb_hex(hash, sizeof hash, im->sha256);
  s->bytes = sniff.bytes;
  struct trb_csv_place bad;
  s->encoding = csv_sniffed(&sniff, &bad);
  if (status) return status;
  if (s->encoding == CSV_UTF16)
    return trb_fail(err, TRB_PEER, "%s is UTF-16: save it as 'CSV UTF-8' and import that", im->name);
  if (bad.line)
    fprintf(
        im->cli->err,
        "%s is neither clean UTF-8 nor clean GB18030; it is read as %s, in which byte 0x%02x on line %llu (byte %llu "
        "of the line) is wrong: its row is rejected\n",
        im->name, import_encodings[s->encoding], bad.value, (unsigned long long)bad.line, (unsigned long long)bad.byte);
  if (lseek(s->fd, 0, SEEK_SET) != 0) return trb_fail(err, TRB_STORE, "%s is no plain file: %m", im->name);
  return TRB_OK;
}

static enum trb_status source_open(struct import *im, struct import_source *s, struct trb_error *err) {
  s->fd = open(im->path, O_RDONLY | O_CLOEXEC);
  if (s->fd < 0) return trb_fail(err, TRB_ABSENT, "%s cannot be opened: %m", im->path);
  enum trb_status status = source_survey(im, s, err);
  csv_init(&s->csv, s->encoding, 0);
  return status;
}

static void source_close(struct import_source *s) {
  csv_done(&s->csv);
  trb_arena_free(&s->arena);
  if (s->fd >= 0) close(s->fd);
}

/* The next record or bad record; *ret_event CSV_MORE at the end of the file. */
static enum trb_status source_next(struct import_source *s, struct trb_csv_record *ret, enum trb_csv_event *ret_event,
                                   struct trb_error *err) {
  for (;;) {
    enum trb_csv_event event = csv_next(&s->csv, ret);
    if (event == CSV_NOMEM) return trb_fail(err, TRB_NOMEM, "no memory for the file");
    if (event != CSV_MORE || s->csv.ended) {
      *ret_event = event;
      return TRB_OK;
    }
    size_t len = 0;
    enum trb_status status = source_read(s, &len, err);
    if (!status && len) status = csv_feed(&s->csv, trb_slice_of(s->piece, len), err);
    if (!status && !len) csv_end(&s->csv);
    if (status) return status;
  }
}

static enum trb_status source_header(struct import *im, struct import_source *s, struct trb_error *err) {
  struct trb_csv_record record;
  enum trb_csv_event event;
  enum trb_status status = source_next(s, &record, &event, err);
  if (status) return status;
  if (event == CSV_MORE) return trb_fail(err, TRB_PEER, "%s is empty", im->name);
  if (event == CSV_BAD)
    return trb_fail(err, TRB_PEER, "%s: the header on line %llu has %s", im->name, (unsigned long long)record.line,
                    record.reason);
  bool ok = true;
  s->header_count = record.count;
  s->header = trb_arena_alloc(&s->arena, record.count * sizeof *s->header);
  for (size_t i = 0; s->header && i < record.count; i++)
    s->header[i] = trb_arena_copy(&s->arena, import_trim(record.cells[i]), &ok);
  return ok && s->header ? TRB_OK : trb_fail(err, TRB_NOMEM, "no memory for the header");
}

/* --- the mapping --- */

static enum trb_status map_file(struct import *im, const char *path, struct trb_error *err) {
  TRB_BUF_AUTO text = {0};
  struct trb_error why = {0};
  enum trb_status status = file_read(path, (size_t)1 << 20, &text, err);
  unsigned number = 1;
  for (size_t at = 0; !status && at < text.len; number++) {
    const uint8_t *end = memchr(text.data + at, '\n', text.len - at);
    size_t len = end ? (size_t)(end - (text.data + at)) : text.len - at;
    size_t skip = number == 1 && len >= 3 && memcmp(text.data, "\xEF\xBB\xBF", 3) == 0 ? 3 : 0;
    status = mapping_line(&im->mapping, im->catalogue, trb_slice_of(text.data + at + skip, len - skip), &why);
    if (status) return trb_fail(err, status, "%s line %u: %s", path, number, why.text);
    at += len + 1;
  }
  return status;
}

/* --where COLUMN=VALUE */
static enum trb_status map_where(struct import *im, const char *where, struct trb_error *err) {
  TRB_BUF_AUTO line = {0};
  const char *equal = strchr(where, '=');
  if (!equal || strpbrk(where, "`\"\n"))
    return trb_fail(err, TRB_PEER, "--where needs COLUMN=VALUE without quotes, not '%.100s'", where);
  trb_buf_printf(&line, "where `%.*s` = \"%s\"", (int)(equal - where), where, equal + 1);
  return mapping_line(&im->mapping, im->catalogue, trb_buf_slice(&line), err);
}

static enum trb_status map_table(struct import *im, const char *table, const struct import_source *s,
                                 struct trb_error *err) {
  im->main = table ? catalogue_named(im->catalogue, table) : mapping_main_table(&im->mapping);
  if (!im->main && !table && im->mapping.rule_count)
    return trb_fail(err, TRB_PEER, "the mapping's tables do not belong together: import them one by one with --table");
  if (!im->main && !table) im->main = mapping_guess_table(im->catalogue, s->header, s->header_count);
  if (im->main && im->main->owner == TRB_OWNER_BRANCH) return TRB_OK;
  return trb_fail(err, TRB_PEER, im->main ? "branches do not write the table %.60s" : "there is no table %.60s", table);
}

static enum trb_status map_ready(struct import *im, const char *map, const char *table, const struct import_source *s,
                                 struct trb_error *err) {
  enum trb_status status = map ? map_file(im, map, err) : TRB_OK;
  if (!status) status = map_table(im, table, s, err);
  if (!status && !map) status = mapping_guess(&im->mapping, im->catalogue, im->main, s->header, s->header_count, err);
  if (!status && !map && !im->mapping.rule_count)
    status = trb_fail(err, TRB_PEER, "no column of %s is recognised: write a mapping (see tributary import --help)",
                      im->name);
  if (!status) status = mapping_bind(&im->mapping, im->main, s->header, s->header_count, err);
  if (status) return status;
  const struct trb_column *ref = table_column_named(im->main, "external_ref");
  for (size_t i = 0; ref && i < im->mapping.rule_count; i++)
    if (im->mapping.rule[i].column == ref) im->ref = ref;
  return TRB_OK;
}

/* A guessed mapping, to be kept: on stdout in a dry run (`> FILE`), else on stderr with what was not taken. */
static void map_show(struct import *im, const struct import_source *s, bool guessed) {
  TRB_BUF_AUTO lines = {0};
  FILE *to = im->dry_run && !im->cli->json ? im->cli->out : im->cli->err;
  if (!guessed || (im->cli->quiet && to == im->cli->err)) return;
  mapping_print(&im->mapping, &lines);
  fprintf(to, "# mapping guessed for table %s; keep it in a file and give it with --map\n%s", im->main->name,
          trb_buf_cstr(&lines));
  bool first = true;
  for (size_t i = 0; i < s->header_count; i++) {
    if (mapping_uses(&im->mapping, i) || !s->header[i].len) continue;
    fputs(first ? "# not taken: " : ", ", to);
    cli_print_text(to, s->header[i]);
    first = false;
  }
  if (!first) fputc('\n', to);
}

/* --- the run --- */

static void run_reject(struct import *im, uint64_t line, const char *reason) {
  im->tally.rejected++;
  if (im->issue_count == IMPORT_ISSUES_MAX) return;
  struct import_issue *issue = &im->issue[im->issue_count++];
  issue->line = line;
  issue->rejected = true;
  snprintf(issue->reason, sizeof issue->reason, "%.*s", IMPORT_REASON_BYTES - 1, reason);
}

static enum trb_status run_record(struct import *im, const struct import_source *s, const struct trb_csv_record *record,
                                  struct trb_error *err) {
  char reason[64];
  struct trb_error why = {0};
  if (record->count != s->header_count) {
    snprintf(reason, sizeof reason, "has %zu cells, the header has %zu", record->count, s->header_count);
    run_reject(im, record->line, reason);
    return TRB_OK;
  }
  uint64_t left_out = im->tally.left_out;
  size_t issues = im->issue_count;
  enum trb_status status = import_record(im, record, &why);
  if (!status) status = import_store(im, &why);
  if (status == TRB_ABSENT) {
    im->tally.filtered++;
    return TRB_OK;
  }
  if (status != TRB_PEER) return status ? trb_fail(err, status, "%s", why.text) : TRB_OK;
  im->tally.left_out = left_out; /* one report a record */
  im->issue_count = issues;
  run_reject(im, record->line, why.text);
  return TRB_OK;
}

static enum trb_status run_all(struct import *im, struct import_source *s, struct trb_error *err) {
  int64_t began = import_ms();
  for (;;) {
    struct trb_csv_record record;
    enum trb_csv_event event;
    enum trb_status status = source_next(s, &record, &event, err);
    if (status) return status;
    if (event == CSV_MORE) return TRB_OK;
    im->tally.read++;
    if (event == CSV_BAD)
      run_reject(im, record.line, record.reason);
    else
      status = run_record(im, s, &record, err);
    if (!status && im->tally.read % IMPORT_RECORDS_PER_COMMIT == 0) {
      status = import_commit(im, err);
      if (import_ms() - began > 1000) cli_progress(im->cli, "rows read:", (int64_t)im->tally.read, 0);
    }
    if (status) return status;
  }
}

/* --- the report --- */

static void report_issues(struct import *im) {
  size_t shown = im->issue_count < IMPORT_SHOWN_ISSUES ? im->issue_count : IMPORT_SHOWN_ISSUES;
  uint64_t all = im->tally.rejected + im->tally.left_out;
  if (im->cli->quiet) return;
  for (size_t i = 0; i < shown; i++)
    fprintf(im->cli->err, "line %llu: %s%s\n", (unsigned long long)im->issue[i].line, im->issue[i].reason,
            im->issue[i].rejected ? "" : " (left out; the rest is taken)");
  if (all > shown)
    fprintf(im->cli->err, "and %llu more (--json gives up to %d)\n", (unsigned long long)(all - shown),
            IMPORT_ISSUES_MAX);
}

static void report_counts(const struct import *im, FILE *out) {
  const struct import_tally *t = &im->tally;
  bool customers = im->main->number == TRB_T_customer;
  fprintf(out, "%llu rows read: %llu %s%s", (unsigned long long)t->read, (unsigned long long)t->main_rows,
          customers ? "customers" : "rows of ", customers ? "" : im->main->name);
  if (t->contact_rows || customers) fprintf(out, ", %llu contacts", (unsigned long long)t->contact_rows);
  if (t->other_rows) fprintf(out, ", %llu further rows", (unsigned long long)t->other_rows);
  if (t->present) fprintf(out, ", %llu already present", (unsigned long long)t->present);
  if (im->update) fprintf(out, " (%llu updated)", (unsigned long long)t->updated);
  if (t->filtered) fprintf(out, ", %llu not asked for", (unsigned long long)t->filtered);
  if (t->left_out) fprintf(out, ", %llu values left out", (unsigned long long)t->left_out);
  fprintf(out, ", %llu rejected\n", (unsigned long long)t->rejected);
}

static void report_unkeyed(const struct import *im, FILE *out) {
  uint64_t all = 0;
  for (size_t i = 0; i < 16; i++) all += im->tally.unkeyed[i];
  if (!all) return;
  fprintf(out, "%llu contacts identify nobody:", (unsigned long long)all);
  const char *between = " ";
  for (unsigned i = 0; i < 16; i++) {
    if (!im->tally.unkeyed[i]) continue;
    fprintf(out, "%s%llu %s", between, (unsigned long long)im->tally.unkeyed[i],
            key_reason_text((enum trb_key_reason)i));
    between = "; ";
  }
  fputc('\n', out);
}

static void report_text(struct import *im, const struct import_source *s) {
  FILE *out = im->dry_run ? im->cli->err : im->cli->out;
  const struct import_tally *t = &im->tally;
  bool wrote = t->main_rows + t->contact_rows + t->other_rows > 0;
  report_issues(im);
  const char *what = im->dry_run ? "dry run, nothing written" : wrote || t->updated ? "import " : "nothing new";
  fprintf(out, "%s%s: %s, %s\n", what, wrote && !im->dry_run ? im->id : "", im->name, import_encodings[s->encoding]);
  report_counts(im, out);
  report_unkeyed(im, out);
  if (wrote && !im->dry_run && !im->cli->quiet)
    fprintf(im->cli->err, "take it back with: tributary import %s --undo %s\n", im->cli->argv[0], im->id);
}

static json_t *report_json(const struct import *im, const struct import_source *s) {
  const struct import_tally *t = &im->tally;
  TRB_BUF_AUTO mapping = {0};
  json_t *issues = json_array(), *unkeyed = json_object();
  mapping_print(&im->mapping, &mapping);
  for (size_t i = 0; i < im->issue_count; i++)
    json_array_append_new(issues, json_pack("{s:I,s:b,s:s}", "line", (json_int_t)im->issue[i].line, "rejected",
                                            im->issue[i].rejected, "reason", im->issue[i].reason));
  for (unsigned i = 0; i < 16; i++)
    if (t->unkeyed[i])
      json_object_set_new(unkeyed, key_reason_text((enum trb_key_reason)i), json_integer((json_int_t)t->unkeyed[i]));
  return json_pack("{s:s?,s:b,s:s,s:s,s:s,s:s,s:I,s:I,s:I,s:I,s:I,s:I,s:I,s:I,s:I,s:o,s:o}", "import",
                   im->dry_run || !(t->main_rows + t->contact_rows + t->other_rows) ? NULL : im->id, "dry_run",
                   im->dry_run, "file", im->name, "encoding", import_encodings[s->encoding], "table", im->main->name,
                   "mapping", trb_buf_cstr(&mapping), "rows_read", (json_int_t)t->read, "rows_written",
                   (json_int_t)t->main_rows, "contacts_written", (json_int_t)t->contact_rows, "further_rows_written",
                   (json_int_t)t->other_rows, "already_present", (json_int_t)t->present, "updated",
                   (json_int_t)t->updated, "not_asked_for", (json_int_t)t->filtered, "values_left_out",
                   (json_int_t)t->left_out, "rejected", (json_int_t)t->rejected, "without_key", unkeyed, "issues",
                   issues);
}

static int print_json(struct cli *cli, json_t *object) {
  char *text = object ? json_dumps(object, JSON_COMPACT) : NULL;
  json_decref(object);
  if (!text) {
    fprintf(cli->err, "tributary: no memory for the report\n");
    return CLI_FAILED;
  }
  fprintf(cli->out, "%s\n", text);
  free(text);
  return CLI_DONE;
}

/* --- the ways of the command --- */

static enum trb_status import_file(struct import *im, const char *map, const char *table, const char *const *where,
                                   struct import_source *s, struct trb_error *err) {
  enum trb_status status = source_open(im, s, err);
  if (!status) status = source_header(im, s, err);
  if (!status) status = map_ready(im, map, table, s, err);
  for (; !status && *where; where++) status = map_where(im, *where, err);
  if (!status) status = mapping_bind(&im->mapping, im->main, s->header, s->header_count, err); /* the filters */
  if (status) return status;
  map_show(im, s, !map);
  status = import_begin(im, err);
  if (!status) status = run_all(im, s, err);
  if (!status) status = import_end(im, err);
  cli_progress_end(im->cli);
  return status;
}

static int import_run(struct import *im, const char *map, const char *table, const char *const *where) {
  struct trb_error err = {0};
  struct import_source *s = calloc(1, sizeof *s);
  im->row = calloc(IMPORT_ROWS_MAX, sizeof *im->row);
  if (!s || !im->row) {
    free(s);
    trb_fail(&err, TRB_NOMEM, "no memory for the import");
    return cli_failed(im->cli, &err);
  }
  s->fd = -1;
  enum trb_status status = import_file(im, map, table, where, s, &err);
  int code = CLI_DONE;
  if (status) {
    db_rollback(im->db);
    code = cli_failed(im->cli, &err);
    if (im->tally.main_rows >= IMPORT_RECORDS_PER_COMMIT)
      fprintf(im->cli->err,
              "part of the file is in: run the same import again (rows with the same external_ref are passed over), "
              "or take it back with: tributary import %s --undo last\n",
              im->cli->argv[0]);
  } else if (im->cli->json) {
    code = print_json(im->cli, report_json(im, s));
  } else {
    report_text(im, s);
  }
  const struct import_tally *t = &im->tally;
  if (code == CLI_DONE && t->rejected && t->rejected == t->read) code = CLI_FAILED; /* nothing was taken */
  source_close(s);
  free(s);
  return code;
}

static int undo_run_command(struct import *im, const char *id) {
  struct trb_error err = {0};
  struct import_undone undone;
  if (import_undo(im->cli, im->db, im->catalogue, id, im->dry_run, &undone, &err)) return cli_failed(im->cli, &err);
  if (im->cli->json)
    return print_json(im->cli, json_pack("{s:s,s:b,s:I,s:I,s:I}", "import", undone.id, "dry_run", im->dry_run,
                                         "deleted", (json_int_t)undone.deleted, "kept_changed",
                                         (json_int_t)undone.changed, "kept_in_use", (json_int_t)undone.in_use));
  fprintf(im->cli->out,
          "import %s %s: %llu rows deleted, %llu kept because they were changed since, %llu kept because others hang "
          "on them\n",
          undone.id, im->dry_run ? "would be taken back" : "is taken back", (unsigned long long)undone.deleted,
          (unsigned long long)undone.changed, (unsigned long long)undone.in_use);
  return CLI_DONE;
}

static int list_run_command(struct import *im) {
  struct trb_error err = {0};
  struct trb_stmt *stmt = NULL;
  bool stands = false;
  static const char sql[] =
      "SELECT id,coalesce(strftime('%Y-%m-%dT%H:%M:%SZ',at/1000,'unixepoch'),''),coalesce(file,''),coalesce(rows,0),"
      "coalesce(bad_rows,0),undone_at IS NOT NULL FROM _trb_import ORDER BY at,id";
  enum trb_status status = db_query(im->db, sql, &stmt, &err);
  while (!status && !(status = stmt_step(stmt, &stands, &err)) && stands) {
    if (im->cli->json) {
      print_json(im->cli, json_pack("{s:s,s:s,s:s,s:I,s:I,s:b}", "import", stmt_text(stmt, 0), "at", stmt_text(stmt, 1),
                                    "file", stmt_text(stmt, 2), "rows", (json_int_t)stmt_int(stmt, 3), "rejected",
                                    (json_int_t)stmt_int(stmt, 4), "undone", stmt_int(stmt, 5) != 0));
      continue;
    }
    fprintf(im->cli->out, "%s  %s  %lld rows  ", stmt_text(stmt, 0), stmt_text(stmt, 1), (long long)stmt_int(stmt, 3));
    cli_print_text(im->cli->out, stmt_slice(stmt, 2));
    fputs(stmt_int(stmt, 5) ? "  (taken back)\n" : "\n", im->cli->out);
  }
  stmt_done(stmt);
  return status ? cli_failed(im->cli, &err) : CLI_DONE;
}

static enum trb_status import_open(struct import *im, bool write, struct trb_error *err) {
  struct trb_conf conf;
  char path[4096];
  enum trb_status status = conf_load(im->cli->argv[0], &conf, err);
  if (status) return status;
  if (conf.role != TRB_ROLE_BRANCH)
    return trb_fail(err, TRB_PEER, "%s is not a branch: customers are imported at branches", im->cli->argv[0]);
  snprintf(im->key_context.region, sizeof im->key_context.region, "%.2s", conf.region);
  snprintf(im->key_context.area_code, sizeof im->key_context.area_code, "%.7s", conf.area_code);
  if ((size_t)snprintf(path, sizeof path, "%s/replica.db", im->cli->argv[0]) >= sizeof path)
    return trb_fail(err, TRB_PEER, "the folder's name is too long");
  status = db_open(path, write ? TRB_DB_WRITE : TRB_DB_READ, IMPORT_BUSY_MS, &im->db, err);
  if (!status && write) status = capture_connect(im->db, err);
  return status ? status : capture_catalogue(im->db, &im->catalogue, err);
}

static int import_dispatch(struct import *im, const char *map, const char *table, const char *undo,
                           const char *const *where) {
  struct trb_error err = {0};
  bool list = im->cli->argc == 1 && !undo;
  if (import_open(im, !im->dry_run && !list, &err)) return cli_failed(im->cli, &err);
  if (undo) return undo_run_command(im, undo);
  if (list) return list_run_command(im);
  im->path = im->cli->argv[1];
  const char *slash = strrchr(im->path, '/');
  im->name = slash ? slash + 1 : im->path;
  return import_run(im, map, table, where);
}

int cmd_import(struct cli *cli) {
  struct import *im = calloc(1, sizeof *im);
  struct trb_error err = {0};
  if (!im) {
    trb_fail(&err, TRB_NOMEM, "no memory for the import");
    return cli_failed(cli, &err);
  }
  const char *where[MAPPING_FILTERS_MAX + 1] = {0};
  im->cli = cli;
  im->dry_run = cli_flag(cli, "--dry-run");
  im->update = cli_flag(cli, "--update");
  const char *map = cli_option(cli, "--map"), *table = cli_option(cli, "--table"), *undo = cli_option(cli, "--undo");
  for (size_t i = 0; i < MAPPING_FILTERS_MAX && (where[i] = cli_option(cli, "--where")); i++) continue;
  int code = cli_args(cli, 1, undo ? 1 : 2, IMPORT_USAGE);
  if (!code) code = import_dispatch(im, map, table, undo, where);
  mapping_free(&im->mapping);
  trb_arena_free(&im->arena);
  db_close(&im->db);
  catalogue_unref(&im->catalogue);
  free(im->row);
  free(im);
  return code;
}
