-- Ending a job, whoever ends it.
-- Tables: jobs, ends, failures, cascades.

-- :end
-- Parameters: seq, state, now, failures, losses, settled, epoch, last, progress.
UPDATE jobs
   SET state = ?2, ended = ?3, forget_at = ?3 + keep, ends = ends + 1, failures = ?4, losses = ?5, settled = ?6, epoch = ?7,
       last = ?8, progress = ?9, cancelling = 0, worker = NULL, claim = NULL, place = NULL, nonce = NULL, expires = NULL,
       lease = NULL, ordinal = 0, give_up = NULL, abandon_at = NULL, parked = NULL
 WHERE seq = ?1

-- :keep_end
-- Parameters: seq, result, problem.
INSERT INTO ends (seq, result, problem) VALUES (?, ?, ?)

-- :keep_failure
-- Parameters: job, place, at, attempt, problem, error, traceback.
INSERT INTO failures (job, place, at, attempt, problem, error, traceback) VALUES (?, ?, ?, ?, ?, ?, ?)

-- :cascade
-- Note a cancelled job if it has children that are to be cancelled with it. Parameters: id.
INSERT OR REPLACE INTO cascades (parent, newest)
SELECT ?1, max(seq) FROM jobs INDEXED BY jobs_cascade WHERE parent = ?1 AND cascade = 1 AND state < 3
HAVING max(seq) IS NOT NULL
