-- pause: pause or resume a queue.
-- Shared: prelude, rows, history_cells, history, transitions, queues, limit_overrides, limits, fair_queue, wake_workers
-- Flags: allow-oom
--
-- Keys: those of queues and wake_workers.
-- Arguments: queue, 1 or 0.

local queue, paused = next_arg(), next_number() == 1
set_paused(queue, paused)
wake_for_queue(queue)
