-- The server's clock in microseconds. Only it decides.
local time = redis.call('TIME')
stamp = time[1] .. string.sub('00000' .. time[2], -6)
now = tonumber(stamp)
