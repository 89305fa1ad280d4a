/* sealer_writer: changes become sealed batches in the outbox. See include/tributary/sealer_store.h. */
#include <stdlib.h>
#include <string.h>

#include "tributary/sealer_store.h"

enum trb_status seal_writer_begin(struct seal_writer *w, struct sealing *sealing, const struct sealer_mark *marks,
                                  struct trb_arena *arena, const struct trb_clock_reading *now, struct trb_error *err) {
  if (!sealing->packer) sealing->packer = calloc(1, sizeof *sealing->packer);
  if (!sealing->packer) return trb_fail(err, TRB_NOMEM, "out of memory");
  memset(w, 0, sizeof *w);
  w->sealing = sealing;
  w->packer = sealing->packer;
  w->arena = arena;
  w->now = now;
  const struct outbox_state *s = &sealing->outbox->saved;
  w->last_mark = s->mark < s->late_mark ? s->mark : s->late_mark;
  memset(w->packer, 0, sizeof *w->packer);
  w->packer->arena = arena;
  w->packer->marks = marks;
  w->packer->digests = &w->digests;
  return outbox_digests(sealing->outbox, &w->digests, err);
}

static enum trb_status flush(struct seal_writer *w, bool last, uint64_t last_mark, struct trb_error *err) {
  struct sealing *sealing = w->sealing;
  struct outbox *outbox = sealing->outbox;
  struct trb_batch batch;
  if (packer_batch(w->packer, &batch) != TRB_OK) return trb_fail(err, TRB_NOMEM, "out of memory");
  batch.header.site = trb_slice_str(sealing->site);
  memcpy(batch.header.incarnation, outbox->state.incarnation, TRB_INCARNATION_BYTES);
  batch.header.sequence = outbox->state.sequence + 1;
  memcpy(batch.header.previous, outbox->state.hash, TRB_HASH_BYTES);
  batch.header.flags = w->flags | (last ? 0u : (unsigned)TRB_BATCH_CONTINUES);
  batch.header.last_mark = last_mark;
  if (batch.mark_count && batch.marks[batch.mark_count - 1].number > last_mark)
    batch.header.last_mark = batch.marks[batch.mark_count - 1].number;
  batch.header.sealed_ms = w->now->wall_ms;
  TRB_BUF_AUTO sealed = {0};
  uint8_t hash[TRB_HASH_BYTES];
  enum trb_status status = batch_seal(&batch, sealing->signer, &sealed, hash, err);
  if (status != TRB_OK) return status;
  w->bytes += batch.header.raw_bytes;
  w->batches++;
  return outbox_append(outbox, trb_buf_slice(&sealed), &batch.header, last_mark, hash,
                       crypto_signer_public(sealing->signer), err);
}

enum trb_status seal_writer_take(struct seal_writer *w, const struct trb_change *change, const struct shadow *old,
                                 uint64_t shadow_mark, bool *ret_full, struct trb_error *err) {
  struct outbox *outbox = w->sealing->outbox;
  struct shadow shadow;
  enum trb_status status = TRB_OK;
  *ret_full = false;
  bool fits = packer_fits(w->packer, change);
  if (w->bytes + w->packer->bytes + change_size(change) > TRB_CONTINUES_BYTES_MAX - TRB_BATCH_RAW_MAX) {
    *ret_full = true;
    return TRB_OK;
  }
  if (!fits) status = flush(w, false, w->last_mark, err);
  if (status != TRB_OK) return status;
  if (packer_take(w->packer, change, old, outbox->state.sequence + 1, &shadow) != TRB_OK)
    return trb_fail(err, TRB_NOMEM, "out of memory while sealing");
  if (shadow_mark) shadow.mark = shadow_mark;
  w->changes++;
  return outbox_put_shadow(outbox, change->table, change->id, &shadow, err);
}

enum trb_status seal_writer_end(struct seal_writer *w, uint64_t last_mark, struct trb_error *err) {
  if (w->packer->change_count == 0) return TRB_OK;
  enum trb_status status = flush(w, true, last_mark, err);
  return status == TRB_OK ? outbox_put_digests(w->sealing->outbox, &w->digests, err) : status;
}
