-- finish: end attempts, each in one step with its last entries and its follow-ups.
-- Shared: store, rows, limits, lines, waking, batches, arrivals, parking, log, ending
-- Flags: allow-oom
--
-- Keys: those of ending.
-- Arguments: count, then for each: id, attempt, nonce, ordinal, outcome, delay, text, failure, sending, count of entries, then name
--            and data of each. Text is the result of `succeeded` or the problem of `failed` and `lost`; failure is what the history keeps;
--            delay is the timeout of `handed over`, and sending what tells the outside (else nil): id, spec, list of 22 fields.
-- Returns for each: 1, or 0 where the lease was lost.

-- Let a job wait for another attempt, unless someone asked it to stop (rule 8).
local function wait_or_stop(id, row, delay, nonce)
  if row[CANCELLING] then
    conclude(id, row, CANCELLED, false, false, nonce)
  else
    put_back(id, row, delay, nonce)
  end
end

-- Let a job go on under its lease while no worker holds it, and submit the job that tells the outside.
local function hand_over(id, row, timeout, sending)
  drop_lease(id, row)
  row[WORKER], row[OUTSIDE] = false, timeout
  call('ZADD', P .. 'outside', exact(NOW + timeout), id)
  stamp(id, row)
  save(id, row)
  touch_job(id)
  local other, spec, fields = unpack(sending)
  if not row_of(other) and not holder_of(fields[4], fields[7]) then
    insert(other, new_row(fields), spec, fields[16])
  end
end

local function finish(id, row, nonce, outcome, delay, text, failure, sending)
  if outcome == 'lost' then
    lose(id, row, failure, text, nonce)
    return
  end
  if failure ~= '' then
    keep_failure(id, row, failure)
    row[FAILURES] = row[FAILURES] + 1
  end
  if outcome == 'succeeded' then
    conclude(id, row, SUCCEEDED, text, false, nonce)
  elseif outcome == 'failed' then
    conclude(id, row, FAILED, false, text, nonce)
  elseif outcome == 'cancelled' then
    conclude(id, row, CANCELLED, false, false, nonce)
  elseif outcome == 'handed over' and not row[CANCELLING] then
    hand_over(id, row, delay, sending)
  else
    wait_or_stop(id, row, delay, nonce)
  end
end

local reports, ids, answers = {}, {}, {}
for place = 1, number() do
  ids[place] = take()
  reports[place] = { number(), take(), number(), take(), number(), take(), take(), take(), take_entries() }
end
read_rows(ids)
for place, id in ipairs(ids) do
  local attempt, nonce, ordinal, outcome, delay, text, failure, sending, entries = unpack(reports[place], 1, 9)
  local row = row_of(id)
  if held_by(row, attempt, nonce) then
    if outcome ~= 'handed over' or not row[OUTSIDE] then -- else it is a repeat
      write(id, row, ordinal, entries)
      finish(id, row, nonce, outcome, delay, text, failure, sending)
    end
    answers[place] = 1
  else
    answers[place] = row and row[SETTLED] == nonce and 1 or 0
  end
end
commit()
return answers
