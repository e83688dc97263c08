-- Ending a job in one step: its state, its end's number and its follow-ups, whoever ends it (rules 8, 9). Needs: arrivals, parking, log.
--
-- Keys: cascades        set: jobs that were cancelled, some of whose children are still to be stopped for that
--       stopping:<job>  set: these children

local MOST_CASCADED = 200 -- children that one script stops

local cascaded = 0
local stop

-- End a batch whose last job has ended, if no more may join.
local function end_batch(id)
  local batch = batch_of(id)
  if not batch or not batch[SEALED] or batch[BATCH_ENDED] or unfinished_of(batch) > 0 then
    return
  end
  batch[BATCH_ENDED], batch[BATCH_ENDS] = NOW, batch[BATCH_ENDS] + 1
  save_batch(id, batch)
  if batch[BATCH_FOLLOWS] then
    local state = batch[TOTAL + 1] == batch[TOTAL] and SUCCEEDED or FAILED
    follow_up(call('GET', P .. 'batch_then:' .. id), id, batch[BATCH_ENDS], state)
  end
end

last_steps[#last_steps + 1] = function()
  local ids = {}
  for id in pairs(counted) do
    ids[#ids + 1] = id
  end
  for _, id in ipairs(ids) do
    end_batch(id)
  end
end

-- Stop jobs of a set, as many as this script may yet, and tell whether there are more.
local function stop_some(children)
  local room = MOST_CASCADED - cascaded
  local ids = room > 0 and call('SPOP', children, room) or {}
  cascaded = cascaded + #ids
  for _, child in ipairs(ids) do
    stop(child, row_of(child))
  end
  return call('EXISTS', children) == 1
end

-- Stop the children that a job has at its cancellation and that are cancelled with it. What is left is for sweeps.
local function cascade(id)
  local children, stopping = P .. 'cascading:' .. id, P .. 'stopping:' .. id
  if stop_some(children) then
    if call('RENAMENX', children, stopping) == 0 then
      call('SUNIONSTORE', stopping, stopping, children)
      call('DEL', children)
    end
    call('SADD', P .. 'cascades', id)
  end
end

-- Stop what a script left of the children of cancelled jobs, and tell how many there were.
local function cascade_on(limit)
  for _, id in ipairs(call('SRANDMEMBER', P .. 'cascades', limit)) do
    if not stop_some(P .. 'stopping:' .. id) then
      call('SREM', P .. 'cascades', id)
    end
  end
  return cascaded
end

-- Let go of what an unfinished job holds: its unique key, its parent and its slots.
local function let_go(id, row)
  if row[UNIQUE] and holder_of(row[USER], row[UNIQUE]) == id then
    call('HDEL', P .. 'unique', unique_field(row[USER], row[UNIQUE]))
  end
  if row[PARENT] then
    local children = P .. 'children:' .. row[PARENT]
    call('SREM', children, id)
    if row[CASCADE] then
      call('SREM', P .. 'cascading:' .. row[PARENT], id)
      call('SREM', P .. 'stopping:' .. row[PARENT], id)
    end
    local parent = row[PARENT] ~= id and call('EXISTS', children) == 0 and row_of(row[PARENT])
    if parent and parent[STATE] > RUNNING then
      call('ZADD', P .. 'forget', parent[ENDED] + parent[KEEP], row[PARENT])
    end
  end
  if row[LIMITS] then
    give_slots(id, row)
  end
end

-- Take a job out of wherever it stands.
local function take_out(id, row)
  if row[STATE] == READY then
    leave(id, row)
    pass_on(row)
  elseif row[STATE] == WAITING then
    call('ZREM', P .. 'due:' .. row[QUEUE], id)
  elseif row[STATE] == PARKED then
    unpark(id, row)
  else
    stop_running(id, row)
  end
  if row[STATE] ~= RUNNING and row[GIVE_UP] then
    call('ZREM', P .. 'late', id)
  end
  if row[ABANDON_AT] then
    call('ZREM', P .. 'abandon', id)
  end
  if row[STAMPED] then
    call('ZREM', P .. 'stamps', id)
  end
end

-- End a job; the end takes the next number of its log.
local function conclude(id, row, state, result, problem, settled)
  take_out(id, row)
  row[STATE], row[ENDED], row[ENDS], row[LAST] = state, NOW, row[ENDS] + 1, row[LAST] + 1
  row[PROBLEM], row[SETTLED] = problem, settled or row[SETTLED]
  row[CANCELLING], row[WORKER], row[NONCE], row[ORDINAL], row[OUTSIDE] = false, false, false, 0, false
  row[GIVE_UP], row[ABANDON_AT], row[STAMPED], row[WAIT] = false, false, false, false
  if result then
    keep_in(row, RESULT, 'result:', id, result)
  end
  save(id, row)
  touch_job(id)
  if state == FAILED then
    call('ZADD', P .. 'failed', row[SEQ], id)
  end
  let_go(id, row)
  count_end(row, 1)
  if state == CANCELLED then
    cascade(id)
  end
  if row[FOLLOWS] then
    follow_up(text_of('then:', id), id, row[ENDS], state, id)
  end
  if call('EXISTS', P .. 'children:' .. id) == 0 then
    forgets[id] = NOW + row[KEEP]
  end
end

-- Add a failure or a loss of the attempt that has just ended to the job's history. `text` is a JSON list.
local function keep_failure(id, row, text)
  call('RPUSH', P .. 'failures:' .. id, row[ATTEMPT] .. ' ' .. exact(NOW) .. '\n' .. text)
end

-- Take the lease of a running job back: it runs again, isolated from its second loss on, or fails once its budget is spent (rule 7).
-- `text` is for its history, and `problem` what was met.
local function lose(id, row, text, problem, settled)
  if row[CANCELLING] then
    conclude(id, row, CANCELLED, false, false, settled)
    return
  end
  keep_failure(id, row, text)
  row[LOSSES] = row[LOSSES] + 1
  if row[LOSSES] > row[BUDGET] then
    conclude(id, row, FAILED, false, not row[OUTSIDE] and row[BUDGET] > 0 and WORKERS_LOST or problem, settled)
  else
    row[ISOLATED] = row[ISOLABLE] and row[LOSSES] >= math.max(1, math.min(2, row[BUDGET]))
    put_back(id, row, 0, settled)
  end
end

-- End up to `limit` queued jobs whose time has passed, and tell how many there were.
local function end_late(limit)
  local late = call('ZRANGEBYSCORE', P .. 'late', '-inf', exact(NOW), 'LIMIT', 0, limit)
  for _, id in ipairs(late) do
    local row = row_of(id)
    local in_time = not row[DEADLINE_AT] or row[DEADLINE_AT] > NOW
    row[EPOCH] = new_epoch()
    conclude(id, row, FAILED, false, in_time and NOT_STARTED_IN_TIME or DEADLINE_PASSED)
  end
  return #late
end

-- End a queued job as cancelled, and one that was handed over: nobody there could be asked. Ask a running one to stop, and leave a
-- finished one alone.
stop = function(id, row)
  if row[STATE] < RUNNING or row[OUTSIDE] then
    row[EPOCH] = new_epoch()
    conclude(id, row, CANCELLED, false, false)
  elseif row[STATE] == RUNNING and not row[CANCELLING] then
    row[CANCELLING] = true
    spare(id, row)
    save(id, row)
    touch_job(id)
    touch('worker:' .. row[WORKER])
  end
end
