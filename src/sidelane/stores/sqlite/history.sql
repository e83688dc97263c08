-- History: counting, and rolling up cells.
-- Tables: history_series, history_open, history_cells, history_users, meta.

-- :series
-- Parameters: queue, task, release. Row: id, and when it was counted last.
SELECT id, seen FROM history_series WHERE queue = ? AND task = ? AND release = ?

-- :count_series
-- How many series were counted since a time. Parameters: time.
SELECT count(*) FROM history_series INDEXED BY history_series_seen WHERE seen >= ?

-- :insert_series
-- Parameters: queue, task, release, seen. Row: id.
INSERT INTO history_series (queue, task, release, seen) VALUES (?, ?, ?, ?) RETURNING id

-- :set_seen
-- Parameters: id, seen.
UPDATE history_series SET seen = max(seen, ?2) WHERE id = ?1

-- :unseen_series
-- Series that were not counted since a time. Parameters: time. Rows: id, queue, task, release.
SELECT id, queue, task, release FROM history_series INDEXED BY history_series_seen WHERE seen < ?

-- :delete_series
-- Parameters: id.
DELETE FROM history_series WHERE id = ?

-- :open_cell
-- Parameters: at, series. Row: counts.
SELECT counts FROM history_open WHERE at = ? AND series = ?

-- :set_open_cell
-- Parameters: at, series, counts.
INSERT INTO history_open (at, series, counts) VALUES (?, ?, ?) ON CONFLICT DO UPDATE SET counts = excluded.counts

-- :closed_cells
-- Open cells of other minutes than this one. Parameters: at, limit. Rows: at, series, counts, whether the series was removed, although a
-- job that was submitted long ago still has it.
SELECT o.at, o.series, o.counts, s.id IS NULL
  FROM history_open o LEFT JOIN history_series s ON s.id = o.series
 WHERE o.at < ?1 OR o.at > ?1 LIMIT ?2

-- :delete_open_cell
-- Parameters: at, series.
DELETE FROM history_open WHERE at = ? AND series = ?

-- :cell
-- Parameters: step, at, series. Row: counts.
SELECT counts FROM history_cells WHERE step = ? AND at = ? AND series = ?

-- :set_cell
-- Parameters: step, at, series, counts.
INSERT INTO history_cells (step, at, series, counts) VALUES (?, ?, ?, ?) ON CONFLICT DO UPDATE SET counts = excluded.counts

-- :delete_cell
-- Parameters: step, at, series.
DELETE FROM history_cells WHERE step = ? AND at = ? AND series = ?

-- :prune_cells
-- Parameters: step, at. Cells of the step that begin before that time.
DELETE FROM history_cells WHERE step = ? AND at < ?

-- :mark
-- When a step was taken last. Parameters: name. Row: time.
SELECT value FROM meta WHERE name = ?

-- :set_mark
-- Parameters: name, time.
INSERT INTO meta (name, value) VALUES (?1, ?2) ON CONFLICT DO UPDATE SET value = ?2

-- :add_user
-- Parameters: at, amount, user, total.
INSERT INTO history_users (at, amount, user, total) VALUES (?1, ?2, ?3, ?4) ON CONFLICT DO UPDATE SET total = total + ?4

-- :has_many_users
-- Parameters: at, amount, maximum. Row: 1, if there are more users.
SELECT 1 FROM history_users WHERE at = ? AND amount = ? LIMIT 1 OFFSET ?

-- :keep_top_users
-- Parameters: at, amount, how many.
DELETE FROM history_users
 WHERE at = ?1 AND amount = ?2
   AND user NOT IN (SELECT user FROM history_users WHERE at = ?1 AND amount = ?2 ORDER BY total DESC, user LIMIT ?3)

-- :user_hours
-- Parameters: first, end. Rows: at.
SELECT DISTINCT at FROM history_users WHERE at >= ? AND at < ?

-- :prune_users
-- Parameters: at.
DELETE FROM history_users WHERE at < ?
