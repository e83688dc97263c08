-- Paused batches and their jobs.
-- Tables: batches, jobs.

-- :pause
-- Parameters: id.
UPDATE batches SET paused = 1 WHERE id = ?

-- :resume
-- Parameters: id.
UPDATE batches SET paused = 0 WHERE id = ? AND paused = 1

-- :any_is_paused
SELECT 1 FROM batches INDEXED BY batches_paused WHERE paused = 1 LIMIT 1

-- :is_paused
-- Parameters: seq.
SELECT 1 FROM jobs j CROSS JOIN batches b ON b.id = j.batch WHERE j.seq = ? AND b.paused = 1

-- :before
-- Parameters: seq. Row: series, the limit that the job waits for or was unblocked from, since when it waits for it.
SELECT series, blocked_by, blocked_at FROM jobs WHERE seq = ?

-- :pause_job
-- Parameters: seq, now, transitions to add. Row: id, queue, isolated, priority, user.
UPDATE jobs
   SET state = -2, blocked_by = NULL, blocked_at = ?2, delay = NULL, transitions = substr(transitions || ?3, -MAX_TRANSITIONS)
 WHERE seq = ?1 RETURNING id, queue, isolated, priority, user

-- :next_resumed
-- Row: the id of a resumed batch that may have paused jobs.
SELECT id FROM batches INDEXED BY batches_paused WHERE paused = 0 LIMIT 1

-- :paused_jobs
-- Parameters: batch, limit. Rows: seq, id, series, since when it is paused, queue, isolated, priority, user.
SELECT seq, id, series, blocked_at, queue, isolated, priority, user FROM jobs INDEXED BY jobs_paused
 WHERE state = -2 AND batch = ? ORDER BY priority DESC, seq LIMIT ?

-- :resume_job
-- Parameters: seq, now, transitions to add.
UPDATE jobs SET state = 0, due = ?2, blocked_at = NULL, transitions = substr(transitions || ?3, -MAX_TRANSITIONS) WHERE seq = ?1

-- :end_resume
-- Parameters: id.
UPDATE batches SET paused = NULL WHERE id = ? AND paused = 0
