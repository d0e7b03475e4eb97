-- Whether a lease is surely not over, without a look at the clock: it stands for a minute longer than it lives, to the
-- millisecond.
local alive = redis.call('PTTL', lease) > MINUTE / 1000 + 1
