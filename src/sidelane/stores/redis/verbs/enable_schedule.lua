-- enable_schedule: let a schedule fire, from now on, or no more.
-- Shared: store, timetable
-- Flags: allow-oom
--
-- Keys: those of timetable.
-- Arguments: name, 1 or 0.
-- Returns: 1, or 0 where there is no such schedule.

local name, enabled = take(), number() == 1
local firing = firing_of(name)
if not firing then
  return 0
end
if firing[ENABLED] ~= enabled then
  firing[ENABLED] = enabled
  if enabled then
    firing[LAST_FIRING] = NOW
    fire_next(name, 0) -- whoever fires works it out
  else
    call('ZREM', P .. 'next', name)
  end
  save_firing(name, firing)
end
return 1
