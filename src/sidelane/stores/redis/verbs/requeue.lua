-- requeue: return finished jobs to their queue with failures and worker losses reset (rule 10).
-- Shared: prelude, rows, history_cells, history, transitions, queues, limit_overrides, limits, fair_queue, wake_workers, batches, enqueue, event_log, job_reply
--
-- Keys: those of limits, batches, enqueue and event_log, result:<id>, failures:<id>.
-- Arguments: new arguments ('': unchanged), then ids.
-- Returns for each: its job reply; the id of the job that has its unique key; a list of its job reply and the full limits; or nil for
--          an unknown id.

local STATE_NAMES = { [SUCCEEDED] = 'succeeded', [FAILED] = 'failed', [CANCELLED] = 'cancelled' }

-- Replace the arguments in a job's spec.
local function set_arguments(id, row, arguments)
  local spec = row[SPEC] or text_of('spec:', id)
  if not row[SPEC] then
    call('DEL', PREFIX .. 'spec:' .. id)
  end
  set_inline_text(row, SPEC, 'spec:', id, spec:match('^[^\n]*') .. '\n' .. arguments)
end

local function requeue_job(id, row)
  persist_end_event(id, row)
  call('DEL', PREFIX .. 'result:' .. id, PREFIX .. 'failures:' .. id)
  call('ZREM', PREFIX .. 'prune_jobs', id)
  if row[STATE] == FAILED then
    call('ZREM', PREFIX .. 'failed', id)
  end
  reopen_batch(row)
  count(row, COUNT_REQUEUED)
  store_attempt(row)
  row[WORKER] = false
  add_line(row, transition_line(row[ENDED], 'ended', STATE_NAMES[row[STATE]]))
  row[FAILURES], row[WORKER_LOSSES], row[FINISHED_NONCE], row[PROBLEM], row[STARTED], row[ENDED] = 0, 0, false, false, false, false
  row[RESULT], row[ISOLATED] = false, false
  set_deadlines(id, row)
  register_unfinished(id, row)
  return_to_queue(id, row, 0, false, 'requeued')
end

local arguments = next_arg()
local ids = remaining_args()
local holders, full = {}, {}
for index, id in ipairs(ids) do
  local row = row_of(id)
  if row and row[STATE] > RUNNING then
    holders[index] = unique_holder(row[USER], row[UNIQUE])
    local hits = not holders[index] and row[LIMITS] and limits_hit(row, false) or {}
    if #hits > 0 then
      full[index] = hits
    elseif not holders[index] then
      if arguments ~= '' then
        set_arguments(id, row, arguments)
      end
      requeue_job(id, row)
    end
  end
end
commit()
local replies = {}
for index, id in ipairs(ids) do
  local row = row_of(id)
  replies[index] = holders[index] or row and job_reply(id, row)
  if full[index] then
    replies[index] = { replies[index], full[index] }
  end
end
return replies
