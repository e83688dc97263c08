-- append: write entries to the logs of running jobs. The entries themselves are written by `log`.
-- Tables: jobs.

-- :advance
-- Parameters: ordinal, epoch, last, progress, seq.
UPDATE jobs SET ordinal = ?, epoch = ?, last = ?, progress = ? WHERE seq = ?
