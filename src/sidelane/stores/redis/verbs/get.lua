-- get: look up jobs, and the tombstones of removed ones.
-- Shared: prelude, rows, job_reply
-- Flags: no-writes
--
-- Keys: those of job_reply, tombstone_users.
-- Arguments: ids.
-- Returns for each: its job reply, the user of a removed job ('' for none), or nil.

local ids = remaining_args()
read_rows(ids)
local replies = {}
for index, id in ipairs(ids) do
  local row = row_of(id)
  replies[index] = row and job_reply(id, row) or call('HGET', PREFIX .. 'tombstone_users', id)
end
return replies
