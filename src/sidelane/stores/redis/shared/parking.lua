-- Parking: jobs whose limit is full leave their line, at no cost to their user, until there is room (rule 14).
-- Needs: limits, lines, waking, arrivals.
--
-- Whenever a slot is given back one job is woken; it may meet another full limit when it is claimed, and is parked there then.
-- Sweeps wake what has waited although there was room, since a woken job may stand where nobody claims it.
--
-- What a job waits for is the slots or the rate of a limit; a deploy may make one of the other, so they are kept apart.
--
-- Keys: parked:<slots or rate>  zset: <age><id> of the jobs that wait for it by their priority, the highest first
--       parked                  zset: slots and rates that jobs wait for; those not looked at by a sweep for longest come first
--       wakes                   zset: rates that jobs wait for, by when the next may start
--       overdue                 hash: slots and rates that had room for jobs that wait at the last sweep, and how many it woke
--       parked_in               hash: parked jobs by queue
--       meta                    hash: looks, how many slots and rates sweeps have looked at

local MOST_LOOKED_AT = 200 -- jobs that one script looks at beyond as many as there is room for

local looks = MOST_LOOKED_AT

local function park(id, row, limit)
  local key = key_of(row, limit)
  local bound = key:sub(#P + 1)
  row[STATE], row[PARKED_AT] = PARKED, bound
  call('ZADD', P .. 'parked:' .. bound, exact(-tonumber(row[PRIORITY])), turn(row[SEQ], id))
  call('ZADD', P .. 'parked', 'NX', 0, bound)
  if limit.window then
    call('ZADD', P .. 'wakes', exact(NOW + wait_of(limit, key)), bound)
  end
  call('HINCRBY', P .. 'parked_in', row[QUEUE], 1)
  pass_on(row)
  save(id, row)
  touch_job(id)
end

local function unpark(id, row)
  local bound = row[PARKED_AT]
  call('ZREM', P .. 'parked:' .. bound, turn(row[SEQ], id))
  if call('EXISTS', P .. 'parked:' .. bound) == 0 then
    call('ZREM', P .. 'parked', bound)
    call('ZREM', P .. 'wakes', bound)
    call('HDEL', P .. 'overdue', bound)
  end
  call('HINCRBY', P .. 'parked_in', row[QUEUE], -1)
  row[PARKED_AT] = false
end

-- The limit that a job waits for.
local function limit_at(row)
  for _, limit in ipairs(limits_of(row).starting) do
    if key_of(row, limit) == P .. row[PARKED_AT] then
      return limit
    end
  end
end

local function jobs_at(bound, first, count)
  local ids = {}
  for place, each in ipairs(call('ZRANGE', P .. 'parked:' .. bound, first, first + count - 1)) do
    ids[place] = each:sub(17)
  end
  read_rows(ids)
  return ids
end

-- The limit that jobs wait for, as the first of them has it.
local function limit_of_first(bound)
  return limit_at(row_of(jobs_at(bound, 0, 1)[1]))
end

-- The first jobs that wait in queues that are not paused, or, where none is found soon, the first ones.
local function first_served(bound, count)
  local served, paused, seen = {}, {}, 0

  local function look_on(size)
    local ids = jobs_at(bound, seen, size)
    seen = seen + #ids
    for _, id in ipairs(ids) do
      local list = is_paused(row_of(id)[QUEUE]) and paused or served
      list[#list + 1] = id
    end
  end

  look_on(count)
  if #served < count and seen == count and looks > 0 then
    look_on(looks)
    looks = looks + count - seen
  end
  return #served > 0 and served or paused
end

-- Wake up to `count` jobs that wait for the slots or the rate of a limit. Returns how many.
local function wake(bound, count)
  local woken = 0
  for _, id in ipairs(count > 0 and first_served(bound, count) or {}) do
    local row = row_of(id)
    if woken < count and not is_full(limit_at(row), P .. bound) then
      woken = woken + 1
      unpark(id, row)
      row[STATE] = READY
      queue_up(id, row)
      expect(row)
    end
  end
  return woken
end

-- Wake jobs whose rates let one more start by now, up to `most`. Returns how many.
local function wake_rates(most)
  local woken = 0
  for _, bound in ipairs(call('ZRANGEBYSCORE', P .. 'wakes', '-inf', exact(NOW), 'LIMIT', 0, most)) do
    local limit = limit_of_first(bound)
    local wait = wait_of(limit, P .. bound)
    local count = wake(bound, math.min(room_of(limit, P .. bound), math.max(1, most - woken)))
    woken = woken + count
    if call('ZSCORE', P .. 'wakes', bound) then
      local until_next = wait + count * limit.every
      call('ZADD', P .. 'wakes', exact(NOW + (until_next > SOONEST and until_next or limit.every)), bound)
    end
  end
  return woken
end

-- Where the clock has stepped back, let a rate's jobs wait no longer than those of a rate can.
local function wake_sooner(bound, limit)
  if tonumber(call('ZSCORE', P .. 'wakes', bound)) > NOW + (limit.burst + 1) * limit.every then
    call('ZADD', P .. 'wakes', exact(NOW), bound)
  end
end

-- How many jobs a sweep wakes: as many as there is room for, and where that was so at the last sweep too twice as many as then,
-- so that those that nobody claims are soon left behind. Rates wake by themselves the first time.
local function overdue_at(bound, limit)
  local room = room_of(limit, P .. bound)
  if room <= 0 then
    call('HDEL', P .. 'overdue', bound)
    return 0
  end
  local before = tonumber(call('HGET', P .. 'overdue', bound)) or 0
  local count = math.max(limit.window and 0 or math.min(room, MOST_LOOKED_AT), math.min(2 * before, MOST_LOOKED_AT))
  call('HSET', P .. 'overdue', bound, math.max(1, count))
  return count
end

-- Look at up to `most` limits whose jobs wait, and wake jobs that nobody else has. Returns how many.
local function look_after(most)
  local woken = 0
  for _, bound in ipairs(most > 0 and call('ZRANGE', P .. 'parked', 0, most - 1) or {}) do
    local limit = limit_of_first(bound)
    if limit.window then
      wake_sooner(bound, limit)
    end
    woken = woken + wake(bound, math.min(overdue_at(bound, limit), math.max(1, most - woken)))
    if call('ZSCORE', P .. 'parked', bound) then
      call('ZADD', P .. 'parked', call('HINCRBY', P .. 'meta', 'looks', 1), bound)
    end
  end
  return woken
end

last_steps[#last_steps + 1] = function()
  if not next(go) and not next(passed_on) or call('EXISTS', P .. 'parked') == 0 then
    return
  end
  local bounds, freed = {}, {}

  local function free(key, count)
    local bound = key:sub(#P + 1)
    if not freed[bound] then
      bounds[#bounds + 1] = bound
    end
    freed[bound] = (freed[bound] or 0) + count
  end

  for key, jobs in pairs(go) do
    free(key, count_of(jobs))
  end
  for key, count in pairs(passed_on) do
    free(key, count)
  end
  for first = 1, #bounds, 1000 do
    local piece = { unpack(bounds, first, math.min(first + 999, #bounds)) }
    for place, waits in ipairs(call('ZMSCORE', P .. 'parked', unpack(piece))) do
      if waits then
        local bound = piece[place]
        wake(bound, math.min(freed[bound], room_of(limit_of_first(bound), P .. bound)))
      end
    end
  end
  passed_on = {}
end
