-- list_jobs: find jobs along an index, newest first, one chunk per call. If only running jobs are asked for, no others are read.
-- Shared: prelude, rows, job_reply
-- Flags: no-writes
--
-- Keys: leases:<worker>, external, lease_holders, all, failed, user:<user>, key:<key>, user_key:<user><key>, parent:<parent>, batch:<batch>; those of job_reply.
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

-- Return the next jobs of the index, up to `count`, and the sequence of the last.
local function indexed_jobs()
  local ids, latest = {}, before == '' and '+inf' or '(' .. before
  local found = call('ZREVRANGEBYSCORE', PREFIX .. index_name(), latest, '-inf', 'WITHSCORES', 'LIMIT', 0, count)
  for position = 1, #found, 2 do
    ids[#ids + 1] = found[position]
  end
  read_rows(ids)
  return ids, found[#found]
end

-- Return the next running jobs, up to `count`, and the sequence of the last.
local function running_jobs()
  local leases, ids, jobs = { 'external' }, {}, {}
  for _, worker in ipairs(call('SMEMBERS', PREFIX .. 'lease_holders')) do
    leases[#leases + 1] = 'leases:' .. worker
  end
  for _, key in ipairs(leases) do
    for _, id in ipairs(call('ZRANGE', PREFIX .. key, 0, -1)) do
      ids[#ids + 1] = id
    end
  end
  read_rows(ids)
  for _, id in ipairs(ids) do
    if before == '' or row_of(id)[SEQUENCE] < tonumber(before) then
      jobs[#jobs + 1] = id
    end
  end
  table.sort(jobs, function(one, other)
    return row_of(one)[SEQUENCE] > row_of(other)[SEQUENCE]
  end)
  local page = { unpack(jobs, 1, math.min(count, #jobs)) }
  return page, #page > 0 and row_of(page[#page])[SEQUENCE]
end

local find = states == tostring(RUNNING) and running_jobs or indexed_jobs
local ids, last = find()
local replies = { #ids == count and last or '' }
for _, id in ipairs(ids) do
  local row = row_of(id)
  if row and matches(row) then
    replies[#replies + 1] = job_reply(id, row)
  end
end
return replies
