-- pause_batch: pause a batch, or resume it and make its first jobs ready.
-- Shared: prelude, rows, history_cells, history, transitions, queues, limit_overrides, limits, fair_queue, wake_workers, batches, enqueue, paused_batches
-- Flags: allow-oom
--
-- Keys: those of paused_batches.
-- Arguments: id, 1 or 0.
-- Returns: the batch reply, or nil for an unknown id.

local MAX_RESUMED = 200 -- jobs that this call makes ready

local id, paused = next_arg(), next_number() == 1
if not batch_of(id) then
  return false
elseif paused then
  call('SADD', PREFIX .. 'paused_batches', id)
  call('SREM', PREFIX .. 'resumed_batches', id)
elseif call('SREM', PREFIX .. 'paused_batches', id) == 1 then
  call('SADD', PREFIX .. 'resumed_batches', id)
  resume_jobs(MAX_RESUMED)
  commit()
end
return batch_reply(id)
