-- heartbeat: renew a worker's leases, swept or not yet, and say how each stands. One that was handed over is lost to it.
-- Shared: store, rows, workers
-- Flags: allow-oom
--
-- Keys: those of workers, job:<id>, leases:<worker>.
-- Arguments: worker, info ('': it has stopped), lease, count of leases, then id, attempt and nonce of each.
-- Returns for each lease: 0 lost, 1 held, 2 held and asked to stop.

local worker, info, lease = take(), take(), number()
if info == '' then
  forget_worker(worker)
else
  renew_worker(worker, lease)
  call('ZADD', P .. 'beaten', exact(NOW + lease), worker)
  call('HSET', P .. 'infos', worker, info)
end

local verdicts, renewed = {}, {}
for place = 1, number() do
  local id, attempt, nonce = take(), number(), take()
  local row = row_of(id)
  if held_by(row, attempt, nonce) and not row[OUTSIDE] then
    verdicts[place] = row[CANCELLING] and 2 or 1
    renewed[row[WORKER]] = renewed[row[WORKER]] or {}
    local leases = renewed[row[WORKER]]
    leases[#leases + 1], leases[#leases + 2] = exact(NOW + lease), id
  else
    verdicts[place] = 0
  end
end
for holder, leases in pairs(renewed) do
  in_pieces('ZADD', P .. 'leases:' .. holder, leases)
end
return verdicts
