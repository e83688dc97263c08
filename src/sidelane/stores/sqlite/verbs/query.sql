-- get, queue_position, stats, limits. `list_jobs` and `waiting_jobs` build their statements from `rows.record`.
-- Tables: tombstones, jobs, user_queues, queues, slots, rates, specs.

-- :tombstone
-- Parameters: id. Row: user.
SELECT user FROM tombstones WHERE id = ?

-- :sequences
-- The begin of a search; the conditions of an index are appended. Rows: seq.
SELECT j.seq FROM jobs j

-- :ready_job
-- Parameters: id. Row: queue, isolated, priority, seq of a ready job.
SELECT queue, isolated, priority, seq FROM jobs WHERE id = ? AND state = 0

-- :count_higher
-- Ready jobs of higher priority. Parameters: queue, isolated, priority, limit.
SELECT count(*) FROM (
    SELECT 1 FROM jobs INDEXED BY jobs_ready WHERE state = 0 AND queue = ? AND isolated = ? AND priority > ? LIMIT ?
)

-- :count_older
-- Older ready jobs of the same priority, per user queue, so that newer jobs are not read.
-- Parameters: queue, isolated, priority, seq, limit.
SELECT count(*) FROM (
    SELECT 1 FROM user_queues u CROSS JOIN jobs j INDEXED BY jobs_ready
        ON j.state = 0 AND j.queue = u.queue AND j.isolated = u.isolated AND j.priority = u.priority AND j.user = u.user AND j.seq < ?4
     WHERE u.queue = ?1 AND u.isolated = ?2 AND u.priority = ?3 AND u.head IS NOT NULL LIMIT ?5
)

-- :stats
-- The oldest ready job of a queue is the head of a user queue.
-- Rows: name, paused, ready, delayed, blocked, paused jobs, running, since when the oldest is ready, starts, counted_at, how many
-- isolated ones are ready, when the queue was resumed last.
SELECT q.name, q.paused,
       (SELECT count(*) FROM jobs INDEXED BY jobs_ready WHERE state = 0 AND queue = q.name),
       (SELECT count(*) FROM jobs INDEXED BY jobs_due WHERE state = 1 AND queue = q.name),
       (SELECT count(*) FROM jobs INDEXED BY jobs_blocked_in_queue WHERE state = -1 AND queue = q.name),
       (SELECT count(*) FROM jobs INDEXED BY jobs_paused_in_queue WHERE state = -2 AND queue = q.name),
       coalesce(r.running, 0),
       (SELECT min(j.due) FROM user_queues u JOIN jobs j ON j.seq = u.head WHERE u.queue = q.name AND u.head IS NOT NULL),
       q.starts, q.counted_at,
       (SELECT count(*) FROM jobs INDEXED BY jobs_isolated WHERE state = 0 AND isolated = 1 AND queue = q.name), q.resumed
  FROM queues q
  LEFT JOIN (SELECT queue, count(*) AS running FROM jobs INDEXED BY jobs_running WHERE state = 2 GROUP BY queue) r
    ON r.queue = q.name
 ORDER BY q.name

-- :first_in_line
-- The users who are next. Parameters: queue, limit. Rows: user, since when the first job is the first, and is ready, its task and version.
SELECT u.user, u.since, j.due, j.task, j.version
  FROM user_queues u INDEXED BY user_queues_order CROSS JOIN jobs j ON j.seq = u.head
 WHERE u.queue = ? AND u.isolated = 0 AND u.head IS NOT NULL
 ORDER BY u.priority DESC, u.start_tag, u.head LIMIT ?

-- :running_by_user
-- Rows: queue, user, how many of the user's jobs run.
SELECT queue, user, count(*) FROM jobs INDEXED BY jobs_running WHERE state = 2 AND user <> '' GROUP BY queue, user

-- :used_slots
-- Rows: limit_id, how many slots are taken.
SELECT limit_id, count(*) FROM slots GROUP BY limit_id

-- :blocked_jobs
-- Rows: limit_id, how many jobs wait for it.
SELECT blocked_by, count(*) FROM jobs INDEXED BY jobs_blocked WHERE state = -1 GROUP BY blocked_by

-- :rates
-- Rows: limit_id, per_window, window, burst, tat.
SELECT limit_id, per_window, window, burst, tat FROM rates

-- :newest_limits
-- Parameters: limit_id. Row: the limits of the newest job that has a slot of a concurrency limit, or else waits for one.
SELECT limits FROM specs WHERE seq = coalesce(
    (SELECT max(job) FROM slots WHERE limit_id = ?1),
    (SELECT max(seq) FROM jobs INDEXED BY jobs_blocked WHERE state = -1 AND blocked_by = ?1)
)
