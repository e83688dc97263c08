-- claim: start ready jobs, each under a new lease.
-- Shared: prelude, rows, history_cells, history, transitions, queues, limit_overrides, limits, fair_queue, wake_workers, batches, enqueue, blocked_jobs, paused_batches, event_log, finalize, fair_selection, throughput, workers, job_reply
-- Flags: allow-oom
--
-- Keys: those of finalize, blocked_jobs, paused_batches, fair_selection, wake_workers, throughput and workers, and
--       claim:<worker>:<request>  the ids and nonces this request received, for as long as it may be repeated
-- Arguments: worker, its release, request, limit, lease, whether it takes isolated jobs (and no others), count of tasks (-1: any), then name and
--            version of each, count of ids, then each, count of queues, then name and slots of each, watcher ('': none), count of
--            queues without free slots, then each.
-- Returns: whether to call again (more jobs were expired, paused or blocked than one call handles), seconds until the next delayed job
--          is due ('-': none), the time, whether an isolated job waits that was not asked for, the ids of jobs that expired instead, the last
--          pauses that jobs waited for (queue, begin and end of each; false: the claim is repeated), and the reply of each job.

local MAX_BLOCKED = 200 -- due, expired, paused, resumed or blocked jobs that one call handles
local MIN_RATE_UNBLOCKS = 20 -- minimum of rates that a claim unblocks

local worker, release, request, limit, lease = next_arg(), next_arg(), next_arg(), next_number(), next_number()
local isolated = next_number() == 1
local task_count = next_number()
local tasks = {}
for _ = 1, task_count do
  local name = next_arg()
  tasks[name] = next_number()
end

local pauses = {} -- by queue, of jobs that waited in a paused queue
local reply = { 0, '-', float_text(NOW), 0, ended_jobs, false }
local claimed = {}
local claimed_in = {}
local block_budget = MAX_BLOCKED
local batches_are_paused = any_batch_is_paused()

-- Start a job if its batch is not paused and no limit is full, otherwise pause or block it. The job is in no queue any more.
local function may_start(id)
  local row = row_of(id)
  if batches_are_paused and has_paused_batch(row) then
    pause_job(id, row)
    return false
  end
  local full = full_limit(row)
  if full then
    block(id, row, full)
    return false
  end
  acquire_start_limits(id, row)
  return true
end

local function knows_task(version, task)
  return task_count < 0 or (tasks[task] and tonumber(version) <= tasks[task])
end

-- Return how a claim treats a kind of jobs.
local function kind_filter(i, limited, version, task)
  local open = knows_task(version, task) and (i == 'i') == isolated
  local checked = (limited == 'l' or batches_are_paused) and may_start
  return { open = open, isolated = i == 'i', version = version, task = task, may_start = checked }
end

-- Return true if a queue has a ready isolated job that this worker can run.
local function has_isolated(queue)
  for _, field in ipairs(call('HKEYS', PREFIX .. 'isolated:' .. queue)) do
    if knows_task(field:match('^(-?%d+)/(.*)$')) then
      return true
    end
  end
  return false
end

-- Count a start, and what the job has waited for since it is ready.
local function count_start(row)
  local counts, queue = counts_of(row), queue_state(row[QUEUE])
  local due, resumed = row[DUE], queue.resumed_at
  counts[COUNT_STARTED] = (counts[COUNT_STARTED] or 0) + 1
  if resumed > due then
    add_count(counts, COUNT_PAUSE_WAIT_MS, milliseconds(math.min(resumed, NOW) - math.max(due, queue.paused_at)))
    pauses[row[QUEUE]] = queue
    due = resumed
  end
  add_duration(counts, COUNT_WAIT, COUNT_WAIT_MS, NOW - due)
end

