/* log: the hub's log: one line on stderr an event, with syslog's priority in front (`<6>`), for the journal.
 *
 * Impure (stderr). Any thread. Only the shells call it (hub.c, net.c, net_jobs.c, the writer's thread), never library
 * code. A line names sites, codes and counts, never a value of a row.
 *
 * Invariant: each kind of event has its own limit, so that a hostile branch that makes one of them cannot hide another;
 * what was left out is counted in the next line of its kind. */
#ifndef TRIBUTARY_HUB_LOG_H
#define TRIBUTARY_HUB_LOG_H

#include <stdio.h>

#include "tributary/base.h"

enum log_level { LOG_CRITICAL = 2, LOG_ERROR = 3, LOG_WARN = 4, LOG_SAY = 5, LOG_TELL = 6 };
enum log_event {           /* what is limited together */
                 LOG_LIFE, /* start, stop, restored, held */
                 LOG_JOIN,
                 LOG_JOIN_REFUSED,
                 LOG_ORDER, /* suspended, resumed, revoked, rotation, the catalogue */
                 LOG_SESSION,
                 LOG_STREAM,
                 LOG_FORK,
                 LOG_CLONED,
                 LOG_DIGEST,
                 LOG_BAD_BATCH,
                 LOG_SET_ASIDE,
                 LOG_BACKUP,
                 LOG_STORE, /* the disk, hub.db */
                 LOG_EVENTS
};
enum { LOG_BURST = 60, LOG_REFILL_MS = 1000 };

void log_line(enum log_event event, enum log_level level, const char *format, ...)
    __attribute__((format(printf, 3, 4)));
/* For tests: where lines go (NULL: stderr), and everything forgotten. */
void log_to(FILE *out);

#endif
