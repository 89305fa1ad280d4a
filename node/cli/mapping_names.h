/* mapping_names: how column headers are compared: NFKC, no case, without spaces, '_', '-', '.', ':', '*' and brackets'
 * marks. Pure. */
#ifndef NODE_CLI_MAPPING_NAMES_H
#define NODE_CLI_MAPPING_NAMES_H

#include "tributary/base.h"

#define MAPPING_NAME_BYTES 128 /* a longer header matches nothing */

/* "" when there is nothing left or it is too long. */
void mapping_name_fold(struct trb_slice name, char ret[MAPPING_NAME_BYTES]);

#endif
