-- read: the log of a job.
-- Tables: jobs, ends, events.

-- :job
-- Parameters: id. Row: seq, state, epoch, last, ended, result, problem.
SELECT j.seq, j.state, j.epoch, j.last, j.ended, e.result, e.problem FROM jobs j LEFT JOIN ends e ON e.seq = j.seq WHERE j.id = ?

-- :reached
-- Parameters: job, number, epoch.
SELECT 1 FROM events WHERE job = ? AND number = ? AND epoch = ?

-- :events
-- Parameters: job, after, limit. Rows: number, epoch, at, name, data.
SELECT number, epoch, at, name, data FROM events WHERE job = ? AND number > ? ORDER BY number LIMIT ?
