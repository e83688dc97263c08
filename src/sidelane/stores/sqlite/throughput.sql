-- Throughput of a queue.
-- Tables: queues.

-- :starts
-- Parameters: name. Row: starts, counted_at.
SELECT starts, counted_at FROM queues WHERE name = ?

-- :starts_unless_paused
-- Parameters: name. Row: starts, counted_at.
SELECT starts, counted_at FROM queues WHERE name = ? AND paused = 0

-- :set_starts
-- Parameters: name, starts, counted_at.
UPDATE queues SET starts = ?2, counted_at = ?3 WHERE name = ?1
