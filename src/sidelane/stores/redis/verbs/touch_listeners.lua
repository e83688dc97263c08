-- touch_listeners: restart the time after which a job without listeners is cancelled.
-- Shared: prelude, rows
-- Flags: allow-oom
--
-- Keys: job:<id>, abandoned_at, timers.
-- Arguments: ids.

local ids = remaining_args()
read_rows(ids)
for _, id in ipairs(ids) do
  local row = row_of(id)
  if row and row[STATE] <= RUNNING and row[ABANDON_AFTER] then
    row[ABANDON_AT] = NOW + row[ABANDON_AFTER]
    call('ZADD', PREFIX .. 'abandoned_at', float_text(row[ABANDON_AT]), id)
    record_timer(id, row)
    save_row(id, row)
  end
end
commit()
