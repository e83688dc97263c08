-- sweep: do the work of time. Any process may call it at any time (rules 5, 6, 7 and 11).
-- Shared: prelude, rows, history_cells, history, transitions, queues, limit_overrides, limits, fair_queue, wake_workers, batches, enqueue, blocked_jobs, paused_batches, event_log, finalize, workers, lease_expiry, retention, queue_depths, history_upkeep
-- Flags: allow-oom
--
-- Keys: those of finalize, blocked_jobs, paused_batches, lease_expiry, retention and history_upkeep, schedule_ticks, and in the hash
--       `meta`: last_sweep, the time of the last sweep; expire_after, when leases may expire.
-- Arguments: lease, limit.
-- Returns: how many leases were lost, jobs ended, jobs removed, whether another sweep has work right now, the seconds until a
--          worker's or an external job's lease ends and until a schedule fires ('-': none), and the ids of the jobs that ended.

local MAX_CHECKED_LIMITS = 50 -- of which a sweep looks whether they are still used

local lease, limit = next_number(), next_number()
local budget = limit

local function spend(count)
  budget = math.max(0, budget - count)
  return count
end

-- Record this sweep, and return true if leases and listeners may expire now. After a long time without a sweep (a restart, a sleep, a
-- clock step), they first get a whole lease to renew.
local function may_expire()
  local last_sweep = tonumber(call('HGET', PREFIX .. 'meta', 'last_sweep'))
  local expire_after = tonumber(call('HGET', PREFIX .. 'meta', 'expire_after')) or 0
  if last_sweep and last_sweep > NOW then
    if spend(clamp_timers(limit)) == limit then
      return false
    end
    expire_after = math.min(expire_after, NOW + lease)
  elseif not last_sweep or NOW - last_sweep > lease / 2 then
    expire_after = NOW + lease
  end
  call('HSET', PREFIX .. 'meta', 'last_sweep', float_text(NOW), 'expire_after', float_text(expire_after))
  return NOW >= expire_after
end

local function first_score(key)
  return tonumber(call('ZRANGE', PREFIX .. key, 0, 0, 'WITHSCORES')[2])
end

local lost, ended = 0, 0
for _, worker in ipairs(call('HKEYS', PREFIX .. 'worker_exits')) do
  lost = lost + spend(sweep_worker(worker, budget))
end
if may_expire() then
  lost = lost + spend(sweep_leases(budget))
  ended = spend(cancel_abandoned(budget))
end
ended = ended + spend(fail_expired(budget))
spend(continue_cascades(budget))
delete_ended_overrides()
spend(check_changed_limits(budget))
spend(unblock_rates(budget))
spend(sweep_limits(budget))
spend(resume_jobs(budget))
for _, id in ipairs(call('SRANDMEMBER', PREFIX .. 'limit_ids', MAX_CHECKED_LIMITS)) do
  if call('EXISTS', PREFIX .. 'slots:' .. id, PREFIX .. 'rate:' .. id, PREFIX .. 'blocked:slots:' .. id, PREFIX .. 'blocked:rate:' .. id) == 0 then
    call('SREM', PREFIX .. 'limit_ids', id)
  end
end
local queues = call('HKEYS', PREFIX .. 'queues')
for _, queue in ipairs(queues) do
  spend(promote_delayed(queue, budget))
  wake_for_queue(queue)
end
local removed = spend(prune_jobs(budget))
spend(prune_tombstones(budget))
spend(prune_batches(budget))
spend(sweep_history(queues, budget))
commit()
local has_more = budget == 0 or call('EXISTS', PREFIX .. 'limit_checks') == 1
local next_expiry, next_external, next_tick = first_score('workers'), first_score('external'), first_score('schedule_ticks')
if next_external and (not next_expiry or next_external < next_expiry) then
  next_expiry = next_external
end
return {
  lost, ended, removed, has_more and 1 or 0, next_expiry and float_text(math.max(0, next_expiry - NOW)) or '-',
  next_tick and float_text(next_tick - NOW) or '-', ended_jobs,
}
