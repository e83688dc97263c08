-- get_or_set: store a value under a name, or return the existing one.
-- Shared: prelude
--
-- Keys: values (hash).
-- Arguments: name, value.
-- Returns: the stored value.

local name, value = next_arg(), next_arg()
call('HSETNX', PREFIX .. 'values', name, value)
return call('HGET', PREFIX .. 'values', name)
