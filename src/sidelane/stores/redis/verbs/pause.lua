-- pause: stop or resume handing out jobs of a queue.
-- Shared: store, rows, limits, lines, waking
-- Flags: allow-oom
--
-- Keys: queues, those of waking.
-- Arguments: queue, 1 or 0.

local queue, paused = take(), take()
call('HSET', P .. 'queues', queue, paused)
wake_for(queue)
