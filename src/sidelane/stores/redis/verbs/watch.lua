-- watch: let a watcher wait for jobs of some queues, or wait no more and pass on what it may have been woken for.
-- Shared: store, rows, limits, lines, waking
-- Flags: allow-oom
--
-- Keys: those of waking.
-- Arguments: watcher, 1 or 0, queues.

local watcher, waits = take(), number() == 1
for _, queue in ipairs(take_rest()) do
  if waits then
    call('ZADD', P .. 'waiting:' .. queue, exact(NOW), watcher)
  elseif not wait_no_more(watcher, queue) then
    wake_for(queue)
  end
end
if not waits then
  call('HDEL', P .. 'knows', watcher)
end
