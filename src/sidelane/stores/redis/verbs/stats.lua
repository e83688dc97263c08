-- stats: every queue at a glance.
-- Shared: store, rows, limits, lines, pace
-- Flags: no-writes
--
-- Keys: queues, running, parked_in, priorities:<queue>, due:<queue>, those of lines and pace.
-- Returns for each queue: name, paused, ready, delayed, parked, running, for how long its oldest ready job has been so ('-': none), how
--          many of its jobs start in a second.

local MOST_HEADS = 1000 -- of a kind that are looked at for the oldest

local function oldest_of(lane)
  local oldest
  for _, kind in ipairs(call('SMEMBERS', P .. 'kinds:' .. lane)) do
    for _, each in ipairs(call('ZRANGE', P .. 'turns:' .. lane .. ':' .. kind, 0, MOST_HEADS - 1)) do
      if not oldest or each:sub(1, 16) < oldest.age then
        oldest = { age = each:sub(1, 16), line = line_key(lane, each:sub(17), kind) }
      end
    end
  end
  return oldest and row_of(call('ZRANGE', oldest.line, 0, 0)[1])[DUE]
end

local replies = {}
local queues = call('HGETALL', P .. 'queues')
for place = 1, #queues, 2 do
  local queue = queues[place]
  local ready, since = 0, nil
  for _, priority in ipairs(call('ZRANGE', P .. 'priorities:' .. queue, 0, -1)) do
    local lane = lane_of(queue, priority)
    ready = ready + ready_in(lane)
    local due = oldest_of(lane)
    if due and (not since or due < since) then
      since = due
    end
  end
  local parked = tonumber(call('HGET', P .. 'parked_in', queue)) or 0
  local running = tonumber(call('HGET', P .. 'running', queue)) or 0
  local waited = since and exact(math.max(0, NOW - since)) or '-'
  replies[#replies + 1] = {
    queue, tonumber(queues[place + 1]), ready, call('ZCARD', P .. 'due:' .. queue), parked, running, waited,
    exact(pace_of(queue)),
  }
end
return replies
