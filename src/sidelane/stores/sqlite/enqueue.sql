-- Jobs that come into the queue: new ones, and those that come back.
-- Tables: jobs, specs, queues, batches, meta.

-- :highest
-- One row: the highest sequence ever used.
SELECT max(coalesce((SELECT max(seq) FROM jobs), 0), coalesce((SELECT value FROM meta WHERE name = 'sequence'), 0))

-- :insert_job
-- Parameters in the order of `arrivals._job_values`.
INSERT INTO jobs (seq, id, task, version, queue, priority, user, key, unique_key, parent, state, due, wait, submitted,
                  give_up, deadline_at, keep, follows, limited, batch, cascade)
VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)

-- :insert_spec
-- Parameters in the order of `arrivals._spec_values`.
INSERT INTO specs (seq, arguments, labels, delay, run_at, start_within, deadline, losses, isolable, abandon_after, trace, follow_ups,
                   limits, max_queued, given, remember)
VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)

-- :insert_queue
-- Parameters: name.
INSERT OR IGNORE INTO queues (name) VALUES (?)

-- :put_back
-- Parameters: seq, state, due, wait, failures, losses, settled, epoch, last, progress, give_up, isolated.
UPDATE jobs
   SET state = ?2, due = ?3, wait = ?4, failures = ?5, losses = ?6, settled = ?7, epoch = ?8, last = ?9, progress = ?10,
       give_up = ?11, isolated = ?12, cancelling = 0, worker = NULL, claim = NULL, place = NULL, nonce = NULL, expires = NULL, lease = NULL,
       ordinal = 0, parked = NULL
 WHERE seq = ?1

-- :taken
-- Whether a job of this id, or an unfinished one of this user and unique key, is there already. Parameters: id, user, unique.
SELECT 1 FROM jobs WHERE id = ?1
 UNION ALL
SELECT 1 FROM jobs WHERE user = ?2 AND unique_key = ?3 AND unique_key IS NOT NULL AND state < 3
 LIMIT 1

-- :open
-- Whether a batch takes jobs. Parameters: id.
SELECT 1 FROM batches WHERE id = ? AND sealed = 0

-- :join
-- A job joins a batch. Parameters: batch.
UPDATE batches SET total = total + 1 WHERE id = ?
