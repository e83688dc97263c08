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

-- :replaced
-- The oldest unfinished jobs of a limit that were not asked to stop, as many as are too many beside a new one.
-- Parameters: bound, most of the limit, limit. Rows: seq.
SELECT job FROM replaceable WHERE bound = ?1
 ORDER BY job LIMIT min(?3, max(0, (SELECT count(*) FROM replaceable WHERE bound = ?1) - ?2 + 1))
