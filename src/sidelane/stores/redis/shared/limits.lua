-- Limits: slots, each the membership of a job in a set, and rates (rule 14).
-- Needs: rows, history, limit_overrides.
-- Exports: TIME_TOLERANCE, released, unused_capacity, limits_of, limit_id, limit_key, count_jobs, slots_used, arrival_time, rate_wait, capacity_of, is_full, limits_hit, debit_submit_rates, acquire_slots, clear_replaceable, release_slots, full_limit, acquire_start_limits, pass_capacity_on, end_attempt
--
-- A script reads the size of each set once and writes all changes in `commit`. Released slots are written after acquired ones, since one
-- script may do both for a job. A row stores its limits as JSON text without their keys, which the jobs of a task share and which is
-- decoded once; the keys are in a separate field.
--
-- Keys: slots:<limit>        set: jobs that have a slot
--       rate:<limit>         the rate's theoretical arrival time (GCRA), interval and burst; it expires when it has no effect
--       limit_ids            set: limits that were used or waited for; sweeps remove those that are not any more
--       replaceable:<limit>  zset: of a limit that replaces, its unfinished jobs without a cancel request, by sequence

local TIME_TOLERANCE = 1e-6 -- seconds; the precision of a float that holds the current time
local MIN_RATE_TTL = 60 -- seconds; the store's clock may differ from the server's, which expires the key

local NO_LIMITS = { all = {}, starting = {}, running = {}, unfinished = {}, replacing = {} }
local limits_by_text = {}
local slot_counts = {} -- by key
local acquired = {} -- by key: one job id, or a list of them
local released = {} -- likewise
local unused_capacity = {} -- by key, a count
local rates, debited = {}, {}

-- Return true if a limit at one of these indexes has the same key, and so counts the same slot.
local function shares_slot(row, limit, places)
  for _, index in ipairs(places or {}) do
    if row[LIMIT_KEYS][index] == row[LIMIT_KEYS][limit.index] then
      return true
    end
  end
end

-- Record the other limits with the same name: those that reject, and all that acquire the slot before this one does.
local function link_same_name(limit, all)
  for _, other in ipairs(all) do
    if other.name == limit.name and not other.window and other ~= limit then
      if limit.at_start and not other.at_start then
        limit.rejecting_namesakes = limit.rejecting_namesakes or {}
        table.insert(limit.rejecting_namesakes, other.index)
      end
      if limit.at_start and not other.at_start or limit.at_start == other.at_start and other.index < limit.index then
        limit.earlier_namesakes = limit.earlier_namesakes or {}
        table.insert(limit.earlier_namesakes, other.index)
      end
    end
  end
end

-- Return the limits of a row: all; those checked at a start; those whose slots a running job has; those whose slots an unfinished job
-- has; and those that replace.
local function limits_of(row)
  local text = row[LIMITS]
  local limits = not text and NO_LIMITS or limits_by_text[text]
  if limits then
    return limits
  end
  limits = { all = cjson.decode(text), starting = {}, running = {}, unfinished = {}, replacing = {} }
  limits_by_text[text] = limits
  for index, limit in ipairs(limits.all) do
    limit.index, limit.at_start = index, limit.on_limit ~= nil and limit.on_limit ~= 'reject'
    limit.prefix, limit.keys = PREFIX .. (limit.window and 'rate:' or 'slots:') .. limit.name .. '/', {}
    limit.burst = limit.burst or 1
    limit.every = limit.window and limit.window / limit.max
  end
  for _, limit in ipairs(limits.all) do
    if limit.at_start then
      table.insert(limits.starting, limit)
    end
    if limit.on_limit == 'replace' then
      table.insert(limits.replacing, limit)
    end
    if not limit.window then
      link_same_name(limit, limits.all)
      table.insert(limit.at_start and limits.running or limits.unfinished, limit)
    end
  end
  return limits
end

local function limit_id(row, limit)
  return limit.name .. '/' .. row[LIMIT_KEYS][limit.index]
end

-- Return the key of a limit's slots or rate for a job.
local function limit_key(row, limit)
  local by = row[LIMIT_KEYS][limit.index]
  local key = limit.keys[by]
  if not key then
    key = limit.prefix .. by
    limit.keys[by] = key
  end
  return key
end

