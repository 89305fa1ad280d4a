-- unify.sql: the unified view in hub.db. Everything here but `record`, `access_log` and the down tables follows from the source
-- rows and can be recomputed from them (`tributary verify` does). Loads into an empty database and again into a full one.

-- Every customer record ever named, by number: its row in `customer` has this _rid, contacts and sales hang on it even when
-- the row itself has not come. Never deleted, never renumbered.
CREATE TABLE IF NOT EXISTS record(
  rec INTEGER PRIMARY KEY,         -- record number
  site INTEGER NOT NULL,           -- site_no.no of the branch that made it
  id TEXT NOT NULL,                -- id of the customer row at that site
  party INTEGER,                   -- record number of the party's anchor; NULL: the record is its own anchor
  class INTEGER NOT NULL DEFAULT 0,-- 0 no live row, 1 person, 2 organisation, else another customer.kind: only equal ones link
  hlc INTEGER NOT NULL DEFAULT 0,  -- acceptance stamp of the row's first change: commit HLC of its batch (0: never came)
  pos INTEGER NOT NULL DEFAULT 0,  -- and its position in that batch
  UNIQUE(site, id)
);
-- A singleton costs nothing here.
CREATE INDEX IF NOT EXISTS record_party ON record(party) WHERE party IS NOT NULL;

-- What rows say that can be compared over records: the keys of contacts, documents, tax numbers, and the content of preferences
-- and tags. By record; `rec` 0 holds contact_status and suppression rows, which speak about a key on any card.
CREATE TABLE IF NOT EXISTS row_key(
  rec INTEGER NOT NULL,    -- record.rec
  tbl INTEGER NOT NULL,    -- table number of the row
  rid INTEGER NOT NULL,    -- its _rid
  part INTEGER NOT NULL,   -- 0 the row's only key; 1, 2, .. the keys of a cell that holds several
  key TEXT NOT NULL,       -- normalised key (tel:, mail:, ..); ~ before content that is no identity key
  links INTEGER NOT NULL,  -- 1: the claim may link records (its own, not weak, not switched off by policy)
  PRIMARY KEY(rec, tbl, rid, part)
) WITHOUT ROWID;

-- The same by key: who else holds it.
CREATE TABLE IF NOT EXISTS claim(
  key TEXT NOT NULL,       -- as above
  class INTEGER NOT NULL,  -- the record's class if the claim links, 0 if it does not, -1 for contact_status and suppression
  tbl INTEGER NOT NULL,    -- table number of the row
  rid INTEGER NOT NULL,    -- its _rid
  rec INTEGER NOT NULL,    -- record.rec, 0 for contact_status and suppression
  PRIMARY KEY(key, class, tbl, rid)
) WITHOUT ROWID;

-- Words and pairs of characters of the names of records, and their external references.
CREATE TABLE IF NOT EXISTS search(
  gram TEXT NOT NULL,      -- a word, or two adjacent characters (the last one alone too), folded; `=` before an external_ref
  rec INTEGER NOT NULL,    -- record.rec
  PRIMARY KEY(gram, rec)
) WITHOUT ROWID;

