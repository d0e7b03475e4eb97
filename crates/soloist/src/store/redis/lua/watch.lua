-- Says that somebody watches, for a while: the events of leases are told only then.
-- KEYS  watched
-- ARGV  1 a name for the time that begins now; 2 how long, in milliseconds
-- answer the name of the time that has lasted without a break
local since = redis.call('GET', KEYS[1])
if since and redis.call('PEXPIRE', KEYS[1], ARGV[2]) == 1 then return since end
-- After a write that needs no memory a full one does not refuse the next.
redis.call('DEL', KEYS[1])
redis.call('SET', KEYS[1], ARGV[1], 'PX', ARGV[2])
return ARGV[1]
