-- read_values, list_values, set_value, append_entries, read_journal.
-- Tables: shared_values, journals, journal_entries, shared_requests.

-- :value
-- Parameters: name. Row: name, text, version, changed.
SELECT name, text, version, changed FROM shared_values WHERE name = ?

-- :values
-- Parameters: first name, end of names (a blob, which is greater than any text: none), limit. Rows: name, text, version, changed.
SELECT name, text, version, changed FROM shared_values WHERE name >= ?1 AND name < ?2 ORDER BY name LIMIT ?3

-- :version
-- Parameters: name. Row: version.
SELECT version FROM shared_values WHERE name = ?

-- :set
-- Parameters: name, text, version, now.
INSERT INTO shared_values (name, text, version, changed) VALUES (?1, ?2, ?3, ?4)
    ON CONFLICT DO UPDATE SET text = ?2, version = ?3, changed = ?4

-- :delete
-- Parameters: name.
DELETE FROM shared_values WHERE name = ?

-- :request
-- Parameters: id. Row: first.
SELECT first FROM shared_requests WHERE id = ?

-- :add_request
-- Parameters: id, now, first.
INSERT INTO shared_requests (id, at, first) VALUES (?, ?, ?)

-- :prune_requests
-- Parameters: time before which they are forgotten, limit.
DELETE FROM shared_requests WHERE id IN (SELECT id FROM shared_requests WHERE at < ? ORDER BY at LIMIT ?)

-- :add_journal
-- Parameters: name.
INSERT OR IGNORE INTO journals (name) VALUES (?)

-- :journal
-- Parameters: name. Row: id, last, oldest.
SELECT id, last, oldest FROM journals WHERE name = ?

-- :set_journal
-- Parameters: last, oldest, id.
UPDATE journals SET last = ?, oldest = ? WHERE id = ?

-- :add_entry
-- Parameters: journal, number, now, text.
INSERT INTO journal_entries (journal, number, at, text) VALUES (?, ?, ?, ?)

-- :trim
-- Parameters: journal, number of the oldest entry to keep, limit.
DELETE FROM journal_entries WHERE journal = ?1 AND number IN (
    SELECT number FROM journal_entries WHERE journal = ?1 AND number < ?2 ORDER BY number LIMIT ?3
)

-- :entries
-- Parameters: journal, number of the oldest entry, end of numbers (excluded), limit. Rows: number, at, text.
SELECT number, at, text FROM journal_entries WHERE journal = ?1 AND number >= ?2 AND number < ?3 ORDER BY number DESC LIMIT ?4