-- The golden row of each party; columns as in the catalogue.
CREATE TABLE IF NOT EXISTS unified_customer(
  _rid INTEGER PRIMARY KEY,   -- record number of the party's anchor
  id TEXT NOT NULL,           -- party id: anchor's site / anchor's id
  created_at INTEGER,         -- when the earliest member row was written (ms)
  updated_at INTEGER,         -- latest effective time of a member row (ms)
  created_by TEXT,            -- always NULL: computed
  kind TEXT,                  -- person or organisation
  name TEXT,                  -- golden full name
  name_latin TEXT,            -- golden name in Latin letters
  name_english TEXT,          -- golden English name
  gender TEXT,                -- golden gender
  birthday TEXT,              -- golden date of birth
  nationality TEXT,           -- golden nationality
  language TEXT,              -- golden language
  occupation TEXT,            -- golden occupation
  province TEXT,              -- golden province
  city TEXT,                  -- golden city
  address TEXT,               -- golden street address
  postcode TEXT,              -- golden postcode
  industry TEXT,              -- golden industry
  staff_count INTEGER,        -- golden number of staff
  annual_income REAL,         -- golden yearly income; sensitive
  legal_representative TEXT,  -- golden legal representative
  tax_no TEXT,                -- golden tax number
  bank TEXT,                  -- golden bank; sensitive
  account TEXT,               -- golden account; sensitive
  credit_limit REAL,          -- golden credit limit
  settlement TEXT,            -- golden settlement
  relation TEXT,              -- golden relation
  keywords TEXT,              -- union of the keywords
  source TEXT,                -- golden source
  referrer TEXT,              -- golden referrer
  grade TEXT,                 -- golden grade
  state_override TEXT,        -- golden state set by hand
  loss_reason TEXT,           -- golden reason of loss
  blacklist_note TEXT,        -- golden blacklist note
  remark TEXT,                -- golden remark
  external_ref TEXT,          -- golden external reference
  provenance TEXT,            -- JSON: field, or * for all others -> [site, row id, time in ms]
  sites TEXT,                 -- sites that hold a record, comma separated
  record_count INTEGER,       -- number of records in the party
  first_seen INTEGER,         -- earliest record (ms)
  last_seen INTEGER,          -- latest booking, activity or record (ms)
  state TEXT,                 -- lifecycle state, see golden.h
  stage TEXT,                 -- not computed yet
  recency_on TEXT,            -- day of the last booking that counts
  frequency INTEGER,          -- number of bookings that count
  monetary REAL,              -- their amount
  lifetime_value REAL,        -- not computed yet
  points_balance INTEGER,     -- points over all branches
  main_mobile TEXT,           -- mobile to use first
  main_email TEXT,            -- email to use first
  main_wechat TEXT,           -- WeChat to use first
  lost_on TEXT,               -- not computed yet
  churn_warning_on TEXT,      -- not computed yet
  expires_on TEXT             -- the first document expires on
);

-- Numbers that must outlive the rows they count.
CREATE TABLE IF NOT EXISTS unify_state(
  name TEXT PRIMARY KEY,   -- down_version: last version given to a down entry; key_version: of the normaliser
                           -- the keys were made by; awaited/NAME: a row named the site before it was known
  value INTEGER NOT NULL
) WITHOUT ROWID;

-- What a site is still to be told: which row, never what is in it (that is decided when it is sent). Site 0: every site.
CREATE TABLE IF NOT EXISTS down(
  site INTEGER NOT NULL,     -- site_no.no; 0 for headquarters' tables, which go to all and stay here as the version of each row
  kind INTEGER NOT NULL,     -- enum down_kind (down.h)
  num INTEGER NOT NULL,      -- record number, or table number * 2^40 + _rid
  gone TEXT NOT NULL,        -- id of a row that is no more and must be withdrawn (num is its table); else empty
  version INTEGER NOT NULL,  -- one global counter; a later note of the same entry moves it up
  PRIMARY KEY(site, kind, num, gone)
) WITHOUT ROWID;
CREATE INDEX IF NOT EXISTS down_version ON down(site, version);

-- The last full set noted for a site: entries with versions from first to last are its snapshot.
CREATE TABLE IF NOT EXISTS down_snapshot(
  site INTEGER PRIMARY KEY,        -- site_no.no
  first_version INTEGER NOT NULL,  -- the snapshot's first entry
  last_version INTEGER NOT NULL    -- its last; smaller than the first: it was empty
);

-- What each site has acknowledged.
CREATE TABLE IF NOT EXISTS down_held(
  site INTEGER PRIMARY KEY,  -- site_no.no
  version INTEGER NOT NULL   -- it holds everything up to here
);

