-- Version 4. Times are milliseconds since 1970-01-01T00:00:00Z; ids of keys are the 16 bytes of a
-- UUID; columns that an index or a scan reads come first in their row. A column `..._by` of a limit,
-- `access_by` and `expiry_by` hold the role that set it.

-- The last commit, and the one before it: one row, on page 3 of the file (page 2 if it was made
-- without auto_vacuum), which each commit writes.
-- Which log belongs to which file shows in it: see `log.rs`. Both ids are random; all zeros are none.
CREATE TABLE last_commit (
  one INTEGER PRIMARY KEY CHECK (one = 1),
  id BLOB NOT NULL CHECK (length(id) = 16),
  previous BLOB NOT NULL CHECK (length(previous) = 16),
  -- SQLite's `schema_version` at that commit.
  schema INTEGER NOT NULL
) STRICT;

-- The store itself: one row.
CREATE TABLE store (
  one INTEGER PRIMARY KEY CHECK (one = 1),
  version INTEGER NOT NULL,
  unique_names INTEGER NOT NULL CHECK (unique_names IN (0, 1)),
  keep_standard_key INTEGER NOT NULL CHECK (keep_standard_key IN (0, 1)),
  recoverable_tokens INTEGER NOT NULL CHECK (recoverable_tokens IN (0, 1)),
  -- The greatest lifetime of keys, and that of a new one.
  lifetime_max_ms INTEGER CHECK (lifetime_max_ms > 0),
  lifetime_default_ms INTEGER CHECK (lifetime_default_ms > 0),
  -- Tokens issued before this time are superseded. Then the number of epochs of tokens that have
  -- ended, when an invalidation last ended one, how many have only superseded tokens, and how many
  -- had ended when that invalidation had.
  tokens_valid_from INTEGER,
  epoch INTEGER,
  epoch_ended_at INTEGER,
  epochs_swept INTEGER,
  epochs_invalidated INTEGER,
  -- Of this row and of all prefixes, peppers and recovery keys.
  checksum INTEGER NOT NULL,
  CHECK ((tokens_valid_from IS NULL) = (epoch IS NULL) AND (epoch IS NULL) = (epoch_ended_at IS NULL)
    AND (epoch IS NULL) = (epochs_swept IS NULL) AND (epoch IS NULL) = (epochs_invalidated IS NULL))
) STRICT;

-- Every prefix that was ever accepted, numbered from 0.
CREATE TABLE prefixes (
  number INTEGER PRIMARY KEY,
  prefix TEXT NOT NULL UNIQUE,
  accepted INTEGER NOT NULL CHECK (accepted IN (0, 1))
) STRICT;

-- Every pepper that was ever opened, with a value that tells whether it is the same one. No token
-- under a retired one is accepted.
CREATE TABLE peppers (
  number INTEGER PRIMARY KEY,
  check_value BLOB NOT NULL CHECK (length(check_value) = 16),
  retired INTEGER NOT NULL CHECK (retired IN (0, 1))
) STRICT;

-- Every recovery key that was ever opened, with a value that tells whether it is the same one.
CREATE TABLE recovery_keys (
  number INTEGER PRIMARY KEY,
  check_value BLOB NOT NULL CHECK (length(check_value) = 16)
) STRICT;

