-- Rows: the part of a job that the verbs decide by, one packed list under `job:<id>`. Needs: store.
--
-- A script reads each row once and writes what has changed at its end (`commit`), all in one MSET, with the hints.
--
-- Keys: job:<id>          the row
--       spec:<id>         what was asked for, where it is too long to stand in the row: JSON text without line feeds and, where
--                         there are arguments, after a line feed these
--       result:<id>       its result, JSON text, likewise
--       log:<id>          list of its events, the oldest first; its number is an event's place
--       failures:<id>     list of its failures and losses, the oldest first
--       running           hash: running jobs by queue
--       leases:<worker>   zset: the worker's running jobs by the time their lease ends
--       outside           zset: running jobs that were handed over, likewise: no worker holds them
--       hint:jobs         shard channel: ids of jobs that have changed, a line each
--       hint:<topic>      shard channel: any other topic, an empty message
--
-- The order of a row's fields is known to row.py too.

local SEQ, STATE, QUEUE, PRIORITY, USER, TASK, VERSION, KEY, UNIQUE, PARENT = 1, 2, 3, 4, 5, 6, 7, 8, 9, 10
local BUDGET, KEEP, START_WITHIN, DEADLINE, ABANDON_AFTER, FOLLOWS = 11, 12, 13, 14, 15, 16
local LIMITS, LIMIT_KEYS, BATCH, CASCADE, PARKED_AT = 17, 18, 19, 20, 21
local SUBMITTED, DUE, WAIT, ATTEMPT, FAILURES, LOSSES, ENDS = 22, 23, 24, 25, 26, 27, 28
local STARTED, ENDED, GIVE_UP, DEADLINE_AT, ABANDON_AT, CANCELLING = 29, 30, 31, 32, 33, 34
local WORKER, NONCE, SETTLED, ORDINAL, EPOCH, LAST, PROGRESS, PROBLEM, STAMPED = 35, 36, 37, 38, 39, 40, 41, 42, 43
local SPEC, RESULT, REMEMBER, OUTSIDE, ISOLABLE, ISOLATED = 44, 45, 46, 47, 48, 49

local LONGEST_IN_ROW = 256 -- bytes of a text

local READY, WAITING, PARKED, RUNNING, SUCCEEDED, FAILED, CANCELLED = 0, 1, 2, 3, 4, 5, 6
local REMOVED = 7 -- no state, but what a follow-up may wait for

local rows = {}
local packed = {} -- the rows as they are stored; of those that change only after `commit`
local changed = {}
local texts = {}
local started = {}
local dropped = {}
local hinted = {}
local touched = {}
local added = {}
local forgets = {}
local wake_workers -- set by the script that lets jobs arrive
local last_steps = {} -- what other files have left for `commit`; a later one's goes first, for it may leave more to those before

local function row_of(id)
  local row = rows[id]
  if row == nil then
    local found = call('GET', P .. 'job:' .. id)
    row = found and cmsgpack.unpack(found)
    rows[id], packed[id] = row, found
  end
  return row
end

-- Read what stands under `<kind><id>` for many ids in one go, and give each to a function.
local function read_each(kind, ids, take_one)
  for first = 1, #ids, 1000 do
    local keys = {}
    for place = first, math.min(first + 999, #ids) do
      keys[#keys + 1] = P .. kind .. ids[place]
    end
    for place, found in ipairs(call('MGET', unpack(keys))) do
      take_one(ids[first + place - 1], found)
    end
  end
end

-- Read the rows of many jobs in one go.
local function read_rows(ids)
  local unread = {}
  for _, id in ipairs(ids) do
    if rows[id] == nil then
      unread[#unread + 1] = id
    end
  end
  read_each('job:', unread, function(id, found)
    rows[id], packed[id] = found and cmsgpack.unpack(found), found
  end)
end

local function save(id, row)
  rows[id] = row
  changed[id] = true
end

-- Write a text with the rows.
local function keep(kind, id, text)
  texts[P .. kind .. id] = text
end

local function text_of(kind, id)
  local key = P .. kind .. id
  return texts[key] or call('GET', key)
end

-- Give a text to a field of the row, or a key of its own if it is long.
local function keep_in(row, field, kind, id, text)
  row[field] = #text <= LONGEST_IN_ROW and text
  if not row[field] then
    keep(kind, id, text)
  end
end

local function result_of(id, row)
  return row[STATE] == SUCCEEDED and (row[RESULT] or text_of('result:', id))
end

-- Put a member into a sorted set at the end of the script, together with others.
local function add_later(key, score, member)
  local members = added[key] or {}
  added[key] = members
  members[#members + 1], members[#members + 2] = score, member
end

local function touch(topic)
  hinted[topic] = true
end

local function touch_job(id)
  if not touched[id] then
    touched[id] = true
    touched[#touched + 1] = id
  end
end

local function held_by(row, attempt, nonce)
  return row and row[STATE] == RUNNING and row[NONCE] == nonce and row[ATTEMPT] == attempt
end

-- Where the lease of a running job stands: with its worker, or among those that were handed over.
local function leases_of(row)
  return row[OUTSIDE] and 'outside' or 'leases:' .. row[WORKER]
end

local function count_running(queue, step)
  started[queue] = (started[queue] or 0) + step
end

-- Take back the lease of a running job.
local function drop_lease(id, row)
  local leases = leases_of(row)
  dropped[leases] = dropped[leases] or {}
  table.insert(dropped[leases], id)
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
  for place = #last_steps, 1, -1 do
    last_steps[place]()
  end
  local written = {}
  for id in pairs(changed) do
    packed[id] = cmsgpack.pack(rows[id])
    written[#written + 1], written[#written + 2] = P .. 'job:' .. id, packed[id]
  end
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
  for leases, ids in pairs(dropped) do
    in_pieces('ZREM', P .. leases, ids)
  end
  for queue, step in pairs(started) do
    if step ~= 0 then
      call('HINCRBY', P .. 'running', queue, step)
    end
  end
  for topic in pairs(hinted) do
    call('SPUBLISH', P .. 'hint:' .. topic, '')
  end
  if #touched > 0 then
    call('SPUBLISH', P .. 'hint:jobs', table.concat(touched, '\n'))
  end
  if wake_workers then
    wake_workers()
  end
end
