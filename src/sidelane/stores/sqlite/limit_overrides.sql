-- Overrides of limits.
-- Tables: limit_overrides, limit_checks, jobs.

-- :any
-- Row: 1, if there is an override.
SELECT 1 FROM limit_overrides LIMIT 1

-- :in_force
-- The override of a limit: that of its key before that of its name, whose id is shorter. Parameters: limit_id, its name, now, whether
-- it is a rate.
SELECT name, key, max, per, burst, since, until, by, reason FROM limit_overrides
 WHERE id IN (?1, ?2) AND (until IS NULL OR until > ?3) AND (per IS NOT NULL) = ?4 ORDER BY length(id) DESC LIMIT 1

-- :all
-- Parameters: now.
SELECT name, key, max, per, burst, since, until, by, reason FROM limit_overrides WHERE until IS NULL OR until > ? ORDER BY id

-- :count_others
-- Parameters: id. One row: how many there are besides this one.
SELECT count(*) FROM limit_overrides WHERE id <> ?

-- :save
-- Parameters: id, name, key, max, window, burst, since, until, by, reason.
INSERT OR REPLACE INTO limit_overrides (id, name, key, max, per, burst, since, until, by, reason)
VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?)

-- :delete
-- Parameters: id. Row: until.
DELETE FROM limit_overrides WHERE id = ? RETURNING until

-- :ended
-- Parameters: now. Rows: id.
SELECT id FROM limit_overrides WHERE until <= ?

-- :checks
-- Rows: last, next.
SELECT last, next FROM limit_checks ORDER BY last

-- :add_check
-- Parameters: last, first.
INSERT INTO limit_checks (last, next) VALUES (?1, ?2) ON CONFLICT DO UPDATE SET next = ?2

-- :continue_check
-- Parameters: next, last.
UPDATE limit_checks SET next = ? WHERE last = ?

-- :end_check
-- Parameters: last.
DELETE FROM limit_checks WHERE last = ?

-- :next_blocked
-- Parameters: first, last. Row: the first limit from the first to the last that jobs wait for.
SELECT blocked_by FROM jobs INDEXED BY jobs_blocked
 WHERE state = -1 AND blocked_by >= ? AND blocked_by <= ? ORDER BY blocked_by LIMIT 1
