-- queue_position: count the ready jobs before one, by priority and then by sequence.
-- Shared: prelude, rows, history_cells, history, queues, limit_overrides, limits, fair_queue, throughput
-- Flags: no-writes
--
-- Keys: job:<id>, those of queues, fair_queue and throughput.
-- Arguments: id, the maximum to count to.
-- Returns: the count, and the queue's starts per second (0 while it is paused), or nil for a job that is not ready.

local id, max_count = next_arg(), next_number()
local row = row_of(id)
if not row or row[STATE] ~= READY then
  return false
end

local count = 0
for _, priority in ipairs(call('ZREVRANGE', PREFIX .. 'priorities:' .. row[QUEUE], 0, -1)) do
  if priority == row[PRIORITY] then
    break
  end
  count = count + ready_count(bucket_of(row[QUEUE], priority))
end

local bucket = bucket_of(row[QUEUE], row[PRIORITY])
for _, kind in ipairs(call('SMEMBERS', PREFIX .. 'kinds:' .. bucket)) do
  for _, member in ipairs(call('ZRANGE', PREFIX .. 'user_order:' .. bucket .. ':' .. kind, 0, -1)) do
    if count < max_count and tonumber(member:sub(1, 16)) < row[SEQUENCE] then
      count = count + call('ZCOUNT', user_queue_key(bucket, member:sub(17), kind), '-inf', '(' .. string.format('%.0f', row[SEQUENCE]))
    end
  end
end
return { math.min(count, max_count), float_text(is_paused(row[QUEUE]) and 0 or start_rate(row[QUEUE])) }
