-- append: append entries to the event logs of running jobs, each once.
-- Shared: prelude, rows, event_log
--
-- Keys: job:<id>, log:<id>.
-- Arguments: count, then for each: id, attempt, nonce, ordinal, count of entries, then name and data of each.
-- Returns for each: 1, or 0 if the lease is lost.

-- Read entries from the arguments.
local function next_entries()
  local entries = {}
  for index = 1, 2 * next_number() do
    entries[index] = next_arg()
  end
  return entries
end

local appends, ids, replies = {}, {}, {}
for index = 1, next_number() do
  ids[index] = next_arg()
  appends[index] = { next_number(), next_arg(), next_number(), next_entries() }
end
read_rows(ids)
for index, id in ipairs(ids) do
  local attempt, nonce, ordinal, entries = unpack(appends[index])
  local row = row_of(id)
  replies[index] = is_lease_valid(row, attempt, nonce) and 1 or 0
  if replies[index] == 1 and #entries > 0 then
    local last, seen = row[LAST], row[ORDINAL]
    append_events(id, row, ordinal, entries)
    if row[LAST] ~= last then
      notify_job(id)
    end
    if row[ORDINAL] ~= seen then
      save_row(id, row)
    end
  end
end
commit()
return replies
