-- Blocked jobs: those whose limit is full leave their queue, at no cost to their user, until the limit has capacity (rule 14).
-- Needs: history, transitions, limit_overrides, limits, fair_queue, wake_workers, enqueue.
-- Exports: block, remove_blocked, end_block, unblock_rates, sweep_limits, check_changed_limits
--
-- Each released slot unblocks one job. If another of its limits is full when it is claimed, it is blocked again. Sweeps unblock jobs that
-- wait although there is capacity, because an unblocked job may be in a queue that no worker claims from.
--
-- A job waits for the slots or the rate of a limit. A deploy may change a limit from one to the other, so each has separate keys.
--
-- Keys: blocked:<slots or rate>  zset: <sequence><id> of the jobs that wait for it, the highest priority first
--       blocked_limits           zset: slots and rates that jobs wait for, the one that sweeps have not checked for longest first
--       rate_wakeups             zset: rates that jobs wait for, by the time the next may start
--       unclaimed                hash: slots and rates that had capacity at the last sweep, and how many jobs it unblocked
--       blocked_in               hash: count of blocked jobs by queue
--       meta                     hash: limit_sweeps, how many slots and rates sweeps have checked

local MAX_LOOKAHEAD = 200 -- jobs that one script reads beyond the capacity

local MAX_SCANNED = 200 -- about how many slots and rates one step of `check_changed_limits` reads

local lookahead = MAX_LOOKAHEAD

