-- position: how many ready jobs stand before one. Isolated jobs and the others have lines of their own.
-- Tables: jobs, lines.

-- :place
-- Parameters: id. Row: queue, isolated, priority, seq of a ready job.
SELECT queue, isolated, priority, seq FROM jobs WHERE id = ? AND state = 0

-- :above
-- Ready jobs of higher priority. Parameters: queue, isolated, priority, limit.
SELECT count(*) FROM (
    SELECT 1 FROM jobs INDEXED BY jobs_ready WHERE state = 0 AND queue = ? AND isolated = ? AND priority > ? LIMIT ?
)

-- :older
-- Older ready jobs of the same priority, user by user: nobody's younger jobs are looked at.
-- Parameters: queue, isolated, priority, seq, limit.
SELECT count(*) FROM (
    SELECT 1 FROM lines l CROSS JOIN jobs j INDEXED BY jobs_ready
        ON j.state = 0 AND j.queue = l.queue AND j.isolated = l.isolated AND j.priority = l.priority AND j.user = l.user AND j.seq < ?4
     WHERE l.queue = ?1 AND l.isolated = ?2 AND l.priority = ?3 AND l.head IS NOT NULL LIMIT ?5
)
