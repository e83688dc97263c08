-- remember: values under names.
-- Tables: remembered.

-- :keep
-- Parameters: name, value.
INSERT OR IGNORE INTO remembered (name, value) VALUES (?, ?)

-- :kept
-- Parameters: name. Row: value.
SELECT value FROM remembered WHERE name = ?
