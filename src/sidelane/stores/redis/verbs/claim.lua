-- claim: hand out ready jobs, each under a new lease.
-- Shared: store, rows, limits, lines, waking, batches, arrivals, parking, log, ending, picking, pace, workers, answers
-- Flags: allow-oom
--
-- Keys: those of ending, parking, picking, waking, pace and workers, and
--       request:<worker>:<request>  what this request was given: ids and nonces, for as long as it may be repeated
-- Arguments: worker, request, limit, lease, whether it takes isolated jobs (and no others), count of tasks (-1: any), then name and
--            version of each, count of ids, then each, count of queues, then name and slots of each, watcher ('': nobody
--            waits for hints), count of queues it has no room for, then each.
-- Returns: whether to call again (more jobs were late, or at a full limit, than one call sees to), when the next waiting job is due
--          ('-': none), the time, whether an isolated job waits that was not asked for, and the answer of each job.

local MOST_ASIDE = 200 -- jobs that are due, late or at a full limit that one call sees to on its way
local FEW = 20 -- rates that are woken also for a claim of less

local worker, request, limit, lease = take(), take(), number(), number()
local isolated = number() == 1
local tasks = number()
local known = {}
for _ = 1, tasks do
  local name = take()
  known[name] = number()
end

local reply = { 0, '-', exact(NOW), 0 }
local given = {}
local taken_of = {}
local room_aside = MOST_ASIDE

-- Let a job that stands nowhere any more start if all its limits have room, else park it.
local function admits(id)
  local row = row_of(id)
  local full = full_at_start(row)
  if full then
    park(id, row, full)
    return false
  end
  start_with(id, row)
  return true
end

local function knows_task(version, task)
  return tasks < 0 or (known[task] and tonumber(version) <= known[task])
end

-- What a claim asks of a kind of jobs.
local function opener(i, limited, version, task)
  local open = knows_task(version, task) and (i == 'i') == isolated
  return { open = open, isolated = i == 'i', version = version, task = task, admits = limited == 'l' and admits }
end

-- Tell whether a ready job of a queue is isolated that this worker knows.
local function isolated_waits(queue)
  for _, field in ipairs(call('HKEYS', P .. 'isolated:' .. queue)) do
    if knows_task(field:match('^(-?%d+)/(.*)$')) then
      return true
    end
  end
  return false
end

