/* conf: see include/tributary/conf.h. The inih room.
 *
 * inih is lenient (it splits long lines, keeps the last of two equal keys, cuts a value at " ;"). So each file is
 * looked at before and every file we write is read back from memory and compared before it replaces the old one. */
#include "tributary/conf.h"

#include <ini.h>
#include <limits.h>
#include <stdio.h>
#include <string.h>

enum {
  LINE_BYTES_MAX = 198,      /* inih's buffer is 200 bytes with the line end and the NUL */
  FILE_BYTES_MAX = 16 << 10, /* ten short lines and comments */
};

static const struct field {
  const char *key;
  size_t offset, size;
} fields[] = {
#define FIELD(name) \
  { #name, offsetof(struct trb_conf, name), sizeof((struct trb_conf *)0)->name }
    FIELD(site),    FIELD(name), FIELD(endpoints), FIELD(listen),    FIELD(advertise),
    FIELD(journal), FIELD(via),  FIELD(region),    FIELD(area_code),
#undef FIELD
};
enum { FIELD_COUNT = sizeof fields / sizeof *fields, ROLE_BIT = FIELD_COUNT };

struct parse {
  struct trb_conf conf;
  unsigned seen; /* bit i: fields[i]; bit ROLE_BIT: role */
  char why[160];
};

static int refuse(struct parse *parse, const char *what, const char *key) {
  if (!parse->why[0]) snprintf(parse->why, sizeof parse->why, "%s: %.60s", what, key);
  return 0;
}

static bool first_time(struct parse *parse, unsigned bit) {
  bool first = !(parse->seen & 1u << bit);
  parse->seen |= 1u << bit;
  return first;
}

static int take_role(struct parse *parse, const char *value) {
  if (!first_time(parse, ROLE_BIT)) return refuse(parse, "this key stands there twice", "role");
  parse->conf.role = !strcmp(value, "hub") ? TRB_ROLE_HUB : !strcmp(value, "branch") ? TRB_ROLE_BRANCH : TRB_ROLE_NONE;
  return parse->conf.role ? 1 : refuse(parse, "the role must be hub or branch, not", value);
}

static int take(void *user, const char *section, const char *key, const char *value) {
  struct parse *parse = user;
  if (strcmp(section, "node") != 0) return refuse(parse, "unknown section", section);
  if (!strcmp(key, "role")) return take_role(parse, value);
  for (unsigned i = 0; i < FIELD_COUNT; i++) {
    if (strcmp(key, fields[i].key) != 0) continue;
    if (!first_time(parse, i)) return refuse(parse, "this key stands there twice", key);
    if (strlen(value) >= fields[i].size) return refuse(parse, "this value is too long", key);
    memcpy((char *)&parse->conf + fields[i].offset, value, strlen(value) + 1);
    return 1;
  }
  return refuse(parse, "unknown key", key);
}

/* Number of the first line that is too long or holds a NUL; 0 when there is none. */
static int bad_line(struct trb_slice text) {
  int line = 1;
  size_t len = 0;
  for (size_t i = 0; i < text.len; i++) {
    if (text.data[i] == '\n') {
      line++;
      len = 0;
    } else if (!text.data[i] || ++len > LINE_BYTES_MAX) {
      return line;
    }
  }
  return 0;
}

static enum trb_status parse_text(const char *path, struct trb_buf *text, struct trb_conf *ret, struct trb_error *err) {
  int line = bad_line(trb_buf_slice(text));
  if (line)
    return trb_fail(err, TRB_PEER, "%s, line %d: longer than %d bytes or not text.", path, line, LINE_BYTES_MAX);
  struct parse parse = {0};
  line = ini_parse_string(trb_buf_cstr(text), take, &parse);
  if (line)
    return trb_fail(err, TRB_PEER, "%s, line %d: %s.", path, line,
                    parse.why[0] ? parse.why : "not of the form key = value");
  if (!parse.conf.role) return trb_fail(err, TRB_PEER, "%s does not say role = hub or role = branch.", path);
  *ret = parse.conf;
  return TRB_OK;
}

static enum trb_status path_in(const char *dir, char *ret, size_t size, struct trb_error *err) {
  int len = snprintf(ret, size, "%s/node.ini", dir);
  return len < 0 || (size_t)len >= size ? trb_fail(err, TRB_PEER, "The path of the directory is too long.") : TRB_OK;
}

enum trb_status conf_load(const char *dir, struct trb_conf *ret, struct trb_error *err) {
  char path[PATH_MAX];
  TRB_BUF_AUTO text = {0};
  enum trb_status status = path_in(dir, path, sizeof path, err);
  if (!status) status = file_read(path, FILE_BYTES_MAX, &text, err);
  return status ? status : parse_text(path, &text, ret, err);
}

static bool conf_equal(const struct trb_conf *a, const struct trb_conf *b) {
  bool equal = a->role == b->role;
  for (unsigned i = 0; i < FIELD_COUNT; i++)
    equal = equal && !strcmp((const char *)a + fields[i].offset, (const char *)b + fields[i].offset);
  return equal;
}

static bool has_control(const char *value) {
  for (; *value; value++)
    if ((unsigned char)*value < ' ' || *value == 0x7f) return true;
  return false;
}

enum trb_status conf_save(const char *dir, const struct trb_conf *conf, struct trb_error *err) {
  char path[PATH_MAX];
  TRB_BUF_AUTO text = {0};
  struct trb_conf back;
  enum trb_status status = path_in(dir, path, sizeof path, err);
  if (status) return status;
  trb_buf_printf(&text, "# What this Tributary node is. Written by tributary.\n[node]\nrole = %s\n",
                 conf->role == TRB_ROLE_HUB      ? "hub"
                 : conf->role == TRB_ROLE_BRANCH ? "branch"
                                                 : "none");
  for (unsigned i = 0; i < FIELD_COUNT; i++) {
    const char *value = (const char *)conf + fields[i].offset;
    if (has_control(value)) return trb_fail(err, TRB_PEER, "The setting %s has control characters.", fields[i].key);
    if (*value) trb_buf_printf(&text, "%s = %s\n", fields[i].key, value);
  }
  if (text.failed) return trb_fail(err, TRB_NOMEM, "Out of memory while writing %s.", path);
  status = parse_text(path, &text, &back, err);
  if (status) return status;
  if (!conf_equal(conf, &back))
    return trb_fail(err, TRB_PEER,
                    "A setting cannot be kept in %s: leave out line breaks, quotes, ' ;' and spaces at its ends.",
                    path);
  return file_write(path, trb_buf_slice(&text), err);
}
