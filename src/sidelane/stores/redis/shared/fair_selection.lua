-- Selects ready jobs of a bucket by start-time fair queuing (rule 15). Needs: fair_queue.
-- Exports: select_jobs
--
-- Within a bucket only as many users are read as jobs are wanted, because no later user can come before these. If some of the jobs are
-- blocked, the caller runs another round.

local function is_before(one, other)
  if one.start_tag ~= other.start_tag then
    return one.start_tag < other.start_tag
  end
  return one.sequence < other.sequence
end

local function heap_push(heap, entry)
  local index = #heap + 1
  heap[index] = entry
  while index > 1 do
    local parent = math.floor(index / 2)
    if not is_before(heap[index], heap[parent]) then
      return
    end
    heap[index], heap[parent] = heap[parent], heap[index]
    index = parent
  end
end

local function heap_pop(heap)
  local first, count_ahead = heap[1], #heap
  heap[1] = heap[count_ahead]
  heap[count_ahead] = nil
  local index = 1
  while true do
    local smallest = index
    for child = 2 * index, 2 * index + 1 do
      if heap[child] and is_before(heap[child], heap[smallest]) then
        smallest = child
      end
    end
    if smallest == index then
      return first
    end
    heap[index], heap[smallest] = heap[smallest], heap[index]
    index = smallest
  end
end

