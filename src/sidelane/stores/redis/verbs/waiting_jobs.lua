-- waiting_jobs: read a page of the jobs that wait for a limit, in the order in which they start.
-- Shared: prelude, rows, job_reply
-- Flags: no-writes
--
-- Keys: blocked:slots:<limit>, blocked:rate:<limit>; those of job_reply.
-- Arguments: limit, priority and sequence of the last job of the page before (nil: there is none), how many to read.
-- Returns: the replies of the jobs that wait for its slots, then of those that wait for its rate, each up to so many.

local limit, priority, sequence, count = next_arg(), next_number(), next_number(), next_number()

local function follows_page_before(key, index)
  local member, score = unpack(call('ZRANGE', key, index, index, 'WITHSCORES'))
  local found = -tonumber(score)
  return found < priority or found == priority and tonumber(member:sub(1, 16)) > sequence
end

-- Return the index of the first job of the page, by bisection: the last job of the page before may wait no longer.
local function first_index(key)
  local low, high = 0, priority and call('ZCARD', key) or 0
  while low < high do
    local middle = math.floor((low + high) / 2)
    if follows_page_before(key, middle) then
      high = middle
    else
      low = middle + 1
    end
  end
  return low
end

local ids = {}
for _, kind in ipairs({ 'slots', 'rate' }) do
  local key = PREFIX .. 'blocked:' .. kind .. ':' .. limit
  local first = first_index(key)
  for _, member in ipairs(call('ZRANGE', key, first, first + count - 1)) do
    ids[#ids + 1] = member:sub(17)
  end
end
read_rows(ids)
local replies = {}
for index, id in ipairs(ids) do
  replies[index] = job_reply(id, row_of(id))
end
return replies
