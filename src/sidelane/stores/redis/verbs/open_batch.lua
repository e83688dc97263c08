-- open_batch: create a batch that jobs may join. A known id returns the existing batch.
-- Shared: prelude, rows, batches
--
-- Keys: those of batches.
-- Arguments: id, spec as JSON text, retention in seconds, follow-ups (nil: none).
-- Returns: the batch reply.

local id, text, retention, follow_ups = next_arg(), next_arg(), next_number(), next_arg()
if not batch_of(id) then
  save_batch(id, { NOW, retention, false, 0, 0, 0, 0, 0, false, follow_ups and true or false })
  set_text('batch_spec:', id, text)
  if follow_ups then
    set_text('batch_follow_ups:', id, follow_ups)
  end
  commit()
end
return batch_reply(id)
