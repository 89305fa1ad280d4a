#include "tributary/schema.h"

#include <string.h>

/* replica.db. Every text here must be what sqlite_master keeps of it (SQLite stores a statement from its object's name
 * on as written, after a normalised CREATE TABLE / TRIGGER / ..), because capture_check compares the two. */

/* Our own tables. _trb_mark has no second uniqueness and no index: each would cost every client's commit a page. */
static const struct {
  const char *name, *sql;
} local_tables[] = {
    {"_trb_mark",
     "CREATE TABLE _trb_mark( -- what changed, in order; written by triggers, read by the sealer\n"
     "  n INTEGER PRIMARY KEY AUTOINCREMENT, -- never used twice\n"
     "  tbl INTEGER, -- number of the table\n"
     "  row TEXT, -- id of the row\n"
     "  op INTEGER, -- 1 insert, 2 update, 3 delete\n"
     "  part INTEGER, -- column number c is bit c % 62 of part c / 62\n"
     "  mask INTEGER, -- changed columns of this part; -1: the whole row\n"
     "  wall INTEGER, -- clock of this machine (ms), as it stood\n"
     "  nonce INTEGER -- random: shows when this file was replaced by an older copy\n"
     ")"},
    {"_trb_guard",
     "CREATE TABLE _trb_guard( -- a row switches capture and guards off, only inside the transaction that wrote it\n"
     "  reason TEXT\n"
     ")"},
    {"_trb_undo",
     "CREATE TABLE _trb_undo( -- marks that take an import back: not a mass delete\n"
     "  first_mark INTEGER,\n"
     "  last_mark INTEGER,\n"
     "  import_id TEXT\n"
     ")"},
    {"_trb_import",
     "CREATE TABLE _trb_import( -- imports, each one undoable change-set\n"
     "  id TEXT NOT NULL PRIMARY KEY,\n"
     "  at INTEGER, -- when (ms)\n"
     "  file TEXT, -- name of the file\n"
     "  sha256 TEXT, -- of its bytes\n"
     "  mapping TEXT, -- the mapping used\n"
     "  rows INTEGER, -- rows written\n"
     "  bad_rows INTEGER, -- lines not taken\n"
     "  undone_at INTEGER -- when it was taken back (ms)\n"
     ")"},
    {"_trb_import_row",
     "CREATE TABLE _trb_import_row( -- rows an import wrote\n"
     "  import_id TEXT NOT NULL,\n"
     "  tbl INTEGER NOT NULL, -- number of the table\n"
     "  row TEXT NOT NULL, -- id of the row\n"
     "  line INTEGER, -- line of the file\n"
     "  hash INTEGER, -- of the row as written: the undo spares a row that was changed since\n"
     "  PRIMARY KEY(import_id,tbl,row)\n"
     ") WITHOUT ROWID"},
    {"_trb_meta",
     "CREATE TABLE _trb_meta( -- what this file is and how far it is synced\n"
     "  name TEXT PRIMARY KEY,\n"
     "  value\n"
     ")"},
};

/* ---- tables ---- */

/* UUIDv7 (RFC 9562): 48 bits of milliseconds, version, 12 random bits, variant, 62 random bits. */
#define SQL_UUID7                                                                   \
  "printf('%%08x-%%04x-7%%03x-%%04x-%%012x'," TRB_SQL_NOW_MS ">>16," TRB_SQL_NOW_MS \
  "&65535,random()&4095,32768|(random()&16383),random()&281474976710655)"

static void create_column(const struct trb_table *table, const struct trb_column *column, bool last,
                          struct trb_buf *out) {
  bool ours = table->owner == TRB_OWNER_BRANCH;
  bool stamp = column->number == TRB_C_customer_created_at || column->number == TRB_C_customer_updated_at;
  trb_buf_printf(out, "  \"%s\" %s", column->name, schema_type(column->type));
  if (ours && (column->flags & TRB_COLUMN_REQUIRED)) trb_buf_append_str(out, " NOT NULL");
  if (ours && stamp) trb_buf_append_str(out, " DEFAULT(" TRB_SQL_NOW_MS ")");
  if (!last) trb_buf_append_str(out, ",");
  schema_comment(column->doc, out);
}

