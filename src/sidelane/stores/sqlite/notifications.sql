-- Change notifications: versions of topics.
-- Tables: jobs, batches, shared_values, topic_versions.

-- :job_versions
-- Parameters: ids as a JSON array. Rows: id, and the columns that change with the job's state or log.
SELECT j.id, j.last, j.state, j.attempt, j.ends, j.cancel_requested FROM json_each(?) t CROSS JOIN jobs j ON j.id = t.value

-- :batch_versions
-- Parameters: ids as a JSON array. Rows: id, and the columns that change with the batch.
SELECT b.id, b.sealed, b.total, b.succeeded, b.failed, b.cancelled, b.ends, b.ended IS NULL
  FROM json_each(?) t CROSS JOIN batches b ON b.id = t.value

-- :value_versions
-- Parameters: names as a JSON array. Rows: name, version.
SELECT v.name, v.version FROM json_each(?) t CROSS JOIN shared_values v ON v.name = t.value

-- :counted_versions
-- Parameters: kind of the topics, their names as a JSON array. Rows: name, version.
SELECT t.value, v.version FROM json_each(?2) t CROSS JOIN topic_versions v ON v.topic = ?1 || ':' || t.value

-- :bump
-- Parameters: topic.
INSERT INTO topic_versions (topic, version) VALUES (?, 1) ON CONFLICT DO UPDATE SET version = version + 1