-- Give jobs that stand nowhere any more a new attempt and lease.
local function hand_out(ids)
  local leases, until_then = {}, exact(NOW + lease)
  for _, id in ipairs(ids) do
    local row = row_of(id)
    if row[GIVE_UP] then
      call('ZREM', P .. 'late', id)
    end
    row[STATE], row[ATTEMPT], row[STARTED], row[WORKER] = RUNNING, row[ATTEMPT] + 1, NOW, worker
    row[NONCE], row[EPOCH], row[ORDINAL], row[GIVE_UP], row[WAIT] = new_nonce(), new_epoch(), 0, row[DEADLINE_AT], false
    save(id, row)
    touch_job(id)
    count_running(row[QUEUE], 1)
    leases[#leases + 1], leases[#leases + 2] = until_then, id
    given[#given + 1] = id
  end
  if #leases > 0 then
    in_pieces('ZADD', P .. 'leases:' .. worker, leases)
    renew_worker(worker, lease)
  end
end

local function take_from(queue, slots)
  promote(queue, MOST_ASIDE)
  local room = math.min(slots, limit - #given)
  local priorities = room > 0 and call('ZREVRANGE', P .. 'priorities:' .. queue, 0, -1) or {}
  local before = #given
  for _, priority in ipairs(priorities) do
    local aside = 1
    while room > 0 and aside > 0 and room_aside > 0 do
      local picked
      picked, aside = pick(queue, priority, room, opener, room_aside)
      read_rows(picked)
      hand_out(picked)
      room, room_aside = room - #picked, room_aside - aside
    end
  end
  taken_of[queue] = #given - before
  if #given > before then
    note_starts(queue, #given - before)
  end
  return tonumber(call('ZRANGE', P .. 'due:' .. queue, 0, 0, 'WITHSCORES')[2])
end

local function take_id(id)
  local row = row_of(id)
  local is_due = row and (row[STATE] == READY or row[STATE] == PARKED or row[STATE] == WAITING and row[DUE] <= NOW)
  if not is_due or #given >= limit or is_paused(row[QUEUE]) then
    return
  end
  if not knows_task(row[VERSION], row[TASK]) then
    return
  end
  if row[STATE] == READY then
    leave(id, row)
  elseif row[STATE] == PARKED then
    unpark(id, row)
  else
    call('ZREM', P .. 'due:' .. row[QUEUE], id)
  end
  if not (row[LIMITS] and #limits_of(row).starting > 0) or admits(id) then
    hand_out({ id })
    note_starts(row[QUEUE], 1)
  end
end

-- Give the jobs in one go. What this call has changed is committed.
local function give(ids)
  for _, id in ipairs(ids) do
    reply[#reply + 1] = answer(id, row_of(id))
  end
end

-- Let the watcher wait for the queues it still has room for, and wake others for what it leaves behind.
local function wait_or_pass_on(watcher, queues, filled)
  local waits = false
  for queue, slots in pairs(queues) do
    if filled or (taken_of[queue] or 0) >= slots then
      wait_no_more(watcher, queue)
      wake_for(queue)
    else
      waits = true
      call('ZADD', P .. 'waiting:' .. queue, exact(NOW), watcher)
    end
  end
  if not waits or tasks < 0 then
    return
  end
  local new = call('HSET', P .. 'knows', watcher, cmsgpack.pack({ known, isolated })) == 1
  if new and isolated then -- until now it was taken for one that takes any job, and may have been woken for others
    for queue in pairs(queues) do
      wake_for(queue)
    end
  end
end

local memory = P .. 'request:' .. part(worker) .. ':' .. request
local remembered = call('GET', memory)
if remembered then
  for _, each in ipairs(cmsgpack.unpack(remembered)) do
    local id, nonce = unpack(each)
    local row = row_of(id)
    if row and row[STATE] == RUNNING and row[NONCE] == nonce and not row[OUTSIDE] then
      given[#given + 1] = id
    end
  end
  give(given)
  return reply
end

wake_rates(math.min(math.max(limit, FEW), MOST_ASIDE))
if end_late(MOST_ASIDE) == MOST_ASIDE then
  commit()
  return { 1, '-', exact(NOW), 0 }
end

local by_id = number()
for _ = 1, by_id do
  take_id(take())
end
local queues, next_due = {}, nil
for _ = 1, number() do
  local queue, slots = take(), number()
  queues[queue] = slots
  if by_id == 0 and not is_paused(queue) and room_aside > 0 then
    local due = take_from(queue, slots)
    if due and (not next_due or due < next_due) then
      next_due = due
    end
    if not isolated and isolated_waits(queue) then
      reply[4] = 1
    end
  end
end
local wakes = tonumber(call('ZRANGE', P .. 'wakes', 0, 0, 'WITHSCORES')[2])
if wakes and (not next_due or wakes < next_due) then
  next_due = wakes
end
local watcher = take()
if watcher ~= '' then
  wait_or_pass_on(watcher, queues, #given >= limit or room_aside <= 0)
  for _ = 1, number() do
    wait_no_more(watcher, take())
  end
end
if #given > 0 then
  local leases = {}
  for place, id in ipairs(given) do
    leases[place] = { id, row_of(id)[NONCE] }
  end
  call('SET', memory, cmsgpack.pack(leases), 'EX', math.ceil(math.min(2 * lease, 86400)))
end
commit()
give(given)
if room_aside <= 0 and #given < limit then
  reply[1] = #given == 0 and 1 or 0
  next_due = NOW -- who comes again finds the rest
end
reply[2] = next_due and exact(math.max(0, next_due - NOW)) or '-'
return reply