static void create_table(const struct trb_table *table, struct trb_buf *out) {
  trb_buf_printf(out, "CREATE TABLE \"%s\"(", table->name);
  schema_comment(table->doc, out);
  trb_buf_append_str(out, "  id TEXT NOT NULL PRIMARY KEY");
  if (table->owner == TRB_OWNER_BRANCH) trb_buf_printf(out, " DEFAULT(" SQL_UUID7 ")");
  trb_buf_append_str(out, ",\n");
  for (size_t i = 0; i < table->column_count; i++)
    create_column(table, &table->columns[i], i + 1 == table->column_count, out);
  trb_buf_append_str(out, ") WITHOUT ROWID");
}

/* ---- what a row may not hold ---- */

/* GLOB pattern of a text with a control character (C0, DEL, C1). NUL ends a text for GLOB, so instr looks for it. */
#define SQL_CONTROL "'*['||char(1)||'-'||char(31)||char(127)||'-'||char(159)||']*'"

/* One arm of the CASE that checks a row; @ in the condition is the new value, NULL is never refused here. No IN lists:
 * in a trigger each would build a table of its own at every row. */
static void refuse(const char *table, const char *column, const char *condition, const char *why, struct trb_buf *out) {
  trb_buf_printf(out, "\n  WHEN NEW.\"%s\" IS NOT NULL AND(", column);
  for (const char *p = condition; *p; p++) {
    if (*p == '@')
      trb_buf_printf(out, "NEW.\"%s\"", column);
    else
      trb_buf_append_byte(out, (uint8_t)*p);
  }
  trb_buf_printf(out, ")THEN RAISE(ABORT,'%s.%s %s')", table, column, why);
}

static void refuse_id(const char *table, const char *column, struct trb_buf *out) {
  refuse(table, column, "typeof(@)='blob'OR length(@)NOT BETWEEN 1 AND 64 OR instr(@,x'00')OR @ GLOB " SQL_CONTROL,
         "must be text of 1 to 64 characters without control characters", out);
}

static void refuse_text(const struct trb_table *table, const struct trb_column *column, struct trb_buf *out) {
  TRB_BUF_AUTO condition = {0}, why = {0};
  trb_buf_printf(&condition, "length(CAST(@ AS BLOB))>%u OR typeof(@)='blob'OR instr(@,x'00')", column->max_bytes);
  trb_buf_printf(&why, "must be text of at most %u bytes (%u Chinese characters), without NUL", column->max_bytes,
                 column->max_bytes / 3);
  refuse(table->name, column->name, trb_buf_cstr(&condition), trb_buf_cstr(&why), out);
  out->failed |= condition.failed || why.failed;
}

static void refuse_blob(const struct trb_table *table, const struct trb_column *column, struct trb_buf *out) {
  TRB_BUF_AUTO condition = {0}, why = {0};
  trb_buf_printf(&condition, "typeof(@)<>'blob'OR length(@)>%u", column->max_bytes);
  trb_buf_printf(&why, "must be a blob of at most %u bytes", column->max_bytes);
  refuse(table->name, column->name, trb_buf_cstr(&condition), trb_buf_cstr(&why), out);
  out->failed |= condition.failed || why.failed;
}

/* What column_check refuses at the hub, except text that is not UTF-8, which SQL cannot see. */
static void refuse_column(const struct trb_table *table, const struct trb_column *column, struct trb_buf *out) {
  switch (column->type) {
    case TRB_COL_TEXT: refuse_text(table, column, out); return;
    case TRB_COL_BLOB: refuse_blob(table, column, out); return;
    case TRB_COL_REF: refuse_id(table->name, column->name, out); return;
    case TRB_COL_INT: refuse(table->name, column->name, "typeof(@)<>'integer'", "must be a whole number", out); return;
    case TRB_COL_REAL:
      refuse(table->name, column->name, "(typeof(@)<>'real'AND typeof(@)<>'integer')OR abs(@)>1.7976931348623157e308",
             "must be a number", out);
      return;
    case TRB_COL_DATE: /* completed to a day, a date is one when date() gives it back; without a modifier it echoes
                          02-30 */
      refuse(table->name, column->name,
             "typeof(@)='blob'OR instr(@,x'00')OR(length(@)<>10 AND length(@)<>7 AND length(@)<>4)"
             "OR date(substr(@||'-01-01',1,10),'+0 days')IS NOT substr(@||'-01-01',1,10)",
             "must be a date: YYYY-MM-DD, YYYY-MM or YYYY", out);
      return;
    case TRB_COL_SITE:
      refuse(table->name, column->name,
             "typeof(@)='blob'OR length(@)>32 OR instr(@,x'00')OR @ NOT GLOB'[a-z]*'OR @ GLOB'*[^a-z0-9-]*'",
             "must be the name of a site", out);
      return;
  }
}

