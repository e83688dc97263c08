-- pause: pause or resume a queue.
-- Shared: prelude, rows, limits, fair_queue, wake_workers
-- Flags: allow-oom
--
-- Keys: queues, those of wake_workers.
-- Arguments: queue, 1 or 0.

local queue, paused = next_arg(), next_arg()
call('HSET', PREFIX .. 'queues', queue, paused)
wake_for_queue(queue)
