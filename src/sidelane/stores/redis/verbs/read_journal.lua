-- read_journal: read the newest entries of a journal, or the newest before a number.
-- Shared: prelude, journals
-- Flags: no-writes
--
-- Keys: those of journals.
-- Arguments: journal, number that ends the page (excluded; nil: none), limit, maximum of bytes, which one entry may exceed.
-- Returns: the number of the newest entry of the page, and the entries, newest first.

local name, before, limit, bytes_left = next_arg(), next_number(), next_number(), next_number()
local journal, key = journal_of(name), PREFIX .. 'journal:' .. name
local newest = math.min(before and before - 1 or journal[NEWEST], journal[NEWEST])
local replies = { newest }
local function space()
  return math.min(limit - (#replies - 1), newest - (#replies - 1) - journal[OLDEST] + 1)
end
while space() > 0 and bytes_left > 0 do
  local stop = newest - (#replies - 1) - journal[NEWEST] - 1 -- an index from the end of the list
  local entries = call('LRANGE', key, stop - math.min(space(), 50) + 1, stop)
  for index = #entries, 1, -1 do
    if bytes_left > 0 then
      replies[#replies + 1] = entries[index]
      bytes_left = bytes_left - #entries[index]
    end
  end
  if #entries == 0 then
    break
  end
end
return replies
