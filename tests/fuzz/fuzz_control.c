/* fuzz_control: any bytes sent to the command socket, in pieces. Input: first byte: size of the pieces; the rest: the
 * bytes. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include "tributary/control.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static struct control_server *server;
static char dir[64];

static void stop(void) {
  control_close(&server);
  rmdir(dir);
}

static void start(void) {
  strcpy(dir, "/dev/shm/trb-fuzz-control-XXXXXX");
  TRB_ASSERT(mkdtemp(dir) != NULL && control_listen(dir, &server, NULL) == TRB_OK);
  atexit(stop);
}

static void serve(void) {
  int client;
  size_t count;
  const char *const *words;
  for (int i = 0; i < 4; i++) {
    if (control_next(server, &client, &count, &words) != TRB_OK) continue;
    TRB_ASSERT(count >= 1 && count <= TRB_CONTROL_WORDS_MAX && words[count] == NULL);
    size_t bytes = 0;
    for (size_t w = 0; w < count; w++) bytes += strlen(words[w]);
    TRB_ASSERT(bytes <= TRB_CONTROL_BYTES_MAX);
    control_answer(server, client, TRB_OK, trb_slice_str(words[0]));
  }
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
  if (!server) start();
  if (size < 2) return 0;
  struct sockaddr_un address = {.sun_family = AF_UNIX};
  snprintf(address.sun_path, sizeof address.sun_path, "%s/control.sock", dir);
  int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK, 0);
  TRB_ASSERT(fd >= 0 && connect(fd, (struct sockaddr *)&address, sizeof address) == 0);
  size_t piece = (size_t)data[0] * 8 + 1;
  for (size_t at = 1; at < size; at += piece) {
    size_t len = size - at < piece ? size - at : piece;
    if (send(fd, data + at, len, MSG_NOSIGNAL | MSG_DONTWAIT) < 0) break;
    serve();
  }
  serve();
  close(fd);
  serve(); /* so that its place is free again */
  return 0;
}
