/* notify: see include/tributary/notify.h. */
#include "tributary/notify.h"

#include <stdio.h>
#include <systemd/sd-daemon.h>

/* Failures are not reported: the service manager notices silence itself, and there is nobody else to tell. */
void notify_ready(void) { (void)sd_notify(0, "READY=1"); }
void notify_watchdog(void) { (void)sd_notify(0, "WATCHDOG=1"); }
void notify_stopping(void) { (void)sd_notify(0, "STOPPING=1"); }

void notify_status(const char *format, ...) {
  char text[512];
  va_list args;
  va_start(args, format);
  vsnprintf(text, sizeof text, format, args);
  va_end(args);
  for (char *p = text; *p; p++)
    if (*p == '\n' || *p == '\r') *p = ' '; /* a line break would start another assignment */
  (void)sd_notifyf(0, "STATUS=%s", text);
}

uint64_t notify_watchdog_ms(void) {
  uint64_t interval_us = 0;
  return sd_watchdog_enabled(0, &interval_us) > 0 ? interval_us / 2000 : 0;
}
