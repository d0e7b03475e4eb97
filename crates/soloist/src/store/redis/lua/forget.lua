-- Drops the result; a flight under way will not be kept either.
-- KEYS  fence, lease, queue, result
-- answer 1 if there was a result that callers were served with, else 0
--- needs clock, late, tell, lease, grant, result
look()
if not held then hand_over() end
local done = result_head()
-- Even where there is none: after a write that needs no memory a full one does not refuse the next.
redis.call('DEL', result)
if held and string.byte(held, 46) == 1 then
  redis.call('SET', lease, string.sub(held, 1, 45) .. '\3' .. string.sub(held, 47), 'KEEPTTL')
end
if not done then return 0 end
-- As of a lease of its leader's.
tell(event(7, string.rep('\0', 31) .. struct.pack('>I7I7BB', done.token, done.at, 1, 1) .. text(done.leader)))
if done.till > now then return 1 end
return 0
