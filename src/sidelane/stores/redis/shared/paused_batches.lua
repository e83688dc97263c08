-- Paused batches: a claim moves their jobs out of their queues, each job once, at no cost to their users, until the batch is resumed.
-- Needs: history, transitions, limits, fair_queue, wake_workers, batches, enqueue.
-- Exports: any_batch_is_paused, has_paused_batch, pause_job, remove_paused, resume_jobs
--
-- Keys: paused_batches       set: see batches
--       resumed_batches      set: batches that were resumed and may still have paused jobs
--       paused_jobs:<batch>  zset: <sequence><id> of its paused jobs, the highest priority first
--       paused_in            hash: count of paused jobs by queue

local paused_by_id = {} -- of batches

local function any_batch_is_paused()
  return call('EXISTS', PREFIX .. 'paused_batches') == 1
end

local function has_paused_batch(row)
  local batch = row[BATCH]
  if batch and paused_by_id[batch] == nil then
    paused_by_id[batch] = call('SISMEMBER', PREFIX .. 'paused_batches', batch) == 1
  end
  return batch and paused_by_id[batch]
end

-- Pause a job that is in no queue any more.
local function pause_job(id, row)
  row[STATE], row[DUE] = PAUSED, NOW
  add_transition(row, 'paused')
  call('ZADD', PREFIX .. 'paused_jobs:' .. row[BATCH], float_text(-tonumber(row[PRIORITY])), sort_key(row[SEQUENCE], id))
  call('HINCRBY', PREFIX .. 'paused_in', row[QUEUE], 1)
  pass_capacity_on(row)
  save_row(id, row)
  notify_job(id)
end

local function remove_paused(id, row)
  call('ZREM', PREFIX .. 'paused_jobs:' .. row[BATCH], sort_key(row[SEQUENCE], id))
  call('HINCRBY', PREFIX .. 'paused_in', row[QUEUE], -1)
  add_count(counts_of(row), COUNT_PAUSE_WAIT_MS, milliseconds(NOW - row[DUE]))
end

-- Make up to `limit` paused jobs of resumed batches ready. Returns how many.
local function resume_jobs(limit)
  local resumed = 0
  while resumed < limit do
    local batch = call('SRANDMEMBER', PREFIX .. 'resumed_batches')
    if not batch then
      break
    end
    local ids = {}
    for index, member in ipairs(call('ZRANGE', PREFIX .. 'paused_jobs:' .. batch, 0, limit - resumed - 1)) do
      ids[index] = member:sub(17)
    end
    read_rows(ids)
    for _, id in ipairs(ids) do
      local row = row_of(id)
      remove_paused(id, row)
      add_transition(row, 'resumed')
      row[STATE], row[DUE] = READY, NOW
      enqueue(id, row)
      record_ready(row)
    end
    resumed = resumed + #ids
    if call('EXISTS', PREFIX .. 'paused_jobs:' .. batch) == 0 then
      call('SREM', PREFIX .. 'resumed_batches', batch)
    end
  end
  return resumed
end
