/* conf: DIR/node.ini, the small file that says what a node is. The inih room (common/conf.c).
 *
 * Keys (one section [node]): role = hub|branch, site, name, endpoints (branch: where the hub listens, comma separated),
 * via (branch: reach the hub here instead, through a tunnel; one tcp://host:port), listen, advertise, journal (hub:
 * second path), region, area_code. A damaged file (bad syntax, line over 200 bytes, unknown role, duplicate key) is
 * TRB_PEER with file and line. */
#ifndef TRIBUTARY_CONF_H
#define TRIBUTARY_CONF_H

#include "tributary/base.h"

#define TRB_CONF_VALUE_MAX 200

enum trb_role { TRB_ROLE_NONE, TRB_ROLE_HUB, TRB_ROLE_BRANCH };
struct trb_conf {
  enum trb_role role;
  char site[TRB_CONF_VALUE_MAX], name[TRB_CONF_VALUE_MAX], endpoints[TRB_CONF_VALUE_MAX], listen[TRB_CONF_VALUE_MAX],
      advertise[TRB_CONF_VALUE_MAX], journal[TRB_CONF_VALUE_MAX], via[TRB_CONF_VALUE_MAX], region[8], area_code[8];
};
enum trb_status conf_load(const char *dir, struct trb_conf *ret, struct trb_error *err);
/* Writes DIR/node.ini by rename, fsynced, 0600. */
enum trb_status conf_save(const char *dir, const struct trb_conf *conf, struct trb_error *err);

/* Whole-file helpers every module uses for keys and state files. */
enum trb_status file_read(const char *path, size_t max, struct trb_buf *out, struct trb_error *err);
enum trb_status file_write(const char *path, struct trb_slice bytes, struct trb_error *err); /* rename, fsync, 0600 */
/* Durably, and never over another file (TRB_DENIED). */
enum trb_status file_rename_new(const char *from, const char *to, struct trb_error *err);
/* flock(DIR/lock). A command holds it for a moment only, so it is waited for; then TRB_AGAIN names the pid. */
#define TRB_LOCK_WAIT_MS 2000
enum trb_status file_lock(const char *dir, int *ret_fd, struct trb_error *err);
bool file_on_network(const char *path, const char **ret_name); /* statfs: NFS, CIFS, FUSE, 9p ... */

#endif
