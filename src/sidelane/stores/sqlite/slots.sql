-- Slots of limits.
-- Tables: slots, replaceable.

-- :held
-- Parameters: bound, most. One row: how many slots are taken, up to most.
SELECT count(*) FROM (SELECT 1 FROM slots WHERE bound = ? LIMIT ?)

-- :take
-- Parameters: bound, job, running.
INSERT OR IGNORE INTO slots (bound, job, running) VALUES (?, ?, ?)

-- :give_back
-- Parameters: bound, job.
DELETE FROM slots WHERE bound = ? AND job = ?

-- :may_be_replaced
-- Parameters: bound, job.
INSERT OR IGNORE INTO replaceable (bound, job) VALUES (?, ?)

-- :not_replaced
-- Parameters: bound, job.
DELETE FROM replaceable WHERE bound = ? AND job = ?
