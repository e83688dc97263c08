-- list_jobs: find jobs along an index, newest first, one chunk per call.
-- Shared: prelude, rows, job_reply
-- Flags: no-writes
--
-- Keys: all, failed, user:<user>, key:<key>, user_key:<user><key>, parent:<parent>, batch:<batch>; those of job_reply.
-- Arguments: before ('': from the newest), how many to read, codes of states ('': any), and, nil for any: task, queue, user, key, parent,
--            batch.
-- Returns: the sequence to continue from ('': none is left), then the replies of the jobs that match.

local before, count, states = next_arg(), next_number(), next_arg()
local task, queue, user, key, parent, batch = next_arg(), next_arg(), next_arg(), next_arg(), next_arg(), next_arg()
local conditions = { [TASK] = task, [QUEUE] = queue, [USER] = user, [KEY] = key, [PARENT] = parent, [BATCH] = batch }

-- Return the name of the index that is likely to hold the fewest jobs.
local function index_name()
  if user and key then
    return user_key_index(user, key)
  end
  return key and 'key:' .. key
    or parent and 'parent:' .. parent
    or batch and 'batch:' .. batch
    or user and 'user:' .. user
    or states == tostring(FAILED) and 'failed'
    or 'all'
end

local function matches(row)
  for field, value in pairs(conditions) do
    if row[field] ~= value then
      return false
    end
  end
  return states == '' or states:find(row[STATE], 1, true)
end

local found = call(
  'ZREVRANGEBYSCORE', PREFIX .. index_name(), before == '' and '+inf' or '(' .. before, '-inf', 'WITHSCORES', 'LIMIT', 0, count
)
local ids = {}
for position = 1, #found, 2 do
  ids[#ids + 1] = found[position]
end
read_rows(ids)
local replies = { #ids == count and found[#found] or '' }
for _, id in ipairs(ids) do
  local row = row_of(id)
  if row and matches(row) then
    replies[#replies + 1] = job_reply(id, row)
  end
end
return replies
