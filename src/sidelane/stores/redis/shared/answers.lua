-- How a job goes out: a list of its id, spec, numbers, worker, problem, progress event, result, and history. Needs: rows.

local function answer(id, row)
  local numbers = string.format(
    '%.0f %d %d %d %d %d %s %s %s %s %d %d',
    row[SEQ], row[STATE], row[ATTEMPT], row[FAILURES], row[LOSSES], row[ENDS], exact(row[SUBMITTED]),
    row[STATE] == WAITING and exact(row[DUE]) or '-', exact(row[STARTED]), exact(row[ENDED]),
    row[CANCELLING] and 1 or 0, row[LAST]
  )
  local history = row[FAILURES] + row[LOSSES] > 0 and call('LRANGE', P .. 'failures:' .. id, 0, -1) or {}
  return {
    id,
    text_of('spec:' .. id),
    numbers,
    row[WORKER],
    row[PROBLEM],
    row[PROGRESS] and call('LINDEX', P .. 'log:' .. id, row[PROGRESS] - 1),
    row[STATE] == SUCCEEDED and text_of('result:' .. id),
    history,
  }
end
