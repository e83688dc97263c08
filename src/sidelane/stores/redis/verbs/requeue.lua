-- requeue: bring finished jobs back to the queue with fresh budgets (rule 10).
-- Shared: store, rows, limits, lines, waking, batches, arrivals, log, answers
--
-- Keys: those of limits, batches, arrivals and log, result:<id>, failures:<id>.
-- Arguments: the arguments they have from now on ('': as before), then ids.
-- Returns for each: its answer, the id of the job that has its unique key, its answer before what limits says of those that are full,
--          or nothing where there is no such job.

-- Let a job have other arguments.
local function give_arguments(id, row, arguments)
  local spec = row[SPEC] or text_of('spec:', id)
  if not row[SPEC] then
    call('DEL', P .. 'spec:' .. id)
  end
  keep_in(row, SPEC, 'spec:', id, spec:match('^[^\n]*') .. '\n' .. arguments)
end

local function bring_back(id, row)
  write_end(id, row)
  call('DEL', P .. 'result:' .. id, P .. 'failures:' .. id)
  call('ZREM', P .. 'forget', id)
  if row[STATE] == FAILED then
    call('ZREM', P .. 'failed', id)
  end
  reopen(row)
  row[FAILURES], row[LOSSES], row[SETTLED], row[PROBLEM], row[STARTED], row[ENDED] = 0, 0, false, false, false, false
  row[RESULT], row[ISOLATED] = false, false
  set_deadlines(id, row)
  hold(id, row)
  put_back(id, row, 0)
end

local arguments = take()
local ids = take_rest()
local holders, full = {}, {}
for place, id in ipairs(ids) do
  local row = row_of(id)
  if row and row[STATE] > RUNNING then
    holders[place] = holder_of(row[USER], row[UNIQUE])
    local reached = not holders[place] and row[LIMITS] and reached_by(row, false) or {}
    if #reached > 0 then
      full[place] = reached
    elseif not holders[place] then
      if arguments ~= '' then
        give_arguments(id, row, arguments)
      end
      bring_back(id, row)
    end
  end
end
commit()
local replies = {}
for place, id in ipairs(ids) do
  local row = row_of(id)
  replies[place] = holders[place] or row and answer(id, row)
  if full[place] then
    replies[place] = { replies[place], full[place] }
  end
end
return replies