CREATE TABLE owners (
  id TEXT PRIMARY KEY,
  -- The administrator's switch, with the actor and the reason below.
  suspended_at INTEGER,
  -- Tokens issued before this time are superseded. Then the number of epochs of tokens that have
  -- ended, when an invalidation last ended one, how many have only superseded tokens, and how many
  -- had ended when that invalidation had.
  tokens_valid_from INTEGER,
  epoch INTEGER,
  epoch_ended_at INTEGER,
  epochs_swept INTEGER,
  epochs_invalidated INTEGER,
  max_access TEXT NOT NULL,
  -- Whether there is a limit in the columns below. A scan reads them only then.
  limited INTEGER NOT NULL CHECK (limited IN (0, 1)),
  -- What was done to all of its keys and isn't written into each of them yet: a JSON object.
  sweeps TEXT,
  -- Of the columns so far and of the limits. `record_checksum` is of all but the counts of keys.
  state_checksum INTEGER NOT NULL,
  -- The owner's keys; of these the unrevoked; of these the live, which haven't lapsed; of these the
  -- standard ones. They change with each key, so that a commit need not count.
  keys_all INTEGER NOT NULL DEFAULT 0 CHECK (keys_all >= 0),
  keys_unrevoked INTEGER NOT NULL DEFAULT 0 CHECK (keys_unrevoked >= 0),
  keys_live INTEGER NOT NULL DEFAULT 0 CHECK (keys_live >= 0),
  keys_live_standard INTEGER NOT NULL DEFAULT 0 CHECK (keys_live_standard >= 0),
  -- The live keys that it may have.
  max_keys INTEGER NOT NULL,
  -- The greatest lifetime of its keys, and that of a new one.
  lifetime_max_ms INTEGER CHECK (lifetime_max_ms > 0),
  lifetime_default_ms INTEGER CHECK (lifetime_default_ms > 0),
  version INTEGER NOT NULL,
  -- Drawn at its creation, and different for each owner of this id.
  incarnation INTEGER NOT NULL,
  suspended_by TEXT,
  suspended_reason TEXT,
  suspended_set_by TEXT CHECK (suspended_set_by IN ('administrator', 'owner')),
  suspended_reason_for_owner INTEGER CHECK (suspended_reason_for_owner IN (0, 1)),
  created_at INTEGER NOT NULL,
  created_by TEXT NOT NULL,
  updated_at INTEGER NOT NULL,
  record_checksum INTEGER NOT NULL,
  -- The limits on all its keys together.
  not_before INTEGER,
  not_before_by TEXT CHECK (not_before_by IN ('administrator', 'owner')),
  -- CIDR notation, a space between two of them.
  networks TEXT,
  networks_by TEXT CHECK (networks_by IN ('administrator', 'owner')),
  rate_count INTEGER CHECK (rate_count > 0),
  rate_per_ms INTEGER CHECK (rate_per_ms > 0),
  rate_burst INTEGER CHECK (rate_burst > 0),
  rate_by TEXT CHECK (rate_by IN ('administrator', 'owner')),
  quota_uses INTEGER CHECK (quota_uses >= 0),
  quota_refill INTEGER CHECK (quota_refill > 0),
  quota_refill_period TEXT CHECK (quota_refill_period IN ('day', 'week', 'month')
    OR quota_refill_period GLOB 'month_from_[1-9]*'),
  -- The record's version at which the count began.
  quota_version INTEGER,
  quota_by TEXT CHECK (quota_by IN ('administrator', 'owner')),
  -- A JSON object, and a JSON list of those of its names that go over a key's own settings.
  defaults TEXT NOT NULL,
  fixed_defaults TEXT NOT NULL,
  CHECK ((suspended_at IS NULL) = (suspended_by IS NULL)),
  CHECK ((tokens_valid_from IS NULL) = (epoch IS NULL) AND (epoch IS NULL) = (epoch_ended_at IS NULL)
    AND (epoch IS NULL) = (epochs_swept IS NULL) AND (epoch IS NULL) = (epochs_invalidated IS NULL)),
  CHECK ((not_before IS NULL) = (not_before_by IS NULL)),
  CHECK ((networks IS NULL) = (networks_by IS NULL)),
  CHECK ((rate_count IS NULL) = (rate_by IS NULL) AND (rate_count IS NULL) = (rate_per_ms IS NULL)
    AND (rate_count IS NULL) = (rate_burst IS NULL)),
  CHECK ((quota_uses IS NULL) = (quota_by IS NULL) AND (quota_uses IS NULL) = (quota_version IS NULL)
    AND (quota_refill IS NULL) = (quota_refill_period IS NULL)
    AND (quota_uses IS NOT NULL OR quota_refill IS NULL)),
  CHECK (limited = (coalesce(not_before, networks, rate_count, quota_uses) IS NOT NULL))
) STRICT, WITHOUT ROWID;

CREATE INDEX owners_suspended ON owners (id) WHERE suspended_at IS NOT NULL;
CREATE INDEX owners_swept ON owners (id) WHERE sweeps IS NOT NULL;

