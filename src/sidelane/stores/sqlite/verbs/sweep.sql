-- sweep: expire leases, deadlines and listeners, and find the next times to do so.
-- Tables: meta, workers, jobs, specs, queues, schedules.

-- :times
-- One row: when the last sweep was, and before when no lease expires.
SELECT (SELECT value FROM meta WHERE name = 'last_sweep'), (SELECT value FROM meta WHERE name = 'no_expiry_before')

-- :set_time
-- Parameters: name, value.
INSERT INTO meta (name, value) VALUES (?1, ?2) ON CONFLICT DO UPDATE SET value = ?2

-- :clamp_workers
-- After the clock went back, nothing may last longer than its duration. Parameters: now.
UPDATE workers SET expires = min(expires, ?1 + lease_duration), heartbeat_expires = min(heartbeat_expires, ?1 + lease_duration)

-- :clamp_leases
-- Parameters: now, limit.
UPDATE jobs SET lease_expires = ?1 + lease_duration
 WHERE seq IN (
    SELECT seq FROM jobs INDEXED BY jobs_running WHERE state = 2 AND lease_expires > ?1 + lease_duration LIMIT ?2)

-- :clamp_delays
-- Parameters: now, limit.
UPDATE jobs SET due = ?1 + delay
 WHERE seq IN (SELECT seq FROM jobs INDEXED BY jobs_due WHERE state = 1 AND due > ?1 + delay LIMIT ?2)

-- :clamp_listeners
-- Parameters: now, limit.
UPDATE jobs SET abandon_at = ?1 + (SELECT abandon_after FROM specs s WHERE s.seq = jobs.seq)
 WHERE seq IN (SELECT j.seq FROM jobs j INDEXED BY jobs_abandon JOIN specs s ON s.seq = j.seq
                WHERE j.state < 3 AND j.abandon_at > ?1 + s.abandon_after LIMIT ?2)

-- :clamp_deadlines
-- Parameters: now, limit.
UPDATE jobs
   SET deadline_at = min(deadline_at, ?1 + s.deadline),
       expires_at = ?1 + min(CASE WHEN started IS NULL THEN coalesce(s.expires_in, s.deadline) ELSE s.deadline END,
                             coalesce(s.deadline, s.expires_in))
  FROM specs s
 WHERE s.seq = jobs.seq
   AND jobs.seq IN (SELECT j.seq FROM jobs j INDEXED BY jobs_expires JOIN specs p ON p.seq = j.seq
                     WHERE j.state < 2
                       AND j.expires_at > ?1 + min(CASE WHEN j.started IS NULL THEN coalesce(p.expires_in, p.deadline) ELSE p.deadline END,
                                                   coalesce(p.deadline, p.expires_in))
                     LIMIT ?2)

-- :dead_workers
-- Parameters: now. Rows: id, info.
SELECT id, info FROM workers WHERE expires <= ?

-- :reported_workers
-- Workers that another process has reported dead. Rows: id, info.
SELECT id, info FROM workers WHERE lease_duration = 0

-- :next_expiry
-- Rows: when the first worker expires, and the first lease of an external job.
SELECT min(expires) FROM workers
 UNION ALL
SELECT min(lease_expires) FROM jobs INDEXED BY jobs_external WHERE state = 2 AND worker IS NULL

-- :next_schedule
-- One row: when the first schedule is due.
SELECT min(next) FROM schedules WHERE enabled = 1

-- :jobs_of_worker
-- Parameters: worker, limit. Rows: seq.
SELECT seq FROM jobs WHERE state = 2 AND worker = ? ORDER BY seq LIMIT ?

-- :expired_leases
-- Expired leases whose worker is gone, or is alive and has not renewed them since. Parameters: now, limit. Rows: seq.
SELECT j.seq
  FROM jobs j INDEXED BY jobs_running LEFT JOIN workers w ON w.id = j.worker
 WHERE j.state = 2 AND j.worker IS NOT NULL AND j.lease_expires <= ?1 AND (w.id IS NULL OR w.heartbeat_expires > j.lease_expires)
 LIMIT ?2

-- :expired_external_jobs
-- Parameters: now, limit. Rows: seq.
SELECT seq FROM jobs INDEXED BY jobs_external WHERE state = 2 AND worker IS NULL AND lease_expires <= ? LIMIT ?

-- :expired_jobs
-- Parameters: now, limit. Rows: seq.
SELECT seq FROM jobs INDEXED BY jobs_expires WHERE state < 2 AND expires_at <= ? LIMIT ?

-- :abandoned_jobs
-- Parameters: now, limit. Rows: seq.
SELECT seq FROM jobs INDEXED BY jobs_abandon WHERE state < 3 AND abandon_at <= ? LIMIT ?

-- :clear_abandon
-- Parameters: seq.
UPDATE jobs SET abandon_at = NULL WHERE seq = ?

-- :queues
-- Rows: name.
SELECT name FROM queues
