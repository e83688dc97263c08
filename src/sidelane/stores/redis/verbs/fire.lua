-- fire: move a schedule from one tick to the next, and submit the jobs in the same step.
-- Shared: prelude, rows, history_cells, history, transitions, queues, limit_overrides, limits, fair_queue, wake_workers, batches, enqueue, schedules
--
-- Keys: those of enqueue and schedules.
-- Arguments: name, its last tick before the step, its last tick after it, the next, count of jobs, then for each: id, spec, list of 23
--            fields.
-- Returns: 1, or 0 if the step was taken before, or the schedule is disabled or unknown.

local name, previous, tick, next_tick = next_arg(), next_number(), next_number(), next_number()
local state = schedule_state(name)
if not state or not state[ENABLED] or state[LAST_TICK] ~= previous then
  return 0
end
for _ = 1, next_number() do
  local id, spec, fields = next_arg(), next_arg(), next_arg()
  if not row_of(id) and not unique_holder(fields[4], fields[7]) then
    insert_job(id, new_row(fields), spec, fields[16])
  end
  state[LAST_JOB] = id
end
state[LAST_TICK] = tick
save_schedule_state(name, state)
set_next_tick(name, next_tick)
commit()
return 1
