/* catalogue_numbers: TRB_T_<table> and TRB_C_<table>_<column>, the permanent numbers of proto/catalogue.def.
 *
 * Pure constants. Included by catalogue.h; include that instead. */
#ifndef TRIBUTARY_CATALOGUE_NUMBERS_H
#define TRIBUTARY_CATALOGUE_NUMBERS_H

enum trb_table_number {
#define TABLE(number, name, owner, flow, flags, doc) TRB_T_##name = (number),
#define COLUMN(table, number, name, type, max_bytes, flags, ref, doc)
#define END(table)
#include "catalogue.def"
#undef TABLE
#undef COLUMN
};

enum trb_column_number {
  TRB_C_id = 0,
#define TABLE(number, name, owner, flow, flags, doc)
#define COLUMN(table, number, name, type, max_bytes, flags, ref, doc) TRB_C_##table##_##name = (number),
#include "catalogue.def"
#undef TABLE
#undef COLUMN
#undef END
};

#endif
