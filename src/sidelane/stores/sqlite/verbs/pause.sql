-- pause: stop or resume handing out jobs of a queue.
-- Tables: queues.

-- :pause
-- Parameters: name, paused.
INSERT INTO queues (name, paused) VALUES (?1, ?2) ON CONFLICT DO UPDATE SET paused = ?2
