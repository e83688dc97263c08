-- fire: take a step of a schedule from one firing to the next, and submit its jobs in it.
-- Shared: store, rows, limits, lines, waking, batches, arrivals, timetable
--
-- Keys: those of arrivals and timetable.
-- Arguments: name, its last firing before the step, the one it is now, the next, count of jobs, then for each: id, spec, list of 21
--            fields.
-- Returns: 1, or 0 where the step was taken already, or the schedule is disabled or gone.

local name, previous, last, time = take(), number(), number(), number()
local firing = firing_of(name)
if not firing or not firing[ENABLED] or firing[LAST_FIRING] ~= previous then
  return 0
end
for _ = 1, number() do
  local id, spec, fields = take(), take(), take()
  if not row_of(id) and not holder_of(fields[4], fields[7]) then
    insert(id, new_row(fields), spec, fields[16])
  end
  firing[FIRED] = id
end
firing[LAST_FIRING] = last
save_firing(name, firing)
fire_next(name, time)
commit()
return 1
