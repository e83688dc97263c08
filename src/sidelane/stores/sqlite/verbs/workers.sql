-- workers: those that are alive.
-- Tables: workers.

-- :alive
-- Parameters: now. Rows: info.
SELECT info FROM workers WHERE expires > ? AND info IS NOT NULL ORDER BY id
