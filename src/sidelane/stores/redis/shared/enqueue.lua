-- Enqueues jobs: new ones, and those that return to their queue after an attempt. Needs: rows, history,
-- transitions, limits, fair_queue, wake_workers, batches.
-- Exports: find_childless, has_children, unique_field, unique_holder, register_unfinished, set_deadlines, indexes_of, enqueue, allocate_sequences, new_row, insert_job, submit_follow_ups, return_to_queue, promote_delayed
--
-- Keys: meta                     hash: sequence, the highest used
--       delayed:<queue>          zset: delayed jobs by due time
--       expiring                 zset: queued jobs by the time they expire
--       unique                   hash: <user><unique key> to the unfinished job that has it
--       all, failed              zset: jobs by sequence
--       user:<user>, key:<key>, parent:<parent>, batch:<batch>   zset: the jobs of each by sequence
--       user_key:<user><key>     zset: the jobs of a user with a key by sequence
--       children:<job>           set: its unfinished children
--       cascade_children:<job>   set: those of them that are cancelled with it and are not cancelled yet
--       prune_jobs               zset: finished jobs without unfinished children by the end of their retention
--       follow_ups:<id>          the job's follow-ups: a packed list of {states, the rest of the spec, its fields}

local function unique_field(user, unique)
  return length_prefixed(user) .. unique
end

local function unique_holder(user, unique)
  return unique and call('HGET', PREFIX .. 'unique', unique_field(user, unique))
end

local childless = {} -- jobs without unfinished children, by id

-- Look up whether any of many jobs has unfinished children, in one call.
local function find_childless(ids)
  local keys = {}
  for index, id in ipairs(ids) do
    keys[index] = PREFIX .. 'children:' .. id
  end
  if #keys > 0 and call('EXISTS', unpack(keys)) == 0 then
    for _, id in ipairs(ids) do
      childless[id] = true
    end
  end
end

local function has_children(id)
  return not childless[id] and call('EXISTS', PREFIX .. 'children:' .. id) == 1
end

-- Register an unfinished job with its parent, its unique key and its limits.
local function register_unfinished(id, row)
  if row[UNIQUE] then
    call('HSET', PREFIX .. 'unique', unique_field(row[USER], row[UNIQUE]), id)
  end
  if row[PARENT] then
    call('SADD', PREFIX .. 'children:' .. row[PARENT], id)
    childless[row[PARENT]] = nil
    if row[CASCADE] then
      call('SADD', PREFIX .. 'cascade_children:' .. row[PARENT], id)
    end
    call('ZREM', PREFIX .. 'prune_jobs', row[PARENT])
    prune_times[row[PARENT]] = nil
  end
  if row[LIMITS] then
    acquire_slots(id, row)
  end
end

-- Set when a job that is queued now expires.
local function set_deadlines(id, row)
  row[DEADLINE_AT] = row[DEADLINE] and NOW + row[DEADLINE]
  row[EXPIRES_AT] = row[EXPIRES] and NOW + row[EXPIRES]
  if row[DEADLINE_AT] and (not row[EXPIRES_AT] or row[DEADLINE_AT] < row[EXPIRES_AT]) then
    row[EXPIRES_AT] = row[DEADLINE_AT]
  end
  if row[EXPIRES_AT] then
    record_timer(id, row)
  end
end

