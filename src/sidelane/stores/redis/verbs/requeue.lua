-- requeue: bring finished jobs back to the queue with fresh budgets (rule 10).
-- Shared: store, rows, lines, waking, arrivals, log, answers
--
-- Keys: those of arrivals and log, result:<id>, failures:<id>.
-- Arguments: ids.
-- Returns for each: its answer, the id of the job that has its unique key, or nothing where there is no such job.

local function bring_back(id, row)
  write_end(id, row)
  call('DEL', P .. 'result:' .. id, P .. 'failures:' .. id)
  call('ZREM', P .. 'forget', id)
  if row[STATE] == FAILED then
    call('ZREM', P .. 'failed', id)
  end
  row[FAILURES], row[LOSSES], row[SETTLED], row[PROBLEM], row[STARTED], row[ENDED] = 0, 0, false, false, false, false
  row[RESULT] = false
  set_deadlines(id, row)
  hold(id, row)
  put_back(id, row, 0)
end

local ids = take_rest()
local holders = {}
for place, id in ipairs(ids) do
  local row = row_of(id)
  if row and row[STATE] > RUNNING then
    holders[place] = holder_of(row[USER], row[UNIQUE])
    if not holders[place] then
      bring_back(id, row)
    end
  end
end
commit()
local replies = {}
for place, id in ipairs(ids) do
  local row = row_of(id)
  replies[place] = holders[place] or row and answer(id, row)
end
return replies
