/* sealer: the pure core, marks and values in, changes and batches out. */
#include "branch_fixture.h"

#define COLUMNS 80

struct bench {
  struct trb_arena arena;
  const struct trb_table *table;
  struct trb_value values[COLUMNS];
  struct sealer_mark marks[64];
  size_t count;
  struct sealer_rows rows;
  struct shadow shadow;
};

static int up(void **state) {
  struct bench *b = calloc(1, sizeof *b);
  struct trb_catalogue *catalogue = catalogue_builtin();
  b->table = catalogue_table(catalogue, TRB_T_customer);
  catalogue_unref(&catalogue);
  assert_true(b->table->column_count <= COLUMNS);
  *state = b;
  return 0;
}
static int down(void **state) {
  struct bench *b = *state;
  trb_arena_free(&b->arena);
  free(b);
  return 0;
}

static void mark(struct bench *b, const char *id, int op, uint16_t column) {
  struct sealer_mark *m = &b->marks[b->count++];
  *m = (struct sealer_mark){.number = 10 * b->count,
                            .table = TRB_T_customer,
                            .op = op,
                            .wall_ms = 1000 + (int64_t)b->count,
                            .id = trb_slice_str(id)};
  m->mask = op == TRB_MARK_INSERT ? -1 : column ? schema_mask_bit(column) : 0;
  m->part = column ? (uint16_t)schema_mask_part(column) : 0;
  assert_int_equal(sealer_group(b->marks, b->count, &b->arena, &b->rows), TRB_OK);
}
static void set(struct bench *b, uint16_t column, const char *text) {
  b->values[table_column_index(b->table, column)] = trb_text(text);
}
static bool change(struct bench *b, size_t row, bool present, struct trb_change *ret) {
  bool any = false;
  assert_int_equal(sealer_change(b->table, &b->rows, &b->rows.rows[row], present ? b->values : NULL, &b->shadow,
                                 &b->arena, &any, ret),
                   TRB_OK);
  return any;
}
/* What was sealed so far becomes the shadow. */
static void seal(struct bench *b, const struct trb_change *c) {
  static struct sealer_digests digests;
  struct packer packer = {.arena = &b->arena, .marks = b->marks, .digests = &digests};
  struct shadow next;
  assert_int_equal(packer_take(&packer, c, &b->shadow, 1, &next), TRB_OK);
  b->shadow = next;
}

static void sealer_group_puts_marks_of_a_row_together_in_order_of_their_last(void **state) {
  struct bench *b = *state;
  mark(b, "张三", TRB_MARK_INSERT, 0);
  mark(b, "b", TRB_MARK_INSERT, 0);
  mark(b, "张三", TRB_MARK_UPDATE, TRB_C_customer_name);
  assert_int_equal(b->rows.row_count, 2);
  assert_true(trb_slice_equal(b->rows.rows[0].id, trb_slice_str("b")));
  assert_int_equal(b->rows.rows[1].first, 0);
  assert_int_equal(b->rows.rows[1].last, 2);
  assert_int_equal(b->rows.next[0], 2);
}

static void sealer_change_puts_a_new_row_without_its_nulls(void **state) {
  struct bench *b = *state;
  struct trb_change c;
  mark(b, "a", TRB_MARK_UPDATE, TRB_C_customer_city); /* never sealed: whole, whatever the mark says */
  set(b, TRB_C_customer_name, "张伟");
  assert_true(change(b, 0, true, &c));
  assert_int_equal(c.op, TRB_OP_PUT);
  assert_int_equal(c.cell_count, 1);
}

static void sealer_change_sets_only_masked_columns_that_differ(void **state) {
  struct bench *b = *state;
  struct trb_change c;
  mark(b, "a", TRB_MARK_INSERT, 0);
  set(b, TRB_C_customer_name, "一");
  set(b, TRB_C_customer_city, "北京");
  assert_true(change(b, 0, true, &c));
  seal(b, &c);
  mark(b, "a", TRB_MARK_UPDATE, TRB_C_customer_name);
  mark(b, "a", TRB_MARK_UPDATE, TRB_C_customer_city);
  assert_false(change(b, 0, true, &c)); /* back to what was sent */
  set(b, TRB_C_customer_city, NULL);
  set(b, TRB_C_customer_remark, "not marked");
  assert_true(change(b, 0, true, &c));
  assert_int_equal(c.op, TRB_OP_SET);
  assert_int_equal(c.cell_count, 1);
  assert_int_equal(c.cells[0].column, TRB_C_customer_city);
  assert_int_equal(c.cells[0].value.type, TRB_NULL);
  assert_int_equal(c.cells[0].mark, 2);
}

static void sealer_change_ignores_marks_the_shadow_has(void **state) {
  struct bench *b = *state;
  struct trb_change c;
  mark(b, "a", TRB_MARK_INSERT, 0);
  set(b, TRB_C_customer_name, "一");
  assert_true(change(b, 0, true, &c));
  seal(b, &c);
  assert_false(change(b, 0, true, &c)); /* read again after a pass that ended early */
  mark(b, "a", TRB_MARK_UPDATE, TRB_C_customer_name);
  set(b, TRB_C_customer_name, "二");
  assert_true(change(b, 0, true, &c));
  assert_int_equal(c.op, TRB_OP_SET); /* not the old insert's PUT again */
}

