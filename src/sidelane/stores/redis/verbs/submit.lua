-- submit: store new jobs durably. Each is answered with the new job, the existing one, or the reason for its rejection.
-- Shared: prelude, rows, history_cells, history, transitions, queues, limit_overrides, limits, fair_queue, wake_workers, batches, enqueue, blocked_jobs, paused_batches, event_log, finalize, throughput, job_reply
--
-- Keys: those of rows, limits, fair_queue, batches and enqueue; of finalize, if jobs are replaced; delayed:<queue>, blocked_in,
--       paused_in, tombstone_users.
-- Arguments: count, then for each a list: id, spec, list of 23 fields, maximum of queued jobs in its queue (nil: none).
-- Returns: the time, and for each: the sequence of a new job that is ready; sequence and due time of a delayed one; sequence and job
--          reply of one that a later one has replaced; the job reply of the existing job; or the rejection in a separate list:
--          'removed' (its id has a tombstone), 'unknown' or 'sealed' (its batch), 'full' with the queue's starts per second, or 'limits'
--          with the limits that were hit.

local MAX_REPLACED = 200 -- older jobs that one script cancels

local queued_counts, replaced_extra = {}, 0

-- Count the queued jobs of a queue: ready, delayed, blocked and paused.
local function count_queued(queue)
  if not queued_counts[queue] then
    local count = call('ZCARD', PREFIX .. 'delayed:' .. queue)
    for _, key in ipairs({ 'blocked_in', 'paused_in' }) do
      count = count + (tonumber(call('HGET', PREFIX .. key, queue)) or 0)
    end
    for _, priority in ipairs(call('ZRANGE', PREFIX .. 'priorities:' .. queue, 0, -1)) do
      count = count + ready_count(bucket_of(queue, priority))
    end
    queued_counts[queue] = count
  end
  return queued_counts[queue]
end

-- Return true if the id has a tombstone that the submission asks to respect.
local function is_removed(id, id_retention)
  return id_retention > 0 and not row_of(id) and call('HEXISTS', PREFIX .. 'tombstone_users', id) == 1
end

-- Return why a new job is rejected, or nil.
local function rejection(row, max_queued)
  local batch = row[BATCH] and batch_of(row[BATCH])
  if row[BATCH] and not batch then
    return { 'unknown' }
  elseif batch and batch[SEALED] then
    return { 'sealed' }
  elseif max_queued and count_queued(row[QUEUE]) >= max_queued then
    return { 'full', float_text(start_rate(row[QUEUE])) }
  end
  local reached = row[LIMITS] and limits_hit(row, true) or {}
  return #reached > 0 and { 'limits', reached }
end

-- Cancel the oldest jobs of a limit with so many slots to make space for a new one. If there are very many, because the limit once had
-- more slots, each new job cancels at least one, and later ones the rest.
local function replace(limit_id, slots)
  local unfinished = PREFIX .. 'replaceable:' .. limit_id
  local excess = math.min(call('ZCARD', unfinished) - slots + 1, 1 + MAX_REPLACED - replaced_extra)
  if excess > 0 then
    replaced_extra = replaced_extra + excess - 1
    for _, id in ipairs(call('ZRANGE', unfinished, 0, excess - 1)) do
      cancel_job(id, row_of(id))
    end
  end
end

-- Count a rejection. `fields` are those of the job.
local function count_rejection(fields, reason)
  local field = reason == 'full' and COUNT_REFUSED_QUEUE_FULL or reason == 'limits' and COUNT_REFUSED_LIMIT or COUNT_REFUSED_OTHER
  add_count(series_counts(fields[3], fields[1], ''), field, 1)
  add_user_amount('refused', fields[3], fields[4], 1)
end

local function submit_job(id, spec, fields, max_queued)
  local row = new_row(fields)
  local rejected = rejection(row, max_queued)
  if rejected then
    count_rejection(fields, rejected[1])
    return { rejected }
  end
  for _, limit in ipairs(limits_of(row).replacing) do
    replace(limit_id(row, limit), in_force(limit, limit_key(row, limit)).max)
    queued_counts = {}
  end
  debit_submit_rates(row)
  insert_job(id, row, spec, fields[16])
  if queued_counts[row[QUEUE]] then
    queued_counts[row[QUEUE]] = queued_counts[row[QUEUE]] + 1
  end
  return row[STATE] == READY and row[SEQUENCE] or { row[SEQUENCE], float_text(row[DUE]) }
end

local replies, ids, holders, count = { float_text(NOW) }, {}, {}, next_number()
allocate_sequences(count)
local submissions = {}
for index = 1, count do
  submissions[index] = next_arg()
  ids[index] = submissions[index][1]
end
read_rows(ids)
for index, id in ipairs(ids) do
  local _, spec, fields, max_queued = unpack(submissions[index], 1, 4)
  if is_removed(id, fields[21]) then
    replies[index + 1] = { { 'removed' } }
    count_rejection(fields, 'removed')
  else
    holders[index] = row_of(id) and id or unique_holder(fields[4], fields[7])
    replies[index + 1] = not holders[index] and submit_job(id, spec, fields, max_queued)
  end
end
commit()
for index, id in ipairs(ids) do
  local holder, row = holders[index], row_of(id)
  if holder then
    replies[index + 1] = job_reply(holder, row_of(holder))
  elseif row and row[STATE] == CANCELLED then -- a later job has replaced it
    replies[index + 1] = { row[SEQUENCE], job_reply(id, row) }
  end
end
return replies
