-- Lines of ready jobs: start-time fair queuing among the users of a queue and priority, a lane (rule 15). Needs: rows, limits.
--
-- A user's line is kept apart by kind (whether isolated, version, task, and whether limits are checked at the start), so that a claim looks
-- only at jobs it may take, and at their rows only where it must. All lines of a user share one start tag. Turns are ordered by tag, then by the age of the line's head, which stands in the member.
--
-- Keys: priorities:<queue>           zset: priorities that have ready jobs
--       lane:<lane>                  hash: clock, ready (how many jobs)
--       kinds:<lane>                 set: kinds that have ready jobs
--       tags:<lane>                  hash: start tag by user, of users with ready jobs
--       idle:<lane>                  zset: users without, by the finish tag of their last job, while that is above the clock
--       turns:<lane>:<kind>          zset: <age of the head><user> by start tag
--       line:<lane>:<user>:<kind>    zset: jobs by age
--       isolated:<queue>             hash: how many ready jobs are isolated, by <version>/<task>

local heads = {}

local function lane_of(queue, priority)
  return part(queue) .. ':' .. priority
end

local function kind_of(row)
  local limited = row[LIMITS] and #limits_of(row).starting > 0
  return (row[ISOLATED] and 'i' or '') .. (limited and 'l' or '') .. '/' .. row[VERSION] .. '/' .. row[TASK]
end

-- 'i' if its jobs are isolated, 'l' if limits are checked at the start, the version and the task of a kind.
local function parts_of(kind)
  return kind:match('^(i?)(l?)/(-?%d+)/(.*)$')
end

local function ready_in(lane)
  return tonumber(call('HGET', P .. 'lane:' .. lane, 'ready')) or 0
end

local function line_key(lane, user, kind)
  return P .. 'line:' .. lane .. ':' .. part(user) .. ':' .. kind
end

local function turn(age, user)
  return string.format('%016.0f', age) .. user
end

local function clock_of(lane)
  return tonumber(call('HGET', P .. 'lane:' .. lane, 'clock')) or 0
end

-- Count ready jobs that are isolated.
local function count_isolated(queue, version, task, step)
  local key, field = P .. 'isolated:' .. queue, version .. '/' .. task
  if call('HINCRBY', key, field, step) <= 0 then
    call('HDEL', key, field)
  end
end

-- Let a job that is ready now stand in its user's line.
local function arrive(id, row)
  local lane, user, kind = lane_of(row[QUEUE], row[PRIORITY]), row[USER], kind_of(row)
  local line = line_key(lane, user, kind)
  local head = heads[line]
  if head == nil then
    head = tonumber(call('ZRANGE', line, 0, 0, 'WITHSCORES')[2]) or false
  end
  call('ZADD', line, row[SEQ], id)
  call('HINCRBY', P .. 'lane:' .. lane, 'ready', 1)
  if row[ISOLATED] then
    count_isolated(row[QUEUE], row[VERSION], row[TASK], 1)
  end
  heads[line] = head
  if head and head <= row[SEQ] then
    return
  end
  heads[line] = row[SEQ]
  local turns = P .. 'turns:' .. lane .. ':' .. kind
  local tag = call('HGET', P .. 'tags:' .. lane, user)
  if not tag then
    local idle = tonumber(call('ZSCORE', P .. 'idle:' .. lane, user))
    tag = math.max(clock_of(lane), idle or 0)
    call('HSET', P .. 'tags:' .. lane, user, tag)
    if idle then
      call('ZREM', P .. 'idle:' .. lane, user)
    end
    call('ZADD', P .. 'priorities:' .. row[QUEUE], row[PRIORITY], row[PRIORITY])
  end
  if head then
    call('ZREM', turns, turn(head, user))
  else
    call('SADD', P .. 'kinds:' .. lane, kind)
  end
  call('ZADD', turns, tag, turn(row[SEQ], user))
end

-- Forget users without ready jobs as soon as that changes nothing for them.
local function tidy(queue, priority, lane, clock)
  if tonumber(call('HGET', P .. 'lane:' .. lane, 'ready')) > 0 then
    call('ZREMRANGEBYSCORE', P .. 'idle:' .. lane, '-inf', clock)
  else
    call('DEL', P .. 'lane:' .. lane, P .. 'tags:' .. lane, P .. 'idle:' .. lane, P .. 'kinds:' .. lane)
    call('ZREM', P .. 'priorities:' .. queue, priority)
  end
end

-- Note that a user has no ready jobs in this lane any more.
local function rest(lane, user, tag, clock)
  call('HDEL', P .. 'tags:' .. lane, user)
  if tag > clock then
    call('ZADD', P .. 'idle:' .. lane, tag, user)
  end
end

local function forget_kind(lane, kind)
  if call('EXISTS', P .. 'turns:' .. lane .. ':' .. kind) == 0 then
    call('SREM', P .. 'kinds:' .. lane, kind)
  end
end

-- Let a job that is not ready any more, and was not picked, leave its line at no cost to its user.
local function leave(id, row)
  local lane, user, kind = lane_of(row[QUEUE], row[PRIORITY]), row[USER], kind_of(row)
  local line = line_key(lane, user, kind)
  heads[line] = nil
  local was_head = call('ZRANGE', line, 0, 0)[1] == id
  call('ZREM', line, id)
  call('HINCRBY', P .. 'lane:' .. lane, 'ready', -1)
  if row[ISOLATED] then
    count_isolated(row[QUEUE], row[VERSION], row[TASK], -1)
  end
  if not was_head then
    return
  end
  local turns = P .. 'turns:' .. lane .. ':' .. kind
  call('ZREM', turns, turn(row[SEQ], user))
  local tag = tonumber(call('HGET', P .. 'tags:' .. lane, user)) or 0
  local head = tonumber(call('ZRANGE', line, 0, 0, 'WITHSCORES')[2])
  if head then
    call('ZADD', turns, tag, turn(head, user))
    return
  end
  forget_kind(lane, kind)
  local stands = false
  for _, other in ipairs(call('SMEMBERS', P .. 'kinds:' .. lane)) do
    stands = stands or call('EXISTS', line_key(lane, user, other)) == 1
  end
  local clock = clock_of(lane)
  if not stands then
    rest(lane, user, tag, clock)
  end
  tidy(row[QUEUE], row[PRIORITY], lane, clock)
end
