-- Wakes one worker for new jobs, not all of them (rule 22). Needs: queues, fair_queue.
-- Exports: record_ready, remove_watcher, wake_for_queue
--
-- A watcher is one process's subscription connection. It waits for a queue when it begins to watch, or after a claim that left it
-- capacity, until it is woken. A claim that fills a worker wakes another watcher for the jobs it leaves. A hint that no connection
-- received goes to another watcher. A lost hint delays a job at most until the next sweep.
--
-- Keys: watchers:<queue>         zset: watchers with capacity for the queue's jobs, by since when
--       watcher_tasks            hash: tasks and versions that each watcher can run (absent: any), and whether it takes isolated jobs
--                                and no others
--       hint:watcher:<watcher>   shard channel: a queue

local MAX_WATCHERS_ASKED = 100 -- watchers tried for one hint

local new_jobs = {}

-- Record a ready job that a watcher may be waiting for.
local function record_ready(row)
  local tasks = new_jobs[row[QUEUE]] or {}
  new_jobs[row[QUEUE]] = tasks
  tasks[(row[ISOLATED] and 'i' or '') .. '/' .. row[TASK]] = row[VERSION]
end

-- Return true if a watcher can run a task, and takes isolated jobs or the others as asked.
local function can_run(watcher, task, version, isolated)
  local description = call('HGET', PREFIX .. 'watcher_tasks', watcher)
  if not description then
    return not isolated
  end
  local tasks, runs_isolated = unpack(cmsgpack.unpack(description))
  return runs_isolated == isolated and tasks[task] and tonumber(version) <= tasks[task]
end

local function remove_watcher(watcher, queue)
  return call('ZREM', PREFIX .. 'watchers:' .. queue, watcher) == 1
end

-- Wake the watcher that has waited longest of those that can run the task. Returns whether there was one.
local function wake_matching(queue, task, version, isolated)
  for _, watcher in ipairs(call('ZRANGE', PREFIX .. 'watchers:' .. queue, 0, MAX_WATCHERS_ASKED - 1)) do
    if can_run(watcher, task, version, isolated) then
      remove_watcher(watcher, queue)
      if call('SPUBLISH', PREFIX .. 'hint:watcher:' .. watcher, queue) > 0 then
        return true
      end
      call('HDEL', PREFIX .. 'watcher_tasks', watcher)
    end
  end
  return false
end

-- Wake one watcher for a job. Without an isolation worker, wake an ordinary one: it learns that an isolated job waits and starts one.
local function wake_worker(queue, task, version, isolated)
  if not isolated or not wake_matching(queue, task, version, true) then
    wake_matching(queue, task, version, false)
  end
end

-- Wake a watcher for each kind of ready job in a queue.
local function wake_for_queue(queue)
  if call('EXISTS', PREFIX .. 'watchers:' .. queue) == 0 or is_paused(queue) then
    return
  end
  for _, priority in ipairs(call('ZREVRANGE', PREFIX .. 'priorities:' .. queue, 0, -1)) do
    for _, kind in ipairs(call('SMEMBERS', PREFIX .. 'kinds:' .. bucket_of(queue, priority))) do
      local isolated, _, version, task = parse_kind(kind)
      wake_worker(queue, task, version, isolated == 'i')
    end
  end
end

wake_workers = function()
  for queue, tasks in pairs(new_jobs) do
    for kind, version in pairs(tasks) do
      local isolated, task = kind:match('^(i?)/(.*)$')
      wake_worker(queue, task, version, isolated == 'i')
    end
  end
end
