-- Jobs that come into the queue: new ones, and those that come back.
-- Tables: jobs, specs, queues, meta.

-- :highest
-- One row: the highest sequence ever used.
SELECT max(coalesce((SELECT max(seq) FROM jobs), 0), coalesce((SELECT value FROM meta WHERE name = 'sequence'), 0))

-- :insert_job
-- Parameters in the order of `arrivals._job_values`.
INSERT INTO jobs (seq, id, task, version, queue, priority, user, key, unique_key, parent, state, due, wait, submitted,
                  give_up, deadline_at, keep, follows)
VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)

-- :insert_spec
-- Parameters in the order of `arrivals._spec_values`.
INSERT INTO specs (seq, arguments, labels, delay, run_at, start_within, deadline, losses, abandon_after, trace, follow_ups)
VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)

-- :insert_queue
-- Parameters: name.
INSERT OR IGNORE INTO queues (name) VALUES (?)

-- :put_back
-- Parameters: seq, state, due, wait, failures, losses, settled, epoch, last, progress, give_up.
UPDATE jobs
   SET state = ?2, due = ?3, wait = ?4, failures = ?5, losses = ?6, settled = ?7, epoch = ?8, last = ?9, progress = ?10,
       give_up = ?11, cancelling = 0, worker = NULL, claim = NULL, place = NULL, nonce = NULL, expires = NULL, lease = NULL,
       ordinal = 0
 WHERE seq = ?1
