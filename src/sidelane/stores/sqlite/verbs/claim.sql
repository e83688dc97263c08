-- claim: start ready jobs. `fair_queue` decides in which order.
-- Tables: jobs, queues, workers.

-- :claimed_before
-- The jobs that this request has claimed and that still run. Parameters: worker, request. Rows: seq.
SELECT seq FROM jobs WHERE state = 2 AND worker = ? AND claim_request = ? ORDER BY claim_position

-- :queue
-- Parameters: name. Row: whether it is paused, when its last pause began and ended.
SELECT paused, paused_at, resumed FROM queues WHERE name = ?

-- :next_due
-- Parameters: queue. One row: when its next delayed job is due.
SELECT min(due) FROM jobs WHERE state = 1 AND queue = ?

-- :isolated_tasks
-- Parameters: queue. Rows: task, version of ready isolated jobs.
SELECT DISTINCT task, version FROM jobs INDEXED BY jobs_isolated WHERE state = 0 AND isolated = 1 AND queue = ?

-- :candidate
-- Parameters: id, now. Row: queue, isolated, priority, user, seq, task, version, expires_at, limit_flags.
SELECT queue, isolated, priority, user, seq, task, version, expires_at, limit_flags FROM jobs
 WHERE id = ?1 AND (state IN (-1, 0) OR state = 1 AND due <= ?2)

-- :start
-- Parameters: seq, now, lease_expires, lease_duration, worker, request, position, nonce, epoch, series, release, transitions to add to
-- those of a blocked job.
UPDATE jobs
   SET state = 2, attempt = attempt + 1, started = ?2, lease_expires = ?3, lease_duration = ?4, worker = ?5, claim_request = ?6,
       claim_position = ?7, nonce = ?8, epoch = ?9, ordinal = 0, logged = 0, expires_at = deadline_at, delay = NULL, blocked_by = NULL,
       series = ?10, first_event = NULL, last_event = NULL, release = ?11,
       transitions = CASE WHEN blocked_at IS NULL THEN transitions ELSE substr(transitions || ?12, -MAX_TRANSITIONS) END
 WHERE seq = ?1

-- :renew_worker
-- Parameters: id, expires, lease_duration.
INSERT INTO workers (id, expires, lease_duration) VALUES (?1, ?2, ?3)
    ON CONFLICT DO UPDATE SET expires = max(expires, ?2), lease_duration = ?3
