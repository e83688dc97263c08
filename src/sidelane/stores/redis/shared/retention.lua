-- Forgetting what was kept long enough (rule 11). Needs: arrivals, batches.
--
-- Keys: gone        zset: removed jobs by when their name is forgotten too
--       users_gone  hash: whose they were

-- Forget a finished job without unfinished children, and submit what waits for that.
local function forget(id, row)
  if row[FOLLOWS] then
    follow_up(call('GET', P .. 'then:' .. id), id, 'removed', REMOVED, false)
  end
  call('ZADD', P .. 'gone', 'GT', exact(NOW + math.max(row[KEEP], row[REMEMBER])), id)
  call('HSET', P .. 'users_gone', id, row[USER])
  local keys = {}
  for place, kind in ipairs({ 'job:', 'spec:', 'result:', 'log:', 'failures:', 'then:' }) do
    keys[place] = P .. kind .. id
  end
  call('UNLINK', unpack(keys))
  for _, index in ipairs({ 'all', 'failed', 'forget', unpack(indices_of(row)) }) do
    call('ZREM', P .. index, id)
  end
  rows[id], changed[id] = false, nil
end

local function forget_jobs(limit)
  local ids = call('ZRANGEBYSCORE', P .. 'forget', '-inf', exact(NOW), 'LIMIT', 0, limit)
  read_rows(ids)
  for _, id in ipairs(ids) do
    forget(id, row_of(id))
  end
  return #ids
end

local function forget_batches(limit)
  local ids = call('ZRANGEBYSCORE', P .. 'forget_batches', '-inf', exact(NOW), 'LIMIT', 0, limit)
  for _, id in ipairs(ids) do
    if not counted[id] then -- else a job has just joined it
      call('UNLINK', P .. 'counts:' .. id, P .. 'opened:' .. id, P .. 'batch_then:' .. id)
      call('ZREM', P .. 'forget_batches', id)
      batches[id] = false
    end
  end
  return #ids
end

local function forget_gone(limit)
  local ids = call('ZRANGEBYSCORE', P .. 'gone', '-inf', exact(NOW), 'LIMIT', 0, limit)
  if #ids > 0 then
    call('ZREM', P .. 'gone', unpack(ids))
    call('HDEL', P .. 'users_gone', unpack(ids))
  end
  return #ids
end
