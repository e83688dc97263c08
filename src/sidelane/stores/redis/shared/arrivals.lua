-- Jobs that come into the queue: new ones, and those that come back after an attempt. Needs: rows, limits, lines, waking, batches.
--
-- Keys: meta              hash: sequence, the highest used
--       queues            hash: every queue that was ever named, 1 while it is paused
--       due:<queue>       zset: delayed jobs by when they may start
--       late              zset: queued jobs by when they are given up
--       unique            hash: <user><unique key> to the unfinished job that has it
--       all, failed       zset: jobs by age
--       user:<user>, key:<key>, parent:<parent>, batch:<batch>   zset: the jobs of each by age
--       children:<job>    set: its unfinished children
--       cascading:<job>   set: those of them that are cancelled with it and have not been asked to stop
--       forget            zset: finished jobs without unfinished children by when their retention has passed
--       then:<id>         the job's follow-ups: a packed list of {states, the spec's rest, its fields}

local function unique_field(user, unique)
  return part(user) .. unique
end

local function holder_of(user, unique)
  return unique and call('HGET', P .. 'unique', unique_field(user, unique))
end

-- An unfinished job keeps its parent, its unique key and its slots.
local function hold(id, row)
  if row[UNIQUE] then
    call('HSET', P .. 'unique', unique_field(row[USER], row[UNIQUE]), id)
  end
  if row[PARENT] then
    call('SADD', P .. 'children:' .. row[PARENT], id)
    if row[CASCADE] then
      call('SADD', P .. 'cascading:' .. row[PARENT], id)
    end
    call('ZREM', P .. 'forget', row[PARENT])
    forgets[row[PARENT]] = nil
  end
  if row[LIMITS] then
    take_slots(id, row)
  end
end

-- Set when a job that is queued now is given up.
local function set_deadlines(id, row)
  row[DEADLINE_AT] = row[DEADLINE] and NOW + row[DEADLINE]
  row[GIVE_UP] = row[START_WITHIN] and NOW + row[START_WITHIN]
  if row[DEADLINE_AT] and (not row[GIVE_UP] or row[DEADLINE_AT] < row[GIVE_UP]) then
    row[GIVE_UP] = row[DEADLINE_AT]
  end
  if row[GIVE_UP] then
    stamp(id, row)
  end
end

