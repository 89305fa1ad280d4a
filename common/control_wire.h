/* control_wire: what both ends of the control socket share. Pure but for control_socket. */
#ifndef TRIBUTARY_COMMON_CONTROL_WIRE_H
#define TRIBUTARY_COMMON_CONTROL_WIRE_H

#include <sys/un.h>

#include "tributary/control.h"

#define CONTROL_LENGTH_BYTES 4

/* The address of DIR/control.sock through an open directory, since sun_path holds only 108 bytes. *ret_dir_fd is to be
 * closed after bind or connect. */
enum trb_status control_address(const char *dir, struct sockaddr_un *ret, int *ret_dir_fd, struct trb_error *err);
int control_socket(void); /* a non-blocking, close-on-exec stream socket, or -1 with errno */

/* A request without its length prefix, into words in the arena. TRB_PEER: not an array of 1..WORDS_MAX NUL-free
 * strings. */
enum trb_status control_read_words(struct trb_slice body, struct trb_arena *arena, size_t *ret_count,
                                   const char *const **ret_words);
void control_put_words(struct trb_buf *out, size_t count, const char *const *words);         /* with its length */
void control_put_answer(struct trb_buf *out, enum trb_status status, struct trb_slice text); /* with its length */
enum trb_status control_read_answer(struct trb_slice body, enum trb_status *ret, struct trb_slice *ret_text);

#endif
