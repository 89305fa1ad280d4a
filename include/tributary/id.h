/* id: new row ids. Pure: time and randomness come in. Any thread. */
#ifndef TRIBUTARY_ID_H
#define TRIBUTARY_ID_H

#include <stdint.h>

#define TRB_UUID_TEXT_BYTES 37 /* 36 characters and the NUL */
#define TRB_UUID_RANDOM_BYTES 10

/* UUID version 7 (RFC 9562 section 5.7): 48 bits of milliseconds, then 74 of the 80 random bits given. */
void id_uuid7(int64_t now_ms, const uint8_t random[TRB_UUID_RANDOM_BYTES], char ret_text[TRB_UUID_TEXT_BYTES]);

#endif
