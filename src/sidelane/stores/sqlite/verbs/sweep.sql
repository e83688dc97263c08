-- sweep: do what time asks for.
-- Tables: meta, workers, marks, jobs, specs, queues, schedules.

-- :times
-- One row: the sweep mark, and until when no lease is swept.
SELECT (SELECT value FROM meta WHERE name = 'swept'), (SELECT value FROM meta WHERE name = 'patient')

-- :set_time
-- Parameters: name, value.
INSERT INTO meta (name, value) VALUES (?1, ?2) ON CONFLICT DO UPDATE SET value = ?2

-- :clamp_workers
-- After the clock has stepped back nothing lasts longer than its own duration. Parameters: now.
UPDATE workers SET expires = min(expires, ?1 + lease), beaten = min(beaten, ?1 + lease)

-- :clamp_leases
-- Parameters: now, limit.
UPDATE jobs SET expires = ?1 + lease
 WHERE seq IN (SELECT seq FROM jobs INDEXED BY jobs_running WHERE state = 2 AND expires > ?1 + lease LIMIT ?2)

-- :clamp_delays
-- Parameters: now, limit.
UPDATE jobs SET due = ?1 + wait
 WHERE seq IN (SELECT seq FROM jobs INDEXED BY jobs_due WHERE state = 1 AND due > ?1 + wait LIMIT ?2)

-- :clamp_listeners
-- Parameters: now, limit.
UPDATE jobs SET abandon_at = ?1 + (SELECT abandon_after FROM specs s WHERE s.seq = jobs.seq)
 WHERE seq IN (SELECT j.seq FROM jobs j INDEXED BY jobs_abandon JOIN specs s ON s.seq = j.seq
                WHERE j.state < 3 AND j.abandon_at > ?1 + s.abandon_after LIMIT ?2)

-- :clamp_deadlines
-- Parameters: now, limit.
UPDATE jobs
   SET deadline_at = min(deadline_at, ?1 + s.deadline),
       give_up = ?1 + min(CASE WHEN started IS NULL THEN coalesce(s.start_within, s.deadline) ELSE s.deadline END,
                          coalesce(s.deadline, s.start_within))
  FROM specs s
 WHERE s.seq = jobs.seq
   AND jobs.seq IN (SELECT j.seq FROM jobs j INDEXED BY jobs_give_up JOIN specs p ON p.seq = j.seq
                     WHERE j.state < 2
                       AND j.give_up > ?1 + min(CASE WHEN j.started IS NULL THEN coalesce(p.start_within, p.deadline) ELSE p.deadline END,
                                                coalesce(p.deadline, p.start_within))
                     LIMIT ?2)

-- :dead
-- Parameters: now. Rows: id.
SELECT id FROM workers WHERE expires <= ?

-- :next_dead
-- Rows: when the leases of the first worker end, and the first that is handed over.
SELECT min(expires) FROM workers
 UNION ALL
SELECT min(expires) FROM jobs INDEXED BY jobs_outside WHERE state = 2 AND worker IS NULL

-- :next_firing
-- One row: when the first schedule is to fire.
SELECT min(next) FROM schedules WHERE enabled = 1

-- :forget_worker
-- Parameters: id.
DELETE FROM workers WHERE id = ?

-- :forget_mark
-- Parameters: topic.
DELETE FROM marks WHERE topic = ?

-- :leases
-- Parameters: worker, limit. Rows: seq.
SELECT seq FROM jobs WHERE state = 2 AND worker = ? ORDER BY seq LIMIT ?

-- :left_behind
-- Expired leases whose worker is not there any more, or lives and has not named them since. Parameters: now, limit.
-- Rows: seq.
SELECT j.seq
  FROM jobs j INDEXED BY jobs_running LEFT JOIN workers w ON w.id = j.worker
 WHERE j.state = 2 AND j.worker IS NOT NULL AND j.expires <= ?1 AND (w.id IS NULL OR w.beaten > j.expires)
 LIMIT ?2

-- :unanswered
-- Expired leases that are handed over. Parameters: now, limit. Rows: seq.
SELECT seq FROM jobs INDEXED BY jobs_outside WHERE state = 2 AND worker IS NULL AND expires <= ? LIMIT ?

-- :late
-- Parameters: now, limit. Rows: seq.
SELECT seq FROM jobs INDEXED BY jobs_give_up WHERE state < 2 AND give_up <= ? LIMIT ?

-- :abandoned
-- Parameters: now, limit. Rows: seq.
SELECT seq FROM jobs INDEXED BY jobs_abandon WHERE state < 3 AND abandon_at <= ? LIMIT ?

-- :no_listener
-- Parameters: seq.
UPDATE jobs SET abandon_at = NULL WHERE seq = ?

-- :queues
-- Rows: name.
SELECT name FROM queues
