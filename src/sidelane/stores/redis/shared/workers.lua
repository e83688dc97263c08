-- Workers: until when each is alive, and what it said of itself. Needs: rows.
--
-- Keys: alive    zset: workers by when their newest lease ends
--       beaten   zset: workers by when what their last heartbeat renewed ends
--       spans    hash: the duration of each worker's leases
--       infos    hash: what each said of itself, JSON text
--       holders  set: workers that may have leases, alive or not

-- Note that a worker has leases of this duration from now.
local function renew_worker(worker, lease)
  call('ZADD', P .. 'alive', 'GT', exact(NOW + lease), worker)
  call('HSET', P .. 'spans', worker, exact(lease))
  call('SADD', P .. 'holders', worker)
end

local function forget_worker(worker)
  call('ZREM', P .. 'alive', worker)
  call('ZREM', P .. 'beaten', worker)
  call('HDEL', P .. 'spans', worker)
  call('HDEL', P .. 'infos', worker)
end
