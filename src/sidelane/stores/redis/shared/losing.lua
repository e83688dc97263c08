-- Taking back what nobody renews: leases, and jobs without listeners (rules 5 to 7, 12). Needs: ending, workers.
--
-- Keys: abandon  zset: jobs by when they are given up for want of listeners

-- Take leases back. Nobody is blamed and nobody is spared.
local function lose_each(ids)
  read_rows(ids)
  for _, id in ipairs(ids) do
    local row = row_of(id)
    row[EPOCH] = new_epoch()
    lose(id, row, row[OUTSIDE] and LOSS_OUTSIDE or LOSS, row[OUTSIDE] and NOT_ANSWERED or WORKER_LOST)
  end
  return #ids
end

-- Take the leases of a dead worker, which is forgotten with the last of them, and those that have run out of one that is gone or
-- has stopped renewing them.
local function sweep_leases_of(worker, room)
  local leases = P .. 'leases:' .. worker
  local alive = tonumber(call('ZSCORE', P .. 'alive', worker))
  if alive and alive <= NOW then
    local lost = lose_each(call('ZRANGE', leases, 0, room - 1))
    if lost < room then
      forget_worker(worker)
    end
    return lost
  end
  local bound = exact(NOW)
  local beaten = alive and (tonumber(call('ZSCORE', P .. 'beaten', worker)) or 0)
  if beaten and beaten <= NOW then
    bound = '(' .. exact(beaten)
  end
  return lose_each(call('ZRANGEBYSCORE', leases, '-inf', bound, 'LIMIT', 0, room))
end

-- Take the leases that were handed over and have run out.
local function sweep_outside(room)
  return lose_each(call('ZRANGEBYSCORE', P .. 'outside', '-inf', exact(NOW), 'LIMIT', 0, room))
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
