/* net: the hub's first thread: the ROUTER, admission, the session of each site, the control socket. It never waits for
 * another thread: what it asks for comes back as a job in to_net. See daemon.h. */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/signalfd.h>
#include <time.h>
#include <unistd.h>

#include "daemon.h"
#include "tributary/notify.h"

int64_t net_now_ms(void) { return writer_now_ms(); }

/* ---- admission ---- */

static bool authorise(void *arg, const uint8_t curve_public[TRB_KEY_BYTES], const char *address,
                      char ret_user[TRB_LINK_USER_MAX]) {
  struct daemon *d = arg;
  const struct roster_site *site = roster_by_curve(&d->roster, curve_public);
  if (site) {
    snprintf(ret_user, TRB_LINK_USER_MAX, "%s", site->name);
    return true;
  }
  snprintf(ret_user, TRB_LINK_USER_MAX, "%s", TRB_LINK_GUEST);
  return buckets_take(d->guests, address ? address : "", net_now_ms());
}

/* ---- sites ---- */

struct net_site *net_site_of(struct daemon *d, int64_t no) {
  return no > 0 && (size_t)no < d->site_cap ? d->sites[no] : NULL;
}

static enum trb_status reserve(struct daemon *d, int64_t no, struct trb_error *err) {
  if ((size_t)no < d->site_cap) return TRB_OK;
  size_t cap = d->site_cap ? d->site_cap : 64;
  while (cap <= (size_t)no) cap *= 2;
  struct net_site **sites = realloc(d->sites, cap * sizeof(struct net_site *));
  if (!sites) return trb_fail(err, TRB_NOMEM, "out of memory");
  memset(sites + d->site_cap, 0, (cap - d->site_cap) * sizeof(struct net_site *));
  d->sites = sites;
  d->site_cap = cap;
  return TRB_OK;
}

static enum trb_status make_site(struct daemon *d, const struct roster_site *known, struct trb_error *err) {
  enum trb_status status = reserve(d, known->no, err);
  if (status != TRB_OK) return status;
  struct net_site *site = calloc(1, sizeof *site);
  if (!site) return trb_fail(err, TRB_NOMEM, "out of memory");
  site->no = known->no;
  snprintf(site->name, sizeof site->name, "%s", known->name);
  d->sites[known->no] = site;
  return TRB_OK;
}

/* A session is made for the keys it will speak with, and anew when the machine behind the site is another. */
static enum trb_status give_session(struct daemon *d, struct net_site *site, const struct roster_site *known,
                                    struct trb_error *err) {
  if (site->session || known->sign_count == 0) return TRB_OK;
  struct session_config config = {.keyset = trb_buf_slice(&d->keys.sealed)};
  snprintf(config.site, sizeof config.site, "%s", known->name);
  memcpy(config.epoch, d->epoch, sizeof config.epoch);
  memcpy(config.sign_public, known->sign[0], TRB_KEY_BYTES);
  if (session_new(&config, &site->session) != TRB_OK) return trb_fail(err, TRB_NOMEM, "out of memory");
  site->told_revoked = false;
  return TRB_OK;
}

static void tell_revoked(struct daemon *d, struct net_site *site, const struct link_route *route) {
  if (site && site->told_revoked) return;
  if (site) site->told_revoked = true;
  struct wire_message message = {
      .type = WIRE_fault,
      .fault = {
          .code = TRB_FAULT_REVOKED,
          .text = trb_slice_str("headquarters has revoked this machine: nothing is taken from it or sent to it")}};
  TRB_BUF_AUTO out = {0};
  wire_encode(&message, &out);
  if (!out.failed) link_server_send(d->server, route, trb_buf_slice(&out));
}

static enum trb_status refresh_site(struct daemon *d, const struct roster_site *known, struct trb_error *err) {
  struct net_site *site = net_site_of(d, known->no);
  if (!site) {
    enum trb_status status = make_site(d, known, err);
    if (status != TRB_OK) return status;
    site = net_site_of(d, known->no);
  }
  bool in = known->state == ROSTER_OPEN || known->state == ROSTER_SUSPENDED;
  if (!in && site->session) { /* revoked: nothing goes either way from this moment but that it is so */
    if (site->routed) tell_revoked(d, site, &site->route);
    session_free(&site->session);
    jobs_drop_late(site);
    site->routed = false;
  }
  if (!in) return TRB_OK;
  enum trb_status status = give_session(d, site, known, err);
  if (status == TRB_OK && site->session) {
    session_suspend(site->session, known->state == ROSTER_SUSPENDED);
    net_pump(d, site);
  }
  return status;
}

