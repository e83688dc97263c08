-- top_users: read the users with the highest amounts of each hour, some hours per call.
-- Shared: prelude, history_cells
-- Flags: no-writes
--
-- Keys: those of history.
-- Arguments: since, until.
-- Returns: the time to continue from ('-': none is left), then for each hour and amount with users: the hour, the index of the amount, and
--          the users, each with its amount.

local MAX_HOURS = 100

local since, stop = next_number(), next_number()
local newest = math.max(NOW, tonumber(call('ZRANGE', PREFIX .. 'history_used', -1, -1, 'WITHSCORES')[2]) or 0)
since = math.max(since, NOW - HISTORY_HOUR_RETENTION)
since, stop = since - since % HISTORY_HOUR, math.min(stop, newest + HISTORY_HOUR)

local page_end = since + MAX_HOURS * HISTORY_HOUR
local replies = { float_text(page_end < stop and page_end) }
for hour = since, math.min(stop, page_end) - 1, HISTORY_HOUR do
  for index, amount in ipairs(USER_AMOUNTS) do
    local users = call('ZREVRANGE', users_key(amount, hour), 0, HISTORY_TOP_USERS - 1, 'WITHSCORES')
    if #users > 0 then
      replies[#replies + 1] = { float_text(hour), index - 1, users }
    end
  end
end
return replies
