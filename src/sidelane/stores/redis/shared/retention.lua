-- Retention: removes jobs, batches and tombstones whose time is over (rule 11). Needs: enqueue, batches.
--
-- Keys: tombstones       zset: removed jobs by the end of their tombstone's retention
--       tombstone_users  hash: the user of each

-- Remove a finished job without unfinished children, and submit the follow-ups of its removal.
local function prune_job(id, row)
  if row[HAS_FOLLOW_UPS] then
    submit_follow_ups(call('GET', PREFIX .. 'follow_ups:' .. id), id, 'removed', REMOVED, false)
  end
  call('ZADD', PREFIX .. 'tombstones', 'GT', float_text(NOW + math.max(row[RETENTION], row[ID_RETENTION])), id)
  call('HSET', PREFIX .. 'tombstone_users', id, row[USER])
  local keys = {}
  for index, kind in ipairs({ 'job:', 'spec:', 'result:', 'log:', 'failures:', 'follow_ups:' }) do
    keys[index] = PREFIX .. kind .. id
  end
  call('UNLINK', unpack(keys))
  for _, index in ipairs({ 'all', 'failed', 'prune_jobs', unpack(indexes_of(row)) }) do
    call('ZREM', PREFIX .. index, id)
  end
  rows[id], changed_rows[id] = false, nil
end

local function prune_jobs(limit)
  local ids = call('ZRANGEBYSCORE', PREFIX .. 'prune_jobs', '-inf', float_text(NOW), 'LIMIT', 0, limit)
  read_rows(ids)
  for _, id in ipairs(ids) do
    prune_job(id, row_of(id))
  end
  return #ids
end

local function prune_batches(limit)
  local ids = call('ZRANGEBYSCORE', PREFIX .. 'prune_batches', '-inf', float_text(NOW), 'LIMIT', 0, limit)
  for _, id in ipairs(ids) do
    if not changed_batches[id] then -- otherwise a job has just joined it
      call('UNLINK', PREFIX .. 'batch_counts:' .. id, PREFIX .. 'batch_spec:' .. id, PREFIX .. 'batch_follow_ups:' .. id)
      call('ZREM', PREFIX .. 'prune_batches', id)
      call('SREM', PREFIX .. 'paused_batches', id)
      batches[id] = false
    end
  end
  return #ids
end

local function prune_tombstones(limit)
  local ids = call('ZRANGEBYSCORE', PREFIX .. 'tombstones', '-inf', float_text(NOW), 'LIMIT', 0, limit)
  if #ids > 0 then
    call('ZREM', PREFIX .. 'tombstones', unpack(ids))
    call('HDEL', PREFIX .. 'tombstone_users', unpack(ids))
  end
  return #ids
end