/* A row as change_check counts it: bytes of texts and blobs, 8 for anything else. Most tables cannot reach the limit.
 */
static void refuse_row_size(const struct trb_table *table, struct trb_buf *out) {
  uint64_t possible = 0;
  size_t fixed = 0;
  for (size_t i = 0; i < table->column_count; i++) {
    const struct trb_column *column = &table->columns[i];
    fixed += column->type == TRB_COL_INT || column->type == TRB_COL_REAL ? 8 : 0;
    possible += column->max_bytes > 8 ? column->max_bytes : 8;
  }
  if (possible <= TRB_ROW_BYTES_MAX) return;
  trb_buf_printf(out, "\n  WHEN %zu", fixed);
  for (size_t i = 0; i < table->column_count; i++) {
    const struct trb_column *column = &table->columns[i];
    if (column->type == TRB_COL_INT || column->type == TRB_COL_REAL) continue;
    trb_buf_printf(out, "+coalesce(length(CAST(NEW.\"%s\" AS BLOB)),8)", column->name);
  }
  trb_buf_printf(out, ">%u THEN RAISE(ABORT,'%s: the row is too large: at most %u bytes are possible')",
                 TRB_ROW_BYTES_MAX, table->name, TRB_ROW_BYTES_MAX);
}

/* One statement with one CASE, so that a client's INSERT stays cheap to compile; RAISE, since ABORT of a trigger is
 * what OR IGNORE and OR REPLACE cannot soften (a CHECK they would drop in silence). */
static void create_limit_trigger(const struct trb_table *table, const char *event, struct trb_buf *out) {
  trb_buf_printf(out, "BEFORE %s ON \"%s\" BEGIN\n  SELECT CASE", event, table->name);
  refuse_id(table->name, "id", out);
  for (size_t i = 0; i < table->column_count; i++) refuse_column(table, &table->columns[i], out);
  refuse_row_size(table, out);
  trb_buf_append_str(out, "\n  END;\nEND");
}

/* ---- marks ---- */

#define WHEN_CAPTURING "WHEN NOT EXISTS(SELECT 1 FROM _trb_guard)"
#define INSERT_MARK "INSERT INTO _trb_mark(tbl,row,op,part,mask,wall,nonce)"

static void create_insert_trigger(const struct trb_table *table, struct trb_buf *out) {
  trb_buf_printf(out,
                 "AFTER INSERT ON \"%s\" " WHEN_CAPTURING " BEGIN\n  " INSERT_MARK
                 "VALUES(%u,NEW.id,%d,0,-1," TRB_SQL_NOW_MS ",random());\nEND",
                 table->name, table->number, TRB_MARK_INSERT);
}

static void create_delete_trigger(const struct trb_table *table, struct trb_buf *out) {
  trb_buf_printf(out,
                 "AFTER DELETE ON \"%s\" " WHEN_CAPTURING " BEGIN\n  " INSERT_MARK
                 "VALUES(%u,OLD.id,%d,0,0," TRB_SQL_NOW_MS ",random());\nEND",
                 table->name, table->number, TRB_MARK_DELETE);
}

/* The changed columns of one part: columns[*from] up to the next part; moves *from on. */
static void mark_update_part(const struct trb_table *table, size_t *from, struct trb_buf *out) {
  int part = schema_mask_part(table->columns[*from].number);
  trb_buf_printf(out, "  " INSERT_MARK "SELECT %u,NEW.id,%d,%d,m," TRB_SQL_NOW_MS ",random()FROM(SELECT ",
                 table->number, TRB_MARK_UPDATE, part);
  for (bool first = true; *from < table->column_count; (*from)++, first = false) {
    const struct trb_column *column = &table->columns[*from];
    if (schema_mask_part(column->number) != part) break;
    trb_buf_printf(out, "%s\n    ((NEW.\"%s\" IS NOT OLD.\"%s\")<<%d)", first ? "" : "|", column->name, column->name,
                   column->number % TRB_MARK_BITS);
  }
  trb_buf_append_str(out, " AS m)WHERE m<>0;\n");
}

