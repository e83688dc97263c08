-- submit: make jobs durable, or answer with the jobs that are there.
-- Shared: store, rows, lines, waking, arrivals, answers
--
-- Keys: those of rows, lines and arrivals.
-- Arguments: count, then for each: id, spec, list of 16 fields.
-- Returns for each: '<age> <submitted> <due or ->' of a new job, or the answer of the job that stands for it.

local replies, count = {}, number()
reserve(count)
for place = 1, count do
  local id, spec, fields = take(), take(), take()
  local holder = row_of(id) and id or holder_of(fields[4], fields[7])
  if holder then
    replies[place] = { holder }
  else
    local row = insert(id, spec, fields)
    replies[place] = string.format(
      '%.0f %s %s', row[SEQ], exact(row[SUBMITTED]), row[STATE] == WAITING and exact(row[DUE]) or '-'
    )
  end
end
commit()
for place, reply in ipairs(replies) do
  if type(reply) == 'table' then
    replies[place] = answer(reply[1], row_of(reply[1]))
  end
end
return replies
