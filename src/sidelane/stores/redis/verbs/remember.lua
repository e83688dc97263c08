-- remember: keep a value under a name, or give the one that is already there.
-- Shared: store
--
-- Keys: remembered (hash).
-- Arguments: name, value.
-- Returns: the value that is kept.

local name, value = take(), take()
call('HSETNX', P .. 'remembered', name, value)
return call('HGET', P .. 'remembered', name)
