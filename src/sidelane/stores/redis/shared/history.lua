-- History: counts of what happened to jobs, by minute and series: queue, task, and the release of the worker.
-- Needs: rows, history_cells.
-- Exports: series_counts, counts_of, add_count, add_duration, milliseconds, count, count_attempt, add_user_amount
--
-- A script adds its counts up. `commit` adds them to one cell of each series, that of the present minute. Sweeps roll the cells of past
-- minutes up and delete them, so that each is rolled up once, even if the clock goes back.
--
-- Keys: those of history_cells.

local DURATION_BOUNDS = HISTORY_BUCKETS

local counted = {} -- counts by queue, task and release
local user_amounts = {} -- by amount and user
local active_series -- how many series have counts within the time for which minutes are kept

local function series_counts(queue, task, release)
  return entry_of(entry_of(entry_of(counted, queue), task), release)
end

-- Return the counts of a job's series: that of its newest attempt.
local function counts_of(row)
  return series_counts(row[QUEUE], row[TASK], row[RELEASE])
end

local function add_count(counts, field, amount)
  if amount ~= 0 then
    counts[field] = (counts[field] or 0) + amount
  end
end

local function milliseconds(seconds)
  return math.max(0, math.floor(seconds * 1000 + 0.5))
end

-- Count a duration in a histogram, which begins at the field `first`, and in the field of its sum.
local function add_duration(counts, first, sum, seconds)
  local bucket = 1
  while DURATION_BOUNDS[bucket] and seconds > DURATION_BOUNDS[bucket] do
    bucket = bucket + 1
  end
  add_count(counts, first + bucket - 1, 1)
  add_count(counts, sum, milliseconds(seconds))
end

local function count(row, field)
  add_count(counts_of(row), field, 1)
end

local function add_user_amount(amount, user, value)
  if user ~= '' then
    add_count(entry_of(user_amounts, amount), user, value)
  end
end

-- Count an attempt that ends now.
local function count_attempt(row)
  local counts, run = counts_of(row), NOW - row[STARTED]
  add_duration(counts, COUNT_RUN, COUNT_RUN_MS, run)
  add_user_amount('run_time', row[USER], milliseconds(run))
  add_count(counts, COUNT_EVENTS, row[ORDINAL])
  if row[FIRST_EVENT] then
    add_duration(counts, COUNT_FIRST_EVENT, COUNT_FIRST_EVENT_MS, row[FIRST_EVENT] - row[STARTED])
    add_count(counts, COUNT_STREAM_MS, milliseconds(NOW - row[FIRST_EVENT]))
  end
end

-- Return the id by which a series is counted in a minute. If too many other series have counts, it is that of `OTHER`.
local function admitted_series(name, id, minute)
  local oldest = minute - HISTORY_MINUTE_RETENTION
  local used = id and tonumber(call('ZSCORE', PREFIX .. 'history_used', id))
  if not used or used <= oldest then
    active_series = active_series or call('ZCOUNT', PREFIX .. 'history_used', '(' .. float_text(oldest), '+inf')
    if active_series >= HISTORY_MAX_SERIES then
      return series_id(other_series())
    end
    active_series = active_series + 1
    id = series_id(name)
  end
  call('ZADD', PREFIX .. 'history_used', 'GT', minute, id)
  return id
end

-- Add counts of a series to its cell of a minute. `id` is false for a new series.
local function write_counts(name, id, counts, minute)
  local start = string.format('%.0f:', minute)
  local packed = id and call('HGET', PREFIX .. 'history_open', start .. id)
  if not packed then
    id = admitted_series(name, id, minute)
    packed = call('HGET', PREFIX .. 'history_open', start .. id)
  end
  call('HSET', PREFIX .. 'history_open', start .. id, add_to_cell(packed, counts))
end

on_commit[#on_commit + 1] = function()
  local names, changes = {}, {}
  for queue, tasks in pairs(counted) do
    for task, releases in pairs(tasks) do
      for release, counts in pairs(releases) do
        if next(counts) then
          names[#names + 1], changes[#changes + 1] = cmsgpack.pack({ queue, task, release }), counts
        end
      end
    end
  end
  if #names == 0 then
    return
  end
  local ids = call('HMGET', PREFIX .. 'history_ids', unpack(names))
  for index, counts in ipairs(changes) do
    write_counts(names[index], ids[index], counts, NOW - NOW % HISTORY_MINUTE)
  end
  for amount, users in pairs(user_amounts) do
    local key = users_key(amount, NOW - NOW % HISTORY_HOUR)
    for user, value in pairs(users) do
      call('ZINCRBY', key, value, user)
    end
  end
  counted, user_amounts = {}, {}
end
