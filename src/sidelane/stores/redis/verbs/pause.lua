-- pause: stop or resume handing out jobs of a queue.
-- Shared: store, rows
-- Flags: allow-oom
--
-- Keys: queues.
-- Arguments: queue, 1 or 0.

local queue, paused = take(), take()
call('HSET', P .. 'queues', queue, paused)
touch('queue:' .. queue)
commit()
