-- keep_schedule: keep a schedule, new or changed; one that is known goes on from its last firing.
-- Shared: store, timetable
--
-- Keys: those of timetable.
-- Arguments: name, the schedule as JSON text, names it had before.

local name, text, aliases = take(), take(), take_rest()
local firing = firing_of(name)
local changed = call('HGET', P .. 'schedules', name) ~= text
for _, alias in ipairs(aliases) do
  if not firing then
    firing = firing_of(alias)
    if firing then
      forget_schedule(alias)
    end
  end
end
firing = firing or { NOW, false, true }
if changed then
  call('HSET', P .. 'schedules', name, text)
  save_firing(name, firing)
  if firing[ENABLED] then
    fire_next(name, 0) -- whoever fires works it out
  end
end
