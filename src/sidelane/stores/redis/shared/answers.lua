-- How a job goes out: a list of its id and packed row, then, where it has any of them, what stands elsewhere: its spec and result
-- if they are long, its progress event, and its history. Needs: rows. What was changed must be committed before.

local function answer(id, row)
  local reply = { id, packed[id] }
  local fails, succeeded = row[FAILURES] + row[LOSSES] > 0, row[STATE] == SUCCEEDED
  if not row[SPEC] or fails or row[PROGRESS] or succeeded and not row[RESULT] then
    reply[3] = not row[SPEC] and text_of('spec:', id)
    reply[4] = succeeded and not row[RESULT] and text_of('result:', id)
    reply[5] = row[PROGRESS] and call('LINDEX', P .. 'log:' .. id, row[PROGRESS] - 1)
    reply[6] = fails and call('LRANGE', P .. 'failures:' .. id, 0, -1)
  end
  return reply
end
