-- Waking one worker for what has arrived, not all of them (rule 22). Needs: lines.
--
-- A watcher is one process's connection of hints. It waits for a queue from its watch on, or from a claim that left it room,
-- until it is woken; a claim that fills up wakes the next for what it leaves behind. A hint that nobody received is given to
-- another; one that was lost on its way costs no more than the time to the next sweep.
--
-- Keys: waiting:<queue>          zset: watchers that have room for jobs of the queue, by since when
--       knows                    hash: the tasks and versions each of them knows, any where it says nothing, and whether it takes isolated jobs
--                                and no others
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
  tasks[(row[ISOLATED] and 'i' or '') .. '/' .. row[TASK]] = row[VERSION]
end

-- Tell whether a watcher knows a task, and takes isolated jobs or the others as is asked.
local function knows(watcher, task, version, isolated)
  local said = call('HGET', P .. 'knows', watcher)
  if not said then
    return not isolated
  end
  local known, takes_isolated = unpack(cmsgpack.unpack(said))
  return takes_isolated == isolated and known[task] and tonumber(version) <= known[task]
end

local function wait_no_more(watcher, queue)
  return call('ZREM', P .. 'waiting:' .. queue, watcher) == 1
end

-- Wake the one that has waited longest of those who know the task, and tell whether there was one.
local function wake_one_of(queue, task, version, isolated)
  for _, watcher in ipairs(call('ZRANGE', P .. 'waiting:' .. queue, 0, MOST_ASKED - 1)) do
    if knows(watcher, task, version, isolated) then
      wait_no_more(watcher, queue)
      if call('SPUBLISH', P .. 'hint:watcher:' .. watcher, queue) > 0 then
        return true
      end
      call('HDEL', P .. 'knows', watcher)
    end
  end
  return false
end

-- Wake one for a job. Without an isolation worker, one of the others is told that an isolated job waits, and starts one.
local function wake_one(queue, task, version, isolated)
  if not isolated or not wake_one_of(queue, task, version, true) then
    wake_one_of(queue, task, version, false)
  end
end

-- Wake someone for each kind of job that is ready in a queue.
local function wake_for(queue)
  if call('EXISTS', P .. 'waiting:' .. queue) == 0 or is_paused(queue) then
    return
  end
  for _, priority in ipairs(call('ZREVRANGE', P .. 'priorities:' .. queue, 0, -1)) do
    for _, kind in ipairs(call('SMEMBERS', P .. 'kinds:' .. lane_of(queue, priority))) do
      local isolated, _, version, task = parts_of(kind)
      wake_one(queue, task, version, isolated == 'i')
    end
  end
end

wake_workers = function()
  for queue, tasks in pairs(arrived) do
    for kind, version in pairs(tasks) do
      local isolated, task = kind:match('^(i?)/(.*)$')
      wake_one(queue, task, version, isolated == 'i')
    end
  end
end