static void create_update_trigger(const struct trb_table *table, struct trb_buf *out) {
  trb_buf_printf(out, "AFTER UPDATE ON \"%s\" " WHEN_CAPTURING " BEGIN\n", table->name);
  for (size_t i = 0; i < table->column_count;) mark_update_part(table, &i, out);
  trb_buf_append_str(out, "END");
}

/* ---- guards ---- */

static void create_id_trigger(const struct trb_table *table, struct trb_buf *out) {
  trb_buf_printf(out,
                 "BEFORE UPDATE OF id ON \"%s\" WHEN NEW.id IS NOT OLD.id BEGIN\n"
                 "  SELECT RAISE(ABORT,'%s: the id of a row cannot be changed; delete the row and insert it again');\n"
                 "END",
                 table->name, table->name);
}

static void create_guard_trigger(const struct trb_table *table, const char *event, struct trb_buf *out) {
  const char *advice = table->owner == TRB_OWNER_HQ
                           ? "ask headquarters to change it"
                           : "it is computed from all branches; change your own customer, contact or other card";
  trb_buf_printf(out,
                 "BEFORE %s ON \"%s\" " WHEN_CAPTURING
                 " BEGIN\n"
                 "  SELECT RAISE(ABORT,'%s is kept by headquarters and cannot be written here: %s');\nEND",
                 event, table->name, table->name, advice);
}

/* ---- walking ---- */

struct walk {
  schema_visit visit;
  void *context;
  struct trb_error *err;
  struct trb_buf sql, name; /* owned, of the object at hand */
};

static enum trb_status give(struct walk *w, enum trb_schema_kind kind, const struct trb_table *table) {
  if (w->sql.failed || w->name.failed) return trb_fail(w->err, TRB_NOMEM, "no memory for the schema");
  struct trb_schema_object object = {kind, trb_buf_cstr(&w->name), table, trb_buf_cstr(&w->sql)};
  return w->visit(w->context, &object, w->err);
}

static void start(struct walk *w, const char *create, const char *prefix, const char *middle, const char *suffix) {
  trb_buf_clear(&w->name);
  trb_buf_clear(&w->sql);
  trb_buf_printf(&w->name, "%s%s%s", prefix, middle, suffix);
  if (create) trb_buf_printf(&w->sql, "CREATE %s \"%s%s%s\" ", create, prefix, middle, suffix);
}

struct trigger {
  const char *suffix;
  void (*create)(const struct trb_table *table, struct trb_buf *out);
  void (*create_for)(const struct trb_table *table, const char *event, struct trb_buf *out);
  const char *event; /* for create_for */
};

static enum trb_status give_triggers(struct walk *w, const struct trb_table *table) {
  static const struct trigger ours[] = {
      {"_limit_insert", NULL, create_limit_trigger, "INSERT"},
      {"_limit_update", NULL, create_limit_trigger, "UPDATE"},
      {"_id", create_id_trigger, NULL, NULL},
      {"_insert", create_insert_trigger, NULL, NULL},
      {"_update", create_update_trigger, NULL, NULL},
      {"_delete", create_delete_trigger, NULL, NULL},
  };
  static const struct trigger theirs[] = {
      {"_guard_insert", NULL, create_guard_trigger, "INSERT"},
      {"_guard_update", NULL, create_guard_trigger, "UPDATE"},
      {"_guard_delete", NULL, create_guard_trigger, "DELETE"},
  };
  bool own = table->owner == TRB_OWNER_BRANCH;
  size_t count = own ? sizeof ours / sizeof ours[0] : sizeof theirs / sizeof theirs[0];
  for (size_t i = 0; i < count; i++) {
    const struct trigger *trigger = own ? &ours[i] : &theirs[i];
    start(w, "TRIGGER", "_trb_", table->name, trigger->suffix);
    if (trigger->create)
      trigger->create(table, &w->sql);
    else
      trigger->create_for(table, trigger->event, &w->sql);
    enum trb_status status = give(w, TRB_SCHEMA_TRIGGER, table);
    if (status) return status;
  }
  return TRB_OK;
}

static enum trb_status give_index(struct walk *w, const struct trb_table *table, const char *column) {
  start(w, NULL, "_trb_", table->name, "_by_");
  trb_buf_append_str(&w->name, column);
  trb_buf_printf(&w->sql, "CREATE INDEX \"%s\" ON \"%s\"(\"%s\")WHERE \"%s\" IS NOT NULL", trb_buf_cstr(&w->name),
                 table->name, column, column);
  return give(w, TRB_SCHEMA_INDEX, table);
}

