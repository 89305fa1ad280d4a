/* job: see job.h. */
#include "job.h"

#include <stdio.h>
#include <stdlib.h>

struct hub_job *job_new(enum job_kind kind, int64_t site, const char *site_name) {
  struct hub_job *job = calloc(1, sizeof *job);
  if (!job) return NULL;
  job->kind = kind;
  job->site = site;
  snprintf(job->site_name, sizeof job->site_name, "%s", site_name ? site_name : "");
  job->client = -1;
  return job;
}

void job_free(struct hub_job **job_p) {
  struct hub_job *job = *job_p;
  if (!job) return;
  *job_p = NULL;
  trb_arena_free(&job->arena);
  trb_buf_free(&job->ack);
  trb_buf_free(&job->rows);
  trb_buf_free(&job->answer);
  catalogue_unref(&job->catalogue);
  catalogue_unref(&job->new_catalogue);
  free(job);
}