local function block(id, row, limit)
  local key = limit_key(row, limit)
  local limit_name = key:sub(#PREFIX + 1)
  row[STATE], row[BLOCKED_BY], row[DUE] = BLOCKED, limit_name, NOW
  add_transition(row, 'blocked', limit_id(row, limit))
  call('ZADD', PREFIX .. 'blocked:' .. limit_name, float_text(-tonumber(row[PRIORITY])), sort_key(row[SEQUENCE], id))
  call('ZADD', PREFIX .. 'blocked_limits', 'NX', 0, limit_name)
  call('SADD', PREFIX .. 'limit_ids', limit_name:match('^%a+:(.*)$'))
  if limit.window then
    call('ZADD', PREFIX .. 'rate_wakeups', float_text(NOW + rate_wait(limit, key)), limit_name)
  end
  call('HINCRBY', PREFIX .. 'blocked_in', row[QUEUE], 1)
  pass_capacity_on(row)
  save_row(id, row)
  notify_job(id)
end

local function remove_blocked(id, row)
  local limit_name = row[BLOCKED_BY]
  call('ZREM', PREFIX .. 'blocked:' .. limit_name, sort_key(row[SEQUENCE], id))
  if call('EXISTS', PREFIX .. 'blocked:' .. limit_name) == 0 then
    call('ZREM', PREFIX .. 'blocked_limits', limit_name)
    call('ZREM', PREFIX .. 'rate_wakeups', limit_name)
    call('HDEL', PREFIX .. 'unclaimed', limit_name)
  end
  call('HINCRBY', PREFIX .. 'blocked_in', row[QUEUE], -1)
  add_count(counts_of(row), COUNT_LIMIT_WAIT_MS, milliseconds(NOW - row[DUE]))
  row[BLOCKED_BY] = false
end

-- Let a blocked job wait no longer for its limit. It is ready from now on.
local function end_block(id, row)
  remove_blocked(id, row)
  add_transition(row, 'unblocked')
  row[STATE], row[DUE] = READY, NOW
end

-- Return the limit that a job waits for.
local function blocking_limit(row)
  for _, limit in ipairs(limits_of(row).starting) do
    if limit_key(row, limit) == PREFIX .. row[BLOCKED_BY] then
      return limit
    end
  end
end

local function blocked_jobs(limit_name, first, count)
  local ids = {}
  for index, member in ipairs(call('ZRANGE', PREFIX .. 'blocked:' .. limit_name, first, first + count - 1)) do
    ids[index] = member:sub(17)
  end
  read_rows(ids)
  return ids
end

-- Return the limit as the first of its blocked jobs has it.
local function first_blocking_limit(limit_name)
  return blocking_limit(row_of(blocked_jobs(limit_name, 0, 1)[1]))
end

-- Return the first blocked jobs in queues that are not paused, or if none is found soon, the first ones.
local function unblock_candidates(limit_name, count)
  local active, paused, read = {}, {}, 0

  local function read_more(chunk)
    local ids = blocked_jobs(limit_name, read, chunk)
    read = read + #ids
    for _, id in ipairs(ids) do
      local list = is_paused(row_of(id)[QUEUE]) and paused or active
      list[#list + 1] = id
    end
  end

  read_more(count)
  if #active < count and read == count and lookahead > 0 then
    read_more(lookahead)
    lookahead = lookahead + count - read
  end
  return #active > 0 and active or paused
end

-- Unblock up to `count` jobs that wait for the slots or the rate of a limit. Returns how many.
local function unblock(limit_name, count)
  local unblocked = 0
  for _, id in ipairs(count > 0 and unblock_candidates(limit_name, count) or {}) do
    local row = row_of(id)
    if unblocked < count and not is_full(blocking_limit(row), PREFIX .. limit_name) then
      unblocked = unblocked + 1
      end_block(id, row)
      enqueue(id, row)
      record_ready(row)
    end
  end
  return unblocked
end

-- Unblock jobs whose rates admit one more by now, up to `limit_count`. Returns how many.
local function unblock_rates(limit_count)
  local unblocked = 0
  for _, limit_name in ipairs(call('ZRANGEBYSCORE', PREFIX .. 'rate_wakeups', '-inf', float_text(NOW), 'LIMIT', 0, limit_count)) do
    local limit = first_blocking_limit(limit_name)
    local wait = rate_wait(limit, PREFIX .. limit_name)
    local count = unblock(limit_name, math.min(capacity_of(limit, PREFIX .. limit_name), math.max(1, limit_count - unblocked)))
    unblocked = unblocked + count
    if call('ZSCORE', PREFIX .. 'rate_wakeups', limit_name) then
      local every = in_force(limit, PREFIX .. limit_name).every
      local next_wait = wait + count * every
      call('ZADD', PREFIX .. 'rate_wakeups', float_text(NOW + (next_wait > TIME_TOLERANCE and next_wait or every)), limit_name)
    end
  end
  return unblocked
end

-- After the clock stepped back, let a rate's jobs wait no longer than the rate allows.
local function clamp_rate_wakeup(limit_name, limit)
  local numbers = in_force(limit, PREFIX .. limit_name)
  if tonumber(call('ZSCORE', PREFIX .. 'rate_wakeups', limit_name)) > NOW + (numbers.burst + 1) * numbers.every then
    call('ZADD', PREFIX .. 'rate_wakeups', float_text(NOW), limit_name)
  end
end

-- Return how many jobs a sweep unblocks: as many as there is capacity, and if there was capacity at the last sweep too, at least twice as
-- many as then. So the sweeps soon pass jobs that no worker claims. Rates unblock by themselves the first time.
local function unblock_count(limit_name, limit)
  local capacity = capacity_of(limit, PREFIX .. limit_name)
  if capacity <= 0 then
    call('HDEL', PREFIX .. 'unclaimed', limit_name)
    return 0
  end
  local previous = tonumber(call('HGET', PREFIX .. 'unclaimed', limit_name)) or 0
  local count = math.max(limit.window and 0 or math.min(capacity, MAX_LOOKAHEAD), math.min(2 * previous, MAX_LOOKAHEAD))
  call('HSET', PREFIX .. 'unclaimed', limit_name, math.max(1, count))
  return count
end

-- Check up to `limit_count` limits with blocked jobs, and unblock those that no release has unblocked. Returns how many.
local function sweep_limits(limit_count)
  local unblocked = 0
  for _, limit_name in ipairs(limit_count > 0 and call('ZRANGE', PREFIX .. 'blocked_limits', 0, limit_count - 1) or {}) do
    local limit = first_blocking_limit(limit_name)
    if limit.window then
      clamp_rate_wakeup(limit_name, limit)
    end
    unblocked = unblocked + unblock(limit_name, math.min(unblock_count(limit_name, limit), math.max(1, limit_count - unblocked)))
    if call('ZSCORE', PREFIX .. 'blocked_limits', limit_name) then
      call('ZADD', PREFIX .. 'blocked_limits', call('HINCRBY', PREFIX .. 'meta', 'limit_sweeps', 1), limit_name)
    end
  end
  return unblocked
end

-- Return some slots and rates that jobs wait for and that an override concerns, and where to continue ('0': these are the last).
local function waiting_at_changed(id, cursor)
  if not id:find('/', 1, true) then
    local keys = PREFIX .. 'blocked_limits'
    local next_cursor, found = unpack(call('ZSCAN', keys, cursor, 'MATCH', '*:' .. id .. '/*', 'COUNT', MAX_SCANNED))
    local names = {}
    for index = 1, #found, 2 do
      if found[index]:match('^%a+:([^/]*)') == id then
        names[#names + 1] = found[index]
      end
    end
    return names, next_cursor
  end
  local names = {}
  for _, kind in ipairs({ 'slots:', 'rate:' }) do
    if call('ZSCORE', PREFIX .. 'blocked_limits', kind .. id) then
      names[#names + 1] = kind .. id
    end
  end
  return names, '0'
end

-- Unblock about `limit_count` jobs of limits whose numbers have changed, at least one of each that has capacity. `sweep_limits` unblocks
-- the rest. Rates become due, so call `unblock_rates` afterwards. Returns how many.
local function check_changed_limits(limit_count)
  local unblocked, changed = 0, call('HGETALL', PREFIX .. 'limit_checks')
  for index = 1, #changed, 2 do
    local id = changed[index]
    local names, cursor = waiting_at_changed(id, changed[index + 1])
    for _, limit_name in ipairs(names) do
      if limit_name:find('^rate:') then
        call('ZADD', PREFIX .. 'rate_wakeups', 'XX', 'LT', float_text(NOW), limit_name)
      else
        local capacity = capacity_of(first_blocking_limit(limit_name), PREFIX .. limit_name)
        unblocked = unblocked + unblock(limit_name, math.min(capacity, math.max(1, limit_count - unblocked)))
      end
    end
    if cursor == '0' then
      call('HDEL', PREFIX .. 'limit_checks', id)
    else
      call('HSET', PREFIX .. 'limit_checks', id, cursor)
    end
    if unblocked >= limit_count then
      break
    end
  end
  return unblocked
end

on_commit[#on_commit + 1] = function()
  if not next(released) and not next(unused_capacity) or call('EXISTS', PREFIX .. 'blocked_limits') == 0 then
    return
  end
  local names, freed = {}, {}

  local function add_freed(key, count)
    local limit_name = key:sub(#PREFIX + 1)
    if not freed[limit_name] then
      names[#names + 1] = limit_name
    end
    freed[limit_name] = (freed[limit_name] or 0) + count
  end

  for key, jobs in pairs(released) do
    add_freed(key, count_jobs(jobs))
  end
  for key, count in pairs(unused_capacity) do
    add_freed(key, count)
  end
  for first = 1, #names, 1000 do
    local chunk = { unpack(names, first, math.min(first + 999, #names)) }
    for index, is_blocked in ipairs(call('ZMSCORE', PREFIX .. 'blocked_limits', unpack(chunk))) do
      if is_blocked then
        local limit_name = chunk[index]
        unblock(limit_name, math.min(freed[limit_name], capacity_of(first_blocking_limit(limit_name), PREFIX .. limit_name)))
      end
    end
  end
  unused_capacity = {}
end
