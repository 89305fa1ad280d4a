/* The pure core of parties: connected components over equal keys of equal class, anchored at the earliest stamp. */
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "../../node/hub/identity/parties.h"

static struct party_claim claim(size_t record, const char *key) {
  return (struct party_claim){record, trb_slice_str(key)};
}

static void parties_resolve_links_equal_keys_and_names_the_earliest(void **state) {
  (void)state;
  struct party_record records[] = {{{30, 0}, 1}, {{10, 5}, 1}, {{10, 4}, 1}, {{1, 0}, 1}};
  struct party_claim claims[] = {claim(0, "tel:1"), claim(1, "tel:1"), claim(1, "mail:a"), claim(2, "mail:a"),
                                 claim(3, "tel:2")};
  size_t anchor[4];
  assert_int_equal(parties_resolve(records, 4, claims, 5, anchor, NULL), TRB_OK);
  assert_int_equal(anchor[0], 2);
  assert_int_equal(anchor[1], 2);
  assert_int_equal(anchor[2], 2);
  assert_int_equal(anchor[3], 3);
}

static void parties_resolve_never_joins_a_person_with_an_organisation(void **state) {
  (void)state;
  struct party_record records[] = {{{1, 0}, 1}, {{2, 0}, 2}, {{3, 0}, 1}, {{4, 0}, 2}};
  struct party_claim claims[] = {claim(0, "k"), claim(1, "k"), claim(2, "k"), claim(3, "k")};
  size_t anchor[4];
  assert_int_equal(parties_resolve(records, 4, claims, 4, anchor, NULL), TRB_OK);
  assert_int_equal(anchor[2], 0);
  assert_int_equal(anchor[3], 1);
}

static void parties_resolve_leaves_records_without_a_row_alone(void **state) {
  (void)state;
  struct party_record records[] = {{{1, 0}, 0}, {{2, 0}, 0}, {{3, 0}, 1}};
  struct party_claim claims[] = {claim(0, "k"), claim(1, "k"), claim(2, "k")};
  size_t anchor[3];
  assert_int_equal(parties_resolve(records, 3, claims, 3, anchor, NULL), TRB_OK);
  for (size_t i = 0; i < 3; i++) assert_int_equal(anchor[i], i);
}

/* Shuffled input, the same answer by stamp; a chain of 10,000 in one party. */
static void parties_resolve_does_not_depend_on_order(void **state) {
  (void)state;
  enum { N = 10000 };
  struct party_record *records = calloc(N, sizeof *records);
  struct party_claim *claims = calloc(2 * N, sizeof *claims);
  size_t *anchor = calloc(N, sizeof *anchor), *place = calloc(N, sizeof *place);
  char(*keys)[16] = calloc(N + 1, sizeof *keys);
  for (size_t i = 0; i <= N; i++) snprintf(keys[i], sizeof keys[i], "k%zu", i);
  for (unsigned seed = 1; seed <= 3; seed++) {
    srand(seed);
    for (size_t i = 0; i < N; i++) place[i] = i;
    for (size_t i = N - 1; i > 0; i--) {
      size_t j = (size_t)rand() % (i + 1), t = place[i];
      place[i] = place[j];
      place[j] = t;
    }
    for (size_t i = 0; i < N; i++) { /* link i of the chain stands at place[i]; 5,000 is the earliest */
      records[place[i]] = (struct party_record){{i == 5000 ? 1 : 10 + i, 0}, 1};
      claims[2 * i] = claim(place[i], keys[i]);
      claims[2 * i + 1] = claim(place[i], keys[i + 1]);
    }
    assert_int_equal(parties_resolve(records, N, claims, 2 * N, anchor, NULL), TRB_OK);
    for (size_t i = 0; i < N; i++) assert_int_equal(anchor[i], place[5000]);
  }
  free(records);
  free(claims);
  free(anchor);
  free(place);
  free(keys);
}

static void party_class_tells_kinds_apart(void **state) {
  (void)state;
  assert_int_equal(party_class(trb_slice_str("person")), 1);
  assert_int_equal(party_class(trb_slice_str("organisation")), 2);
  assert_true(party_class(trb_slice_str("公司")) > 2);
  assert_int_not_equal(party_class(trb_slice_str("公司")), party_class(trb_slice_str("个人")));
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(parties_resolve_links_equal_keys_and_names_the_earliest),
      cmocka_unit_test(parties_resolve_never_joins_a_person_with_an_organisation),
      cmocka_unit_test(parties_resolve_leaves_records_without_a_row_alone),
      cmocka_unit_test(parties_resolve_does_not_depend_on_order),
      cmocka_unit_test(party_class_tells_kinds_apart),
  };
  return cmocka_run_group_tests_name("parties", tests, NULL, NULL);
}
