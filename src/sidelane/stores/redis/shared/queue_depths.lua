-- How many jobs a queue has, and what its first ready jobs say: how long they have waited, and which tasks they need.
-- Needs: queues, fair_queue.
-- Exports: queue_depths, isolated_count
--
-- Keys: running, running_users:<queue>, blocked_in, paused_in, priorities:<queue>, delayed:<queue>, isolated:<queue>, and those of queues
--       and fair_queue.

local MAX_FIRST_JOBS = 200 -- users of a queue whose first jobs are read

-- Return the first ready job of each user of a bucket, up to a number of users. Isolated jobs are left out: only isolation workers run them.
local function first_jobs(bucket, limit)
  local users, jobs = {}, {}
  for _, kind in ipairs(call('SMEMBERS', PREFIX .. 'kinds:' .. bucket)) do
    local isolated = parse_kind(kind) == 'i'
    local order = isolated and {} or call('ZRANGE', PREFIX .. 'user_order:' .. bucket .. ':' .. kind, 0, limit - 1, 'WITHSCORES')
    for index = 1, #order, 2 do
      local user, sequence = order[index]:sub(17), tonumber(order[index]:sub(1, 16))
      local job = users[user]
      if not job then
        job = { user = user, start_tag = tonumber(order[index + 1]), sequence = sequence, kind = kind }
        users[user], jobs[#jobs + 1] = job, job
      elseif sequence < job.sequence then
        job.sequence, job.kind = sequence, kind
      end
    end
  end
  table.sort(jobs, function(one, other)
    return one.start_tag < other.start_tag
  end)
  return { unpack(jobs, 1, math.min(limit, #jobs)) }
end

-- Return since when a job is the first of its user, or for a job without a user, since when it is ready.
local function first_since(bucket, job)
  if job.user ~= '' then
    return head_since(bucket, job.user)
  end
  return row_of(call('ZRANGE', user_queue_key(bucket, '', job.kind), 0, 0)[1])[DUE]
end

-- Return true if most of a queue's running jobs are those of one user, so that this user's next job waits for them.
local function waits_for_own_jobs(queue, user, running)
  return user ~= '' and 2 * (tonumber(call('HGET', PREFIX .. 'running_users:' .. queue, user)) or 0) > running
end

local function isolated_count(queue)
  local total = 0
  for _, jobs in ipairs(call('HVALS', PREFIX .. 'isolated:' .. queue)) do
    total = total + tonumber(jobs)
  end
  return total
end

-- Return the counts of a queue's jobs, the seconds that its first jobs have waited for others (nil: none has, or it is paused), and the
-- newest version that they need of each task.
local function queue_depths(queue)
  local ready, since, tasks, left = 0, nil, {}, MAX_FIRST_JOBS
  local running = tonumber(call('HGET', PREFIX .. 'running', queue)) or 0
  for _, priority in ipairs(call('ZREVRANGE', PREFIX .. 'priorities:' .. queue, 0, -1)) do
    local bucket = bucket_of(queue, priority)
    ready = ready + ready_count(bucket)
    local jobs = left > 0 and first_jobs(bucket, left) or {}
    left = left - #jobs
    for _, job in ipairs(jobs) do
      if not waits_for_own_jobs(queue, job.user, running) then
        since = math.min(since or math.huge, first_since(bucket, job))
      end
      local _, _, version, task = parse_kind(job.kind)
      if not tasks[task] or tonumber(version) > tonumber(tasks[task]) then
        tasks[task] = version
      end
    end
  end
  local state = queue_state(queue)
  return {
    ready = ready,
    delayed = call('ZCARD', PREFIX .. 'delayed:' .. queue),
    blocked = tonumber(call('HGET', PREFIX .. 'blocked_in', queue)) or 0,
    paused = tonumber(call('HGET', PREFIX .. 'paused_in', queue)) or 0,
    running = running,
    head_wait = since and not state.paused and math.max(0, NOW - math.max(since, state.resumed_at)) or nil,
    tasks = tasks,
  }
end
