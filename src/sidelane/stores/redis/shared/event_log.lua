-- Writes the event log of a job: numbers without gaps, and an epoch for each part that readers must tell from a lost one (rule 17).
-- Needs: rows.
--
-- An event is '<epoch> <at>\n<name>\n<data>'. An end event in the log has an empty name, and its data is the state's code with the
-- result or problem after it.

-- Append the entries that the log does not have yet (names and data in turn). `ordinal` is that of the first entry. If entries before
-- it are missing, the log lost its tail in a crash: readers may have seen events whose numbers are now used again. A new epoch
-- begins then, with a `gap` event. What exceeds the maximum size of the log is only counted, and a `truncated` event takes its place.
-- Log records have no size, and are neither the first nor the last event.
local function append_events(id, row, ordinal, entries)
  local count, missing = #entries / 2, ordinal - row[ORDINAL] - 1
  local first = math.max(row[ORDINAL] + 1 - ordinal, 0) + 1
  if first > count and missing <= 0 then
    return
  end
  local others = missing > 0
  for index = first, count do
    if entries[2 * index - 1] == 'log' then
      row[LOGGED] = row[LOGGED] + 1
    else
      others = true
    end
  end
  if others then
    row[FIRST_EVENT], row[LAST_EVENT] = row[FIRST_EVENT] or NOW, NOW
  end
  row[ORDINAL] = ordinal + count - 1
  if not row[LOG_SPACE] then
    return
  end
  if missing > 0 then
    row[EPOCH] = new_epoch()
  end
  local header = row[EPOCH] .. ' ' .. float_text(NOW) .. '\n'
  local events = {}
  local function add(name, data)
    local size = name == 'log' and 0 or #name + #data
    row[LOG_SPACE] = row[LOG_SPACE] >= size and row[LOG_SPACE] - size
    if not row[LOG_SPACE] then
      name, data = 'truncated', '{}'
    end
    row[LAST] = row[LAST] + 1
    if name == 'progress' then
      row[PROGRESS] = row[LAST]
    end
    events[#events + 1] = header .. name .. '\n' .. data
  end
  if missing > 0 then
    add('gap', '{"missing":' .. string.format('%.0f', missing) .. '}')
  end
  for index = first, count do
    if not row[LOG_SPACE] then
      break
    end
    add(entries[2 * index - 1], entries[2 * index])
  end
  in_chunks('RPUSH', PREFIX .. 'log:' .. id, events)
end

-- Append the end event of a finished job, which until now was only in the row.
local function persist_end_event(id, row)
  local data = row[PROBLEM] or result_of(id, row) or ''
  call('RPUSH', PREFIX .. 'log:' .. id, row[EPOCH] .. ' ' .. float_text(row[ENDED]) .. '\n\n' .. row[STATE] .. data)
end
