-- Cancelling children with their parents.
-- Tables: cascades, jobs.

-- :next
-- Row: the id of a cancelled job whose children are yet to be stopped, and the newest of them.
SELECT parent, newest FROM cascades LIMIT 1

-- :children
-- Children that are to be stopped and were not. Parameters: parent, newest, limit. Rows: seq.
SELECT seq FROM jobs INDEXED BY jobs_cascade
 WHERE parent = ? AND cascade = 1 AND state < 3 AND cancelling = 0 AND seq <= ?
 ORDER BY seq LIMIT ?

-- :done
-- Parameters: parent.
DELETE FROM cascades WHERE parent = ?
