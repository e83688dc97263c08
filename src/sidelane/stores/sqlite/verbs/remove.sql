-- remove: forget finished jobs. It is done by `retention`.
-- Tables: jobs.

-- :removable
-- Parameters: id. Row as `retention.Removable`, of a finished job without unfinished children.
SELECT j.seq, j.id, j.last, j.follows FROM jobs j
 WHERE j.id = ? AND j.state > 2 AND NOT EXISTS (SELECT 1 FROM jobs c WHERE c.parent = j.id AND c.state < 3)
