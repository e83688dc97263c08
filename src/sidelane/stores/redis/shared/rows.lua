-- Rows: the part of a job that the verbs decide by, one packed list under `job:<id>`. Needs: prelude.
-- Exports: rows, packed_rows, changed_rows, texts, prune_times, wake_workers, on_commit, user_key_index, row_of, read_rows, save_row, set_text, text_of, set_inline_text, result_of, zadd_on_commit, notify, notify_job, is_lease_valid, count_running, remove_lease, record_timer, commit
--
-- A script reads each row once. It writes all changed rows in `commit`, in one MSET, and publishes the hints.
--
-- Keys: job:<id>          the row
--       spec:<id>         a spec too long for the row: JSON text without line feeds, then, if the job has arguments, a line feed and these
--       result:<id>       a result too long for the row, JSON text
--       log:<id>          list of its events, the oldest first; an event's number is its position
--       failures:<id>     list of its failures and worker losses, the oldest first
--       running           hash: count of running jobs by queue
--       running_users:<queue>  hash: count of running jobs by user, without those of no user
--       leases:<worker>   zset: the worker's running jobs by the time their lease ends
--       external          zset: jobs at external workers, likewise
--       hint:jobs         shard channel: ids of changed jobs, one per line
--       hint:<topic>      shard channel: any other topic, an empty message
--
-- LOG_SPACE is the number of bytes that the log may still grow by; false: the log is truncated.
-- ORDINAL is how many events of the newest attempt are in the log, and LOGGED how many of these are log records.
-- DUE is when a ready job became so, when a limit blocked a blocked one, or when a claim found that the batch of a paused one is paused.
-- WORKER is that of the newest attempt, while it runs and if it ended the job. RELEASE is that of the worker of the newest attempt; ''
-- before the first. USAGE is what its attempts used: a list of input tokens, output tokens and millionths of a currency's unit.
--
-- `Row` in replies.py has the same order of fields. `wake_workers` is set in wake_workers.lua.

local SEQUENCE, STATE, QUEUE, PRIORITY, USER, TASK, VERSION, KEY, UNIQUE, PARENT = 1, 2, 3, 4, 5, 6, 7, 8, 9, 10
local MAX_WORKER_LOSSES, RETENTION, EXPIRES, DEADLINE, ABANDON_AFTER, HAS_FOLLOW_UPS = 11, 12, 13, 14, 15, 16
local LIMITS, LIMIT_KEYS, BATCH, CASCADE, BLOCKED_BY = 17, 18, 19, 20, 21
local SUBMITTED, DUE, DELAY, ATTEMPT, FAILURES, WORKER_LOSSES, ENDS = 22, 23, 24, 25, 26, 27, 28
local STARTED, ENDED, EXPIRES_AT, DEADLINE_AT, ABANDON_AT, CANCEL_REQUESTED = 29, 30, 31, 32, 33, 34
local WORKER, NONCE, FINISHED_NONCE, ORDINAL, EPOCH, LAST, PROGRESS, PROBLEM, HAS_TIMER = 35, 36, 37, 38, 39, 40, 41, 42, 43
local SPEC, RESULT, ID_RETENTION, EXTERNAL, ISOLABLE, ISOLATED, LOG_SPACE = 44, 45, 46, 47, 48, 49, 50
local RELEASE, FIRST_EVENT, LAST_EVENT, TRANSITIONS, USAGE, LOGGED = 51, 52, 53, 54, 55, 56

local MAX_INLINE_SIZE = 256 -- bytes of a text

local READY, DELAYED, BLOCKED, PAUSED, RUNNING, SUCCEEDED, FAILED, CANCELLED = 0, 1, 2, 3, 4, 5, 6, 7
local REMOVED = 8 -- not a state, but a follow-up may wait for it

local rows = {}
local packed_rows = {} -- the rows as stored; those of changed rows are valid after `commit`
local changed_rows = {}
local texts = {}
local running_changes, running_user_changes = {}, {}
local dropped_leases = {}
local changed_topics = {}
local changed_jobs = {}
local zadd_members = {}
local prune_times = {}
local on_commit = {} -- functions that `commit` calls, the last first, because it may add work for the earlier ones

-- Return the name of the index of a user's jobs with a key.
local function user_key_index(user, key)
  return 'user_key:' .. length_prefixed(user) .. key
end

local function row_of(id)
  local row = rows[id]
  if row == nil then
    local found = call('GET', PREFIX .. 'job:' .. id)
    row = found and cmsgpack.unpack(found)
    rows[id], packed_rows[id] = row, found
  end
  return row
end

