-- get_batch: look up a batch.
-- Shared: prelude, rows, batches
-- Flags: no-writes
--
-- Keys: those of batches.
-- Arguments: id.
-- Returns: the batch reply, or nil for an unknown id.

return batch_reply(next_arg())