local function count_jobs(jobs)
  return jobs and (type(jobs) == 'table' and #jobs or 1) or 0
end

local function slots_used(key)
  local size = slot_counts[key]
  if not size then
    size = call('SCARD', key)
    slot_counts[key] = size
  end
  return size + count_jobs(acquired[key]) - count_jobs(released[key])
end

-- Return a rate's theoretical arrival time, at most a whole burst ahead, because the clock may have stepped back.
local function arrival_time(limit, key)
  local stored = rates[key]
  if stored == nil then
    local text = call('GET', key)
    stored = text and tonumber(text:match('^%S+')) or 0
    rates[key] = stored
  end
  local numbers = in_force(limit, key)
  local latest = NOW + numbers.burst * numbers.every
  if stored > latest then
    rates[key], debited[key] = latest, limit
  end
  return math.min(math.max(stored, NOW), latest)
end

-- Return the seconds until a rate admits one more; 0 or less means now.
local function rate_wait(limit, key)
  local numbers = in_force(limit, key)
  return arrival_time(limit, key) - NOW - (numbers.burst - 1) * numbers.every
end

-- Return how many more a limit admits now.
local function capacity_of(limit, key)
  if limit.window then
    return math.floor((TIME_TOLERANCE - rate_wait(limit, key)) / in_force(limit, key).every) + 1
  end
  return in_force(limit, key).max - slots_used(key)
end

local function is_full(limit, key)
  if limit.window then
    return rate_wait(limit, key) > TIME_TOLERANCE
  end
  return slots_used(key) >= in_force(limit, key).max
end

local function record_slots(row, limits, changes, id)
  for _, limit in ipairs(limits) do
    if not limit.earlier_namesakes or not shares_slot(row, limit, limit.earlier_namesakes) then
      local key = limit_key(row, limit)
      local jobs = changes[key]
      if not jobs then
        changes[key] = id
      elseif type(jobs) == 'table' then
        jobs[#jobs + 1] = id
      else
        changes[key] = { jobs, id }
      end
    end
  end
end

local function debit_rate(limit, key)
  rates[key] = arrival_time(limit, key) + in_force(limit, key).every
  debited[key] = limit
end

-- Return the limits that reject a job: a list of their indexes and the seconds until they admit it ('-' if unknown), and if others are
-- in force than the job declares, their maximum and window ('-' without one).
local function limits_hit(row, with_rates)
  local reached = {}
  for _, limit in ipairs(limits_of(row).all) do
    if not limit.at_start and (with_rates or not limit.window) then
      local key = limit_key(row, limit)
      if is_full(limit, key) then
        local hit, numbers = { limit.index - 1, limit.window and float_text(rate_wait(limit, key)) or '-' }, in_force(limit, key)
        if numbers ~= limit then
          hit[3], hit[4] = numbers.max, float_text(numbers.window)
        end
        reached[#reached + 1] = hit
      end
    end
  end
  return reached
end

-- Debit the rejecting rates of a job that was admitted.
local function debit_submit_rates(row)
  for _, limit in ipairs(limits_of(row).all) do
    if limit.window and not limit.at_start then
      debit_rate(limit, limit_key(row, limit))
    end
  end
end

-- Acquire the slots that an unfinished job has.
local function acquire_slots(id, row)
  local limits = limits_of(row)
  record_slots(row, limits.unfinished, acquired, id)
  for _, limit in ipairs(limits.replacing) do
    call('ZADD', PREFIX .. 'replaceable:' .. limit_id(row, limit), row[SEQUENCE], id)
  end
end

-- Make a job not replaceable any more.
local function clear_replaceable(id, row)
  for _, limit in ipairs(limits_of(row).replacing) do
    call('ZREM', PREFIX .. 'replaceable:' .. limit_id(row, limit), id)
  end
end

-- Release the slots that an unfinished job has.
local function release_slots(id, row)
  record_slots(row, limits_of(row).unfinished, released, id)
  clear_replaceable(id, row)
end

-- Return the first limit that blocks a job's start, if any.
local function full_limit(row)
  for _, limit in ipairs(limits_of(row).starting) do
    if is_full(limit, limit_key(row, limit)) and not shares_slot(row, limit, limit.rejecting_namesakes) then
      return limit
    end
  end
end

-- Acquire the slots and debit the rates of a start. No limit is full.
local function acquire_start_limits(id, row)
  local limits = limits_of(row)
  record_slots(row, limits.running, acquired, id)
  if #limits.starting > #limits.running then
    for _, limit in ipairs(limits.starting) do
      if limit.window then
        debit_rate(limit, limit_key(row, limit))
      end
    end
  end
end

-- Pass on the capacity that a ready job was unblocked for, because it leaves its queue without a start.
local function pass_capacity_on(row)
  for _, limit in ipairs(limits_of(row).running) do
    local key = limit_key(row, limit)
    unused_capacity[key] = (unused_capacity[key] or 0) + 1
  end
end

-- End the attempt of a running job: count it, remove its lease, and release the slots of its start.
local function end_attempt(id, row)
  count_attempt(row)
  remove_lease(id, row)
  count_running(row, -1)
  if row[LIMITS] then
    record_slots(row, limits_of(row).running, released, id)
  end
end

local function write_slots(command, changes)
  for key, jobs in pairs(changes) do
    if type(jobs) == 'table' then
      in_chunks(command, key, jobs)
    else
      call(command, key, jobs)
    end
  end
end

on_commit[#on_commit + 1] = function()
  local ids = {}
  for _, keys in ipairs({ acquired, debited }) do
    for key in pairs(keys) do
      ids[#ids + 1] = key:match('^%a+:(.*)$', #PREFIX + 1)
    end
  end
  in_chunks('SADD', PREFIX .. 'limit_ids', ids)
  write_slots('SADD', acquired)
  write_slots('SREM', released)
  for key, limit in pairs(debited) do
    local kept = math.ceil(2 * (rates[key] - NOW) + MIN_RATE_TTL)
    local rate = table.concat({ float_text(rates[key]), float_text(limit.every), float_text(limit.burst) }, ' ')
    call('SET', key, rate, 'EX', math.min(kept, 1e9))
  end
  slot_counts, acquired, released, debited = {}, {}, {}, {}
end
