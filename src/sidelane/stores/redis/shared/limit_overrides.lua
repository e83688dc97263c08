-- Overrides of limits: the numbers in force (rule 14). Needs: prelude.
-- Exports: in_force, save_override, delete_override, delete_ended_overrides
--
-- Keys: limit_overrides  hash: by the name of a limit, for all its keys, or the id of one limit: a packed list of the fields below
--       limit_checks     hash: those of them that have changed, until the limits that jobs wait for are checked: where to continue

local OVERRIDE_MAX, OVERRIDE_WINDOW, OVERRIDE_BURST, OVERRIDE_UNTIL = 1, 2, 3, 4 -- then since, by, reason

local has_overrides
local by_limit = {} -- the override of each key of slots or a rate; false: none

-- Return the numbers of an override, if it has not ended and is for slots or for a rate, as asked.
local function numbers_of(packed, is_rate)
  local override = packed and cmsgpack.unpack(packed)
  local ends = override and override[OVERRIDE_UNTIL]
  if not override or (override[OVERRIDE_WINDOW] and true or false) ~= is_rate or ends and ends <= NOW then
    return false
  end
  local max, window = override[OVERRIDE_MAX], override[OVERRIDE_WINDOW]
  return { max = max, window = window, burst = override[OVERRIDE_BURST], every = window and window / max }
end

-- Return the numbers in force for the slots or the rate with this key: those of an override, or else the limit itself.
local function in_force(limit, key)
  if has_overrides == nil then
    has_overrides = call('EXISTS', PREFIX .. 'limit_overrides') == 1
  end
  if not has_overrides then
    return limit
  end
  local numbers = by_limit[key]
  if numbers == nil then
    local kind, id = key:match('^(%a+):(.*)$', #PREFIX + 1)
    local found = call('HMGET', PREFIX .. 'limit_overrides', id, id:match('^[^/]*'))
    numbers = numbers_of(found[1], kind == 'rate') or numbers_of(found[2], kind == 'rate')
    by_limit[key] = numbers
  end
  return numbers or limit
end

local function save_override(id, override)
  call('HSET', PREFIX .. 'limit_overrides', id, cmsgpack.pack(override))
  call('HSET', PREFIX .. 'limit_checks', id, '0')
end

-- Delete an override, and return true if there was one that had not ended.
local function delete_override(id)
  local found = call('HGET', PREFIX .. 'limit_overrides', id)
  if not found then
    return false
  end
  call('HDEL', PREFIX .. 'limit_overrides', id)
  call('HSET', PREFIX .. 'limit_checks', id, '0')
  local ends = cmsgpack.unpack(found)[OVERRIDE_UNTIL]
  return not ends or ends > NOW
end

local function delete_ended_overrides()
  local found = call('HGETALL', PREFIX .. 'limit_overrides')
  for index = 1, #found, 2 do
    local ends = cmsgpack.unpack(found[index + 1])[OVERRIDE_UNTIL]
    if ends and ends <= NOW then
      delete_override(found[index])
    end
  end
end
