-- watch: let a watcher wait for jobs of some queues, or stop and pass on hints it may have received.
-- Shared: prelude, rows, history_cells, history, transitions, queues, limit_overrides, limits, fair_queue, wake_workers
-- Flags: allow-oom
--
-- Keys: those of wake_workers.
-- Arguments: watcher, 1 or 0, queues.

local watcher, is_watching = next_arg(), next_number() == 1
for _, queue in ipairs(remaining_args()) do
  if is_watching then
    call('ZADD', PREFIX .. 'watchers:' .. queue, float_text(NOW), watcher)
  elseif not remove_watcher(watcher, queue) then
    wake_for_queue(queue)
  end
end
if not is_watching then
  call('HDEL', PREFIX .. 'watcher_tasks', watcher)
end
