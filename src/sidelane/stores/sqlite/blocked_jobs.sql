-- Parking: jobs that wait for room at a limit.
-- Tables: jobs, queues, rates.

-- :woken_from
-- Parameters: seq. Row: the limit that the job was woken from, or is parked at.
SELECT parked FROM jobs WHERE seq = ?

-- :park
-- Parameters: seq, bound. Row: id, queue, isolated, priority, user.
UPDATE jobs SET state = -1, parked = ?2, wait = NULL WHERE seq = ?1 RETURNING id, queue, isolated, priority, user

-- :awaited
-- Parameters: bound. Row: the same, if any job is parked there.
SELECT parked FROM jobs INDEXED BY jobs_parked WHERE state = -1 AND parked = ? LIMIT 1

-- :first
-- Parameters: bound. Row: seq.
SELECT seq FROM jobs INDEXED BY jobs_parked WHERE state = -1 AND parked = ? ORDER BY priority DESC, seq LIMIT 1

-- :in_order
-- Parameters: bound, limit. Rows: seq, id, queue, isolated, priority, user, whether the queue is paused.
SELECT seq, id, queue, isolated, priority, user, (SELECT q.paused FROM queues q WHERE q.name = jobs.queue)
  FROM jobs INDEXED BY jobs_parked
 WHERE state = -1 AND parked = ? ORDER BY priority DESC, seq LIMIT ?

-- :woken
-- Parameters: bound, most. One row: how many jobs were woken from a limit and have not started, up to most.
SELECT count(*) FROM (SELECT 1 FROM jobs INDEXED BY jobs_woken WHERE state = 0 AND parked = ? LIMIT ?)

-- :wake
-- Parameters: seq.
UPDATE jobs SET state = 0 WHERE seq = ?

-- :passed_by
-- Limits with jobs that were woken and others that are parked: from one limit to the next, whose jobs may be many. Parameters: limit.
-- Rows: bound.
WITH RECURSIVE woken (bound) AS (
    SELECT (SELECT min(parked) FROM jobs INDEXED BY jobs_woken WHERE state = 0 AND parked IS NOT NULL)
     UNION ALL
    SELECT (SELECT min(parked) FROM jobs INDEXED BY jobs_woken WHERE state = 0 AND parked > last.bound)
      FROM woken last WHERE last.bound IS NOT NULL
)
SELECT bound FROM woken
 WHERE bound IS NOT NULL
   AND (SELECT 1 FROM jobs INDEXED BY jobs_parked WHERE state = -1 AND parked = bound LIMIT 1) IS NOT NULL
 LIMIT ?

-- :next_wake
-- Parameters: queue. Row: when the first of the rates wakes a job that have any parked in this queue. Where so many others come
-- first that it would take long to find, it is when the last of those does.
WITH first AS MATERIALIZED (SELECT bound, wake FROM rates INDEXED BY rates_wake WHERE wake IS NOT NULL ORDER BY wake LIMIT 100)
SELECT coalesce(
           (SELECT min(f.wake) FROM first f WHERE EXISTS (
                SELECT 1 FROM jobs j INDEXED BY jobs_parked_in WHERE j.state = -1 AND j.queue = ?1 AND j.parked = f.bound)),
           (SELECT wake FROM first ORDER BY wake LIMIT 1 OFFSET 99))
 WHERE EXISTS (SELECT 1 FROM jobs q INDEXED BY jobs_parked_in WHERE q.state = -1 AND q.queue = ?1)

-- :rates_due
-- Parameters: now, limit. Rows: bound, most, window, burst.
SELECT bound, most, window, burst FROM rates INDEXED BY rates_wake WHERE wake IS NOT NULL AND wake <= ? ORDER BY wake LIMIT ?

-- :set_wake
-- Parameters: wake, bound.
UPDATE rates SET wake = ? WHERE bound = ?
