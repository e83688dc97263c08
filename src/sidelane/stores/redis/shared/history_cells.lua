-- Cells of history: where they are stored, and how. Needs: prelude.
--
-- `COUNT_...` are the fields of `Count` in `model/history.py`. A cell is a packed list of fields, each followed by its count.
--
-- Keys: history                      hash: newest_series, the highest id of a series; and what history_upkeep adds
--       history_ids                  hash: the id of each series by its name: a packed list of queue, task and release
--       history_names                hash: the name of each series by its id
--       history_used                 zset: names by the last minute with counts, without that of `OTHER`
--       history_open                 hash: by <minute>:<name>, cells that are not rolled up
--       history:<step>:<id>:<chunk>  hash: 60 cells by their time in seconds
--       history_users:<amount>:<at>  zset: users by an amount (`USER_AMOUNTS`) in the hour from `at` on

local HISTORY_CHUNK = 60 -- cells

local USER_AMOUNTS = { 'submitted', 'refused', 'run_time', 'tokens', 'cost' } -- run time in ms, a cost in millionths

-- Return the table that a table has under a name, which may be new.
local function entry_of(entries, name)
  local entry = entries[name]
  if not entry then
    entry = {}
    entries[name] = entry
  end
  return entry
end

-- Return the key and the field of a cell.
local function cell_location(step, id, at)
  local key = string.format('%shistory:%.0f:%s:%.0f', PREFIX, step, id, math.floor(at / (step * HISTORY_CHUNK)))
  return key, string.format('%.0f', at)
end

local function users_key(amount, hour)
  return string.format('%shistory_users:%s:%.0f', PREFIX, amount, hour)
end

-- Return the counts of a packed cell by field.
local function cell_counts(packed)
  local cell, counts = cmsgpack.unpack(packed), {}
  for index = 1, #cell, 2 do
    counts[cell[index]] = cell[index + 1]
  end
  return counts
end

-- Return a packed cell (false: none) with more counts. Of a maximum, the greater one stays.
local function add_to_cell(packed, counts)
  local cell, is_stored = packed and cmsgpack.unpack(packed) or {}, {}
  for index = 1, #cell, 2 do
    local field = cell[index]
    local more = counts[field]
    if more then
      is_stored[field] = true
      cell[index + 1] = field >= COUNT_MAX_READY and math.max(cell[index + 1], more) or cell[index + 1] + more
    end
  end
  for field, amount in pairs(counts) do
    if not is_stored[field] then
      cell[#cell + 1], cell[#cell + 2] = field, amount
    end
  end
  return cmsgpack.pack(cell)
end

-- Return the id of a series, which may be new.
local function series_id(name)
  local id = call('HGET', PREFIX .. 'history_ids', name)
  if not id then
    id = call('HINCRBY', PREFIX .. 'history', 'newest_series', 1)
    call('HSET', PREFIX .. 'history_ids', name, id)
    call('HSET', PREFIX .. 'history_names', id, name)
  end
  return id
end

local function other_series()
  return cmsgpack.pack({ '', HISTORY_OTHER, '' })
end
