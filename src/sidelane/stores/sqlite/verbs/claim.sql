-- claim: hand out ready jobs. Which ones is decided by `lines`.
-- Tables: jobs, queues, workers.

-- :repeated
-- The jobs this request has claimed and still runs. Parameters: worker, request. Rows: seq.
SELECT seq FROM jobs WHERE state = 2 AND worker = ? AND claim = ? ORDER BY place

-- :paused
-- Parameters: name.
SELECT 1 FROM queues WHERE name = ? AND paused = 1

-- :next_due
-- Parameters: queue. One row: when its next waiting job may start.
SELECT min(due) FROM jobs WHERE state = 1 AND queue = ?

-- :isolated
-- Parameters: queue. Rows: task, version of ready isolated jobs.
SELECT DISTINCT task, version FROM jobs INDEXED BY jobs_isolated WHERE state = 0 AND isolated = 1 AND queue = ?

-- :by_id
-- Parameters: id, now. Row: queue, isolated, priority, user, seq, task, version, give_up, limited.
SELECT queue, isolated, priority, user, seq, task, version, give_up, limited FROM jobs
 WHERE id = ?1 AND (state < 1 OR state = 1 AND due <= ?2)

-- :take
-- Parameters: seq, now, expires, lease, worker, request, place, nonce, epoch.
UPDATE jobs
   SET state = 2, attempt = attempt + 1, started = ?2, expires = ?3, lease = ?4, worker = ?5, claim = ?6, place = ?7, nonce = ?8,
       epoch = ?9, ordinal = 0, give_up = deadline_at, wait = NULL, parked = NULL
 WHERE seq = ?1

-- :given
-- Parameters: seq. Row: attempt, nonce, deadline_at.
SELECT attempt, nonce, deadline_at FROM jobs WHERE seq = ?

-- :renew_worker
-- Parameters: id, expires, lease.
INSERT INTO workers (id, expires, lease) VALUES (?1, ?2, ?3) ON CONFLICT DO UPDATE SET expires = max(expires, ?2), lease = ?3
