-- find: look for jobs along an index, newest first, a piece at a time.
-- Shared: store, rows, answers
-- Flags: no-writes
--
-- Keys: all, failed, user:<user>, key:<key>, parent:<parent>, batch:<batch>; those of answers.
-- Arguments: index, before ('': from the newest), how many to look at, codes of states ('': any), and, nil for any:
--            task, queue, user, key, parent, batch.
-- Returns: the age to go on from ('': none is left), then the answers of those that meet the conditions.

local index, bound, count, states = take(), take(), number(), take()
local wanted = { [TASK] = take(), [QUEUE] = take(), [USER] = take(), [KEY] = take(), [PARENT] = take(), [BATCH] = take() }

local function meets(row)
  for field, value in pairs(wanted) do
    if row[field] ~= value then
      return false
    end
  end
  return states == '' or states:find(row[STATE], 1, true)
end

local found = call(
  'ZREVRANGEBYSCORE', P .. index, bound == '' and '+inf' or '(' .. bound, '-inf', 'WITHSCORES', 'LIMIT', 0, count
)
local ids = {}
for place = 1, #found, 2 do
  ids[#ids + 1] = found[place]
end
read_rows(ids)
local replies = { #ids == count and found[#found] or '' }
for _, id in ipairs(ids) do
  local row = row_of(id)
  if row and meets(row) then
    replies[#replies + 1] = answer(id, row)
  end
end
return replies
