-- finish: end attempts. Those that end, or go back, are written by `ending` and `arrivals`.
-- Tables: jobs.

-- :hand_over
-- The job runs on under its lease, held by no worker. Parameters: seq, expires, lease, ordinal, epoch, last, progress.
UPDATE jobs
   SET worker = NULL, claim = NULL, place = NULL, expires = ?2, lease = ?3, ordinal = ?4, epoch = ?5, last = ?6, progress = ?7
 WHERE seq = ?1
