-- set_schedule_enabled: enable a schedule from now on, or disable it.
-- Shared: prelude, schedules
-- Flags: allow-oom
--
-- Keys: those of schedules.
-- Arguments: name, 1 or 0.
-- Returns: 1, or 0 if there is no such schedule.

local name, enabled = next_arg(), next_number() == 1
local state = schedule_state(name)
if not state then
  return 0
end
if state[ENABLED] ~= enabled then
  state[ENABLED] = enabled
  if enabled then
    state[LAST_TICK] = NOW
    set_next_tick(name, 0) -- the next process that fires schedules computes it
  else
    call('ZREM', PREFIX .. 'schedule_ticks', name)
  end
  save_schedule_state(name, state)
end
return 1
