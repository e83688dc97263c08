-- open_batch: make a batch that jobs may join, or answer with the one that is there.
-- Shared: store, rows, batches
--
-- Keys: those of batches.
-- Arguments: id, what was asked for as JSON text, for how long it is kept, its follow-ups (nil: none).
-- Returns: what batches says of it.

local id, text, kept, follow_ups = take(), take(), number(), take()
if not batch_of(id) then
  save_batch(id, { NOW, kept, false, 0, 0, 0, 0, 0, false, follow_ups and true or false })
  keep('opened:', id, text)
  if follow_ups then
    keep('batch_then:', id, follow_ups)
  end
  commit()
end
return answer_batch(id)
