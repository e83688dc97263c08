-- The event log of a job.
-- Tables: jobs, results, events.

-- :insert_event
-- Parameters: job, number, epoch, at, name, data.
INSERT INTO events (job, number, epoch, at, name, data) VALUES (?, ?, ?, ?, ?, ?)

-- :set_position
-- Parameters: ordinal, logged, epoch, last, progress, log_space, first_event, last_event, seq.
UPDATE jobs
   SET ordinal = ?, logged = ?, epoch = ?, last = ?, progress = ?, log_space = ?, first_event = ?, last_event = ?
 WHERE seq = ?

-- :job
-- Parameters: id. Row: seq, state, epoch, last, ended, result, problem.
SELECT j.seq, j.state, j.epoch, j.last, j.ended, r.result, r.problem FROM jobs j LEFT JOIN results r ON r.seq = j.seq WHERE j.id = ?

-- :has_event
-- Parameters: job, number, epoch.
SELECT 1 FROM events WHERE job = ? AND number = ? AND epoch = ?

-- :events_after
-- Parameters: job, after, limit. Rows: number, epoch, at, name, data.
SELECT number, epoch, at, name, data FROM events WHERE job = ? AND number > ? ORDER BY number LIMIT ?

-- :events_before
-- Parameters: job, before, limit. Rows: number, epoch, at, name, data.
SELECT number, epoch, at, name, data FROM events WHERE job = ? AND number < ? ORDER BY number DESC LIMIT ?
