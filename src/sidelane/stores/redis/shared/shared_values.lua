-- Versioned values. Needs: prelude.
--
-- Keys: shared_values       hash: by name, a packed list of version, time of the last change, and text
--       shared_value_names  zset: the names, all with the same score, so that they are in the order of their bytes

local VERSION, CHANGED, TEXT = 1, 2, 3

local function value_of(name)
  local found = call('HGET', PREFIX .. 'shared_values', name)
  return found and cmsgpack.unpack(found)
end

-- Return the values of these names (false for a name without one), only so many that their texts have at most `max_bytes` before the
-- last.
local function values_of(names, max_bytes)
  local replies, size = {}, 0
  for index, name in ipairs(names) do
    if size > max_bytes then
      break
    end
    local value = value_of(name)
    replies[index] = value and { name, value[VERSION], float_text(value[CHANGED]), value[TEXT] }
    size = size + #name + (value and #value[TEXT] or 0)
  end
  return replies
end
