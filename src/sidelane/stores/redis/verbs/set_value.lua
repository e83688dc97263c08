-- set_value: set or delete a versioned value if it has the expected version. It works without free memory, because operators pause and
-- hold what fills the store by values.
-- Shared: prelude, requests, shared_values
-- Flags: allow-oom
--
-- Keys: those of requests and shared_values.
-- Arguments: seconds for which the change may be repeated, its version, name, expected version (nil: no value), text (nil: delete).
-- Returns: 1 if the change counts, now or when it came before; or 0.

local seconds, version, name, replaces, text = next_number(), next_arg(), next_arg(), next_arg(), next_arg()
if answer_of(version) then
  return 1
end
local value = value_of(name)
if (value and value[VERSION] or nil) ~= replaces then
  return 0
end
if text then
  call('HSET', PREFIX .. 'shared_values', name, cmsgpack.pack({ version, NOW, text }))
  call('ZADD', PREFIX .. 'shared_value_names', 0, name)
else
  call('HDEL', PREFIX .. 'shared_values', name)
  call('ZREM', PREFIX .. 'shared_value_names', name)
end
remember(version, 1, seconds)
call('SPUBLISH', PREFIX .. 'hint:value:' .. name, '')
return 1
