-- Limits of jobs: slots, each the membership of a job in a set, and rates (rule 14). Needs: rows.
--
-- A script reads the size of a set once, and writes what comes and goes at its end (`commit`), all members of a set in one go; what
-- a job takes it never gives back before, so what goes is written last. A row holds its limits as JSON text without their keys,
-- which the jobs of a task share, and is read once for all of them; and the keys beside it.
--
-- Keys: slots:<limit>       set: jobs that have a slot
--       rate:<limit>        until when what was let in counts (GCRA), and the rate's share and burst; expires when it is over
--       unfinished:<limit>  zset: of a limit that replaces, its unfinished jobs that nobody has asked to stop, by age

local SOONEST = 1e-6 -- seconds that do not count: a time of today has no more digits
local RATE_KEPT = 60 -- seconds at least for which a rate that is over is kept: the store's clock may not be the server's

local NO_LIMITS = { all = {}, starting = {}, running = {}, unfinished = {}, replacing = {} }
local limits_by_text = {}
local sizes, come, go, passed_on = {}, {}, {}, {} -- what comes and goes: one job, or a list of several
local rates, debited = {}, {}

-- Whether a job has the same slot by an earlier limit of this name, which stands in one of these places.
local function has_same(row, limit, places)
  for _, place in ipairs(places or {}) do
    if row[LIMIT_KEYS][place] == row[LIMIT_KEYS][limit.place] then
      return true
    end
  end
end

-- Note, of a limit of slots, others of the same name: those that reject, and all that take the slot before it does.
local function find_namesakes(limit, all)
  for _, other in ipairs(all) do
    if other.name == limit.name and not other.window and other ~= limit then
      if limit.at_start and not other.at_start then
        limit.held_by = limit.held_by or {}
        table.insert(limit.held_by, other.place)
      end
      if limit.at_start and not other.at_start or limit.at_start == other.at_start and other.place < limit.place then
        limit.taken_by = limit.taken_by or {}
        table.insert(limit.taken_by, other.place)
      end
    end
  end
end

-- The limits of a row: all, those that are checked at a start, those whose slots are held while it runs and while it is unfinished,
-- and those that replace. The keys of the row say which slots and rates these are.
local function limits_of(row)
  local text = row[LIMITS]
  local limits = not text and NO_LIMITS or limits_by_text[text]
  if limits then
    return limits
  end
  limits = { all = cjson.decode(text), starting = {}, running = {}, unfinished = {}, replacing = {} }
  limits_by_text[text] = limits
  for place, limit in ipairs(limits.all) do
    limit.place, limit.at_start = place, limit.on_limit ~= nil and limit.when_full ~= 'reject'
    limit.prefix, limit.keys = P .. (limit.window and 'rate:' or 'slots:') .. limit.name .. '/', {}
    limit.burst = limit.burst or 1
    limit.every = limit.window and limit.window / limit.most
  end
  for _, limit in ipairs(limits.all) do
    if limit.at_start then
      table.insert(limits.starting, limit)
    end
    if limit.on_limit == 'replace' then
      table.insert(limits.replacing, limit)
    end
    if not limit.window then
      find_namesakes(limit, limits.all)
      table.insert(limit.at_start and limits.running or limits.unfinished, limit)
    end
  end
  return limits
end

local function id_of(row, limit)
  return limit.name .. '/' .. row[LIMIT_KEYS][limit.place]
end

-- Where the slots or the rate of a job's limit stand.
local function key_of(row, limit)
  local by = row[LIMIT_KEYS][limit.place]
  local key = limit.keys[by]
  if not key then
    key = limit.prefix .. by
    limit.keys[by] = key
  end
  return key
end

