-- stats: every queue at a glance.
-- Tables: queues, jobs, lines.

-- :stats
-- The oldest ready job of a queue is at the head of a line. No parameters.
-- Rows: name, paused, ready, delayed, parked, running, since when the oldest is ready, starts, paced.
SELECT q.name, q.paused,
       (SELECT count(*) FROM jobs INDEXED BY jobs_ready WHERE state = 0 AND queue = q.name),
       (SELECT count(*) FROM jobs INDEXED BY jobs_due WHERE state = 1 AND queue = q.name),
       (SELECT count(*) FROM jobs INDEXED BY jobs_parked_in WHERE state = -1 AND queue = q.name),
       coalesce(r.running, 0),
       (SELECT min(j.due) FROM lines l JOIN jobs j ON j.seq = l.head WHERE l.queue = q.name AND l.head IS NOT NULL),
       q.starts, q.paced
  FROM queues q
  LEFT JOIN (SELECT queue, count(*) AS running FROM jobs INDEXED BY jobs_running WHERE state = 2 GROUP BY queue) r
    ON r.queue = q.name
 ORDER BY q.name
