-- Removal of jobs.
-- Tables: jobs, specs, results, failures, events, orphaned_logs, tombstones, meta.

-- :removable
-- Finished jobs whose retention has passed and that have no unfinished children.
-- Parameters: now, limit. Rows as `retention.Removable`.
SELECT j.seq, j.id, j.last, j.follow_up_flags FROM jobs j INDEXED BY jobs_remove
 WHERE j.state > 2 AND j.remove_at <= ?
   AND NOT EXISTS (SELECT 1 FROM jobs c WHERE c.parent = j.id AND c.state < 3)
 ORDER BY j.remove_at LIMIT ?

-- :save_max_seq
-- A sequence number is not used again after its job is removed.
INSERT INTO meta (name, value) SELECT 'max_seq', max(seq) FROM jobs WHERE true
    ON CONFLICT DO UPDATE SET value = max(value, excluded.value)

-- :insert_tombstone
-- If the id has been used before, the later expiry counts. Parameters: seq, now.
INSERT INTO tombstones (id, user, expires_at)
SELECT j.id, j.user, ?2 + max(j.retention, s.id_retention) FROM jobs j JOIN specs s ON s.seq = j.seq WHERE j.seq = ?1
    ON CONFLICT DO UPDATE SET user = excluded.user, expires_at = max(expires_at, excluded.expires_at)

-- :delete_events
-- Parameters: seq.
DELETE FROM events WHERE job = ?

-- :orphan_log
-- Parameters: seq.
INSERT INTO orphaned_logs (job) VALUES (?)

-- :delete_failures
-- Parameters: seq.
DELETE FROM failures WHERE job = ?

-- :delete_result
-- Parameters: seq.
DELETE FROM results WHERE seq = ?

-- :delete_spec
-- Parameters: seq.
DELETE FROM specs WHERE seq = ?

-- :delete_job
-- Parameters: seq.
DELETE FROM jobs WHERE seq = ?

-- :next_orphaned_log
-- Row: job.
SELECT job FROM orphaned_logs LIMIT 1

-- :delete_first_events
-- Parameters: job, limit.
DELETE FROM events WHERE job = ?1 AND number IN (SELECT number FROM events WHERE job = ?1 ORDER BY number LIMIT ?2)

-- :delete_orphaned_log
-- Parameters: job.
DELETE FROM orphaned_logs WHERE job = ?

-- :delete_tombstones
-- Parameters: now, limit.
DELETE FROM tombstones WHERE id IN (SELECT id FROM tombstones WHERE expires_at <= ? LIMIT ?)
