-- Version 5. The tags of keys and owners: sorted, a space between two; null without any, as in all rows of
-- version 4.
ALTER TABLE keys ADD COLUMN tags TEXT;
ALTER TABLE owners ADD COLUMN tags TEXT;
