-- submit: find existing jobs, and check the batch, queue and limits of new ones. New jobs are written by `enqueue`.
-- Tables: jobs, tombstones, batches, replaceable_jobs.

-- :unique_holder
-- Parameters: user, unique_key. Row: id.
SELECT id FROM jobs WHERE user = ? AND unique_key = ? AND unique_key IS NOT NULL AND state < 3

-- :exists
-- Parameters: id.
SELECT 1 FROM jobs WHERE id = ?

-- :was_removed
-- Parameters: id.
SELECT 1 FROM tombstones WHERE id = ?

-- :is_batch_sealed
-- Parameters: id. Row: whether the batch accepts no more jobs.
SELECT sealed FROM batches WHERE id = ?

-- :count_queued
-- Parameters: queue, maximum. One row: how many jobs of a queue are queued, each kind counted up to the maximum.
SELECT (SELECT count(*) FROM (SELECT 1 FROM jobs INDEXED BY jobs_ready WHERE state = 0 AND queue = ?1 LIMIT ?2))
     + (SELECT count(*) FROM (SELECT 1 FROM jobs INDEXED BY jobs_due WHERE state = 1 AND queue = ?1 LIMIT ?2))
     + (SELECT count(*) FROM (SELECT 1 FROM jobs INDEXED BY jobs_blocked_in_queue WHERE state = -1 AND queue = ?1 LIMIT ?2))
     + (SELECT count(*) FROM (SELECT 1 FROM jobs INDEXED BY jobs_paused_in_queue WHERE state = -2 AND queue = ?1 LIMIT ?2))

-- :replaced
-- The oldest replaceable jobs of a limit that exceed its slots if a new job is added.
-- Parameters: limit_id, slots of the limit, limit. Rows: seq.
SELECT job FROM replaceable_jobs WHERE limit_id = ?1
 ORDER BY job LIMIT min(?3, max(0, (SELECT count(*) FROM replaceable_jobs WHERE limit_id = ?1) - ?2 + 1))
