-- Gives the old system's key back, or leaves a result there.
-- KEYS  1 their key; 2 our note of what we wrote there; 3 the set of their locks, or '-'
-- ARGV  1 our token or our ticket; 2 the resource; 3 the result to leave, or ''; 4 its life in ms;
--       5 the channel to tell it on, or ''; 6 what to tell
-- answer 1 done, 0 it was not ours
local note = redis.call('GET', KEYS[2])
if not note then return 0 end
local token, ticket, mark = string.match(note, '^(%S+) (%S+) (.*)$')
if token ~= ARGV[1] and ticket ~= ARGV[1] then return 0 end
redis.call('DEL', KEYS[2])
if redis.call('GET', KEYS[1]) ~= mark then return 0 end
redis.call('DEL', KEYS[1])
if KEYS[3] ~= '-' then redis.call('SREM', KEYS[3], ARGV[2]) end
if ARGV[3] ~= '' and tonumber(ARGV[4]) > 0 then redis.call('SET', KEYS[1], ARGV[3], 'PX', ARGV[4]) end
if ARGV[5] ~= '' then redis.call('PUBLISH', ARGV[5], ARGV[6]) end
return 1
