-- totals: read what was counted of each series since the store was created.
-- Shared: prelude, history_cells
-- Flags: no-writes
--
-- Keys: those of history, history_totals.
-- Returns for each series: its name, and cells that add up to its totals.

local names, cells = call('HGETALL', PREFIX .. 'history_names'), {}

local function add_cell(name, packed)
  local of_series = entry_of(cells, name)
  of_series[#of_series + 1] = packed
end

for index = 1, #names, 2 do
  local totals = call('HGET', PREFIX .. 'history_totals', names[index])
  if totals then
    add_cell(names[index + 1], totals)
  end
end
local open = call('HGETALL', PREFIX .. 'history_open')
for index = 1, #open, 2 do
  add_cell(open[index]:match('^%d+:(.*)$'), open[index + 1])
end
local replies = {}
for name, packed in pairs(cells) do
  replies[#replies + 1] = { name, unpack(packed) }
end
return replies
