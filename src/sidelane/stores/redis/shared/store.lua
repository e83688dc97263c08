-- The beginning of every script: the keys of this store, its time, what is random, and the arguments in their order.
--
-- KEYS[1]  the store's prefix, a hash tag: every key of a store lies in one slot of a cluster
-- ARGV[1]  now, in seconds since 1970; empty: the server's own clock
-- ARGV[2]  16 random hex digits
-- ARGV[3]  the verb's own arguments, a packed list: a call has hundreds, and the server takes one in less time

local P = KEYS[1] .. ':'
local call = redis.call

local NOW = tonumber(ARGV[1])
if not NOW then
  local time = call('TIME')
  NOW = tonumber(time[1]) + tonumber(time[2]) / 1000000
end

local arguments, read_so_far = cmsgpack.unpack(ARGV[3]), 0

local function take()
  read_so_far = read_so_far + 1
  return arguments[read_so_far]
end

local function take_rest()
  return { unpack(arguments, read_so_far + 1) }
end

local function number()
  return tonumber(take()) or false
end

local made = 0
local first_epoch = tonumber(ARGV[2]:sub(1, 8), 16)

local function new_epoch()
  made = made + 1
  local epoch = (first_epoch + 2 * made) % 4294967296
  return epoch - epoch % 2 + 1
end

local function new_nonce()
  made = made + 1
  return ARGV[2] .. string.format('%x', made)
end

-- Free text inside a key, told apart from what follows by its length.
local function part(text)
  return #text .. ':' .. text
end

-- A time as text that loses nothing; '-' for none.
local function exact(time)
  return time and string.format('%.17g', time) or '-'
end

-- Run a command on many members, in pieces that fit Lua's stack.
local function in_pieces(command, key, members)
  for first = 1, #members, 1000 do
    call(command, key, unpack(members, first, math.min(first + 999, #members)))
  end
end
