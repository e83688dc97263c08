-- The end of an attempt: finished jobs, lost leases, cancellation.
-- Tables: jobs, specs, results, failures, cascades.

-- :finish
-- Parameters: seq, state, now, failures, worker_losses, finished_nonce, epoch, last, progress, log_space, first_event, last_event.
UPDATE jobs
   SET state = ?2, ended = ?3, remove_at = ?3 + retention, ends = ends + 1, failures = ?4, worker_losses = ?5, finished_nonce = ?6,
       epoch = ?7, last = ?8, progress = ?9, log_space = ?10, first_event = ?11, last_event = ?12, cancel_requested = 0, claim_request = NULL, claim_position = NULL,
       nonce = NULL, lease_expires = NULL, lease_duration = NULL, ordinal = 0, expires_at = NULL, abandon_at = NULL, blocked_by = NULL, blocked_at = NULL
 WHERE seq = ?1

-- :insert_result
-- Parameters: seq, result, problem.
INSERT INTO results (seq, result, problem) VALUES (?, ?, ?)

-- :insert_failure
-- Parameters: job, position, at, attempt, problem, error, traceback.
INSERT INTO failures (job, position, at, attempt, problem, error, traceback) VALUES (?, ?, ?, ?, ?, ?, ?)

-- :loss_budget
-- Parameters: seq. Row: how many worker losses the job survives, whether it may be isolated.
SELECT max_worker_losses, isolable FROM specs WHERE seq = ?

-- :request_cancel
-- Parameters: seq.
UPDATE jobs SET cancel_requested = 1 WHERE seq = ?

-- :insert_cascade
-- Register a cancelled job if it has children that are cancelled with it. Parameters: id.
INSERT OR REPLACE INTO cascades (parent, newest_child)
SELECT ?1, max(seq) FROM jobs INDEXED BY jobs_cascade WHERE parent = ?1 AND cascade = 1 AND state < 3
HAVING max(seq) IS NOT NULL

-- :next_cascade
-- Row: the id of a cancelled job whose children are to be cancelled, and the newest of them.
SELECT parent, newest_child FROM cascades LIMIT 1

-- :cascade_children
-- Parameters: parent, newest_child, limit. Rows: seq.
SELECT seq FROM jobs INDEXED BY jobs_cascade
 WHERE parent = ? AND cascade = 1 AND state < 3 AND cancel_requested = 0 AND seq <= ?
 ORDER BY seq LIMIT ?

-- :delete_cascade
-- Parameters: parent.
DELETE FROM cascades WHERE parent = ?
