-- Schedules and the state of each: its last tick and its next (rule 13). Needs: prelude.
--
-- Keys: schedules        hash: by name, the schedule as JSON text
--       schedule_states  hash: by name, a packed list of the last tick, the job it submitted, and whether the schedule is enabled
--       schedule_ticks   zset: enabled schedules by their next tick

local LAST_TICK, LAST_JOB, ENABLED = 1, 2, 3

local function schedule_state(name)
  local found = call('HGET', PREFIX .. 'schedule_states', name)
  return found and cmsgpack.unpack(found)
end

local function save_schedule_state(name, state)
  call('HSET', PREFIX .. 'schedule_states', name, cmsgpack.pack(state))
end

local function set_next_tick(name, time)
  call('ZADD', PREFIX .. 'schedule_ticks', float_text(time), name)
end

local function delete_schedule(name)
  call('HDEL', PREFIX .. 'schedule_states', name)
  call('ZREM', PREFIX .. 'schedule_ticks', name)
  return call('HDEL', PREFIX .. 'schedules', name)
end
