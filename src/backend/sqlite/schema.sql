-- Version 1. Times are milliseconds since 1970-01-01T00:00:00Z; ids of keys are the 16 bytes of a
-- UUID; what an index or a scan reads comes first in its row.

-- The store itself: one row.
CREATE TABLE store (
  one INTEGER PRIMARY KEY CHECK (one = 1),
  version INTEGER NOT NULL,
  unique_names INTEGER NOT NULL CHECK (unique_names IN (0, 1)),
  keep_standard_key INTEGER NOT NULL CHECK (keep_standard_key IN (0, 1)),
  sealed_tokens INTEGER NOT NULL CHECK (sealed_tokens IN (0, 1)),
  issue_mark INTEGER,
  -- Of this row and of all prefixes and peppers.
  sum INTEGER NOT NULL
) STRICT;

CREATE TABLE prefixes (
  number INTEGER PRIMARY KEY,
  prefix TEXT NOT NULL UNIQUE,
  accepted INTEGER NOT NULL CHECK (accepted IN (0, 1))
) STRICT;

CREATE TABLE peppers (
  number INTEGER PRIMARY KEY,
  check_value BLOB NOT NULL CHECK (length(check_value) = 16)
) STRICT;

CREATE TABLE owners (
  id TEXT PRIMARY KEY,
  suspended_at INTEGER,
  issue_mark INTEGER,
  ceiling TEXT NOT NULL,
  -- Of the columns so far; that of the whole row is the last but the longest.
  state_sum INTEGER NOT NULL,
  -- Counted with each change of a key, so that a commit need not count.
  keys_all INTEGER NOT NULL DEFAULT 0 CHECK (keys_all >= 0),
  keys_live INTEGER NOT NULL DEFAULT 0 CHECK (keys_live >= 0),
  keys_live_standard INTEGER NOT NULL DEFAULT 0 CHECK (keys_live_standard >= 0),
  max_keys INTEGER NOT NULL,
  version INTEGER NOT NULL,
  suspended_by TEXT,
  suspended_reason TEXT,
  created_at INTEGER NOT NULL,
  created_by TEXT NOT NULL,
  updated_at INTEGER NOT NULL,
  record_sum INTEGER NOT NULL,
  defaults TEXT NOT NULL,
  CHECK ((suspended_at IS NULL) = (suspended_by IS NULL))
) STRICT, WITHOUT ROWID;

CREATE INDEX owners_suspended ON owners (id) WHERE suspended_at IS NOT NULL;

CREATE TABLE keys (
  id BLOB PRIMARY KEY CHECK (length(id) = 16),
  owner TEXT NOT NULL,
  kind TEXT NOT NULL CHECK (kind IN ('standard', 'trial')),
  expires_at INTEGER,
  deactivated_at INTEGER,
  blocked_at INTEGER,
  revoked_at INTEGER,
  -- The first of the switches that is on: what the state is but for the time. A generated column
  -- would say the same, but no index that has one covers a query.
  standing INTEGER NOT NULL CHECK (
    standing = CASE WHEN revoked_at IS NOT NULL THEN 3
                    WHEN blocked_at IS NOT NULL THEN 2
                    WHEN deactivated_at IS NOT NULL THEN 1
                    ELSE 0 END
  ),
  -- The current token.
  generation INTEGER NOT NULL,
  digest BLOB NOT NULL CHECK (length(digest) = 32),
  scheme INTEGER NOT NULL,
  pepper INTEGER NOT NULL,
  prefix INTEGER NOT NULL,
  issued_at INTEGER NOT NULL,
  access TEXT NOT NULL,
  -- Of the columns so far, but for whom and why, and of the earlier tokens.
  state_sum INTEGER NOT NULL,
  version INTEGER NOT NULL,
  external_id INTEGER,
  name TEXT,
  access_by TEXT NOT NULL CHECK (access_by IN ('administrator', 'owner')),
  expiry_by TEXT NOT NULL CHECK (expiry_by IN ('administrator', 'owner')),
  created_at INTEGER NOT NULL,
  created_by TEXT NOT NULL,
  updated_at INTEGER NOT NULL,
  deactivated_by TEXT,
  deactivated_reason TEXT,
  blocked_by TEXT,
  blocked_reason TEXT,
  revoked_by TEXT,
  revoked_reason TEXT,
  record_sum INTEGER NOT NULL,
  seal_key INTEGER,
  seal_nonce BLOB,
  seal_text BLOB,
  settings TEXT NOT NULL,
  CHECK ((deactivated_at IS NULL) = (deactivated_by IS NULL)),
  CHECK ((blocked_at IS NULL) = (blocked_by IS NULL)),
  CHECK ((revoked_at IS NULL) = (revoked_by IS NULL)),
  CHECK ((seal_key IS NULL) = (seal_nonce IS NULL) AND (seal_key IS NULL) = (seal_text IS NULL))
) STRICT, WITHOUT ROWID;

