-- heartbeat: renew leases, and keep what the worker says of itself.
-- Tables: workers, marks, jobs.

-- :renew_worker
-- Parameters: id, info, expires, lease.
INSERT INTO workers (id, info, expires, beaten, lease) VALUES (?1, ?2, ?3, ?3, ?4)
    ON CONFLICT DO UPDATE SET info = ?2, expires = max(expires, ?3), beaten = ?3, lease = ?4

-- :forget_worker
-- Parameters: id.
DELETE FROM workers WHERE id = ?

-- :forget_mark
-- Parameters: topic.
DELETE FROM marks WHERE topic = ?

-- :held
-- One that is handed over is held by no worker. Parameters: id, attempt, nonce. Row: seq, cancelling.
SELECT seq, cancelling FROM jobs WHERE id = ? AND state = 2 AND attempt = ? AND nonce = ? AND worker IS NOT NULL

-- :renew
-- Parameters: expires, lease, seq.
UPDATE jobs SET expires = ?, lease = ? WHERE seq = ?
