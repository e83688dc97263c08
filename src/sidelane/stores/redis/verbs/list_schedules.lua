-- list_schedules: list all schedules.
-- Shared: prelude, schedules
-- Flags: no-writes
--
-- Keys: those of schedules.
-- Returns: the time, and for each: the schedule as JSON text, 1 if enabled or 0, its last tick, its next ('-': none), the job that the
--          last one submitted.

local replies = { float_text(NOW) }
local schedules = call('HGETALL', PREFIX .. 'schedules')
for index = 1, #schedules, 2 do
  local name = schedules[index]
  local state = schedule_state(name)
  local next_tick = tonumber(call('ZSCORE', PREFIX .. 'schedule_ticks', name))
  replies[#replies + 1] = {
    schedules[index + 1], state[ENABLED] and 1 or 0, float_text(state[LAST_TICK]), float_text(next_tick), state[LAST_JOB],
  }
end
return replies
