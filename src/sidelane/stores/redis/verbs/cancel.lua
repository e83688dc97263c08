-- cancel: end queued jobs at once, and ask running ones to stop.
-- Shared: store, rows, limits, lines, waking, batches, arrivals, parking, log, ending, answers
-- Flags: allow-oom
--
-- Keys: those of ending.
-- Arguments: ids.
-- Returns for each: its answer, or nothing where there is no such job.

local ids = take_rest()
for _, id in ipairs(ids) do
  local row = row_of(id)
  if row then
    stop(id, row)
  end
end
commit()
local replies = {}
for place, id in ipairs(ids) do
  local row = row_of(id)
  replies[place] = row and answer(id, row)
end
return replies
