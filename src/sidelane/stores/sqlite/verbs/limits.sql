-- limits: what is taken of each limit, and who waits for it.
-- Tables: slots, rates, jobs, specs.

-- :slots
-- Rows: bound, how many slots are taken.
SELECT bound, count(*) FROM slots GROUP BY bound

-- :parked
-- Rows: bound, how many jobs are parked.
SELECT parked, count(*) FROM jobs INDEXED BY jobs_parked WHERE state = -1 GROUP BY parked

-- :rates
-- Rows: bound, most, window, burst, tat.
SELECT bound, most, window, burst, tat FROM rates

-- :newest
-- Parameters: bound. Row: the limits of the newest job that is in, or else waits: for it the limit is one of slots.
SELECT limits FROM specs WHERE seq = coalesce(
    (SELECT max(job) FROM slots WHERE bound = ?1),
    (SELECT max(seq) FROM jobs INDEXED BY jobs_parked WHERE state = -1 AND parked = ?1)
)
