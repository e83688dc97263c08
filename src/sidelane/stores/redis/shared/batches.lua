-- Batches: counters of each batch's jobs, updated in the same step as the jobs (rules 10 and 16). Needs: rows.
--
-- Keys: batch_counts:<batch>       packed list in the order of the constants below; the counts of succeeded, failed and cancelled jobs
--                                  are at TOTAL + 1 to TOTAL + 3
--       batch_spec:<batch>         the spec, JSON text
--       batch_follow_ups:<batch>   its follow-ups, in the format of a job's
--       paused_batches             set: batches whose jobs do not start
--       prune_batches              zset: batches without unfinished jobs by the end of their retention

-- A finished job is counted at TOTAL + state - RUNNING.
local BATCH_SUBMITTED, BATCH_RETENTION, SEALED, TOTAL, BATCH_ENDS, BATCH_ENDED, BATCH_HAS_FOLLOW_UPS = 1, 2, 3, 4, 8, 9, 10

local batches, changed_batches = {}, {}

local function batch_of(id)
  if batches[id] == nil then
    local found = call('GET', PREFIX .. 'batch_counts:' .. id)
    batches[id] = found and cmsgpack.unpack(found)
  end
  return batches[id]
end

local function save_batch(id, batch)
  batches[id] = batch
  changed_batches[id] = true
  notify('batch:' .. id)
end

-- Add `change` to one counter of a job's batch.
local function count_in_batch(row, index, change)
  local batch = row[BATCH] and batch_of(row[BATCH])
  if batch then
    batch[index] = batch[index] + change
    save_batch(row[BATCH], batch)
  end
end

local function count_finished_in_batch(row, change)
  count_in_batch(row, TOTAL + row[STATE] - RUNNING, change)
end

local function unfinished_in(batch)
  return batch[TOTAL] - batch[TOTAL + 1] - batch[TOTAL + 2] - batch[TOTAL + 3]
end

-- Reopen a finished batch, because one of its jobs was requeued.
local function reopen_batch(row)
  local batch = row[BATCH] and batch_of(row[BATCH])
  if batch then
    batch[BATCH_ENDED] = false
    count_finished_in_batch(row, -1)
  end
end

local function batch_reply(id)
  local batch = batch_of(id)
  return batch and {
    text_of('batch_spec:', id), float_text(batch[BATCH_SUBMITTED]), batch[SEALED] and 1 or 0, batch[TOTAL], batch[TOTAL + 1], batch[TOTAL + 2],
    batch[TOTAL + 3], batch[BATCH_ENDS], float_text(batch[BATCH_ENDED]), call('SISMEMBER', PREFIX .. 'paused_batches', id),
  }
end

on_commit[#on_commit + 1] = function()
  for id in pairs(changed_batches) do
    local batch = batches[id]
    set_text('batch_counts:', id, cmsgpack.pack(batch))
    if unfinished_in(batch) > 0 then
      call('ZREM', PREFIX .. 'prune_batches', id)
    else
      zadd_on_commit('prune_batches', float_text((batch[BATCH_ENDED] or batch[BATCH_SUBMITTED]) + batch[BATCH_RETENTION]), id)
    end
  end
  changed_batches = {}
end
