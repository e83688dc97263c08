-- Forgetting what was kept long enough (rule 11). Needs: arrivals.
--
-- Keys: gone        zset: removed jobs by when their name is forgotten too
--       users_gone  hash: whose they were

local function forget_jobs(limit)
  local ids = call('ZRANGEBYSCORE', P .. 'forget', '-inf', exact(NOW), 'LIMIT', 0, limit)
  read_rows(ids)
  for _, id in ipairs(ids) do
    local row = row_of(id)
    call('ZADD', P .. 'gone', exact(NOW + row[KEEP]), id)
    call('HSET', P .. 'users_gone', id, row[USER])
    local keys = {}
    for place, kind in ipairs({ 'job:', 'spec:', 'result:', 'log:', 'failures:', 'then:' }) do
      keys[place] = P .. kind .. id
    end
    call('UNLINK', unpack(keys))
    for _, index in ipairs({ 'all', 'failed', 'forget' }) do
      call('ZREM', P .. index, id)
    end
    for name, value in pairs({ user = row[USER] ~= '' and row[USER], key = row[KEY], parent = row[PARENT] }) do
      if value then
        call('ZREM', P .. name .. ':' .. value, id)
      end
    end
    rows[id], changed[id] = false, nil
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
