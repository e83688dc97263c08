-- upsert_schedule: add or change a schedule. A known one continues from its last tick.
-- Shared: prelude, schedules
--
-- Keys: those of schedules.
-- Arguments: name, the schedule as JSON text, its former names.

local name, text, aliases = next_arg(), next_arg(), remaining_args()
local state = schedule_state(name)
local is_changed = call('HGET', PREFIX .. 'schedules', name) ~= text
for _, alias in ipairs(aliases) do
  if not state then
    state = schedule_state(alias)
    if state then
      delete_schedule(alias)
    end
  end
end
state = state or { NOW, false, true }
if is_changed then
  call('HSET', PREFIX .. 'schedules', name, text)
  save_schedule_state(name, state)
  if state[ENABLED] then
    set_next_tick(name, 0) -- the next process that fires schedules computes it
  end
end
