-- get: look jobs up, and what is left of those whose retention has passed.
-- Shared: store, rows, answers
-- Flags: no-writes
--
-- Keys: those of answers, users_gone (hash: whose the jobs were that are gone).
-- Arguments: ids.
-- Returns for each: its answer, the user of a job that is gone ('' for none), or nothing.

local ids = take_rest()
read_rows(ids)
local replies = {}
for place, id in ipairs(ids) do
  local row = row_of(id)
  replies[place] = row and answer(id, row) or call('HGET', P .. 'users_gone', id)
end
return replies
