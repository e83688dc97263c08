-- Taking back what nobody renews: leases, and jobs without listeners (rules 5 to 7, 12). Needs: ending, workers.
--
-- Keys: abandon  zset: jobs by when they are given up for want of listeners

local function lose(id, row, costs)
  row[EPOCH] = new_epoch()
  if row[CANCELLING] then
    conclude(id, row, CANCELLED, false, false)
    return
  end
  if not costs then
    put_back(id, row, 0)
    return
  end
  keep_failure(id, row, row[OUTSIDE] and LOSS_OUTSIDE or LOSS)
  row[LOSSES] = row[LOSSES] + 1
  if row[LOSSES] > row[BUDGET] then
    local problem = row[OUTSIDE] and NOT_ANSWERED or row[BUDGET] > 0 and WORKERS_LOST or WORKER_LOST
    conclude(id, row, FAILED, false, problem)
  else
    put_back(id, row, 0)
  end
end

-- Take leases of one worker. Only the jobs with the most losses take another: one of them may be why.
local function lose_together(worker, ids)
  read_rows(ids)
  local most = 0
  for _, id in ipairs(ids) do
    most = math.max(most, row_of(id)[LOSSES])
  end
  for _, id in ipairs(ids) do
    local row = row_of(id)
    lose(id, row, row[LOSSES] == most)
  end
  return #ids
end

-- Take all leases of a dead worker, those that have run out of one that is gone, and one by one those that a living one has
-- stopped renewing.
local function sweep_leases_of(worker, room)
  local leases = P .. 'leases:' .. worker
  local alive = tonumber(call('ZSCORE', P .. 'alive', worker))
  if alive and alive <= NOW then
    forget_worker(worker)
    return lose_together(worker, call('ZRANGE', leases, 0, -1))
  end
  local now = exact(NOW)
  if not alive then
    return lose_together(worker, call('ZRANGEBYSCORE', leases, '-inf', now))
  end
  local beaten = tonumber(call('ZSCORE', P .. 'beaten', worker)) or 0
  local bound = beaten > NOW and now or '(' .. exact(beaten)
  local lost = call('ZRANGEBYSCORE', leases, '-inf', bound, 'LIMIT', 0, room)
  for _, id in ipairs(lost) do
    lose_together(worker, { id })
  end
  return #lost
end

-- Take the leases that were handed over and have run out, one by one: nobody knows whether one party had several.
local function sweep_outside(room)
  local lost = call('ZRANGEBYSCORE', P .. 'outside', '-inf', exact(NOW), 'LIMIT', 0, room)
  read_rows(lost)
  for _, id in ipairs(lost) do
    lose(id, row_of(id), true)
  end
  return #lost
end

local function sweep_leases(room)
  local lost = sweep_outside(room)
  for _, worker in ipairs(call('SMEMBERS', P .. 'holders')) do
    if lost < room then
      lost = lost + sweep_leases_of(worker, room - lost)
      if not call('ZSCORE', P .. 'alive', worker) and call('EXISTS', P .. 'leases:' .. worker) == 0 then
        call('SREM', P .. 'holders', worker)
      end
    end
  end
  return lost
end

-- Stop jobs whose last listener has been gone for too long, and tell how many of them have ended by that.
local function stop_abandoned(room)
  local ended = 0
  for _, id in ipairs(call('ZRANGEBYSCORE', P .. 'abandon', '-inf', exact(NOW), 'LIMIT', 0, room)) do
    local row = row_of(id)
    stop(id, row)
    ended = ended + (row[STATE] > RUNNING and 1 or 0)
    if row[ABANDON_AT] then
      row[ABANDON_AT] = false
      call('ZREM', P .. 'abandon', id)
      save(id, row)
    end
  end
  return ended
end

local function no_later(time, duration)
  return time and duration and math.min(time, NOW + duration) or time
end

-- Shorten the timers of a job to their durations from now.
local function clamp_job(id)
  local row = row_of(id)
  local due, give_up = row[DUE], row[GIVE_UP]
  row[DEADLINE_AT] = no_later(row[DEADLINE_AT], row[DEADLINE])
  if row[STATE] == WAITING and row[WAIT] then
    row[DUE] = no_later(due, row[WAIT])
    call('ZADD', P .. 'due:' .. row[QUEUE], exact(row[DUE]), id)
  end
  if give_up then
    row[GIVE_UP] = no_later(no_later(give_up, row[DEADLINE]), not row[STARTED] and row[START_WITHIN])
    if row[STATE] < RUNNING then
      call('ZADD', P .. 'late', exact(row[GIVE_UP]), id)
    end
  end
  if row[ABANDON_AT] then
    row[ABANDON_AT] = no_later(row[ABANDON_AT], row[ABANDON_AFTER])
    call('ZADD', P .. 'abandon', exact(row[ABANDON_AT]), id)
  end
  if row[OUTSIDE] then
    call('ZADD', P .. 'outside', 'LT', exact(NOW + row[OUTSIDE]), id)
  end
  stamp(id, row)
  save(id, row)
end

-- After the clock has stepped back: shorten what it has made longer. Returns how many jobs had a timer, up to `limit`.
local function clamp(limit)
  for _, worker in ipairs(call('SMEMBERS', P .. 'holders')) do
    local span = tonumber(call('HGET', P .. 'spans', worker)) or 0
    local latest = exact(NOW + span)
    for _, key in ipairs({ 'alive', 'beaten' }) do
      if call('ZSCORE', P .. key, worker) then
        call('ZADD', P .. key, 'LT', latest, worker)
      end
    end
    local late = {}
    for _, id in ipairs(call('ZRANGEBYSCORE', P .. 'leases:' .. worker, '(' .. latest, '+inf')) do
      late[#late + 1], late[#late + 2] = latest, id
    end
    in_pieces('ZADD', P .. 'leases:' .. worker, late)
  end
  local stamped = call('ZRANGEBYSCORE', P .. 'stamps', '(' .. exact(NOW), '+inf', 'LIMIT', 0, limit)
  for _, id in ipairs(stamped) do
    clamp_job(id)
  end
  return #stamped
end
