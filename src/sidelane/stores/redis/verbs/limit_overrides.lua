-- limit_overrides: list the overrides of limits.
-- Shared: prelude
-- Flags: no-writes
--
-- Keys: limit_overrides.
-- Returns for each: its id, max, window ('-': slots), burst, until ('-': no end), since, by, reason.

local replies, found = {}, call('HGETALL', PREFIX .. 'limit_overrides')
for index = 1, #found, 2 do
  local max, window, burst, ends, since, by, reason = unpack(cmsgpack.unpack(found[index + 1]))
  if not ends or ends > NOW then
    replies[#replies + 1] = { found[index], max, float_text(window), burst, float_text(ends), float_text(since), by, reason }
  end
end
return replies
