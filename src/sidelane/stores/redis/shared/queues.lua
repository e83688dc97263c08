-- Queues: which are paused, and when the last pause of each began and ended. Needs: prelude.
-- Exports: queue_state, is_paused, set_paused
--
-- Keys: queues  hash: every queue that was ever named: 1 while it is paused, otherwise 0; if it was ever paused, also when that last
--               began, and when it last ended (0: never)

local queue_states = {}

local function parse_queue_state(text)
  local paused, paused_at, resumed_at = text:match('^(%d) ?(%S*) ?(%S*)$')
  return { paused = paused == '1', paused_at = tonumber(paused_at) or 0, resumed_at = tonumber(resumed_at) or 0 }
end

local function queue_state(queue)
  local state = queue_states[queue]
  if not state then
    state = parse_queue_state(call('HGET', PREFIX .. 'queues', queue) or '0')
    queue_states[queue] = state
  end
  return state
end

local function is_paused(queue)
  return queue_state(queue).paused
end

local function set_paused(queue, paused)
  local state = queue_state(queue)
  if state.paused ~= paused then
    state.paused, state[paused and 'paused_at' or 'resumed_at'] = paused, NOW
  end
  local text = table.concat({ paused and '1' or '0', float_text(state.paused_at), float_text(state.resumed_at) }, ' ')
  call('HSET', PREFIX .. 'queues', queue, text)
end
