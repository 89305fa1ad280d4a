/* help: --help of the program and of every command, the man page, and "did you mean". Everything is printed from the
 * table in main.c; the long texts are in help_text.c. */
#include <ctype.h>
#include <string.h>

#include "commands.h"

static bool first_of_name(const struct cli_command *c) { return c == cli_commands || strcmp(c[-1].name, c->name) != 0; }

static const char exit_codes[] =
    "Exit codes: 0 done, 1 failed, 2 wrong usage, 3 not (yet) in the asked state, 4 refused\n"
    "by policy or authorisation. Data on stdout, everything else on stderr.\n";

void help_program(FILE *out) {
  fputs(
      "tributary: branches write SQLite offline, headquarters sees one customer\n\n"
      "usage: tributary COMMAND [SUBCOMMAND] DIR ...\n"
      "DIR is the directory of a hub or of a branch; the program knows which from what is in it.\n\n",
      out);
  for (const struct cli_command *c = cli_commands; c->name; ++c) {
    char words[40];
    snprintf(words, sizeof words, "%s%s%s", c->name, c->sub ? " " : "", c->sub ? c->sub : "");
    fprintf(out, "  %-15s %s\n", words, c->summary);
  }
  fputs(
      "\nEvery command has --help; --json where it prints data; --quiet; --yes where it would ask.\n"
      "tributary --version    tributary COMMAND --help    man tributary\n",
      out);
  fputs(exit_codes, out);
}

void help_group(FILE *out, const char *name) {
  for (const struct cli_command *c = cli_commands; c->name; ++c)
    if (strcmp(c->name, name) == 0)
      fprintf(out, "  tributary %s%s%s %s\n      %s\n", c->name, c->sub ? " " : "", c->sub ? c->sub : "", c->usage,
              c->summary);
}

void help_command(FILE *out, const struct cli_command *c) {
  fprintf(out, "tributary %s%s%s: %s\n\nusage: tributary %s%s%s %s\n\n%s", c->name, c->sub ? " " : "",
          c->sub ? c->sub : "", c->summary, c->name, c->sub ? " " : "", c->sub ? c->sub : "", c->usage, c->help);
}

/* ---- man page ---- */

static void man_line(FILE *out, const char *line, size_t len) {
  if (len && (line[0] == '.' || line[0] == '\'')) fputs("\\&", out);
  for (size_t i = 0; i < len; ++i) {
    if (line[i] == '-')
      fputs("\\-", out);
    else if (line[i] == '\\')
      fputs("\\e", out);
    else
      fputc(line[i], out);
  }
  fputc('\n', out);
}

/* Indented lines stand as they are (.nf); an empty line begins a paragraph. */
static void man_text(FILE *out, const char *text) {
  bool literal = false;
  while (*text) {
    size_t len = strcspn(text, "\n");
    bool indented = len && text[0] == ' ';
    if (len && indented != literal) {
      fputs(indented ? ".PP\n.RS 4\n.nf\n" : ".fi\n.RE\n.PP\n", out);
      literal = indented;
    }
    if (len)
      man_line(out, text + (indented ? 2 : 0), len - (indented ? 2 : 0));
    else if (!literal)
      fputs(".PP\n", out);
    text += len + (text[len] == '\n');
  }
  if (literal) fputs(".fi\n.RE\n", out);
}

static void man_words(FILE *out, const struct cli_command *c) {
  fprintf(out, "tributary %s%s%s", c->name, c->sub ? " " : "", c->sub ? c->sub : "");
}

void help_man(FILE *out) {
  fprintf(out,
          ".\\\" Made by `make man` from the help texts in node/cli/help_text.c: change it there.\n"
          ".TH TRIBUTARY 1 \"\" \"Tributary %s\" \"User Commands\"\n.SH NAME\n"
          "tributary \\- branches write SQLite offline, headquarters sees one customer\n.SH SYNOPSIS\n",
          TRB_VERSION);
  for (const struct cli_command *c = cli_commands; c->name; ++c) {
    fputs(".B ", out);
    man_words(out, c);
    fputc('\n', out);
    man_line(out, c->usage, strlen(c->usage));
    fputs(".br\n", out);
  }
  fputs(".SH DESCRIPTION\n", out);
  man_text(out, help_overview);
  fputs(".SH COMMANDS\n", out);
  for (const struct cli_command *c = cli_commands; c->name; ++c) {
    fputs(".SS ", out);
    man_words(out, c);
    fputc(' ', out);
    man_line(out, c->usage, strlen(c->usage));
    man_text(out, c->help);
  }
  fputs(".SH EXIT STATUS\n", out);
  man_text(out, exit_codes);
  fputs(".SH FILES\n", out);
  man_text(out, help_files);
}

/* ---- did you mean ---- */

enum { NEAR_WORD_MAX = 24 };

static int edit_distance(const char *a, const char *b) {
  int row[NEAR_WORD_MAX + 1];
  size_t la = strlen(a), lb = strlen(b);
  if (la > NEAR_WORD_MAX || lb > NEAR_WORD_MAX) return NEAR_WORD_MAX;
  for (size_t j = 0; j <= lb; ++j) row[j] = (int)j;
  for (size_t i = 1; i <= la; ++i) {
    int diagonal = row[0];
    row[0] = (int)i;
    for (size_t j = 1; j <= lb; ++j) {
      int best = diagonal + (tolower((unsigned char)a[i - 1]) != b[j - 1]);
      if (row[j] + 1 < best) best = row[j] + 1;
      if (row[j - 1] + 1 < best) best = row[j - 1] + 1;
      diagonal = row[j];
      row[j] = best;
    }
  }
  return row[lb];
}

const char *help_nearest(const char *name, const char *word) {
  const char *best = NULL;
  int best_distance = 2 * NEAR_WORD_MAX;
  for (const struct cli_command *c = cli_commands; c->name; ++c) {
    if (name ? strcmp(c->name, name) != 0 || !c->sub : !first_of_name(c)) continue;
    const char *candidate = name ? c->sub : c->name;
    /* Halves, so that of two equally near ones the one it begins wins. */
    int distance = 2 * edit_distance(word, candidate) - (strncmp(word, candidate, strlen(word)) == 0);
    if (distance < best_distance) {
      best_distance = distance;
      best = candidate;
    }
  }
  return best && best_distance <= 2 * (1 + (int)strlen(best) / 3) ? best : NULL;
}
