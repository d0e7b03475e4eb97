-- Writes a lease once more as it is, if it still is the ticket's: whatever reaches a replica after this write comes
-- after the grant as well.
-- KEYS  lease
-- ARGV  the ticket
-- answer 1 written, 0 it is not this ticket's
local held = redis.call('GET', KEYS[1])
if not held or string.sub(held, 8, 23) ~= ARGV[1] then return 0 end
redis.call('SET', KEYS[1], held, 'KEEPTTL')
return 1