-- Read `<kind><id>` for many ids in one call, and pass each value to a function.
local function read_many(kind, ids, visit)
  for first = 1, #ids, 1000 do
    local keys = {}
    for index = first, math.min(first + 999, #ids) do
      keys[#keys + 1] = PREFIX .. kind .. ids[index]
    end
    for index, found in ipairs(call('MGET', unpack(keys))) do
      visit(ids[first + index - 1], found)
    end
  end
end

-- Return the state of a packed row without unpacking the row, which takes most of the time of a search: the list has three bytes
-- before its first element, the sequence, which has one byte or a kind and its bytes.
local function packed_state(packed)
  local bytes = ({ [0xcc] = 1, [0xcd] = 2, [0xce] = 4, [0xcf] = 8 })[packed:byte(4)] or 0
  return packed:byte(5 + bytes)
end

-- Read the rows of many jobs in one call. With codes of states, jobs in other states are taken as absent.
local function read_rows(ids, states)
  local unread = {}
  for _, id in ipairs(ids) do
    if rows[id] == nil then
      unread[#unread + 1] = id
    end
  end
  read_many('job:', unread, function(id, found)
    local wanted = found and (not states or states:find(packed_state(found), 1, true))
    rows[id], packed_rows[id] = wanted and cmsgpack.unpack(found) or false, found
  end)
end

local function save_row(id, row)
  rows[id] = row
  changed_rows[id] = true
end

-- Write a text in `commit`.
local function set_text(kind, id, text)
  texts[PREFIX .. kind .. id] = text
end

local function text_of(kind, id)
  local key = PREFIX .. kind .. id
  return texts[key] or call('GET', key)
end

-- Store a text in a field of the row, or under a separate key if it is long.
local function set_inline_text(row, field, kind, id, text)
  row[field] = #text <= MAX_INLINE_SIZE and text
  if not row[field] then
    set_text(kind, id, text)
  end
end

local function result_of(id, row)
  return row[STATE] == SUCCEEDED and (row[RESULT] or text_of('result:', id))
end

-- Add a member to a sorted set in `commit`, in one call with others.
local function zadd_on_commit(key, score, member)
  local members = zadd_members[key] or {}
  zadd_members[key] = members
  members[#members + 1], members[#members + 2] = score, member
end

local function notify(topic)
  changed_topics[topic] = true
end

local function notify_job(id)
  if not changed_jobs[id] then
    changed_jobs[id] = true
    changed_jobs[#changed_jobs + 1] = id
  end
end

local function is_lease_valid(row, attempt, nonce)
  return row and row[STATE] == RUNNING and row[NONCE] == nonce and row[ATTEMPT] == attempt
end

-- Return the key of a running job's lease: that of its worker, or that of external jobs.
local function leases_key(row)
  return row[EXTERNAL] and 'external' or 'leases:' .. row[WORKER]
end

local function count_running(row, change)
  local queue, user = row[QUEUE], row[USER]
  running_changes[queue] = (running_changes[queue] or 0) + change
  if user ~= '' then
    local users = running_user_changes[queue] or {}
    running_user_changes[queue] = users
    users[user] = (users[user] or 0) + change
  end
end

-- Remove the lease of a running job.
local function remove_lease(id, row)
  local leases = leases_key(row)
  dropped_leases[leases] = dropped_leases[leases] or {}
  table.insert(dropped_leases[leases], id)
end

-- Record when a timer of the job was set: after the clock stepped back, no timer may last longer than its duration.
--
-- Keys: timers  zset: jobs with timers by when the last of them was set
local function record_timer(id, row)
  call('ZADD', PREFIX .. 'timers', NOW, id)
  row[HAS_TIMER] = true
end

-- Write all changes and publish hints. The last step of a script that writes.
local function commit()
  for index = #on_commit, 1, -1 do
    on_commit[index]()
  end
  local written = {}
  for id in pairs(changed_rows) do
    packed_rows[id] = cmsgpack.pack(rows[id])
    written[#written + 1], written[#written + 2] = PREFIX .. 'job:' .. id, packed_rows[id]
  end
  for key, text in pairs(texts) do
    written[#written + 1], written[#written + 2] = key, text
  end
  for first = 1, #written, 1000 do
    call('MSET', unpack(written, first, math.min(first + 999, #written)))
  end
  for id, time in pairs(prune_times) do
    zadd_on_commit('prune_jobs', time, id)
  end
  for key, members in pairs(zadd_members) do
    in_chunks('ZADD', PREFIX .. key, members)
  end
  for leases, ids in pairs(dropped_leases) do
    in_chunks('ZREM', PREFIX .. leases, ids)
  end
  for queue, change in pairs(running_changes) do
    if change ~= 0 then
      call('HINCRBY', PREFIX .. 'running', queue, change)
    end
  end
  for queue, users in pairs(running_user_changes) do
    local key = PREFIX .. 'running_users:' .. queue
    for user, change in pairs(users) do
      if change ~= 0 and call('HINCRBY', key, user, change) <= 0 then
        call('HDEL', key, user)
      end
    end
  end
  for topic in pairs(changed_topics) do
    call('SPUBLISH', PREFIX .. 'hint:' .. topic, '')
  end
  if #changed_jobs > 0 then
    call('SPUBLISH', PREFIX .. 'hint:jobs', table.concat(changed_jobs, '\n'))
  end
  if wake_workers then
    wake_workers()
  end
end
