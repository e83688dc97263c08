-- How fast the jobs of a queue start: a count that decays, kept once a claim. Needs: store.
--
-- Keys: pace  hash: for each queue, how many of its jobs start in a second, and when that was so

local MEMORY = 60 -- seconds over which it is counted

local function pace_of(queue)
  local text = call('HGET', P .. 'pace', queue)
  if not text then
    return 0
  end
  local rate, since = text:match('^(%S+) (%S+)$')
  return tonumber(rate) * math.exp(math.min(0, tonumber(since) - NOW) / MEMORY)
end

local function note_starts(queue, count)
  call('HSET', P .. 'pace', queue, exact(pace_of(queue) + count / MEMORY) .. ' ' .. exact(NOW))
end
