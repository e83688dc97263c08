-- Finishes jobs. One step covers the state, the end event's number, freed limits and follow-ups, whatever ends the job (rules 8 and 9).
-- Needs: enqueue, blocked_jobs, paused_batches, event_log.
-- Exports: ended_jobs, finish_job, record_failure, record_worker_loss, fail_expired, continue_cascades, cancel_job
--
-- Keys: cascades                  set: cancelled jobs with children that are still to be cancelled
--       cascade_remaining:<job>   set: these children

local MAX_CASCADED = 200 -- children that one script cancels

local cascaded_jobs = 0
ended_jobs = {} -- ids of the jobs that this script has ended

-- Finish a sealed batch if none of its jobs is unfinished.
local function finish_batch(id)
  local batch = batch_of(id)
  if not batch or not batch[SEALED] or batch[BATCH_ENDED] or unfinished_in(batch) > 0 then
    return
  end
  batch[BATCH_ENDED], batch[BATCH_ENDS] = NOW, batch[BATCH_ENDS] + 1
  save_batch(id, batch)
  if batch[BATCH_HAS_FOLLOW_UPS] then
    local state = batch[TOTAL + 1] == batch[TOTAL] and SUCCEEDED or FAILED
    submit_follow_ups(call('GET', PREFIX .. 'batch_follow_ups:' .. id), id, batch[BATCH_ENDS], state)
  end
end

