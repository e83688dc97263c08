-- Batches: how many jobs of each have come and ended, counted in the very step (rules 10, 16). Needs: rows.
--
-- Keys: counts:<batch>       packed list: when it was submitted, for how long it is kept, whether it is sealed, how many jobs it has,
--                            have succeeded, failed and were cancelled, how often it has ended, when, whether its end submits jobs
--       opened:<batch>       what was asked for, JSON text
--       batch_then:<batch>   its follow-ups, as those of a job
--       forget_batches       zset: batches without unfinished jobs by when they are forgotten

-- Jobs that have ended are counted behind TOTAL, as far as their state is behind RUNNING.
local OPENED, KEPT, SEALED, TOTAL, BATCH_ENDS, BATCH_ENDED, BATCH_FOLLOWS = 1, 2, 3, 4, 8, 9, 10

local batches, counted = {}, {}

local function batch_of(id)
  if batches[id] == nil then
    local found = call('GET', P .. 'counts:' .. id)
    batches[id] = found and cmsgpack.unpack(found)
  end
  return batches[id]
end

local function save_batch(id, batch)
  batches[id] = batch
  counted[id] = true
  touch('batch:' .. id)
end

-- Count a job in one of the places of its batch, or out of it.
local function count_job(row, place, step)
  local batch = row[BATCH] and batch_of(row[BATCH])
  if batch then
    batch[place] = batch[place] + step
    save_batch(row[BATCH], batch)
  end
end

local function count_end(row, step)
  count_job(row, TOTAL + row[STATE] - RUNNING, step)
end

local function unfinished_of(batch)
  return batch[TOTAL] - batch[TOTAL + 1] - batch[TOTAL + 2] - batch[TOTAL + 3]
end

-- Let a batch that has ended go on, for one of its jobs does.
local function reopen(row)
  local batch = row[BATCH] and batch_of(row[BATCH])
  if batch then
    batch[BATCH_ENDED] = false
    count_end(row, -1)
  end
end

local function answer_batch(id)
  local batch = batch_of(id)
  return batch and {
    text_of('opened:', id), exact(batch[OPENED]), batch[SEALED] and 1 or 0, batch[TOTAL], batch[TOTAL + 1], batch[TOTAL + 2],
    batch[TOTAL + 3], batch[BATCH_ENDS], exact(batch[BATCH_ENDED]),
  }
end

last_steps[#last_steps + 1] = function()
  for id in pairs(counted) do
    local batch = batches[id]
    keep('counts:', id, cmsgpack.pack(batch))
    if unfinished_of(batch) > 0 then
      call('ZREM', P .. 'forget_batches', id)
    else
      add_later('forget_batches', exact((batch[BATCH_ENDED] or batch[OPENED]) + batch[KEPT]), id)
    end
  end
  counted = {}
end
