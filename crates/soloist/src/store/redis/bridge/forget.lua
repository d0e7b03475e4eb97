-- Drops the old system's result, not its lock.
-- KEYS  1 their key
-- answer 1
if redis.call('GET', KEYS[1]) ~= 'WAIT' then redis.call('DEL', KEYS[1]) end
return 1
