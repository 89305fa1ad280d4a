/* fuzz_conf: any bytes as node.ini. What loads is saved and loads as the same. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "tributary/conf.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static char dir[64], path[80];

static void remove_dir(void) {
  unlink(path);
  rmdir(dir);
}

static void make_dir(void) {
  strcpy(dir, "/dev/shm/trb-fuzz-conf-XXXXXX"); /* memory: file_write syncs */
  TRB_ASSERT(mkdtemp(dir) != NULL);
  snprintf(path, sizeof path, "%s/node.ini", dir);
  atexit(remove_dir);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
  if (!dir[0]) make_dir();
  struct trb_conf conf, again;
  struct trb_error err = {0};
  memset(&conf, 0, sizeof conf);
  memset(&again, 0, sizeof again);
  FILE *f = fopen(path, "wb");
  TRB_ASSERT(f && fwrite(data, 1, size, f) == size && fclose(f) == 0);
  enum trb_status status = conf_load(dir, &conf, &err);
  TRB_ASSERT(status == TRB_OK || (status == TRB_PEER && err.text[0]));
  if (status || conf_save(dir, &conf, &err)) return 0; /* not everything that can be read can be kept: it says so */
  TRB_ASSERT(conf_load(dir, &again, &err) == TRB_OK);
  TRB_ASSERT(conf.role == again.role && !strcmp(conf.name, again.name) && !strcmp(conf.endpoints, again.endpoints));
  return 0;
}