static enum trb_status refresh_safe(struct daemon *d, struct trb_error *err) {
  TRB_STMT_AUTO *stmt = NULL;
  enum trb_status status = db_queryf(d->reader, err, &stmt, "SELECT site, safe FROM stream WHERE current=1", "");
  bool row = status == TRB_OK;
  while (status == TRB_OK && (status = stmt_step(stmt, &row, err)) == TRB_OK && row) {
    struct net_site *site = net_site_of(d, stmt_int(stmt, 0));
    if (!site || !site->session) continue;
    session_safe(site->session, (uint64_t)stmt_int(stmt, 1));
    net_pump(d, site);
  }
  return status;
}

enum trb_status net_reload_roster(struct daemon *d, struct trb_error *err) {
  struct roster roster;
  enum trb_status status = roster_load(d->reader, &roster, err);
  if (status != TRB_OK) return status;
  roster_free(&d->roster);
  d->roster = roster;
  int64_t held = 0;
  status = db_get_int(d->reader, NULL, &held, "SELECT value FROM hub_state WHERE name='hold'", "");
  d->held = status == TRB_OK && held;
  status = TRB_OK;
  for (size_t i = 0; status == TRB_OK && i < d->roster.count; i++) status = refresh_site(d, &d->roster.sites[i], err);
  return status == TRB_OK ? refresh_safe(d, err) : status;
}

/* ---- frames ---- */

static bool key_is_known(const struct roster_site *known, const uint8_t key[TRB_KEY_BYTES]) {
  for (size_t i = 0; i < known->curve_count; i++)
    if (memcmp(known->curve[i], key, TRB_KEY_BYTES) == 0) return true;
  return false;
}

/* Two machines with the same keys take the line from one another. */
static void count_flip(struct net_site *site, int64_t now_ms) {
  if (now_ms - site->flips_since_ms > 60000) {
    site->flips_since_ms = now_ms;
    site->flips = 0;
    site->cloned = false;
  }
  if (++site->flips <= DAEMON_FLIPS_MAX || site->cloned) return;
  site->cloned = true;
  netlog_cloned(site);
}

/* JOIN of a key that is enrolled already: a crash between the token's use and the reply. [10, ...]: see messages.def.
 */
static bool is_join(struct trb_slice body) {
  return body.len > 2 && (body.data[0] & 0xf0) == 0x90 && body.data[1] == WIRE_join;
}

static bool is_hello(struct trb_slice body) {
  struct wire_message message;
  return wire_decode(body, &message, NULL) == TRB_OK && message.type == WIRE_hello;
}

static void site_frame(struct daemon *d, const struct link_frame *frame, int64_t now_ms) {
  const struct roster_site *known = roster_named(&d->roster, frame->user);
  struct net_site *site = known ? net_site_of(d, known->no) : NULL;
  /* Asked again for every message: a key may have been revoked since its connection came in (Z5). */
  if (!site || !site->session || !key_is_known(known, frame->curve_public)) {
    tell_revoked(d, site, &frame->route);
    return;
  }
  bool same = site->routed && site->route.len == frame->route.len &&
              memcmp(site->route.data, frame->route.data, frame->route.len) == 0;
  /* What an old connection still had in its queue must not take the line back: only a HELLO does. */
  if (!same && site->routed && !is_hello(frame->body)) return;
  if (!same) {
    if (site->routed) count_flip(site, now_ms);
    site->route = frame->route;
    site->routed = true;
    session_routed(site->session, now_ms);
    net_pump(d, site);
  }
  site->connection = frame->connection;
  site->gone = false;
  session_receive(site->session, frame->body, now_ms);
  net_pump(d, site);
}

/* Only status asks: the route is given up when a send to it fails. */
static void see_gone(struct daemon *d) {
  for (int connection; link_server_gone(d->server, &connection);)
    for (size_t i = 0; i < d->site_cap; i++)
      if (d->sites[i] && d->sites[i]->routed && d->sites[i]->connection == connection) d->sites[i]->gone = true;
}

static enum trb_status receive_frames(struct daemon *d, bool *ret_more, struct trb_error *err) {
  int64_t now_ms = net_now_ms();
  *ret_more = false;
  for (int i = 0; i < DAEMON_FRAMES_PER_TURN; i++) {
    struct link_frame frame;
    enum trb_status status = link_server_receive(d->server, &frame, err);
    see_gone(d);
    if (status == TRB_AGAIN) return TRB_OK;
    if (status != TRB_OK) return status;
    if (strcmp(frame.user, TRB_LINK_GUEST) == 0 || is_join(frame.body))
      jobs_guest(d, &frame);
    else
      site_frame(d, &frame, now_ms);
  }
  *ret_more = true;
  return TRB_OK;
}

