-- Journals. Needs: prelude.
--
-- Keys: journals        hash: by name, a packed list of the numbers of the newest and of the oldest entry that readers see
--       journal:<name>  list of entries up to the newest, with some older ones that readers no longer see
--
-- An entry is '<at>\n<text>'.

local NEWEST, OLDEST = 1, 2

local function journal_of(name)
  local found = call('HGET', PREFIX .. 'journals', name)
  return found and cmsgpack.unpack(found) or { 0, 1 }
end