CREATE TABLE keys (
  id BLOB PRIMARY KEY CHECK (length(id) = 16),
  owner TEXT NOT NULL,
  kind TEXT NOT NULL CHECK (kind IN ('standard', 'trial')),
  -- NULL is never.
  expires_at INTEGER,
  -- The owner's switch, the administrator's, and the revocation, each with an actor and a reason
  -- below.
  deactivated_at INTEGER,
  blocked_at INTEGER,
  revoked_at INTEGER,
  -- When a newer key took the place or the name of this one, which had expired.
  lapsed_at INTEGER,
  -- The state apart from time: 3 revoked, 2 blocked, 1 deactivated, 4 lapsed, otherwise 0. A
  -- generated column would say the same, but no index that has one covers a query.
  state INTEGER NOT NULL CHECK (
    state = CASE WHEN revoked_at IS NOT NULL THEN 3
                    WHEN blocked_at IS NOT NULL THEN 2
                    WHEN deactivated_at IS NOT NULL THEN 1
                    WHEN lapsed_at IS NOT NULL THEN 4
                    ELSE 0 END
  ),
  -- The current token.
  generation INTEGER NOT NULL,
  digest BLOB NOT NULL CHECK (length(digest) = 32),
  scheme INTEGER NOT NULL,
  pepper INTEGER NOT NULL,
  prefix INTEGER NOT NULL,
  issued_at INTEGER NOT NULL,
  -- The owner's and the store's epoch in which it was issued.
  owner_epoch INTEGER NOT NULL,
  store_epoch INTEGER NOT NULL,
  access TEXT NOT NULL,
  -- The same as in `owners`.
  limited INTEGER NOT NULL CHECK (limited IN (0, 1)),
  -- Of the columns so far, of the limits and of the previous tokens. `record_checksum` is of all.
  state_checksum INTEGER NOT NULL,
  version INTEGER NOT NULL,
  -- The service's own number for it.
  numeric_id INTEGER,
  name TEXT,
  access_by TEXT NOT NULL CHECK (access_by IN ('administrator', 'owner')),
  expiry_by TEXT NOT NULL CHECK (expiry_by IN ('administrator', 'owner')),
  created_at INTEGER NOT NULL,
  created_by TEXT NOT NULL,
  -- The key with which a delegate created it.
  created_by_key BLOB CHECK (length(created_by_key) = 16),
  created_as TEXT NOT NULL CHECK (created_as IN ('administrator', 'owner')),
  updated_at INTEGER NOT NULL,
  deactivated_by TEXT,
  deactivated_reason TEXT,
  deactivated_set_by TEXT CHECK (deactivated_set_by IN ('administrator', 'owner')),
  deactivated_reason_for_owner INTEGER CHECK (deactivated_reason_for_owner IN (0, 1)),
  blocked_by TEXT,
  blocked_reason TEXT,
  blocked_set_by TEXT CHECK (blocked_set_by IN ('administrator', 'owner')),
  blocked_reason_for_owner INTEGER CHECK (blocked_reason_for_owner IN (0, 1)),
  revoked_by TEXT,
  revoked_reason TEXT,
  revoked_set_by TEXT CHECK (revoked_set_by IN ('administrator', 'owner')),
  revoked_reason_for_owner INTEGER CHECK (revoked_reason_for_owner IN (0, 1)),
  record_checksum INTEGER NOT NULL,
  -- Its limits.
  not_before INTEGER,
  not_before_by TEXT CHECK (not_before_by IN ('administrator', 'owner')),
  -- CIDR notation, a space between two of them.
  networks TEXT,
  networks_by TEXT CHECK (networks_by IN ('administrator', 'owner')),
  rate_count INTEGER CHECK (rate_count > 0),
  rate_per_ms INTEGER CHECK (rate_per_ms > 0),
  rate_burst INTEGER CHECK (rate_burst > 0),
  rate_by TEXT CHECK (rate_by IN ('administrator', 'owner')),
  quota_uses INTEGER CHECK (quota_uses >= 0),
  quota_refill INTEGER CHECK (quota_refill > 0),
  quota_refill_period TEXT CHECK (quota_refill_period IN ('day', 'week', 'month')
    OR quota_refill_period GLOB 'month_from_[1-9]*'),
  -- The record's version at which the count began.
  quota_version INTEGER,
  quota_by TEXT CHECK (quota_by IN ('administrator', 'owner')),
  -- The recoverable token: number of the recovery key, nonce, ciphertext with tag.
  seal_key INTEGER,
  seal_nonce BLOB,
  seal_text BLOB,
  -- A JSON object, and a JSON list of those of its names that an administrator has set.
  settings TEXT NOT NULL,
  protected_settings TEXT NOT NULL,
  CHECK ((deactivated_at IS NULL) = (deactivated_by IS NULL)),
  CHECK ((blocked_at IS NULL) = (blocked_by IS NULL)),
  CHECK ((revoked_at IS NULL) = (revoked_by IS NULL)),
  CHECK ((seal_key IS NULL) = (seal_nonce IS NULL) AND (seal_key IS NULL) = (seal_text IS NULL)),
  CHECK ((not_before IS NULL) = (not_before_by IS NULL)),
  CHECK ((networks IS NULL) = (networks_by IS NULL)),
  CHECK ((rate_count IS NULL) = (rate_by IS NULL) AND (rate_count IS NULL) = (rate_per_ms IS NULL)
    AND (rate_count IS NULL) = (rate_burst IS NULL)),
  CHECK ((quota_uses IS NULL) = (quota_by IS NULL) AND (quota_uses IS NULL) = (quota_version IS NULL)
    AND (quota_refill IS NULL) = (quota_refill_period IS NULL)
    AND (quota_uses IS NOT NULL OR quota_refill IS NULL)),
  CHECK (limited = (coalesce(not_before, networks, rate_count, quota_uses) IS NOT NULL))
) STRICT, WITHOUT ROWID;

