-- Batches.
-- Tables: batches.

-- :record
-- Parameters: id. Row in the order that `batches._record` unpacks.
SELECT spec, submitted, sealed, total, succeeded, failed, cancelled, ends, ended, paused FROM batches WHERE id = ?

-- :open
-- Parameters: id, spec, retention, now.
INSERT OR IGNORE INTO batches (id, spec, retention, submitted, remove_at) VALUES (?1, ?2, ?3, ?4, ?4 + ?3)

-- :seal
-- Parameters: id.
UPDATE batches SET sealed = 1, remove_at = NULL WHERE id = ? AND sealed = 0

-- :add_succeeded
-- Parameters: id, how many.
UPDATE batches SET succeeded = succeeded + ?2 WHERE id = ?1

-- :add_failed
-- Parameters: id, how many.
UPDATE batches SET failed = failed + ?2 WHERE id = ?1

-- :add_cancelled
-- Parameters: id, how many.
UPDATE batches SET cancelled = cancelled + ?2 WHERE id = ?1

-- :finish
-- Parameters: id, now.
UPDATE batches SET ended = ?2, ends = ends + 1, remove_at = ?2 + retention
 WHERE id = ?1 AND sealed = 1 AND ended IS NULL AND succeeded + failed + cancelled = total

-- :reopen
-- Parameters: id.
UPDATE batches SET ended = NULL, remove_at = NULL WHERE id = ? AND ended IS NOT NULL

-- :removable
-- Batches whose retention has passed. One that was never sealed is kept while a job of it is unfinished.
-- Parameters: now, limit. Rows: id.
SELECT id FROM batches INDEXED BY batches_remove
 WHERE remove_at IS NOT NULL AND remove_at <= ? AND succeeded + failed + cancelled = total
 ORDER BY remove_at LIMIT ?

-- :remove
-- Parameters: id.
DELETE FROM batches WHERE id = ?
