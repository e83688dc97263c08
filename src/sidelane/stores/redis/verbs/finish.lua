-- finish: end attempts. One step covers the outcome, the last entries and the follow-ups.
-- Shared: prelude, rows, limits, fair_queue, wake_workers, batches, enqueue, blocked_jobs, event_log, finalize
-- Flags: allow-oom
--
-- Keys: those of finalize.
-- Arguments: count, then for each: id, attempt, nonce, ordinal, outcome, delay, text, failure, dispatch job, count of entries, then name
--            and data of each. Text is the result of `succeeded` or the problem of `failed` and `lost`; failure is for the history; delay
--            is the timeout of `dispatched`; dispatch job is what sends the job to the external worker (nil: none): id, spec, list of
--            23 fields.
-- Returns for each: 1, or 0 if the lease is lost.

-- Return a job to its queue for another attempt, or cancel it if that was requested (rule 8).
local function retry_or_cancel(id, row, delay, nonce)
  if row[CANCEL_REQUESTED] then
    finish_job(id, row, CANCELLED, false, false, nonce)
  else
    return_to_queue(id, row, delay, nonce)
  end
end

-- Keep the lease of a job without its worker, and submit the job that sends it to the external worker.
local function dispatch(id, row, timeout, dispatch_job)
  remove_lease(id, row)
  row[WORKER], row[EXTERNAL] = false, timeout
  call('ZADD', PREFIX .. 'external', float_text(NOW + timeout), id)
  record_timer(id, row)
  save_row(id, row)
  notify_job(id)
  local dispatch_id, spec, fields = unpack(dispatch_job)
  if not row_of(dispatch_id) and not unique_holder(fields[4], fields[7]) then
    insert_job(dispatch_id, new_row(fields), spec, fields[16])
  end
end

local function finish(id, row, nonce, outcome, delay, text, failure, dispatch_job)
  if outcome == 'lost' then
    record_worker_loss(id, row, failure, text, nonce)
    return
  end
  if failure ~= '' then
    record_failure(id, row, failure)
    row[FAILURES] = row[FAILURES] + 1
  end
  if outcome == 'succeeded' then
    finish_job(id, row, SUCCEEDED, text, false, nonce)
  elseif outcome == 'failed' then
    finish_job(id, row, FAILED, false, text, nonce)
  elseif outcome == 'cancelled' then
    finish_job(id, row, CANCELLED, false, false, nonce)
  elseif outcome == 'dispatched' and not row[CANCEL_REQUESTED] then
    dispatch(id, row, delay, dispatch_job)
  else
    retry_or_cancel(id, row, delay, nonce)
  end
end

local reports, ids, replies = {}, {}, {}
for index = 1, next_number() do
  ids[index] = next_arg()
  reports[index] = { next_number(), next_arg(), next_number(), next_arg(), next_number(), next_arg(), next_arg(), next_arg(), next_entries() }
end
read_rows(ids)
for index, id in ipairs(ids) do
  local attempt, nonce, ordinal, outcome, delay, text, failure, dispatch_job, entries = unpack(reports[index], 1, 9)
  local row = row_of(id)
  if is_lease_valid(row, attempt, nonce) then
    if outcome ~= 'dispatched' or not row[EXTERNAL] then -- otherwise it is a repeated call
      append_events(id, row, ordinal, entries)
      finish(id, row, nonce, outcome, delay, text, failure, dispatch_job)
    end
    replies[index] = 1
  else
    replies[index] = row and row[FINISHED_NONCE] == nonce and 1 or 0
  end
end
commit()
return replies
