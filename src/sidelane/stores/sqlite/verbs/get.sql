-- get: look jobs up. The records are read by `records`.
-- Tables: gone.

-- :gone
-- Parameters: id. Row: user.
SELECT user FROM gone WHERE id = ?
