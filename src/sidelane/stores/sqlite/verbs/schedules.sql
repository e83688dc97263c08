-- upsert_schedule, list_schedules, fire, set_schedule_enabled, delete_schedule.
-- Tables: schedules.

-- :exists
-- Parameters: name.
SELECT 1 FROM schedules WHERE name = ?

-- :insert
-- Parameters: name, definition, now.
INSERT INTO schedules (name, definition, enabled, last, next) VALUES (?1, ?2, 1, ?3, 0)

-- :update
-- Parameters: name, new name, definition.
UPDATE schedules SET name = ?2, definition = ?3, next = CASE WHEN enabled THEN 0 END WHERE name = ?1 AND definition <> ?3

-- :all
-- Rows: definition, enabled, last, next, last_job.
SELECT definition, enabled, last, next, last_job FROM schedules ORDER BY name

-- :advance
-- Parameters: name, previous, at, next, job (null: unchanged).
UPDATE schedules SET last = ?3, next = ?4, last_job = coalesce(?5, last_job) WHERE name = ?1 AND enabled = 1 AND last = ?2

-- :enable
-- Parameters: name, now.
UPDATE schedules SET enabled = 1, last = ?2, next = 0 WHERE name = ?1 AND enabled = 0

-- :disable
-- Parameters: name.
UPDATE schedules SET enabled = 0, next = NULL WHERE name = ?

-- :delete
-- Parameters: name.
DELETE FROM schedules WHERE name = ?