-- Lists and counts of an owner's keys by state walk along this alone.
CREATE INDEX keys_by_owner ON keys (owner, state, id, kind, expires_at);

-- The keys that a key created.
CREATE INDEX keys_by_creator ON keys (created_by_key, id, owner, kind, expires_at, state)
  WHERE created_by_key IS NOT NULL;

-- Who else has this name.
CREATE INDEX keys_by_name ON keys (owner, name)
  WHERE revoked_at IS NULL AND lapsed_at IS NULL AND name IS NOT NULL;

-- Which of an owner's keys has been expired for longest.
CREATE INDEX keys_by_expiry ON keys (owner, expires_at)
  WHERE revoked_at IS NULL AND lapsed_at IS NULL AND expires_at IS NOT NULL;

-- Previous tokens in their grace.
CREATE TABLE previous_tokens (
  key_id BLOB NOT NULL,
  generation INTEGER NOT NULL,
  digest BLOB NOT NULL CHECK (length(digest) = 32),
  scheme INTEGER NOT NULL,
  pepper INTEGER NOT NULL,
  prefix INTEGER NOT NULL,
  issued_at INTEGER NOT NULL,
  -- The owner's and the store's epoch in which it was issued.
  owner_epoch INTEGER NOT NULL,
  store_epoch INTEGER NOT NULL,
  -- The beginning and the end of its grace.
  since INTEGER NOT NULL,
  ends_at INTEGER NOT NULL,
  PRIMARY KEY (key_id, generation)
) STRICT, WITHOUT ROWID;

-- Entries over keys whose records are damaged: the administrator's switch and the revocation. The
-- bytes below stay as they are.
CREATE TABLE quarantine (
  id BLOB PRIMARY KEY CHECK (length(id) = 16),
  owner TEXT,
  version INTEGER NOT NULL,
  blocked_at INTEGER,
  blocked_by TEXT,
  blocked_reason TEXT,
  blocked_set_by TEXT CHECK (blocked_set_by IN ('administrator', 'owner')),
  blocked_reason_for_owner INTEGER CHECK (blocked_reason_for_owner IN (0, 1)),
  revoked_at INTEGER,
  revoked_by TEXT,
  revoked_reason TEXT,
  revoked_set_by TEXT CHECK (revoked_set_by IN ('administrator', 'owner')),
  revoked_reason_for_owner INTEGER CHECK (revoked_reason_for_owner IN (0, 1)),
  checksum INTEGER NOT NULL,
  CHECK ((blocked_at IS NULL) = (blocked_by IS NULL) AND (revoked_at IS NULL) = (revoked_by IS NULL))
) STRICT, WITHOUT ROWID;

-- Every numeric id ever used, also those of purged keys.
CREATE TABLE numeric_ids (
  numeric_id INTEGER PRIMARY KEY CHECK (numeric_id > 0),
  key_id BLOB NOT NULL
) STRICT;

