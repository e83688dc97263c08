-- Reading jobs.
-- Tables: jobs, specs, ends, events, failures.

-- :record
-- Rows in the order `records.record` unpacks; a condition on j is appended.
SELECT j.id, j.task, j.version, s.arguments, j.queue, j.user, j.priority, j.key, j.unique_key, s.labels, s.delay, s.run_at,
       s.start_within, s.deadline, s.losses, s.isolable, j.keep, s.abandon_after, j.parent, s.trace, s.follow_ups,
       s.limits, s.max_queued, j.batch, j.cascade, s.given, s.remember,
       j.seq, j.state, j.attempt, j.failures, j.losses, j.isolated, j.ends, j.submitted, j.due, j.started, j.ended, j.cancelling,
       j.parked, j.worker, j.nonce, j.last, p.data, e.result, e.problem, j.ordinal
  FROM jobs j
  JOIN specs s ON s.seq = j.seq
  LEFT JOIN ends e ON e.seq = j.seq
  LEFT JOIN events p ON p.job = j.seq AND p.number = j.progress

-- :row
-- Rows in the order of `records.Row`; a condition is appended.
SELECT seq, id, queue, priority, user, batch, state, due, attempt, failures, losses, isolated, ends, give_up, deadline_at, keep, follows,
       limited, CASE WHEN limited THEN (SELECT limits FROM specs WHERE specs.seq = jobs.seq) END, parked, cancelling, worker, nonce, settled, ordinal, epoch, last, progress, ended
  FROM jobs

-- :history
-- Parameters: seq.
SELECT problem, error, traceback, attempt, at FROM failures WHERE job = ? ORDER BY place
