-- How fast a queue moves.
-- Tables: queues.

-- :counted
-- Parameters: name. Row: starts, paced.
SELECT starts, paced FROM queues WHERE name = ?

-- :going
-- The same, unless the queue is paused. Parameters: name. Row: starts, paced.
SELECT starts, paced FROM queues WHERE name = ? AND paused = 0

-- :count
-- Parameters: name, starts, paced.
UPDATE queues SET starts = ?2, paced = ?3 WHERE name = ?1