-- Return the names of a job's indexes, except those of all jobs.
local function indexes_of(row)
  local names = {}
  for kind, value in pairs({ user = row[USER] ~= '' and row[USER], key = row[KEY], parent = row[PARENT], batch = row[BATCH] }) do
    if value then
      names[#names + 1] = kind .. ':' .. value
    end
  end
  if row[KEY] and row[USER] ~= '' then
    names[#names + 1] = user_key_index(row[USER], row[KEY])
  end
  return names
end

-- Enqueue a job whose state is READY or DELAYED.
local function enqueue(id, row)
  if row[EXPIRES_AT] then
    call('ZADD', PREFIX .. 'expiring', row[EXPIRES_AT], id)
  end
  if row[STATE] == READY then
    push_ready(id, row)
  else
    call('ZADD', PREFIX .. 'delayed:' .. row[QUEUE], row[DUE], id)
    if row[DELAY] then
      record_timer(id, row)
    end
  end
  save_row(id, row)
  notify_job(id)
end

local sequence, allocated, known_queues = 0, 0, {}

-- Allocate `count` sequences in one call. Unused ones are skipped: sequences only grow.
local function allocate_sequences(count)
  sequence = call('HINCRBY', PREFIX .. 'meta', 'sequence', count) - count
  allocated = count
end

local function next_sequence()
  if allocated == 0 then
    allocate_sequences(1)
  end
  allocated, sequence = allocated - 1, sequence + 1
  return sequence
end

-- Return the row of a new job. `fields` come from `arguments.fields_of` in Python.
local function new_row(fields)
  local row = {}
  row[SEQUENCE] = next_sequence()
  row[TASK], row[VERSION], row[QUEUE], row[USER], row[PRIORITY] = unpack(fields, 1, 5)
  row[KEY], row[UNIQUE] = fields[6] or false, fields[7] or false
  local delay, run_at = fields[8], fields[9]
  row[EXPIRES], row[DEADLINE] = fields[10] or false, fields[11] or false
  row[MAX_WORKER_LOSSES], row[RETENTION], row[ABANDON_AFTER] = fields[12], fields[13], fields[14] or false
  row[PARENT], row[HAS_FOLLOW_UPS] = fields[15] or false, fields[16] and true or false
  row[LIMITS], row[LIMIT_KEYS] = fields[17] or false, fields[18] or false
  row[BATCH], row[CASCADE], row[BLOCKED_BY] = fields[19] or false, fields[20] or false, false
  row[SUBMITTED], row[STATE], row[DUE], row[DELAY] = NOW, READY, NOW, false
  if run_at and run_at > NOW + delay then
    row[STATE], row[DUE] = DELAYED, run_at
  elseif delay > 0 then
    row[STATE], row[DUE], row[DELAY] = DELAYED, NOW + delay, delay
  end
  row[ATTEMPT], row[FAILURES], row[WORKER_LOSSES], row[ENDS] = 0, 0, 0, 0
  row[STARTED], row[ENDED], row[ABANDON_AT], row[CANCEL_REQUESTED] = false, false, false, false
  row[WORKER], row[NONCE], row[FINISHED_NONCE], row[PROGRESS], row[PROBLEM], row[HAS_TIMER] = false, false, false, false, false, false
  row[ORDINAL], row[EPOCH], row[LAST], row[RESULT], row[ID_RETENTION], row[EXTERNAL] = 0, 0, 0, false, fields[21], false
  row[ISOLABLE], row[ISOLATED], row[LOG_SPACE] = fields[22], false, fields[23]
  row[RELEASE], row[FIRST_EVENT], row[LAST_EVENT], row[TRANSITIONS], row[USAGE], row[LOGGED] = '', false, false, false, false, 0
  return row
end

-- Store a new job whose id and unique key are free. It joins its batch only if that is open.
local function insert_job(id, row, spec, follow_ups)
  local batch = row[BATCH] and batch_of(row[BATCH])
  if row[BATCH] and (not batch or batch[SEALED]) then
    row[BATCH] = false
  end
  set_deadlines(id, row)
  set_inline_text(row, SPEC, 'spec:', id, spec)
  if row[HAS_FOLLOW_UPS] then
    set_text('follow_ups:', id, follow_ups)
  end
  zadd_on_commit('all', row[SEQUENCE], id)
  for _, name in ipairs(indexes_of(row)) do
    zadd_on_commit(name, row[SEQUENCE], id)
  end
  if not known_queues[row[QUEUE]] then
    known_queues[row[QUEUE]] = true
    call('HSETNX', PREFIX .. 'queues', row[QUEUE], '0')
  end
  count(row, COUNT_SUBMITTED)
  add_user_amount('submitted', row[QUEUE], row[USER], 1)
  count_in_batch(row, TOTAL, 1)
  register_unfinished(id, row)
  enqueue(id, row)
  record_ready(row)
end

-- Submit the follow-ups that wait for a state, or for `REMOVED`. Their ids come from the parent's id, its count of ends and their
-- index, so each end submits each of them once. `parent` replaces the template's parent; false means none.
local function submit_follow_ups(packed_follow_ups, id, ends, state, parent)
  for index, follow in ipairs(cmsgpack.unpack(packed_follow_ups)) do
    local states, spec_rest, fields = unpack(follow)
    local child = id .. '.' .. ends .. '.' .. (index - 1)
    if parent ~= nil then
      fields[15] = parent
    end
    if states:find(state, 1, true) and not row_of(child) and not unique_holder(fields[4], fields[7]) then
      local parents = fields[15] and '"parent":' .. cjson.encode(fields[15]) .. ',' or ''
      insert_job(child, new_row(fields), '{' .. parents .. spec_rest, fields[16])
    end
  end
end

-- Return a job to its queue for the next attempt; its lease is over. `change` and its detail (nil: none) say why.
local function return_to_queue(id, row, delay, finished_nonce, change, detail)
  if row[STATE] == RUNNING then
    end_attempt(id, row)
  end
  store_attempt(row)
  add_transition(row, change, detail)
  row[STATE], row[DUE], row[DELAY] = READY, NOW, false
  if delay > 0 then
    row[STATE], row[DUE], row[DELAY] = DELAYED, NOW + delay, delay
  end
  row[FINISHED_NONCE] = finished_nonce or row[FINISHED_NONCE]
  row[CANCEL_REQUESTED], row[WORKER], row[NONCE], row[ORDINAL], row[EXTERNAL] = false, false, false, 0, false
  enqueue(id, row)
  record_ready(row)
end

-- Move up to `limit` due jobs of a queue from delayed to ready. Returns how many.
local function promote_delayed(queue, limit)
  local due = call('ZRANGEBYSCORE', PREFIX .. 'delayed:' .. queue, '-inf', float_text(NOW), 'LIMIT', 0, limit)
  if #due == 0 then
    return 0
  end
  call('ZREM', PREFIX .. 'delayed:' .. queue, unpack(due))
  read_rows(due)
  for _, id in ipairs(due) do
    local row = row_of(id)
    row[STATE], row[DELAY] = READY, false
    enqueue(id, row)
  end
  return #due
end
