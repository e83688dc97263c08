-- sweep: do what time asks for. Any process may, at any time (rules 5 to 7, 11).
-- Shared: store, rows, limits, lines, waking, batches, arrivals, parking, log, ending, workers, losing, retention
-- Flags: allow-oom
--
-- Keys: those of ending, parking, losing and retention, next (zset: enabled schedules by when they fire), and in the hash `meta`:
--       swept, the sweep mark; patient, when leases may be taken.
-- Arguments: lease, limit.
-- Returns: how many leases were lost, jobs ended, jobs removed, whether another sweep has work right now, and in how many seconds the
--          leases of a worker end, or one that was handed over, and a schedule fires ('-': none does).

local lease, limit = number(), number()
local room = limit

local function spend(count)
  room = math.max(0, room - count)
  return count
end

-- Keep the sweep mark, and tell whether leases and listeners may be given up now. Where nobody has swept for long (a restart, a
-- sleep, a step of the clock), they first get a whole lease to renew.
local function may_expire()
  local swept = tonumber(call('HGET', P .. 'meta', 'swept'))
  local patient = tonumber(call('HGET', P .. 'meta', 'patient')) or 0
  if swept and swept > NOW then
    if spend(clamp(limit)) == limit then
      return false
    end
    patient = math.min(patient, NOW + lease)
  elseif not swept or NOW - swept > lease / 2 then
    patient = NOW + lease
  end
  call('HSET', P .. 'meta', 'swept', exact(NOW), 'patient', exact(patient))
  return NOW >= patient
end

local function first_of(key)
  return tonumber(call('ZRANGE', P .. key, 0, 0, 'WITHSCORES')[2])
end

local lost, ended = 0, 0
if may_expire() then
  lost = spend(sweep_leases(room))
  ended = spend(stop_abandoned(room))
end
ended = ended + spend(end_late(room))
spend(cascade_on(room))
spend(wake_rates(room))
spend(look_after(room))
for _, queue in ipairs(call('HKEYS', P .. 'queues')) do
  spend(promote(queue, room))
  wake_for(queue)
end
local removed = spend(forget_jobs(room))
spend(forget_gone(room))
spend(forget_batches(room))
commit()
local dies, outside, fires = first_of('alive'), first_of('outside'), first_of('next')
if outside and (not dies or outside < dies) then
  dies = outside
end
return {
  lost, ended, removed, room == 0 and 1 or 0, dies and exact(math.max(0, dies - NOW)) or '-', fires and exact(fires - NOW) or '-',
}