-- The names of the indices that a job stands in besides those of all jobs.
local function indices_of(row)
  local names = {}
  for kind, value in pairs({ user = row[USER] ~= '' and row[USER], key = row[KEY], parent = row[PARENT], batch = row[BATCH] }) do
    if value then
      names[#names + 1] = kind .. ':' .. value
    end
  end
  return names
end

-- Let a job whose state is READY or WAITING stand where it belongs.
local function queue_up(id, row)
  if row[GIVE_UP] then
    call('ZADD', P .. 'late', row[GIVE_UP], id)
  end
  if row[STATE] == READY then
    arrive(id, row)
  else
    call('ZADD', P .. 'due:' .. row[QUEUE], row[DUE], id)
    if row[WAIT] then
      stamp(id, row)
    end
  end
  save(id, row)
  touch_job(id)
end

local sequence, reserved, seen_queues = 0, 0, {}

-- Ages for so many jobs in one go. What is not used is left out: ages only grow.
local function reserve(count)
  sequence = call('HINCRBY', P .. 'meta', 'sequence', count) - count
  reserved = count
end

local function next_age()
  if reserved == 0 then
    reserve(1)
  end
  reserved, sequence = reserved - 1, sequence + 1
  return sequence
end

-- The row of a new job. `fields` are those that `encoding.fields_of` writes.
local function new_row(fields)
  local row = {}
  row[SEQ] = next_age()
  row[TASK], row[VERSION], row[QUEUE], row[USER], row[PRIORITY] = unpack(fields, 1, 5)
  row[KEY], row[UNIQUE] = fields[6] or false, fields[7] or false
  local delay, run_at = fields[8], fields[9]
  row[START_WITHIN], row[DEADLINE] = fields[10] or false, fields[11] or false
  row[BUDGET], row[KEEP], row[ABANDON_AFTER] = fields[12], fields[13], fields[14] or false
  row[PARENT], row[FOLLOWS] = fields[15] or false, fields[16] and true or false
  row[LIMITS], row[LIMIT_KEYS] = fields[17] or false, fields[18] or false
  row[BATCH], row[CASCADE], row[PARKED_AT] = fields[19] or false, fields[20] or false, false
  row[SUBMITTED], row[STATE], row[DUE], row[WAIT] = NOW, READY, NOW, false
  if run_at and run_at > NOW + delay then
    row[STATE], row[DUE] = WAITING, run_at
  elseif delay > 0 then
    row[STATE], row[DUE], row[WAIT] = WAITING, NOW + delay, delay
  end
  row[ATTEMPT], row[FAILURES], row[LOSSES], row[ENDS] = 0, 0, 0, 0
  row[STARTED], row[ENDED], row[ABANDON_AT], row[CANCELLING] = false, false, false, false
  row[WORKER], row[NONCE], row[SETTLED], row[PROGRESS], row[PROBLEM], row[STAMPED] = false, false, false, false, false, false
  row[ORDINAL], row[EPOCH], row[LAST], row[RESULT], row[REMEMBER], row[OUTSIDE] = 0, 0, 0, false, fields[21], false
  row[ISOLABLE], row[ISOLATED] = fields[22], false
  return row
end

-- Keep a new job, whose id and unique key are free. A batch that takes no more jobs does not count it.
local function insert(id, row, spec, follow_ups)
  local batch = row[BATCH] and batch_of(row[BATCH])
  if row[BATCH] and (not batch or batch[SEALED]) then
    row[BATCH] = false
  end
  set_deadlines(id, row)
  keep_in(row, SPEC, 'spec:', id, spec)
  if row[FOLLOWS] then
    keep('then:', id, follow_ups)
  end
  add_later('all', row[SEQ], id)
  for _, name in ipairs(indices_of(row)) do
    add_later(name, row[SEQ], id)
  end
  if not seen_queues[row[QUEUE]] then
    seen_queues[row[QUEUE]] = true
    call('HSETNX', P .. 'queues', row[QUEUE], '0')
  end
  count_job(row, TOTAL, 1)
  hold(id, row)
  queue_up(id, row)
  expect(row)
end

-- Submit those follow-ups that wait for this: a state, or `REMOVED`. Ids come from whose they are, the count of its ends and place,
-- so that each end submits each of them once. A parent takes the place of the template's; false: none.
local function follow_up(packed_follow_ups, id, ends, state, parent)
  for place, follow in ipairs(cmsgpack.unpack(packed_follow_ups)) do
    local states, rest_of_spec, fields = unpack(follow)
    local child = id .. '.' .. ends .. '.' .. (place - 1)
    if parent ~= nil then
      fields[15] = parent
    end
    if states:find(state, 1, true) and not row_of(child) and not holder_of(fields[4], fields[7]) then
      local parents = fields[15] and '"parent":' .. cjson.encode(fields[15]) .. ',' or ''
      insert(child, new_row(fields), '{' .. parents .. rest_of_spec, fields[16])
    end
  end
end

-- Let a job wait for its next attempt; its lease is gone.
local function put_back(id, row, delay, settled)
  if row[STATE] == RUNNING then
    stop_running(id, row)
  end
  row[STATE], row[DUE], row[WAIT] = READY, NOW, false
  if delay > 0 then
    row[STATE], row[DUE], row[WAIT] = WAITING, NOW + delay, delay
  end
  row[SETTLED] = settled or row[SETTLED]
  row[CANCELLING], row[WORKER], row[NONCE], row[ORDINAL], row[OUTSIDE] = false, false, false, 0, false
  queue_up(id, row)
  expect(row)
end

-- Make up to `limit` due jobs of a queue ready, and tell how many there were.
local function promote(queue, limit)
  local due = call('ZRANGEBYSCORE', P .. 'due:' .. queue, '-inf', exact(NOW), 'LIMIT', 0, limit)
  if #due == 0 then
    return 0
  end
  call('ZREM', P .. 'due:' .. queue, unpack(due))
  read_rows(due)
  for _, id in ipairs(due) do
    local row = row_of(id)
    row[STATE], row[WAIT] = READY, false
    queue_up(id, row)
  end
  return #due
end
