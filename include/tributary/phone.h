/* phone: the libphonenumber room, as seen from C. common/phone.cc is the only C++ file.
 *
 * Pure apart from libphonenumber's metadata (about 11 MB), which is loaded at the first call. Any thread. Callers put
 * their own gates before it (key_phone.c): it searches for a number rather than verifies one. */
#ifndef TRIBUTARY_PHONE_H
#define TRIBUTARY_PHONE_H

#include <stdbool.h>

#ifdef __cplusplus
extern "C" {
#endif

enum trb_phone_type {
  TRB_PHONE_MOBILE = 1,
  TRB_PHONE_FIXED,
  TRB_PHONE_EITHER,  /* the numbering plan does not tell (North America) */
  TRB_PHONE_SERVICE, /* toll free, shared cost, premium, universal access */
  TRB_PHONE_UNKNOWN, /* valid, of another type (VoIP, pager) */
};
struct trb_phone {
  enum trb_phone_type type;
  char e164[20]; /* "+8613911112222" */
  int country;   /* calling code, 86 */
};

/* `number` is digits with an optional leading '+', nothing else. True when it is a valid number of its plan and every
 * typed digit is accounted for: nothing cut off, nothing glued on. Never throws; false also when memory runs out. */
bool phone_parse(const char *number, const char *region, struct trb_phone *ret);

/* Is it a region (ISO 3166, two capital letters) whose numbering plan is known? */
bool phone_region_known(const char *region);

#ifdef __cplusplus
}
#endif
#endif