CREATE TABLE events (
  sequence INTEGER PRIMARY KEY,
  -- The owner's, if there was one.
  incarnation INTEGER,
  -- Of an event that a piece of a sweep wrote: the number of the one that bound it.
  binding INTEGER,
  at INTEGER NOT NULL,
  kind INTEGER NOT NULL,
  owner TEXT,
  key_id BLOB,
  version INTEGER NOT NULL,
  generation INTEGER,
  fields INTEGER NOT NULL,
  role TEXT NOT NULL CHECK (
    role IN ('administrator', 'delegate', 'owner', 'owner_by_key', 'owner_by_previous_token')
  ),
  acting_owner TEXT,
  acting_key BLOB,
  acting_generation INTEGER,
  actor TEXT NOT NULL,
  reason TEXT,
  -- Whether an administrator gave the reason for the owner's eyes too.
  reason_for_owner INTEGER NOT NULL CHECK (reason_for_owner IN (0, 1)),
  correlation_id TEXT,
  checksum INTEGER NOT NULL
) STRICT;

CREATE INDEX events_by_key ON events (key_id) WHERE key_id IS NOT NULL;
CREATE INDEX events_by_owner ON events (owner) WHERE owner IS NOT NULL;
CREATE INDEX events_by_acting_key ON events (acting_key) WHERE acting_key IS NOT NULL;

-- The use of a key, what is left of its quota, and its alerts. Use is written in batches without an
-- event; an alert in the commit of its event. The row is removed with the key. A key that was never
-- used and never alerted has no row.
CREATE TABLE key_usage (
  key_id BLOB PRIMARY KEY CHECK (length(key_id) = 16),
  -- To the store's resolution.
  last_used_at INTEGER,
  accepted INTEGER NOT NULL DEFAULT 0,
  address TEXT,
  address_at INTEGER,
  -- Rejections of the right secret, by reason. Counts stop at 2^63-1.
  suspended INTEGER NOT NULL DEFAULT 0,
  revoked INTEGER NOT NULL DEFAULT 0,
  blocked INTEGER NOT NULL DEFAULT 0,
  deactivated INTEGER NOT NULL DEFAULT 0,
  expired INTEGER NOT NULL DEFAULT 0,
  superseded INTEGER NOT NULL DEFAULT 0,
  not_yet INTEGER NOT NULL DEFAULT 0,
  address_missing INTEGER NOT NULL DEFAULT 0,
  address_rejected INTEGER NOT NULL DEFAULT 0,
  rate_limited INTEGER NOT NULL DEFAULT 0,
  quota_exhausted INTEGER NOT NULL DEFAULT 0,
  -- The progress of the time-based alerts: the expiry, near or come, that was alerted; the greatest
  -- generation that was alerted as old; the last use before the alert of an unused key; the previous
  -- tokens that were alerted as in use (in the low 24 bits the greatest generation, above them a bit
  -- for each of the 39 before it, the nearest lowest; older ones count as alerted); the time before
  -- which rejections aren't alerted again. A column `..._at` holds when that alert was written.
  alerted_expired INTEGER,
  alerted_expired_at INTEGER,
  alerted_trial_ending INTEGER,
  alerted_trial_ending_at INTEGER,
  alerted_token_old INTEGER,
  alerted_token_old_at INTEGER,
  alerted_unused INTEGER,
  alerted_unused_at INTEGER,
  alerted_previous_token_used INTEGER,
  alerted_previous_token_used_at INTEGER,
  alerted_rejected INTEGER,
  -- The version of the record at which the quota was last set, refilled or added to; the version at
  -- which its count began; the uses that are neither spent nor leased; the uses that were counted
  -- beyond the quota; the time at which the period began (0 without a refill); how many refills have
  -- raised what was left, by how much the last one, and by how much all before it; and a checksum of
  -- these and the id.
  quota_version INTEGER,
  quota_begun INTEGER,
  quota_left INTEGER,
  quota_debt INTEGER,
  quota_period INTEGER,
  quota_turn INTEGER,
  quota_raised INTEGER,
  quota_raised_before INTEGER,
  quota_checksum INTEGER
) STRICT, WITHOUT ROWID;

-- What is left of an owner's quota.
CREATE TABLE owner_usage (
  owner TEXT PRIMARY KEY,
  quota_version INTEGER,
  quota_begun INTEGER,
  quota_left INTEGER,
  quota_debt INTEGER,
  quota_period INTEGER,
  quota_turn INTEGER,
  quota_raised INTEGER,
  quota_raised_before INTEGER,
  quota_checksum INTEGER
) STRICT, WITHOUT ROWID;

