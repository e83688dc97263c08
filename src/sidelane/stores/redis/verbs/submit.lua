-- submit: make jobs durable, or answer with the jobs that are there.
-- Shared: store, rows, lines, waking, arrivals, answers
--
-- Keys: those of rows, lines and arrivals.
-- Arguments: count, then for each: id, spec, list of 16 fields.
-- Returns: the time, and for each: the age of a new job that is ready, age and due time of one that is not yet, or the answer of the
--          job that stands for it.

local replies, holders, count = { exact(NOW) }, {}, number()
reserve(count)
for place = 1, count do
  local id, spec, fields = take(), take(), take()
  holders[place] = row_of(id) and id or holder_of(fields[4], fields[7])
  if not holders[place] then
    local row = insert(id, spec, fields)
    replies[place + 1] = row[STATE] == READY and row[SEQ] or { row[SEQ], exact(row[DUE]) }
  end
end
commit()
for place, holder in pairs(holders) do
  if holder then
    replies[place + 1] = answer(holder, row_of(holder))
  end
end
return replies
