-- stats: count the jobs of every queue.
-- Shared: prelude, rows, limits, fair_queue, throughput
-- Flags: no-writes
--
-- Keys: queues, running, blocked_in, priorities:<queue>, delayed:<queue>, those of fair_queue and throughput.
-- Returns for each queue: name, paused, ready, delayed, blocked, running, seconds since its oldest ready job became so ('-': none),
--          starts per second.

local MAX_HEADS = 1000 -- users of a kind that are read to find the oldest job

local function oldest_due(bucket)
  local oldest_job
  for _, kind in ipairs(call('SMEMBERS', PREFIX .. 'kinds:' .. bucket)) do
    for _, member in ipairs(call('ZRANGE', PREFIX .. 'user_order:' .. bucket .. ':' .. kind, 0, MAX_HEADS - 1)) do
      if not oldest_job or member:sub(1, 16) < oldest_job.sequence then
        oldest_job = { sequence = member:sub(1, 16), queue_key = user_queue_key(bucket, member:sub(17), kind) }
      end
    end
  end
  return oldest_job and row_of(call('ZRANGE', oldest_job.queue_key, 0, 0)[1])[DUE]
end

local replies = {}
local queues = call('HGETALL', PREFIX .. 'queues')
for index = 1, #queues, 2 do
  local queue = queues[index]
  local ready, oldest = 0, nil
  for _, priority in ipairs(call('ZRANGE', PREFIX .. 'priorities:' .. queue, 0, -1)) do
    local bucket = bucket_of(queue, priority)
    ready = ready + ready_count(bucket)
    local due = oldest_due(bucket)
    if due and (not oldest or due < oldest) then
      oldest = due
    end
  end
  local blocked = tonumber(call('HGET', PREFIX .. 'blocked_in', queue)) or 0
  local running = tonumber(call('HGET', PREFIX .. 'running', queue)) or 0
  local waiting_time = oldest and float_text(math.max(0, NOW - oldest)) or '-'
  replies[#replies + 1] = {
    queue, tonumber(queues[index + 1]), ready, call('ZCARD', PREFIX .. 'delayed:' .. queue), blocked, running, waiting_time,
    float_text(start_rate(queue)),
  }
end
return replies
