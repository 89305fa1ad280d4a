/* buckets: how often something may be done from one address: a token bucket each, in a table of bounded size that
 * forgets the address not heard of for longest.
 *
 * Pure: time is given. One thread.
 *
 * Invariant: an address that stays within its rate is never refused because of what others do; who brings more
 * addresses than the table holds gets past it, so a ceiling over all of them belongs beside it. */
#ifndef TRIBUTARY_HUB_BUCKETS_H
#define TRIBUTARY_HUB_BUCKETS_H

#include "tributary/base.h"

enum { BUCKETS_ADDRESS_BYTES = 64 }; /* with the closing NUL; an IPv6 address with its zone */

struct buckets; /* opaque, owned */
/* burst: at once, at most; one more each refill_ms. NULL: no memory. */
struct buckets *buckets_new(size_t max, int burst, int64_t refill_ms);
void buckets_free(struct buckets **buckets_p);
/* False: too often. */
bool buckets_take(struct buckets *b, const char *address, int64_t now_ms);

#endif
