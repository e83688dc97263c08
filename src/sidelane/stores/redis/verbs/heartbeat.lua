-- heartbeat: renew a worker's leases, expired or not, and return the status of each. An external job's lease is lost to its worker.
-- Shared: prelude, rows, workers
-- Flags: allow-oom
--
-- Keys: those of workers, job:<id>, leases:<worker>.
-- Arguments: worker, info ('': it has stopped), loss (of a worker that died, else ''), lease, count of leases, then id, attempt and
--            nonce of each.
-- Returns for each lease: 0 lost, 1 valid, 2 valid with a cancel request.

local worker, info, loss, lease = next_arg(), next_arg(), next_arg(), next_number()
if info == '' then
  remove_worker(worker)
elseif loss ~= '' then
  for _, key in ipairs({ 'workers', 'heartbeats' }) do
    call('ZADD', PREFIX .. key, float_text(NOW), worker)
  end
  call('HSET', PREFIX .. 'worker_exits', worker, loss)
else
  renew_worker(worker, lease)
  call('ZADD', PREFIX .. 'heartbeats', float_text(NOW + lease), worker)
  call('HSET', PREFIX .. 'worker_info', worker, info)
end

local statuses, renewed = {}, {}
for index = 1, next_number() do
  local id, attempt, nonce = next_arg(), next_number(), next_arg()
  local row = row_of(id)
  if is_lease_valid(row, attempt, nonce) and not row[EXTERNAL] then
    statuses[index] = row[CANCEL_REQUESTED] and 2 or 1
    renewed[row[WORKER]] = renewed[row[WORKER]] or {}
    local leases = renewed[row[WORKER]]
    leases[#leases + 1], leases[#leases + 2] = float_text(NOW + lease), id
  else
    statuses[index] = 0
  end
end
for owner, leases in pairs(renewed) do
  in_chunks('ZADD', PREFIX .. 'leases:' .. owner, leases)
end
return statuses
