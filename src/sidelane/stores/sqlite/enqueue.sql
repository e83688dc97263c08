-- Jobs that enter a queue: new ones, delayed ones that are due, and those that return after an attempt.
-- Tables: jobs, specs, queues, batches, meta.

-- :max_seq
-- One row: the highest sequence number ever used.
SELECT max(coalesce((SELECT max(seq) FROM jobs), 0), coalesce((SELECT value FROM meta WHERE name = 'max_seq'), 0))

-- :insert_job
-- Parameters in the order of `enqueue._job_values`.
INSERT INTO jobs (seq, id, task, version, queue, priority, user, key, unique_key, parent, state, due, delay, submitted,
                  expires_at, deadline_at, retention, follow_up_flags, limit_flags, batch, cascade, log_space, series)
VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)

-- :insert_spec
-- Parameters in the order of `enqueue._spec_values`.
INSERT INTO specs (seq, arguments, labels, delay, run_at, expires_in, deadline, max_worker_losses, isolable, abandon_after, trace,
                   follow_ups, limits, max_queued, placeholders, id_retention, max_log_size)
VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)

-- :insert_queue
-- Parameters: name.
INSERT OR IGNORE INTO queues (name) VALUES (?)

-- :return_to_queue
-- Parameters: seq, state, due, delay, failures, worker_losses, finished_nonce, epoch, last, progress, expires_at, isolated,
-- log_space, transitions to add.
UPDATE jobs
   SET state = ?2, due = ?3, delay = ?4, failures = ?5, worker_losses = ?6, finished_nonce = ?7, epoch = ?8, last = ?9, progress = ?10,
       expires_at = ?11, isolated = ?12, log_space = ?13, cancel_requested = 0, worker = NULL, claim_request = NULL, claim_position = NULL, nonce = NULL,
       lease_expires = NULL, lease_duration = NULL, ordinal = 0, blocked_by = NULL, blocked_at = NULL,
       first_event = NULL, last_event = NULL, transitions = substr(transitions || ?14, -MAX_TRANSITIONS)
 WHERE seq = ?1

-- :exists
-- Whether a job of this id, or an unfinished one of this user and unique key, exists. Parameters: id, user, unique_key.
SELECT 1 FROM jobs WHERE id = ?1
 UNION ALL
SELECT 1 FROM jobs WHERE user = ?2 AND unique_key = ?3 AND unique_key IS NOT NULL AND state < 3
 LIMIT 1

-- :is_batch_open
-- Whether a batch accepts jobs. Parameters: id.
SELECT 1 FROM batches WHERE id = ? AND sealed = 0

-- :join_batch
-- Count a new job of a batch. Parameters: id.
UPDATE batches SET total = total + 1 WHERE id = ?

-- :due
-- Parameters: queue, now, limit. Rows: seq, id, isolated, priority, user.
SELECT seq, id, isolated, priority, user FROM jobs WHERE state = 1 AND queue = ? AND due <= ? ORDER BY due LIMIT ?

-- :promote
-- Parameters: seq.
UPDATE jobs SET state = 0, delay = NULL WHERE seq = ?
