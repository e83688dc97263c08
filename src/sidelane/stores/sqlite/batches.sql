-- Batches.
-- Tables: batches.

-- :record
-- Parameters: id. Row as `batches._record` unpacks it.
SELECT spec, submitted, sealed, total, succeeded, failed, cancelled, ends, ended FROM batches WHERE id = ?

-- :open
-- Parameters: id, spec, keep, now.
INSERT OR IGNORE INTO batches (id, spec, keep, submitted, forget_at) VALUES (?1, ?2, ?3, ?4, ?4 + ?3)

-- :seal
-- Parameters: id.
UPDATE batches SET sealed = 1, forget_at = NULL WHERE id = ? AND sealed = 0

-- :succeeded
-- Parameters: id, how many.
UPDATE batches SET succeeded = succeeded + ?2 WHERE id = ?1

-- :failed
-- Parameters: id, how many.
UPDATE batches SET failed = failed + ?2 WHERE id = ?1

-- :cancelled
-- Parameters: id, how many.
UPDATE batches SET cancelled = cancelled + ?2 WHERE id = ?1

-- :end
-- Parameters: id, now.
UPDATE batches SET ended = ?2, ends = ends + 1, forget_at = ?2 + keep
 WHERE id = ?1 AND sealed = 1 AND ended IS NULL AND succeeded + failed + cancelled = total

-- :reopen
-- Parameters: id.
UPDATE batches SET ended = NULL, forget_at = NULL WHERE id = ? AND ended IS NOT NULL

-- :removable
-- Batches whose time has passed; one that was never sealed is kept as long as a job of it is unfinished.
-- Parameters: now, limit. Rows: id.
SELECT id FROM batches INDEXED BY batches_forget
 WHERE forget_at IS NOT NULL AND forget_at <= ? AND succeeded + failed + cancelled = total
 ORDER BY forget_at LIMIT ?

-- :remove
-- Parameters: id.
DELETE FROM batches WHERE id = ?
