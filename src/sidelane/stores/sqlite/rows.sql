-- Reading jobs.
-- Tables: jobs, specs, results, events, failures.

-- :record
-- Rows in the order that `rows.record` unpacks. A condition on j is appended.
SELECT j.id, j.task, j.version, s.arguments, j.queue, j.user, j.priority, j.key, j.unique_key, s.labels, s.delay, s.run_at,
       s.expires_in, s.deadline, s.max_worker_losses, s.isolable, j.retention, s.abandon_after, j.parent, s.trace, s.follow_ups,
       s.limits, s.max_queued, j.batch, j.cascade, s.placeholders, s.id_retention, s.max_log_size,
       j.seq, j.state, j.attempt, j.failures, j.worker_losses, j.isolated, j.ends, j.submitted, j.due, j.started, j.ended,
       j.cancel_requested, j.blocked_by, j.worker, j.nonce, j.last, p.data, r.result, r.problem, j.ordinal,
       j.first_event, j.last_event, j.transitions, j.release, j.input_tokens, j.output_tokens, j.cost_micros,
       j.deadline_at, j.blocked_at, j.series
  FROM jobs j
  JOIN specs s ON s.seq = j.seq
  LEFT JOIN results r ON r.seq = j.seq
  LEFT JOIN events p ON p.job = j.seq AND p.number = j.progress

-- :row
-- Rows in the order of `rows.Row`. A condition is appended.
SELECT seq, id, queue, priority, user, batch, state, attempt, failures, worker_losses, isolated, ends, expires_at, deadline_at,
       follow_up_flags, limit_flags, CASE WHEN limit_flags THEN (SELECT limits FROM specs WHERE specs.seq = jobs.seq) END, blocked_by,
       cancel_requested, worker, nonce, finished_nonce, ordinal, logged, epoch, last, progress, log_space, ended,
       started, series, first_event, last_event, release, blocked_at
  FROM jobs

-- :history
-- Parameters: seq.
SELECT problem, error, traceback, attempt, at FROM failures WHERE job = ? ORDER BY position
