-- Lines of ready jobs, one a user within a queue and priority; isolated jobs have lines of their own.
-- Tables: lines, turns, jobs.

-- :arrive
-- A job is ready. A line without ready jobs starts again, no earlier than the clock and its user's last finish.
-- Parameters: queue, isolated, priority, user, seq.
INSERT INTO lines (queue, isolated, priority, user, tag, head)
VALUES (?1, ?2, ?3, ?4, coalesce((SELECT clock FROM turns WHERE queue = ?1 AND isolated = ?2 AND priority = ?3), 0), ?5)
    ON CONFLICT DO UPDATE
   SET tag = CASE WHEN head IS NULL THEN max(tag, excluded.tag) ELSE tag END,
       head = min(coalesce(head, excluded.head), excluded.head)
 WHERE head IS NULL OR head > excluded.head

-- :move
-- Jobs left the head of a line: its tag is as given, its head the oldest ready job.
-- Parameters: queue, isolated, priority, user, tag (null: as it was).
UPDATE lines
   SET tag = coalesce(?5, tag),
       head = (SELECT j.seq FROM jobs j INDEXED BY jobs_ready
                WHERE j.state = 0 AND j.queue = ?1 AND j.isolated = ?2 AND j.priority = ?3 AND j.user = ?4
                ORDER BY j.seq LIMIT 1)
 WHERE queue = ?1 AND isolated = ?2 AND priority = ?3 AND user = ?4

-- :is_head
-- Parameters: queue, isolated, priority, user, seq.
SELECT 1 FROM lines WHERE queue = ? AND isolated = ? AND priority = ? AND user = ? AND head = ?

-- :priorities_below
-- Parameters: queue, isolated, priority (null: from the highest). One row: the next lower priority that has ready jobs.
SELECT max(priority) FROM lines
 WHERE queue = ?1 AND isolated = ?2 AND head IS NOT NULL AND priority < coalesce(?3, 9223372036854775807)

-- :in_turn
-- The next lines by start tag, then by the age of their heads. Parameters: queue, isolated, priority, tag, head, limit.
-- Rows: tag, head, user.
SELECT tag, head, user FROM lines
 WHERE queue = ?1 AND isolated = ?2 AND priority = ?3 AND head IS NOT NULL AND (tag, head) > (?4, ?5)
 ORDER BY tag, head LIMIT ?6

-- :waiting
-- The ready jobs of a line after one of them. Parameters: queue, isolated, priority, user, seq, limit.
-- Rows: seq, task, version, give_up, limited.
SELECT seq, task, version, give_up, limited FROM jobs INDEXED BY jobs_ready
 WHERE state = 0 AND queue = ? AND isolated = ? AND priority = ? AND user = ? AND seq > ?
 ORDER BY seq LIMIT ?

-- :clock
-- Parameters: queue, isolated, priority.
SELECT clock FROM turns WHERE queue = ? AND isolated = ? AND priority = ?

-- :set_clock
-- Parameters: queue, isolated, priority, clock.
INSERT INTO turns (queue, isolated, priority, clock) VALUES (?1, ?2, ?3, ?4) ON CONFLICT DO UPDATE SET clock = ?4

-- :busy
-- Parameters: queue, isolated, priority.
SELECT 1 FROM lines WHERE queue = ? AND isolated = ? AND priority = ? AND head IS NOT NULL LIMIT 1

-- :forget_idle
-- A user without ready jobs leaves no trace once the clock has come up to their last finish.
-- Parameters: queue, isolated, priority.
DELETE FROM lines
 WHERE queue = ?1 AND isolated = ?2 AND priority = ?3 AND head IS NULL
   AND tag <= coalesce((SELECT clock FROM turns WHERE queue = ?1 AND isolated = ?2 AND priority = ?3), 0)

-- :forget_lines
-- Parameters: queue, isolated, priority.
DELETE FROM lines WHERE queue = ? AND isolated = ? AND priority = ?

-- :forget_clock
-- Parameters: queue, isolated, priority.
DELETE FROM turns WHERE queue = ? AND isolated = ? AND priority = ?
