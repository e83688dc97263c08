-- append_entries: append entries to a journal and remove its oldest beyond the cap, of which at most 200 more than are added.
-- Shared: prelude, requests, journals
--
-- Keys: those of requests and journals.
-- Arguments: seconds for which the append may be repeated, its request, journal, cap, texts.
-- Returns: the number of the first entry.

local seconds, request, name, cap, texts = next_number(), next_arg(), next_arg(), next_number(), remaining_args()
local answer = answer_of(request)
if answer then
  return tonumber(answer)
end
local journal, key, entries = journal_of(name), PREFIX .. 'journal:' .. name, {}
local first = journal[NEWEST] + 1
for index, text in ipairs(texts) do
  entries[index] = float_text(NOW) .. '\n' .. text
end
local stored = call('RPUSH', key, unpack(entries))
journal[NEWEST] = journal[NEWEST] + #texts
journal[OLDEST] = math.max(journal[OLDEST], journal[NEWEST] - cap + 1)
call('HSET', PREFIX .. 'journals', name, cmsgpack.pack(journal))
local hidden = stored - (journal[NEWEST] - journal[OLDEST] + 1)
if hidden > 0 then
  call('LTRIM', key, math.min(hidden, #texts + 200), -1)
end
remember(request, first, seconds)
return first
