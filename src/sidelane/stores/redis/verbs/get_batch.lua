-- get_batch: look a batch up.
-- Shared: store, rows, batches
-- Flags: no-writes
--
-- Keys: those of batches.
-- Arguments: id.
-- Returns: what batches says of it, or nothing where there is no such batch.

return answer_batch(take())
