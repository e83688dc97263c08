-- claim: hand out ready jobs, each under a new lease.
-- Shared: store, rows, lines, arrivals, log, problems, ending, picking, workers, answers
-- Flags: allow-oom
--
-- Keys: those of ending, picking and workers, and
--       request:<worker>:<request>  what this request was given: ids and nonces, for as long as it may be repeated
-- Arguments: worker, request, limit, lease, suspects with one loss, suspects with more, count of tasks (-1: any), then name and
--            version of each, count of ids, then each, count of queues, then name and slots of each.
-- Returns: whether to call again (more jobs were late than one call ends), when the next waiting job is due ('-': none), and
--          of each job its answer, attempt, nonce and what its deadline leaves.

local MOST_ASIDE = 200 -- due and late jobs that one call sees to on its way

local worker, request, limit, lease = take(), take(), number(), number()
local suspects = { number(), number() }
local tasks = number()
local known = {}
for _ = 1, tasks do
  local name = take()
  known[name] = number()
end

local reply = { 0, '-' }
local given = {}

local function give(id, row)
  reply[#reply + 1] = { answer(id, row), row[ATTEMPT], row[NONCE], exact(row[DEADLINE_AT] and row[DEADLINE_AT] - NOW) }
end

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
    given[#given + 1], given[#given + 2] = id, row[NONCE]
    give(id, row)
  end
  if #leases > 0 then
    in_pieces('ZADD', P .. 'leases:' .. worker, leases)
    renew_worker(worker, lease)
  end
end

local function take_from(queue, slots)
  promote(queue, MOST_ASIDE)
  local room = math.min(slots, limit - #given / 2)
  local priorities = room > 0 and call('ZREVRANGE', P .. 'priorities:' .. queue, 0, -1) or {}
  for _, priority in ipairs(priorities) do
    if room > 0 then
      local picked = pick(queue, priority, room, opener)
      read_rows(picked)
      read_specs(picked)
      hand_out(picked)
      room = room - #picked
    end
  end
  return tonumber(call('ZRANGE', P .. 'due:' .. queue, 0, 0, 'WITHSCORES')[2])
end

local function take_id(id)
  local row = row_of(id)
  local is_due = row and (row[STATE] == READY or row[STATE] == WAITING and row[DUE] <= NOW)
  if not is_due or #given / 2 >= limit or is_paused(row[QUEUE]) then
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

local memory = P .. 'request:' .. part(worker) .. ':' .. request
local remembered = call('GET', memory)
if remembered then
  local pairs_given = cmsgpack.unpack(remembered)
  for place = 1, #pairs_given, 2 do
    local id = pairs_given[place]
    local row = row_of(id)
    if row and row[STATE] == RUNNING and row[NONCE] == pairs_given[place + 1] then
      give(id, row)
    end
  end
  return reply
end

if end_late(MOST_ASIDE) == MOST_ASIDE then
  commit()
  return { 1, '-' }
end

local ids = number()
for _ = 1, ids do
  take_id(take())
end
local next_due
for _ = 1, number() do
  local queue, slots = take(), number()
  if ids == 0 and not is_paused(queue) then
    local due = take_from(queue, slots)
    if due and (not next_due or due < next_due) then
      next_due = due
    end
  end
end
if #given > 0 then
  call('SET', memory, cmsgpack.pack(given), 'EX', math.ceil(math.max(60, math.min(2 * lease, 86400))))
end
commit()
reply[2] = next_due and exact(math.max(0, next_due - NOW)) or '-'
return reply
