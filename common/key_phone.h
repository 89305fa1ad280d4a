/* key_phone: between the two halves of telephone normalisation: key_phone.c takes a cell apart, key_phone_number.c
 * decides what a run of digit groups means. Pure. */
#ifndef TRIBUTARY_COMMON_KEY_PHONE_H
#define TRIBUTARY_COMMON_KEY_PHONE_H

#include "key_internal.h"

#define PHONE_GROUPS_MAX 24          /* digit groups in one run; people write at most six a number */
#define PHONE_EXTENSION_DIGITS_MAX 7 /* RFC 3966 sets none; libphonenumber accepts 7 after a plain mark */

struct phone_group {
  const char *digits; /* borrowed from the cell, `len` of them */
  size_t len;
  char before; /* strongest separator before it: '-', '.', '(', ' ' or 0 */
};
struct phone_run {
  struct phone_group group[PHONE_GROUPS_MAX];
  size_t count;
  bool plus;   /* '+' stood before the first group */
  bool broken; /* a stray letter touches it, or it has too many groups: never a key */
  char extension[PHONE_EXTENSION_DIGITS_MAX + 1]; /* after an explicit mark, else "" */
};

/* Adds the keys of a run (two numbers with a space between are two keys) or the reason why it has none. */
void phone_number_resolve(const struct key_input *in, const struct phone_run *run);

#endif
