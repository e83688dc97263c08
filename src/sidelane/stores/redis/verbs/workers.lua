-- workers: list those that are alive, as they described themselves last.
-- Shared: store
-- Flags: no-writes
--
-- Keys: alive, infos.
-- Returns: JSON texts.

local alive = call('ZRANGEBYSCORE', P .. 'alive', '(' .. exact(NOW), '+inf')
table.sort(alive)
local infos = {}
for _, worker in ipairs(alive) do
  local info = call('HGET', P .. 'infos', worker)
  if info then
    infos[#infos + 1] = info
  end
end
return infos
