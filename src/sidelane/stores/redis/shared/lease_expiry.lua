-- Expires what is not renewed: leases, and jobs without listeners (rules 5, 6, 7 and 12). Needs: finalize, workers.
--
-- Keys: abandoned_at  zset: jobs by the time they are cancelled unless somebody listens

-- Expire leases. Each counts as a worker loss, whatever the cause (rule 7). `loss` is for the history of a job that a worker ran.
local function expire_leases(ids, loss)
  read_rows(ids)
  for _, id in ipairs(ids) do
    local row = row_of(id)
    row[EPOCH] = new_epoch()
    record_worker_loss(id, row, row[EXTERNAL] and EXTERNAL_LOSS or loss or WORKER_LOSS, row[EXTERNAL] and NOT_ANSWERED or WORKER_LOST)
  end
  return #ids
end

-- Expire the leases of a dead worker, and remove the worker after the last of them. Of a worker that is alive or was removed,
-- expire those that have run out without a renewal.
local function sweep_worker(worker, limit)
  local leases = PREFIX .. 'leases:' .. worker
  local alive = tonumber(call('ZSCORE', PREFIX .. 'workers', worker))
  if alive and alive <= NOW then
    local loss = call('HGET', PREFIX .. 'worker_exits', worker)
    local lost = expire_leases(call('ZRANGE', leases, 0, limit - 1), loss)
    if lost < limit then
      remove_worker(worker)
    end
    return lost
  end
  local latest_expiry = float_text(NOW)
  local last_heartbeat = alive and (tonumber(call('ZSCORE', PREFIX .. 'heartbeats', worker)) or 0)
  if last_heartbeat and last_heartbeat <= NOW then
    latest_expiry = '(' .. float_text(last_heartbeat)
  end
  return expire_leases(call('ZRANGEBYSCORE', leases, '-inf', latest_expiry, 'LIMIT', 0, limit))
end

-- Expire the leases of external jobs that have run out.
local function sweep_external(limit)
  return expire_leases(call('ZRANGEBYSCORE', PREFIX .. 'external', '-inf', float_text(NOW), 'LIMIT', 0, limit))
end

local function sweep_leases(limit)
  local lost = sweep_external(limit)
  for _, worker in ipairs(call('SMEMBERS', PREFIX .. 'lease_holders')) do
    if lost < limit then
      lost = lost + sweep_worker(worker, limit - lost)
      if not call('ZSCORE', PREFIX .. 'workers', worker) and call('EXISTS', PREFIX .. 'leases:' .. worker) == 0 then
        call('SREM', PREFIX .. 'lease_holders', worker)
      end
    end
  end
  return lost
end

-- Cancel jobs whose last listener has been gone for too long. Returns how many of them have ended.
local function cancel_abandoned(limit)
  local ended = 0
  for _, id in ipairs(call('ZRANGEBYSCORE', PREFIX .. 'abandoned_at', '-inf', float_text(NOW), 'LIMIT', 0, limit)) do
    local row = row_of(id)
    cancel_job(id, row)
    ended = ended + (row[STATE] > RUNNING and 1 or 0)
    if row[ABANDON_AT] then
      row[ABANDON_AT] = false
      call('ZREM', PREFIX .. 'abandoned_at', id)
      save_row(id, row)
    end
  end
  return ended
end

local function at_most(time, duration)
  return time and duration and math.min(time, NOW + duration) or time
end

-- Shorten the timers of a job to their durations from now.
local function clamp_job(id)
  local row = row_of(id)
  local due, expires_at = row[DUE], row[EXPIRES_AT]
  row[DEADLINE_AT] = at_most(row[DEADLINE_AT], row[DEADLINE])
  if row[STATE] == DELAYED and row[DELAY] then
    row[DUE] = at_most(due, row[DELAY])
    call('ZADD', PREFIX .. 'delayed:' .. row[QUEUE], float_text(row[DUE]), id)
  end
  if expires_at then
    row[EXPIRES_AT] = at_most(at_most(expires_at, row[DEADLINE]), not row[STARTED] and row[EXPIRES])
    if row[STATE] < RUNNING then
      call('ZADD', PREFIX .. 'expiring', float_text(row[EXPIRES_AT]), id)
    end
  end
  if row[ABANDON_AT] then
    row[ABANDON_AT] = at_most(row[ABANDON_AT], row[ABANDON_AFTER])
    call('ZADD', PREFIX .. 'abandoned_at', float_text(row[ABANDON_AT]), id)
  end
  if row[EXTERNAL] then
    call('ZADD', PREFIX .. 'external', 'LT', float_text(NOW + row[EXTERNAL]), id)
  end
  record_timer(id, row)
  save_row(id, row)
end

-- After the clock stepped back, shorten all timers to their durations. Returns how many jobs had a timer, up to `limit`.
local function clamp_timers(limit)
  for _, worker in ipairs(call('SMEMBERS', PREFIX .. 'lease_holders')) do
    local duration = tonumber(call('HGET', PREFIX .. 'lease_durations', worker)) or 0
    local latest = float_text(NOW + duration)
    for _, key in ipairs({ 'workers', 'heartbeats' }) do
      if call('ZSCORE', PREFIX .. key, worker) then
        call('ZADD', PREFIX .. key, 'LT', latest, worker)
      end
    end
    local clamped = {}
    for _, id in ipairs(call('ZRANGEBYSCORE', PREFIX .. 'leases:' .. worker, '(' .. latest, '+inf')) do
      clamped[#clamped + 1], clamped[#clamped + 2] = latest, id
    end
    in_chunks('ZADD', PREFIX .. 'leases:' .. worker, clamped)
  end
  local stamped = call('ZRANGEBYSCORE', PREFIX .. 'timers', '(' .. float_text(NOW), '+inf', 'LIMIT', 0, limit)
  for _, id in ipairs(stamped) do
    clamp_job(id)
  end
  return #stamped
end
