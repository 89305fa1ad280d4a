/* value: one SQL value, the type every row, change and codec shares. Pure. */
#ifndef TRIBUTARY_VALUE_H
#define TRIBUTARY_VALUE_H

#include "tributary/base.h"

enum trb_value_type { TRB_NULL = 0, TRB_INT, TRB_REAL, TRB_TEXT, TRB_BLOB };

struct trb_value {
  enum trb_value_type type;
  union {
    int64_t i;
    double r;
    struct trb_slice s; /* TEXT and BLOB, borrowed; TEXT need not be valid UTF-8 until checked */
  };
};

static inline struct trb_value trb_null(void) { return (struct trb_value){.type = TRB_NULL}; }
static inline struct trb_value trb_int(int64_t i) { return (struct trb_value){.type = TRB_INT, .i = i}; }
static inline struct trb_value trb_real(double r) { return (struct trb_value){.type = TRB_REAL, .r = r}; }
static inline struct trb_value trb_text(const char *s) {
  return (struct trb_value){.type = s ? TRB_TEXT : TRB_NULL, .s = trb_slice_str(s)};
}
static inline struct trb_value trb_text_slice(struct trb_slice s) {
  return (struct trb_value){.type = TRB_TEXT, .s = s};
}
static inline struct trb_value trb_blob(struct trb_slice s) { return (struct trb_value){.type = TRB_BLOB, .s = s}; }

/* Same type and same bytes (REAL compared by bits, so NaN equals itself). */
bool trb_value_equal(struct trb_value a, struct trb_value b);
#endif
