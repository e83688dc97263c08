-- read: a job's log after a cursor, or from its beginning where the log does not know the cursor.
-- Shared: store, rows
-- Flags: no-writes
--
-- Keys: job:<id>, log:<id>, result:<id>.
-- Arguments: id, number and epoch of the cursor ('': none), limit, bytes to stop at.
-- Returns: state, number of the last event, whether there is a gap, number before the first event, epoch and time of the end,
--          problem, result, the events. State is negative where the end does not come with these events; nothing where there is
--          no such job.

local id, after, epoch, limit, most = take(), number(), number(), number(), number()
local row = row_of(id)
if not row then
  return false
end

local log = P .. 'log:' .. id
local finished = row[STATE] > RUNNING
local gap = false
if after and after > 0 then
  local at_end = finished and epoch == row[EPOCH] and after == row[LAST]
  local event = not at_end and call('LINDEX', log, exact(after - 1))
  gap = not at_end and not (event and tonumber(event:match('^%d+')) == epoch)
end
if gap or not after then
  after = 0
end

local events, size, written = {}, 0, finished and row[LAST] - 1 or row[LAST]
while #events < limit and size <= most and after + #events < written do
  local first = after + #events
  for _, event in ipairs(call('LRANGE', log, first, first + math.min(50, limit - #events) - 1)) do
    if size <= most then
      events[#events + 1] = event
      size = size + #event
    end
  end
end
local comes = finished and after < row[LAST] and after + #events == written and #events < limit
return {
  comes and row[STATE] or -1 - row[STATE], row[LAST], gap and 1 or 0, after, row[EPOCH], exact(row[ENDED]),
  comes and row[PROBLEM], comes and result_of(id, row), events,
}
