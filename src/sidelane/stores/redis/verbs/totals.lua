-- totals: read what was counted of each series since the store was created.
-- Shared: prelude, history_cells
-- Flags: no-writes
--
-- Keys: those of history, history_totals.
-- Returns for each series: its name, and cells that add up to its totals.

local names, cells = call('HGETALL', PREFIX .. 'history_names'), {}

local function add_cell(id, packed)
  local of_series = entry_of(cells, id)
  of_series[#of_series + 1] = packed
end

local totals = call('HGETALL', PREFIX .. 'history_totals')
for index = 1, #totals, 2 do
  add_cell(totals[index], totals[index + 1])
end
local open = call('HGETALL', PREFIX .. 'history_open')
for index = 1, #open, 2 do
  add_cell(open[index]:match('%d+$'), open[index + 1])
end
local replies = {}
for index = 1, #names, 2 do
  replies[#replies + 1] = { names[index + 1], unpack(cells[names[index]] or {}) }
end
return replies