-- Start new attempts, each with a new lease. The jobs are in no queue any more.
local function start_attempts(ids)
  local leases, expires_at = {}, float_text(NOW + lease)
  for _, id in ipairs(ids) do
    local row = row_of(id)
    if row[EXPIRES_AT] then
      call('ZREM', PREFIX .. 'expiring', id)
    end
    row[STATE], row[ATTEMPT], row[STARTED], row[WORKER] = RUNNING, row[ATTEMPT] + 1, NOW, worker
    row[NONCE], row[EPOCH], row[ORDINAL], row[EXPIRES_AT], row[DELAY] = new_nonce(), new_epoch(), 0, row[DEADLINE_AT], false
    row[RELEASE], row[FIRST_EVENT], row[LAST_EVENT], row[LOGGED] = release, false, false, 0
    count_start(row)
    save_row(id, row)
    notify_job(id)
    count_running(row, 1)
    leases[#leases + 1], leases[#leases + 2] = expires_at, id
    claimed[#claimed + 1] = id
  end
  if #leases > 0 then
    in_chunks('ZADD', PREFIX .. 'leases:' .. worker, leases)
    renew_worker(worker, lease)
  end
end

local function claim_from(queue, slots)
  promote_delayed(queue, MAX_BLOCKED)
  local capacity = math.min(slots, limit - #claimed)
  local priorities = capacity > 0 and call('ZREVRANGE', PREFIX .. 'priorities:' .. queue, 0, -1) or {}
  local count_before = #claimed
  for _, priority in ipairs(priorities) do
    local blocked = 1
    while capacity > 0 and blocked > 0 and block_budget > 0 do
      local selected
      selected, blocked = select_jobs(queue, priority, capacity, kind_filter, block_budget)
      read_rows(selected)
      start_attempts(selected)
      capacity, block_budget = capacity - #selected, block_budget - blocked
    end
  end
  claimed_in[queue] = #claimed - count_before
  if #claimed > count_before then
    record_starts(queue, #claimed - count_before)
  end
  return tonumber(call('ZRANGE', PREFIX .. 'delayed:' .. queue, 0, 0, 'WITHSCORES')[2])
end

-- Return true if a blocked job's limit is still full.
local function stays_blocked(row)
  local full = row[STATE] == BLOCKED and full_limit(row)
  return full and limit_key(row, full) == PREFIX .. row[BLOCKED_BY]
end

local function claim_id(id)
  local row = row_of(id)
  local is_due = row and (row[STATE] == READY or row[STATE] == BLOCKED or row[STATE] == DELAYED and row[DUE] <= NOW)
  if not is_due or #claimed >= limit or is_paused(row[QUEUE]) then
    return
  end
  if not knows_task(row[VERSION], row[TASK]) or stays_blocked(row) then
    return
  end
  if row[STATE] == READY then
    remove_ready(id, row)
  elseif row[STATE] == BLOCKED then
    end_block(id, row)
  else
    call('ZREM', PREFIX .. 'delayed:' .. row[QUEUE], id)
  end
  if may_start(id) then
    start_attempts({ id })
    record_starts(row[QUEUE], 1)
  end
end

-- Add the jobs' replies. Call it after `commit`.
local function add_replies(ids)
  for _, id in ipairs(ids) do
    reply[#reply + 1] = job_reply(id, row_of(id))
  end
end

-- Let the watcher wait for the queues it still has capacity for, and wake others for the jobs it leaves.
local function update_watcher(watcher, queues, is_full)
  local is_waiting = false
  for queue, slots in pairs(queues) do
    if is_full or (claimed_in[queue] or 0) >= slots then
      remove_watcher(watcher, queue)
      wake_for_queue(queue)
    else
      is_waiting = true
      call('ZADD', PREFIX .. 'watchers:' .. queue, float_text(NOW), watcher)
    end
  end
  if not is_waiting or task_count < 0 then
    return
  end
  local new = call('HSET', PREFIX .. 'watcher_tasks', watcher, cmsgpack.pack({ tasks, isolated })) == 1
  if new and isolated then -- until now it counted as one that takes any job, so it may have used up hints for others
    for queue in pairs(queues) do
      wake_for_queue(queue)
    end
  end
end

local claim_key = PREFIX .. 'claim:' .. length_prefixed(worker) .. ':' .. request
local repeated = call('GET', claim_key)
if repeated then
  for _, each in ipairs(cmsgpack.unpack(repeated)) do
    local id, nonce = unpack(each)
    local row = row_of(id)
    if row and row[STATE] == RUNNING and row[NONCE] == nonce and not row[EXTERNAL] then
      claimed[#claimed + 1] = id
    end
  end
  add_replies(claimed)
  return reply
end

unblock_rates(math.min(math.max(limit, MIN_RATE_UNBLOCKS), MAX_BLOCKED))
resume_jobs(MAX_BLOCKED)
if fail_expired(MAX_BLOCKED) == MAX_BLOCKED then
  commit()
  reply[1] = 1
  return reply
end

local by_id = next_number()
for _ = 1, by_id do
  claim_id(next_arg())
end
local queues, next_due = {}, nil
for _ = 1, next_number() do
  local queue, slots = next_arg(), next_number()
  queues[queue] = slots
  if by_id == 0 and not is_paused(queue) and block_budget > 0 then
    local due = claim_from(queue, slots)
    if due and (not next_due or due < next_due) then
      next_due = due
    end
    if not isolated and has_isolated(queue) then
      reply[4] = 1
    end
  end
end
local next_rate = tonumber(call('ZRANGE', PREFIX .. 'rate_wakeups', 0, 0, 'WITHSCORES')[2])
if next_rate and (not next_due or next_rate < next_due) then
  next_due = next_rate
end
local watcher = next_arg()
if watcher ~= '' then
  update_watcher(watcher, queues, #claimed >= limit or block_budget <= 0)
  for _ = 1, next_number() do
    remove_watcher(watcher, next_arg())
  end
end
if #claimed > 0 then
  local leases = {}
  for index, id in ipairs(claimed) do
    leases[index] = { id, row_of(id)[NONCE] }
  end
  call('SET', claim_key, cmsgpack.pack(leases), 'EX', math.ceil(math.min(2 * lease, 86400)))
end
commit()
add_replies(claimed)
if block_budget <= 0 and #claimed < limit then
  reply[1] = #claimed == 0 and 1 or 0
  next_due = NOW -- the next claim finds the rest
end
reply[2] = next_due and float_text(math.max(0, next_due - NOW)) or '-'
reply[6] = {}
for queue, state in pairs(pauses) do
  table.insert(reply[6], { queue, float_text(state.paused_at), float_text(state.resumed_at) })
end
return reply
