/* control: DIR/control.sock (0600), how commands reach a running daemon.
 *
 * One request a connection: a msgpack array of strings [command, argument...] (at most TRB_CONTROL_BYTES_MAX, framed by
 * a 32-bit big-endian length); one answer: msgpack [status, text]. The same functions run directly on the files, under
 * flock(DIR/lock), when no daemon runs. */
#ifndef TRIBUTARY_CONTROL_H
#define TRIBUTARY_CONTROL_H

#include "tributary/base.h"

#define TRB_CONTROL_BYTES_MAX (4u << 20) /* a policy file of thousands of rows */
#define TRB_CONTROL_CLIENTS_MAX 16       /* at once; more are told to try again */
#define TRB_CONTROL_WORDS_MAX 64

/* Client: TRB_ABSENT when no daemon listens. *ret_text is appended. The returned status is the daemon's answer. */
enum trb_status control_call(const char *dir, size_t count, const char *const *words, int timeout_ms,
                             struct trb_buf *ret_text, struct trb_error *err);

/* Server, owned by the daemon's loop thread: never blocks. */
struct control_server;
enum trb_status control_listen(const char *dir, struct control_server **ret, struct trb_error *err);
void control_close(struct control_server **server_p);
size_t control_fds(const struct control_server *server, int *ret_fds, size_t max); /* to poll for reading */
/* Reads what is there; when a whole request stands gives it (words borrowed until the answer) and its client number.
 * TRB_AGAIN: none. */
enum trb_status control_next(struct control_server *server, int *ret_client, size_t *ret_count,
                             const char *const **ret_words);
void control_answer(struct control_server *server, int client, enum trb_status status, struct trb_slice text);

#endif