-- Requests that take effect once: the number of the caller's scope, what the scope names, and the
-- caller's key for the request. The content is a hash.
CREATE TABLE requests (
  id BLOB PRIMARY KEY CHECK (length(id) BETWEEN 2 AND 130),
  content BLOB NOT NULL CHECK (length(content) = 32),
  key_id BLOB NOT NULL CHECK (length(key_id) = 16),
  generation INTEGER NOT NULL,
  is_replaced INTEGER NOT NULL CHECK (is_replaced IN (0, 1)),
  at INTEGER NOT NULL,
  checksum INTEGER NOT NULL
) STRICT, WITHOUT ROWID;

CREATE INDEX requests_by_time ON requests (at);

-- Changes of these tables by other programs, newest last; 1,000 are kept. keyhasp's own connections
-- switch triggers off. A row is named by its id: a key's or a request's in hexadecimal digits.
CREATE TABLE foreign_edits (
  number INTEGER PRIMARY KEY,
  at INTEGER NOT NULL,
  edited TEXT NOT NULL,
  row TEXT NOT NULL
) STRICT;

CREATE TRIGGER foreign_edits_kept AFTER INSERT ON foreign_edits BEGIN
  DELETE FROM foreign_edits WHERE number <= NEW.number - 1000;
END;

CREATE TRIGGER store_insert AFTER INSERT ON store BEGIN
  INSERT INTO foreign_edits (at, edited, row)
    VALUES (CAST(strftime('%s', 'now') AS INTEGER) * 1000, 'store', '1');
END;

CREATE TRIGGER store_update AFTER UPDATE ON store BEGIN
  INSERT INTO foreign_edits (at, edited, row)
    VALUES (CAST(strftime('%s', 'now') AS INTEGER) * 1000, 'store', '1');
END;

CREATE TRIGGER store_delete AFTER DELETE ON store BEGIN
  INSERT INTO foreign_edits (at, edited, row)
    VALUES (CAST(strftime('%s', 'now') AS INTEGER) * 1000, 'store', '1');
END;

CREATE TRIGGER prefixes_insert AFTER INSERT ON prefixes BEGIN
  INSERT INTO foreign_edits (at, edited, row)
    VALUES (CAST(strftime('%s', 'now') AS INTEGER) * 1000, 'prefixes', CAST(NEW.number AS TEXT));
END;

CREATE TRIGGER prefixes_update AFTER UPDATE ON prefixes BEGIN
  INSERT INTO foreign_edits (at, edited, row)
    VALUES (CAST(strftime('%s', 'now') AS INTEGER) * 1000, 'prefixes', CAST(NEW.number AS TEXT));
END;

CREATE TRIGGER prefixes_delete AFTER DELETE ON prefixes BEGIN
  INSERT INTO foreign_edits (at, edited, row)
    VALUES (CAST(strftime('%s', 'now') AS INTEGER) * 1000, 'prefixes', CAST(OLD.number AS TEXT));
END;

CREATE TRIGGER peppers_insert AFTER INSERT ON peppers BEGIN
  INSERT INTO foreign_edits (at, edited, row)
    VALUES (CAST(strftime('%s', 'now') AS INTEGER) * 1000, 'peppers', CAST(NEW.number AS TEXT));
END;

CREATE TRIGGER peppers_update AFTER UPDATE ON peppers BEGIN
  INSERT INTO foreign_edits (at, edited, row)
    VALUES (CAST(strftime('%s', 'now') AS INTEGER) * 1000, 'peppers', CAST(NEW.number AS TEXT));
END;

CREATE TRIGGER peppers_delete AFTER DELETE ON peppers BEGIN
  INSERT INTO foreign_edits (at, edited, row)
    VALUES (CAST(strftime('%s', 'now') AS INTEGER) * 1000, 'peppers', CAST(OLD.number AS TEXT));
END;

CREATE TRIGGER recovery_keys_insert AFTER INSERT ON recovery_keys BEGIN
  INSERT INTO foreign_edits (at, edited, row)
    VALUES (CAST(strftime('%s', 'now') AS INTEGER) * 1000, 'recovery_keys', CAST(NEW.number AS TEXT));
