-- limits: what some limits have taken and who waits for them.
-- Shared: store, rows, limits
-- Flags: no-writes
--
-- Keys: slots:<limit>, rate:<limit>, parked:slots:<limit>, parked:rate:<limit>; of one job of each, job:<id>.
-- Arguments: limits.
-- Returns for each that has anything taken or waiting: limit, most (of a rate: at once), how many are taken and how many jobs wait,
--          and of a rate in how many seconds one more may come (else '-').

-- How many a limit of slots has, as one of its jobs knows.
local function most_of(id, job)
  local row = row_of(job)
  for _, limit in ipairs(limits_of(row).all) do
    if not limit.window and id_of(row, limit) == id then
      return limit.most
    end
  end
end

local replies = {}
for _, id in ipairs(take_rest()) do
  local slots, parked = P .. 'slots:' .. id, P .. 'parked:slots:' .. id
  local held, rate = size_of(slots), call('GET', P .. 'rate:' .. id)
  local waiting = call('ZCARD', parked) + call('ZCARD', P .. 'parked:rate:' .. id)
  local first = call('ZRANGE', parked, 0, 0)[1]
  local job = call('SRANDMEMBER', slots) or first and first:sub(17)
  local most = job and most_of(id, job)
  if most then
    replies[#replies + 1] = { id, most, held, waiting, '-' }
  elseif rate then
    local _, every, burst = rate:match('^(%S+) (%S+) (%S+)$')
    local limit = { every = tonumber(every), burst = tonumber(burst) }
    local spent, wait = spent_until(limit, P .. 'rate:' .. id) - NOW, wait_of(limit, P .. 'rate:' .. id)
    if spent > SOONEST or waiting > 0 then
      held = math.min(limit.burst, math.ceil(spent / limit.every - SOONEST))
      replies[#replies + 1] = { id, limit.burst, held, waiting, exact(math.max(0, wait)) }
    end
  end
end
return replies
