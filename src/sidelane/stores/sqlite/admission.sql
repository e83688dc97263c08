-- What a new job must pass.
-- Tables: batches, jobs, replaceable.

-- :sealed
-- Parameters: id. Row: whether the batch takes no more jobs.
SELECT sealed FROM batches WHERE id = ?

-- :queued
-- Parameters: queue, most. One row: how many jobs of a queue wait, for whatever reason; beyond most it does not matter.
SELECT (SELECT count(*) FROM (SELECT 1 FROM jobs INDEXED BY jobs_ready WHERE state = 0 AND queue = ?1 LIMIT ?2))
     + (SELECT count(*) FROM (SELECT 1 FROM jobs INDEXED BY jobs_due WHERE state = 1 AND queue = ?1 LIMIT ?2))
     + (SELECT count(*) FROM (SELECT 1 FROM jobs INDEXED BY jobs_parked_in WHERE state = -1 AND queue = ?1 LIMIT ?2))

-- :replaceable
-- The unfinished jobs of a limit that were not asked to stop, oldest first. Parameters: bound. Rows: seq.
SELECT r.job FROM replaceable r CROSS JOIN jobs j ON j.seq = r.job WHERE r.bound = ? AND j.cancelling = 0 ORDER BY r.job
