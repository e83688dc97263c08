-- Fair queuing of ready jobs: one user queue per user, queue, priority and isolation.
-- Tables: user_queues, virtual_clocks, jobs.

-- :push
-- A job is ready. A user queue without ready jobs restarts no earlier than the virtual clock and its user's last finish tag.
-- Parameters: queue, isolated, priority, user, seq, now.
INSERT INTO user_queues (queue, isolated, priority, user, start_tag, head, since)
VALUES (?1, ?2, ?3, ?4, coalesce((SELECT clock FROM virtual_clocks WHERE queue = ?1 AND isolated = ?2 AND priority = ?3), 0), ?5, ?6)
    ON CONFLICT DO UPDATE
   SET start_tag = CASE WHEN head IS NULL THEN max(start_tag, excluded.start_tag) ELSE start_tag END,
       head = min(coalesce(head, excluded.head), excluded.head),
       since = excluded.since
 WHERE head IS NULL OR head > excluded.head

-- :update_head
-- Jobs left the head of a user queue: its head is the oldest ready job now.
-- Parameters: queue, isolated, priority, user, start_tag (null: unchanged), now.
UPDATE user_queues
   SET start_tag = coalesce(?5, start_tag),
       since = CASE WHEN head IS oldest.seq THEN since ELSE ?6 END,
       head = oldest.seq
  FROM (SELECT (SELECT j.seq FROM jobs j INDEXED BY jobs_ready
                 WHERE j.state = 0 AND j.queue = ?1 AND j.isolated = ?2 AND j.priority = ?3 AND j.user = ?4
                 ORDER BY j.seq LIMIT 1) AS seq) oldest
 WHERE queue = ?1 AND isolated = ?2 AND priority = ?3 AND user = ?4

-- :is_head
-- Parameters: queue, isolated, priority, user, seq.
SELECT 1 FROM user_queues WHERE queue = ? AND isolated = ? AND priority = ? AND user = ? AND head = ?

-- :next_priority
-- Parameters: queue, isolated, priority (null: start from the highest). One row: the next lower priority that has ready jobs.
SELECT max(priority) FROM user_queues
 WHERE queue = ?1 AND isolated = ?2 AND head IS NOT NULL AND priority < coalesce(?3, 9223372036854775807)

-- :in_order
-- The next user queues by start tag, then by the age of their heads.
-- Parameters: queue, isolated, priority, start_tag, head, limit. Rows: start_tag, head, user.
SELECT start_tag, head, user FROM user_queues
 WHERE queue = ?1 AND isolated = ?2 AND priority = ?3 AND head IS NOT NULL AND (start_tag, head) > (?4, ?5)
 ORDER BY start_tag, head LIMIT ?6

-- :ready_jobs
-- The ready jobs of a user queue after one of them. Parameters: queue, isolated, priority, user, seq, limit.
-- Rows: seq, task, version, expires_at, limit_flags.
SELECT seq, task, version, expires_at, limit_flags FROM jobs INDEXED BY jobs_ready
 WHERE state = 0 AND queue = ? AND isolated = ? AND priority = ? AND user = ? AND seq > ?
 ORDER BY seq LIMIT ?

-- :clock
-- Parameters: queue, isolated, priority.
SELECT clock FROM virtual_clocks WHERE queue = ? AND isolated = ? AND priority = ?

-- :set_clock
-- Parameters: queue, isolated, priority, clock.
INSERT INTO virtual_clocks (queue, isolated, priority, clock) VALUES (?1, ?2, ?3, ?4) ON CONFLICT DO UPDATE SET clock = ?4

-- :has_ready_jobs
-- Parameters: queue, isolated, priority.
SELECT 1 FROM user_queues WHERE queue = ? AND isolated = ? AND priority = ? AND head IS NOT NULL LIMIT 1

-- :delete_idle
-- A user queue without ready jobs is of no effect once the clock has reached its user's last finish tag.
-- Parameters: queue, isolated, priority.
DELETE FROM user_queues
 WHERE queue = ?1 AND isolated = ?2 AND priority = ?3 AND head IS NULL
   AND start_tag <= coalesce((SELECT clock FROM virtual_clocks WHERE queue = ?1 AND isolated = ?2 AND priority = ?3), 0)

-- :delete_user_queues
-- Parameters: queue, isolated, priority.
DELETE FROM user_queues WHERE queue = ? AND isolated = ? AND priority = ?

-- :delete_clock
-- Parameters: queue, isolated, priority.
DELETE FROM virtual_clocks WHERE queue = ? AND isolated = ? AND priority = ?
