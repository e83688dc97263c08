-- override_limit: set the numbers of a limit or restore those of its jobs, and release jobs that may start now.
-- Shared: prelude, rows, history_cells, history, transitions, queues, limit_overrides, limits, fair_queue, wake_workers, batches, enqueue, blocked_jobs
-- Flags: allow-oom
--
-- Keys: those of limit_overrides and blocked_jobs.
-- Arguments: id of the override, maximum of overrides, then max (nil: restore), window (false: slots), burst, until (false: no end),
--            since, by, reason.
-- Returns: 1; or 0 if there are too many others, or if there was none to end.

local MAX_UNBLOCKED = 200 -- jobs that one call unblocks; sweeps unblock the rest

local id, maximum, override = next_arg(), next_arg(), remaining_args()
local done
if override[1] then
  done = call('HEXISTS', PREFIX .. 'limit_overrides', id) == 1 or call('HLEN', PREFIX .. 'limit_overrides') < maximum
  if done then
    save_override(id, override)
  end
else
  done = delete_override(id)
end
check_changed_limits(MAX_UNBLOCKED)
unblock_rates(MAX_UNBLOCKED)
commit()
return done and 1 or 0
