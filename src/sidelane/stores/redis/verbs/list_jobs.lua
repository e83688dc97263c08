-- list_jobs: find jobs along an index, newest first, one chunk per call. If only running jobs are asked for, no others are read.
-- Shared: prelude, rows, job_reply
-- Flags: no-writes
--
-- Keys: spec:<id>, failures:<id>, leases:<worker>, external, lease_holders, all, failed, user:<user>, key:<key>, user_key:<user><key>, parent:<parent>, batch:<batch>; those of job_reply.
-- Arguments: before ('': from the newest), how many to read, codes of states ('': any), and, nil for any: task, queue, user, key, parent,
--            batch, release, after, a text in lower case. Then a list of parts of the spec.
--            A job that has these texts may still not match.
-- Returns: the sequence to continue from ('': none is left), then the replies of the jobs that match.

local before, count, states = next_arg(), next_number(), next_arg()
local task, queue, user, key, parent, batch = next_arg(), next_arg(), next_arg(), next_arg(), next_arg(), next_arg()
local release, after, text, spec_parts = next_arg(), next_number(), next_arg(), next_arg()
local conditions = { [TASK] = task, [QUEUE] = queue, [USER] = user, [KEY] = key, [PARENT] = parent, [BATCH] = batch, [RELEASE] = release }
local oldest = after and '(' .. string.format('%.0f', after) or '-inf'

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

local function spec_of(id, row)
  return row[SPEC] or text_of('spec:', id) or ''
end

local function has_text(id, row)
  local fails = row[FAILURES] + row[WORKER_LOSSES] > 0
  local places = {
    id, row[TASK], row[USER], row[KEY] or '', row[PROBLEM] or '', spec_of(id, row),
    fails and call('LINDEX', PREFIX .. 'failures:' .. id, -1) or '',
  }
  return table.concat(places, '\n'):lower():find(text, 1, true)
end

local function matches(id, row)
  for field, value in pairs(conditions) do
    if row[field] ~= value then
      return false
    end
  end
  for _, part in ipairs(spec_parts) do
    if not spec_of(id, row):find(part, 1, true) then
      return false
    end
  end
  return (states == '' or states:find(row[STATE], 1, true)) and (not text or has_text(id, row))
end

-- Return the next jobs of the index, up to `count`, and the sequence of the last.
local function indexed_jobs()
  local ids, latest = {}, before == '' and '+inf' or '(' .. before
  local found = call('ZREVRANGEBYSCORE', PREFIX .. index_name(), latest, oldest, 'WITHSCORES', 'LIMIT', 0, count)
  for position = 1, #found, 2 do
    ids[#ids + 1] = found[position]
  end
  read_rows(ids, states ~= '' and states)
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
    local sequence = row_of(id)[SEQUENCE]
    if (before == '' or sequence < tonumber(before)) and (not after or sequence > after) then
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
  if row and matches(id, row) then
    replies[#replies + 1] = job_reply(id, row)
  end
end
return replies