END;

CREATE TRIGGER recovery_keys_update AFTER UPDATE ON recovery_keys BEGIN
  INSERT INTO foreign_edits (at, edited, row)
    VALUES (CAST(strftime('%s', 'now') AS INTEGER) * 1000, 'recovery_keys', CAST(NEW.number AS TEXT));
END;

CREATE TRIGGER recovery_keys_delete AFTER DELETE ON recovery_keys BEGIN
  INSERT INTO foreign_edits (at, edited, row)
    VALUES (CAST(strftime('%s', 'now') AS INTEGER) * 1000, 'recovery_keys', CAST(OLD.number AS TEXT));
END;

CREATE TRIGGER owners_insert AFTER INSERT ON owners BEGIN
  INSERT INTO foreign_edits (at, edited, row)
    VALUES (CAST(strftime('%s', 'now') AS INTEGER) * 1000, 'owners', NEW.id);
END;

CREATE TRIGGER owners_update AFTER UPDATE ON owners BEGIN
  INSERT INTO foreign_edits (at, edited, row)
    VALUES (CAST(strftime('%s', 'now') AS INTEGER) * 1000, 'owners', NEW.id);
END;

CREATE TRIGGER owners_delete AFTER DELETE ON owners BEGIN
  INSERT INTO foreign_edits (at, edited, row)
    VALUES (CAST(strftime('%s', 'now') AS INTEGER) * 1000, 'owners', OLD.id);
END;

CREATE TRIGGER keys_insert AFTER INSERT ON keys BEGIN
  INSERT INTO foreign_edits (at, edited, row)
    VALUES (CAST(strftime('%s', 'now') AS INTEGER) * 1000, 'keys', lower(hex(NEW.id)));
END;

CREATE TRIGGER keys_update AFTER UPDATE ON keys BEGIN
  INSERT INTO foreign_edits (at, edited, row)
    VALUES (CAST(strftime('%s', 'now') AS INTEGER) * 1000, 'keys', lower(hex(NEW.id)));
END;

CREATE TRIGGER keys_delete AFTER DELETE ON keys BEGIN
  INSERT INTO foreign_edits (at, edited, row)
    VALUES (CAST(strftime('%s', 'now') AS INTEGER) * 1000, 'keys', lower(hex(OLD.id)));
END;

CREATE TRIGGER previous_tokens_insert AFTER INSERT ON previous_tokens BEGIN
  INSERT INTO foreign_edits (at, edited, row)
    VALUES (CAST(strftime('%s', 'now') AS INTEGER) * 1000, 'previous_tokens', lower(hex(NEW.key_id)));
END;

CREATE TRIGGER previous_tokens_update AFTER UPDATE ON previous_tokens BEGIN
  INSERT INTO foreign_edits (at, edited, row)
    VALUES (CAST(strftime('%s', 'now') AS INTEGER) * 1000, 'previous_tokens', lower(hex(NEW.key_id)));
END;

CREATE TRIGGER previous_tokens_delete AFTER DELETE ON previous_tokens BEGIN
  INSERT INTO foreign_edits (at, edited, row)
    VALUES (CAST(strftime('%s', 'now') AS INTEGER) * 1000, 'previous_tokens', lower(hex(OLD.key_id)));
END;

CREATE TRIGGER quarantine_insert AFTER INSERT ON quarantine BEGIN
  INSERT INTO foreign_edits (at, edited, row)
    VALUES (CAST(strftime('%s', 'now') AS INTEGER) * 1000, 'quarantine', lower(hex(NEW.id)));
END;

CREATE TRIGGER quarantine_update AFTER UPDATE ON quarantine BEGIN
  INSERT INTO foreign_edits (at, edited, row)
    VALUES (CAST(strftime('%s', 'now') AS INTEGER) * 1000, 'quarantine', lower(hex(NEW.id)));
END;

CREATE TRIGGER quarantine_delete AFTER DELETE ON quarantine BEGIN
  INSERT INTO foreign_edits (at, edited, row)
    VALUES (CAST(strftime('%s', 'now') AS INTEGER) * 1000, 'quarantine', lower(hex(OLD.id)));
END;