-- Lists and counts of an owner's keys by state walk along this alone.
CREATE INDEX keys_by_owner ON keys (owner, standing, id, kind, expires_at);

-- Who else has this name.
CREATE INDEX keys_by_name ON keys (owner, name) WHERE revoked_at IS NULL AND name IS NOT NULL;

-- Tokens before the current one that live on.
CREATE TABLE earlier_tokens (
  key_id BLOB NOT NULL,
  generation INTEGER NOT NULL,
  digest BLOB NOT NULL CHECK (length(digest) = 32),
  scheme INTEGER NOT NULL,
  pepper INTEGER NOT NULL,
  prefix INTEGER NOT NULL,
  issued_at INTEGER NOT NULL,
  ends_at INTEGER NOT NULL,
  PRIMARY KEY (key_id, generation)
) STRICT, WITHOUT ROWID;

-- Every external id ever used, also those of purged keys.
CREATE TABLE external_ids (
  external_id INTEGER PRIMARY KEY CHECK (external_id > 0),
  key_id BLOB NOT NULL
) STRICT;

CREATE TABLE events (
  sequence INTEGER PRIMARY KEY,
  at INTEGER NOT NULL,
  kind INTEGER NOT NULL,
  owner TEXT,
  key_id BLOB,
  version INTEGER NOT NULL,
  generation INTEGER,
  fields INTEGER NOT NULL,
  role TEXT NOT NULL CHECK (role IN ('administrator', 'delegate', 'owner')),
  acting_owner TEXT,
  acting_key BLOB,
  acting_generation INTEGER,
  actor TEXT NOT NULL,
  reason TEXT,
  correlation_id TEXT,
  sum INTEGER NOT NULL
) STRICT;

CREATE INDEX events_by_key ON events (key_id) WHERE key_id IS NOT NULL;
CREATE INDEX events_by_owner ON events (owner) WHERE owner IS NOT NULL;

-- What was used of a key, and what is left of its quota: written without an event, removed with the
-- key. A key that was never used has no row.
CREATE TABLE key_usage (
  key_id BLOB PRIMARY KEY CHECK (length(key_id) = 16),
  last_used_at INTEGER,
  accepted INTEGER NOT NULL DEFAULT 0,
  address TEXT,
  address_at INTEGER,
  -- How often the right secret was refused, by reason.
  suspended INTEGER NOT NULL DEFAULT 0,
  revoked INTEGER NOT NULL DEFAULT 0,
  blocked INTEGER NOT NULL DEFAULT 0,
  deactivated INTEGER NOT NULL DEFAULT 0,
  expired INTEGER NOT NULL DEFAULT 0,
  superseded INTEGER NOT NULL DEFAULT 0,
  not_yet INTEGER NOT NULL DEFAULT 0,
  wrong_address INTEGER NOT NULL DEFAULT 0,
  rate_limited INTEGER NOT NULL DEFAULT 0,
  quota_exhausted INTEGER NOT NULL DEFAULT 0,
  -- The version of the record at which the quota's count began, what is neither spent nor leased,
  -- when its period began, and a checksum of these and of whose it is.
  quota_since INTEGER,
  quota_left INTEGER,
  quota_period INTEGER,
  quota_sum INTEGER
) STRICT, WITHOUT ROWID;

-- What is left of an owner's quota.
CREATE TABLE owner_usage (
  owner TEXT PRIMARY KEY,
  quota_since INTEGER,
  quota_left INTEGER,
  quota_period INTEGER,
  quota_sum INTEGER
) STRICT, WITHOUT ROWID;
