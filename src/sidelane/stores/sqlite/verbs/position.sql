-- position: how many ready jobs stand before one.
-- Tables: jobs, lines.

-- :place
-- Parameters: id. Row: queue, priority, seq of a ready job.
SELECT queue, priority, seq FROM jobs WHERE id = ? AND state = 0

-- :above
-- Ready jobs of higher priority. Parameters: queue, priority, limit.
SELECT count(*) FROM (
    SELECT 1 FROM jobs INDEXED BY jobs_ready WHERE state = 0 AND queue = ? AND priority > ? LIMIT ?
)

-- :older
-- Older ready jobs of the same priority, user by user: nobody's younger jobs are looked at.
-- Parameters: queue, priority, seq, limit.
SELECT count(*) FROM (
    SELECT 1 FROM lines l CROSS JOIN jobs j INDEXED BY jobs_ready
        ON j.state = 0 AND j.queue = l.queue AND j.priority = l.priority AND j.user = l.user AND j.seq < ?3
     WHERE l.queue = ?1 AND l.priority = ?2 AND l.head IS NOT NULL LIMIT ?4
)
