-- heartbeat, workers, touch_listeners.
-- Tables: workers, topic_versions, jobs, specs.

-- :renew_worker
-- Parameters: id, info, expires, lease_duration.
INSERT INTO workers (id, info, expires, heartbeat_expires, lease_duration) VALUES (?1, ?2, ?3, ?3, ?4)
    ON CONFLICT DO UPDATE SET info = ?2, expires = max(expires, ?3), heartbeat_expires = ?3, lease_duration = ?4

-- :expire_worker
-- Parameters: id, info, now.
INSERT INTO workers (id, info, expires, heartbeat_expires, lease_duration) VALUES (?1, ?2, ?3, ?3, 0)
    ON CONFLICT DO UPDATE SET info = ?2, expires = ?3, heartbeat_expires = ?3, lease_duration = 0

-- :delete_worker
-- Parameters: id.
DELETE FROM workers WHERE id = ?

-- :delete_topic_version
-- Parameters: topic.
DELETE FROM topic_versions WHERE topic = ?

-- :lease
-- External jobs are excluded: no worker holds their leases. Parameters: id, attempt, nonce. Row: seq, cancel_requested.
SELECT seq, cancel_requested FROM jobs WHERE id = ? AND state = 2 AND attempt = ? AND nonce = ? AND worker IS NOT NULL

-- :renew_lease
-- Parameters: lease_expires, lease_duration, seq.
UPDATE jobs SET lease_expires = ?, lease_duration = ? WHERE seq = ?

-- :alive_workers
-- Parameters: now. Rows: info.
SELECT info FROM workers WHERE expires > ? AND info IS NOT NULL ORDER BY id

-- :touch_listeners
-- Parameters: id, now.
UPDATE jobs SET abandon_at = ?2 + (SELECT s.abandon_after FROM specs s WHERE s.seq = jobs.seq) WHERE id = ?1 AND state < 3
