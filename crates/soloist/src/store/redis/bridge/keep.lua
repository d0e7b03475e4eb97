-- Renews our hold of the old system's key.
-- KEYS  1 their key; 2 our note of what we wrote there
-- ARGV  1 '1' if the value is an end in seconds; 2 ttl in ms, -1 for ever; 3 our token
-- answer 1 renewed, 0 it is theirs now, 2 it was not taken for this lease yet
local seconds, ttl = ARGV[1] == '1', tonumber(ARGV[2])
local note = redis.call('GET', KEYS[2])
if not note then return 2 end
local token, ticket, mark = string.match(note, '^(%S+) (%S+) (.*)$')
if token ~= ARGV[3] then return 2 end
if redis.call('GET', KEYS[1]) ~= mark then return 0 end
if seconds then
  local left = ttl
  if ttl < 0 then left = 366 * 86400000 end
  mark = string.format('%.0f', redis.call('TIME')[1] + math.ceil(left / 1000))
  redis.call('SET', KEYS[1], mark)
elseif ttl < 0 then
  redis.call('PERSIST', KEYS[1])
else
  redis.call('PEXPIRE', KEYS[1], ttl)
end
note = token .. ' ' .. ticket .. ' ' .. mark
if ttl < 0 then redis.call('SET', KEYS[2], note) else redis.call('SET', KEYS[2], note, 'PX', ttl + 60000) end
return 1
