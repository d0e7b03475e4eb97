-- Says that somebody watches, for a while: the events of leases are told only then.
-- KEYS  watched, and of a cluster the fence of its shard; a server that has all shards has all of theirs
-- ARGV  1 a name for the time that begins now; 2 how long, in milliseconds
-- answer the name of the time that has lasted without a break
local since = redis.call('GET', KEYS[1])
if since and redis.call('PEXPIRE', KEYS[1], ARGV[2]) == 1 then return since end
-- After a write that needs no memory a full one does not refuse the next.
redis.call('DEL', KEYS[1])
redis.call('SET', KEYS[1], ARGV[1], 'PX', ARGV[2])
-- Invariant: from now on no plain acquire counts, since nobody would tell of it: none finds its counter.
local function close(fence)
  local counter = redis.call('ZRANGE', fence, '0', '0', 'WITHSCORES')
  if counter[1] == 't' then
    redis.call('DEL', fence)
    redis.call('ZADD', fence, counter[2], 'w')
  end
end
if KEYS[2] then
  close(KEYS[2])
else
  for shard = 0, 255 do close(string.format('soloist:1:{%02x}:f', shard)) end
end
return ARGV[1]
