-- Rows: the part of a job that the verbs decide by, one packed list under `job:<id>`. Needs: store.
--
-- A script reads each row once and writes what has changed at its end (`commit`), all in one MSET, with the hints.
--
-- Keys: job:<id>          the row
--       spec:<id>         what was asked for, JSON text
--       result:<id>       its result, JSON text
--       log:<id>          list of its events, the oldest first; its number is an event's place
--       failures:<id>     list of its failures and losses, the oldest first
--       running           hash: running jobs by queue
--       leases:<worker>   zset: the worker's running jobs by the time their lease ends
--       hint:<topic>      shard channel

local SEQ, STATE, QUEUE, PRIORITY, USER, TASK, VERSION, KEY, UNIQUE, PARENT = 1, 2, 3, 4, 5, 6, 7, 8, 9, 10
local BUDGET, KEEP, START_WITHIN, DEADLINE, ABANDON_AFTER, FOLLOWS = 11, 12, 13, 14, 15, 16
local SUBMITTED, DUE, WAIT, ATTEMPT, FAILURES, LOSSES, ENDS = 17, 18, 19, 20, 21, 22, 23
local STARTED, ENDED, GIVE_UP, DEADLINE_AT, ABANDON_AT, CANCELLING = 24, 25, 26, 27, 28, 29
local WORKER, NONCE, SETTLED, ORDINAL, EPOCH, LAST, PROGRESS, PROBLEM, STAMPED = 30, 31, 32, 33, 34, 35, 36, 37, 38

local READY, WAITING, RUNNING, SUCCEEDED, FAILED, CANCELLED = 0, 1, 2, 3, 4, 5

local rows = {}
local changed = {}
local texts = {}
local started = {}
local dropped = {}
local touched = {}
local added = {}
local forgets = {}

local function row_of(id)
  local row = rows[id]
  if row == nil then
    local packed = call('GET', P .. 'job:' .. id)
    row = packed and cmsgpack.unpack(packed)
    rows[id] = row
  end
  return row
end

-- Read the rows of many jobs in one go.
local function read_rows(ids)
  for first = 1, #ids, 1000 do
    local keys = {}
    for place = first, math.min(first + 999, #ids) do
      keys[#keys + 1] = P .. 'job:' .. ids[place]
    end
    for place, packed in ipairs(call('MGET', unpack(keys))) do
      local id = ids[first + place - 1]
      if rows[id] == nil then
        rows[id] = packed and cmsgpack.unpack(packed)
      end
    end
  end
end

local function save(id, row)
  rows[id] = row
  changed[id] = true
end

-- Write a text with the rows.
local function keep(key, text)
  texts[P .. key] = text
end

local found_texts = {}

local function text_of(key)
  return texts[P .. key] or found_texts[P .. key] or call('GET', P .. key)
end

-- Read the specs of many jobs in one go.
local function read_specs(ids)
  for first = 1, #ids, 1000 do
    local keys = {}
    for place = first, math.min(first + 999, #ids) do
      keys[#keys + 1] = P .. 'spec:' .. ids[place]
    end
    for place, text in ipairs(call('MGET', unpack(keys))) do
      found_texts[keys[place]] = text
    end
  end
end

-- Put a member into a sorted set at the end of the script, together with others.
local function add_later(key, score, member)
  local members = added[key] or {}
  added[key] = members
  members[#members + 1], members[#members + 2] = score, member
end

local function touch(topic)
  touched[topic] = true
end

local function touch_job(id)
  touched['job:' .. id] = true
end

local function held_by(row, attempt, nonce)
  return row and row[STATE] == RUNNING and row[NONCE] == nonce and row[ATTEMPT] == attempt
end

local function count_running(queue, step)
  started[queue] = (started[queue] or 0) + step
end

-- Take back the lease of a running job.
local function drop_lease(id, row)
  local ids = dropped[row[WORKER]] or {}
  dropped[row[WORKER]] = ids
  ids[#ids + 1] = id
  count_running(row[QUEUE], -1)
end

-- Note when a timer of the job was set: after the clock has stepped back none may last longer than its duration.
--
-- Keys: stamps  zset: jobs with timers by when the last of them was set
local function stamp(id, row)
  call('ZADD', P .. 'stamps', NOW, id)
  row[STAMPED] = true
end

-- Write everything that has changed, and hint at it. The last step of a script that writes.
local function commit()
  for id in pairs(changed) do
    keep('job:' .. id, cmsgpack.pack(rows[id]))
  end
  local written = {}
  for key, text in pairs(texts) do
    written[#written + 1], written[#written + 2] = key, text
  end
  for first = 1, #written, 1000 do
    call('MSET', unpack(written, first, math.min(first + 999, #written)))
  end
  for id, time in pairs(forgets) do
    add_later('forget', time, id)
  end
  for key, members in pairs(added) do
    in_pieces('ZADD', P .. key, members)
  end
  for worker, ids in pairs(dropped) do
    in_pieces('ZREM', P .. 'leases:' .. worker, ids)
  end
  for queue, step in pairs(started) do
    if step ~= 0 then
      call('HINCRBY', P .. 'running', queue, step)
    end
  end
  for topic in pairs(touched) do
    call('SPUBLISH', P .. 'hint:' .. topic, '')
  end
end
