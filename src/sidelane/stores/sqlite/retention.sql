-- Forgetting what was kept long enough.
-- Tables: jobs, specs, ends, failures, events, scraps, gone, meta.

-- :removable
-- Finished jobs whose time has passed and that have no unfinished children. Parameters: now, limit. Rows as `retention.Removable`.
SELECT j.seq, j.id, j.last, j.follows FROM jobs j INDEXED BY jobs_forget
 WHERE j.state > 2 AND j.forget_at <= ?
   AND NOT EXISTS (SELECT 1 FROM jobs c WHERE c.parent = j.id AND c.state < 3)
 ORDER BY j.forget_at LIMIT ?

-- :keep_sequence
-- A sequence is never used twice, though its job is gone.
INSERT INTO meta (name, value) SELECT 'sequence', max(seq) FROM jobs WHERE true
    ON CONFLICT DO UPDATE SET value = max(value, excluded.value)

-- :bury
-- Parameters: seq, now.
-- An id that was used before is remembered no shorter for it.
INSERT INTO gone (id, user, until)
SELECT j.id, j.user, ?2 + max(j.keep, s.remember) FROM jobs j JOIN specs s ON s.seq = j.seq WHERE j.seq = ?1
    ON CONFLICT DO UPDATE SET user = excluded.user, until = max(until, excluded.until)

-- :forget_events
-- Parameters: seq.
DELETE FROM events WHERE job = ?

-- :leave_events
-- Parameters: seq.
INSERT INTO scraps (job) VALUES (?)

-- :forget_failures
-- Parameters: seq.
DELETE FROM failures WHERE job = ?

-- :forget_end
-- Parameters: seq.
DELETE FROM ends WHERE seq = ?

-- :forget_spec
-- Parameters: seq.
DELETE FROM specs WHERE seq = ?

-- :forget_job
-- Parameters: seq.
DELETE FROM jobs WHERE seq = ?

-- :scrap
-- Row: job.
SELECT job FROM scraps LIMIT 1

-- :forget_scraps
-- Parameters: job, limit.
DELETE FROM events WHERE job = ?1 AND number IN (SELECT number FROM events WHERE job = ?1 ORDER BY number LIMIT ?2)

-- :scrap_is_gone
-- Parameters: job.
DELETE FROM scraps WHERE job = ?

-- :forget_gone
-- Parameters: now, limit.
DELETE FROM gone WHERE id IN (SELECT id FROM gone WHERE until <= ? LIMIT ?)
