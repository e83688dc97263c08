-- Limits: slots, rates, and which jobs may be replaced.
-- Tables: specs, slots, replaceable_jobs, rates.

-- :limits_of_job
-- Parameters: seq.
SELECT limits FROM specs WHERE seq = ?

-- :count_slots
-- Parameters: limit_id, maximum. One row: how many slots are taken, counted up to the maximum.
SELECT count(*) FROM (SELECT 1 FROM slots WHERE limit_id = ? LIMIT ?)

-- :acquire
-- Parameters: limit_id, job, while_running.
INSERT OR IGNORE INTO slots (limit_id, job, while_running) VALUES (?, ?, ?)

-- :release
-- Parameters: limit_id, job.
DELETE FROM slots WHERE limit_id = ? AND job = ?

-- :set_replaceable
-- Parameters: limit_id, job.
INSERT OR IGNORE INTO replaceable_jobs (limit_id, job) VALUES (?, ?)

-- :clear_replaceable
-- Parameters: limit_id, job.
DELETE FROM replaceable_jobs WHERE limit_id = ? AND job = ?

-- :tat
-- Parameters: limit_id.
SELECT tat FROM rates WHERE limit_id = ?

-- :save_rate
-- Parameters: limit_id, per_window, window, burst, tat, span, when one more job is allowed.
INSERT INTO rates (limit_id, per_window, window, burst, tat, span) VALUES (?1, ?2, ?3, ?4, ?5, ?6)
    ON CONFLICT DO UPDATE SET per_window = ?2, window = ?3, burst = ?4, tat = ?5, span = ?6, unblock_at = max(unblock_at, ?7)

-- :schedule_unblock
-- Parameters: unblock_at, limit_id.
UPDATE rates SET unblock_at = ? WHERE limit_id = ? AND unblock_at IS NULL

-- :clamp_rates
-- Rates that jobs wait for are due at once, and then wait as long as the numbers in force say. Parameters: now, limit.
UPDATE rates SET tat = min(tat, ?1 + span), unblock_at = min(unblock_at, ?1)
 WHERE limit_id IN (SELECT limit_id FROM rates WHERE tat > ?1 + span OR unblock_at > ?1 LIMIT ?2)

-- :prune_rates
-- Parameters: now, limit.
DELETE FROM rates
 WHERE limit_id IN (SELECT limit_id FROM rates INDEXED BY rates_tat WHERE tat <= ? AND unblock_at IS NULL LIMIT ?)
