-- workers: list the workers that are alive, as they last described themselves.
-- Shared: prelude
-- Flags: no-writes
--
-- Keys: workers, worker_info.
-- Returns: JSON texts.

local alive = call('ZRANGEBYSCORE', PREFIX .. 'workers', '(' .. float_text(NOW), '+inf')
table.sort(alive)
local infos = {}
for _, worker in ipairs(alive) do
  local info = call('HGET', PREFIX .. 'worker_info', worker)
  if info then
    infos[#infos + 1] = info
  end
end
return infos
