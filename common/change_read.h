/* change_read: what change.c and batch.c share. */
#ifndef TRIBUTARY_COMMON_CHANGE_READ_H
#define TRIBUTARY_COMMON_CHANGE_READ_H

#include "tributary/change.h"
#include "tributary/mp.h"

/* Takes one change at the cursor; cells go to the arena. NULL when it is well formed, else what is wrong. */
const char *change_read(struct mp_reader *r, struct trb_arena *arena, struct trb_change *ret);
extern const char change_read_nomem[]; /* the answer, by address, when the arena is full */

#endif
