-- outbox: what a branch has sealed. Opened by the daemon (or, under flock(DIR/lock), a command) alone: WAL, one connection,
-- synchronous=FULL. Nobody else's SQLite touches it.
--
-- Invariant: batches, chain, cursor, shadows and digests move in one transaction, after replica.db was synced. So everything
-- at or below the cursor is in a batch, in the shadow's hashes and in the digests, or not at all.

CREATE TABLE state (
  one INTEGER PRIMARY KEY CHECK (one = 1),
  format INTEGER NOT NULL,                 -- of this file: 1
  incarnation BLOB NOT NULL,               -- 16 bytes, granted by the hub
  generation INTEGER NOT NULL,             -- counts incarnations here; shadows of an older one are history, not the stream's
  sequence INTEGER NOT NULL DEFAULT 0,     -- last sealed
  hash BLOB NOT NULL,                      -- of batch `sequence`, zeros for 0
  mark INTEGER NOT NULL DEFAULT 0,         -- cursor into the replica's marks
  nonce INTEGER NOT NULL DEFAULT 0,        -- of mark `mark`: another one there means replica.db was rolled back
  late_mark INTEGER NOT NULL DEFAULT 0,    -- cursor of the late tables, never above `mark`
  acked INTEGER NOT NULL DEFAULT 0,        -- last sequence the hub has on disk
  safe INTEGER NOT NULL DEFAULT 0,         -- last sequence covered by the hub's verified backups: pruned up to here
  want INTEGER NOT NULL DEFAULT 0,         -- a new incarnation is wanted for this reason (enum trb_stream_why), 0: no
  baseline INTEGER NOT NULL DEFAULT 0,     -- 1: rows, 2: deletions are being sealed as a baseline, from base_table, base_id on
  base_table INTEGER NOT NULL DEFAULT 0,
  base_id TEXT NOT NULL DEFAULT '',
  scrub INTEGER NOT NULL DEFAULT 0,        -- 1: a scrub is under way, from scrub_table, scrub_id on
  scrub_table INTEGER NOT NULL DEFAULT 0,
  scrub_id TEXT NOT NULL DEFAULT ''
);

-- Sealed batches not yet covered by the hub's backups, exactly as they travel.
CREATE TABLE batch (
  sequence INTEGER PRIMARY KEY,
  sealed BLOB NOT NULL,
  hash BLOB NOT NULL,
  signer BLOB NOT NULL,                    -- public key that signed it (keys rotate)
  flags INTEGER NOT NULL,
  last_mark INTEGER NOT NULL,              -- the cursor after it, for `status`
  ack BLOB                                 -- the hub's signed acknowledgement
);

-- One a row ever sealed: what the hub is to hold of it. Deleted rows stay, so that a baseline can name the deletion.
CREATE TABLE shadow (
  tbl INTEGER NOT NULL,
  id TEXT NOT NULL,
  generation INTEGER NOT NULL,             -- of the stream it was last sealed in
  mark INTEGER NOT NULL,                   -- last mark that is in `cells`
  deleted INTEGER NOT NULL,
  stamp INTEGER NOT NULL,                  -- acceptance: HLC of the first batch that held the row, and the position in it
  position INTEGER NOT NULL,
  cells BLOB NOT NULL,                     -- node/branch/sealer.c, shadow_encode
  PRIMARY KEY (tbl, id)
) WITHOUT ROWID;

-- Digest of each table's live rows (digest.h), kept incrementally from the shadows.
CREATE TABLE digest (
  tbl INTEGER PRIMARY KEY,
  live INTEGER NOT NULL,
  sum INTEGER NOT NULL                     -- 64 bits, signed here
);

-- Stretches of marks during which the wall clock stood still against the boot clock (clock.h).
CREATE TABLE segment (
  first_mark INTEGER PRIMARY KEY,
  wall_ms INTEGER NOT NULL,
  boot_ms INTEGER NOT NULL,
  boot_id BLOB NOT NULL,
  measured INTEGER NOT NULL,
  hub_minus_boot_ms INTEGER NOT NULL
);

-- What an operator should know; a line a kind, gone when it is over.
CREATE TABLE alarm (
  kind TEXT PRIMARY KEY,
  text TEXT NOT NULL,
  since_ms INTEGER NOT NULL
) WITHOUT ROWID;
