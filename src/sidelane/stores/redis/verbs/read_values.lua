-- read_values: read versioned values by name.
-- Shared: prelude, shared_values
-- Flags: no-writes
--
-- Keys: those of shared_values.
-- Arguments: maximum of bytes, which one value may exceed; names.
-- Returns for each, as far as the maximum allows: name, version, time of the last change, text; or nil.

local max_bytes = next_number()
return values_of(remaining_args(), max_bytes)
