-- hub.sql: what headquarters' database (hub.db) keeps beside the tables of the catalogue and of the unified view
-- (unify.sql). WAL, synchronous=FULL, one read-write connection: the writer thread's. Times called `at` are milliseconds
-- since 1970 UTC by the hub's clock; times called `time` are effective times (HLC: 48 bits of milliseconds, 16 of counter).
-- Loads into an empty database and again into a full one.

-- Sites by number: rows of the catalogue's tables carry the number in `_site`. Never renumbered, never deleted.
CREATE TABLE IF NOT EXISTS site_no(
  no INTEGER PRIMARY KEY,    -- 1 is headquarters' own site `hq`
  name TEXT NOT NULL UNIQUE  -- [a-z][a-z0-9-]{0,31}
);
INSERT OR IGNORE INTO site_no(no, name) VALUES(1, 'hq');

-- Facts of this file alone: not journaled, not synced. What headquarters decides is in the table `setting` instead.
CREATE TABLE IF NOT EXISTS hub_state(
  name TEXT PRIMARY KEY,  -- starts, last_commit, copy_of, hold, journal_lost
  value                   -- as the name says
) WITHOUT ROWID;

-- Every stream ever granted. (site, incarnation) is what a branch calls it; `no` is what the tables below call it.
CREATE TABLE IF NOT EXISTS stream(
  no INTEGER PRIMARY KEY,            -- in the order in which they were granted
  site INTEGER NOT NULL,             -- site_no.no
  incarnation BLOB NOT NULL UNIQUE,  -- 16 random bytes
  parent BLOB,                       -- incarnation it follows, NULL for a site's first
  parent_sequence INTEGER,           -- the last batch of the parent that the branch still had
  current INTEGER NOT NULL,          -- 1: the site's stream today
  sequence INTEGER NOT NULL,         -- last batch committed, 0 for none
  hash BLOB NOT NULL,                -- of that batch, zeros for none
  base INTEGER NOT NULL,             -- last effective time given out in this stream
  heard_at INTEGER NOT NULL,         -- when its last batch was committed
  changes INTEGER NOT NULL,          -- changes received in this stream
  safe INTEGER NOT NULL              -- batches up to here are in both of the last two verified backups
);
CREATE INDEX IF NOT EXISTS stream_site ON stream(site, current);

-- The hash of every batch ever accepted, for ever: an old number with another hash is a fork.
CREATE TABLE IF NOT EXISTS batch_hash(
  stream INTEGER NOT NULL,    -- stream.no
  sequence INTEGER NOT NULL,  -- from 1 without gaps
  hash BLOB NOT NULL,         -- SHA-256 of the batch's header
  ack BLOB,                   -- the signed acknowledgement, sent again on request; NULL once the batch is safe
  PRIMARY KEY(stream, sequence)
) WITHOUT ROWID;

-- Batches that claim a number which another batch took: kept whole for the operator, never applied.
CREATE TABLE IF NOT EXISTS fork(
  no INTEGER PRIMARY KEY,
  site INTEGER NOT NULL,      -- site_no.no
  incarnation BLOB NOT NULL,  -- stream
  sequence INTEGER NOT NULL,  -- the number it claims
  hash BLOB NOT NULL,         -- its hash
  bytes BLOB NOT NULL,        -- the sealed batch
  at INTEGER NOT NULL,        -- when it came
  UNIQUE(site, incarnation, sequence, hash)
);

-- Batches refused as damaged (signature, hash, structure): counted by site, the bytes are worth nothing.
CREATE TABLE IF NOT EXISTS bad_batch(
  site INTEGER PRIMARY KEY,   -- site_no.no
  count INTEGER NOT NULL,     -- so far
  sequence INTEGER NOT NULL,  -- the latest
  reason TEXT NOT NULL,       -- of the latest, for people
  at INTEGER NOT NULL         -- of the latest
);

-- What the branch should hold, table by table: rows here plus what is set aside (digest.h).
CREATE TABLE IF NOT EXISTS digest(
  site INTEGER NOT NULL,   -- site_no.no
  tbl INTEGER NOT NULL,    -- table number
  rows INTEGER NOT NULL,   -- live rows
  sum INTEGER NOT NULL,    -- additive hash, 64 bits as a signed integer
  PRIMARY KEY(site, tbl)
) WITHOUT ROWID;

