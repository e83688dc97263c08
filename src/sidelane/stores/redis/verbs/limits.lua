-- limits: how much of some limits is used, and how many jobs wait for them.
-- Shared: prelude, rows, history_cells, history, limit_overrides, limits
-- Flags: no-writes
--
-- Keys: slots:<limit>, rate:<limit>, blocked:slots:<limit>, blocked:rate:<limit>; of one job of each, job:<id>.
-- Arguments: limits.
-- Returns for each that is used or waited for: limit, maximum in force (of a rate: its burst), how many are used, how many jobs wait,
--          and of a rate the seconds until it admits one more (otherwise '-').

-- Return the slots of a limit, as one of its jobs has it.
local function max_slots(id, job)
  local row = row_of(job)
  for _, limit in ipairs(limits_of(row).all) do
    if not limit.window and limit_id(row, limit) == id then
      return in_force(limit, PREFIX .. 'slots:' .. id).max
    end
  end
end

local replies = {}
for _, id in ipairs(remaining_args()) do
  local slots, blocked = PREFIX .. 'slots:' .. id, PREFIX .. 'blocked:slots:' .. id
  local used, rate = slots_used(slots), call('GET', PREFIX .. 'rate:' .. id)
  local waiting = call('ZCARD', blocked) + call('ZCARD', PREFIX .. 'blocked:rate:' .. id)
  local first = call('ZRANGE', blocked, 0, 0)[1]
  local job = call('SRANDMEMBER', slots) or first and first:sub(17)
  local maximum = job and max_slots(id, job)
  if maximum then
    replies[#replies + 1] = { id, maximum, used, waiting, '-' }
  elseif rate then
    local _, every, burst = rate:match('^(%S+) (%S+) (%S+)$')
    local limit = in_force({ every = tonumber(every), burst = tonumber(burst) }, PREFIX .. 'rate:' .. id)
    local spent, wait = arrival_time(limit, PREFIX .. 'rate:' .. id) - NOW, rate_wait(limit, PREFIX .. 'rate:' .. id)
    if spent > TIME_TOLERANCE or waiting > 0 then
      used = math.min(limit.burst, math.ceil(spent / limit.every - TIME_TOLERANCE))
      replies[#replies + 1] = { id, limit.burst, used, waiting, float_text(math.max(0, wait)) }
    end
  end
end
return replies
