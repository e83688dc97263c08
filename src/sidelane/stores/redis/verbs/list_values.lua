-- list_values: list versioned values by name.
-- Shared: prelude, shared_values
-- Flags: no-writes
--
-- Keys: those of shared_values.
-- Arguments: first name, end of names (excluded; nil: none), limit, maximum of bytes, which one value may exceed.
-- Returns for each: name, version, time of the last change, text.

local first, stop, limit, max_bytes = next_arg(), next_arg(), next_number(), next_number()
local names = call('ZRANGEBYLEX', PREFIX .. 'shared_value_names', '[' .. first, stop and '(' .. stop or '+', 'LIMIT', 0, limit)
return values_of(names, max_bytes)
