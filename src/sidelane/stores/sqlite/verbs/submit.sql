-- submit: look for jobs that are there already. New ones are written by `arrivals`.
-- Tables: jobs, gone.

-- :by_unique
-- Parameters: user, unique. Row: id.
SELECT id FROM jobs WHERE user = ? AND unique_key = ? AND unique_key IS NOT NULL AND state < 3

-- :exists
-- Parameters: id.
SELECT 1 FROM jobs WHERE id = ?

-- :gone
-- Parameters: id.
SELECT 1 FROM gone WHERE id = ?