-- Changes that could not be applied, in the order in which they came; later changes of the same row join them. Reason
-- 100 is no change but a difference of digests (row_id is empty). The branch sees these rows as `rejected_change`.
CREATE TABLE IF NOT EXISTS set_aside(
  no INTEGER PRIMARY KEY AUTOINCREMENT,  -- the ID of `tributary rejected DIR retry ID`; never used twice
  site INTEGER NOT NULL,       -- site_no.no
  tbl INTEGER NOT NULL,        -- table number
  table_name TEXT NOT NULL,    -- its name, or the number when unknown
  row_id TEXT NOT NULL,        -- id of the row
  op INTEGER NOT NULL,         -- enum trb_op
  change BLOB NOT NULL,        -- change_encode
  times BLOB NOT NULL,         -- effective times, 8 bytes each: of the operation, then of each cell
  accepted INTEGER NOT NULL,   -- commit HLC of its batch
  pos INTEGER NOT NULL,        -- position in the batch
  reason INTEGER NOT NULL,     -- enum trb_refusal; 100: digests differ
  reason_text TEXT NOT NULL,   -- for people, without values
  sequence INTEGER NOT NULL,   -- batch it came in
  at INTEGER NOT NULL          -- when it was set aside
);
CREATE INDEX IF NOT EXISTS set_aside_row ON set_aside(site, tbl, row_id);

-- What a branch is told about its set-aside changes: one row of the computed table `rejected_change` each.
CREATE VIEW IF NOT EXISTS rejected_change_of AS
  SELECT no AS rid,                    -- _rid
         site,                         -- the branch it is shown to
         CAST(no AS TEXT) AS id,
         table_name,
         row_id,
         CASE op WHEN 1 THEN 'insert' WHEN 2 THEN 'update' WHEN 0 THEN '' ELSE 'delete' END AS op,
         CASE reason WHEN 1 THEN 'table' WHEN 2 THEN 'owner' WHEN 3 THEN 'id' WHEN 4 THEN 'value' WHEN 5 THEN 'required'
           WHEN 6 THEN 'mass_delete' WHEN 7 THEN 'earlier' WHEN 8 THEN 'size' WHEN 100 THEN 'digest' ELSE 'other' END
           AS reason_code,
         reason_text AS reason,
         sequence AS batch_seq,
         at
  FROM set_aside;

-- Deleted rows: an older change must not bring them back, and a new row of the same id is not its first.
CREATE TABLE IF NOT EXISTS tombstone(
  site INTEGER NOT NULL,      -- site_no.no
  tbl INTEGER NOT NULL,       -- table number
  row_id TEXT NOT NULL,       -- id of the row
  time INTEGER NOT NULL,      -- effective time of the delete
  accepted INTEGER NOT NULL,  -- stamp of the first change of the row
  pos INTEGER NOT NULL,
  PRIMARY KEY(site, tbl, row_id)
) WITHOUT ROWID;

-- Values that were superseded or came too late: for the timeline, audit and taking a site back. The first insert of a row
-- writes nothing here. Bounded by the setting history_rows_max, oldest first.
CREATE TABLE IF NOT EXISTS history(
  no INTEGER PRIMARY KEY,     -- ascending
  site INTEGER NOT NULL,      -- site_no.no
  tbl INTEGER NOT NULL,       -- table number
  row_id TEXT NOT NULL,       -- id of the row
  op INTEGER NOT NULL,        -- of the change that superseded them; 0: the values lost against later ones
  time INTEGER NOT NULL,      -- effective time of that change
  old BLOB NOT NULL,          -- msgpack array: column, value, effective time, column, value, ...
  accepted INTEGER NOT NULL,  -- stamp of that change
  pos INTEGER NOT NULL
);
CREATE INDEX IF NOT EXISTS history_row ON history(site, tbl, row_id);

-- Backups taken, and how far each stream was in them: `safe` follows from the last two that were verified.
CREATE TABLE IF NOT EXISTS backup(
  no INTEGER PRIMARY KEY,
  path TEXT NOT NULL,           -- where it was written
  at INTEGER NOT NULL,          -- when it was complete
  verified_at INTEGER           -- when it was read back and found good
);
CREATE TABLE IF NOT EXISTS backup_stream(
  backup INTEGER NOT NULL,    -- backup.no
  stream INTEGER NOT NULL,    -- stream.no
  sequence INTEGER NOT NULL,  -- last batch in the backup
  PRIMARY KEY(backup, stream)
) WITHOUT ROWID;
