-- listen: start the time anew after which a job that nobody listens to is stopped.
-- Shared: store, rows
-- Flags: allow-oom
--
-- Keys: job:<id>, abandon (zset: jobs by when they are given up for want of listeners), stamps.
-- Arguments: ids.

local ids = take_rest()
read_rows(ids)
for _, id in ipairs(ids) do
  local row = row_of(id)
  if row and row[STATE] <= RUNNING and row[ABANDON_AFTER] then
    row[ABANDON_AT] = NOW + row[ABANDON_AFTER]
    call('ZADD', P .. 'abandon', exact(row[ABANDON_AT]), id)
    stamp(id, row)
    save(id, row)
  end
end
commit()
