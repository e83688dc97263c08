-- history, totals, top_users.
-- Tables: history_series, history_open, history_cells, history_users.

-- :cells
-- Parameters: step, first, end. Rows: at, series, counts.
SELECT at, series, counts FROM history_cells WHERE step = ? AND at >= ? AND at < ?

-- :open_cells
-- Parameters: first, end. Rows: at, series, counts.
SELECT at, series, counts FROM history_open WHERE at >= ? AND at < ?

-- :all_series
-- Rows: id, queue, task, release.
SELECT id, queue, task, release FROM history_series ORDER BY queue, task, release

-- :user_hours
-- Parameters: first, end. Rows: at.
SELECT DISTINCT at FROM history_users WHERE at >= ? AND at < ?

-- :top_users
-- Parameters: at, amount, how many. Rows: user.
SELECT user FROM history_users WHERE at = ? AND amount = ? ORDER BY total DESC, user LIMIT ?

-- :user_total
-- Parameters: at, amount, user. Row: total.
SELECT total FROM history_users WHERE at = ? AND amount = ? AND user = ?
