#include "tributary/catalogue.h"

#include <math.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>

/* ---- the built-in tables, three readings of catalogue.def ---- */

enum {
  REQ = TRB_COLUMN_REQUIRED,
  SENS = TRB_COLUMN_SENSITIVE,
  PERS = TRB_COLUMN_PERSONAL,
  EVENT = TRB_TABLE_EVENT,
  LATE = TRB_TABLE_LATE,
};

#define TABLE(number, name, owner, flow, flags, doc) static const struct trb_column columns_##name[] = {
#define COLUMN(table, number, name, type, max_bytes, flags, ref, doc) \
  {number, flags, TRB_COL_##type, max_bytes, #name, ref, doc},
#define END(table) \
  }                \
  ;
#include "catalogue.def"
#undef TABLE
#undef COLUMN
#undef END

#define COLUMN(table, number, name, type, max_bytes, flags, ref, doc)
#define END(table)

static const struct trb_table builtin_tables[] = {
#define TABLE(number, name, owner, flow, flags, doc)  \
  {number, flags, TRB_OWNER_##owner, TRB_FLOW_##flow, \
   #name,  doc,   columns_##name,    sizeof columns_##name / sizeof columns_##name[0]},
#include "catalogue.def"
#undef TABLE
};
#define BUILTIN_COUNT (sizeof builtin_tables / sizeof builtin_tables[0])

enum builtin_position {
#define TABLE(number, name, owner, flow, flags, doc) POSITION_##name,
#include "catalogue.def"
#undef TABLE
};
#define BUILTIN_NUMBER_MAX 999
/* Table number -> position + 1, 0 where there is none. */
static const uint16_t builtin_positions[BUILTIN_NUMBER_MAX + 1] = {
#define TABLE(number, name, owner, flow, flags, doc) [number] = POSITION_##name + 1,
#include "catalogue.def"
#undef TABLE
};
#undef COLUMN
#undef END

struct trb_catalogue {
  atomic_int refs; /* of an extended one; the built-in one is never freed */
  const struct trb_table *tables;
  size_t table_count;
  const uint16_t *positions; /* by table number */
  size_t position_count;
  struct trb_arena arena; /* owns everything an extended one points to, names included */
};

static struct trb_catalogue builtin = {
    .tables = builtin_tables,
    .table_count = BUILTIN_COUNT,
    .positions = builtin_positions,
    .position_count = BUILTIN_NUMBER_MAX + 1,
};

struct trb_catalogue *catalogue_builtin(void) {
  return &builtin;
}

struct trb_catalogue *catalogue_ref(struct trb_catalogue *catalogue) {
  if (catalogue != &builtin) atomic_fetch_add(&catalogue->refs, 1);
  return catalogue;
}

void catalogue_unref(struct trb_catalogue **catalogue_p) {
  struct trb_catalogue *catalogue = *catalogue_p;
  *catalogue_p = NULL;
  if (!catalogue || catalogue == &builtin || atomic_fetch_sub(&catalogue->refs, 1) != 1) return;
  trb_arena_free(&catalogue->arena);
  free(catalogue);
}

/* ---- looking up ---- */

size_t catalogue_count(const struct trb_catalogue *catalogue) { return catalogue->table_count; }

const struct trb_table *catalogue_at(const struct trb_catalogue *catalogue, size_t index) {
  return index < catalogue->table_count ? &catalogue->tables[index] : NULL;
}

const struct trb_table *catalogue_table(const struct trb_catalogue *catalogue, uint16_t number) {
  if (number >= catalogue->position_count || !catalogue->positions[number]) return NULL;
  return &catalogue->tables[catalogue->positions[number] - 1];
}

const struct trb_table *catalogue_named(const struct trb_catalogue *catalogue, const char *name) {
  for (size_t i = 0; i < catalogue->table_count; i++)
    if (strcmp(catalogue->tables[i].name, name) == 0) return &catalogue->tables[i];
  return NULL;
}

size_t table_column_index(const struct trb_table *table, uint16_t number) {
  if (number == 0) return SIZE_MAX;
  /* Numbers run from 1 nearly without gaps, so the column mostly stands right there. */
  if (number <= table->column_count && table->columns[number - 1].number == number) return number - 1u;
  size_t low = 0, high = table->column_count;
  while (low < high) {
    size_t middle = low + (high - low) / 2;
    if (table->columns[middle].number < number)
      low = middle + 1;
    else
      high = middle;
  }
  return low < table->column_count && table->columns[low].number == number ? low : SIZE_MAX;
}

const struct trb_column *table_column(const struct trb_table *table, uint16_t number) {
  size_t index = table_column_index(table, number);
  return index == SIZE_MAX ? NULL : &table->columns[index];
}

const struct trb_column *table_column_named(const struct trb_table *table, const char *name) {
  for (size_t i = 0; i < table->column_count; i++)
    if (strcmp(table->columns[i].name, name) == 0) return &table->columns[i];
  return NULL;
}

/* ---- custom definitions ---- */

#define CUSTOM_NAME_CHARS_MAX 41

static bool custom_name_valid(const char *name) {
  if (!name || name[0] < 'a' || name[0] > 'z') return false;
  size_t len = strlen(name);
  return len <= CUSTOM_NAME_CHARS_MAX && strspn(name, "abcdefghijklmnopqrstuvwxyz0123456789_") == len;
}

/* A custom table is created in files that hold tables of our own; the hub's stand in node/sql. */
static bool table_name_reserved(const char *name) {
  static const char *const reserved[] = {
      "row_state",     "record",    "party",        "cluster",    "claim",
      "batch",         "history",   "down",         "site_no",    "stream",
      "fork",          "bad_batch", "digest",       "set_aside",  "tombstone",
      "backup",        "key",       "subscription", "batch_hash", "rejected_change_of",
      "backup_stream", "down_row",  "access_log",   "review",     "policy"};
  for (size_t i = 0; i < sizeof reserved / sizeof reserved[0]; i++)
    if (strcmp(name, reserved[i]) == 0) return true;
  return strncmp(name, "sqlite_", 7) == 0 || strncmp(name, "trb_", 4) == 0 || strncmp(name, "hub_", 4) == 0 ||
         strncmp(name, "unified_", 8) == 0;
}

static bool custom_type(const char *name, enum trb_column_type *ret) {
  static const enum trb_column_type types[] = {TRB_COL_TEXT, TRB_COL_INT, TRB_COL_REAL, TRB_COL_DATE, TRB_COL_BLOB};
  for (size_t i = 0; name && i < sizeof types / sizeof types[0]; i++)
    if (strcmp(name, column_type_name(types[i])) == 0) return *ret = types[i], true;
  return false;
}

static enum trb_status check_custom_table(const struct trb_custom_table *custom, struct trb_error *err) {
  if (!custom_name_valid(custom->name))
    return trb_fail(err, TRB_PEER,
                    "custom table %u: the name must be a lower-case letter and up to 40 letters, digits or _",
                    custom->number);
  if (custom->number < TRB_CUSTOM_TABLE_MIN || custom->number > TRB_CUSTOM_TABLE_MAX)
    return trb_fail(err, TRB_PEER, "custom table %s: number %u is not in %d..%d", custom->name, custom->number,
                    TRB_CUSTOM_TABLE_MIN, TRB_CUSTOM_TABLE_MAX);
  if (table_name_reserved(custom->name) || catalogue_named(&builtin, custom->name))
    return trb_fail(err, TRB_PEER, "custom table %s: Tributary uses this name itself; choose another", custom->name);
  return TRB_OK;
}

static enum trb_status check_custom_column(const struct trb_custom_column *custom, struct trb_error *err) {
  enum trb_column_type type;
  if (!custom_name_valid(custom->name) || strcmp(custom->name, "id") == 0)
    return trb_fail(err, TRB_PEER,
                    "custom column %u of table %u: the name must be a lower-case letter and up to 40 letters, digits "
                    "or _, and not id",
                    custom->number, custom->table);
  if (custom->number < TRB_CUSTOM_COLUMN_MIN || custom->number > TRB_CUSTOM_COLUMN_MAX)
    return trb_fail(err, TRB_PEER, "custom column %s: number %u is not in %d..%d", custom->name, custom->number,
                    TRB_CUSTOM_COLUMN_MIN, TRB_CUSTOM_COLUMN_MAX);
  if (!custom_type(custom->type, &type))
    return trb_fail(err, TRB_PEER, "custom column %s: the type must be text, int, real, date or blob", custom->name);
  if (custom->max_bytes > TRB_CUSTOM_BYTES_MAX)
    return trb_fail(err, TRB_PEER, "custom column %s: max_bytes may be at most %d", custom->name, TRB_CUSTOM_BYTES_MAX);
  return TRB_OK;
}

/* The definitions while they are being merged; all in the new catalogue's arena. */
struct extension {
  struct trb_arena *arena;
  struct trb_table *tables;
  size_t table_count;
  uint16_t *positions; /* TRB_CUSTOM_TABLE_MAX + 1 */
  struct trb_error *err;
};

static const char *keep_text(struct trb_arena *arena, const char *text) {
  return trb_arena_str(arena, trb_slice_str(text ? text : ""));
}

static enum trb_status extension_begin(struct extension *x, size_t custom_count) {
  size_t capacity = BUILTIN_COUNT + custom_count;
  x->tables = trb_arena_alloc(x->arena, capacity * sizeof *x->tables);
  x->positions = trb_arena_alloc(x->arena, (TRB_CUSTOM_TABLE_MAX + 1) * sizeof *x->positions);
  if (!x->tables || !x->positions) return trb_fail(x->err, TRB_NOMEM, "no memory for the catalogue");
  memcpy(x->tables, builtin_tables, sizeof builtin_tables);
  memcpy(x->positions, builtin_positions, sizeof builtin_positions);
  x->table_count = BUILTIN_COUNT;
  return TRB_OK;
}

static int compare_tables(const void *a, const void *b) {
  return (int)((const struct trb_table *)a)->number - (int)((const struct trb_table *)b)->number;
}

static enum trb_status extension_add_table(struct extension *x, const struct trb_custom_table *custom) {
  enum trb_status status = check_custom_table(custom, x->err);
  if (status) return status;
  for (size_t i = BUILTIN_COUNT; i < x->table_count; i++)
    if (x->tables[i].number == custom->number || strcmp(x->tables[i].name, custom->name) == 0)
      return trb_fail(x->err, TRB_PEER, "custom tables %s and %s have the same number or name", x->tables[i].name,
                      custom->name);
  struct trb_table *table = &x->tables[x->table_count++];
  *table = (struct trb_table){
      .number = custom->number,
      .flags = TRB_TABLE_CUSTOM,
      .owner = custom->branch_writes ? TRB_OWNER_BRANCH : TRB_OWNER_HQ,
      .flow = custom->branch_writes ? TRB_FLOW_UP : TRB_FLOW_DOWN,
      .name = keep_text(x->arena, custom->name),
      .doc = keep_text(x->arena, custom->doc),
      .columns = columns_setting, /* its first three are the standard columns */
      .column_count = TRB_C_setting_created_by,
  };
  return table->name && table->doc ? TRB_OK : trb_fail(x->err, TRB_NOMEM, "no memory for the catalogue");
}

static void extension_sort_tables(struct extension *x) {
  qsort(x->tables + BUILTIN_COUNT, x->table_count - BUILTIN_COUNT, sizeof *x->tables, compare_tables);
  for (size_t i = BUILTIN_COUNT; i < x->table_count; i++) x->positions[x->tables[i].number] = (uint16_t)(i + 1);
}

static bool extension_make_column(struct extension *x, const struct trb_custom_column *custom, struct trb_column *ret) {
  enum trb_column_type type = TRB_COL_TEXT;
  custom_type(custom->type, &type);
  bool sized = type == TRB_COL_TEXT || type == TRB_COL_BLOB;
  uint32_t sized_max = custom->max_bytes ? custom->max_bytes : TRB_CUSTOM_TEXT_BYTES_DEFAULT;
  *ret = (struct trb_column){
      .number = custom->number,
      .flags = (uint16_t)(TRB_COLUMN_CUSTOM | (custom->sensitive ? TRB_COLUMN_SENSITIVE : 0)),
      .type = type,
      .max_bytes = sized                  ? sized_max
                   : type == TRB_COL_DATE ? 10
                                          : 0,
      .name = keep_text(x->arena, custom->name),
      .doc = keep_text(x->arena, custom->doc),
  };
  return ret->name && ret->doc;
}

/* Keeps `columns` ascending; there are few. */
static void insert_sorted(struct trb_column *columns, size_t count, struct trb_column column) {
  size_t i = count;
  for (; i > 0 && columns[i - 1].number > column.number; i--) columns[i] = columns[i - 1];
  columns[i] = column;
}

static enum trb_status extension_add_column(struct extension *x, struct trb_table *table, struct trb_column *columns,
                                            const struct trb_custom_column *custom) {
  if (table_column(table, custom->number) || table_column_named(table, custom->name))
    return trb_fail(x->err, TRB_PEER, "custom column %s: table %s already has this number or name", custom->name,
                    table->name);
  struct trb_column column;
  if (!extension_make_column(x, custom, &column)) return trb_fail(x->err, TRB_NOMEM, "no memory for the catalogue");
  insert_sorted(columns, table->column_count, column);
  table->column_count++;
  return TRB_OK;
}

/* Gives `table` room for its custom columns and adds them. */
static enum trb_status extension_add_columns(struct extension *x, struct trb_table *table,
                                             const struct trb_custom_column *customs, size_t custom_count) {
  size_t added = 0;
  for (size_t i = 0; i < custom_count; i++) added += customs[i].table == table->number;
  if (!added) return TRB_OK;
  if (added > TRB_CUSTOM_COLUMNS_MAX)
    return trb_fail(x->err, TRB_PEER, "table %s: %zu custom columns, at most %d are possible", table->name, added,
                    TRB_CUSTOM_COLUMNS_MAX);
  struct trb_column *columns = trb_arena_alloc(x->arena, (table->column_count + added) * sizeof *columns);
  if (!columns) return trb_fail(x->err, TRB_NOMEM, "no memory for the catalogue");
  memcpy(columns, table->columns, table->column_count * sizeof *columns);
  table->columns = columns;
  for (size_t i = 0; i < custom_count; i++) {
    if (customs[i].table != table->number) continue;
    enum trb_status status = extension_add_column(x, table, columns, &customs[i]);
    if (status) return status;
  }
  return TRB_OK;
}

static enum trb_status extension_columns(struct extension *x, const struct trb_custom_column *customs, size_t count) {
  for (size_t i = 0; i < count; i++) {
    enum trb_status status = check_custom_column(&customs[i], x->err);
    if (status) return status;
    if (customs[i].table > TRB_CUSTOM_TABLE_MAX || !x->positions[customs[i].table])
      return trb_fail(x->err, TRB_PEER, "custom column %s: there is no table %u", customs[i].name, customs[i].table);
    const struct trb_table *table = &x->tables[x->positions[customs[i].table] - 1];
    if (table->owner == TRB_OWNER_COMPUTED || table->flow == TRB_FLOW_HUB)
      return trb_fail(x->err, TRB_PEER, "custom column %s: table %s cannot have custom columns", customs[i].name,
                      table->name);
  }
  for (size_t i = 0; i < x->table_count; i++) {
    enum trb_status status = extension_add_columns(x, &x->tables[i], customs, count);
    if (status) return status;
  }
  return TRB_OK;
}

static enum trb_status extension_fill(struct extension *x, const struct trb_custom_table *tables, size_t table_count,
                                      const struct trb_custom_column *columns, size_t column_count) {
  if (table_count > TRB_CUSTOM_TABLES_MAX)
    return trb_fail(x->err, TRB_PEER, "%zu custom tables, at most %d are possible", table_count, TRB_CUSTOM_TABLES_MAX);
  enum trb_status status = extension_begin(x, table_count);
  for (size_t i = 0; !status && i < table_count; i++) status = extension_add_table(x, &tables[i]);
  if (status) return status;
  extension_sort_tables(x);
  return extension_columns(x, columns, column_count);
}

enum trb_status catalogue_extend(const struct trb_custom_table *tables, size_t table_count,
                                 const struct trb_custom_column *columns, size_t column_count,
                                 struct trb_catalogue **ret, struct trb_error *err) {
  struct trb_catalogue *catalogue = calloc(1, sizeof *catalogue);
  if (!catalogue) return trb_fail(err, TRB_NOMEM, "no memory for the catalogue");
  atomic_init(&catalogue->refs, 1);
  struct extension x = {.arena = &catalogue->arena, .err = err};
  enum trb_status status = extension_fill(&x, tables, table_count, columns, column_count);
  if (status) {
    catalogue_unref(&catalogue);
    return status;
  }
  catalogue->tables = x.tables;
  catalogue->table_count = x.table_count;
  catalogue->positions = x.positions;
  catalogue->position_count = TRB_CUSTOM_TABLE_MAX + 1;
  *ret = catalogue;
  return TRB_OK;
}

/* ---- checking values ---- */

const char *column_type_name(enum trb_column_type type) {
  switch (type) {
    case TRB_COL_TEXT: return "text";
    case TRB_COL_INT: return "int";
    case TRB_COL_REAL: return "real";
    case TRB_COL_DATE: return "date";
    case TRB_COL_BLOB: return "blob";
    case TRB_COL_REF: return "ref";
    case TRB_COL_SITE: return "site";
  }
  return "?";
}

/* Two or four digits; -1 when they are none. */
static int digits(const uint8_t *p, size_t count) {
  int n = 0;
  for (size_t i = 0; i < count; i++) {
    if (p[i] < '0' || p[i] > '9') return -1;
    n = n * 10 + (p[i] - '0');
  }
  return n;
}

static bool date_valid(struct trb_slice s) {
  static const int month_days[] = {31, 28, 31, 30, 31, 30, 31, 31, 30, 31, 30, 31};
  if (s.len != 4 && s.len != 7 && s.len != 10) return false;
  int year = digits(s.data, 4);
  if (year < 0) return false;
  if (s.len == 4) return true;
  int month = s.data[4] == '-' ? digits(s.data + 5, 2) : -1;
  if (month < 1 || month > 12) return false;
  if (s.len == 7) return true;
  int day = s.data[7] == '-' ? digits(s.data + 8, 2) : -1;
  bool leap = (year % 4 == 0 && year % 100 != 0) || year % 400 == 0;
  return day >= 1 && day <= month_days[month - 1] + (month == 2 && leap);
}

/* Why `value` does not fit, or NULL. Size is checked apart. */
static const char *misfit(enum trb_column_type type, struct trb_value value) {
  bool text = value.type == TRB_TEXT;
  switch (type) {
    case TRB_COL_TEXT:
      if (!text) return "must be text";
      if (value.s.len && memchr(value.s.data, 0, value.s.len)) return "holds a NUL character";
      return trb_utf8_valid(value.s) ? NULL : "is not valid UTF-8";
    case TRB_COL_INT: return value.type == TRB_INT ? NULL : "must be a whole number";
    case TRB_COL_REAL:
      if (value.type == TRB_INT) return NULL;
      return value.type == TRB_REAL && isfinite(value.r) ? NULL : "must be a number";
    case TRB_COL_DATE: return text && date_valid(value.s) ? NULL : "must be a date: YYYY-MM-DD, YYYY-MM or YYYY";
    case TRB_COL_BLOB: return value.type == TRB_BLOB ? NULL : "must be a blob";
    case TRB_COL_REF: return text && trb_id_valid(value.s) ? NULL : "must be an id of 1 to 64 characters";
    case TRB_COL_SITE: return text && trb_site_valid(value.s) ? NULL : "must be the name of a site";
  }
  return "has an unknown type";
}

enum trb_status column_check(const struct trb_table *table, const struct trb_column *column, struct trb_value value,
                             struct trb_error *err) {
  if (value.type == TRB_NULL) {
    if (!(column->flags & TRB_COLUMN_REQUIRED)) return TRB_OK;
    return trb_fail(err, TRB_PEER, "%s.%s must have a value", table->name, column->name);
  }
  bool sized = column->type == TRB_COL_TEXT || column->type == TRB_COL_BLOB;
  if (sized && (value.type == TRB_TEXT || value.type == TRB_BLOB) && value.s.len > column->max_bytes)
    return trb_fail(err, TRB_PEER, "%s.%s is too large: %zu bytes, at most %u are possible", table->name, column->name,
                    value.s.len, column->max_bytes);
  const char *why = misfit(column->type, value);
  return why ? trb_fail(err, TRB_PEER, "%s.%s %s", table->name, column->name, why) : TRB_OK;
}

bool trb_id_valid(struct trb_slice id) {
  if (id.len == 0 || id.len > TRB_ID_BYTES_MAX || !trb_utf8_valid(id)) return false;
  size_t chars = 0;
  for (size_t i = 0; i < id.len; i++) {
    uint8_t c = id.data[i];
    if (c < 0x20 || c == 0x7f) return false;
    if (c == 0xc2 && id.data[i + 1] < 0xa0) return false; /* C1 controls; valid UTF-8 has a byte after C2 */
    chars += (c & 0xc0) != 0x80;
  }
  return chars <= TRB_ID_CHARS_MAX;
}

bool trb_site_valid(struct trb_slice site) {
  if (site.len == 0 || site.len > TRB_SITE_BYTES_MAX || site.data[0] < 'a' || site.data[0] > 'z') return false;
  for (size_t i = 1; i < site.len; i++) {
    uint8_t c = site.data[i];
    if (!(c >= 'a' && c <= 'z') && !(c >= '0' && c <= '9') && c != '-') return false;
  }
  return true;
}
