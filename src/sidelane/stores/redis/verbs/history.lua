-- history: read cells of history, one chunk per call.
-- Shared: prelude, history_cells
-- Flags: no-writes
--
-- Keys: those of history.
-- Arguments: step, since, until, queue and task (nil: any), and where to continue: series and chunk ('': at the first).
-- Returns: the series and the chunk to continue from ('': none is left), then for each series: its name, and the time and the cell of each
--          minute or step, so that a time may come several times.

local MAX_CHUNKS = 200
local MAX_SIZE = 262144 -- bytes of cells

local step, since, stop, queue, task = next_number(), next_number(), next_number(), next_arg(), next_arg()
local from_series, from_chunk = next_number() or 0, next_number()
local retention = step == HISTORY_HOUR and HISTORY_HOUR_RETENTION or HISTORY_MINUTE_RETENTION
local newest = math.max(NOW, tonumber(call('HGET', PREFIX .. 'history', 'rolled_until')) or 0)
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

-- Return the minutes that are not rolled up, by series.
local function open_minutes()
  local minutes = {}
  for _, member in ipairs(step > HISTORY_MINUTE and call('ZRANGE', PREFIX .. 'history_open', 0, -1) or {}) do
    local at, id = member:match('^(%d+):(%d+)$')
    table.insert(entry_of(minutes, tonumber(id)), tonumber(at))
  end
  return minutes
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
local function add_chunk(cells, id, chunk, minutes)
  local stored = call('HGETALL', (cell_place(step, id, chunk * step * HISTORY_CHUNK)))
  for index = 1, #stored, 2 do
    add_cell(cells, tonumber(stored[index]), stored[index + 1])
  end
  for _, minute in ipairs(minutes or {}) do
    if chunk_of(minute) == chunk then
      add_cell(cells, minute - minute % step, call('HGET', cell_place(HISTORY_MINUTE, id, minute)))
    end
  end
end

local ids, names = matching_series()
local open, replies, chunks = open_minutes(), { '', '' }, 0
local first, last = chunk_of(since), chunk_of(stop)
for _, id in ipairs(ids) do
  local cells = { names[id] }
  for chunk = id == from_series and from_chunk or first, last do
    if chunks >= MAX_CHUNKS or size >= MAX_SIZE then
      replies[1], replies[2] = id, chunk
      break
    end
    add_chunk(cells, id, chunk, open[id])
    chunks = chunks + 1
  end
  if #cells > 1 then
    replies[#replies + 1] = cells
  end
  if replies[1] ~= '' then
    break
  end
end
return replies
