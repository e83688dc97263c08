-- Transitions of a job: text in its row, one JSON list a line, the oldest first. `model/transition.py` reads it. Needs: rows.

-- Return the line of a transition.
local function transition_line(at, change, detail, release)
  local values = { change, math.floor(at * 1000 + 0.5) / 1000 }
  if release and release ~= '' then
    values[3], values[4] = detail, release
  elseif detail and detail ~= '' then
    values[3] = detail
  end
  return cjson.encode(values) .. '\n'
end

-- Add a line, and drop the oldest lines if the text is too long.
local function add_line(row, line)
  local text = (row[TRANSITIONS] or '') .. line
  local excess = #text - MAX_TRANSITIONS
  row[TRANSITIONS] = excess > 0 and text:sub(text:find('\n', excess, true) + 1) or text
end

local function add_transition(row, change, detail)
  add_line(row, transition_line(NOW, change, detail))
end

-- Move the start of the newest attempt to the transitions, because its worker has it no more and its job continues.
local function store_start(row)
  if row[WORKER] then
    add_line(row, transition_line(row[STARTED], 'started', row[WORKER], row[RELEASE]))
  end
end

-- Move the start and the first event of the newest attempt to the transitions, because it is over and its job continues.
local function store_attempt(row)
  store_start(row)
  if row[FIRST_EVENT] then
    add_line(row, transition_line(row[FIRST_EVENT], 'first event'))
  end
  row[FIRST_EVENT], row[LAST_EVENT] = false, false
end
