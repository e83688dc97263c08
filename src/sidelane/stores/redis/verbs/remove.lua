-- remove: remove finished jobs before their retention ends.
-- Shared: prelude, rows, history_cells, history, transitions, queues, limit_overrides, limits, fair_queue, wake_workers, batches, enqueue, retention
-- Flags: allow-oom
--
-- Keys: those of retention, children:<id>.
-- Arguments: ids.
-- Returns for each: 1, or 0 if it is unfinished, has unfinished children, or is unknown.

local ids, replies = remaining_args(), {}
read_rows(ids)
for index, id in ipairs(ids) do
  local row = row_of(id)
  replies[index] = row and row[STATE] > RUNNING and call('EXISTS', PREFIX .. 'children:' .. id) == 0 and 1 or 0
  if replies[index] == 1 then
    prune_job(id, row)
  end
end
commit()
return replies
