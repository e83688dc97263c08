-- seal_batch: close a batch to new jobs. It finishes if none of its jobs is unfinished.
-- Shared: prelude, rows, history_cells, history, transitions, queues, limit_overrides, limits, fair_queue, wake_workers, batches, enqueue, blocked_jobs, paused_batches, event_log, finalize
-- Flags: allow-oom
--
-- Keys: those of batches and finalize.
-- Arguments: id.
-- Returns: the batch reply, or nil for an unknown id.

local id = next_arg()
local batch = batch_of(id)
if batch and not batch[SEALED] then
  batch[SEALED] = true
  save_batch(id, batch)
  commit()
end
return batch_reply(id)