-- Read more of a user's queue, so that the job at its index is loaded if there is one.
local function read_queue(user_queue, count_ahead)
  if user_queue.exhausted or user_queue.jobs[2 * user_queue.index - 1] then
    return
  end
  count_ahead = math.max(count_ahead, 2 * user_queue.index)
  local loaded = #user_queue.jobs / 2
  local found = call('ZRANGE', user_queue.key, loaded, loaded + count_ahead - 1, 'WITHSCORES')
  if loaded == 0 then
    user_queue.jobs = found
  else
    for _, each in ipairs(found) do
      user_queue.jobs[#user_queue.jobs + 1] = each
    end
  end
  user_queue.exhausted = #found < 2 * count_ahead
end

-- Read the rows of the first jobs of limited queues, `count_ahead` of each, which are about to be used.
local function prefetch_rows(queues, count_ahead)
  local ids = {}
  for _, user_queue in ipairs(queues) do
    read_queue(user_queue, math.max(count_ahead, 2))
    for index = 1, math.min(2 * count_ahead, #user_queue.jobs), 2 do
      ids[#ids + 1] = user_queue.jobs[index]
    end
  end
  read_rows(ids)
end

-- Return the queue with the user's oldest job of an open kind, and that job's sequence.
local function oldest_job(user, kinds, count_ahead)
  local first, smallest
  for kind, user_queue in pairs(user.queues) do
    if kinds[kind].open then
      if user_queue.index > 1 then
        read_queue(user_queue, count_ahead)
      end
      local sequence = user_queue.index == 1 and user_queue.head or tonumber(user_queue.jobs[2 * user_queue.index])
      if sequence and (not smallest or sequence < smallest) then
        first, smallest = user_queue, sequence
      end
    end
  end
  return first, smallest
end

-- Return the first users of each open kind: by name, in order, and their count.
local function candidates_in(bucket, kinds, capacity)
  local users, order, count, limited, several = {}, {}, 0, {}, false
  for kind, filter in pairs(kinds) do
    local found = filter.open and call('ZRANGE', PREFIX .. 'user_order:' .. bucket .. ':' .. kind, 0, capacity - 1, 'WITHSCORES') or {}
    several = several or #order > 0 and #found > 0
    for index = 1, #found, 2 do
      local user_name, head, start_tag = found[index]:sub(17), tonumber(found[index]:sub(1, 16)), tonumber(found[index + 1])
      if not users[user_name] then
        users[user_name] = { start_tag = start_tag, queues = {} }
        count = count + 1
      end
      local user_queue = { key = user_queue_key(bucket, user_name, kind), kind = kind, member = found[index], head = head, index = 1, jobs = {} }
      users[user_name].queues[kind] = user_queue
      if filter.may_start then
        limited[#limited + 1] = user_queue
      end
      order[#order + 1] = { start_tag = start_tag, sequence = head, user_name = user_name }
    end
  end
  if several then
    table.sort(order, is_before)
  end
  prefetch_rows(limited, count == 1 and capacity or 1)
  return users, order, count
end

-- Return the sequence of a queue's first job now, or nil.
local function head_sequence(user_queue)
  read_queue(user_queue, 1)
  return tonumber(user_queue.jobs[2 * user_queue.index])
end

-- Write the queues and start tags of users whose jobs were selected or blocked.
local function flush_selection(bucket, users, kinds, virtual_time)
  local tags, heads, without_jobs, idle = {}, {}, {}, {}
  for kind in pairs(kinds) do
    local order, old_members, new_members, emptied = PREFIX .. 'user_order:' .. bucket .. ':' .. kind, {}, {}, {}
    for user_name, user in pairs(users) do
      if user.selected then
        local user_queue = user.queues[kind] or { key = user_queue_key(bucket, user_name, kind), index = 1, jobs = {} }
        local head = head_sequence(user_queue)
        user.first = smaller(user.first, head)
        user.first_before = smaller(user.first_before, user_queue.index > 1 and user_queue.head or head)
        if user_queue.index > 1 then
          old_members[#old_members + 1] = user_queue.member
          if head then
            call('ZREMRANGEBYRANK', user_queue.key, 0, user_queue.index - 2)
          else
            emptied[#emptied + 1] = user_queue.key
          end
        end
        if head then
          new_members[#new_members + 1], new_members[#new_members + 2] = user.start_tag, sort_key(head, user_name)
          user.has_jobs = true
        end
        queue_heads[user_queue.key] = nil
      end
    end
    for first = 1, #emptied, 1000 do
      call('DEL', unpack(emptied, first, math.min(first + 999, #emptied)))
    end
    in_chunks('ZREM', order, old_members)
    in_chunks('ZADD', order, new_members)
    drop_empty_kind(bucket, kind)
  end
  for user_name, user in pairs(users) do
    if user.has_jobs then
      tags[#tags + 1], tags[#tags + 2] = user_name, user.start_tag
      if user_name ~= '' and user.first ~= user.first_before then
        heads[#heads + 1], heads[#heads + 2] = user_name, sort_key(user.first, float_text(NOW))
      end
    elseif user.selected then
      without_jobs[#without_jobs + 1] = user_name
      if user.start_tag > virtual_time then
        idle[#idle + 1], idle[#idle + 2] = user.start_tag, user_name
      end
    end
  end
  in_chunks('HSET', PREFIX .. 'start_tags:' .. bucket, tags)
  in_chunks('HDEL', PREFIX .. 'start_tags:' .. bucket, without_jobs)
  in_chunks('HSET', PREFIX .. 'heads:' .. bucket, heads)
  in_chunks('HDEL', PREFIX .. 'heads:' .. bucket, without_jobs)
  in_chunks('ZADD', PREFIX .. 'idle_users:' .. bucket, idle)
end

-- Select up to `capacity` ready jobs of a bucket and remove them from their queues. `kind_filter` returns for a kind whether it is open
-- and, if limits are checked, a function that starts or blocks a job. A blocked job costs its user nothing. Returns the ids of those
-- that start, and how many were blocked, at most `max_blocked`.
local function select_jobs(queue, priority, capacity, kind_filter, max_blocked)
  local bucket = bucket_of(queue, priority)
  local kinds, selected_jobs, blocked = {}, {}, 0
  for _, kind in ipairs(call('SMEMBERS', PREFIX .. 'kinds:' .. bucket)) do
    kinds[kind] = kind_filter(parse_kind(kind))
  end
  local users, order, count = candidates_in(bucket, kinds, capacity)
  local virtual_time, order_read, returned = virtual_time_of(bucket), 0, {} -- `returned`: a heap of users with more jobs

  local function next_entry()
    if returned[1] and (not order[order_read + 1] or is_before(returned[1], order[order_read + 1])) then
      return heap_pop(returned)
    end
    order_read = order_read + 1
    return order[order_read]
  end

  local entry = next_entry()
  while entry and #selected_jobs < capacity and blocked < max_blocked do
    local user, has_more = users[entry.user_name], false
    local count_ahead = count == 1 and capacity - #selected_jobs or 2
    local user_queue, sequence = oldest_job(user, kinds, count_ahead)
    if user_queue and sequence == entry.sequence and user.start_tag == entry.start_tag then
      read_queue(user_queue, count_ahead)
      local kind, id = kinds[user_queue.kind], user_queue.jobs[2 * user_queue.index - 1]
      user_queue.index, user.selected = user_queue.index + 1, true
      if kind.isolated then
        count_isolated(queue, kind.version, kind.task, -1)
      end
      if not kind.may_start or kind.may_start(id) then
        selected_jobs[#selected_jobs + 1] = id
        virtual_time = math.max(virtual_time, entry.start_tag)
        user.start_tag = math.max(virtual_time, entry.start_tag + 1)
      else
        blocked = blocked + 1
      end
      user_queue, sequence = oldest_job(user, kinds, count_ahead)
      has_more = user_queue
    elseif user_queue and user.start_tag == entry.start_tag and sequence > entry.sequence then
      has_more = true -- its position was that of a kind that is closed now
    end
    if has_more then
      entry.start_tag, entry.sequence = user.start_tag, sequence
    end
    if not has_more or order[order_read + 1] or returned[1] then
      if has_more then
        heap_push(returned, entry)
      end
      entry = next_entry()
    end
  end
  if #selected_jobs + blocked > 0 then
    call('HINCRBY', PREFIX .. 'bucket:' .. bucket, 'ready', -#selected_jobs - blocked)
    flush_selection(bucket, users, kinds, virtual_time)
    call('HSET', PREFIX .. 'bucket:' .. bucket, 'virtual_time', virtual_time)
    drop_idle_users(queue, priority, bucket, virtual_time)
  end
  return selected_jobs, blocked
end
