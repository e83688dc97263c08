-- requeue: bring finished jobs back.
-- Tables: jobs, ends, specs, failures.

-- :end
-- Parameters: seq. Row: result, problem.
SELECT result, problem FROM ends WHERE seq = ?

-- :unique_holder
-- The unfinished job that has the unique key of this one. Parameters: seq. Row: id.
SELECT h.id FROM jobs j JOIN jobs h INDEXED BY jobs_unique ON h.user = j.user AND h.unique_key = j.unique_key
 WHERE j.seq = ? AND h.unique_key IS NOT NULL AND h.state < 3

-- :budgets
-- Parameters: seq. Row: start_within, deadline.
SELECT start_within, deadline FROM specs WHERE seq = ?

-- :forget_end
-- Parameters: seq.
DELETE FROM ends WHERE seq = ?

-- :forget_failures
-- Parameters: seq.
DELETE FROM failures WHERE job = ?

-- :renew
-- What `arrivals.put_back` does not see to. Parameters: deadline_at, seq.
UPDATE jobs SET ended = NULL, forget_at = NULL, started = NULL, deadline_at = ? WHERE seq = ?

-- :argue
-- Parameters: arguments, seq.
UPDATE specs SET arguments = ? WHERE seq = ?