-- Parties of several sites whose other branches' contacts and history this site may see unmasked.
CREATE TABLE IF NOT EXISTS unlocked(
  party INTEGER NOT NULL,  -- record number of the anchor
  site INTEGER NOT NULL,   -- site_no.no
  why TEXT NOT NULL,       -- booking or verified_contact
  PRIMARY KEY(party, site)
) WITHOUT ROWID;

-- Who was shown what: every unmasking, for audit. Only ever added to.
CREATE TABLE IF NOT EXISTS access_log(
  no INTEGER PRIMARY KEY,  -- in order
  at INTEGER NOT NULL,     -- when (ms, hub time of the change that caused it)
  site TEXT NOT NULL,      -- the branch that sees more now
  party TEXT NOT NULL,     -- party id
  why TEXT NOT NULL        -- booking, verified_contact or show --unmask
);

-- The party of each live source record today.
CREATE VIEW IF NOT EXISTS party_of AS
  SELECT s.name AS site,                          -- site of the record
         r.id AS record_id,                       -- id of its customer row there
         sa.name || '/' || a.id AS party_id,      -- its party
         sa.name AS anchor_site, a.id AS anchor_id, -- the record the party is named by
         r.rec AS rec, a.rec AS party             -- numbers, for joins
  FROM record r JOIN site_no s ON s.no = r.site
  JOIN record a ON a.rec = coalesce(r.party, r.rec) JOIN site_no sa ON sa.no = a.site
  WHERE r.class <> 0;

-- For headquarters' staff: one row for each contact of a party. The text is that of the row it is named by (earliest record, earliest row);
-- `tributary show` and what goes down choose the text by the rules of golden.h. The view unified_event is made by timeline.c.
CREATE VIEW IF NOT EXISTS unified_contact AS
  SELECT p.party_id,
         c.kind, c.value, c.label, c.used_by,
         max(c.verified_at) AS verified_at,            -- latest proof that it works (ms)
         group_concat(DISTINCT p.site) AS sites,       -- sites that hold it
         count(DISTINCT c._rid) AS row_count,          -- source rows that say so
         k.key,                                        -- what makes them one
         max(k.links) AS links,                        -- 1: it may link records
         p.party,                                      -- record number of the anchor
         min(printf('%020d%010d%020d%010d', r.hlc, r.pos, c._accepted, c._pos)) AS named_by
  FROM party_of p JOIN record r ON r.rec = p.rec JOIN row_key k ON k.rec = p.rec AND k.tbl = 3 JOIN contact c ON c._rid = k.rid
  GROUP BY p.party, k.key;
CREATE VIEW IF NOT EXISTS unified_preference AS
  SELECT p.party_id, x.key, x.value, max(x.noted_at) AS noted_at, group_concat(DISTINCT p.site) AS sites, p.party
  FROM party_of p JOIN row_key k ON k.rec = p.rec AND k.tbl = 10 JOIN preference x ON x._rid = k.rid GROUP BY p.party, k.key;
CREATE VIEW IF NOT EXISTS unified_tag AS
  SELECT p.party_id, x.tag_id, x.label, group_concat(DISTINCT p.site) AS sites, p.party
  FROM party_of p JOIN row_key k ON k.rec = p.rec AND k.tbl = 27 JOIN tag_on x ON x._rid = k.rid WHERE x.to_on IS NULL GROUP BY p.party, k.key;
CREATE VIEW IF NOT EXISTS unified_relation AS
  SELECT a.party_id, b.party_id AS other_id, x.kind, x.label, s.name AS sites, a.party
  FROM relation x JOIN site_no s ON s.no = x._site
  JOIN party_of a ON a.site = coalesce(x.customer_site, s.name) AND a.record_id = x.customer_id
  LEFT JOIN party_of b ON b.site = coalesce(x.other_site, s.name) AND b.record_id = x.other_id;
