-- History: counts of what happened to jobs, by minute and series: queue, task, and the release of the worker.
-- Needs: rows, history_cells.
-- Exports: series_counts, counts_of, add_count, add_duration, milliseconds, count, count_attempt, add_user_amount
--
-- A script adds its counts up. `commit` adds them to one cell of each series, that of the present minute. Sweeps roll the cells of past
-- minutes up and delete them, so that each is rolled up once, even if the clock goes back.
--
-- Keys: those of history_cells.

local DURATION_BOUNDS = HISTORY_BUCKETS

local floor = math.floor

local counted = {} -- counts by queue, task and release
local user_amounts = {} -- by amount and user
local present = {} -- queue, task, release and counts of the series that was last counted, often that of the next job too
local active_series -- how many series have counts within the time for which minutes are kept

local function series_counts(queue, task, release)
  return entry_of(entry_of(entry_of(counted, queue), task), release)
end

-- Return the counts of a job's series: that of its newest attempt.
local function counts_of(row)
  local queue, task, release = row[QUEUE], row[TASK], row[RELEASE]
  if present[1] ~= queue or present[2] ~= task or present[3] ~= release then
    present = { queue, task, release, series_counts(queue, task, release) }
  end
  return present[4]
end

local function add_count(counts, field, amount)
  if amount ~= 0 then
    counts[field] = (counts[field] or 0) + amount
  end
end

local function milliseconds(seconds)
  return seconds > 0 and floor(seconds * 1000 + 0.5) or 0
end

-- Count a duration in a histogram, which begins at the field `first`, and in the field of its sum.
local function add_duration(counts, first, sum, seconds)
  local bucket = seconds > DURATION_BOUNDS[9] and 10 or 1
  while DURATION_BOUNDS[bucket] and seconds > DURATION_BOUNDS[bucket] do
    bucket = bucket + 1
  end
  local field, total = first + bucket - 1, milliseconds(seconds)
  counts[field] = (counts[field] or 0) + 1
  if total > 0 then
    counts[sum] = (counts[sum] or 0) + total
  end
end

local function count(row, field)
  local counts = counts_of(row)
  counts[field] = (counts[field] or 0) + 1
end

-- Add to an amount of the user of a job. Internal jobs count for no user.
local function add_user_amount(amount, queue, user, value)
  if user ~= '' and queue:sub(1, #INTERNAL_PREFIX) ~= INTERNAL_PREFIX then
    add_count(entry_of(user_amounts, amount), user, value)
  end
end

-- Count an attempt that ends now.
local function count_attempt(row)
  local counts, run = counts_of(row), NOW - row[STARTED]
  add_duration(counts, COUNT_RUN, COUNT_RUN_MS, run)
  add_user_amount('run_time', row[QUEUE], row[USER], milliseconds(run))
  if row[ORDINAL] > row[LOGGED] then
    add_count(counts, COUNT_EVENTS, row[ORDINAL] - row[LOGGED])
  end
  if row[FIRST_EVENT] then
    add_duration(counts, COUNT_FIRST_EVENT, COUNT_FIRST_EVENT_MS, row[FIRST_EVENT] - row[STARTED])
    add_count(counts, COUNT_STREAM_MS, milliseconds(NOW - row[FIRST_EVENT]))
  end
end

-- Return the name of the series that counts what happens to a series in a minute. If too many others have counts, it is `OTHER`.
local function admitted_series(name, minute)
  local oldest = minute - HISTORY_MINUTE_RETENTION
  local used = tonumber(call('ZSCORE', PREFIX .. 'history_used', name))
  if not used or used <= oldest then
    active_series = active_series or call('ZCOUNT', PREFIX .. 'history_used', '(' .. float_text(oldest), '+inf')
    if active_series >= HISTORY_MAX_SERIES then
      name = other_series()
      series_id(name)
      return name
    end
    active_series = active_series + 1
    series_id(name)
  end
  call('ZADD', PREFIX .. 'history_used', 'GT', minute, name)
  return name
end

-- Add counts of a series to its cell of a minute.
local function write_counts(name, counts, minute)
  local start = string.format('%.0f:', minute)
  local packed = call('HGET', PREFIX .. 'history_open', start .. name)
  if not packed then
    name = admitted_series(name, minute)
    packed = call('HGET', PREFIX .. 'history_open', start .. name)
  end
  call('HSET', PREFIX .. 'history_open', start .. name, add_to_cell(packed, counts))
end

on_commit[#on_commit + 1] = function()
  for queue, tasks in pairs(counted) do
    for task, releases in pairs(tasks) do
      for release, counts in pairs(releases) do
        if next(counts) then
          write_counts(cmsgpack.pack({ queue, task, release }), counts, NOW - NOW % HISTORY_MINUTE)
        end
      end
    end
  end
  for amount, users in pairs(user_amounts) do
    local key = users_key(amount, NOW - NOW % HISTORY_HOUR)
    for user, value in pairs(users) do
      call('ZINCRBY', key, value, user)
    end
  end
  counted, user_amounts, present = {}, {}, {}
end
