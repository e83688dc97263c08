-- Ending a job in one step: its state, its end's number and its follow-ups, whoever ends it (rules 8, 9). Needs: arrivals, log.

-- Submit the follow-ups for this end. Ids come from parent, end and place, so that each end submits each of them once.
local function follow_up(id, row)
  for place, follow in ipairs(cmsgpack.unpack(text_of('then:', id))) do
    local states, rest_of_spec, fields = unpack(follow)
    local child = id .. '.' .. row[ENDS] .. '.' .. (place - 1)
    fields[15] = id
    if states:find(row[STATE], 1, true) and not row_of(child) and not holder_of(fields[4], fields[7]) then
      insert(child, '{"parent":"' .. id .. '",' .. rest_of_spec, fields)
    end
  end
end

-- Let go of what an unfinished job holds: its unique key, and its parent.
local function let_go(id, row)
  if row[UNIQUE] and holder_of(row[USER], row[UNIQUE]) == id then
    call('HDEL', P .. 'unique', unique_field(row[USER], row[UNIQUE]))
  end
  if row[PARENT] then
    local children = P .. 'children:' .. row[PARENT]
    call('SREM', children, id)
    local parent = row[PARENT] ~= id and call('EXISTS', children) == 0 and row_of(row[PARENT])
    if parent and parent[STATE] > RUNNING then
      call('ZADD', P .. 'forget', parent[ENDED] + parent[KEEP], row[PARENT])
    end
  end
end

-- Take a job out of wherever it stands.
local function take_out(id, row)
  if row[STATE] == READY then
    leave(id, row)
  elseif row[STATE] == WAITING then
    call('ZREM', P .. 'due:' .. row[QUEUE], id)
  else
    drop_lease(id, row)
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
  row[CANCELLING], row[WORKER], row[NONCE], row[ORDINAL] = false, false, false, 0
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
  if row[FOLLOWS] then
    follow_up(id, row)
  end
  if call('EXISTS', P .. 'children:' .. id) == 0 then
    forgets[id] = NOW + row[KEEP]
  end
end

-- Add a failure or a loss of the attempt that has just ended to the job's history. `text` is a JSON list.
local function keep_failure(id, row, text)
  call('RPUSH', P .. 'failures:' .. id, row[ATTEMPT] .. ' ' .. exact(NOW) .. '\n' .. text)
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

-- End a queued job as cancelled, ask a running one to stop, and leave a finished one alone.
local function stop(id, row)
  if row[STATE] < RUNNING then
    row[EPOCH] = new_epoch()
    conclude(id, row, CANCELLED, false, false)
  elseif row[STATE] == RUNNING and not row[CANCELLING] then
    row[CANCELLING] = true
    save(id, row)
    touch_job(id)
    touch('worker:' .. row[WORKER])
  end
end
