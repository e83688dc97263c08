-- info.
-- Tables: jobs.

-- :jobs
-- Row: how many jobs there are, and how many of them have failed.
SELECT (SELECT count(*) FROM jobs), (SELECT count(*) FROM jobs INDEXED BY jobs_failed WHERE state = 4)
