-- read: read the event logs of jobs, each after a cursor, or from the start if the log does not know the cursor.
-- Shared: prelude, rows
-- Flags: no-writes
--
-- Keys: job:<id>, log:<id>, result:<id>.
-- Arguments: maximum of bytes, count, then for each: id, number and epoch of the cursor ('': none), limit. Beyond the maximum, each log
--            returns at most one more event.
-- Returns for each: state, number of the last event, whether there is a gap, number before the first event, epoch and time of the
--          end, problem, result, the events. State is negative if the end is not part of this page. nil for an unknown id.

local bytes_left = next_number()

-- Return true if the log has the event of a cursor.
local function is_known(log, after, epoch)
  local event = call('LINDEX', log, float_text(after - 1))
  return event and tonumber(event:match('^%d+')) == epoch
end

local function events_after(log, after, limit, last_written)
  local events = {}
  while #events < math.min(limit, last_written - after) and (bytes_left > 0 or #events == 0) do
    local first = after + #events
    for _, event in ipairs(call('LRANGE', log, first, first + math.min(50, limit - #events) - 1)) do
      if bytes_left > 0 or #events == 0 then
        events[#events + 1] = event
        bytes_left = bytes_left - #event
      end
    end
  end
  return events
end

local function read(id, row, after, epoch, limit)
  local log, finished = PREFIX .. 'log:' .. id, row[STATE] > RUNNING
  local at_end = finished and epoch == row[EPOCH] and after == row[LAST]
  local gap = after and after > 0 and not at_end and not is_known(log, after, epoch)
  if gap or not after then
    after = 0
  end
  local last_written = finished and row[LAST] - 1 or row[LAST]
  local events = events_after(log, after, limit, last_written)
  local includes_end = finished and after < row[LAST] and after + #events == last_written and #events < limit
  return {
    includes_end and row[STATE] or -1 - row[STATE], row[LAST], gap and 1 or 0, after, row[EPOCH], float_text(row[ENDED]),
    includes_end and row[PROBLEM], includes_end and result_of(id, row), events,
  }
end

local reads, ids = {}, {}
for index = 1, next_number() do
  ids[index] = next_arg()
  reads[index] = { next_number(), next_number(), next_number() }
end
read_rows(ids)
local replies = {}
for index, id in ipairs(ids) do
  local row = row_of(id)
  replies[index] = row and read(id, row, unpack(reads[index], 1, 3))
end
return replies
