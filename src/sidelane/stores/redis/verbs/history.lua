-- history: read cells of history, one chunk per call.
-- Shared: prelude, history_cells
-- Flags: no-writes
--
-- Keys: those of history.
-- Arguments: step, since, until, queue and task (nil: any), and where to continue: series and chunk ('': at the first).
-- Returns: the series and the chunk to continue from ('': none is left), and a list with, for each series, its name, and the time of each
--          cell before the cell. Cells with the same time belong together.

local MAX_CHUNKS = 200
local MAX_SIZE = 262144 -- bytes of cells

local step, since, stop, queue, task = next_number(), next_number(), next_number(), next_arg(), next_arg()
local from_series, from_chunk = next_number() or 0, next_number()
local retention = step == HISTORY_HOUR and HISTORY_HOUR_RETENTION or HISTORY_MINUTE_RETENTION
local newest = math.max(NOW, tonumber(call('ZRANGE', PREFIX .. 'history_used', -1, -1, 'WITHSCORES')[2]) or 0)
since = math.max(since, NOW - retention)
stop = math.min(stop, newest + step)

-- Return the ids of the series that match, and the name of each.
local function matching_series()
  local ids, names, stored = {}, {}, call('HGETALL', PREFIX .. 'history_names')
  for index = 1, #stored, 2 do
    local id, of_queue, of_task = tonumber(stored[index]), unpack(cmsgpack.unpack(stored[index + 1]))
    if id >= from_series and (not queue or of_queue == queue) and (not task or of_task == task) then
      ids[#ids + 1], names[id] = id, stored[index + 1]
    end
  end
  table.sort(ids)
  return ids, names
end

-- Return the cells that are not rolled up: by series, their times and cells in turn.
local function open_cells()
  local cells, stored = {}, call('HGETALL', PREFIX .. 'history_open')
  for index = 1, #stored, 2 do
    local at, name = stored[index]:match('^(%d+):(.*)$')
    local of_series = entry_of(cells, name)
    of_series[#of_series + 1], of_series[#of_series + 2] = tonumber(at), stored[index + 1]
  end
  return cells
end

local function chunk_of(at)
  return math.floor(at / (step * HISTORY_CHUNK))
end

local size = 0

local function add_cell(cells, at, packed)
  if at + step > since and at < stop then
    cells[#cells + 1], cells[#cells + 2] = at, packed
    size = size + #packed
  end
end

-- Add the cells of a series in one chunk.
local function add_chunk(cells, id, chunk, open)
  local stored = call('HGETALL', (cell_location(step, id, chunk * step * HISTORY_CHUNK)))
  for index = 1, #stored, 2 do
    add_cell(cells, tonumber(stored[index]), stored[index + 1])
  end
  for index = 1, #open, 2 do
    local at = open[index]
    if chunk_of(at) == chunk then
      add_cell(cells, at - at % step, open[index + 1])
    end
  end
end

local ids, names = matching_series()
local open, replies, chunks = open_cells(), { '', '', {} }, 0
local first, last = chunk_of(since), chunk_of(stop)
for _, id in ipairs(ids) do
  local cells = { names[id] }
  for chunk = id == from_series and from_chunk or first, last do
    if chunks >= MAX_CHUNKS or size >= MAX_SIZE then
      replies[1], replies[2] = id, chunk
      break
    end
    add_chunk(cells, id, chunk, open[names[id]] or {})
    chunks = chunks + 1
  end
  if #cells > 1 then
    table.insert(replies[3], cells)
  end
  if replies[1] ~= '' then
    break
  end
end
return replies
