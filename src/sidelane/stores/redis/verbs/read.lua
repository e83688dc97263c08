-- read: the logs of jobs, each after a cursor, or from its beginning where the log does not know the cursor.
-- Shared: store, rows
-- Flags: no-writes
--
-- Keys: job:<id>, log:<id>, result:<id>.
-- Arguments: bytes to stop at, count, then for each: id, number and epoch of the cursor ('': none), limit. Beyond the bytes there is
--            one more event of each at most.
-- Returns for each: state, number of the last event, whether there is a gap, number before the first event, epoch and time of the
--          end, problem, result, the events. State is negative where the end does not come with these events; nothing where there
--          is no such job.

local room = number()

-- Tell whether the log has the event that a cursor names.
local function is_known(log, after, epoch)
  local event = call('LINDEX', log, exact(after - 1))
  return event and tonumber(event:match('^%d+')) == epoch
end

local function events_after(log, after, limit, written)
  local events = {}
  while #events < math.min(limit, written - after) and (room > 0 or #events == 0) do
    local first = after + #events
    for _, event in ipairs(call('LRANGE', log, first, first + math.min(50, limit - #events) - 1)) do
      if room > 0 or #events == 0 then
        events[#events + 1] = event
        room = room - #event
      end
    end
  end
  return events
end

local function read(id, row, after, epoch, limit)
  local log, finished = P .. 'log:' .. id, row[STATE] > RUNNING
  local at_end = finished and epoch == row[EPOCH] and after == row[LAST]
  local gap = after and after > 0 and not at_end and not is_known(log, after, epoch)
  if gap or not after then
    after = 0
  end
  local written = finished and row[LAST] - 1 or row[LAST]
  local events = events_after(log, after, limit, written)
  local comes = finished and after < row[LAST] and after + #events == written and #events < limit
  return {
    comes and row[STATE] or -1 - row[STATE], row[LAST], gap and 1 or 0, after, row[EPOCH], exact(row[ENDED]),
    comes and row[PROBLEM], comes and result_of(id, row), events,
  }
end

local reads, ids = {}, {}
for place = 1, number() do
  ids[place] = take()
  reads[place] = { number(), number(), number() }
end
read_rows(ids)
local replies = {}
for place, id in ipairs(ids) do
  local row = row_of(id)
  replies[place] = row and read(id, row, unpack(reads[place], 1, 3))
end
return replies
