-- remove: forget finished jobs before their time.
-- Shared: store, rows, limits, lines, waking, batches, arrivals, retention
-- Flags: allow-oom
--
-- Keys: those of retention, children:<id>.
-- Arguments: ids.
-- Returns for each: 1, or 0 where it is unfinished, has unfinished children, or is not there.

local ids, answers = take_rest(), {}
read_rows(ids)
for place, id in ipairs(ids) do
  local row = row_of(id)
  answers[place] = row and row[STATE] > RUNNING and call('EXISTS', P .. 'children:' .. id) == 0 and 1 or 0
  if answers[place] == 1 then
    forget(id, row)
  end
end
commit()
return answers
