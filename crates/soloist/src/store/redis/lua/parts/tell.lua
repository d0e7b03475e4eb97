-- What those who watch are told.

-- What there is to tell of a lease. kind: 0 locked, 1 released, 2 expired, 3 taken over from whom `from` says,
-- 4 broken, 5 published, 6 failed, 7 forgotten.
local function event(kind, of, from)
  return struct.pack('>c1BI7I2', 'E', kind, now, #lease) .. lease .. (from or '') .. string.sub(of, 32)
end

-- Tells those who watch.
local function tell(told)
  if watched == false then return end
  if CLUSTER then
    redis.call('SPUBLISH', SHARD .. 'e', told)
  else
    redis.call('PUBLISH', 'soloist:1:events', told)
  end
end
