-- Ready jobs in start-time fair queuing: users share each bucket, a pair of queue and priority (rule 15). Needs: rows, limits.
-- Exports: queue_heads, bucket_of, parse_kind, ready_count, user_queue_key, sort_key, virtual_time_of, count_isolated, head_since, push_ready, drop_idle_users, drop_empty_kind, smaller, remove_ready
--
-- Each user has one queue per kind of job (isolated or not, version, task, and whether limits are checked at the start). So a claim
-- reads only jobs that its worker can run. All of a user's queues in a bucket share one start tag. Users are ordered by start tag, then
-- by the sequence of their first job, which is part of the member.
--
-- Keys: priorities:<queue>                zset: priorities that have ready jobs
--       bucket:<bucket>                   hash: virtual_time, ready (count of jobs)
--       kinds:<bucket>                    set: kinds that have ready jobs
--       start_tags:<bucket>               hash: start tag by user, of users with ready jobs
--       idle_users:<bucket>               zset: users without ready jobs by the finish tag of their last job, while above the virtual time
--       heads:<bucket>                    hash: by user, the sequence of the first of its ready jobs, and since when it is the first; the jobs
--                                         without user have none
--       user_order:<bucket>:<kind>        zset: <sequence of the first job><user> by start tag
--       user_queue:<bucket>:<user>:<kind> zset: jobs by sequence
--       isolated:<queue>                  hash: count of ready isolated jobs, by <version>/<task>

local queue_heads = {}

local function bucket_of(queue, priority)
  return length_prefixed(queue) .. ':' .. priority
end

local function kind_of(row)
  local limited = row[LIMITS] and #limits_of(row).starting > 0
  return (row[ISOLATED] and 'i' or '') .. (limited and 'l' or '') .. '/' .. row[VERSION] .. '/' .. row[TASK]
end

-- Split a kind: 'i' if its jobs are isolated, 'l' if limits are checked at the start, version, task.
local function parse_kind(kind)
  return kind:match('^(i?)(l?)/(-?%d+)/(.*)$')
end

local function ready_count(bucket)
  return tonumber(call('HGET', PREFIX .. 'bucket:' .. bucket, 'ready')) or 0
end

local function user_queue_key(bucket, user, kind)
  return PREFIX .. 'user_queue:' .. bucket .. ':' .. length_prefixed(user) .. ':' .. kind
end

local function sort_key(sequence, user)
  return string.format('%016.0f', sequence) .. user
end

local function virtual_time_of(bucket)
  return tonumber(call('HGET', PREFIX .. 'bucket:' .. bucket, 'virtual_time')) or 0
end

-- Count ready isolated jobs.
local function count_isolated(queue, version, task, change)
  local key, field = PREFIX .. 'isolated:' .. queue, version .. '/' .. task
  if call('HINCRBY', key, field, change) <= 0 then
    call('HDEL', key, field)
  end
end

-- Return since when the first ready job of a user is the first.
local function head_since(bucket, user)
  return tonumber(call('HGET', PREFIX .. 'heads:' .. bucket, user):sub(17))
end

-- Record the first ready job of a user, unless another one comes before it.
local function push_head(bucket, user, sequence, since)
  local head = call('HGET', PREFIX .. 'heads:' .. bucket, user)
  if not head or sequence < tonumber(head:sub(1, 16)) then
    call('HSET', PREFIX .. 'heads:' .. bucket, user, sort_key(sequence, float_text(since)))
  end
end

-- Add a job that is ready now to its user's queue.
local function push_ready(id, row)
  local bucket, user, kind = bucket_of(row[QUEUE], row[PRIORITY]), row[USER], kind_of(row)
  local queue_key = user_queue_key(bucket, user, kind)
  local head = queue_heads[queue_key]
  if head == nil then
    head = tonumber(call('ZRANGE', queue_key, 0, 0, 'WITHSCORES')[2]) or false
  end
  call('ZADD', queue_key, row[SEQUENCE], id)
  call('HINCRBY', PREFIX .. 'bucket:' .. bucket, 'ready', 1)
  if row[ISOLATED] then
    count_isolated(row[QUEUE], row[VERSION], row[TASK], 1)
  end
  queue_heads[queue_key] = head
  if head and head <= row[SEQUENCE] then
    return
  end
  queue_heads[queue_key] = row[SEQUENCE]
  local order = PREFIX .. 'user_order:' .. bucket .. ':' .. kind
  local start_tag = call('HGET', PREFIX .. 'start_tags:' .. bucket, user)
  if not start_tag then
    local idle = tonumber(call('ZSCORE', PREFIX .. 'idle_users:' .. bucket, user))
    start_tag = math.max(virtual_time_of(bucket), idle or 0)
    call('HSET', PREFIX .. 'start_tags:' .. bucket, user, start_tag)
    if idle then
      call('ZREM', PREFIX .. 'idle_users:' .. bucket, user)
    end
    call('ZADD', PREFIX .. 'priorities:' .. row[QUEUE], row[PRIORITY], row[PRIORITY])
  end
  if user ~= '' then
    push_head(bucket, user, row[SEQUENCE], row[DUE])
  end
  if head then
    call('ZREM', order, sort_key(head, user))
  else
    call('SADD', PREFIX .. 'kinds:' .. bucket, kind)
  end
  call('ZADD', order, start_tag, sort_key(row[SEQUENCE], user))
