-- finish: end attempts. Finished and returning jobs are written by `finalize` and `enqueue`.
-- Tables: jobs.

-- :add_usage
-- Parameters: input tokens, output tokens, millionths of the currency's unit, seq.
UPDATE jobs
   SET input_tokens = input_tokens + ?, output_tokens = output_tokens + ?, cost_micros = cost_micros + ?
 WHERE seq = ?

-- :dispatch
-- The job continues under its lease without a worker.
-- Parameters: seq, lease_expires, lease_duration, ordinal, logged, epoch, last, progress, log_space, first_event,
-- last_event, transitions to add.
UPDATE jobs
   SET worker = NULL, claim_request = NULL, claim_position = NULL, lease_expires = ?2, lease_duration = ?3, ordinal = ?4, logged = ?5,
       epoch = ?6, last = ?7, progress = ?8, log_space = ?9, first_event = ?10, last_event = ?11,
       transitions = substr(transitions || ?12, -MAX_TRANSITIONS)
 WHERE seq = ?1
