/* notify: what the service manager is told (sd_notify). The systemd room (common/notify.c).
 *
 * Impure (a datagram to $NOTIFY_SOCKET); any thread. Without a service manager every call does nothing. */
#ifndef TRIBUTARY_NOTIFY_H
#define TRIBUTARY_NOTIFY_H

#include "tributary/base.h"

void notify_ready(void); /* READY=1: the node serves */
void notify_status(const char *format, ...)
    __attribute__((format(printf, 1, 2))); /* STATUS=, one line, no personal data */
void notify_watchdog(void);                /* WATCHDOG=1: the loop turns */
void notify_stopping(void);                /* STOPPING=1: draining */
/* How often notify_watchdog must be called (half of what the manager allows); 0: no watchdog is set. */
uint64_t notify_watchdog_ms(void);

#endif
