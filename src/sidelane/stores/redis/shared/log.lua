-- Writing a job's log: numbers without holes, and an epoch for each stretch that cannot be told from a lost one (rule 17).
-- Needs: rows.
--
-- An event is '<epoch> <at>\n<name>\n<data>'. Of an end that has become a line of the log the name is empty, and the data is
-- the code of the state with the result or problem after it.

-- Write the entries that the log has not seen (names and data in turn), the first of which has this ordinal. Entries that are missing
-- before it open a new epoch, which begins with a `gap` event: the log lost its tail in a crash, so readers may have seen more than
-- is here, under numbers that come again. Returns whether the row has changed.
local function write(id, row, ordinal, entries)
  local count, missing = #entries / 2, ordinal - row[ORDINAL] - 1
  if missing > 0 then
    row[EPOCH] = new_epoch()
  end
  local header = row[EPOCH] .. ' ' .. exact(NOW) .. '\n'
  local events = {}
  if missing > 0 then
    row[LAST] = row[LAST] + 1
    events[1] = header .. 'gap\n{"missing":' .. string.format('%.0f', missing) .. '}'
  end
  for place = math.max(row[ORDINAL] + 1 - ordinal, 0) + 1, count do
    local name = entries[2 * place - 1]
    row[LAST] = row[LAST] + 1
    if name == 'progress' then
      row[PROGRESS] = row[LAST]
    end
    events[#events + 1] = header .. name .. '\n' .. entries[2 * place]
  end
  in_pieces('RPUSH', P .. 'log:' .. id, events)
  row[ORDINAL] = math.max(row[ORDINAL], ordinal + count - 1)
  return #events > 0
end

-- Give the end of a finished job a line of its own: until now it followed from the row.
local function write_end(id, row)
  local data = row[PROBLEM] or result_of(id, row) or ''
  call('RPUSH', P .. 'log:' .. id, row[EPOCH] .. ' ' .. exact(row[ENDED]) .. '\n\n' .. row[STATE] .. data)
end

-- Read the entries that come next among the arguments.
local function take_entries()
  local entries = {}
  for place = 1, 2 * number() do
    entries[place] = take()
  end
  return entries
end
