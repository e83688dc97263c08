-- seal_batch: let no more jobs join a batch, which ends if none of its jobs is unfinished.
-- Shared: store, rows, limits, lines, waking, batches, arrivals, parking, log, ending
-- Flags: allow-oom
--
-- Keys: those of batches and ending.
-- Arguments: id.
-- Returns: what batches says of it, or nothing where there is no such batch.

local id = take()
local batch = batch_of(id)
if batch and not batch[SEALED] then
  batch[SEALED] = true
  save_batch(id, batch)
  commit()
end
return answer_batch(id)
