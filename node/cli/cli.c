/* cli: see include/tributary/cli.h. */
#include "tributary/cli.h"

#include <ctype.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

static void take(struct cli *cli, int index, int count) {
  for (int i = index; i + count <= cli->argc; ++i) cli->argv[i] = cli->argv[i + count]; /* moves the closing NULL too */
  cli->argc -= count;
}

bool cli_flag(struct cli *cli, const char *name) {
  for (int i = 0; i < cli->argc && strcmp(cli->argv[i], "--") != 0; ++i)
    if (strcmp(cli->argv[i], name) == 0) {
      take(cli, i, 1);
      return true;
    }
  return false;
}

/* A missing value leaves the option where it stands, so that cli_args refuses it. */
const char *cli_option(struct cli *cli, const char *name) {
  size_t len = strlen(name);
  for (int i = 0; i < cli->argc && strcmp(cli->argv[i], "--") != 0; ++i) {
    char *word = cli->argv[i];
    if (strncmp(word, name, len) != 0) continue;
    if (word[len] == '=') {
      take(cli, i, 1);
      return word + len + 1;
    }
    if (word[len] == 0 && i + 1 < cli->argc) {
      char *value = cli->argv[i + 1];
      take(cli, i, 2);
      return value;
    }
  }
  return NULL;
}

/* The place-holder of argument `index` (0 is DIR) in a usage line: the words in capitals that stand in no brackets and
 * are no option's value. NULL: the line says it in another way ("dump | load FILE"). */
static const char *usage_word(const char *usage, int index, size_t *ret_len) {
  bool option = false;
  for (const char *p = usage; *p && !strchr("[|\n", *p);) {
    size_t len = strcspn(p, " \n");
    bool holder = isupper((unsigned char)*p) && !option;
    if (holder && index-- == 0) {
      *ret_len = len;
      return p;
    }
    option = strncmp(p, "--", 2) == 0;
    p += len + (p[len] == ' ');
  }
  return NULL;
}

static void say_missing(struct cli *cli, const char *usage) {
  size_t len = 0;
  const char *word = usage_word(usage, cli->argc, &len);
  if (word)
    fprintf(cli->err, "tributary: %.*s is missing\n", (int)len, word);
  else
    fputs("tributary: an argument is missing\n", cli->err);
  fprintf(cli->err, "usage: tributary %s\n", usage);
}

int cli_args(struct cli *cli, int min, int max, const char *usage) {
  if (strncmp(usage, "tributary ", 10) == 0) usage += 10;
  for (int i = 0; i < cli->argc; ++i) {
    if (strcmp(cli->argv[i], "--") == 0) { /* what follows are words, whatever they look like */
      take(cli, i, 1);
      break;
    }
    if (cli->argv[i][0] != '-' || cli->argv[i][1] == 0) continue;
    fprintf(cli->err,
            "tributary: option %s is not known here, is given twice, or lacks its value\nusage: tributary %s\n",
            cli->argv[i], usage);
    return CLI_USAGE;
  }
  if (cli->argc >= min && cli->argc <= max) return 0;
  if (cli->argc < min)
    say_missing(cli, usage);
  else
    fprintf(cli->err, "tributary: '%s' is one argument too many\nusage: tributary %s\n", cli->argv[max], usage);
  return CLI_USAGE;
}

int cli_failed(struct cli *cli, const struct trb_error *error) {
  fputs("tributary: ", cli->err);
  cli_print_text(cli->err,
                 trb_slice_str(error->text[0] ? error->text : "failed without a reason (a bug: please report)"));
  fputc('\n', cli->err);
  switch (error->status) {
    case TRB_OK: return CLI_DONE;
    case TRB_AGAIN: return CLI_NOT_YET;
    case TRB_DENIED: return CLI_REFUSED;
    case TRB_FULL:
    case TRB_PEER:
    case TRB_ABSENT:
    case TRB_STORE:
    case TRB_NOMEM: break;
  }
  return CLI_FAILED;
}

int cli_daemon_failed(struct cli *cli, const struct trb_error *error) {
  int code = cli_failed(cli, error);
  return code == CLI_NOT_YET ? CLI_FAILED : code;
}

static bool shows_progress(const struct cli *cli) { return !cli->quiet && isatty(fileno(cli->err)); }

void cli_progress(struct cli *cli, const char *what, int64_t done, int64_t total) {
  if (!shows_progress(cli)) return;
  if (total > 0)
    fprintf(cli->err, "\r  %s %lld of %lld\033[K", what, (long long)done, (long long)total);
  else
    fprintf(cli->err, "\r  %s %lld\033[K", what, (long long)done);
  fflush(cli->err);
}

void cli_progress_end(struct cli *cli) {
  if (shows_progress(cli)) fputs("\r\033[K", cli->err);
}

bool cli_confirm(struct cli *cli, const char *question) {
  if (cli->yes) return true;
  if (!isatty(STDIN_FILENO)) {
    fprintf(cli->err, "tributary: %s Not asked, since this is no terminal: say --yes to go on.\n", question);
    return false;
  }
  fprintf(cli->err, "%s [y/N] ", question);
  fflush(cli->err);
  char line[16];
  return fgets(line, sizeof line, stdin) && (line[0] == 'y' || line[0] == 'Y');
}

bool cli_duration(const char *text, int64_t *ret_seconds) {
  enum { DURATION_DAYS_MAX = 3660 };
  size_t digits = strspn(text, "0123456789");
  if (digits == 0 || digits > 9 || strlen(text) != digits + 1) return false;
  int64_t unit;
  switch (text[digits]) {
    case 's': unit = 1; break;
    case 'm': unit = 60; break;
    case 'h': unit = 3600; break;
    case 'd': unit = 86400; break;
    default: return false;
  }
  int64_t seconds = strtoll(text, NULL, 10) * unit;
  if (seconds <= 0 || seconds > (int64_t)DURATION_DAYS_MAX * 86400) return false;
  *ret_seconds = seconds;
  return true;
}

/* Bytes that are not UTF-8 are shown as \xNN too, and so are U+0080..U+009F (C1 controls) and the marks that turn the
 * direction of text (they can make a line say the opposite of what it holds). */
static size_t safe_char(const uint8_t *p, size_t len) {
  if (p[0] < 0x80) return p[0] >= 0x20 && p[0] != 0x7f ? 1 : 0;
  size_t need = p[0] >= 0xf0 ? 4 : p[0] >= 0xe0 ? 3 : 2;
  if (need > len || !trb_utf8_valid(trb_slice_of(p, need))) return 0;
  if (p[0] == 0xc2 && p[1] < 0xa0) return 0;
  if (p[0] == 0xe2 && p[1] == 0x80 && ((p[2] >= 0x8e && p[2] <= 0x8f) || (p[2] >= 0xa8 && p[2] <= 0xae))) return 0;
  if (p[0] == 0xe2 && p[1] == 0x81 && p[2] >= 0xa6 && p[2] <= 0xa9) return 0;
  return need;
}

void cli_print_text(FILE *out, struct trb_slice text) {
  for (size_t i = 0; i < text.len;) {
    size_t n = safe_char(text.data + i, text.len - i);
    if (n) {
      fwrite(text.data + i, 1, n, out);
      i += n;
    } else {
      fprintf(out, "\\x%02x", text.data[i++]);
    }
  }
}
