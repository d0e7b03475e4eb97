-- The server's clock in microseconds. Only it decides.
local time = redis.call('TIME')
now = time[1] * 1000000 + time[2]
