-- append: write entries to the logs of running jobs, each once.
-- Shared: store, rows, log
--
-- Keys: job:<id>, log:<id>.
-- Arguments: count, then for each: id, attempt, nonce, ordinal, count of entries, then name and data of each.
-- Returns for each: 1, or 0 where the lease was lost.

local appends, ids, answers = {}, {}, {}
for place = 1, number() do
  ids[place] = take()
  appends[place] = { number(), take(), number(), take_entries() }
end
read_rows(ids)
for place, id in ipairs(ids) do
  local attempt, nonce, ordinal, entries = unpack(appends[place])
  local row = row_of(id)
  answers[place] = held_by(row, attempt, nonce) and 1 or 0
  if answers[place] == 1 and #entries > 0 and write(id, row, ordinal, entries) then
    touch_job(id)
    save(id, row)
  end
end
commit()
return answers