local function count_of(jobs)
  return jobs and (type(jobs) == 'table' and #jobs or 1) or 0
end

local function size_of(key)
  local size = sizes[key]
  if not size then
    size = call('SCARD', key)
    sizes[key] = size
  end
  return size + count_of(come[key]) - count_of(go[key])
end

-- Until when what a rate has let in counts. It never lies further ahead than a whole burst: the clock may have stepped back.
local function spent_until(limit, key)
  local known = rates[key]
  if known == nil then
    local text = call('GET', key)
    known = text and tonumber(text:match('^%S+')) or 0
    rates[key] = known
  end
  local most = NOW + limit.burst * limit.every
  if known > most then
    rates[key], debited[key] = most, limit
  end
  return math.min(math.max(known, NOW), most)
end

-- In how many seconds a rate lets one more in: 0 or less is now.
local function wait_of(limit, key)
  return spent_until(limit, key) - NOW - (limit.burst - 1) * limit.every
end

-- How many more a limit lets in now.
local function room_of(limit, key)
  if limit.window then
    return math.floor((SOONEST - wait_of(limit, key)) / limit.every) + 1
  end
  return limit.most - size_of(key)
end

local function is_full(limit, key)
  if limit.window then
    return wait_of(limit, key) > SOONEST
  end
  return size_of(key) >= limit.most
end

local function move(row, limits, moved, job)
  for _, limit in ipairs(limits) do
    if not limit.taken_by or not has_same(row, limit, limit.taken_by) then
      local key = key_of(row, limit)
      local jobs = moved[key]
      if not jobs then
        moved[key] = job
      elseif type(jobs) == 'table' then
        jobs[#jobs + 1] = job
      else
        moved[key] = { jobs, job }
      end
    end
  end
end

local function debit(limit, key)
  rates[key] = spent_until(limit, key) + limit.every
  debited[key] = limit
end

-- The limits that reject a job, as lists of their places and in how many seconds there is room ('-': nobody knows).
local function reached_by(row, with_rates)
  local reached = {}
  for _, limit in ipairs(limits_of(row).all) do
    if not limit.at_start and (with_rates or not limit.window) then
      local key = key_of(row, limit)
      if is_full(limit, key) then
        reached[#reached + 1] = { limit.place - 1, limit.window and exact(wait_of(limit, key)) or '-' }
      end
    end
  end
  return reached
end

-- Debit the rates that reject, now that a job is let in.
local function debit_submit(row)
  for _, limit in ipairs(limits_of(row).all) do
    if limit.window and not limit.at_start then
      debit(limit, key_of(row, limit))
    end
  end
end

-- Take what an unfinished job holds.
local function take_slots(id, row)
  local limits = limits_of(row)
  move(row, limits.unfinished, come, id)
  for _, limit in ipairs(limits.replacing) do
    call('ZADD', P .. 'unfinished:' .. id_of(row, limit), row[SEQ], id)
  end
end

-- Forget a job where it might be replaced.
local function spare(id, row)
  for _, limit in ipairs(limits_of(row).replacing) do
    call('ZREM', P .. 'unfinished:' .. id_of(row, limit), id)
  end
end

-- Give back what an unfinished job holds.
local function give_slots(id, row)
  move(row, limits_of(row).unfinished, go, id)
  spare(id, row)
end

-- The first limit that does not let a job start now.
local function full_at_start(row)
  for _, limit in ipairs(limits_of(row).starting) do
    if is_full(limit, key_of(row, limit)) and not has_same(row, limit, limit.held_by) then
      return limit
    end
  end
end

-- Take what a start takes. Nothing is full.
local function start_with(id, row)
  local limits = limits_of(row)
  move(row, limits.running, come, id)
  if #limits.starting > #limits.running then
    for _, limit in ipairs(limits.starting) do
      if limit.window then
        debit(limit, key_of(row, limit))
      end
    end
  end
end

-- A ready job leaves without a start: what it may have been woken for is for the next one.
local function pass_on(row)
  for _, limit in ipairs(limits_of(row).running) do
    local key = key_of(row, limit)
    passed_on[key] = (passed_on[key] or 0) + 1
  end
end

-- Take back the lease of a running job, and the slots of its start.
local function stop_running(id, row)
  drop_lease(id, row)
  count_running(row[QUEUE], -1)
  if row[LIMITS] then
    move(row, limits_of(row).running, go, id)
  end
end

local function write_moved(command, moved)
  for key, jobs in pairs(moved) do
    if type(jobs) == 'table' then
      in_pieces(command, key, jobs)
    else
      call(command, key, jobs)
    end
  end
end

last_steps[#last_steps + 1] = function()
  write_moved('SADD', come)
  write_moved('SREM', go)
  for key, limit in pairs(debited) do
    local kept = math.ceil(2 * (rates[key] - NOW) + RATE_KEPT)
    local rate = table.concat({ exact(rates[key]), exact(limit.every), exact(limit.burst) }, ' ')
    call('SET', key, rate, 'EX', math.min(kept, 1e9))
  end
  sizes, come, go, debited = {}, {}, {}, {}
end
