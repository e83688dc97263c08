-- claim: hand out ready jobs, each under a new lease.
-- Shared: store, rows, lines, waking, arrivals, log, problems, ending, picking, workers, answers
-- Flags: allow-oom
--
-- Keys: those of ending, picking, waking and workers, and
--       request:<worker>:<request>  what this request was given: ids and nonces, for as long as it may be repeated
-- Arguments: worker, request, limit, lease, suspects with one loss, suspects with more, count of tasks (-1: any), then name and
--            version of each, count of ids, then each, count of queues, then name and slots of each, watcher ('': nobody
--            waits for hints), count of queues it has no room for, then each.
-- Returns: whether to call again (more jobs were late than one call ends), when the next waiting job is due ('-': none), the
--          time, and the answer of each job.

local MOST_ASIDE = 200 -- due and late jobs that one call sees to on its way

local worker, request, limit, lease = take(), take(), number(), number()
local suspects = { number(), number() }
local tasks = number()
local known = {}
for _ = 1, tasks do
  local name = take()
  known[name] = number()
end

local reply = { 0, '-', exact(NOW) }
local given = {}
local taken_of = {}

local function is_paused(queue)
  return call('HGET', P .. 'queues', queue) == '1'
end

-- What a claim asks of a kind of jobs, and counts of it.
local function opener(losses, version, task)
  local class = tonumber(losses)
  local fits = tasks < 0 or (known[task] and tonumber(version) <= known[task])
  return {
    open = function()
      return fits and (class == 0 or suspects[class] > 0)
    end,
    taken = function()
      if class > 0 then
        suspects[class] = suspects[class] - 1
      end
    end,
  }
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
  for _, priority in ipairs(priorities) do
    if room > 0 then
      local picked = pick(queue, priority, room, opener)
      read_rows(picked)
      hand_out(picked)
      room = room - #picked
      taken_of[queue] = (taken_of[queue] or 0) + #picked
    end
  end
  return tonumber(call('ZRANGE', P .. 'due:' .. queue, 0, 0, 'WITHSCORES')[2])
end

local function take_id(id)
  local row = row_of(id)
  local is_due = row and (row[STATE] == READY or row[STATE] == WAITING and row[DUE] <= NOW)
  if not is_due or #given >= limit or is_paused(row[QUEUE]) then
    return
  end
  local kind = opener(math.min(row[LOSSES], 2), row[VERSION], row[TASK])
  if not kind.open() then
    return
  end
  kind.taken()
  if row[STATE] == READY then
    leave(id, row)
  else
    call('ZREM', P .. 'due:' .. row[QUEUE], id)
  end
  hand_out({ id })
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
  if waits and tasks >= 0 then
    call('HSET', P .. 'knows', watcher, cmsgpack.pack(known))
  end
end

local memory = P .. 'request:' .. part(worker) .. ':' .. request
local remembered = call('GET', memory)
if remembered then
  for _, each in ipairs(cmsgpack.unpack(remembered)) do
    local id, nonce = unpack(each)
    local row = row_of(id)
    if row and row[STATE] == RUNNING and row[NONCE] == nonce then
      given[#given + 1] = id
    end
  end
  give(given)
  return reply
end

if end_late(MOST_ASIDE) == MOST_ASIDE then
  commit()
  return { 1, '-' }
end

local by_id = number()
for _ = 1, by_id do
  take_id(take())
end
local queues, next_due = {}, nil
for _ = 1, number() do
  local queue, slots = take(), number()
  queues[queue] = slots
  if by_id == 0 and not is_paused(queue) then
    local due = take_from(queue, slots)
    if due and (not next_due or due < next_due) then
      next_due = due
    end
  end
end
local watcher = take()
if watcher ~= '' then
  wait_or_pass_on(watcher, queues, #given >= limit)
  for _ = 1, number() do
    wait_no_more(watcher, take())
  end
end
if #given > 0 then
  local leases = {}
  for place, id in ipairs(given) do
    leases[place] = { id, row_of(id)[NONCE] }
  end
  call('SET', memory, cmsgpack.pack(leases), 'EX', math.ceil(math.max(60, math.min(2 * lease, 86400))))
end
commit()
give(given)
reply[2] = next_due and exact(math.max(0, next_due - NOW)) or '-'
return reply