on_commit[#on_commit + 1] = function()
  local ids = {}
  for id in pairs(changed_batches) do
    ids[#ids + 1] = id
  end
  for _, id in ipairs(ids) do
    finish_batch(id)
  end
end

-- Cancel jobs of a set, at most MAX_CASCADED in one script. Returns whether some are left.
local function cancel_some(children)
  local capacity = MAX_CASCADED - cascaded_jobs
  local ids = capacity > 0 and call('SPOP', children, capacity) or {}
  cascaded_jobs = cascaded_jobs + #ids
  for _, child in ipairs(ids) do
    cancel_job(child, row_of(child))
  end
  return call('EXISTS', children) == 1
end

-- Cancel the children that are cancelled with their parent. Sweeps cancel the rest.
local function cancel_children(id)
  local children, remaining = PREFIX .. 'cascade_children:' .. id, PREFIX .. 'cascade_remaining:' .. id
  if cancel_some(children) then
    if call('RENAMENX', children, remaining) == 0 then
      call('SUNIONSTORE', remaining, remaining, children)
      call('DEL', children)
    end
    call('SADD', PREFIX .. 'cascades', id)
  end
end

-- Cancel remaining children of cancelled jobs. Returns how many.
local function continue_cascades(limit)
  for _, id in ipairs(call('SRANDMEMBER', PREFIX .. 'cascades', limit)) do
    if not cancel_some(PREFIX .. 'cascade_remaining:' .. id) then
      call('SREM', PREFIX .. 'cascades', id)
    end
  end
  return cascaded_jobs
end

-- Undo `register_unfinished`: free the job's unique key, parent and limits.
local function unregister_unfinished(id, row)
  if row[UNIQUE] and unique_holder(row[USER], row[UNIQUE]) == id then
    call('HDEL', PREFIX .. 'unique', unique_field(row[USER], row[UNIQUE]))
  end
  if row[PARENT] then
    local children = PREFIX .. 'children:' .. row[PARENT]
    call('SREM', children, id)
    if row[CASCADE] then
      call('SREM', PREFIX .. 'cascade_children:' .. row[PARENT], id)
      call('SREM', PREFIX .. 'cascade_remaining:' .. row[PARENT], id)
    end
    local parent = row[PARENT] ~= id and not has_children(row[PARENT]) and row_of(row[PARENT])
    if parent and parent[STATE] > RUNNING then
      call('ZADD', PREFIX .. 'prune_jobs', parent[ENDED] + parent[RETENTION], row[PARENT])
    end
  end
  if row[LIMITS] then
    release_slots(id, row)
  end
end

-- Remove a job from the keys of its state.
local function remove_from_state(id, row)
  if row[STATE] == READY then
    remove_ready(id, row)
    pass_capacity_on(row)
  elseif row[STATE] == DELAYED then
    call('ZREM', PREFIX .. 'delayed:' .. row[QUEUE], id)
  elseif row[STATE] == BLOCKED then
    remove_blocked(id, row)
  elseif row[STATE] == PAUSED then
    remove_paused(id, row)
  else
    end_attempt(id, row)
  end
  if row[STATE] ~= RUNNING and row[EXPIRES_AT] then
    call('ZREM', PREFIX .. 'expiring', id)
  end
  if row[ABANDON_AT] then
    call('ZREM', PREFIX .. 'abandoned_at', id)
  end
  if row[HAS_TIMER] then
    call('ZREM', PREFIX .. 'timers', id)
  end
end

-- Finish a job. The end event takes the next number of its log.
local function finish_job(id, row, state, result, problem, finished_nonce)
  remove_from_state(id, row)
  row[STATE], row[ENDED], row[ENDS], row[LAST] = state, NOW, row[ENDS] + 1, row[LAST] + 1
  count(row, COUNT_SUCCEEDED + state - SUCCEEDED)
  row[PROBLEM], row[FINISHED_NONCE] = problem, finished_nonce or row[FINISHED_NONCE]
  row[CANCEL_REQUESTED], row[NONCE], row[ORDINAL], row[EXTERNAL] = false, false, 0, false
  row[EXPIRES_AT], row[ABANDON_AT], row[HAS_TIMER], row[DELAY] = false, false, false, false
  if result then
    set_inline_text(row, RESULT, 'result:', id, result)
  end
  save_row(id, row)
  notify_job(id)
  ended_jobs[#ended_jobs + 1] = id
  if state == FAILED then
    call('ZADD', PREFIX .. 'failed', row[SEQUENCE], id)
  end
  unregister_unfinished(id, row)
  count_finished_in_batch(row, 1)
  if state == CANCELLED then
    cancel_children(id)
  end
  if row[HAS_FOLLOW_UPS] then
    submit_follow_ups(text_of('follow_ups:', id), id, row[ENDS], state, id)
  end
  if not has_children(id) then
    prune_times[id] = NOW + row[RETENTION]
  end
end

-- Add a failure or worker loss of the finished attempt to the job's history. `text` is a JSON list.
local function record_failure(id, row, text)
  call('RPUSH', PREFIX .. 'failures:' .. id, row[ATTEMPT] .. ' ' .. float_text(NOW) .. '\n' .. text)
end

-- Count a worker loss. The job runs again, isolated from its second loss on, or fails if it exceeds its maximum (rule 7).
-- `text` is for its history: a list of a problem, how the worker died, and a traceback. `problem` is the cause.
local function record_worker_loss(id, row, text, problem, finished_nonce)
  if row[CANCEL_REQUESTED] then
    finish_job(id, row, CANCELLED, false, false, finished_nonce)
    return
  end
  record_failure(id, row, text)
  count(row, COUNT_LOST)
  row[WORKER_LOSSES] = row[WORKER_LOSSES] + 1
  if row[WORKER_LOSSES] > row[MAX_WORKER_LOSSES] then
    finish_job(id, row, FAILED, false, not row[EXTERNAL] and row[MAX_WORKER_LOSSES] > 0 and WORKERS_LOST or problem, finished_nonce)
  else
    row[ISOLATED] = row[ISOLABLE] and row[WORKER_LOSSES] >= math.max(1, math.min(2, row[MAX_WORKER_LOSSES]))
    return_to_queue(id, row, 0, finished_nonce, 'lost', cjson.decode(text)[2])
  end
end

-- Fail up to `limit` queued jobs that have expired. Returns how many.
local function fail_expired(limit)
  local expired = call('ZRANGEBYSCORE', PREFIX .. 'expiring', '-inf', float_text(NOW), 'LIMIT', 0, limit)
  for _, id in ipairs(expired) do
    local row = row_of(id)
    local before_deadline = not row[DEADLINE_AT] or row[DEADLINE_AT] > NOW
    row[EPOCH] = new_epoch()
    count(row, COUNT_EXPIRED)
    finish_job(id, row, FAILED, false, before_deadline and NOT_STARTED_IN_TIME or DEADLINE_PASSED)
  end
  return #expired
end

-- Cancel a job. Queued and external jobs end at once, because an external worker cannot be asked to stop. A running job is asked
-- to stop, and a finished one stays as it is.
local function cancel_job(id, row)
  if row[STATE] < RUNNING or row[EXTERNAL] then
    row[EPOCH] = new_epoch()
    finish_job(id, row, CANCELLED, false, false)
  elseif row[STATE] == RUNNING and not row[CANCEL_REQUESTED] then
    row[CANCEL_REQUESTED] = true
    clear_replaceable(id, row)
    save_row(id, row)
    notify_job(id)
    notify('worker:' .. row[WORKER])
  end
end
