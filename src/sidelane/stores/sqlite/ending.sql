-- Ending a job, whoever ends it.
-- Tables: jobs, ends, failures, specs.

-- :end
-- Parameters: seq, state, now, failures, losses, settled, epoch, last, progress.
UPDATE jobs
   SET state = ?2, ended = ?3, forget_at = ?3 + keep, ends = ends + 1, failures = ?4, losses = ?5, settled = ?6, epoch = ?7,
       last = ?8, progress = ?9, cancelling = 0, worker = NULL, claim = NULL, place = NULL, nonce = NULL, expires = NULL,
       lease = NULL, ordinal = 0, give_up = NULL, abandon_at = NULL
 WHERE seq = ?1

-- :keep_end
-- Parameters: seq, result, problem.
INSERT INTO ends (seq, result, problem) VALUES (?, ?, ?)

-- :keep_failure
-- Parameters: job, place, at, attempt, problem, error, traceback.
INSERT INTO failures (job, place, at, attempt, problem, error, traceback) VALUES (?, ?, ?, ?, ?, ?, ?)

-- :follow_ups
-- Parameters: seq.
SELECT follow_ups FROM specs WHERE seq = ?

-- :taken
-- Whether a job of this id, or an unfinished one of this user and unique key, is there already. Parameters: id, user, unique.
SELECT 1 FROM jobs WHERE id = ?1
 UNION ALL
SELECT 1 FROM jobs WHERE user = ?2 AND unique_key = ?3 AND unique_key IS NOT NULL AND state < 3
 LIMIT 1
