-- forget_schedule: forget a schedule.
-- Shared: store, timetable
-- Flags: allow-oom
--
-- Keys: those of timetable.
-- Arguments: name.
-- Returns: 1, or 0 where there is no such schedule.

return forget_schedule(take())