CREATE TRIGGER numeric_ids_insert AFTER INSERT ON numeric_ids BEGIN
  INSERT INTO foreign_edits (at, edited, row)
    VALUES (CAST(strftime('%s', 'now') AS INTEGER) * 1000, 'numeric_ids', CAST(NEW.numeric_id AS TEXT));
END;

CREATE TRIGGER numeric_ids_update AFTER UPDATE ON numeric_ids BEGIN
  INSERT INTO foreign_edits (at, edited, row)
    VALUES (CAST(strftime('%s', 'now') AS INTEGER) * 1000, 'numeric_ids', CAST(NEW.numeric_id AS TEXT));
END;

CREATE TRIGGER numeric_ids_delete AFTER DELETE ON numeric_ids BEGIN
  INSERT INTO foreign_edits (at, edited, row)
    VALUES (CAST(strftime('%s', 'now') AS INTEGER) * 1000, 'numeric_ids', CAST(OLD.numeric_id AS TEXT));
END;

CREATE TRIGGER events_insert AFTER INSERT ON events BEGIN
  INSERT INTO foreign_edits (at, edited, row)
    VALUES (CAST(strftime('%s', 'now') AS INTEGER) * 1000, 'events', CAST(NEW.sequence AS TEXT));
END;

CREATE TRIGGER events_update AFTER UPDATE ON events BEGIN
  INSERT INTO foreign_edits (at, edited, row)
    VALUES (CAST(strftime('%s', 'now') AS INTEGER) * 1000, 'events', CAST(NEW.sequence AS TEXT));
END;

CREATE TRIGGER events_delete AFTER DELETE ON events BEGIN
  INSERT INTO foreign_edits (at, edited, row)
    VALUES (CAST(strftime('%s', 'now') AS INTEGER) * 1000, 'events', CAST(OLD.sequence AS TEXT));
END;

CREATE TRIGGER key_usage_insert AFTER INSERT ON key_usage BEGIN
  INSERT INTO foreign_edits (at, edited, row)
    VALUES (CAST(strftime('%s', 'now') AS INTEGER) * 1000, 'key_usage', lower(hex(NEW.key_id)));
END;

CREATE TRIGGER key_usage_update AFTER UPDATE ON key_usage BEGIN
  INSERT INTO foreign_edits (at, edited, row)
    VALUES (CAST(strftime('%s', 'now') AS INTEGER) * 1000, 'key_usage', lower(hex(NEW.key_id)));
END;

CREATE TRIGGER key_usage_delete AFTER DELETE ON key_usage BEGIN
  INSERT INTO foreign_edits (at, edited, row)
    VALUES (CAST(strftime('%s', 'now') AS INTEGER) * 1000, 'key_usage', lower(hex(OLD.key_id)));
END;

CREATE TRIGGER owner_usage_insert AFTER INSERT ON owner_usage BEGIN
  INSERT INTO foreign_edits (at, edited, row)
    VALUES (CAST(strftime('%s', 'now') AS INTEGER) * 1000, 'owner_usage', NEW.owner);
END;

CREATE TRIGGER owner_usage_update AFTER UPDATE ON owner_usage BEGIN
  INSERT INTO foreign_edits (at, edited, row)
    VALUES (CAST(strftime('%s', 'now') AS INTEGER) * 1000, 'owner_usage', NEW.owner);
END;

CREATE TRIGGER owner_usage_delete AFTER DELETE ON owner_usage BEGIN
  INSERT INTO foreign_edits (at, edited, row)
    VALUES (CAST(strftime('%s', 'now') AS INTEGER) * 1000, 'owner_usage', OLD.owner);
END;

CREATE TRIGGER requests_insert AFTER INSERT ON requests BEGIN
  INSERT INTO foreign_edits (at, edited, row)
    VALUES (CAST(strftime('%s', 'now') AS INTEGER) * 1000, 'requests', lower(hex(NEW.id)));
END;

CREATE TRIGGER requests_update AFTER UPDATE ON requests BEGIN
  INSERT INTO foreign_edits (at, edited, row)
    VALUES (CAST(strftime('%s', 'now') AS INTEGER) * 1000, 'requests', lower(hex(NEW.id)));
END;

CREATE TRIGGER requests_delete AFTER DELETE ON requests BEGIN
  INSERT INTO foreign_edits (at, edited, row)
    VALUES (CAST(strftime('%s', 'now') AS INTEGER) * 1000, 'requests', lower(hex(OLD.id)));
END;
