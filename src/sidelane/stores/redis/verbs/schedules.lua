-- schedules: list all schedules.
-- Shared: store, timetable
-- Flags: no-writes
--
-- Keys: those of timetable.
-- Returns: the time, and for each: the schedule as JSON text, 1 or 0 for enabled or not, its last firing, its next one ('-': none),
--          what the last one submitted.

local replies = { exact(NOW) }
local schedules = call('HGETALL', P .. 'schedules')
for place = 1, #schedules, 2 do
  local name = schedules[place]
  local firing = firing_of(name)
  local time = tonumber(call('ZSCORE', P .. 'next', name))
  replies[#replies + 1] = {
    schedules[place + 1], firing[ENABLED] and 1 or 0, exact(firing[LAST_FIRING]), exact(time), firing[FIRED],
  }
end
return replies
