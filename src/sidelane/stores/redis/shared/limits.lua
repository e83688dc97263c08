-- Limits of jobs: slots, each the membership of a job in a set, and rates (rule 14). Needs: rows.
--
-- A script reads the size of a set once, and what it moves is written at its end (`commit`), all members of a set in one go.
-- A row holds its job's limits as JSON text, which many jobs may share.
--
-- Keys: slots:<limit>       set: jobs that have a slot
--       rate:<limit>        until when what was let in counts (GCRA), and the rate's most, share and burst; expires when it is over
--       unfinished:<limit>  zset: of a limit that replaces, its unfinished jobs that nobody has asked to stop, by age

local SOONEST = 1e-6 -- seconds that do not count: a time of today has no more digits
local RATE_KEPT = 60 -- seconds at least for which a rate that is over is kept: the store's clock may not be the server's

local NO_LIMITS = { all = {}, starting = {}, slots = {}, taken = {}, replaced = {} }
local limits_by_text = {}
local sizes, growth, moves, freed = {}, {}, {}, {}
local rates, debited = {}, {}

-- The limits of a job: all, those that are checked at a start, the ids of slots that are taken from start to stop, of those that
-- are taken from the submit to the end, and of those that replace.
local function limits_of(row)
  local text = row[LIMITS]
  local limits = not text and NO_LIMITS or limits_by_text[text]
  if limits then
    return limits
  end
  limits = { all = cjson.decode(text), starting = {}, slots = {}, taken = {}, replaced = {} }
  limits_by_text[text] = limits
  local seen = {}
  for _, limit in ipairs(limits.all) do
    limit.id = limit.name .. '/' .. limit.key
    limit.at_start = limit.when_full and limit.when_full ~= 'reject'
    if limit.window then
      limit.every, limit.burst = limit.window / limit.most, limit.burst or 1
    elseif not limit.at_start and not seen[limit.id] then
      limits.taken[#limits.taken + 1] = limit.id
      seen[limit.id] = true
    end
  end
  for _, limit in ipairs(limits.all) do
    if limit.at_start and (limit.window or not seen[limit.id]) then
      limits.starting[#limits.starting + 1] = limit
    end
    if limit.when_full == 'replace' then
      limits.replaced[#limits.replaced + 1] = limit
    end
  end
  for _, limit in ipairs(limits.starting) do
    if not limit.window and not seen[limit.id] then
      limits.slots[#limits.slots + 1] = limit.id
      seen[limit.id] = true
    end
  end
  return limits
end

local function size_of(id)
  sizes[id] = sizes[id] or call('SCARD', P .. 'slots:' .. id)
  return sizes[id] + (growth[id] or 0)
end

-- Until when what a rate has let in counts. It never lies further ahead than a whole burst: the clock may have stepped back.
local function spent_until(limit)
  local known = rates[limit.id]
  if known == nil then
    local text = call('GET', P .. 'rate:' .. limit.id)
    known = text and tonumber(text:match('^%S+')) or 0
    rates[limit.id] = known
  end
  local most = NOW + limit.burst * limit.every
  if known > most then
    rates[limit.id], debited[limit.id] = most, limit
  end
  return math.min(math.max(known, NOW), most)
end

-- In how many seconds a rate lets one more in: 0 or less is now.
local function wait_of(limit)
  return spent_until(limit) - NOW - (limit.burst - 1) * limit.every
end

-- How many more a limit lets in now.
local function room_of(limit)
  if limit.window then
    return math.floor((SOONEST - wait_of(limit)) / limit.every) + 1
  end
  return limit.most - size_of(limit.id)
end

local function is_full(limit)
  if limit.window then
    return wait_of(limit) > SOONEST
  end
  return size_of(limit.id) >= limit.most
end

local function move(ids, job, comes)
  for _, id in ipairs(ids) do
    local moved = moves[id] or {}
    moves[id] = moved
    moved[job] = comes
    growth[id] = (growth[id] or 0) + (comes and 1 or -1)
    if not comes then
      freed[id] = (freed[id] or 0) + 1
    end
  end
end

local function debit(limit)
  rates[limit.id] = spent_until(limit) + limit.every
  debited[limit.id] = limit
end

-- The limits that reject a job, as lists of their places and in how many seconds there is room ('-': nobody knows).
local function reached_by(row, with_rates)
  local reached = {}
  for place, limit in ipairs(limits_of(row).all) do
    if not limit.at_start and (with_rates or not limit.window) and is_full(limit) then
      reached[#reached + 1] = { place - 1, limit.window and exact(wait_of(limit)) or '-' }
    end
  end
  return reached
end

-- Debit the rates that reject, now that a job is let in.
local function debit_submit(row)
  for _, limit in ipairs(limits_of(row).all) do
    if limit.window and not limit.at_start then
      debit(limit)
    end
  end
end

-- Take what an unfinished job holds.
local function take_slots(id, row)
  local limits = limits_of(row)
  move(limits.taken, id, true)
  for _, limit in ipairs(limits.replaced) do
    call('ZADD', P .. 'unfinished:' .. limit.id, row[SEQ], id)
  end
end

-- Forget a job where it might be replaced.
local function spare(id, row)
  for _, limit in ipairs(limits_of(row).replaced) do
    call('ZREM', P .. 'unfinished:' .. limit.id, id)
  end
end

-- Give back what an unfinished job holds.
local function give_slots(id, row)
  move(limits_of(row).taken, id, false)
  spare(id, row)
end

-- The first limit that does not let a job start now.
local function full_at_start(row)
  for _, limit in ipairs(limits_of(row).starting) do
    if is_full(limit) then
      return limit
    end
  end
end

-- Take what a start takes. Nothing is full.
local function start_with(id, row)
  local limits = limits_of(row)
  move(limits.slots, id, true)
  for _, limit in ipairs(limits.starting) do
    if limit.window then
      debit(limit)
    end
  end
end

-- A ready job leaves without a start: what it may have been woken for is for the next one.
local function pass_on(row)
  for _, id in ipairs(limits_of(row).slots) do
    freed[id] = (freed[id] or 0) + 1
  end
end

-- Take back the lease of a running job, and the slots of its start.
local function stop_running(id, row)
  drop_lease(id, row)
  move(limits_of(row).slots, id, false)
end

last_steps[#last_steps + 1] = function()
  for id, moved in pairs(moves) do
    local come, go = {}, {}
    for job, comes in pairs(moved) do
      local list = comes and come or go
      list[#list + 1] = job
    end
    in_pieces('SADD', P .. 'slots:' .. id, come)
    in_pieces('SREM', P .. 'slots:' .. id, go)
  end
  for id, limit in pairs(debited) do
    local kept = math.ceil(2 * (rates[id] - NOW) + RATE_KEPT)
    local rate = table.concat({ exact(rates[id]), exact(limit.most), exact(limit.every), exact(limit.burst) }, ' ')
    call('SET', P .. 'rate:' .. id, rate, 'EX', math.min(kept, 1e9))
  end
  sizes, growth, moves, debited = {}, {}, {}, {}
end