static enum trb_status give_table(struct walk *w, const struct trb_table *table) {
  start(w, NULL, table->name, "", "");
  create_table(table, &w->sql);
  enum trb_status status = give(w, TRB_SCHEMA_TABLE, table);
  for (size_t i = 0; !status && i < table->column_count; i++)
    if (schema_indexes_reference(&table->columns[i])) status = give_index(w, table, table->columns[i].name);
  if (!status && table->number == TRB_T_party_of) status = give_index(w, table, "record_id");
  if (!status && table->number == TRB_T_rejected_change) status = give_index(w, table, "row_id");
  return status ? status : give_triggers(w, table);
}

static enum trb_status give_local_tables(struct walk *w) {
  enum trb_status status = TRB_OK;
  for (size_t i = 0; !status && i < sizeof local_tables / sizeof local_tables[0]; i++) {
    start(w, NULL, local_tables[i].name, "", "");
    trb_buf_append_str(&w->sql, local_tables[i].sql);
    status = give(w, TRB_SCHEMA_TABLE, NULL);
  }
  return status;
}

/* IN (SELECT ..) rather than EXISTS: the marks are read once for a whole list, and there is no index on them. */
static void row_state_of(const struct trb_table *table, struct trb_buf *out) {
  trb_buf_printf(
      out,
      "SELECT '%s',id,"
      "CASE WHEN id IN(SELECT row_id FROM rejected_change WHERE table_name='%s')THEN 'refused'"
      " WHEN id IN(SELECT row FROM _trb_mark WHERE tbl=%u AND"
      " n>coalesce((SELECT CAST(value AS INTEGER)FROM _trb_meta WHERE name='acked_mark'),0))THEN 'saved here'"
      " ELSE 'at headquarters' END,"
      "(SELECT reason FROM rejected_change WHERE table_name='%s' AND row_id=t.id ORDER BY at DESC LIMIT 1)"
      " FROM \"%s\" AS t\nUNION ALL\n",
      table->name, table->name, table->number, table->name, table->name);
}

static enum trb_status give_row_state(struct walk *w, const struct trb_catalogue *catalogue) {
  start(w, NULL, "row_state", "", "");
  trb_buf_append_str(&w->sql,
                     "CREATE VIEW row_state AS -- of any row of this branch: where it is, and why it was refused\n"
                     "SELECT NULL AS table_name,NULL AS row_id,NULL AS state,NULL AS reason WHERE 0\nUNION ALL\n");
  for (size_t i = 0; i < catalogue_count(catalogue); i++) {
    const struct trb_table *table = catalogue_at(catalogue, i);
    if (table->owner == TRB_OWNER_BRANCH) row_state_of(table, &w->sql);
  }
  trb_buf_append_str(&w->sql, "SELECT table_name,row_id,'refused',reason FROM rejected_change WHERE op='delete'");
  return give(w, TRB_SCHEMA_VIEW, NULL);
}

static void walk_done(struct walk *w) {
  trb_buf_free(&w->sql);
  trb_buf_free(&w->name);
}
#define WALK_AUTO __attribute__((cleanup(walk_done))) struct walk

enum trb_status schema_branch_each(const struct trb_catalogue *catalogue, schema_visit visit, void *context,
                                   struct trb_error *err) {
  WALK_AUTO w = {.visit = visit, .context = context, .err = err};
  enum trb_status status = give_local_tables(&w);
  for (size_t i = 0; !status && i < catalogue_count(catalogue); i++) {
    const struct trb_table *table = catalogue_at(catalogue, i);
    if (schema_at_branch(table)) status = give_table(&w, table);
  }
  return status ? status : give_row_state(&w, catalogue);
}

enum trb_status schema_branch_table_each(const struct trb_table *table, schema_visit visit, void *context,
                                         struct trb_error *err) {
  WALK_AUTO w = {.visit = visit, .context = context, .err = err};
  return give_table(&w, table);
}

/* schema_visit: the context is a struct trb_buf. */
static enum trb_status print_object(void *context, const struct trb_schema_object *object, struct trb_error *err) {
  struct trb_buf *out = context;
  (void)err;
  trb_buf_append_str(out, object->sql);
  trb_buf_append_str(out, ";\n");
  return TRB_OK;
}

void schema_branch(const struct trb_catalogue *catalogue, struct trb_buf *out) {
  if (schema_branch_each(catalogue, print_object, out, NULL)) out->failed = true;
}
