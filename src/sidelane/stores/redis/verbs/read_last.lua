-- read_last: read the newest events of a job's log, or the newest before a number.
-- Shared: prelude, rows
-- Flags: no-writes
--
-- Keys: job:<id>, log:<id>, result:<id>.
-- Arguments: id, number that ends the page (excluded; '': none), limit, maximum of bytes, which one event may exceed.
-- Returns what `read` returns for one log.

local id, before, limit, bytes_left = next_arg(), next_number(), next_number(), next_number()

-- Return up to `limit` events of the log up to the number `newest`, oldest first.
local function events_up_to(log, newest, limit)
  local found = {}
  while #found < math.min(limit, newest) and (bytes_left > 0 or #found == 0) do
    local stop = newest - #found
    local events = call('LRANGE', log, math.max(stop - 50, stop - limit + #found, 0), stop - 1)
    for index = #events, 1, -1 do
      if bytes_left > 0 or #found == 0 then
        found[#found + 1] = events[index]
        bytes_left = bytes_left - #events[index]
      end
    end
  end
  local events = {}
  for index = #found, 1, -1 do
    events[#events + 1] = found[index]
  end
  return events
end

read_rows({ id })
local row = row_of(id)
if not row then
  return nil
end
local finished = row[STATE] > RUNNING
local newest = math.min(before and before - 1 or row[LAST], row[LAST])
local includes_end = finished and newest == row[LAST]
if includes_end then
  newest, limit = newest - 1, limit - 1
end
local events = events_up_to(PREFIX .. 'log:' .. id, newest, limit)
return {
  includes_end and row[STATE] or -1 - row[STATE], row[LAST], 0, newest - #events, row[EPOCH], float_text(row[ENDED]),
  includes_end and row[PROBLEM], includes_end and result_of(id, row), events,
}
