-- cancel, requeue, remove, pause, get_or_set.
-- Tables: jobs, results, specs, queues, kv.

-- :result
-- Parameters: seq. Row: result, problem.
SELECT result, problem FROM results WHERE seq = ?

-- :unique_holder
-- The unfinished job that has the unique key of this one. Parameters: seq. Row: id.
SELECT h.id FROM jobs j JOIN jobs h INDEXED BY jobs_unique ON h.user = j.user AND h.unique_key = j.unique_key
 WHERE j.seq = ? AND h.unique_key IS NOT NULL AND h.state < 3

-- :durations
-- Parameters: seq. Row: expires_in, deadline.
SELECT expires_in, deadline FROM specs WHERE seq = ?

-- :reset
-- The columns that `enqueue.return_to_queue` does not write. Parameters: deadline_at, seq.
UPDATE jobs SET ended = NULL, remove_at = NULL, started = NULL, deadline_at = ? WHERE seq = ?

-- :set_arguments
-- Parameters: arguments, seq.
UPDATE specs SET arguments = ? WHERE seq = ?

-- :removable
-- Parameters: id. Row as `retention.Removable`, of a finished job without unfinished children.
SELECT j.seq, j.id, j.last, j.follow_up_flags FROM jobs j
 WHERE j.id = ? AND j.state > 2 AND NOT EXISTS (SELECT 1 FROM jobs c WHERE c.parent = j.id AND c.state < 3)

-- :pause
-- Parameters: name, paused, now.
INSERT INTO queues (name, paused, paused_at) VALUES (?1, ?2, CASE WHEN ?2 THEN ?3 ELSE 0 END)
    ON CONFLICT DO UPDATE
   SET paused_at = CASE WHEN ?2 AND NOT paused THEN ?3 ELSE paused_at END,
       resumed = CASE WHEN paused AND NOT ?2 THEN ?3 ELSE resumed END, paused = ?2

-- :insert_value
-- Parameters: name, value.
INSERT OR IGNORE INTO kv (name, value) VALUES (?, ?)

-- :value
-- Parameters: name. Row: value.
SELECT value FROM kv WHERE name = ?
