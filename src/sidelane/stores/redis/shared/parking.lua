-- Parking: jobs whose limit is full leave their line, at no cost to their user, until there is room (rule 14).
-- Needs: limits, lines, waking, arrivals.
--
-- Whenever a slot is given back one job is woken; it may meet another full limit when it is claimed, and is parked there then.
-- Sweeps wake what has waited although there was room, since a woken job may stand where nobody claims it.
--
-- Keys: parked:<limit>  zset: jobs that wait for the limit, higher priorities first, then older ones
--       parked          zset: limits that jobs wait for; those that a sweep has not looked at for longest come first
--       wakes           zset: rates that jobs wait for, by when the next may start
--       parked_in       hash: parked jobs by queue
--       meta            hash: looks, how many limits sweeps have looked at

local MOST_LOOKED_AT = 200 -- jobs among which one is chosen that can start
local PRIORITY_STEP = 4398046511104 -- more than there will be ages; a sum with a small priority is still exact

local function park(id, row, limit)
  local limit_id = id_of(row, limit)
  row[STATE], row[PARKED_AT] = PARKED, limit_id
  call('ZADD', P .. 'parked:' .. limit_id, exact(row[SEQ] - tonumber(row[PRIORITY]) * PRIORITY_STEP), id)
  call('ZADD', P .. 'parked', 'NX', 0, limit_id)
  if limit.window then
    call('ZADD', P .. 'wakes', exact(NOW + wait_of(limit, key_of(row, limit))), limit_id)
  end
  call('HINCRBY', P .. 'parked_in', row[QUEUE], 1)
  pass_on(row)
  save(id, row)
  touch_job(id)
end

local function unpark(id, row)
  local limit = row[PARKED_AT]
  call('ZREM', P .. 'parked:' .. limit, id)
  if call('EXISTS', P .. 'parked:' .. limit) == 0 then
    call('ZREM', P .. 'parked', limit)
    call('ZREM', P .. 'wakes', limit)
  end
  call('HINCRBY', P .. 'parked_in', row[QUEUE], -1)
  row[PARKED_AT] = false
end

-- The limit that a job waits for.
local function limit_at(row)
  for _, limit in ipairs(limits_of(row).starting) do
    if id_of(row, limit) == row[PARKED_AT] then
      return limit
    end
  end
end

-- Wake as many of these jobs, which wait for one limit, as there is room for, up to `most`. Returns how many.
local function wake_some(waiting, most)
  read_rows(waiting)
  local woken = 0
  for _, id in ipairs(waiting) do
    local row = row_of(id)
    local limit = limit_at(row)
    if woken < most and room_of(limit, key_of(row, limit)) > woken then
      woken = woken + 1
      unpark(id, row)
      row[STATE] = READY
      queue_up(id, row)
      expect(row)
    end
  end
  return woken
end

-- The limit that jobs wait for, and where its slots or its rate stand, by the first of them.
local function first_limit(id)
  local row = row_of(call('ZRANGE', P .. 'parked:' .. id, 0, 0)[1])
  local limit = limit_at(row)
  return limit, key_of(row, limit)
end

-- Wake as many jobs that wait for a limit as there is room for, up to `most`, those in queues that are not paused before others.
local function wake(id, most)
  if room_of(first_limit(id)) <= 0 then
    return 0
  end
  local waiting = call('ZRANGE', P .. 'parked:' .. id, 0, MOST_LOOKED_AT - 1)
  read_rows(waiting)
  local served, paused = {}, {}
  for _, job in ipairs(waiting) do
    local list = is_paused(row_of(job)[QUEUE]) and paused or served
    list[#list + 1] = job
  end
  return wake_some(#served > 0 and served or paused, most)
end

-- Wake jobs whose rates let one more start by now, up to `room`. Returns how many.
local function wake_rates(room)
  local woken = 0
  for _, id in ipairs(call('ZRANGEBYSCORE', P .. 'wakes', '-inf', exact(NOW), 'LIMIT', 0, room)) do
    local limit, key = first_limit(id)
    local count = wake(id, math.max(1, room - woken))
    woken = woken + count
    if call('ZSCORE', P .. 'wakes', id) then
      call('ZADD', P .. 'wakes', exact(NOW + math.max(limit.every, wait_of(limit, key) + count * limit.every)), id)
    end
  end
  return woken
end

-- Where the clock has stepped back, let a rate's jobs wait no longer than those of a rate can.
local function wake_sooner(id, limit)
  local wakes = tonumber(call('ZSCORE', P .. 'wakes', id))
  if wakes > NOW + (limit.burst + 1) * limit.every then
    call('ZADD', P .. 'wakes', exact(NOW), id)
  end
end

-- Look at up to `room` limits whose jobs wait, and wake as many jobs as there are slots for. Returns how many.
local function look_after(room)
  local woken = 0
  for _, id in ipairs(room > 0 and call('ZRANGE', P .. 'parked', 0, room - 1) or {}) do
    local limit = first_limit(id)
    if limit.window then
      wake_sooner(id, limit)
    else
      woken = woken + wake(id, math.max(1, room - woken))
    end
    if call('ZSCORE', P .. 'parked', id) then
      call('ZADD', P .. 'parked', call('HINCRBY', P .. 'meta', 'looks', 1), id)
    end
  end
  return woken
end

last_steps[#last_steps + 1] = function()
  if not next(go) and not next(passed_on) or call('EXISTS', P .. 'parked') == 0 then
    return
  end
  local ids, freed = {}, {}

  local function free(key, count)
    local id = key:sub(#(P .. 'slots:') + 1)
    if not freed[id] then
      ids[#ids + 1] = id
    end
    freed[id] = (freed[id] or 0) + count
  end

  for key, jobs in pairs(go) do
    free(key, count_of(jobs))
  end
  for key, count in pairs(passed_on) do
    free(key, count)
  end
  for first = 1, #ids, 1000 do
    local piece = { unpack(ids, first, math.min(first + 999, #ids)) }
    for place, waits in ipairs(call('ZMSCORE', P .. 'parked', unpack(piece))) do
      if waits then
        local id, count = piece[place], freed[piece[place]]
        wake_some(call('ZRANGE', P .. 'parked:' .. id, 0, count - 1), count)
      end
    end
  end
  passed_on = {}
end
