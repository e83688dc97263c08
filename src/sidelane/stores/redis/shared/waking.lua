-- Waking one worker for what has arrived, not all of them (rule 22). Needs: lines.
--
-- A watcher is one process's connection of hints. It waits for a queue from its watch on, or from a claim that left it room,
-- until it is woken; a claim that fills up wakes the next for what it leaves behind. A hint that nobody received is given to
-- another; one that was lost on its way costs no more than the time to the next sweep.
--
-- Keys: waiting:<queue>          zset: watchers that have room for jobs of the queue, by since when
--       knows                    hash: the tasks and versions each of them knows; any where it says nothing
--       hint:watcher:<watcher>   shard channel: a queue

local MOST_ASKED = 100 -- watchers that one hint is offered to

local arrived = {}

local paused_queues = {}

local function is_paused(queue)
  if paused_queues[queue] == nil then
    paused_queues[queue] = call('HGET', P .. 'queues', queue) == '1'
  end
  return paused_queues[queue]
end

-- Note that a job has come that someone may be waiting for.
local function expect(row)
  local tasks = arrived[row[QUEUE]] or {}
  arrived[row[QUEUE]] = tasks
  tasks[row[TASK]] = row[VERSION]
end

local function knows(watcher, task, version)
  local packed_tasks = call('HGET', P .. 'knows', watcher)
  local known = packed_tasks and cmsgpack.unpack(packed_tasks)[task]
  return not packed_tasks or known and tonumber(version) <= known
end

local function wait_no_more(watcher, queue)
  return call('ZREM', P .. 'waiting:' .. queue, watcher) == 1
end

-- Wake the one that has waited longest of those who know the task.
local function wake_one(queue, task, version)
  for _, watcher in ipairs(call('ZRANGE', P .. 'waiting:' .. queue, 0, MOST_ASKED - 1)) do
    if knows(watcher, task, version) then
      wait_no_more(watcher, queue)
      if call('SPUBLISH', P .. 'hint:watcher:' .. watcher, queue) > 0 then
        return
      end
      call('HDEL', P .. 'knows', watcher)
    end
  end
end

-- Wake someone for each kind of job that is ready in a queue.
local function wake_for(queue)
  if call('EXISTS', P .. 'waiting:' .. queue) == 0 or is_paused(queue) then
    return
  end
  for _, priority in ipairs(call('ZREVRANGE', P .. 'priorities:' .. queue, 0, -1)) do
    for _, kind in ipairs(call('SMEMBERS', P .. 'kinds:' .. lane_of(queue, priority))) do
      local _, _, version, task = parts_of(kind)
      wake_one(queue, task, version)
    end
  end
end

wake_workers = function()
  for queue, tasks in pairs(arrived) do
    for task, version in pairs(tasks) do
      wake_one(queue, task, version)
    end
  end
end