end

-- Delete users without ready jobs once their finish tags have no effect.
local function drop_idle_users(queue, priority, bucket, virtual_time)
  if tonumber(call('HGET', PREFIX .. 'bucket:' .. bucket, 'ready')) > 0 then
    call('ZREMRANGEBYSCORE', PREFIX .. 'idle_users:' .. bucket, '-inf', virtual_time)
  else
    call('DEL', PREFIX .. 'bucket:' .. bucket, PREFIX .. 'start_tags:' .. bucket, PREFIX .. 'idle_users:' .. bucket, PREFIX .. 'kinds:' .. bucket, PREFIX .. 'heads:' .. bucket)
    call('ZREM', PREFIX .. 'priorities:' .. queue, priority)
  end
end

-- Record that a user has no more ready jobs in this bucket.
local function mark_idle(bucket, user, start_tag, virtual_time)
  call('HDEL', PREFIX .. 'start_tags:' .. bucket, user)
  call('HDEL', PREFIX .. 'heads:' .. bucket, user)
  if start_tag > virtual_time then
    call('ZADD', PREFIX .. 'idle_users:' .. bucket, start_tag, user)
  end
end

local function drop_empty_kind(bucket, kind)
  if call('EXISTS', PREFIX .. 'user_order:' .. bucket .. ':' .. kind) == 0 then
    call('SREM', PREFIX .. 'kinds:' .. bucket, kind)
  end
end

-- Return the smaller of two numbers, of which one or both may be missing.
local function smaller(one, other)
  return one and other and math.min(one, other) or one or other
end

-- Return the sequence of a user's first ready job, or nil.
local function first_of_user(bucket, user)
  local first
  for _, kind in ipairs(call('SMEMBERS', PREFIX .. 'kinds:' .. bucket)) do
    first = smaller(first, tonumber(call('ZRANGE', user_queue_key(bucket, user, kind), 0, 0, 'WITHSCORES')[2]))
  end
  return first
end

-- Remove a job that is not ready any more, other than by selection. Its user keeps the same start tag.
local function remove_ready(id, row)
  local bucket, user, kind = bucket_of(row[QUEUE], row[PRIORITY]), row[USER], kind_of(row)
  local queue_key = user_queue_key(bucket, user, kind)
  queue_heads[queue_key] = nil
  local was_head = call('ZRANGE', queue_key, 0, 0)[1] == id
  call('ZREM', queue_key, id)
  call('HINCRBY', PREFIX .. 'bucket:' .. bucket, 'ready', -1)
  if row[ISOLATED] then
    count_isolated(row[QUEUE], row[VERSION], row[TASK], -1)
  end
  if not was_head then
    return
  end
  local order = PREFIX .. 'user_order:' .. bucket .. ':' .. kind
  call('ZREM', order, sort_key(row[SEQUENCE], user))
  local start_tag = tonumber(call('HGET', PREFIX .. 'start_tags:' .. bucket, user)) or 0
  local head = tonumber(call('ZRANGE', queue_key, 0, 0, 'WITHSCORES')[2])
  if head then
    call('ZADD', order, start_tag, sort_key(head, user))
  else
    drop_empty_kind(bucket, kind)
  end
  local first = first_of_user(bucket, user)
  if first and user ~= '' and first > row[SEQUENCE] then
    call('HSET', PREFIX .. 'heads:' .. bucket, user, sort_key(first, float_text(NOW)))
  end
  local virtual_time = virtual_time_of(bucket)
  if not first then
    mark_idle(bucket, user, start_tag, virtual_time)
  end
  drop_idle_users(row[QUEUE], row[PRIORITY], bucket, virtual_time)
end
