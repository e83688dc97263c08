-- Throughput of a queue: an exponentially decaying count of starts, updated once per claim. Needs: prelude.
--
-- Keys: throughput  hash: for each queue, the starts per second and when they were computed

local TIME_CONSTANT = 60 -- seconds

local function start_rate(queue)
  local text = call('HGET', PREFIX .. 'throughput', queue)
  if not text then
    return 0
  end
  local rate, since = text:match('^(%S+) (%S+)$')
  return tonumber(rate) * math.exp(math.min(0, tonumber(since) - NOW) / TIME_CONSTANT)
end

local function record_starts(queue, count)
  call('HSET', PREFIX .. 'throughput', queue, float_text(start_rate(queue) + count / TIME_CONSTANT) .. ' ' .. float_text(NOW))
end
