-- Tries what the verbs do, on names of its own, and leaves nothing behind.
-- KEYS  two names that nobody uses
-- ARGV  1 a channel that nobody hears; 2 how it is told something, publish or spublish
-- answer what the user may not do, each as its command and what the server said
local one, list, refused = KEYS[1], KEYS[2], {}

local function try(command, ...)
  local said = redis.pcall(command, ...)
  if type(said) ~= 'table' or not said.err then return true end
  local why = said.err
  -- 6.2 and 7.0 say "can't run", "can't access", "can't publish"; later ones "no permissions". The rest, as a full
  -- memory, is not about rights.
  if string.find(why, "can't ", 1, true) or string.find(string.lower(why), 'permission', 1, true) then
    refused[#refused + 1] = string.lower(command) .. ' ' .. why
    return false
  end
  return true
end

try('TIME')
try('GET', one)
try('MGET', one)
try('EXISTS', one)
try('PTTL', one)
try('GETRANGE', one, 0, 1)
try('STRLEN', one)
try('PEXPIRE', one, 1)
try('SET', one, '', 'PX', 1)
local removes = try('DEL', one, list)
try('LLEN', list)
try('LINDEX', list, 0)
try('LRANGE', list, 0, 1)
try('LREM', list, 1, '')
try('ZRANGE', list, 0, 0)
-- Of what stands there only.
try('ZADD', list, 'XX', 0, '')
removes = try('LPOP', list) or removes
-- Without a way to take it back, nothing is put there; what is missing is told anyway.
if removes then
  try('RPUSH', list, '')
  redis.pcall('LPOP', list)
  redis.pcall('DEL', list)
end
try(ARGV[2], ARGV[1], '')
return refused
