-- Takes the old system's key, if it is free, or ours already.
-- KEYS  1 their key; 2 our note of what we wrote there; 3 the set of their locks, or '-'
-- ARGV  1 '1' if the value is an end in seconds; 2 what to write; 3 ttl in ms, -1 for ever; 4 our token;
--       5 our ticket; 6 '1' by force; 7 the resource
-- answer '' taken, or what stands there
local seconds, mark, ttl = ARGV[1] == '1', ARGV[2], tonumber(ARGV[3])
local time = redis.call('TIME')
local there, note = redis.call('GET', KEYS[1]), redis.call('GET', KEYS[2])
local ours = there and note and string.match(note, '^%S+ %S+ (.*)$') == there
local ended = seconds and there and (tonumber(there) or 0) < tonumber(time[1])
if there and not ours and not ended and ARGV[6] ~= '1' then return there end
if seconds then
  local left = ttl
  if ttl < 0 then left = 366 * 86400000 end
  mark = string.format('%.0f', time[1] + math.ceil(left / 1000))
end
note = ARGV[4] .. ' ' .. ARGV[5] .. ' ' .. mark
if ttl < 0 or seconds then redis.call('SET', KEYS[1], mark) else redis.call('SET', KEYS[1], mark, 'PX', ARGV[3]) end
if ttl < 0 then redis.call('SET', KEYS[2], note) else redis.call('SET', KEYS[2], note, 'PX', ttl + 60000) end
if KEYS[3] ~= '-' then redis.call('SADD', KEYS[3], ARGV[7]) end
return ''
