/* vectors DIR: writes the golden vectors to DIR (proto/vectors). They are part of the specification: a change here is a
 * change of the protocol. */
#include "vectors.h"

#include <stdio.h>

#include "tributary/conf.h"

int main(int argc, char **argv) {
  if (argc != 2) {
    fprintf(stderr, "usage: vectors DIR\n");
    return 2;
  }
  for (size_t i = 0; i < VECTOR_COUNT; i++) {
    TRB_BUF_AUTO text = {0};
    char path[512];
    struct trb_error err = {0};
    vectors[i].render(&text);
    snprintf(path, sizeof path, "%s/%s.json", argv[1], vectors[i].name);
    if (text.failed || file_write(path, trb_buf_slice(&text), &err)) {
      fprintf(stderr, "vectors: %s\n", err.text);
      return 1;
    }
    printf("%s\n", path);
  }
  return 0;
}
