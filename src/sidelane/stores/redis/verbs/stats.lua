-- stats: count the jobs of every queue.
-- Shared: prelude, rows, history_cells, history, queues, limit_overrides, limits, fair_queue, queue_depths, throughput
-- Flags: no-writes
--
-- Keys: those of queue_depths and throughput.
-- Returns for each queue: name, paused, ready, delayed, blocked, paused jobs, running, seconds since its oldest ready job became so
--          ('-': none), starts per second, seconds that the first job has waited longest ('-': none), ready isolated jobs, and a list of tasks, each
--          with the newest version that a first job needs.

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
for _, queue in ipairs(call('HKEYS', PREFIX .. 'queues')) do
  local oldest
  for _, priority in ipairs(call('ZRANGE', PREFIX .. 'priorities:' .. queue, 0, -1)) do
    local due = oldest_due(bucket_of(queue, priority))
    if due and (not oldest or due < oldest) then
      oldest = due
    end
  end
  local depths, tasks = queue_depths(queue), {}
  for task, version in pairs(depths.tasks) do
    tasks[#tasks + 1], tasks[#tasks + 2] = task, version
  end
  local waiting_time = oldest and float_text(math.max(0, NOW - oldest)) or '-'
  replies[#replies + 1] = {
    queue, is_paused(queue) and 1 or 0, depths.ready, depths.delayed, depths.blocked, depths.paused, depths.running,
    waiting_time, float_text(start_rate(queue)), float_text(depths.head_wait), isolated_count(queue), tasks,
  }
end
return replies
