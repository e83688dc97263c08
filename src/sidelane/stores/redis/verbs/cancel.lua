-- cancel: end queued jobs at once, and ask running ones to stop.
-- Shared: prelude, rows, history_cells, history, transitions, queues, limit_overrides, limits, fair_queue, wake_workers, batches, enqueue, blocked_jobs, paused_batches, event_log, finalize, job_reply
-- Flags: allow-oom
--
-- Keys: those of finalize.
-- Arguments: ids.
-- Returns for each: its job reply, or nil for an unknown id.

local ids = remaining_args()
for _, id in ipairs(ids) do
  local row = row_of(id)
  if row then
    cancel_job(id, row)
  end
end
commit()
local replies = {}
for index, id in ipairs(ids) do
  local row = row_of(id)
  replies[index] = row and job_reply(id, row)
end
return replies