static void sealer_change_deletes_what_was_sealed_and_only_that(void **state) {
  struct bench *b = *state;
  struct trb_change c;
  mark(b, "a", TRB_MARK_INSERT, 0);
  mark(b, "a", TRB_MARK_DELETE, 0);
  assert_false(change(b, 0, false, &c)); /* came and went */
  b->shadow = (struct shadow){.known = true};
  assert_true(change(b, 0, false, &c));
  assert_int_equal(c.op, TRB_OP_DELETE);
  b->marks[1].undo = true;
  assert_true(change(b, 0, false, &c));
  assert_int_equal(c.op, TRB_OP_UNDO);
  b->shadow.deleted = true;
  assert_false(change(b, 0, false, &c));
  b->shadow.deleted = false;
  mark(b, "a", TRB_MARK_UPDATE, TRB_C_customer_name);
  assert_false(change(b, 0, false, &c)); /* gone without a delete mark: a dropped table */
}

static void sealer_change_refuses_a_row_larger_than_a_batch(void **state) {
  struct bench *b = *state;
  struct trb_change c;
  bool any;
  char *big = malloc(TRB_BATCH_RAW_MAX);
  memset(big, 'x', TRB_BATCH_RAW_MAX);
  mark(b, "a", TRB_MARK_INSERT, 0);
  b->values[0] = trb_text_slice(trb_slice_of(big, TRB_BATCH_RAW_MAX));
  assert_int_equal(sealer_change(b->table, &b->rows, &b->rows.rows[0], b->values, &b->shadow, &b->arena, &any, &c),
                   TRB_FULL);
  free(big);
}

static void shadow_survives_encoding_and_damage_is_noticed(void **state) {
  struct bench *b = *state;
  struct shadow_cell cells[] = {{.column = 4, .hash = 7, .time = 5, .sequence = 1},
                                {.column = 900, .hash = 9, .time = 6, .sequence = 2}};
  struct shadow in = {.known = true, .time = 5, .sequence = 1, .cell_count = 2, .cells = cells}, out = {.known = true};
  TRB_BUF_AUTO bytes = {0};
  shadow_encode(&in, &bytes);
  assert_int_equal(bytes.len, 16 + 10 + 26); /* a cell with the row's time costs ten bytes */
  OK(shadow_decode(trb_buf_slice(&bytes), &b->arena, &out, err));
  assert_int_equal(out.cell_count, 2);
  for (size_t i = 0; i < 2; i++) {
    assert_int_equal(out.cells[i].column, cells[i].column);
    assert_int_equal(out.cells[i].hash, cells[i].hash);
    assert_int_equal(out.cells[i].time, cells[i].time);
    assert_int_equal(out.cells[i].sequence, cells[i].sequence);
  }
  for (size_t len = 0; len < bytes.len; len++) {
    enum trb_status status = shadow_decode(trb_slice_of(bytes.data, len), &b->arena, &out, NULL);
    assert_int_equal(status, len == 16 || len == 26 ? TRB_OK : TRB_STORE);
  }
}

static void packer_batch_names_only_the_segments_it_needs(void **state) {
  struct bench *b = *state;
  static struct sealer_digests digests;
  struct trb_segment segments[] = {{.first_mark = 15}, {.first_mark = 25}, {.first_mark = 35}};
  struct trb_batch batch;
  struct trb_change c;
  struct shadow next;
  mark(b, "a", TRB_MARK_INSERT, 0);
  mark(b, "skipped", TRB_MARK_INSERT, 0);
  mark(b, "skipped", TRB_MARK_INSERT, 0);
  mark(b, "b", TRB_MARK_INSERT, 0);
  struct packer *packer = calloc(1, sizeof *packer);
  packer->arena = &b->arena;
  packer->marks = b->marks;
  packer->digests = &digests;
  packer->segments = segments;
  packer->segment_count = 3;
  set(b, TRB_C_customer_name, "名");
  for (size_t i = 0; i < 3; i += 2) { /* rows a and b */
    assert_true(change(b, i, true, &c));
    assert_int_equal(packer_take(packer, &c, &b->shadow, 1, &next), TRB_OK);
  }
  assert_int_equal(packer_batch(packer, &batch), TRB_OK);
  assert_int_equal(batch.mark_count, 2);
  assert_int_equal(batch.changes[1].mark, 1);
  assert_int_equal(batch.header.segment_count, 2);
  assert_int_equal(batch.header.segments[0].first_mark, 10); /* older than the first known: counts to it */
  assert_int_equal(batch.header.segments[1].first_mark, 35);
  assert_int_equal(batch.header.digest_count, 1);
  assert_int_equal(batch.header.digests[0].rows, 2);
  assert_int_equal(packer->change_count, 0);
  free(packer);
}

int main(void) {
#define T(name) cmocka_unit_test_setup_teardown(name, up, down)
  const struct CMUnitTest tests[] = {
      T(sealer_group_puts_marks_of_a_row_together_in_order_of_their_last),
      T(sealer_change_puts_a_new_row_without_its_nulls),
      T(sealer_change_sets_only_masked_columns_that_differ),
      T(sealer_change_ignores_marks_the_shadow_has),
      T(sealer_change_deletes_what_was_sealed_and_only_that),
      T(sealer_change_refuses_a_row_larger_than_a_batch),
      T(shadow_survives_encoding_and_damage_is_noticed),
      T(packer_batch_names_only_the_segments_it_needs),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