void net_pump(struct daemon *d, struct net_site *site) {
  struct session_action action;
  while (session_next(site->session, &action) != SESSION_IDLE) {
    if (action.what != SESSION_SEND) {
      jobs_from_session(d, site, &action);
      continue;
    }
    if (!site->routed) continue;
    enum trb_status sent = link_server_send(d->server, &site->route, action.bytes);
    if (sent == TRB_ABSENT) site->routed = false; /* gone; a new line starts the session over */
  }
}

/* ---- the loop ---- */

static void tick(struct daemon *d) {
  int64_t now_ms = net_now_ms();
  if (now_ms - d->ticked_ms < DAEMON_TICK_MS && now_ms >= d->ticked_ms) return;
  d->ticked_ms = now_ms;
  notify_watchdog();
  for (size_t i = 0; i < d->site_cap; i++) {
    struct net_site *site = d->sites[i];
    if (!site || !site->session) continue;
    jobs_retry(d, site, now_ms);
    session_tick(site->session, now_ms);
    net_pump(d, site);
  }
  netlog_tick(d);
}

static void read_signal(struct daemon *d) {
  struct signalfd_siginfo info;
  while (read(d->signal_fd, &info, sizeof info) == (ssize_t)sizeof info) d->stopping = true;
}

static void take_results(struct daemon *d) {
  queue_quiet(d->to_net);
  for (struct hub_job *job; (job = queue_pop(d->to_net, 0)) != NULL;) jobs_result(d, job);
}

static void take_commands(struct daemon *d) {
  int client;
  size_t count;
  const char *const *words;
  while (control_next(d->control, &client, &count, &words) == TRB_OK) jobs_command(d, client, count, words);
}

enum trb_status net_open(struct daemon *d, struct trb_error *err) {
  d->guests = buckets_new(DAEMON_ADDRESSES, DAEMON_GUEST_BURST, DAEMON_GUEST_REFILL_MS);
  d->joiners = buckets_new(DAEMON_ADDRESSES, DAEMON_JOIN_BURST, DAEMON_JOIN_REFILL_MS);
  if (!d->guests || !d->joiners) return trb_fail(err, TRB_NOMEM, "out of memory");
  enum trb_status status = net_reload_roster(d, err);
  if (status == TRB_OK) status = link_context_new(&d->context, err);
  if (status == TRB_OK)
    status = link_server_open(d->context, d->conf.listen, d->keys.curve_secret, authorise, d, &d->server, err);
  if (status == TRB_OK) status = control_listen(d->dir, &d->control, err);
  return status;
}

enum { REBIND_TRIES = 100, REBIND_PAUSE_MS = 20 };

/* The next CURVE key is served from now on; branches come back with it by themselves. */
static enum trb_status rebind(struct daemon *d, struct trb_error *err) {
  d->rebind = false;
  for (size_t i = 0; i < d->site_cap; i++)
    if (d->sites[i]) d->sites[i]->routed = false;
  char endpoint[TRB_CONF_VALUE_MAX];
  snprintf(endpoint, sizeof endpoint, "%s", link_server_endpoint(d->server)); /* a port chosen at start stays */
  link_server_close(&d->server);
  enum trb_status status = TRB_STORE;
  for (int i = 0; i < REBIND_TRIES && status == TRB_STORE; i++) { /* libzmq lets go of the address in its own time */
    if (i) usleep(REBIND_PAUSE_MS * 1000);
    status = link_server_open(d->context, endpoint, d->keys.curve_secret, authorise, d, &d->server, err);
  }
  return status;
}

enum trb_status net_loop(struct daemon *d, struct trb_error *err) {
  bool more = false;
  while (!d->stopping) {
    int fds[2 + TRB_CONTROL_CLIENTS_MAX + 1];
    fds[0] = queue_fd(d->to_net);
    fds[1] = d->signal_fd;
    size_t count = 2 + control_fds(d->control, fds + 2, TRB_CONTROL_CLIENTS_MAX + 1);
    enum trb_status status = link_wait(d->server, NULL, fds, NULL, count, more ? 0 : DAEMON_TICK_MS, err);
    if (status == TRB_OK) status = receive_frames(d, &more, err);
    if (status != TRB_OK) return status; /* without its admission handler nothing may be served */
    take_results(d);
    if (d->rebind) status = rebind(d, err);
    if (status != TRB_OK) return status;
    take_commands(d);
    read_signal(d);
    tick(d);
  }
  return TRB_OK;
}
