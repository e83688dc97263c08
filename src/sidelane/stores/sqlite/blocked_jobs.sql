-- Jobs that wait for a limit.
-- Tables: jobs, queues, rates.

-- :blocked_by
-- Parameters: seq. Row: the limit that the job waits for, or was unblocked from.
SELECT blocked_by FROM jobs WHERE seq = ?

-- :block
-- A job may be blocked again, if it is claimed by id. Parameters: seq, limit_id, now, transitions to add. Row: id, queue, isolated, priority, user.
UPDATE jobs
   SET state = -1, blocked_by = ?2, delay = NULL, blocked_at = coalesce(blocked_at, ?3),
       transitions = CASE WHEN state = -1 AND blocked_by = ?2 THEN transitions ELSE substr(transitions || ?4, -MAX_TRANSITIONS) END
 WHERE seq = ?1 RETURNING id, queue, isolated, priority, user

-- :with_blocked_jobs
-- Parameters: limit_id. Row: the same, if any job waits for the limit.
SELECT blocked_by FROM jobs INDEXED BY jobs_blocked WHERE state = -1 AND blocked_by = ? LIMIT 1

-- :first_blocked
-- Parameters: limit_id. Row: seq.
SELECT seq FROM jobs INDEXED BY jobs_blocked WHERE state = -1 AND blocked_by = ? ORDER BY priority DESC, seq LIMIT 1

-- :blocked
-- Parameters: limit_id, limit. Rows: seq, id, series, blocked_at, queue, isolated, priority, user, whether the queue is
-- paused.
SELECT seq, id, series, blocked_at, queue, isolated, priority, user, (SELECT q.paused FROM queues q WHERE q.name = jobs.queue)
  FROM jobs INDEXED BY jobs_blocked
 WHERE state = -1 AND blocked_by = ? ORDER BY priority DESC, seq LIMIT ?

-- :count_unblocked
-- Parameters: limit_id, maximum. One row: how many jobs were unblocked from a limit and have not started, counted up to the maximum.
SELECT count(*) FROM (SELECT 1 FROM jobs INDEXED BY jobs_unblocked WHERE state = 0 AND blocked_by = ? LIMIT ?)

-- :unblock
-- Parameters: seq, now, transitions to add.
UPDATE jobs SET state = 0, due = ?2, blocked_at = NULL, transitions = substr(transitions || ?3, -MAX_TRANSITIONS) WHERE seq = ?1

-- :with_unblocked_and_blocked
-- Limits with unblocked and with blocked jobs. The recursion steps from one limit to the next, each of which may have many jobs.
-- Parameters: limit. Rows: limit_id.
WITH RECURSIVE unblocked (limit_id) AS (
    SELECT (SELECT min(blocked_by) FROM jobs INDEXED BY jobs_unblocked WHERE state = 0 AND blocked_by IS NOT NULL)
     UNION ALL
    SELECT (SELECT min(blocked_by) FROM jobs INDEXED BY jobs_unblocked WHERE state = 0 AND blocked_by > last.limit_id)
      FROM unblocked last WHERE last.limit_id IS NOT NULL
)
SELECT limit_id FROM unblocked
 WHERE limit_id IS NOT NULL
   AND (SELECT 1 FROM jobs INDEXED BY jobs_blocked WHERE state = -1 AND blocked_by = limit_id LIMIT 1) IS NOT NULL
 LIMIT ?

-- :next_unblock
-- When the first rate unblocks a job of this queue. If that would take long to find, since many rates of other queues come first, the
-- time at which the last of those does. Parameters: queue. Row: time.
WITH first AS MATERIALIZED (
    SELECT limit_id, unblock_at FROM rates INDEXED BY rates_unblock WHERE unblock_at IS NOT NULL ORDER BY unblock_at LIMIT 100)
SELECT coalesce(
           (SELECT min(f.unblock_at) FROM first f WHERE EXISTS (
                SELECT 1 FROM jobs j INDEXED BY jobs_blocked_in_queue
                 WHERE j.state = -1 AND j.queue = ?1 AND j.blocked_by = f.limit_id)),
           (SELECT unblock_at FROM first ORDER BY unblock_at LIMIT 1 OFFSET 99))
 WHERE EXISTS (SELECT 1 FROM jobs q INDEXED BY jobs_blocked_in_queue WHERE q.state = -1 AND q.queue = ?1)

-- :due_rates
-- Parameters: now, limit. Rows: limit_id, per_window, window, burst.
SELECT limit_id, per_window, window, burst FROM rates INDEXED BY rates_unblock
 WHERE unblock_at IS NOT NULL AND unblock_at <= ? ORDER BY unblock_at LIMIT ?

-- :hasten_unblock
-- Parameters: now, limit_id.
UPDATE rates SET unblock_at = min(unblock_at, ?) WHERE limit_id = ? AND unblock_at IS NOT NULL

-- :set_unblock
-- The numbers in force may allow no TAT as late as the stored one. Parameters: unblock_at, the latest TAT, limit_id.
UPDATE rates SET unblock_at = ?, tat = min(tat, ?) WHERE limit_id = ?
