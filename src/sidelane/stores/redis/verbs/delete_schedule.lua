-- delete_schedule: delete a schedule.
-- Shared: prelude, schedules
-- Flags: allow-oom
--
-- Keys: those of schedules.
-- Arguments: name.
-- Returns: 1, or 0 if there is no such schedule.

return delete_schedule(next_arg())
