-- position: tell how many ready jobs stand before one, by priority and then by age.
-- Shared: store, rows, limits, lines, pace
-- Flags: no-writes
--
-- Keys: job:<id>, those of lines and pace.
-- Arguments: id, the most to count to.
-- Returns: the count, and how many jobs of its queue start in a second (none while it is paused), or nothing for a job that is not
--          ready.

local id, most = take(), number()
local row = row_of(id)
if not row or row[STATE] ~= READY then
  return false
end

local count = 0
for _, priority in ipairs(call('ZREVRANGE', P .. 'priorities:' .. row[QUEUE], 0, -1)) do
  if priority == row[PRIORITY] then
    break
  end
  count = count + ready_in(lane_of(row[QUEUE], priority))
end

local lane = lane_of(row[QUEUE], row[PRIORITY])
for _, kind in ipairs(call('SMEMBERS', P .. 'kinds:' .. lane)) do
  for _, each in ipairs(call('ZRANGE', P .. 'turns:' .. lane .. ':' .. kind, 0, -1)) do
    if count < most and tonumber(each:sub(1, 16)) < row[SEQ] then
      count = count + call('ZCOUNT', line_key(lane, each:sub(17), kind), '-inf', '(' .. string.format('%.0f', row[SEQ]))
    end
  end
end
local paused = call('HGET', P .. 'queues', row[QUEUE]) == '1'
return { math.min(count, most), exact(paused and 0 or pace_of(row[QUEUE])) }
