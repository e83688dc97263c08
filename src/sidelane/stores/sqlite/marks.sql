-- Marks: what tells that a topic has changed, whoever changed it.
-- Tables: jobs, batches, marks.

-- :jobs
-- Parameters: ids as a JSON array. Rows: id, and what changes with the job's state or log.
SELECT j.id, j.last, j.state, j.attempt, j.ends, j.cancelling FROM json_each(?) t CROSS JOIN jobs j ON j.id = t.value

-- :batches
-- Parameters: ids as a JSON array. Rows: id, and what changes with the batch.
SELECT b.id, b.sealed, b.total, b.succeeded, b.failed, b.cancelled, b.ends, b.ended IS NULL
  FROM json_each(?) t CROSS JOIN batches b ON b.id = t.value

-- :counts
-- Parameters: topics as a JSON array. Rows: topic, count.
SELECT m.topic, m.count FROM json_each(?) t CROSS JOIN marks m ON m.topic = t.value

-- :raise
-- Parameters: topic.
INSERT INTO marks (topic, count) VALUES (?, 1) ON CONFLICT DO UPDATE SET count = count + 1
