-- The timetable: what fires by itself, and when (rule 13). Needs: store.
--
-- Keys: schedules  hash: by name, the schedule as JSON text
--       firings    hash: by name, a packed list of its last firing, what that submitted, and whether it is enabled
--       next       zset: enabled schedules by when they fire next

local LAST_FIRING, FIRED, ENABLED = 1, 2, 3

local function firing_of(name)
  local found = call('HGET', P .. 'firings', name)
  return found and cmsgpack.unpack(found)
end

local function save_firing(name, firing)
  call('HSET', P .. 'firings', name, cmsgpack.pack(firing))
end

local function fire_next(name, time)
  call('ZADD', P .. 'next', exact(time), name)
end

local function forget_schedule(name)
  call('HDEL', P .. 'firings', name)
  call('ZREM', P .. 'next', name)
  return call('HDEL', P .. 'schedules', name)
end
