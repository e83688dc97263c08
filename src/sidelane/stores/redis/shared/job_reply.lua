-- Replies with one job: its id and packed row, then, if the job has any of them, what is stored outside the row: a long spec or result,
-- the newest progress event, and the failure history. Needs: rows. Call it after `commit`.

local function job_reply(id, row)
  local reply = { id, packed_rows[id] }
  local fails, succeeded = row[FAILURES] + row[WORKER_LOSSES] > 0, row[STATE] == SUCCEEDED
  if not row[SPEC] or fails or row[PROGRESS] or succeeded and not row[RESULT] then
    reply[3] = not row[SPEC] and text_of('spec:', id)
    reply[4] = succeeded and not row[RESULT] and text_of('result:', id)
    reply[5] = row[PROGRESS] and call('LINDEX', PREFIX .. 'log:' .. id, row[PROGRESS] - 1)
    reply[6] = fails and call('LRANGE', PREFIX .. 'failures:' .. id, 0, -1)
  end
  return reply
end
