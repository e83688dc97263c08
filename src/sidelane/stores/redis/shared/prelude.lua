-- The beginning of every script: key prefix, time, random values, and the arguments in their order.
--
-- KEYS[1]  the store's prefix, a hash tag: all keys of a store are in one slot of a cluster
-- ARGV[1]  now, in seconds since 1970; empty: the server's clock
-- ARGV[2]  16 random hex digits
-- ARGV[3]  the verb's arguments, one packed list: a call has hundreds, and one packed argument is faster

local PREFIX = KEYS[1] .. ':'
local call = redis.call

local NOW = tonumber(ARGV[1])
if not NOW then
  local time = call('TIME')
  NOW = tonumber(time[1]) + tonumber(time[2]) / 1000000
end

local arguments, args_read = cmsgpack.unpack(ARGV[3]), 0

local function next_arg()
  args_read = args_read + 1
  return arguments[args_read]
end

local function remaining_args()
  return { unpack(arguments, args_read + 1) }
end

local function next_number()
  return tonumber(next_arg()) or false
end

local generated = 0
local first_epoch = tonumber(ARGV[2]:sub(1, 8), 16)

local function new_epoch()
  generated = generated + 1
  local epoch = (first_epoch + 2 * generated) % 4294967296
  return epoch - epoch % 2 + 1
end

local function new_nonce()
  generated = generated + 1
  return ARGV[2] .. generated
end

-- Return free text for use inside a key; its length separates it from what follows.
local function length_prefixed(text)
  return #text .. ':' .. text
end

-- Return a number as text without loss of precision; '-' for none.
local function float_text(time)
  return time and string.format('%.17g', time) or '-'
end

-- Run a command on many members, in chunks that fit Lua's stack.
local function in_chunks(command, key, members)
  for first = 1, #members, 1000 do
    call(command, key, unpack(members, first, math.min(first + 999, #members)))
  end
end
