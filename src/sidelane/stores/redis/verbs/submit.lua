-- submit: make jobs durable, or answer with the jobs that are there, or with what keeps them out.
-- Shared: store, rows, limits, lines, waking, batches, arrivals, parking, log, ending, pace, answers
--
-- Keys: those of rows, limits, lines, batches and arrivals; of ending, where jobs are replaced; due:<queue>, parked_in, users_gone.
-- Arguments: count, then for each: id, spec, list of 21 fields, how many jobs may wait in its queue (nil: any number).
-- Returns: the time, and for each: the age of a new job that is ready, age and due time of one that is not yet, age and answer of
--          one that a later one has replaced, the answer of the job that stands for it, or what refuses it in a list of its own:
--          'gone' of its id, 'unknown' or 'sealed' of its batch, 'full' and how many jobs of its queue start in a second, or
--          'limits' and what limits says of those that are reached.

local MOST_REPLACED = 200 -- older jobs that one script stops

local queued_in, replaced_more = {}, 0

-- How many jobs of a queue wait, for whatever reason.
local function queued(queue)
  if not queued_in[queue] then
    local count = call('ZCARD', P .. 'due:' .. queue) + (tonumber(call('HGET', P .. 'parked_in', queue)) or 0)
    for _, priority in ipairs(call('ZRANGE', P .. 'priorities:' .. queue, 0, -1)) do
      count = count + ready_in(lane_of(queue, priority))
    end
    queued_in[queue] = count
  end
  return queued_in[queue]
end

-- Tell whether a job's id is that of a removed one, where that matters to it.
local function is_gone(id, remember)
  return remember > 0 and not row_of(id) and call('HEXISTS', P .. 'users_gone', id) == 1
end

-- Say what keeps a new job out, if anything does.
local function refusal(row, max_queued)
  local batch = row[BATCH] and batch_of(row[BATCH])
  if row[BATCH] and not batch then
    return { 'unknown' }
  elseif batch and batch[SEALED] then
    return { 'sealed' }
  elseif max_queued and queued(row[QUEUE]) >= max_queued then
    return { 'full', exact(pace_of(row[QUEUE])) }
  end
  local reached = row[LIMITS] and reached_by(row, true) or {}
  return #reached > 0 and { 'limits', reached }
end

-- Stop the oldest jobs of a limit, so that no more are left than leave room for a new one. Where there are very many, since the
-- limit had more slots once, each newcomer stops at least one, and the rest is for those who come later.
local function replace(limit, limit_id)
  local unfinished = P .. 'unfinished:' .. limit_id
  local excess = math.min(call('ZCARD', unfinished) - limit.most + 1, 1 + MOST_REPLACED - replaced_more)
  if excess > 0 then
    replaced_more = replaced_more + excess - 1
    for _, id in ipairs(call('ZRANGE', unfinished, 0, excess - 1)) do
      stop(id, row_of(id))
    end
  end
end

local function admit(id, spec, fields, max_queued)
  local row = new_row(fields)
  local refused = refusal(row, max_queued)
  if refused then
    return { refused }
  end
  for _, limit in ipairs(limits_of(row).replacing) do
    replace(limit, id_of(row, limit))
    queued_in = {}
  end
  debit_submit(row)
  insert(id, row, spec, fields[16])
  if queued_in[row[QUEUE]] then
    queued_in[row[QUEUE]] = queued_in[row[QUEUE]] + 1
  end
  return row[STATE] == READY and row[SEQ] or { row[SEQ], exact(row[DUE]) }
end

local replies, ids, holders, count = { exact(NOW) }, {}, {}, number()
reserve(count)
for place = 1, count do
  local id, spec, fields, max_queued = take(), take(), take(), number()
  ids[place] = id
  if is_gone(id, fields[21]) then
    replies[place + 1] = { { 'gone' } }
  else
    holders[place] = row_of(id) and id or holder_of(fields[4], fields[7])
    replies[place + 1] = not holders[place] and admit(id, spec, fields, max_queued)
  end
end
commit()
for place, id in ipairs(ids) do
  local holder, row = holders[place], row_of(id)
  if holder then
    replies[place + 1] = answer(holder, row_of(holder))
  elseif row and row[STATE] == CANCELLED then -- a later one has replaced it
    replies[place + 1] = { row[SEQ], answer(id, row) }
  end
end
return replies
