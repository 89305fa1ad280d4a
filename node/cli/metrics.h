/* metrics: status and counters of a node as Prometheus text (exposition format 0.0.4). Pure but for the writing to out.
 */
#ifndef NODE_CLI_METRICS_H
#define NODE_CLI_METRICS_H

#include <jansson.h>
#include <stdio.h>

/* status: what the node answers to "status"; counters: to "metrics" (one flat object; see hub.h). A member that the
 * table in metrics.c does not name is not shown. */
void metrics_render(const json_t *status, const json_t *counters, FILE *out);

#endif
