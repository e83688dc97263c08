-- Choosing jobs from the lines of a lane, in turn (rule 15). Needs: lines.
--
-- Within a lane only as many turns are read as there is room: nobody behind them comes to their turn before these. Where some of
-- them are set aside, there is another round.

local function before(one, other)
  if one.tag ~= other.tag then
    return one.tag < other.tag
  end
  return one.age < other.age
end

local function push(heap, entry)
  local place = #heap + 1
  heap[place] = entry
  while place > 1 do
    local above = math.floor(place / 2)
    if not before(heap[place], heap[above]) then
      return
    end
    heap[place], heap[above] = heap[above], heap[place]
    place = above
  end
end

local function pop(heap)
  local first, size = heap[1], #heap
  heap[1] = heap[size]
  heap[size] = nil
  local place = 1
  while true do
    local least = place
    for below = 2 * place, 2 * place + 1 do
      if heap[below] and before(heap[below], heap[least]) then
        least = below
      end
    end
    if least == place then
      return first
    end
    heap[place], heap[least] = heap[least], heap[place]
    place = least
  end
end

-- Read on in a line, so that the job at its place is known if there is one.
local function look(line, size)
  if line.ended or line.jobs[2 * line.place - 1] then
    return
  end
  size = math.max(size, 2 * line.place)
  local have = #line.jobs / 2
  local found = call('ZRANGE', line.key, have, have + size - 1, 'WITHSCORES')
  if have == 0 then
    line.jobs = found
  else
    for _, each in ipairs(found) do
      line.jobs[#line.jobs + 1] = each
    end
  end
  line.ended = #found < 2 * size
end

-- Read the rows of the first jobs of limited lines, `size` of each, which are about to be asked for.
local function read_ahead(lines, size)
  local ids = {}
  for _, line in ipairs(lines) do
    look(line, math.max(size, 2))
    for place = 1, math.min(2 * size, #line.jobs), 2 do
      ids[#ids + 1] = line.jobs[place]
    end
  end
  read_rows(ids)
end

-- The line with the user's oldest job of an open kind, and that job's age.
local function oldest(user, kinds, size)
  local first, least
  for kind, line in pairs(user.lines) do
    if kinds[kind].open then
      if line.place > 1 then
        look(line, size)
      end
      local age = line.place == 1 and line.head or tonumber(line.jobs[2 * line.place])
      if age and (not least or age < least) then
        first, least = line, age
      end
    end
  end
  return first, least
end

-- The first turns of each kind that may be taken, in their order. Returns the users by name, the turns, and how many users there are.
local function turns_of(lane, kinds, room)
  local users, turns, count, limited, several = {}, {}, 0, {}, false
  for kind, known in pairs(kinds) do
    local found = known.open and call('ZRANGE', P .. 'turns:' .. lane .. ':' .. kind, 0, room - 1, 'WITHSCORES') or {}
    several = several or #turns > 0 and #found > 0
    for place = 1, #found, 2 do
      local name, head, tag = found[place]:sub(17), tonumber(found[place]:sub(1, 16)), tonumber(found[place + 1])
      if not users[name] then
        users[name] = { tag = tag, lines = {} }
        count = count + 1
      end
      local line = { key = line_key(lane, name, kind), kind = kind, turn = found[place], head = head, place = 1, jobs = {} }
      users[name].lines[kind] = line
      if known.admits then
        limited[#limited + 1] = line
      end
      turns[#turns + 1] = { tag = tag, age = head, name = name }
    end
  end
  if several then
    table.sort(turns, before)
  end
  read_ahead(limited, count == 1 and room or 1)
  return users, turns, count
end

-- What stands at the head of a line now, or nothing.
local function head_of(line)
  look(line, 1)
  return tonumber(line.jobs[2 * line.place])
end

-- Write the lines of those users down from whom jobs were picked, now that these are not ready any more.
local function settle(lane, users, kinds, clock)
  local tags, resting, idle = {}, {}, {}
  for kind in pairs(kinds) do
    local turns, left, come, emptied = P .. 'turns:' .. lane .. ':' .. kind, {}, {}, {}
    for name, user in pairs(users) do
      if user.moved then
        local line = user.lines[kind] or { key = line_key(lane, name, kind), place = 1, jobs = {} }
        local head = head_of(line)
        if line.place > 1 then
          left[#left + 1] = line.turn
          if head then
            call('ZREMRANGEBYRANK', line.key, 0, line.place - 2)
          else
            emptied[#emptied + 1] = line.key
          end
        end
        if head then
          come[#come + 1], come[#come + 2] = user.tag, turn(head, name)
          user.stands = true
        end
        heads[line.key] = nil
      end
    end
    for first = 1, #emptied, 1000 do
      call('DEL', unpack(emptied, first, math.min(first + 999, #emptied)))
    end
    in_pieces('ZREM', turns, left)
    in_pieces('ZADD', turns, come)
    forget_kind(lane, kind)
  end
  for name, user in pairs(users) do
    if user.stands then
      tags[#tags + 1], tags[#tags + 2] = name, user.tag
    elseif user.moved then
      resting[#resting + 1] = name
      if user.tag > clock then
        idle[#idle + 1], idle[#idle + 2] = user.tag, name
      end
    end
  end
  in_pieces('HSET', P .. 'tags:' .. lane, tags)
  in_pieces('HDEL', P .. 'tags:' .. lane, resting)
  in_pieces('ZADD', P .. 'idle:' .. lane, idle)
end

-- Choose up to `room` ready jobs of a lane, and take them out of their lines. `opener` says of a kind whether it may be
-- taken and, if limits are checked, gives a function that lets a job start or sets it aside, at no cost to its user. Returns the ids of those that start, and how many were set aside, up to `most_aside`.
local function pick(queue, priority, room, opener, most_aside)
  local lane = lane_of(queue, priority)
  local kinds, picked, aside = {}, {}, 0
  for _, kind in ipairs(call('SMEMBERS', P .. 'kinds:' .. lane)) do
    kinds[kind] = opener(parts_of(kind))
  end
  local users, turns, count = turns_of(lane, kinds, room)
  local clock, seen, back = clock_of(lane), 0, {} -- users whose turn it is again stand in the heap `back`

  local function next_turn()
    if back[1] and (not turns[seen + 1] or before(back[1], turns[seen + 1])) then
      return pop(back)
    end
    seen = seen + 1
    return turns[seen]
  end

  local entry = next_turn()
  while entry and #picked < room and aside < most_aside do
    local user, stays = users[entry.name], false
    local size = count == 1 and room - #picked or 2
    local line, age = oldest(user, kinds, size)
    if line and age == entry.age and user.tag == entry.tag then
      look(line, size)
      local kind, id = kinds[line.kind], line.jobs[2 * line.place - 1]
      line.place, user.moved = line.place + 1, true
      if kind.isolated then
        count_isolated(queue, kind.version, kind.task, -1)
      end
      if not kind.admits or kind.admits(id) then
        picked[#picked + 1] = id
        clock = math.max(clock, entry.tag)
        user.tag = math.max(clock, entry.tag + 1)
      else
        aside = aside + 1
      end
      line, age = oldest(user, kinds, size)
      stays = line
    elseif line and user.tag == entry.tag and age > entry.age then
      stays = true -- it stood here under the age of a kind that is closed now
    end
    if stays then
      entry.tag, entry.age = user.tag, age
    end
    if not stays or turns[seen + 1] or back[1] then
      if stays then
        push(back, entry)
      end
      entry = next_turn()
    end
  end
  if #picked + aside > 0 then
    call('HINCRBY', P .. 'lane:' .. lane, 'ready', -#picked - aside)
    settle(lane, users, kinds, clock)
    call('HSET', P .. 'lane:' .. lane, 'clock', clock)
    tidy(queue, priority, lane, clock)
  end
  return picked, aside
end
