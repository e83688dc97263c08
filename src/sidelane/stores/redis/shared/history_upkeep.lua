-- Upkeep of history, by sweeps: rolls minutes up, samples how many jobs queues have, and removes what is old.
-- Needs: history, queue_depths.
-- Exports: sweep_history
--
-- Keys: those of history and queue_depths, and
--       history_totals  hash: by id of a series, a cell with all that is rolled up
--       history         hash: sampled, when queues were last sampled; trimmed, the first hour whose users are not trimmed; and by
--                       pruned:<step>, the first chunk of cells that is not removed

local SAMPLE_INTERVAL = 10 -- seconds
local TRIMMED_HOURS = 100 -- hours whose users one sweep trims
local MANY_USERS, KEPT_USERS = 2000, 500 -- from how many users on an hour that is not over is trimmed, and to how many
local FORGOTTEN_SERIES = 20 -- series that one sweep forgets

local function history_mark(name)
  return tonumber(call('HGET', PREFIX .. 'history', name))
end

local function set_history_mark(name, value)
  call('HSET', PREFIX .. 'history', name, float_text(value))
end

local function add_to_hash(key, field, counts)
  call('HSET', key, field, add_to_cell(call('HGET', key, field), counts))
end

-- Add the cells of past minutes to those of a minute, ten minutes and an hour and to the totals, each once. Returns how many.
local function roll_up(limit)
  local rolled, minute = {}, NOW - NOW % HISTORY_MINUTE
  for _, location in ipairs(call('HKEYS', PREFIX .. 'history_open')) do
    local at, name = location:match('^(%d+):(.*)$')
    if #rolled < limit and tonumber(at) ~= minute then
      local counts, id = cell_counts(call('HGET', PREFIX .. 'history_open', location)), series_id(name)
      for _, step in ipairs({ HISTORY_MINUTE, HISTORY_TEN_MINUTES, HISTORY_HOUR }) do
        local key, field = cell_location(step, id, at - at % step)
        add_to_hash(key, field, counts)
      end
      add_to_hash(PREFIX .. 'history_totals', id, counts)
      rolled[#rolled + 1] = location
    end
  end
  if #rolled > 0 then
    call('HDEL', PREFIX .. 'history_open', unpack(rolled))
  end
  return #rolled
end

-- Record the depths of all queues, if the last sample is old enough.
local function sample_queues(queues)
  local sampled = history_mark('sampled')
  if sampled and sampled <= NOW and NOW - sampled < SAMPLE_INTERVAL then
    return
  end
  set_history_mark('sampled', NOW)
  for _, queue in ipairs(queues) do
    local depths, counts = queue_depths(queue), series_counts(queue, '', '')
    add_count(counts, COUNT_MAX_READY, depths.ready)
    add_count(counts, COUNT_MAX_DELAYED, depths.delayed)
    add_count(counts, COUNT_MAX_WAITING_FOR_LIMIT, depths.blocked)
    add_count(counts, COUNT_MAX_RUNNING, depths.running)
    add_count(counts, COUNT_MAX_HEAD_WAIT_MS, milliseconds(depths.head_wait or 0))
  end
end

-- Remove the oldest chunk of a step whose cells are all too old, if there is one.
local function prune_cells(step, retention)
  local mark, oldest = 'pruned:' .. step, math.floor((NOW - retention) / (step * HISTORY_CHUNK))
  local chunk = history_mark(mark)
  if not chunk then
    set_history_mark(mark, oldest)
  elseif chunk < oldest then
    local keys = {}
    for _, id in ipairs(call('HKEYS', PREFIX .. 'history_names')) do
      keys[#keys + 1] = cell_location(step, id, chunk * step * HISTORY_CHUNK)
    end
    for first = 1, #keys, 1000 do
      call('UNLINK', unpack(keys, first, math.min(first + 999, #keys)))
    end
    set_history_mark(mark, chunk + 1)
  end
end

-- Forget series whose cells are all removed. Their totals go to the series of their task without a release, or else to `OTHER`.
local function forget_series()
  local oldest = ((history_mark('pruned:' .. HISTORY_HOUR) or 0) - 1) * HISTORY_HOUR * HISTORY_CHUNK
  for _, name in ipairs(call('ZRANGEBYSCORE', PREFIX .. 'history_used', '-inf', float_text(oldest), 'LIMIT', 0, FORGOTTEN_SERIES)) do
    local id = series_id(name)
    local totals = call('HGET', PREFIX .. 'history_totals', id)
    local queue, task, release = unpack(cmsgpack.unpack(name))
    local heir = release ~= '' and call('HGET', PREFIX .. 'history_ids', cmsgpack.pack({ queue, task, '' })) or series_id(other_series())
    if totals then
      add_to_hash(PREFIX .. 'history_totals', heir, cell_counts(totals))
    end
    call('HDEL', PREFIX .. 'history_ids', name)
    call('HDEL', PREFIX .. 'history_names', id)
    call('HDEL', PREFIX .. 'history_totals', id)
    call('ZREM', PREFIX .. 'history_used', name)
  end
end

-- Keep only the top users of hours that are over, and remove those of hours that are too old.
local function trim_users()
  local hour = NOW - NOW % HISTORY_HOUR
  local first = history_mark('trimmed') or hour
  local stop = math.min(hour, first + TRIMMED_HOURS * HISTORY_HOUR)
  for _, amount in ipairs(USER_AMOUNTS) do
    for at = first, stop - 1, HISTORY_HOUR do
      call('ZREMRANGEBYRANK', users_key(amount, at), 0, -HISTORY_TOP_USERS - 1)
      call('UNLINK', users_key(amount, at - HISTORY_HOUR_RETENTION))
    end
    if call('ZCARD', users_key(amount, hour)) > MANY_USERS then
      call('ZREMRANGEBYRANK', users_key(amount, hour), 0, -KEPT_USERS - 1)
    end
  end
  if stop > first or not history_mark('trimmed') then
    set_history_mark('trimmed', stop)
  end
end

-- Do the work of time for history. Returns how many cells were rolled up.
local function sweep_history(queues, limit)
  sample_queues(queues)
  trim_users()
  local rolled = limit > 0 and roll_up(limit) or 0
  if rolled < limit then
    prune_cells(HISTORY_MINUTE, HISTORY_MINUTE_RETENTION)
    prune_cells(HISTORY_TEN_MINUTES, HISTORY_MINUTE_RETENTION)
    prune_cells(HISTORY_HOUR, HISTORY_HOUR_RETENTION)
    forget_series()
  end
  return rolled
end
