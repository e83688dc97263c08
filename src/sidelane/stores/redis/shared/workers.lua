-- Workers: when each expires, and how it described itself. Needs: rows.
--
-- Keys: workers          zset: workers by the end of their newest lease
--       heartbeats       zset: workers by the end of the leases that their last heartbeat renewed
--       lease_durations  hash: the duration of each worker's leases
--       worker_info      hash: each worker's description, JSON text
--       worker_exits     hash: of workers that died, the loss to record for their jobs, JSON text
--       lease_holders    set: workers that may have leases, alive or not

-- Record that a worker has leases of this duration from now.
local function renew_worker(worker, lease)
  call('ZADD', PREFIX .. 'workers', 'GT', float_text(NOW + lease), worker)
  call('HSET', PREFIX .. 'lease_durations', worker, float_text(lease))
  call('SADD', PREFIX .. 'lease_holders', worker)
end

local function remove_worker(worker)
  call('ZREM', PREFIX .. 'workers', worker)
  call('ZREM', PREFIX .. 'heartbeats', worker)
  call('HDEL', PREFIX .. 'lease_durations', worker)
  call('HDEL', PREFIX .. 'worker_info', worker)
  call('HDEL', PREFIX .. 'worker_exits', worker)
end
