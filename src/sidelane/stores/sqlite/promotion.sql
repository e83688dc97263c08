-- Delayed jobs whose time has come become ready.
-- Tables: jobs.

-- :due
-- Parameters: queue, now, limit. Rows: seq, id, isolated, priority, user.
SELECT seq, id, isolated, priority, user FROM jobs WHERE state = 1 AND queue = ? AND due <= ? ORDER BY due LIMIT ?

-- :ready
-- Parameters: seq.
UPDATE jobs SET state = 0, wait = NULL WHERE seq = ?
