-- finish: end attempts. One step covers the outcome, the last entries and the follow-ups.
-- Shared: prelude, rows, history_cells, history, transitions, queues, limit_overrides, limits, fair_queue, wake_workers, batches, enqueue, blocked_jobs, paused_batches, event_log, finalize
-- Flags: allow-oom
--
-- Keys: those of finalize.
-- Arguments: count, then for each a list: id, attempt, nonce, ordinal, outcome, delay, text, failure, dispatch job, usage, throttled, and a list
--            of the name and data of each entry. Usage (nil: none) is a list of input tokens, output tokens and millionths of a currency's unit; throttled says
--            whether a provider asked to try later. Text is the result of `succeeded` or the problem of `failed` and `lost`; failure is for the history; delay
--            is the timeout of `dispatched`; dispatch job is what sends the job to the external worker (nil: none): id, spec, list of
--            23 fields.
-- Returns for each: 1, or 0 if the lease is lost.

-- Return a job to its queue for another attempt, or cancel it if that was requested (rule 8).
local function retry_or_cancel(id, row, delay, nonce, outcome)
  if row[CANCEL_REQUESTED] then
    finish_job(id, row, CANCELLED, false, false, nonce)
  else
    count(row, outcome == 'retried' and COUNT_RETRIED or COUNT_RELEASED)
    return_to_queue(id, row, delay, nonce, outcome)
  end
end

-- Keep the lease of a job without its worker, and submit the job that sends it to the external worker.
local function dispatch(id, row, timeout, dispatch_job)
  remove_lease(id, row)
  store_start(row)
  row[WORKER], row[EXTERNAL] = false, timeout
  call('ZADD', PREFIX .. 'external', float_text(NOW + timeout), id)
  count(row, COUNT_DISPATCHED)
  add_transition(row, 'dispatched')
  record_timer(id, row)
  save_row(id, row)
  notify_job(id)
  local dispatch_id, spec, fields = unpack(dispatch_job)
  if not row_of(dispatch_id) and not unique_holder(fields[4], fields[7]) then
    insert_job(dispatch_id, new_row(fields), spec, fields[16])
  end
end

-- Count what an attempt used, which the job keeps too, and whether a provider asked it to try later.
local function count_usage(row, outcome, usage, throttled)
  local counts = counts_of(row)
  if usage then
    row[USAGE] = row[USAGE] or { 0, 0, 0 }
    for index, amount in ipairs(usage) do
      add_count(counts, COUNT_INPUT_TOKENS + index - 1, amount)
      row[USAGE][index] = row[USAGE][index] + amount
    end
    add_user_amount('tokens', row[QUEUE], row[USER], usage[1] + usage[2])
    add_user_amount('cost', row[QUEUE], row[USER], usage[3])
  end
  if throttled and (outcome == 'failed' or not row[CANCEL_REQUESTED] and (outcome == 'retried' or outcome == 'released')) then
    add_count(counts, COUNT_THROTTLED, 1)
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
    retry_or_cancel(id, row, delay, nonce, outcome)
  end
end

local reports, ids, replies = {}, {}, {}
for index = 1, next_number() do
  reports[index] = next_arg()
  ids[index] = reports[index][1]
end
read_rows(ids)
find_childless(ids)
for index, id in ipairs(ids) do
  local _, attempt, nonce, ordinal, outcome, delay, text, failure, dispatch_job, usage, throttled, entries = unpack(reports[index], 1, 12)
  local row = row_of(id)
  if is_lease_valid(row, attempt, nonce) then
    if outcome ~= 'dispatched' or not row[EXTERNAL] then -- otherwise it is a repeated call
      append_events(id, row, ordinal, entries)
      if usage or throttled then
        count_usage(row, outcome, usage, throttled)
      end
      finish(id, row, nonce, outcome, tonumber(delay), text, failure, dispatch_job)
    end
    replies[index] = 1
  else
    replies[index] = row and row[FINISHED_NONCE] == nonce and 1 or 0
  end
end
commit()
return replies
